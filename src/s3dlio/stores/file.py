"""file:// — objects as files of any mounted file system.

Reads go with `readv` straight into a pooled buffer, writes through a temporary file and a rename. `direct` inherits
everything here and changes only how the bytes get in and out, in the methods under "Bytes".

A folder is never an object: reading one, or asking for its facts, is the same error as for a missing object, as on an
object store. Symbolic links are followed; a link that points nowhere, or to itself, is not an object, and a link that
leads back to one of its own ancestors is not entered.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat as modes
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import datetime, timezone
from typing import NoReturn

from s3dlio import settings
from s3dlio.buffers import lease
from s3dlio.errors import IntegrityError, InvalidURIError, S3dlioError, from_os_error
from s3dlio.operations import pause
from s3dlio.stores.base import Entry, ObjectInfo, ObjectWriter, Store
from s3dlio.stores.temporary import RESERVED, TemporaryFile
from s3dlio.uri import URI

# Bytes per system call: an operation can be stopped between two of them.
PIECE = 16 << 20

_PAGE = 500  # entries
_UNSIZED_PIECE = 64 << 10
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # NONBLOCK: opening a FIFO must not wait


class FileStore(Store):
    """file://, through the page cache."""

    blocking = True
    scheme = "file"

    # Objects...

    async def get(self, uri: URI) -> memoryview:
        try:
            fd = self._open(uri)
            try:
                size = _size_of_object(fd, uri)
                return await self._read(fd, uri, 0, size) if size else self._read_unsized(fd)
            finally:
                os.close(fd)
        except OSError as error:
            _fail(error, uri, "read")

    async def get_range(self, uri: URI, offset: int, length: int | None) -> memoryview:
        try:
            fd = self._open(uri)
            try:
                size = _size_of_object(fd, uri)
                end = size if length is None else min(size, offset + length)
                return await self._read(fd, uri, offset, end) if offset < end else lease(0)
            finally:
                os.close(fd)
        except OSError as error:
            _fail(error, uri, "read")

    async def chunks(self, uri: URI, size: int) -> AsyncGenerator[memoryview, None]:
        try:
            fd = self._open(uri)
            try:
                end = _size_of_object(fd, uri)
                if not end and len(content := self._read_unsized(fd)):
                    yield content
                for offset in range(0, end, size):
                    yield await self._read(fd, uri, offset, min(end, offset + size))
            finally:
                os.close(fd)
        except OSError as error:
            _fail(error, uri, "read")

    async def put(self, uri: URI, data: memoryview) -> None:
        writer = self.writer(uri)
        try:
            await writer.write(data)
            await writer.close()
        except BaseException:
            await writer.abort()
            raise

    def writer(self, uri: URI, size: int | None = None) -> FileWriter:  # noqa: ARG002
        return FileWriter(uri)

    async def stat(self, uri: URI) -> ObjectInfo:
        try:
            facts = os.stat(uri.key)
        except OSError as error:
            _fail(error, uri, "stat")
        if not modes.S_ISREG(facts.st_mode) or uri.key.endswith("/"):
            raise _not_an_object(uri, facts.st_mode, "stat")
        return {
            "size": facts.st_size,
            "last_modified": datetime.fromtimestamp(facts.st_mtime, timezone.utc),
            "etag": "%x-%x-%x" % (facts.st_ino, facts.st_mtime_ns, facts.st_size),  # noqa: UP031  # half an f-string's time
            "content_type": None,
            "metadata": {},
            "checksums": {},
            "storage_class": None,
            "version": None,
        }

    async def exists(self, uri: URI) -> bool:
        return _has_mode(uri, modes.S_ISREG)

    async def delete(self, uri: URI) -> None:
        if _has_mode(uri, modes.S_ISDIR):
            return  # a folder, or a link to one, is no object
        try:
            os.unlink(uri.key)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                _fail(error, uri, "delete")

    # Folders...

    async def is_prefix(self, uri: URI) -> bool:
        return _has_mode(uri, modes.S_ISDIR)

    async def mkdir(self, uri: URI) -> None:
        try:
            os.makedirs(uri.key, exist_ok=True)
        except FileExistsError as error:
            raise S3dlioError(
                f"cannot make the folder {uri.text}: an object of that name exists", uri=uri.text
            ) from error
        except OSError as error:
            _fail(error, uri, "make the folder")

    async def delete_prefix(self, uri: URI) -> None:
        root = os.path.realpath(uri.key)
        if root == "/":
            raise InvalidURIError(f"{uri.text} is the root of the file system: name a folder below it", uri=uri.text)
        if not os.path.isdir(root):
            return
        try:
            for _ in _remove_tree(root):
                await pause
            if os.path.islink(link := uri.key.rstrip("/")):
                os.unlink(link)
        except OSError as error:
            _fail(error, uri, "delete")

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        for page in _walk(uri, recursive):
            await pause
            if recursive:
                yield [relative + entry.name for relative, found in page for entry in found]
            else:
                yield [entry.name + "/" if entry.is_dir() else entry.name for _, found in page for entry in found]

    async def entries(self, uri: URI) -> AsyncGenerator[list[Entry], None]:
        for page in _walk(uri, recursive=True):
            entries: list[Entry] = []
            for relative, found in page:
                for entry in found:
                    try:
                        entries.append(Entry(relative + entry.name, entry.stat().st_size))
                    except FileNotFoundError:
                        continue  # deleted since its folder was read
                    except OSError as error:
                        _fail(error, uri.child(relative + entry.name), "stat")
            if entries:
                yield entries

    # Bytes...

    def _open(self, uri: URI) -> int:
        return os.open(uri.key, READ)

    def _read_unsized(self, fd: int) -> memoryview:
        """The content of a file that says it has none: empty, or one whose size the kernel does not tell (/proc)."""
        content = bytearray()
        while piece := os.read(fd, _UNSIZED_PIECE):
            content += piece
        return memoryview(content)

    async def _read(self, fd: int, uri: URI, start: int, end: int) -> memoryview:
        """The bytes [start, end) of an open file that holds them; start < end."""
        data = lease(end - start)
        await read_fully(fd, uri, data, start)
        return data


