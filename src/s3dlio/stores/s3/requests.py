# SPDX-License-Identifier: Apache-2.0
"""The requests that several groups of S3's verbs have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Sequence

from s3dlio.auth.encoding import canonical_query, uri_encode
from s3dlio.http.response import Response
from s3dlio.objects.request import Request, send
from s3dlio.stores.s3.answers import error_of, is_foreign, region_of
from s3dlio.stores.s3.service import CHECKED_READ, S3Service
from s3dlio.uri import URI

# Not xml.sax.saxutils, which imports urllib.request: 13 ms of every program's first call.
_XML_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def object_request(
    method: str,
    uri: URI,
    query: Iterable[tuple[str, str]] = (),
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: Sequence[memoryview] = (),
) -> Request:
    """Make a request about an object."""
    path = uri_encode(uri.key)
    return Request(
        uri.text, method, uri.container, path, query=canonical_query(query), headers=tuple(headers), body=body
    )


async def head_object(service: S3Service, uri: URI) -> Response:
    """Send HeadObject, and ask for the checksum.

    The answer to a HEAD has no body. Two refusals need another request to be explained:

    - The bucket is in another region. AWS names the region in the answer to a HEAD of the bucket itself.
    - The request is refused with 400. A GET of one byte is refused with the reason.
    """
    request = object_request("HEAD", uri, headers=CHECKED_READ)
    response = await send(service, request)
    if response.head.status in (301, 400) and not region_of(response):
        bucket = await send(service, Request(uri.text, "HEAD", uri.container))
        if region_of(bucket):
            response = await send(service, request)
    if response.head.status == 400:
        get = dataclasses.replace(request, method="GET", headers=(*CHECKED_READ, ("Range", "bytes=0-0")))
        reason = await send(service, get)
        response = reason if reason.head.status >= 400 else response
    return response


async def send_without_result(
    service: S3Service, request: Request, verb: str, *, success: Container[int] = (200, 204), fine: str = ""
) -> None:
    """Send a request whose answer has no result, and raise an error unless the request was carried out.

    Args:
        service, request: what to send, and where.
        verb: its name. A body is allowed if its root element is named after it, as some emulators send one.
        success: the statuses that report success.
        fine: the code of an error that means that there was nothing to do.
    """
    response = await send(service, request)
    code = error_of(response).code
    if code and code == fine:
        return
    if code or response.head.status not in success:
        raise service.refusal(response, request.uri)
    if is_foreign(response, "Delete" if verb.startswith("Delete") else verb):
        raise service.refusals.unproven(response, request.uri, f"proof of {verb}")


def escaped(text: str) -> str:
    """Write a key, or another text, as XML text."""
    return text.translate(_XML_ESCAPES)
