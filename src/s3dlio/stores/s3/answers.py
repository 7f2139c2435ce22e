# SPDX-License-Identifier: Apache-2.0
"""Read S3's answers: documents in XML, the error in a body, and whether an answer proves that a write was carried out.

Status 200 alone proves nothing, since a gateway, a login page or a cut answer has it too:

- CreateMultipartUpload, UploadPartCopy, CopyObject, CompleteMultipartUpload and DeleteObjects answer with a document.
  Its root element must be that verb's, and the fields that the next step needs must be there.
- UploadPart answers with the part's ETag, which completing the upload needs.
- PutObject answers with an ETag or a checksum. Some servers send neither: their answer counts, unless it has a document
  (XML, HTML or JSON), which comes from something that is not S3, or says that the request failed. Web pages have ETags,
  too: beside an ETag, a page, JSON or an error counts only with the checksum or the MD5 of what was sent.
- CreateBucket, DeleteObject and DeleteBucket answer without a body. Some emulators send a document all the same: its
  root element has to be named after the verb.

Without a proof, the request is sent again where that is harmless (`stores.sending`), and is an error in the end.

Source: Amazon S3 API Reference, "Error responses", https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from xml.etree import ElementTree as ET

from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.documents import child_text
from s3dlio.stores.refusals import unreadable

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_MOST_ERROR_BYTES = 65536
_DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?<[!?]")
_FOREIGN = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!doctype|<html|<(?:\w+:)?(?:error|fault|envelope|list)|[{\[])",
    re.IGNORECASE,
)
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_AWS_HOST = re.compile(r"(?:.*\.)?s3(?:[.-]dualstack)?(?:[.-]([a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?")


class S3Error(NamedTuple):
    """The error in an answer's body. All fields are empty without one, as in the answer to a HEAD.

    Attributes:
        code: names the error.
        message: describes the error.
        region: of the bucket, if the request went to another one.
    """

    code: str = ""
    message: str = ""
    region: str = ""


_NO_ERROR = S3Error()


def error_of(response: Response) -> S3Error:
    """Read the error in an answer's body, whatever the status."""
    body = bytes(response.body[:_MOST_ERROR_BYTES]) if response.body else b""
    if b"<Error" not in body:
        return _NO_ERROR
    try:
        root = documents.xml(body.lstrip())
    except ET.ParseError:
        return S3Error()
    if documents.tag(root) != "Error":
        return S3Error()
    return S3Error(child_text(root, "Code"), child_text(root, "Message"), _region(root))


def region_of(response: Response) -> str:
    """Return the region that an answer names for the bucket; "" if it names none."""
    region = response.head.headers.get("x-amz-bucket-region") or error_of(response).region
    return region if _REGION.fullmatch(region) else ""


def _region(error: ET.Element) -> str:
    named = child_text(error, "Region")
    if named:
        return named
    # A redirection may name the endpoint alone. The oldest endpoint has no region in its name: us-east-1.
    match = _AWS_HOST.fullmatch(child_text(error, "Endpoint"))
    return (match[1] or "us-east-1") if match is not None else ""


# XML, in whatever namespace...


def parsed(response: Response, uri: str) -> ET.Element:
    """Parse the body of an answer as XML. Skip blanks before it, with which S3 keeps a connection alive.

    Raises:
        S3dlioError: the body is not XML.
    """
    try:
        return documents.xml(bytes(response.body).lstrip())
    except ET.ParseError as error:
        raise unreadable(response, uri, f"not XML ({error})") from None


# Proofs...


def lacks_proof(response: Response, is_ours: Callable[[Response], bool]) -> str:
    """Name what the answer to PutObject lacks; "" if nothing.

    Args:
        response: the answer, of status 200.
        is_ours: tells whether the checksum or the ETag is that of what was sent; called only in doubt.
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
    """Tell whether an answer that needs no body has one that no S3 service sends.

    Args:
        response: the answer, of a status that reports success.
        verb: how the name of a root element has to begin.
    """
    if not bytes(response.body[:64]).lstrip().startswith((b"<", b"{", b"[", b"\xef\xbb\xbf")):
        return False
    try:
        return not documents.tag(documents.xml(bytes(response.body).lstrip())).startswith(verb)
    except ET.ParseError:
        return True
