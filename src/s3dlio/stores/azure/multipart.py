# SPDX-License-Identifier: Apache-2.0
"""Write a blob of blocks: Put Block, Put Block List.

Blocks are invisible until a list of them is committed. The service has no uploads as such, and three things follow. The
names of the blocks carry a random number for each upload, so that two writers of one blob never mix. There is nothing
to abort: blocks that were never committed cost space until they expire, a week later. And the first commit makes the
service drop the blocks of all other writers, who have to write theirs again.
"""

from __future__ import annotations

import base64
import secrets

from s3dlio.stores.azure.service import AzureService
from s3dlio.stores.azure.writing import BLOB_TYPE, put_checked, verify
from s3dlio.stores.cloud import CloudStore
from s3dlio.uri import URI


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
    headers = [("x-ms-blob-content-type", BLOB_TYPE), ("Content-Type", "application/xml")]
    response = await put_checked(store, uri, [("comp", "blocklist")], headers, body)
    await verify(store, uri, size, response)


async def drop_parts(store: CloudStore[AzureService], uri: URI, upload: str) -> None:
    """Do nothing: uncommitted blocks expire a week after the last one was sent."""


def block_id(upload: str, number: int) -> str:
    """Make the name of a block: 48 bytes before base64, as in the vendor's own tools.

    All blocks of a blob, those of interrupted uploads included, must have names of one length.
    """
    return base64.b64encode(f"{upload}-{number:015}".encode()).decode()
