# SPDX-License-Identifier: Apache-2.0
"""file:// — objects as files of any mounted file system.

Reads go with `readv` straight into a pooled buffer, writes through a temporary file and a rename. `direct` inherits
everything here and changes only how bytes are read and written, in the methods under "Bytes".

A folder is never an object: reading a folder, or asking for its facts, fails as for a missing object, as on an object
store. Symbolic links are followed. A link that points nowhere, or to itself, is not an object, and a link that leads
back to one of its own ancestors is not entered.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from typing import NoReturn

from s3dlio.errors import IntegrityError, InvalidURIError, S3dlioError, from_os_error
from s3dlio.memory.buffers import lease
from s3dlio.runtime.operation import pause
from s3dlio.settings import Settings
from s3dlio.stores.base import ObjectWriter, Store
from s3dlio.stores.files import walk
from s3dlio.stores.files.names import RESERVED
from s3dlio.stores.files.special import Special, descriptor_named
from s3dlio.stores.files.temporary import KIND, REGULAR, TemporaryFile
from s3dlio.stores.files.walk import FolderError
from s3dlio.tuning import FILE_PIECE
from s3dlio.types import ObjectInfo, SizedName
from s3dlio.uri import URI

_RESERVED = f"/{RESERVED}"
_UNSIZED_PIECE = 64 << 10  # bytes
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # NONBLOCK: opening a FIFO must not wait


class FileStore(Store):
    """file://, through the page cache."""

    blocking = True
    scheme = "file"

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self.settings = None
        self._settings = settings

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

    async def chunks(
        self, uri: URI, size: int, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        try:
            fd = self._open(uri)
            try:
                whole = _size_of_object(fd, uri)
                end = whole if length is None else min(whole, offset + length)
                if not whole and len(content := self._read_unsized(fd)[offset:][:length]):
                    yield content
                for start in range(offset, end, size):
                    yield await self._read(fd, uri, start, min(end, start + size))
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
        return FileWriter(uri, self._settings)

    async def stat(self, uri: URI) -> ObjectInfo:
        key = uri.key
        try:
            facts = os.stat(key)
        except OSError as error:
            _fail(error, uri, "stat")
        if not modes.S_ISREG(facts.st_mode) or key[-1] == "/":
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
        try:
            facts = _facts(os.stat, uri.key)
            if facts is not None and not modes.S_ISREG(facts.st_mode):
                if modes.S_ISDIR(facts.st_mode):
                    return  # a folder, or a link to one, is not an object
                if not os.path.islink(uri.key):
                    raise _not_an_object(uri, facts.st_mode, "delete")
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
                f"cannot create the folder {uri.text}: an object of that name exists", uri=uri.text
            ) from error
        except OSError as error:
            _fail(error, uri, "create the folder")

    async def delete_prefix(self, uri: URI) -> None:
        root = os.path.realpath(uri.key)
        if root == "/":
            raise InvalidURIError(f"{uri.text} is the root of the file system; name a folder below it", uri=uri.text)
        if not _has_mode(uri, modes.S_ISDIR):
            return
        try:
            for _ in walk.remove(root):
                await pause
            if os.path.islink(link := uri.key.rstrip("/")):
                os.unlink(link)
        except FolderError as error:
            _fail_below(error, uri, "delete")
        except OSError as error:
            _fail(error, uri, "delete")

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        try:
            for page in walk.pages(uri.folder_key, recursive, sizes=False):
                await pause
                if recursive:
                    yield [relative + entry.name for relative, found in page for entry in found]
                else:
                    yield [entry.name + "/" if entry.is_dir() else entry.name for _, found in page for entry in found]
        except FolderError as error:
            _fail_below(error, uri, "list")

    async def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        try:
            for page in walk.pages(uri.folder_key, recursive, sizes=True):
                await pause
                yield [
                    SizedName(f"{entry.name}/", 0)
                    if not recursive and entry.is_dir()
                    else SizedName(relative + entry.name, entry.stat().st_size)
                    for relative, found in page
                    for entry in found
                ]
        except FolderError as error:
            _fail_below(error, uri, "list")

    # Bytes...

    def _open(self, uri: URI) -> int:
        return os.open(uri.key, READ)

    def _read_unsized(self, fd: int) -> memoryview:
        """The content of a file of size 0: it is empty, or the kernel does not report its size (/proc)."""
        content = bytearray()
        while piece := os.read(fd, _UNSIZED_PIECE):
            content += piece
        return memoryview(content)

    async def _read(self, fd: int, uri: URI, start: int, end: int) -> memoryview:
        """The bytes [start, end) of an open file, with start < end <= its size."""
        data = lease(end - start)
        await read_fully(fd, uri, data, start)
        return data


