# SPDX-License-Identifier: Apache-2.0
"""List and remove trees of folders by descriptors instead of paths.

A path can change its meaning between two calls: another process replaces a folder by a link, and a removal continues
elsewhere. So every step starts from an open folder. Its entries are examined, opened and removed by their names
relative to its descriptor (`openat`, `fstatat`, `unlinkat`), and an entry that was a folder when its name was read is
opened with O_NOFOLLOW. Paths do not grow with the depth, so PATH_MAX sets no limit, and no function recurses.

At most 64 descriptors are open. In deeper trees the folders nearest to the root are closed, and their remaining entries
are kept in memory. A closed folder is opened again as ".." of its child. If that is another folder by now (`st_dev`,
`st_ino`), the folder is opened name by name from the root; another folder there is an error.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Generator, Iterator
from contextlib import suppress

from s3dlio.stores.files.names import RESERVED

PAGE = 500  # entries
Part = tuple[str, list["os.DirEntry[str]"]]  # a part of a page: the name of a folder below the root, and its entries

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN = 28  # folders; each has two descriptors while its names are read
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_STAYS = frozenset({errno.EBUSY, errno.ENOTEMPTY, errno.EEXIST})  # a mount point; a folder that is written into
_ROUNDS = 3  # through a folder that is not empty after its entries have been removed


class FolderError(Exception):
    """A system call in a tree failed.

    Attributes:
        error: the exception of the system call.
        name: the file or folder, relative to the root of the tree; "" for the root.
    """

    def __init__(self, error: OSError, name: str) -> None:
        super().__init__(name)
        self.error = error
        self.name = name


class _Folder:
    """A folder in the chain from the root of a walk down to the current folder.

    Attributes:
        fd: its descriptor; -1 while it is closed.
        name: its name in its parent.
        link: whether its parent holds a symbolic link to it.
        relative: its name below the root, "" or with a final "/".
        identity: device and inode.
        reader: reads the names from the descriptor; None once all have been read.
        entries: in a listing, the entries still to come.
        names: in a removal, the folders in it that are still to be removed, each with the rounds that it has had.
        round: in a removal, how many times its entries have been removed before.
        removed: in a removal, the number of names removed from it in this round.
    """

    __slots__ = ("entries", "fd", "identity", "link", "name", "names", "reader", "relative", "removed", "round")

    def __init__(self, fd: int, name: str, link: bool, relative: str) -> None:
        """Take the descriptor over, and close it if this raises OSError."""
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
        """Begin to read its entries."""
        self.reader = os.scandir(self.fd)
        self.entries = self.reader

    def all_read(self) -> None:
        """Close what reads its entries."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def close(self) -> None:
        """Close the descriptors. Errors are ignored: a folder that was only read loses nothing."""
        self.all_read()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


