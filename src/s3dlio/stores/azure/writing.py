# SPDX-License-Identifier: Apache-2.0
"""Write a blob in one request (Put Blob), and compare what the service stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from s3dlio.http.response import Response
from s3dlio.stores.azure.service import AzureService, blob_request, head_blob
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.sending import send_for_proof
from s3dlio.stores.stored import Stored, check_stored, verify_stored
from s3dlio.uri import URI

BLOB_TYPE = "application/octet-stream"


async def put_whole(store: CloudStore[AzureService], uri: URI, data: list[memoryview]) -> None:
    """Send Put Blob."""
    headers = [("x-ms-blob-type", "BlockBlob"), ("Content-Type", BLOB_TYPE)]
    response = await put_checked(store, uri, (), headers, data)
    await verify(store, uri, sum(map(len, data)), response)


async def put_checked(
    store: CloudStore[AzureService],
    uri: URI,
    query: Sequence[tuple[str, str]],
    headers: Iterable[tuple[str, str]],
    data: list[memoryview],
) -> Response:
    """Send a PUT whose body the service compares with a checksum in its head, and return the answer that proves it."""
    service = store.service()
    checksum = service.checksum(data)
    request = blob_request("PUT", uri, query, headers=[*headers, *checksum], body=data)
    needs_proof = ("comp", "block") not in query

    def missing(response: Response) -> str:
        return "ETag" if needs_proof and not store.version_of(response.head) else ""

    response = await send_for_proof(service, request, missing, success=(201,), others=True)
    if service.lacks_checksum(checksum, response):
        return await put_checked(store, uri, query, headers, data)
    if response.head.status != 201:
        raise store.refusal(response, uri.text)
    for name, value in checksum:
        told = response.head.headers.get(name.lower())
        check_stored(uri.text, response.address, Stored(checksum=value), Stored(checksum=told))
    return response


async def verify(store: CloudStore[AzureService], uri: URI, size: int, written: Response) -> None:
    """If the settings say so, look at the blob once more, and raise IntegrityError if it is not what was written."""
    service = store.service()
    if not service.settings.put_verify:
        return
    answer = await head_blob(service, uri)
    if answer.head.status != 200:
        raise store.refusal(answer, uri.text)
    sent = Stored(size, etag=store.version_of(written.head))
    stored = Stored(await store.size_of(uri, answer), etag=store.version_of(answer.head))
    verify_stored(uri.text, answer.address, sent, stored)
