# SPDX-License-Identifier: Apache-2.0
"""What the answers of Cloud Storage say: resources, checksums, and the error that a refusal becomes.

Errors come in three forms: JSON from the JSON API, XML from the XML API, and plain text where object data was asked
for. Status and reason tell what to do; whether an object or its bucket is missing is in the message alone.

A write is reported only if the answer proves it: status 200 alone does not, for a gateway or a login page have it too.

- An upload by the JSON API, in one request or resumable, answers with the object's resource: size and CRC32C must be
  there and be those of what was sent, and a name or bucket, if there is one, must be the object's.
- A rewrite answers with `done: true`, or else with the token for its next step.
- The XML API's multipart upload: the result's root element and the upload's id, each part's ETag, and the root element
  of the completion.

Anything else is an error, after the request was repeated where repeating is harmless. An upload that is gone when it is
completed may have been completed by an earlier try; the object that is stored counts only with the CRC32C of what was
sent. The size proves nothing.

Sources: Cloud Storage, "HTTP status and error codes for JSON", "HTTP status and error codes for XML".
"""

from __future__ import annotations

import json as json_module
import re
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectNotFoundError,
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.retry import TRANSIENT
from s3dlio.uri import URI

_CHECK_ROLES = (
    "check that the account may do this with this bucket (roles/storage.objectViewer to read, objectUser to write)"
)
# Reasons of a 403 that is not about permissions.
TOO_FAST = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
# Codes of errors inside an answer of status 200 that may pass.
TRANSIENT_CODES = frozenset({"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"})
_TRANSIENT_STATUSES = frozenset(map(str, TRANSIENT))
_TRANSIENT_NAMES = ("UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED")
_TRANSIENT_REASONS = frozenset({"backendError", "internalError", "serviceUnavailable"})
_LISTING = "storage#objects"
_KINDS = ("storage#object", "storage#bucket")
_OF_RESOURCES = frozenset({"bucket", "generation", "id", "kind", "name", "size", "crc32c", "etag", "updated"})
_RAW_NAME = re.compile(rb'"name"\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")  # which nobody has to escape
# What a page has once at most.
_ONCE = (b'"items"', b'"prefixes"', b'"nextPageToken"')


# What there is...


def parsed(response: Response, uri: URI) -> dict[str, Any]:
    """The JSON object in an answer about `uri`.

    Raises:
        S3dlioError: there is none.
    """
    try:
        content = documents.json(bytes(response.body))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise S3dlioError(
            f"{uri.text} at {response.address.url}: the answer is not JSON; check that it is an endpoint of Cloud"
            " Storage",
            uri=uri.text,
            endpoint=response.address.url,
        )
    return content


def lacks_facts(response: Response, uri: URI) -> str:
    """What an answer of status 200 about an object or a bucket lacks to be one; "" if nothing.

    An empty object is one: of an emulator that has none of the fields asked for.
    """
    try:
        facts = documents.json(bytes(response.body))
    except ValueError:
        return "resource"
    if not isinstance(facts, dict) or "error" in facts or (facts and not _OF_RESOURCES & facts.keys()):
        return "resource"
    if facts.get("kind", _KINDS[0]) not in _KINDS:
        return "resource"
    wanted = uri.key or uri.container
    return "" if facts.get("name", wanted) == wanted else "resource of this name"


def is_foreign(response: Response) -> bool:
    """Whether an answer that needs no body, of a status that means success, has one that no service sends."""
    body = bytes(response.body[:65536]).strip()
    return body.startswith((b"<", b"{", b"[")) and body != b"{}"


def lacks_resource(response: Response, uri: URI) -> str:
    """What the answer to an upload lacks to say what is stored as `uri`; "" if it says so."""
    try:
        stored = documents.json(bytes(response.body))
    except (ValueError, RecursionError):
        return "resource"
    if not isinstance(stored, dict):
        return "resource"
    if not str(stored.get("size", "")).isdecimal():
        return "size"
    if not isinstance(stored.get("crc32c"), str):
        return "crc32c"
    right = stored.get("name", uri.key) == uri.key and stored.get("bucket", uri.container) == uri.container
    return "" if right else "resource of this object"


def lacks_step(response: Response, _: URI) -> str:
    """What the answer to a rewrite lacks; "" if nothing."""
    try:
        step = documents.json(bytes(response.body))
    except (ValueError, RecursionError):
        return "resource"
    if isinstance(step, dict) and (step.get("done") is True or (step.get("rewriteToken") and not step.get("done"))):
        return ""
    return '"done" and no rewriteToken'


def lacks_result(response: Response, name: str) -> str:
    """What an answer of the XML API lacks to be a result with this root element; "" if it is one."""
    try:
        root = documents.xml(bytes(response.body).lstrip())
    except (ET.ParseError, ValueError, LookupError):
        return f"<{name}>"
    return "" if root.tag.rpartition("}")[2] == name else f"<{name}>"


def unproven(response: Response, uri: str, missing: str) -> S3dlioError:
    """The error for an answer of status 200 that does not prove that the request was carried out."""
    where = response.address.url
    return S3dlioError(
        f"{uri} at {where}: the answer is {response.head.status}, but has no {missing}, so that it is not known whether"
        " the request was carried out; check that it is an endpoint of Cloud Storage, then try again",
        uri=uri,
        endpoint=where,
        status=response.head.status,
    )


def child_text(response: Response, name: str) -> str | None:
    """The text of an element below the root of an XML answer; None if there is none, or no XML."""
    body = bytes(response.body[:65536])
    if not body.lstrip().startswith(b"<"):
        return None
    try:
        return documents.xml(body).findtext(f"{{*}}{name}")
    except ET.ParseError:
        return None


def hashes(head: ResponseHead) -> dict[str, str]:
    """The checksums in `x-goog-hash`, by name; the field may stand there once for each, or once for all."""
    fields = head.headers.get("x-goog-hash", "").split(",")
    return {name.strip(): value for name, _, value in (field.partition("=") for field in fields)}


# Listings...


class Page(NamedTuple):
    """What a page of a listing tells.

    Attributes:
        keys: of its objects.
        sizes: of these, in bytes; None where the page does not tell.
        folders: names with the delimiter at the end.
        token: what to ask for the next page with; "" after the last page.
    """

    keys: list[str]
    sizes: list[int | None]
    folders: list[str]
    token: str


def page_of(response: Response, uri: URI, kind: str = _LISTING) -> Page:
    """Read the answer to Objects: list, or to Buckets: list.

    Args:
        response: the answer.
        uri: what was listed.
        kind: of what the service lists.

    Raises:
        S3dlioError: it is no listing. An empty object is one: of nothing, where no kind is told.
    """
    body = bytes(response.body)
    try:
        content = {name: value for name, value in parsed(response, uri).items() if value is not None}
    except S3dlioError:
        _refuse_raw_name(body, response, uri)
        raise
    items, folders = content.get("items", []), content.get("prefixes", [])
    token = content.get("nextPageToken", "")
    known = {"kind", "items", "prefixes", "nextPageToken"} & content.keys()
    right = (known or not content) and content.get("kind", kind) == kind and isinstance(token, str)
    if not right or not isinstance(items, list) or not isinstance(folders, list):
        raise _unusable(response, uri, "it is no list of objects")
    if (
        any(body.count(name) > 1 for name in _ONCE)
        or any(map(body.__contains__, _LETTERS))
        or body.count(b'"name"') != len(items)
    ):
        _refuse_repeated(body, response, uri)
    keys: list[Any] = [item.get("name") if isinstance(item, dict) else None for item in items]
    for name in (*keys, *folders):
        if not isinstance(name, str):
            raise _unusable(response, uri, f"it has an object or folder without a name ({name!r:.60})")
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise _unusable(response, uri, f"the name {name!a:.300} is not valid UTF-8") from None
    sizes = [str(item.get("size", "")) for item in items]
    return Page(keys, [int(size) if size.isdecimal() and len(size) < 20 else None for size in sizes], folders, token)


def _refuse_raw_name(body: bytes, response: Response, uri: URI) -> None:
    """Raise S3dlioError for the first name that is not valid UTF-8."""
    for match in _RAW_NAME.finditer(body):
        try:
            match[1].decode()
        except UnicodeDecodeError:
            raise _unusable(response, uri, f"the name {ascii(match[1])[1:]:.300} is not valid UTF-8") from None


def _refuse_repeated(body: bytes, response: Response, uri: URI) -> None:
    """Raise S3dlioError if a field stands twice in an object, of which Python's parser keeps the last."""

    def refuse(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise _unusable(response, uri, "a field stands there twice")

    json_module.loads(body, object_pairs_hook=refuse)


def error_inside(response: Response) -> bool | None:
    """Whether the error in an answer of status 200 may pass; None if there is no error."""
    body = bytes(response.body[:1024]).lstrip()
    if body.startswith(b"<"):
        code = child_text(response, "Code")
        return None if code is None else code in TRANSIENT_CODES
    try:
        error = documents.json(bytes(response.body)).get("error")
    except (ValueError, AttributeError):
        return None
    if error is None:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = error.get("status") if isinstance(error, dict) else None
    may_pass = str(code) in _TRANSIENT_STATUSES or status in _TRANSIENT_NAMES
    return may_pass or error_of(response)[0] in TOO_FAST | _TRANSIENT_REASONS


def _unusable(response: Response, uri: URI, why: str) -> S3dlioError:
    return S3dlioError(
        f"listing {uri.text} at {response.address.url}: the answer is not a listing that can be trusted: {why}; check"
        " that it is an endpoint of Cloud Storage",
        uri=uri.text,
        endpoint=response.address.url,
    )


# Refusals...


def error_of(response: Response) -> tuple[str, str]:
    """Reason and message of the error in an answer: JSON, XML of the XML API, or, for object data, plain text."""
    body = bytes(response.body[:65536])
    if body.lstrip().startswith(b"{"):
        try:
            error = documents.json(body)["error"]
            if isinstance(error, dict):
                reasons = error.get("errors") or [{}]
                return str(reasons[0].get("reason", "")), str(error.get("message", ""))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            pass
        return "", ""
    code = child_text(response, "Code")
    if code:
        details = child_text(response, "Details") or ""
        return code, f"{child_text(response, 'Message') or ''} {details}".strip()
    text = body.decode("utf-8", "replace").strip()
    return "", text if text and len(text) < 500 and "<" not in text else ""


def is_about_bucket(message: str) -> bool:
    """Whether an error's message says that there is no such bucket."""
    return "bucket does not exist" in message


def refusal(response: Response, uri: str, *, with_token: bool, of_bucket: bool = False) -> S3dlioError:
    """The error for an answer that is none of the expected ones.

    Args:
        response: the answer.
        uri: what the request was about.
        with_token: whether it carried credentials.
        of_bucket: whether only the bucket can be what is missing.
    """
    status = response.head.status
    reason, message = error_of(response)
    said = (message if reason == message else f"{reason} {message}".strip()) or response.head.reason
    text = f"{uri} at {response.address.url}: {status} {said}".strip()
    where: dict[str, Any] = {"uri": uri, "endpoint": response.address.url, "status": status}
    if status == 404:
        if reason == "NoSuchUpload":
            return ObjectNotFoundError(f"{text}; the upload has been dropped: write the object again", **where)
        if of_bucket or reason == "NoSuchBucket" or is_about_bucket(message):
            return ObjectNotFoundError(f"{text}; there is no such bucket: check its name and the project", **where)
        if message.startswith("No such object"):
            return ObjectNotFoundError(f"{text}; the bucket is there, the object is not", **where)
        return ObjectNotFoundError(f"{text}; there is no such object, or no such bucket: check the names", **where)
    if status == 401:
        why = "the service refuses the credentials" if with_token else "no credentials were sent"
        return PermissionDeniedError(f"{text}; {why}: check GOOGLE_APPLICATION_CREDENTIALS", **where)
    if (status in TRANSIENT and status not in (408, 504)) or reason in TOO_FAST:
        return StoreUnavailableError(f"{text}; the service cannot answer now, try again later", **where)
    if status == 403:
        return PermissionDeniedError(f"{text}; {_CHECK_ROLES}", **where)
    if status == 400 and (reason in ("BadDigest", "CrcMismatch") or "crc32c" in message.lower()):
        return IntegrityError(f"{text}; the bytes changed on their way, or while being sent: write it again", **where)
    if status == 400 and "requester pays" in message.lower():
        return ConfigurationError(f"{text}; set GOOGLE_CLOUD_QUOTA_PROJECT to the project that pays", **where)
    if status == 410:
        return StoreUnavailableError(f"{text}; the upload has expired: write the object again", **where)
    if status in (408, 504):
        return StoreTimeoutError(f"{text}; the service takes too long, try again later", **where)
    return S3dlioError(text, **where)
