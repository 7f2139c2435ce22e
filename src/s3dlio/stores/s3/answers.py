# SPDX-License-Identifier: Apache-2.0
"""What S3's answers say: XML, the error in a body, and the exception that it becomes.

An error is known by its code, not by its status: S3 sends errors with status 200 (CompleteMultipartUpload, CopyObject
after they have begun to answer) and expired credentials with 400. A HEAD has no body, so there only the status is left.

A write is reported only if the answer proves it. Status 200 alone proves nothing, for a gateway, a login page or a cut
answer have it too:

- CreateMultipartUpload, UploadPartCopy, CopyObject, CompleteMultipartUpload and DeleteObjects answer with a document:
  its root element must be that verb's, and the fields that the next step needs must be there.
- UploadPart answers with the part's ETag, which completing the upload needs.
- PutObject answers with an ETag or a checksum. Some servers send neither; from them a document (XML, HTML or JSON) is
  refused, since it comes from something that is not S3, or says that the request failed. Web pages have ETags too: a
  page, JSON or an error counts only beside the checksum or the MD5 of what was sent.
- CreateBucket, DeleteObject and DeleteBucket answer without a body. Some emulators send a document all the same; its
  root element has to be named for the verb.

Anything else is an error, after the request was repeated where repeating is harmless. An upload that is gone when it is
completed may have been completed by an earlier try; what is stored then counts only if a checksum or the ETag of the
parts shows that it is that upload (`s3.S3Store`). The size proves nothing.

Source: Amazon S3 API Reference, "Error responses", https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidURIError,
    ObjectNotFoundError,
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.retry import TRANSIENT

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

TRANSIENT_CODES = frozenset(
    {
        "BadDigest",  # damaged on its way: the memory it was sent from is right
        "InternalError",
        "OperationAborted",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",  # MinIO
        "SlowDownWrite",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
"""Errors that may have gone when the same is asked again, whatever their status."""

_MOST_ERROR_BYTES = 65536
_DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?<[!?]")
_FOREIGN = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!doctype|<html|<(?:\w+:)?(?:error|fault|envelope|list)|[{\[])",
    re.IGNORECASE,
)
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_AWS_HOST = re.compile(r"(?:.*\.)?s3(?:[.-]dualstack)?(?:[.-]([a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?")


class S3Error(NamedTuple):
    """The error in an answer's body; empty fields where there is none, as in the answer to a HEAD.

    Attributes:
        code: what is wrong, in one word.
        message: the same in a sentence.
        region: where the bucket is, if it is not here.
    """

    code: str = ""
    message: str = ""
    region: str = ""


_NO_ERROR = S3Error()


def error_of(response: Response) -> S3Error:
    """The error that an answer carries in its body, whatever its status."""
    body = bytes(response.body[:_MOST_ERROR_BYTES]) if response.body else b""
    if b"<Error" not in body:
        return _NO_ERROR
    try:
        root = documents.xml(body.lstrip())
    except ET.ParseError:
        return S3Error()
    if root.tag.rpartition("}")[2] != "Error":
        return S3Error()
    return S3Error(child_text(root, "Code"), child_text(root, "Message"), _region(root))


def region_of(response: Response) -> str:
    """The region that an answer says the bucket is in; "" if it says nothing."""
    region = response.head.headers.get("x-amz-bucket-region") or error_of(response).region
    return region if _REGION.fullmatch(region) else ""


def _region(error: ET.Element) -> str:
    named = child_text(error, "Region")
    if named:
        return named
    # A redirection may name the endpoint alone; the oldest one, without a region, is that of us-east-1.
    match = _AWS_HOST.fullmatch(child_text(error, "Endpoint"))
    return (match[1] or "us-east-1") if match is not None else ""


# XML, whatever namespace a server puts it into...


def parsed(response: Response, uri: str) -> ET.Element:
    """The body of an answer as XML. Blanks before it, with which S3 keeps a connection alive, are passed over.

    Raises:
        S3dlioError: it is something else; the message names the URI that the request was about.
    """
    try:
        return documents.xml(bytes(response.body).lstrip())
    except ET.ParseError as error:
        raise not_xml(response, uri, error) from None


def not_xml(response: Response, uri: str, error: ET.ParseError) -> S3dlioError:
    """The error for an answer that the XML parser refuses."""
    return S3dlioError(
        f"{uri} at {response.address.url}: the answer is not XML ({error}); check that this is an S3 endpoint",
        uri=uri,
        endpoint=response.address.url,
    )


def children(element: ET.Element, name: str) -> list[ET.Element]:
    """The children of that name."""
    return element.findall(f"{{*}}{name}")


def child_text(element: ET.Element, name: str) -> str:
    """The text of the first child of that name; "" if there is none."""
    return element.findtext(f"{{*}}{name}") or ""


# Results...


def lacks(response: Response, name: str, fields: Sequence[str] = ()) -> str:
    """What an answer lacks to be a result; "" if it is one.

    Args:
        response: the answer, of status 200.
        name: the root element that a result has, in whatever namespace.
        fields: children of the root that must have a text.
    """
    try:
        root = documents.xml(bytes(response.body).lstrip())
    except (ET.ParseError, ValueError, LookupError):
        return f"<{name}>"
    if root.tag.rpartition("}")[2] != name:
        return f"<{name}>"
    return next((f"<{field}>" for field in fields if not child_text(root, field).strip()), "")


def lacks_etag(response: Response) -> str:
    """What the answer to UploadPart lacks; "" if nothing."""
    return "" if response.head.headers.get("etag") else "ETag"


def lacks_proof(response: Response, is_ours: Callable[[Response], bool]) -> str:
    """What the answer to PutObject lacks; "" if nothing.

    Args:
        response: the answer, of status 200.
        is_ours: whether its checksum or its ETag is that of what was sent; asked only if there is a doubt.
    """
    body = bytes(response.body[:_MOST_ERROR_BYTES]).strip()
    if not body:
        return ""
    headers = response.head.headers
    named = "etag" in headers or any(name.startswith("x-amz-checksum-") for name in headers)
    if not named:
        return "ETag" if _FOREIGN.match(body) or _DECLARED.match(body) else ""
    return "" if _FOREIGN.match(body) is None or is_ours(response) else "ETag of the object"


def is_foreign(response: Response, verb: str) -> bool:
    """Whether an answer that needs no body has one that no S3 service sends.

    Args:
        response: the answer, of a status that means success.
        verb: how the name of the root element may begin all the same.
    """
    if not bytes(response.body[:64]).lstrip().startswith((b"<", b"{", b"[", b"\xef\xbb\xbf")):
        return False
    try:
        return not documents.xml(bytes(response.body).lstrip()).tag.rpartition("}")[2].startswith(verb)
    except ET.ParseError:
        return True


def unproven(response: Response, uri: str, missing: str) -> S3dlioError:
    """The error for an answer of status 200 that does not prove that the request was carried out."""
    where = response.address.url
    return S3dlioError(
        f"{uri} at {where}: the answer is {response.head.status}, but has no {missing}, so that it is not known whether"
        " the request was carried out; check that the endpoint is an S3 service, then try again",
        uri=uri,
        endpoint=where,
        status=response.head.status,
    )


# Refusals...

_SIGN_AGAIN = "the session has expired: get new credentials"
_ELSEWHERE = "the bucket is in another region: set AWS_REGION{region}, or the endpoint"
_LATER = "the service cannot answer now, try again later"
_CHECK_POLICY = (
    "check the credentials, and that they may do this with this bucket (s3:GetObject, s3:PutObject …); without"
    " s3:ListBucket an object that is missing is refused in the same way"
)
_DAMAGED = "the bytes changed on their way, or while they were sent: write it again, check the network"

_BY_CODE: dict[str, tuple[type[S3dlioError], str]] = {
    "AuthorizationHeaderMalformed": (ConfigurationError, _ELSEWHERE),
    "BadDigest": (IntegrityError, _DAMAGED),
    "BucketAlreadyExists": (S3dlioError, "somebody else has a bucket of that name: choose another"),
    "BucketNotEmpty": (S3dlioError, "delete what is in the bucket first"),
    "ExpiredToken": (PermissionDeniedError, _SIGN_AGAIN),
    "IllegalLocationConstraintException": (ConfigurationError, _ELSEWHERE),
    "InternalError": (StoreUnavailableError, _LATER),
    "InvalidAccessKeyId": (
        PermissionDeniedError,
        "the service does not know this access key: check AWS_ACCESS_KEY_ID and the endpoint",
    ),
    "InvalidBucketName": (InvalidURIError, "no bucket can have that name"),
    "InvalidObjectState": (S3dlioError, "the object is archived: restore it first"),
    "InvalidToken": (PermissionDeniedError, "the session token is not valid: check AWS_SESSION_TOKEN"),
    "InvalidURI": (InvalidURIError, "the service takes no such key"),
    "KeyTooLongError": (InvalidURIError, "a key has at most 1,024 bytes"),
    "MethodNotAllowed": (S3dlioError, "the service does not allow this here; a delete marker, for one, has no content"),
    "NoSuchBucket": (ObjectNotFoundError, "there is no such bucket: check its name and the endpoint"),
    "NoSuchUpload": (ObjectNotFoundError, "the upload has been aborted: write the object again"),
    "PermanentRedirect": (ConfigurationError, _ELSEWHERE),
    "RequestTimeTooSkewed": (PermissionDeniedError, "this machine's clock is wrong: set it"),
    "RequestTimeout": (StoreTimeoutError, "the service got no data for too long: check the network"),
    "ServiceUnavailable": (StoreUnavailableError, _LATER),
    "SignatureDoesNotMatch": (PermissionDeniedError, "the secret key is wrong: check AWS_SECRET_ACCESS_KEY"),
    "SlowDown": (StoreUnavailableError, "too many requests: keep fewer in flight, or try again later"),
    "TemporaryRedirect": (ConfigurationError, _ELSEWHERE),
    "TokenRefreshRequired": (PermissionDeniedError, _SIGN_AGAIN),
    "XAmzContentChecksumMismatch": (IntegrityError, _DAMAGED),
    "XAmzContentSHA256Mismatch": (IntegrityError, _DAMAGED),
}


def refusal(response: Response, uri: str) -> S3dlioError:
    """The exception for an answer that is none of the expected ones."""
    status = response.head.status
    error = error_of(response)
    kind, hint = _BY_CODE.get(error.code) or _by_status(status)
    region = region_of(response)
    said = f"{error.code} {error.message}".strip() or response.head.reason
    message = f"{uri} at {response.address.url}: {status} {said}".strip()
    if hint:
        message += "; " + hint.format(region=f"={region}" if region else "")
    return kind(message, uri=uri, endpoint=response.address.url, status=status)


def _by_status(status: int) -> tuple[type[S3dlioError], str]:
    if status == 404:
        return ObjectNotFoundError, "there is no such object, or no such bucket"
    if status in (401, 403):
        return PermissionDeniedError, _CHECK_POLICY
    if status in (301, 307):
        return ConfigurationError, _ELSEWHERE
    if status in (408, 504):
        return StoreTimeoutError, "the service takes too long, try again later"
    if status in TRANSIENT:
        return StoreUnavailableError, _LATER
    return S3dlioError, ""
