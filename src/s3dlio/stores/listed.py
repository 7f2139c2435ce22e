# SPDX-License-Identifier: Apache-2.0
"""The rules that every page of a listing has to obey, whatever the protocol: `Listing` watches over one.

A listing says what there is, and a recursive delete believes it. So a page that breaks a rule is an error, raised
before a name of that page is handed out and before an object of it is deleted:

- Every key begins with the prefix that was asked for, and none is empty.
- Every folder begins with the prefix, too, and ends in the delimiter; without a delimiter there are none: a service
  that folds keys unasked would hide what lies below.
- The listing advances: a token or a page of keys that came before, or no end of pages that are empty or repeat their
  folders, are errors instead of an endless loop.

A service that ignores the delimiter lists the keys themselves. That misses nothing, so the keys become the folders that
they lie in.
"""

from __future__ import annotations

from collections.abc import Sequence

from s3dlio.errors import S3dlioError
from s3dlio.types import SizedName
from s3dlio.uri import URI

_MOST_EMPTY = 10_000  # pages without a name, one after the other
_MOST_REPEATED = 10  # pages that only repeat the folders of the page before, one after the other


class Listing:
    """What is known of a listing after its first pages.

    Attributes:
        uri: the folder that is listed.
        delimiter: "/" where only the folder's children are listed, "" where everything below it is.
    """

    def __init__(self, uri: URI, delimiter: str) -> None:
        self.uri = uri
        self.delimiter = delimiter
        self._prefix = uri.folder_key
        self._pages = 0
        self._empty = self._repeated = 0
        self._keys: Sequence[str] = ()  # of the page before
        self._kept_keys: Sequence[str] = ()
        self._last_folders: Sequence[str] = ()  # of the page before
        self._token = self._kept = ""
        self._keep_at = 1
        self._last_folder = ""
        self._folders: set[str] = set()

    def check(self, keys: Sequence[str], folders: Sequence[str], endpoint: str) -> None:
        """Check the names of the next page.

        Args:
            keys: the objects' whole keys.
            folders: the folders' whole names.
            endpoint: the server, for messages.

        Raises:
            S3dlioError: the page breaks a rule; the message names the key.
        """
        prefix = self._prefix
        if keys:
            # What begins with the prefix lies side by side, so the first and the last of all keys speak for them.
            first = min(keys)
            if not first or not (first.startswith(prefix) and max(keys).startswith(prefix)):
                wrong = next(key for key in keys if not key or not key.startswith(prefix))
                raise self.error(f"lists the key {wrong!r}, which does not begin with {prefix!r}", endpoint)
            if keys in (self._keys, self._kept_keys):
                raise self._endless("the same keys came again", endpoint)
        self._keys = keys
        for folder in folders:
            if not self.delimiter:
                raise self.error(f"lists the folder {folder!r}, although all keys were asked for", endpoint)
            if not folder.startswith(prefix) or not folder.endswith(self.delimiter):
                raise self.error(
                    f"lists the folder {folder!r}, which does not begin with {prefix!r} and end in {self.delimiter!r}",
                    endpoint,
                )
        self._empty = 0 if keys or folders else self._empty + 1
        if self._empty > _MOST_EMPTY:
            raise self._endless(f"{_MOST_EMPTY} pages without a name came one after the other", endpoint)
        # Some emulators repeat all folders on every page: beside new keys that is progress.
        self._repeated = self._repeated + 1 if folders and not keys and folders == self._last_folders else 0
        if self._repeated > _MOST_REPEATED:
            raise self._endless("the same folders came again and again", endpoint)
        self._last_folders = folders

    def children(self, keys: Sequence[str], folders: Sequence[str]) -> list[str]:
        """The names of a page that was checked, relative to the folder, each folder of the listing once."""
        cut, delimiter = len(self._prefix), self.delimiter
        below = [key[cut:] for key in keys] if cut else list(keys)
        if "" in below:  # the object that marks the folder itself
            below = list(filter(None, below))
        if not delimiter:
            return below
        inside = [folder[cut:] for folder in folders if len(folder) > cut]
        if not below:
            return self._unseen(inside)
        head, found, _ = min(below).partition(delimiter)
        if found and max(below).startswith(head + found):  # all of them lie in one folder
            return self._unseen([*inside, head + found])
        if delimiter in "".join(below):
            inside += [name.partition(delimiter)[0] + delimiter for name in below if delimiter in name]
            below = [name for name in below if delimiter not in name]
        return below + self._unseen(inside)

    def entries(self, keys: Sequence[str], sizes: Sequence[int | None], folders: Sequence[str] = ()) -> list[SizedName]:
        """The names of a page that was checked, relative to the folder, with their sizes; folders have size 0.

        Raises:
            S3dlioError: the page does not tell the size of an object.
        """
        if not self.delimiter:
            return self._sized(keys, sizes)
        names = self.children(keys, folders)
        size_of = dict(zip(keys, sizes, strict=True))
        objects = [self._prefix + name for name in names if not name.endswith(self.delimiter)]
        inside = [SizedName(name, 0) for name in names if name.endswith(self.delimiter)]
        return self._sized(objects, [size_of[key] for key in objects]) + inside

    def _sized(self, keys: Sequence[str], sizes: Sequence[int | None]) -> list[SizedName]:
        """The objects of a page with their sizes, without the object that marks the folder itself."""
        cut = len(self._prefix)
        below = []
        for key, size in zip(keys, sizes, strict=True):
            if size is None:
                raise S3dlioError(
                    f"the listing of {self.uri.text} does not tell the size of {key!r}", uri=self.uri.text
                )
            if len(key) > cut:
                below.append(SizedName(key[cut:], size))
        return below

    def following(self, token: str, endpoint: str) -> str:
        """The token of the next page, or "" after the last page.

        Cycles of any length are found by Brent's algorithm, so that a long listing needs no more memory than a short
        one: a token is kept, and replaced after 1, 2, 4, 8 … pages; so are the keys of that page.

        Raises:
            S3dlioError: the token came before.
        """
        if not token:
            return ""
        self._pages += 1
        if token in (self._token, self._kept):
            raise self._endless("the same token came again", endpoint)
        self._token = token
        if self._pages == self._keep_at:
            self._kept, self._kept_keys = token, self._keys
            self._keep_at *= 2
        return token

    def error(self, what: str, endpoint: str) -> S3dlioError:
        """The error for a page that cannot be trusted; `what` continues "… the answer"."""
        return S3dlioError(
            f"listing {self.uri.text} at {endpoint}: the answer {what}; nothing of it was used; check the endpoint, and"
            " what stands between here and the service",
            uri=self.uri.text,
            endpoint=endpoint,
        )

    def _endless(self, why: str, endpoint: str) -> S3dlioError:
        return S3dlioError(
            f"the listing of {self.uri.text} at {endpoint} says that it goes on, but not where: it goes on from where"
            f" it was already ({why}); check that the endpoint supports paged listings",
            uri=self.uri.text,
            endpoint=endpoint,
        )

    def _unseen(self, folders: list[str]) -> list[str]:
        """The folders that did not come before. Some emulators repeat all folders on every page.

        Services list in the order of names: once all folders of a page come after the last one of the pages before,
        what these pages had can be forgotten.
        """
        if not folders:
            return folders
        if min(folders) > self._last_folder:
            self._folders.clear()
        fresh = [folder for folder in dict.fromkeys(folders) if folder not in self._folders]
        self._folders.update(fresh)
        self._last_folder = max(self._last_folder, *folders)
        return fresh
