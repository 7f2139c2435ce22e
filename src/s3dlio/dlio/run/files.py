# SPDX-License-Identifier: Apache-2.0
"""Read-only files over memory and over objects, for the libraries that want a file.

Strategy: both are `io.RawIOBase`, whose `read` and `readinto` all of those libraries can work with; they differ in
where `readinto` takes the bytes from.
"""

from __future__ import annotations

import io
from typing import Any

import s3dlio

# Large enough to be split over several connections, small enough that the one copy in flight stays small.
RANGE_BYTES = 64 << 20
# The zip directory and the pickle of a checkpoint are read in pieces of a few bytes that lie close together.
SMALL_RANGE_BYTES = 1 << 20


class _File(io.RawIOBase):
    """A position in something of a known size."""

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
    """A file over a buffer. `io.BytesIO` would copy the whole of it first."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(len(data))
        self._data = data

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


class ObjectFile(_File):
    """A file over an object, of which it holds at most one range in memory.

    PyTorch reads a few bytes at the start and the end, then the tensors one after the other. So a small range
    answers a jump, a large one a read that goes on where the last range ended.

    Args:
        uri: the object.

    Attributes:
        bytes: how many bytes were read from the store.
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
        """Fill the buffer; only the end of the object leaves it short, since PyTorch takes no less."""
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
        """To be called after the last read: each range is of one object, but not all need be of the same.

        Raises:
            IntegrityError: the object was replaced since this file was opened.
        """
        if s3dlio.stat(self._uri)["etag"] != self._etag:
            raise s3dlio.IntegrityError(f"{self._uri}: it was replaced while it was read", uri=self._uri)

    def _fetch(self, wanted: int) -> None:
        """Hold a range that covers the position."""
        start, length = self._position, RANGE_BYTES
        if self._size <= RANGE_BYTES:
            start = 0
        elif self._position != self._range_start + len(self._range):
            length = min(max(wanted, SMALL_RANGE_BYTES), RANGE_BYTES)
        # Dropped first, so that its block can take the next range.
        self._range = memoryview(b"")
        self._range = s3dlio.get_range(self._uri, start, length)
        self._range_start = start
        self.bytes += len(self._range)
        if start + len(self._range) <= self._position:
            raise s3dlio.IntegrityError(
                f"{self._uri}: it ends before byte {self._position} of {self._size}: was it replaced meanwhile?",
                uri=self._uri,
            )