class FileWriter(ObjectWriter):
    """Writes a file through a temporary. What differs with O_DIRECT is in `_create`, `_append` and `_finish`."""

    def __init__(self, uri: URI) -> None:
        self._uri = uri
        self._file: TemporaryFile | None = None

    async def write(self, data: memoryview, *, constant: bool = False) -> None:  # noqa: ARG002
        try:
            await self._append(self._opened(), data)
        except OSError as error:
            _fail(error, self._uri, "write")

    async def close(self) -> None:
        try:
            file = self._opened()
            file.publish(await self._finish(file))
        except OSError as error:
            _fail(error, self._uri, "write")

    async def abort(self) -> None:
        if self._file is not None:
            try:
                self._file.discard()
            except OSError as error:
                _fail(error, self._uri, "remove the temporary file of")

    def _opened(self) -> TemporaryFile:
        if self._file is None:
            name = self._uri.key.rpartition("/")[2]
            if name.startswith(RESERVED):
                raise InvalidURIError(
                    f"{self._uri.text}: names that begin with {RESERVED!r} are kept for temporary files",
                    uri=self._uri.text,
                )
            self._file = TemporaryFile(self._uri.key)
            self._create(self._file)
        return self._file

    def _create(self, file: TemporaryFile) -> None:
        file.create()

    async def _append(self, file: TemporaryFile, data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.write(file.fd, data[done : done + PIECE])
            await pause

    async def _finish(self, file: TemporaryFile) -> bool:  # noqa: ARG002  # direct needs it
        """Bring the last bytes out; returns whether file and folder are to be synced when it is published."""
        return settings.current().file_sync


async def read_fully(fd: int, uri: URI, data: memoryview, offset: int) -> None:
    """Fill `data` with the bytes of the file from `offset` on.

    Raises:
        IntegrityError: the file ends before, so somebody has truncated it since it was opened.
    """
    done, size = 0, len(data)
    while done < size:
        count = os.preadv(fd, [data[done : done + PIECE] if size > PIECE else data[done:]], offset + done)
        if not count:
            raise cut_short(uri, offset + done, offset + size)
        done += count
        if done < size:
            await pause


def cut_short(uri: URI, size: int, expected: int) -> IntegrityError:
    """The error for a file that turned out shorter than it was when it was opened."""
    return IntegrityError(
        f"{uri.text} was cut short while it was read: {size} of {expected} bytes are left; its writer changes it in"
        " place instead of replacing it",
        uri=uri.text,
    )


def _size_of_object(fd: int, uri: URI) -> int:
    facts = os.fstat(fd)
    if not modes.S_ISREG(facts.st_mode):
        raise _not_an_object(uri, facts.st_mode, "read")
    return facts.st_size


def _has_mode(uri: URI, is_mode: Callable[[int], bool]) -> bool:
    try:
        return is_mode(os.stat(uri.key).st_mode)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        _fail(error, uri, "stat")


def _fail(error: OSError, uri: URI, doing: str) -> NoReturn:
    """Raise our exception for a failed system call; one that is ours already goes on as it is."""
    if isinstance(error, S3dlioError):
        raise error
    raise from_os_error(error, uri.text, doing) from error


def _not_an_object(uri: URI, mode: int, doing: str) -> S3dlioError:
    if modes.S_ISDIR(mode):
        return from_os_error(OSError(errno.EISDIR, os.strerror(errno.EISDIR)), uri.text, doing)
    if modes.S_ISREG(mode):
        return from_os_error(OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), uri.text, doing)
    return S3dlioError(f"cannot {doing} {uri.text}: it is a device, a pipe or a socket, not a file", uri=uri.text)


