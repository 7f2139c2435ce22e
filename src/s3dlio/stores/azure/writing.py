# SPDX-License-Identifier: Apache-2.0
"""Write a blob, in one request or of blocks: Put Blob, Put Block, Put Block List.

A large blob is made of blocks, which are invisible until a list of them is committed. The service has no uploads as
such, and three things follow. The names of the blocks carry a random number for each upload, so that two writers of one
blob never mix. There is nothing to abort: blocks that were never committed cost space until they expire, a week later.
And the first commit makes the service drop the blocks of all other writers, who have to write theirs again.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Sequence

from s3dlio.http.response import Response
from s3dlio.stores.azure.requests import blob_request, head_blob
from s3dlio.stores.azure.service import AzureService
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.sending import send_for_proof
from s3dlio.stores.stored import Stored, check_stored, verify_stored
from s3dlio.uri import URI

_BLOB_TYPE = "application/octet-stream"


async def put_whole(store: CloudStore[AzureService], uri: URI, data: list[memoryview]) -> None:
    """Send Put Blob."""
    headers = [("x-ms-blob-type", "BlockBlob"), ("Content-Type", _BLOB_TYPE)]
    response = await put_checked(store, uri, (), headers, data)
    await _verify(store, uri, sum(map(len, data)), response)


async def begin_parts(store: CloudStore[AzureService], uri: URI) -> str:  # noqa: ARG001
    """Choose the random part of this upload's block names. No request is sent: the service knows no uploads."""
    return secrets.token_hex(16)


async def put_part(store: CloudStore[AzureService], uri: URI, upload: str, number: int, data: list[memoryview]) -> str:
    """Send Put Block, and return the block's name."""
    block = block_id(upload, number)
    await put_checked(store, uri, [("comp", "block"), ("blockid", block)], (), data)
    return block


async def finish_parts(
    store: CloudStore[AzureService],
    uri: URI,
    upload: str,  # noqa: ARG001
    parts: list[str],
    size: int,
) -> None:
    """Send Put Block List.

    "Latest" finds a block among those of the blob as well as among the new ones, so that the request may be sent again
    if its answer was lost. It never finds a block of another writer: the names are this upload's own.
    """
    lines = "".join([f"<Latest>{block}</Latest>" for block in parts])
    body = [memoryview(f'<?xml version="1.0" encoding="utf-8"?><BlockList>{lines}</BlockList>'.encode())]
    headers = [("x-ms-blob-content-type", _BLOB_TYPE), ("Content-Type", "application/xml")]
    response = await put_checked(store, uri, [("comp", "blocklist")], headers, body)
    await _verify(store, uri, size, response)


async def drop_parts(store: CloudStore[AzureService], uri: URI, upload: str) -> None:
    """Do nothing: blocks that were not committed expire by themselves, a week after the last one was sent."""


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


async def _verify(store: CloudStore[AzureService], uri: URI, size: int, written: Response) -> None:
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


def block_id(upload: str, number: int) -> str:
    """Make the name of a block: 48 bytes before base64, as in the vendor's own tools.

    All blocks of a blob, those of interrupted uploads included, must have names of one length.
    """
    return base64.b64encode(f"{upload}-{number:015}".encode()).decode()
