# SPDX-License-Identifier: Apache-2.0
"""Read-only files over a buffer and over an object, for libraries that need a file.

Strategy: both classes derive from `io.RawIOBase`, whose `read` and `readinto` are enough for those libraries. They
differ in where `readinto` takes the bytes from.
"""

from __future__ import annotations

import io
from typing import Any

import s3dlio

# Large enough to be read over several connections, small enough that a copy of it takes little memory.
RANGE_BYTES = 64 << 20
# PyTorch reads the zip directory and the pickle of a checkpoint in pieces of a few bytes that lie close together.
SMALL_RANGE_BYTES = 1 << 20
_AGAIN = "read the object again when no other program writes it"


class _File(io.RawIOBase):
    """What both files share: a position, and a size that is known from the start."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position


class BufferFile(_File):
    """A file over a buffer. `io.BytesIO` would copy the whole buffer first."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(len(data))
        self._data = data

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


class ObjectFile(_File):
    """A file over an object, which holds at most one range of the object in memory.

    PyTorch reads a few bytes at the start and the end, then one tensor after another. So a read at a new position gets
    a small range, and a read that continues where the last range ended gets a large one.

    Args:
        uri: the object.

    Attributes:
        bytes: number of bytes read from the store.
    """

    def __init__(self, uri: str) -> None:
        facts = s3dlio.stat(uri)
        super().__init__(facts["size"])
        self._uri = uri
        self._etag = facts["etag"]
        self._range = memoryview(b"")
        self._range_start = -1
        self.bytes = 0

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, up to the end of the object: PyTorch does not accept a short read."""
        target = memoryview(buffer)[: max(0, self._size - self._position)]
        filled = 0
        while filled < len(target):
            inside = self._position - self._range_start
            if not 0 <= inside < len(self._range):
                self._fetch(len(target) - filled)
                continue
            length = min(len(self._range) - inside, len(target) - filled)
            target[filled : filled + length] = self._range[inside : inside + length]
            filled += length
            self._position += length
        return filled

    def verify(self) -> None:
        """Check, after the last read, that all ranges come from the same version of the object.

        Raises:
            IntegrityError: the object was replaced after this file was opened.
        """
        if s3dlio.stat(self._uri)["etag"] != self._etag:
            raise s3dlio.IntegrityError(f"{self._uri} was replaced while it was read; {_AGAIN}", uri=self._uri)

    def _fetch(self, wanted: int) -> None:
        """Read the range that the position lies in. `wanted` is how many bytes the caller still needs."""
        start, length = self._position, RANGE_BYTES
        if self._size <= RANGE_BYTES:
            start = 0
        elif self._position != self._range_start + len(self._range):
            length = min(max(wanted, SMALL_RANGE_BYTES), RANGE_BYTES)
        # Drop the old range first, so that the new one can use the same memory.
        self._range = memoryview(b"")
        self._range = s3dlio.get_range(self._uri, start, length)
        self._range_start = start
        self.bytes += len(self._range)
        if start + len(self._range) <= self._position:
            raise s3dlio.IntegrityError(
                f"{self._uri} now ends before byte {self._position} of {self._size}, so it was replaced while it was"
                f" read; {_AGAIN}",
                uri=self._uri,
            )
