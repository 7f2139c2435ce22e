# SPDX-License-Identifier: Apache-2.0
"""The requests that several groups of Azure's verbs have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from s3dlio.auth.encoding import canonical_query, uri_encode
from s3dlio.http.response import Response
from s3dlio.objects.request import Request, send
from s3dlio.stores.azure.answers import error_of
from s3dlio.stores.azure.service import AzureService, encoded_key
from s3dlio.uri import URI


def blob_request(
    method: str,
    uri: URI,
    query: Iterable[tuple[str, str]] = (),
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: Sequence[memoryview] = (),
) -> Request:
    """Make a request about a blob."""
    return Request(
        uri.text,
        method,
        uri_encode(uri.container),
        encoded_key(uri),
        query=canonical_query(query),
        headers=tuple(headers),
        body=body,
    )


async def head_blob(service: AzureService, uri: URI) -> Response:
    """Send Get Blob Properties.

    The answer to a HEAD has no body. If it is refused with 400 and without a code, a GET of one byte is refused with
    the reason.
    """
    response = await send(service, blob_request("HEAD", uri))
    if response.head.status == 400 and not error_of(response).code:
        reason = await send(service, blob_request("GET", uri, headers=[("Range", "bytes=0-0")]))
        response = reason if reason.head.status >= 400 else response
    return response
