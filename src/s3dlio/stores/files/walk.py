# SPDX-License-Identifier: Apache-2.0
"""Trees of folders, listed and removed by descriptors instead of paths.

A path can change its meaning between two calls: somebody exchanges a folder for a link, and a removal continues
elsewhere. So each step starts from an open folder: its entries are examined, opened and removed by name relative to its
descriptor (`openat`, `fstatat`, `unlinkat`), and an entry that was a folder when its name was read is opened with
O_NOFOLLOW. Paths do not grow with the depth, so PATH_MAX is no limit, and nothing recurses.

At most 64 descriptors are open. In deeper trees the folders nearest to the root are closed, and their remaining entries
are kept in memory. A closed folder is opened again as ".." of its child or, where that is another folder (`st_dev`,
`st_ino`), name by name from the root; another folder there is an error.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import suppress

from s3dlio.stores.files.names import RESERVED

PAGE = 500  # entries
Part = tuple[str, list["os.DirEntry[str]"]]  # of a page: the relative name of a folder, and entries in it

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN = 28  # folders; each is two descriptors while its names are read
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_STAYS = frozenset({errno.EBUSY, errno.ENOTEMPTY, errno.EEXIST})  # a mount point; a folder that somebody writes into
_ROUNDS = 3  # through a folder that is not empty after all in it has been removed


class FolderError(Exception):
    """A system call in a tree failed.

    Attributes:
        error: what it raised.
        name: of the file or folder, below the root of the tree; "" for the root.
    """

    def __init__(self, error: OSError, name: str) -> None:
        super().__init__(name)
        self.error = error
        self.name = name


class _Folder:
    """A folder on the way from the root of a walk down to the current one.

    Attributes:
        fd: its descriptor; -1 while it is closed.
        name: in its parent.
        link: whether its parent holds a symbolic link to it.
        relative: its name below the root, "" or with a final "/".
        identity: device and inode.
        reader: what reads the names from the descriptor, until all have been read.
        entries: of a listing: those still to come.
        names: of a removal: the folders in it that are still to be removed, each with the rounds that it has had.
        round: of a removal: how often the folder has been gone through before.
        removed: of a removal: names removed from it in this round.
    """

    __slots__ = ("entries", "fd", "identity", "link", "name", "names", "reader", "relative", "removed", "round")

    def __init__(self, fd: int, name: str, link: bool, relative: str) -> None:
        """The folder takes the descriptor over, also when this raises OSError."""
        self.fd = fd
        self.name = name
        self.link = link
        self.relative = relative
        self.reader: os._ScandirIterator[str] | None = None
        self.entries: Iterator[os.DirEntry[str]] = iter(())
        self.names: list[tuple[str, int]] = []
        self.round = self.removed = 0
        try:
            self.identity = _identity(fd)
        except BaseException:
            self.close()
            raise

    def read(self) -> None:
        """Begin to read the names in it."""
        self.reader = os.scandir(self.fd)
        self.entries = self.reader

    def all_read(self) -> None:
        """End the reading."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def close(self) -> None:
        """Give the descriptors back. A failed close of a folder that was only read loses nothing."""
        self.all_read()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


