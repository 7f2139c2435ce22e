# SPDX-License-Identifier: Apache-2.0
"""List page by page, by the same rules on every service.

A store asks for a page and reads it (`PagedStore.page`). This module continues with the token of the page before,
checks every page, and makes names and sizes of it.

A recursive delete believes the listing, so a page that breaks a rule is an error, raised before a name of that page is
handed out and before an object of it is deleted:

- Every key begins with the prefix that was asked for, and no key is empty.
- Every folder begins with the prefix, too, and ends in the delimiter. Without a delimiter there are no folders: a
  service that folds keys unasked would hide what lies below.
- The listing advances: a token or a page of keys that came before is an error instead of an endless loop, and so is a
  long run of pages that are empty or repeat their folders.

Some services ignore the delimiter and list the keys themselves. Nothing is missing then, so the keys become the folders
that they lie in.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, ClassVar, NamedTuple

from s3dlio.errors import S3dlioError
from s3dlio.http.response import Response
from s3dlio.runtime.group import Gather
from s3dlio.stores.cloud import AnyService, CloudStore
from s3dlio.stores.refusals import error_at
from s3dlio.tuning import DELETES_AT_A_TIME
from s3dlio.types import SizedName
from s3dlio.uri import URI

_MOST_EMPTY = 10_000  # pages without a name, one after the other
_MOST_REPEATED = 10  # pages that only repeat the folders of the page before, one after the other
_CHECK = "check that the endpoint is the right kind of service, and every proxy between this machine and the service"


class Page(NamedTuple):
    """A page of a listing.

    Attributes:
        keys: the whole keys of its objects.
        sizes: their sizes in bytes, None where the page does not tell; may be empty if sizes were not asked for.
        folders: the whole names of folders, with the delimiter at the end.
        token: what to ask for the next page with; "" on the last page.
        markers: the whole names of objects that only say that a folder exists.
    """

    keys: list[str]
    sizes: list[int | None]
    folders: list[str]
    token: str
    markers: Sequence[str] = ()


Ask = Callable[[str], Coroutine[Any, Any, tuple[Page, Response]]]
"""Asks for the page that a token names, and reads the answer."""


class Listing:
    """One listing: what to ask for, and what the pages so far allow on the next page.

    Attributes:
        uri: the folder that is listed.
        delimiter: "/" to list only the folder's children, "" to list everything below it.
        sizes: whether the sizes of the objects are needed.
        most: how many names a page may have at most; None for as many as the service gives.
    """

    def __init__(self, uri: URI, delimiter: str = "", *, sizes: bool = False, most: int | None = None) -> None:
        self.uri = uri
        self.delimiter = delimiter
        self.sizes = sizes
        self.most = most
        self._prefix = uri.folder_key
        self._endpoint = ""  # of the last page
        self._pages = 0
        self._empty = self._repeated = 0
        self._keys: Sequence[str] = ()  # of the page before
        self._kept_keys: Sequence[str] = ()
        self._last_folders: Sequence[str] = ()  # of the page before
        self._token = self._kept = ""
        self._keep_at = 1
        self._last_folder = ""
        self._folders: set[str] = set()

    async def pages(self, ask: Ask) -> AsyncGenerator[Page, None]:
        """Ask for one page after the other, and yield each after it was checked. A page may be empty."""
        token = ""
        while True:
            page, response = await ask(token)
            self._check([*page.keys, *page.markers] if page.markers else page.keys, page.folders, response)
            self._endpoint = response.address.url
            yield page
            token = self._following(page.token, response)
            if not token:
                return

    def _check(self, keys: Sequence[str], folders: Sequence[str], response: Response) -> None:
        """Check the whole names of the objects and folders on the next page.

        Raises:
            S3dlioError: the page breaks a rule; the message names the key.
        """
        prefix = self._prefix
        if keys:
            # Sorted, the keys with the prefix stand side by side: if the first and the last have it, all do.
            first = min(keys)
            if not first or not (first.startswith(prefix) and max(keys).startswith(prefix)):
                wrong = next(key for key in keys if not key or not key.startswith(prefix))
                why = (
                    f"it lists the key {wrong!r}, which does not begin with {prefix!r}" if wrong else "a name is empty"
                )
                raise untrusted(response, self.uri.text, why)
            if keys in (self._keys, self._kept_keys):
                raise self._endless(response, "the same keys came again")
        self._keys = keys
        for folder in folders:
            if not self.delimiter:
                why = f"it lists the folder {folder!r}, although all keys were asked for"
                raise untrusted(response, self.uri.text, why)
            if not folder.startswith(prefix) or not folder.endswith(self.delimiter):
                why = f"the folder {folder!r} does not begin with {prefix!r} and end in {self.delimiter!r}"
                raise untrusted(response, self.uri.text, why)
        self._empty = 0 if keys or folders else self._empty + 1
        if self._empty > _MOST_EMPTY:
            raise self._endless(response, f"{_MOST_EMPTY} pages without a name came one after the other")
        # Some emulators repeat all folders on every page: if a page has new keys, the listing advances all the same.
        self._repeated = self._repeated + 1 if folders and not keys and folders == self._last_folders else 0
        if self._repeated > _MOST_REPEATED:
            raise self._endless(response, "the same folders came again and again")
        self._last_folders = folders

    def _following(self, token: str, response: Response) -> str:
        """Return the token of the next page, or "" after the last page.

        Brent's algorithm finds cycles of any length, so that a long listing needs no more memory than a short one:
        one token is kept, and replaced after 1, 2, 4, 8 … pages; so are the keys of that page.

        Raises:
            S3dlioError: the token came before.
        """
        if not token:
            return ""
        self._pages += 1
        if token in (self._token, self._kept):
            raise self._endless(response, "the same token came again")
        self._token = token
        if self._pages == self._keep_at:
            self._kept, self._kept_keys = token, self._keys
            self._keep_at *= 2
        return token

    def _endless(self, response: Response, why: str) -> S3dlioError:
        return no_continuation(response, self.uri.text, f"it continues where it already was ({why})")

    def children(self, page: Page) -> list[str]:
        """Return the names of a page relative to the folder, each folder of the listing once."""
        cut, delimiter = len(self._prefix), self.delimiter
        below = [key[cut:] for key in page.keys] if cut else list(page.keys)
        if "" in below:  # the object that marks the folder itself
            below = list(filter(None, below))
        if not delimiter:
            return below
        inside = [folder[cut:] for folder in page.folders if len(folder) > cut]
        inside += [marker[cut:].removesuffix(delimiter) + delimiter for marker in page.markers if len(marker) > cut]
        if not below:
            return self._unseen(inside)
        head, found, _ = min(below).partition(delimiter)
        if found and max(below).startswith(head + found):  # all of them lie in one folder
            return self._unseen([*inside, head + found])
        if delimiter in "".join(below):
            inside += [name.partition(delimiter)[0] + delimiter for name in below if delimiter in name]
            below = [name for name in below if delimiter not in name]
        return below + self._unseen(inside)

    def _unseen(self, folders: list[str]) -> list[str]:
        """Return the folders that no page before had. Some emulators repeat all folders on every page.

        Services list in the order of names. Once all folders of a page are greater than those of the pages before,
        the latter cannot appear again and are dropped.
        """
        if not folders:
            return folders
        if min(folders) > self._last_folder:
            self._folders.clear()
        fresh = [folder for folder in dict.fromkeys(folders) if folder not in self._folders]
        self._folders.update(fresh)
        self._last_folder = max(self._last_folder, *folders)
        return fresh

    def entries(self, page: Page) -> list[SizedName]:
        """Return the names of a page relative to the folder, with their sizes. Folders have size 0.

        Raises:
            S3dlioError: the page does not tell the size of an object.
        """
        if not self.delimiter:
            return self._sized(page.keys, page.sizes)
        names = self.children(page)
        size_of = dict(zip(page.keys, page.sizes, strict=True))
        objects = [self._prefix + name for name in names if not name.endswith(self.delimiter)]
        folders = [SizedName(name, 0) for name in names if name.endswith(self.delimiter)]
        return self._sized(objects, [size_of[key] for key in objects]) + folders

    def _sized(self, keys: Sequence[str], sizes: Sequence[int | None]) -> list[SizedName]:
        """Return objects with their sizes, without the object that marks the folder itself."""
        cut = len(self._prefix)
        below = []
        for key, size in zip(keys, sizes, strict=True):
            if size is None:
                raise S3dlioError(
                    f"{self.uri.text} at {self._endpoint}: the listing does not tell the size of {key!r}; list without"
                    " sizes, or check that the endpoint is the right kind of service",
                    uri=self.uri.text,
                    endpoint=self._endpoint,
                )
            if len(key) > cut:
                below.append(SizedName(key[cut:], size))
        return below


class PagedStore(CloudStore[AnyService]):
    """A cloud store whose service lists in pages.

    Attributes:
        account: the URI of all buckets, for messages.
    """

    account: ClassVar[URI]

    @abc.abstractmethod
    async def page(self, listing: Listing, token: str) -> tuple[Page, Response]:
        """Ask for the page of objects that a token names, "" for the first, and read the answer."""

    @abc.abstractmethod
    async def page_of_buckets(self, token: str) -> tuple[Page, Response]:
        """Ask for the page of buckets that a token names, "" for the first, and read the answer."""

    def checked_pages(self, listing: Listing) -> AsyncGenerator[Page, None]:
        """Yield the pages of a listing, each after it was checked."""
        return listing.pages(lambda token: self.page(listing, token))

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self.checked_pages(listing):
            if below := listing.children(page):
                yield below

    async def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        listing = Listing(uri, "" if recursive else "/", sizes=True)
        async for page in self.checked_pages(listing):
            if below := listing.entries(page):
                yield below

    async def buckets(self) -> list[str]:
        pages = Listing(self.account).pages(self.page_of_buckets)
        return [name async for page in pages for name in page.keys]

    async def delete_prefix(self, uri: URI) -> None:
        # Page by page: a page with a name that cannot be trusted is an error before anything of it is deleted.
        async for page in self.checked_pages(Listing(uri)):
            await self.delete_page(uri, page)

    async def delete_page(self, uri: URI, page: Page) -> None:
        """Delete the objects of a page of a recursive delete."""
        await self.delete_singly(uri, page.keys)

    async def delete_singly(self, uri: URI, keys: Sequence[str]) -> None:
        """Delete objects by one request each; `uri` is any URI of their container."""
        await Gather((self.delete(uri.with_key(key)) for key in keys), DELETES_AT_A_TIME)

    async def is_prefix(self, uri: URI) -> bool:
        pages = self.checked_pages(Listing(uri, most=1))
        try:
            async for page in pages:  # a page may be empty and others follow
                if page.keys or page.markers:
                    return True
            return False
        finally:
            await pages.aclose()


def size_in(text: str) -> int | None:
    """Read the size of an object; None if the text is not one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def untrusted(response: Response, uri: str, why: str) -> S3dlioError:
    """Make the error for a page that cannot be trusted; `why` says what is wrong with it."""
    why = f"the answer is not a listing that can be trusted, and nothing of it was used: {why}"
    return error_at(S3dlioError, uri, response.address, why, _CHECK)


def not_utf8(response: Response, uri: str, name: str) -> S3dlioError:
    """Make the error for a page with a name, written here in ASCII, that is not valid UTF-8."""
    why = f"the listing has the name {name:.300}, which is not valid UTF-8, so that no URI can name the object"
    return error_at(S3dlioError, uri, response.address, why, "rename it with another tool")


def no_continuation(response: Response, uri: str, why: str) -> S3dlioError:
    """Make the error for a page that is not the last one and does not lead to the next; `why` says what is missing."""
    why = f"more names follow, but the answer does not say where the listing continues: {why}"
    return error_at(S3dlioError, uri, response.address, why, "check that the endpoint supports paged listings")