class _Chain:
    """The chain of folders from a root down to `current`, with at most `_OPEN` of them open.

    Invariants: the root stays open. Of the other folders those from index `_first` on are open. A closed folder keeps
    its remaining entries in memory, so the walk continues there when it comes back.
    """

    def __init__(self, root: int, sizes: bool = False) -> None:
        """Take over the descriptor of the root. With `sizes`, entries that are kept in memory must know their sizes."""
        self._sizes = sizes
        self.current = _Folder(root, "", False, "")
        self._folders = [self.current]
        self._first = 1

    def __len__(self) -> int:
        return len(self._folders)

    def enter(self, name: str, link: bool) -> bool:
        """Go down into a folder.

        Args:
            name: its name in the current folder.
            link: whether that name is a symbolic link, which is followed then.

        Returns:
            False if it does not exist or is not a folder any more, or is a link back to a folder of this chain.

        Raises:
            OSError: the folder cannot be opened for any other reason.
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
        """Go up to the parent, and return the name that the folder just left has there."""
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
            OSError: a folder of the chain cannot be opened; EAGAIN if another folder has its name now.
        """
        if self.current.fd < 0:
            self._first = 1
            for depth in range(1, len(self._folders)):
                folder, above = self._folders[depth], self._folders[depth - 1]
                folder.fd = os.open(folder.name, _FOLDER if folder.link else _FOLDER | os.O_NOFOLLOW, dir_fd=above.fd)
                if _identity(folder.fd) != folder.identity:
                    raise OSError(
                        errno.EAGAIN, "another folder replaced it at the same time; try again", folder.relative
                    )
                self._keep_few_open(depth + 1)
        return self.current.fd

    def close(self) -> None:
        """Close all folders."""
        for folder in self._folders:
            folder.close()

    def _open_from_below(self, child: int) -> None:
        """Open the current folder again as the parent of its child, if it still is the parent."""
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
        """Close the folders nearest to the root, while more than `_OPEN` of the first `depth` folders are open."""
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
    """Every file below a folder and, unless `recursive`, every child folder.

    The entries come in pages: a step of a generator for each would cost as much as the entry itself. A page is a list
    of parts. A part has the name of a folder below the root ("", or with a final "/"), and entries of that folder.
    Memory does not grow with the number of entries. Symbolic links are followed. A link that points nowhere or to
    itself is left out, and a link that leads back to a folder above it is not entered.

    Args:
        root: path of the folder; one that does not exist has no pages.
        recursive: list all files below the root, and no folders.
        sizes: `stat()` of each entry works without another system call; files that have disappeared are left out.

    Raises:
        FolderError: a folder or an entry cannot be read.
    """
    chain = None
    try:
        chain = _Chain(os.open(root, _FOLDER), sizes)
        yield from _pages(chain, recursive, sizes)
    except OSError as error:
        if chain is not None:
            raise FolderError(error, chain.current.relative) from error
        _raise_unless_gone(error, "")
    finally:
        if chain is not None:
            chain.close()


def _pages(chain: _Chain, recursive: bool, sizes: bool) -> Iterator[list[Part]]:
    """Walk depth first. A page is full after PAGE entries, whether or not they are in it, so that it comes in time."""
    page: list[Part] = []
    room = PAGE
    chain.current.read()
    while True:
        folder = chain.current
        found, seen, entered = _take(chain, room, recursive, sizes)
        if found:
            page.append((folder.relative, found))
        if entered:
            chain.current.read()
        elif seen < room:  # the folder has no further entries
            if len(chain) == 1:
                break
            chain.leave()
        room -= seen
        if not room:
            if page:
                yield page
            page, room = [], PAGE
    if page:
        yield page


def _take(chain: _Chain, room: int, recursive: bool, sizes: bool) -> tuple[list[os.DirEntry[str]], int, bool]:
    """Take entries of the current folder up to the first folder that can be entered.

    Returns:
        The entries to list; how many entries were taken, at most `room`; whether the last of them was entered.
    """
    folder = chain.current
    found: list[os.DirEntry[str]] = []
    seen = 0
    for entry in itertools.islice(folder.entries, room):
        seen += 1
        name = entry.name
        if name[0] == "." and name.startswith(RESERVED):  # the first character rules out nearly all, for less
            continue
        try:
            if entry.is_file():
                if sizes:
                    entry.stat()
                found.append(entry)
            elif entry.is_dir():
                if not recursive:
                    found.append(entry)
                elif chain.enter(name, entry.is_symlink()):
                    return found, seen, True
        except OSError as error:
            _raise_unless_gone(error, folder.relative + name)
    return found, seen, False


def _kept(folder: _Folder, sizes: bool) -> Iterator[os.DirEntry[str]]:
    """The remaining entries of a folder, each with the facts that only an open folder can supply."""
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
    """Remove everything below a folder, and the folder, with a step for each name. Links are not followed.

    Names that another process removes meanwhile count as removed. A mount point stays. A folder stays if another
    process still writes into it after a few rounds.

    Args:
        root: absolute path of the folder, not a link; one that does not exist counts as removed.

    Raises:
        FolderError: a name cannot be removed, or a folder not be read.
    """
    parent, name = os.path.split(root)
    try:
        above = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        _raise_unless_gone(error, "")
        return
    try:
        for _ in range(_ROUNDS):
            if not (yield from _round(name, above)):
                return
    finally:
        with suppress(OSError):
            os.close(above)


