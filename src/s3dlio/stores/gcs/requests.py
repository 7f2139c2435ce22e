# SPDX-License-Identifier: Apache-2.0
"""The requests that several groups of Cloud Storage's verbs have in common."""

from __future__ import annotations

from s3dlio.http.response import Response
from s3dlio.objects.request import Request, send
from s3dlio.stores.gcs.service import GcsService, bucket_path, object_path, query_of
from s3dlio.uri import URI

CONTENT_TYPE = "application/octet-stream"
STORED = "size,crc32c,generation"
"""The fields of a resource that tell what is stored."""


def facts_request(uri: URI, fields: str) -> Request:
    """Make a request for some fields of an object's resource."""
    return Request(uri.text, "GET", uri.container, object_path(uri), query=query_of(fields=fields))


def upload_request(uri: URI, **query: str) -> Request:
    """Make a request that begins an upload by the JSON API."""
    path = f"/upload{bucket_path(uri.container)}/o"
    return Request(uri.text, "POST", uri.container, path, query=query_of(**query))


async def expect_ok(service: GcsService, request: Request, *, of_bucket: bool = False) -> Response:
    """Send a request, and raise the refusal for any status but 200.

    Args:
        service: where it goes.
        request: the request.
        of_bucket: whether only the bucket can be what is missing.
    """
    response = await send(service, request)
    if response.head.status != 200:
        raise service.refusal(response, request.uri, of_bucket)
    return response


def view(text: str) -> memoryview:
    """Encode a text that is a part of a body."""
    return memoryview(text.encode())
