# SPDX-License-Identifier: Apache-2.0
"""Write an object: in one request, or in parts if it is large.

Up to a threshold an object is one request. A larger object is sent in parts of equal size, side by side, from the
caller's memory, which must not change meanwhile (a writer copies what it is given). The service then joins the parts to
one object. A part that fails is sent again alone. If the upload fails, the service is asked to drop its parts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from s3dlio.memory.buffers import lease
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Stopped
from s3dlio.settings import MIB, Settings
from s3dlio.tuning import PARTS_COLLECTED
from s3dlio.uri import URI

_LARGEST_PART = 4 << 30


class PartsStore(Protocol):
    """What writing an object needs from its store.

    Attributes:
        settings: those of this call.
        most_parts: the most parts that an object may have.
    """

    settings: Settings
    most_parts: ClassVar[int]

    def require_key(self, uri: URI) -> None:
        """Raise InvalidURIError if the URI names a bucket instead of an object."""

    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        """Write the object in one request, and check what was stored."""

    async def begin_parts(self, uri: URI) -> Any:
        """Begin an object of parts; returns a handle that names this upload."""

    def parts_at_a_time(self, upload: Any) -> int:
        """How many parts of an upload may be sent side by side; with 1 they are sent in order."""

    async def put_part(self, uri: URI, upload: Any, number: int, data: list[memoryview]) -> Any:
        """Write one part, counted from 1, and check what was stored; returns what `finish_parts` needs of it."""

    async def finish_parts(self, uri: URI, upload: Any, parts: list[Any], size: int) -> None:
        """Join the parts, in order, to one object of `size` bytes."""

    async def drop_parts(self, uri: URI, upload: Any) -> None:
        """Throw away an upload."""


async def put(store: PartsStore, uri: URI, data: memoryview) -> None:
    """Write an object, in parts if it is larger than S3DLIO_MULTIPART_THRESHOLD_MB. The data must not change."""
    store.require_key(uri)
    settings = store.settings
    if len(data) <= settings.multipart_threshold_mb * MIB:
        await store.put_whole(uri, [data])
        return
    size = part_size(len(data), store.most_parts, settings)
    upload = await store.begin_parts(uri)
    try:
        parts: list[Any] = [None] * -(-len(data) // size)

        async def put_part(index: int) -> None:
            parts[index] = await store.put_part(uri, upload, index + 1, [data[index * size : (index + 1) * size]])

        await Gather(map(put_part, range(len(parts))), store.parts_at_a_time(upload))
        await store.finish_parts(uri, upload, parts, len(data))
    except BaseException:
        await store.drop_parts(uri, upload)
        raise


class CloudWriter:
    """Writes an object in pieces (`stores.base.ObjectWriter`): a small object in one request, a larger one in parts.

    All parts but the last are equal if the size is known, because some services require that. Otherwise they grow.

    A part is copied into a pooled buffer before its checksum is computed and it is sent: another thread or process may
    refill the caller's memory at any time, and a service refuses bytes that do not have the checksum sent with them.
    The copy costs 0.09 ms of CPU time per MiB, a third of what sending takes otherwise. The whole parts of a large
    write are copied when their turn comes, so that a copy of all of it never exists. Only data that is said to be
    constant is sent from the caller's memory.

    The bytes written so far are, in order: `_parts`, which were sent; `_full`, which wait until several can be sent
    side by side; and the first `_filled` bytes of `_buffer`. No upload exists before the first part is sent.
    """

    def __init__(self, store: PartsStore, uri: URI, size: int | None = None) -> None:
        """`size` is the number of bytes that the object will have, if known."""
        self._store = store
        self._uri = uri
        self._expected = 0 if size is None else size
        self._equal = 0 if size is None else part_size(size, store.most_parts, store.settings)
        self._upload: Any = None
        self._parts: list[Any] = []  # what `finish_parts` needs of each
        self._full: list[memoryview] = []
        self._buffer: memoryview | None = None
        self._filled = 0
        self._size = 0  # bytes written so far

    async def write(self, data: memoryview, *, constant: bool = False) -> None:
        try:
            await self._write(data, constant)
        except Stopped:  # undone here, because the time limit for undoing is that of the operation that is stopped
            await self.abort()
            raise

    async def close(self) -> None:
        try:
            await self._close()
        except Stopped:
            await self.abort()
            raise

    async def abort(self) -> None:
        self._full, self._buffer, self._filled = [], None, 0
        if self._upload is not None:
            upload, self._upload = self._upload, None
            await self._store.drop_parts(self._uri, upload)

    async def _write(self, data: memoryview, constant: bool) -> None:
        self._size += len(data)
        ready: list[memoryview] = []  # whole parts, in the caller's memory
        while len(data):
            size = self._next_part_size(len(self._full) + len(ready))
            if not self._filled and len(data) >= size:
                ready.append(data[:size])
                data = data[size:]
                continue
            if self._buffer is None:
                self._buffer = lease(size)
            count = min(len(self._buffer) - self._filled, len(data))
            self._buffer[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == len(self._buffer):
                self._full.append(self._buffer)  # precedes everything in `ready`: a buffer is filled up first
                self._buffer, self._filled = None, 0
        if ready or len(self._full) >= min(PARTS_COLLECTED, self._store.settings.parts_in_flight):
            parts, self._full = [*self._full, *ready], []
            await self._send(parts, 0 if constant else len(ready))

    async def _close(self) -> None:
        parts, self._full = self._full, []
        if self._filled:
            assert self._buffer is not None
            parts.append(self._buffer[: self._filled])
            self._buffer, self._filled = None, 0
        if self._upload is None and self._size <= self._store.settings.multipart_threshold_mb * MIB:
            await self._store.put_whole(self._uri, parts)
            return
        await self._send(parts)
        await self._store.finish_parts(self._uri, self._upload, self._parts, self._size)
        self._upload = None

    async def _send(self, parts: list[memoryview], to_copy: int = 0) -> None:
        """Send parts side by side; the last `to_copy` of them are copied first."""
        if self._upload is None:
            self._upload = await self._store.begin_parts(self._uri)
        first = len(self._parts)
        self._parts += [None] * len(parts)

        async def put(index: int) -> None:
            part = parts[index] if index < len(parts) - to_copy else _copied(parts[index])
            self._parts[first + index] = await self._store.put_part(self._uri, self._upload, first + index + 1, [part])

        await Gather(map(put, range(len(parts))), self._store.parts_at_a_time(self._upload))

    def _next_part_size(self, waiting: int) -> int:
        """Bytes of the part that follows those that were sent and `waiting` others.

        The parts of an object of known size are equal. Other parts, and those beyond the known size, double in size
        after each tenth of the most parts that there may be, so that terabytes fit.
        """
        number = len(self._parts) + waiting
        if number * self._equal < self._expected:
            return self._equal
        first = _first_part_size(self._store.settings)
        growing = min(_LARGEST_PART, first << (number * 10 // self._store.most_parts))
        return max(growing, self._equal)


def _copied(data: memoryview) -> memoryview:
    """A copy in pooled memory."""
    copy = lease(len(data))
    copy[:] = data
    return copy


def part_size(total: int, most_parts: int, settings: Settings) -> int:
    """Bytes of each part of an object of known size: S3DLIO_PUT_PART_MB, or more whole MiB if `most_parts` require."""
    least = -(-total // most_parts)
    return max(_first_part_size(settings), -(-least // MIB) * MIB)


def _first_part_size(settings: Settings) -> int:
    """S3DLIO_PUT_PART_MB as a multiple of 256 KiB: GCS requires that of every part but the last."""
    return int(settings.put_part_mb * 4) << 18