def _round(name: str, above: int) -> Generator[None, None, bool]:
    """Remove a folder in the folder `above`, and everything below it, with a step for each name.

    Returns:
        Whether another round may remove what is left.
    """
    try:
        chain = _Chain(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above))
    except OSError as error:
        _raise_unless_gone(error, "")
        return False
    try:
        yield from _clear(chain)
        removed = chain.current.removed
    except OSError as error:
        raise FolderError(error, chain.current.relative) from error
    finally:
        chain.close()
    try:
        return not _removed_folder(name, above) and removed > 0
    except OSError as error:
        raise FolderError(error, "") from error


def _clear(chain: _Chain) -> Iterator[None]:
    """Remove everything below the root of a chain, children before their folder.

    Each folder of the chain has a list of the folders in it that are still to be removed (`names`). The walk goes down
    into the last of them or, if the list is empty, up, and then removes the folder that it has left.
    """
    yield from _remove_files(chain)
    while chain.current.names or len(chain) > 1:
        if chain.current.names:
            yield from _go_down(chain)
        else:
            _go_up(chain)


def _go_down(chain: _Chain) -> Iterator[None]:
    """Enter a folder that is still to be removed, and remove its files. An entry that became a file is removed."""
    folder = chain.current
    name, rounds = folder.names.pop()
    try:
        if chain.enter(name, False):
            chain.current.round = rounds
            yield from _remove_files(chain)
        else:
            _remove_file(chain, name, rounds)
    except OSError as error:
        _raise_unless_gone(error, folder.relative + name)


def _go_up(chain: _Chain) -> None:
    """Leave a folder and remove it. If it is not empty, another process has written into it: note it for another round,
    unless nothing was removed from it in this one.
    """
    folder = chain.current
    again = folder.removed > 0 and folder.round + 1 < _ROUNDS
    name = chain.leave()
    try:
        if _removed_folder(name, chain.fd()):
            chain.current.removed += 1
        elif again:
            chain.current.names.append((name, folder.round + 1))
    except OSError as error:
        _raise_unless_gone(error, folder.relative)


def _remove_files(chain: _Chain) -> Iterator[None]:
    """Remove the files in the current folder, and note the names of its folders."""
    folder = chain.current
    folder.read()
    for entry in folder.entries:
        yield
        try:
            if entry.is_dir(follow_symlinks=False):
                folder.names.append((entry.name, 0))
            else:
                _remove_file(chain, entry.name, 0)
        except OSError as error:
            _raise_unless_gone(error, folder.relative + entry.name)
    folder.all_read()


def _remove_file(chain: _Chain, name: str, rounds: int) -> None:
    """Remove an entry that is not a folder. One that has become a folder is noted for the next round."""
    try:
        os.unlink(name, dir_fd=chain.fd())
    except IsADirectoryError:
        if rounds + 1 < _ROUNDS:
            chain.current.names.append((name, rounds + 1))
    else:
        chain.current.removed += 1


def _removed_folder(name: str, above: int) -> bool:
    """Remove an empty folder, and return whether it no longer exists."""
    try:
        os.rmdir(name, dir_fd=above)
    except OSError as error:
        if error.errno in _STAYS:
            return False
        if error.errno not in _GONE:
            raise
    return True


def _raise_unless_gone(error: OSError, name: str) -> None:
    """Ignore an error which says that a name does not exist or is not a folder any more.

    Raises:
        FolderError: any other error.
    """
    if error.errno not in _GONE:
        raise FolderError(error, name) from error