class _Way:
    """The folders from a root down to `current`, as many of them open as may be."""

    def __init__(self, root: int, sizes: bool = False) -> None:
        """
        Args:
            root: descriptor of the root, which this takes over.
            sizes: whether entries that are kept in memory must know their sizes.
        """
        self._sizes = sizes
        self.current = _Folder(root, "", False, "")
        self._folders = [self.current]
        self._first = 1  # open are the root and the folders from this place on

    def __len__(self) -> int:
        return len(self._folders)

    def enter(self, name: str, link: bool) -> bool:
        """Go down into a folder.

        Args:
            name: its name in the current one.
            link: whether that is a symbolic link, which is followed then.

        Returns:
            False if it is gone, is no folder any more, or is a link back to a folder that it lies in.

        Raises:
            OSError: what the system says.
        """
        above = self.fd()
        try:
            fd = os.open(name, _FOLDER if link else _FOLDER | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        folder = _Folder(fd, name, link, f"{self.current.relative}{name}/")
        if link and any(folder.identity == other.identity for other in self._folders):
            folder.close()
            return False
        self._folders.append(folder)
        self.current = folder
        self._keep_few_open(len(self._folders))
        return True

    def leave(self) -> str:
        """Go up again; returns the name, in what is the current folder then, of the folder left."""
        left = self._folders.pop()
        self.current = self._folders[-1]
        self._first = min(self._first, len(self._folders))
        if self.current.fd < 0 and not left.link:
            self._open_from_below(left.fd)
        left.close()
        return left.name

    def fd(self) -> int:
        """The descriptor of the current folder, which is opened again if it has been closed.

        Raises:
            OSError: what the system says; EAGAIN if another folder has its name now.
        """
        if self.current.fd < 0:
            self._first = 1
            for place in range(1, len(self._folders)):
                folder, above = self._folders[place], self._folders[place - 1]
                folder.fd = os.open(folder.name, _FOLDER if folder.link else _FOLDER | os.O_NOFOLLOW, dir_fd=above.fd)
                if _identity(folder.fd) != folder.identity:
                    raise OSError(errno.EAGAIN, "it was exchanged for another folder meanwhile", folder.relative)
                self._keep_few_open(place + 1)
        return self.current.fd

    def close(self) -> None:
        """Close all."""
        for folder in self._folders:
            folder.close()

    def _open_from_below(self, child: int) -> None:
        """Open the current folder again as the parent of its child, if it still is that: the short way."""
        try:
            fd = os.open("..", _FOLDER, dir_fd=child)
        except OSError:
            return
        try:
            if _identity(fd) == self.current.identity:
                self.current.fd = fd
                self._first = len(self._folders) - 1
        finally:
            if self.current.fd != fd:
                with suppress(OSError):
                    os.close(fd)

    def _keep_few_open(self, depth: int) -> None:
        while depth - self._first >= _OPEN:
            folder = self._folders[self._first]
            if folder.reader is not None:
                folder.entries = iter([*_kept(folder, self._sizes)])
            folder.close()
            self._first += 1


def _identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


# Listing...


def pages(root: str, recursive: bool, sizes: bool) -> Iterator[list[Part]]:
    """Every file below a folder, and, when not recursive, every child folder.

    They come in pages, for a step of a generator for each would cost as much as the entry: a page has parts, each the
    name of a folder below the root ("", or with a final "/"), and entries in it. Memory does not grow with the number
    of entries. Symbolic links are followed; a link that points nowhere or to itself is left out, and one that leads
    back to a folder that it lies in is not entered.

    Args:
        root: path of the folder; one that does not exist gives no page.
        recursive: all files below it, and no folders.
        sizes: `stat()` of each entry must work without another system call; files that have gone are left out.

    Raises:
        FolderError: what cannot be read, and why.
    """
    way = None
    page: list[Part] = []
    room = PAGE
    try:
        way = _Way(os.open(root, _FOLDER), sizes)
        way.current.read()
        while True:
            folder = way.current
            found: list[os.DirEntry[str]] = []
            count = 0
            entered = False
            for entry in itertools.islice(folder.entries, room):
                count += 1
                name = entry.name
                if name[0] == "." and name.startswith(RESERVED):  # the first letter rules out nearly all, for less
                    continue
                try:
                    if entry.is_file():
                        if sizes:
                            entry.stat()
                        found.append(entry)
                    elif entry.is_dir():
                        if not recursive:
                            found.append(entry)
                        elif entered := way.enter(name, entry.is_symlink()):
                            break
                except OSError as error:
                    _raise_unless_gone(error, folder.relative + name)
            if found:
                page.append((folder.relative, found))
            if entered:
                way.current.read()
            elif count < room:
                if len(way) == 1:
                    break
                way.leave()
            room -= count
            if not room:
                if page:
                    yield page
                page, room = [], PAGE
        if page:
            yield page
    except OSError as error:
        if way is not None:
            raise FolderError(error, way.current.relative) from error
        _raise_unless_gone(error, "")
    finally:
        if way is not None:
            way.close()


def _kept(folder: _Folder, sizes: bool) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder that are still to come, each with all that it has to ask the open folder for."""
    for entry in folder.entries:
        try:
            if entry.is_file():
                if sizes:
                    entry.stat()
            elif entry.is_dir():
                entry.is_symlink()
            yield entry
        except OSError as error:
            _raise_unless_gone(error, folder.relative + entry.name)


# Removing...


def remove(root: str) -> Iterator[None]:
    """Remove everything below a folder, and the folder; a step for each name. Links are removed, not followed.

    What somebody else removes meanwhile is removed all the same. A mount point stays, and so does a folder into which
    somebody writes for longer than a few rounds through it.

    Args:
        root: absolute path of the folder, no link; one that does not exist is removed already.

    Raises:
        FolderError: what cannot be removed, and why.
    """
    parent, name = os.path.split(root)
    try:
        above = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        _raise_unless_gone(error, "")
        return
    try:
        for _ in range(_ROUNDS):
            try:
                way = _Way(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above))
            except OSError as error:
                _raise_unless_gone(error, "")
                return
            try:
                yield from _clear(way)
                removed = way.current.removed
            except OSError as error:
                raise FolderError(error, way.current.relative) from error
            finally:
                way.close()
            try:
                if _removed_folder(name, above) or not removed:
                    return
            except OSError as error:
                raise FolderError(error, "") from error
    finally:
        with suppress(OSError):
            os.close(above)


def _clear(way: _Way) -> Iterator[None]:
    """Remove everything below the root of a way."""
    yield from _remove_files(way)
    while True:
        folder = way.current
        if folder.names:
            name, rounds = folder.names.pop()
            try:
                if way.enter(name, False):
                    way.current.round = rounds
                    yield from _remove_files(way)
                else:
                    _remove_file(way, name, rounds)
            except OSError as error:
                _raise_unless_gone(error, folder.relative + name)
        elif len(way) > 1:
            again = folder.removed > 0 and folder.round + 1 < _ROUNDS
            name = way.leave()
            try:
                if _removed_folder(name, way.fd()):
                    way.current.removed += 1
                elif again:
                    way.current.names.append((name, folder.round + 1))
            except OSError as error:
                _raise_unless_gone(error, folder.relative)
        else:
            return


def _remove_files(way: _Way) -> Iterator[None]:
    """Remove what is in the current folder, but for the folders, whose names it remembers."""
    folder = way.current
    folder.read()
    for entry in folder.entries:
        yield
        try:
            if entry.is_dir(follow_symlinks=False):
                folder.names.append((entry.name, 0))
            else:
                _remove_file(way, entry.name, 0)
        except OSError as error:
            _raise_unless_gone(error, folder.relative + entry.name)
    folder.all_read()


def _remove_file(way: _Way, name: str, rounds: int) -> None:
    """Remove what is no folder; one that has become a folder is for the next round."""
    try:
        os.unlink(name, dir_fd=way.fd())
    except IsADirectoryError:
        if rounds + 1 < _ROUNDS:
            way.current.names.append((name, rounds + 1))
    else:
        way.current.removed += 1


def _removed_folder(name: str, above: int) -> bool:
    """Remove an empty folder; whether it is gone now."""
    try:
        os.rmdir(name, dir_fd=above)
    except OSError as error:
        if error.errno in _STAYS:
            return False
        if error.errno not in _GONE:
            raise
    return True


def _raise_unless_gone(error: OSError, name: str) -> None:
    """Ignore that something does not exist, or is no folder, any more.

    Raises:
        FolderError: any other error.
    """
    if error.errno not in _GONE:
        raise FolderError(error, name) from error
