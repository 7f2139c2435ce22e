# SPDX-License-Identifier: Apache-2.0
"""Read the answers of Cloud Storage: resources, checksums, errors, and whether an answer proves that a write was done.

Errors come in three forms: JSON from the JSON API, XML from the XML API, and plain text where object data was asked
for.

Status 200 alone proves nothing, since a gateway or a login page has it too:

- An upload by the JSON API, in one request or resumable, answers with the object's resource. Size and CRC32C must be
  there and be those of what was sent; a name or a bucket, if there is one, must be the object's.
- A rewrite answers with `done: true`, or else with the token for its next step.
- The XML API's multipart upload answers with the result's root element and the upload's id, with each part's ETag, and
  with the root element of the completion.

Without a proof, the request is sent again where that is harmless (`stores.sending`), and is an error in the end.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.retry import TRANSIENT
from s3dlio.stores.refusals import unreadable
from s3dlio.uri import URI

TOO_FAST = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
"""Reasons of a 403 that is not about permissions."""

# Errors inside an answer of status 200 that may be gone when the request is sent again.
_TRANSIENT_CODES = frozenset({"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"})
_TRANSIENT_STATUSES = frozenset(map(str, TRANSIENT))
_TRANSIENT_NAMES = ("UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED")
_TRANSIENT_REASONS = frozenset({"backendError", "internalError", "serviceUnavailable"})
_KINDS = ("storage#object", "storage#bucket")
_OF_RESOURCES = frozenset({"bucket", "generation", "id", "kind", "name", "size", "crc32c", "etag", "updated"})


# Resources...


def parsed(response: Response, uri: str) -> dict[str, Any]:
    """Parse the body of an answer as a JSON object.

    Raises:
        S3dlioError: the body is something else.
    """
    content = _parsed_or_none(response)
    if content is None:
        raise unreadable(response, uri, "not JSON")
    return content


def _parsed_or_none(response: Response) -> dict[str, Any] | None:
    try:
        content = documents.json(bytes(response.body))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def lacks_facts(response: Response, uri: URI) -> str:
    """Name what an answer of status 200 lacks to be about an object or a bucket; "" if nothing.

    An empty JSON object counts: emulators answer with one if they have none of the fields asked for.
    """
    facts = _parsed_or_none(response)
    if facts is None or "error" in facts or (facts and not _OF_RESOURCES & facts.keys()):
        return "resource"
    if facts.get("kind", _KINDS[0]) not in _KINDS:
        return "resource"
    wanted = uri.key or uri.container
    return "" if facts.get("name", wanted) == wanted else "resource of this name"


def is_foreign(response: Response) -> bool:
    """Tell whether an answer that needs no body, of a status that reports success, has one that no service sends."""
    body = bytes(response.body[:65536]).strip()
    return body.startswith((b"<", b"{", b"[")) and body != b"{}"


def lacks_resource(response: Response, uri: URI) -> str:
    """Name what the answer to an upload lacks to tell what is stored as `uri`; "" if nothing."""
    stored = _parsed_or_none(response)
    if stored is None:
        return "resource"
    if not str(stored.get("size", "")).isdecimal():
        return "size"
    if not isinstance(stored.get("crc32c"), str):
        return "crc32c"
    right = stored.get("name", uri.key) == uri.key and stored.get("bucket", uri.container) == uri.container
    return "" if right else "resource of this object"


def lacks_step(response: Response) -> str:
    """Name what the answer to a rewrite lacks; "" if nothing."""
    step = _parsed_or_none(response)
    if step is None:
        return "resource"
    is_step = step.get("done") is True or (step.get("rewriteToken") and not step.get("done"))
    return "" if is_step else '"done" and no rewriteToken'


def child_text(response: Response, name: str) -> str | None:
    """Return the text of an element below the root of an XML answer; None without the element, or without XML."""
    body = bytes(response.body[:65536])
    if not body.lstrip().startswith(b"<"):
        return None
    try:
        return documents.xml(body).findtext(f"{{*}}{name}")
    except ET.ParseError:
        return None


def hashes(head: ResponseHead) -> dict[str, str]:
    """Return the checksums in `x-goog-hash` by name. The field may come once for each checksum, or once for all."""
    fields = head.headers.get("x-goog-hash", "").split(",")
    return {name.strip(): value for name, _, value in (field.partition("=") for field in fields)}


# Errors...


def error_of(response: Response) -> tuple[str, str]:
    """Read the reason and the message of the error in an answer: from JSON, XML, or, for object data, plain text."""
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


def error_in_xml(response: Response) -> bool | None:
    """Look for an error of the XML API in an answer of status 200; see `CloudService`."""
    code = child_text(response, "Code")
    return code in _TRANSIENT_CODES if code else None


def error_inside(response: Response) -> bool | None:
    """Look for an error of either API in an answer of status 200; see `CloudService`."""
    if bytes(response.body[:1024]).lstrip().startswith(b"<"):
        return error_in_xml(response)
    content = _parsed_or_none(response) or {}
    error = content.get("error")
    if error is None:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = error.get("status") if isinstance(error, dict) else None
    may_pass = str(code) in _TRANSIENT_STATUSES or status in _TRANSIENT_NAMES
    return may_pass or error_of(response)[0] in TOO_FAST | _TRANSIENT_REASONS