class FileWriter(ObjectWriter):
    """Writes a file through a temporary file, or into a target that is not a regular file (`special`).

    The first `write`, or `close`, opens the target. After that either `_file` or `_special` is set. A subclass for
    O_DIRECT changes `_create`, `_append` and `_finish`.
    """

    def __init__(self, uri: URI, settings: Callable[[], Settings]) -> None:
        self._uri = uri
        self._settings = settings
        self._file: TemporaryFile | None = None
        self._special: Special | None = None

    async def write(self, data: memoryview, *, constant: bool = False) -> None:  # noqa: ARG002
        try:
            file = self._file or self._opened()
            if file is not None:
                await self._append(file, data)
            elif self._special is not None:
                await self._special.write(data)
        except OSError as error:
            self._fail(error)

    async def close(self) -> None:
        try:
            file = self._file or self._opened()
            if file is not None:
                file.publish(await self._finish(file))
            elif self._special is not None:
                self._special.close()
        except OSError as error:
            self._fail(error)

    async def abort(self) -> None:
        try:
            if self._special is not None:
                self._special.close()
            if self._file is not None:
                self._file.discard()
        except OSError as error:
            _fail(error, self._uri, "remove the temporary file of")

    def _opened(self) -> TemporaryFile | None:
        """Open the target. Returns the temporary file, or None if the target is a special one, in `_special`."""
        if self._special is not None:
            return None
        path = self._uri.key
        if _RESERVED in path:
            raise InvalidURIError(
                f"{self._uri.text}: names that begin with {RESERVED!r} are for temporary files; choose another name",
                uri=self._uri.text,
            )
        if path.endswith("/"):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        facts = _facts(os.lstat, path)
        if facts is not None and facts.st_mode & KIND != REGULAR:
            facts = _facts(os.stat, path)
            number = descriptor_named(path)
            if number is not None or (facts is not None and not modes.S_ISREG(facts.st_mode)):
                self._special = Special(path, number)
                return None
            path = os.path.realpath(path)
        self._file = TemporaryFile(path, facts)
        self._create(self._file)
        return self._file

    def _fail(self, error: OSError) -> NoReturn:
        """Raise the exception of s3dlio for a failed system call."""
        if error.errno == errno.ENXIO:
            raise S3dlioError(
                f"cannot write into {self._uri.text}: no process has opened this pipe for reading, or the device does"
                " not exist",
                uri=self._uri.text,
            ) from error
        if self._special is not None:
            _fail(error, self._uri, "write into")
        if self._file is not None and self._file.published:
            _fail(error, self._uri, "sync the folder of the new")
        _fail(error, self._uri, "write")

    def _create(self, file: TemporaryFile) -> None:
        file.create()

    async def _append(self, file: TemporaryFile, data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.write(file.fd, data[done : done + FILE_PIECE])
            if done < len(data):
                await pause

    async def _finish(self, file: TemporaryFile) -> bool:  # noqa: ARG002  # used in a subclass
        """Write the remaining bytes, and return whether file and folder are synced when the file is published."""
        return self._settings().file_sync


async def read_fully(fd: int, uri: URI, data: memoryview, offset: int) -> None:
    """Fill `data` with the bytes of a file that begin at `offset`.

    Raises:
        IntegrityError: the file ends earlier, so another process has truncated it after it was opened.
    """
    done, size = 0, len(data)
    piece = data if size <= FILE_PIECE else data[:FILE_PIECE]
    while count := os.preadv(fd, [piece], offset + done):
        done += count
        if done == size:
            return
        await pause
        piece = data[done : done + FILE_PIECE]
    raise cut_short(uri, offset + done, offset + size)


def cut_short(uri: URI, size: int, expected: int) -> IntegrityError:
    """The error for a file of `size` bytes that had `expected` bytes when it was opened."""
    return IntegrityError(
        f"{uri.text} was truncated while it was read: {size} of {expected} bytes are left; read it again"
        " after its writer has finished, or let the writer replace the file instead",
        uri=uri.text,
    )


def _size_of_object(fd: int, uri: URI) -> int:
    """The size of an open file; raises an error for anything but a regular file."""
    facts = os.fstat(fd)
    if not modes.S_ISREG(facts.st_mode):
        raise _not_an_object(uri, facts.st_mode, "read")
    return facts.st_size


def _has_mode(uri: URI, is_mode: Callable[[int], bool]) -> bool:
    """Whether the path exists and has a mode, as `stat.S_ISDIR` tests it. Links are followed."""
    try:
        return is_mode(os.stat(uri.key).st_mode)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        _fail(error, uri, "stat")


def _facts(stat: Callable[[str], os.stat_result], path: str) -> os.stat_result | None:
    """The result of `os.stat` or `os.lstat`; None if the path does not exist."""
    try:
        return stat(path)
    except FileNotFoundError:
        return None


def _fail(error: OSError, uri: URI, doing: str) -> NoReturn:
    """Raise the exception of s3dlio for a failed system call. An exception of s3dlio is raised unchanged."""
    if isinstance(error, S3dlioError):
        raise error
    raise from_os_error(error, uri.text, doing) from error


def _fail_below(failed: FolderError, uri: URI, doing: str) -> NoReturn:
    """Raise the exception of s3dlio for a system call that failed in the tree below `uri`."""
    _fail(failed.error, uri.child(failed.name) if failed.name else uri, doing)


def _not_an_object(uri: URI, mode: int, doing: str) -> S3dlioError:
    """The error for a path that is not a regular file, or that ends in "/"."""
    if modes.S_ISDIR(mode):
        return from_os_error(OSError(errno.EISDIR, os.strerror(errno.EISDIR)), uri.text, doing)
    if modes.S_ISREG(mode):
        return from_os_error(OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), uri.text, doing)
    return S3dlioError(f"cannot {doing} {uri.text}: it is a device, a pipe or a socket, not a file", uri=uri.text)
