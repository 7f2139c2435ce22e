# SPDX-License-Identifier: Apache-2.0
"""Listings: the pages of a store as full URIs, with or without sizes, filtered by a pattern, streamed or sorted."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from s3dlio.stores.base import Store
from s3dlio.types import Entry
from s3dlio.uri import URI


async def pages(
    store: Store, folder: URI, recursive: bool, pattern: re.Pattern[str] | None
) -> AsyncGenerator[list[str], None]:
    """Full URIs below a folder, page by page, in the order of the store.

    The pattern is searched in the part of each key below the folder; other names are left out.
    """
    base = folder.root + folder.folder_key
    names = store.pages(folder, recursive)
    try:
        async for page in names:
            yield [base + name for name in page if pattern is None or pattern.search(name)]
    finally:
        await names.aclose()


async def everything(store: Store, folder: URI, recursive: bool, pattern: re.Pattern[str] | None) -> list[str]:
    """Full URIs below a folder, sorted; `pattern` as for `pages`."""
    found: list[str] = []
    async for page in pages(store, folder, recursive, pattern):
        found += page
    found.sort()
    return found


async def entries(store: Store, folder: URI, recursive: bool) -> AsyncGenerator[list[Entry], None]:
    """Full URIs below a folder with sizes, page by page, in the order of the store, without a request per object."""
    base = folder.root + folder.folder_key
    found = store.entries(folder, recursive)
    try:
        async for page in found:
            yield [Entry(base + relative, size) for relative, size in page]
    finally:
        await found.aclose()


def compiled(pattern: str | None) -> re.Pattern[str] | None:
    """The compiled pattern of a listing; None for None.

    Raises:
        ValueError: the pattern is not a regular expression; the message names the pattern and the fault.
    """
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
