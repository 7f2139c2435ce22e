# SPDX-License-Identifier: Apache-2.0
"""Listings: a store's pages made into full URIs, with or without sizes, filtered by a pattern, streamed or sorted."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from s3dlio.stores.base import Store
from s3dlio.types import Entry
from s3dlio.uri import URI


async def pages(
    store: Store, folder: URI, recursive: bool, pattern: re.Pattern[str] | None
) -> AsyncGenerator[list[str], None]:
    """Full URIs below a folder, page by page, in the store's own order.

    Args:
        pattern: kept are the names in which it is found; a name is the part of the key below the folder.
    """
    base = folder.root + folder.folder_key
    names = store.pages(folder, recursive)
    try:
        async for page in names:
            yield [base + name for name in page if pattern is None or pattern.search(name)]
    finally:
        await names.aclose()


async def everything(store: Store, folder: URI, recursive: bool, pattern: re.Pattern[str] | None) -> list[str]:
    """Full URIs below a folder, sorted."""
    found: list[str] = []
    async for page in pages(store, folder, recursive, pattern):
        found += page
    found.sort()
    return found


async def entries(store: Store, folder: URI, recursive: bool) -> AsyncGenerator[list[Entry], None]:
    """The same names with their sizes, page by page, in the store's own order. No request is made for an object."""
    base = folder.root + folder.folder_key
    found = store.entries(folder, recursive)
    try:
        async for page in found:
            yield [Entry(base + relative, size) for relative, size in page]
    finally:
        await found.aclose()


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The pattern of a listing.

    Raises:
        ValueError: not a regular expression; the message names the pattern and the fault.
    """
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