# Listing...

_Level = tuple["os._ScandirIterator[str]", str, str]  # names still to come, relative name, path
_Part = tuple[str, list[os.DirEntry[str]]]  # of a page: the relative name of a folder, and entries in it


def _walk(uri: URI, recursive: bool) -> Iterator[list[_Part]]:
    """Every object below the folder, and, when not recursive, every child folder.

    They come in pages, for a step of a generator for each would cost as much as the entry: a page has parts, each the
    name of a folder below the first ("", or with a final "/"), and entries in it. Open are only the folders on the way
    down to the current one, so memory does not grow with the number of entries.
    """
    root = uri.folder_key
    page: list[_Part] = []
    room = _PAGE
    try:
        open_folders: list[_Level] = [(os.scandir(root), "", root)]
    except OSError as error:
        if error.errno in _NOT_THERE:
            return
        _fail(error, uri, "list")
    try:
        while open_folders:
            folder, relative, _ = open_folders[-1]
            found: list[os.DirEntry[str]] = []
            below = None
            count = 0
            for entry in itertools.islice(folder, room):
                count += 1
                name = entry.name
                if name[0] == "." and name.startswith(RESERVED):  # the first letter rules out nearly all, for less
                    continue
                try:
                    if entry.is_file():
                        found.append(entry)
                    elif entry.is_dir():
                        if not recursive:
                            found.append(entry)
                        elif below := _entered(entry, open_folders):
                            break
                except OSError as error:
                    if error.errno != errno.ELOOP:  # a link to itself is no object
                        raise
            if found:
                page.append((relative, found))
            if below is not None:
                open_folders.append((below, f"{relative}{name}/", entry.path))
            elif count < room:
                folder.close()
                open_folders.pop()
            room -= count
            if not room:
                if page:
                    yield page
                page, room = [], _PAGE
        if page:
            yield page
    except OSError as error:
        _fail(error, uri, "list")
    finally:
        for folder, _, _ in open_folders:
            folder.close()


def _entered(entry: os.DirEntry[str], ancestors: list[_Level]) -> os._ScandirIterator[str] | None:
    """The names in a child folder; None if it is gone, or a link back to a folder it lies in."""
    try:
        if entry.is_symlink():
            facts = entry.stat()
            if any(os.path.samestat(facts, os.stat(path)) for _, _, path in ancestors):
                return None
        return os.scandir(entry.path)
    except FileNotFoundError:
        return None


def _remove_tree(folder: str) -> Iterator[None]:
    """Remove what is below a folder, and the folder; a step for each name. Links are removed, not followed."""
    try:
        names = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with names:
        for entry in names:
            yield
            if entry.is_dir(follow_symlinks=False):
                yield from _remove_tree(entry.path)
            else:
                _unlink_if_there(entry.path)
    try:
        os.rmdir(folder)
    except OSError as error:
        # A mount point stays, and so does a folder that somebody writes into meanwhile.
        if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
