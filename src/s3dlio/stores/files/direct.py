# SPDX-License-Identifier: Apache-2.0
"""direct:// — files read and written with O_DIRECT, past the page cache.

The kernel requires offset, length and memory aligned to the blocks of the device. A read takes the aligned range around
the wanted bytes into an aligned pooled block, and returns the view inside of it. A write goes out in whole aligned
blocks; the last one is padded, and the file is then cut to its size. A large range is read and written in segments,
several in flight, by threads that end with the call. Everything else is inherited from `file`.

A file system without O_DIRECT answers EINVAL, at open or at the first transfer. A warning then says so, once per file
system, and the bytes go through the page cache, from which they are dropped immediately. With S3DLIO_DIRECT_STRICT=1
this is an error instead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat as modes
from collections.abc import Callable

from s3dlio.errors import ConfigurationError
from s3dlio.log import logger
from s3dlio.memory.buffers import PAGE, lease
from s3dlio.runtime.operation import pause
from s3dlio.runtime.threads import for_each
from s3dlio.settings import Settings
from s3dlio.stores.files.file import READ, FileStore, FileWriter, cut_short
from s3dlio.stores.files.temporary import TemporaryFile
from s3dlio.tuning import DIRECT_SEGMENT, FILE_PIECE, POOLED_FROM
from s3dlio.uri import URI

_WINDOW = 256 << 20  # bytes; a large read can be stopped between two windows

_warned: dict[int, object] = {}  # devices about which a warning was logged


class DirectStore(FileStore):
    """direct://, past the page cache."""

    scheme = "direct"

    def writer(self, uri: URI, size: int | None = None) -> DirectWriter:  # noqa: ARG002
        return DirectWriter(uri, self._settings)

    def _open(self, uri: URI) -> int:
        try:
            return os.open(uri.key, READ | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        fd = os.open(uri.key, READ)
        try:
            if modes.S_ISREG(os.fstat(fd).st_mode):  # a folder answers EINVAL as well
                _accept_page_cache(fd, uri, self._settings())
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _read_unsized(self, fd: int) -> memoryview:
        return lease(0) if _is_direct(fd) else super()._read_unsized(fd)

    async def _read(self, fd: int, uri: URI, start: int, end: int) -> memoryview:
        # The aligned range [first, last) around the wanted bytes is read, and the wanted part of the block returned. A
        # descriptor whose O_DIRECT fails at the first transfer loses the flag: hence the second question.
        first, last = start - start % PAGE, end + -end % PAGE
        if _is_direct(fd):
            block = lease(last - first, aligned=True)
            for window in range(first, last, _WINDOW):
                if window > first:
                    await pause
                read_segment = _reader(fd, uri, block, first, end, self._settings)
                offsets = range(window, min(window + _WINDOW, last), DIRECT_SEGMENT)
                _for_each_segment(offsets, read_segment, self._settings)
            data = block[start - first : end - first]
            if len(data) < POOLED_FROM:
                data = memoryview(bytearray(data))
        else:
            data = await super()._read(fd, uri, start, end)
        if not _is_direct(fd):
            os.posix_fadvise(fd, first, last - first, os.POSIX_FADV_DONTNEED)
        return data


def _reader(
    fd: int, uri: URI, block: memoryview, first: int, end: int, settings: Callable[[], Settings]
) -> Callable[[int], None]:
    """A function that reads the segment at an offset into `block`, whose first byte is that of the file at `first`."""

    def read_segment(offset: int) -> None:
        stop = min(offset + DIRECT_SEGMENT, first + len(block))
        left_direct = False
        while offset < min(stop, end):
            try:
                count = os.preadv(fd, [block[offset - first : stop - first]], offset)
            except OSError as error:
                if error.errno != errno.EINVAL or left_direct:
                    raise
                _leave_direct(fd, uri, settings())
                left_direct = True
                continue

            if offset + count < end and (not count or count % PAGE):
                # This is the end of the file, unless a signal or a server cut the transfer short: then read the rest.
                whole = count - count % PAGE
                if not whole or os.fstat(fd).st_size < end:
                    raise cut_short(uri, offset + count, end)
                count = whole
            offset += count

    return read_segment


class DirectWriter(FileWriter):
    """Writes whole aligned segments. Bytes that do not fill a segment wait in `_block`."""

    def __init__(self, uri: URI, settings: Callable[[], Settings]) -> None:
        super().__init__(uri, settings)
        self._block: memoryview | None = None
        self._waiting = 0  # bytes in the block
        self._written = 0  # bytes in the file

    def _create(self, file: TemporaryFile) -> None:
        super()._create(file)
        try:
            # Not at open: a file system that refuses O_DIRECT has created the file by then.
            fcntl.fcntl(file.fd, fcntl.F_SETFL, fcntl.fcntl(file.fd, fcntl.F_GETFL) | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _accept_page_cache(file.fd, self._uri, self._settings())

    async def _append(self, file: TemporaryFile, data: memoryview) -> None:
        if self._waiting:
            data = data[self._fill(data) :]
            if self._waiting == DIRECT_SEGMENT:
                self._flush(file)
        whole = len(data) - len(data) % DIRECT_SEGMENT
        for start in range(0, whole, FILE_PIECE):
            self._write_segments(file, data[start : min(whole, start + FILE_PIECE)])
            await pause
        self._fill(data[whole:])

    async def _finish(self, file: TemporaryFile) -> bool:
        if self._waiting:
            assert self._block is not None
            size = self._written + self._waiting
            padded = self._waiting + -self._waiting % PAGE
            self._block[self._waiting : padded] = bytes(padded - self._waiting)
            self._write(file, self._block[:padded], self._written)
            os.ftruncate(file.fd, size)
        os.fdatasync(file.fd)
        if not _is_direct(file.fd):
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return await super()._finish(file)

    def _fill(self, data: memoryview) -> int:
        """Copy bytes into the block until it is full, and return how many."""
        count = min(len(data), DIRECT_SEGMENT - self._waiting)
        if count:
            if self._block is None:
                self._block = lease(DIRECT_SEGMENT)
            self._block[self._waiting : self._waiting + count] = data[:count]
            self._waiting += count
        return count

    def _flush(self, file: TemporaryFile) -> None:
        assert self._block is not None
        self._write(file, self._block, self._written)
        self._written += DIRECT_SEGMENT
        self._waiting = 0

    def _write_segments(self, file: TemporaryFile, data: memoryview) -> None:
        """Write whole segments, each copied into an aligned block first."""

        def write_segment(offset: int) -> None:
            block = lease(DIRECT_SEGMENT)
            block[:] = data[offset : offset + DIRECT_SEGMENT]
            self._write(file, block, self._written + offset)

        _for_each_segment(range(0, len(data), DIRECT_SEGMENT), write_segment, self._settings)
        self._written += len(data)

    def _write(self, file: TemporaryFile, block: memoryview, offset: int) -> None:
        done = 0
        left_direct = False
        while done < len(block):
            try:
                count = os.pwrite(file.fd, block[done:], offset + done)
                done += count - count % PAGE or count  # write a block again of which only a part was written
            except OSError as error:
                if error.errno != errno.EINVAL or left_direct:
                    raise
                _leave_direct(file.fd, self._uri, self._settings())
                left_direct = True


def _for_each_segment(offsets: range, work: Callable[[int], None], settings: Callable[[], Settings]) -> None:
    """Call `work` with the offset of each segment, S3DLIO_DIRECT_IN_FLIGHT of them at a time."""
    if len(offsets) == 1:
        work(offsets[0])
    else:
        for_each(offsets, work, min(len(offsets), settings().direct_in_flight), at_once=True)


def _is_direct(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


def _leave_direct(fd: int, uri: URI, settings: Settings) -> None:
    """Continue through the page cache: the file system accepts O_DIRECT at open, but fails every transfer.

    Several threads may call this with the same descriptor.
    """
    _accept_page_cache(fd, uri, settings)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT)


def _accept_page_cache(fd: int, uri: URI, settings: Settings) -> None:
    """Warn, once per file system, that it has no O_DIRECT.

    Raises:
        ConfigurationError: the settings forbid the page cache.
    """
    if settings.direct_strict:
        raise ConfigurationError(
            f"{uri.text}: this file system does not support O_DIRECT, and S3DLIO_DIRECT_STRICT=1 forbids the page"
            " cache; use file://, another file system, or S3DLIO_DIRECT_STRICT=0",
            uri=uri.text,
        )
    device = os.fstat(fd).st_dev
    mark = object()
    if _warned.setdefault(device, mark) is mark:  # the first of several threads
        logger.warning(
            "the file system of %s does not support O_DIRECT: direct:// uses the page cache there, and drops from it"
            " what it has read or written",
            uri.text,
        )
