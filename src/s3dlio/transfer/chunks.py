# SPDX-License-Identifier: Apache-2.0
"""Read an object, or a range of it, in chunks: `get_chunks`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from s3dlio.stores.base import Store
from s3dlio.uri import URI


async def chunks(
    store: Store, uri: URI, chunk_size: int, offset: int, length: int | None
) -> AsyncGenerator[memoryview, None]:
    """The bytes of a range in chunks of at most `chunk_size` bytes, all of one version of the object.

    A length of None stands for all bytes that follow.
    """
    if length is not None and length <= chunk_size:  # one request, whatever the size of the object
        if data := await store.get_range(uri, offset, length):
            yield data
        return
    pieces = store.chunks(uri, chunk_size, offset, length)
    try:
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()
