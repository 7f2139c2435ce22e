# SPDX-License-Identifier: Apache-2.0
"""One whole object by one GET, as one of many: the common case of reading, as a plain request (`objects.batched`).

The answer's head arrives in one piece, and says 200 and how long the body is; the body goes into its final buffer, its
checksum is taken on the way, done. Its target (`memory.target`) counts the bytes that have come: a read is delivered
once the target is full, and never before.

The objects of a data set often have one size, and the heads of their answers then have another: where the last two
answers were alike, the next ones are received into both places at once (`readv`). Every answer is then checked: its
head has to end where that of the last one did, and what is not so is put together and taken as it is. A read of 64 KiB
costs 38 µs of CPU time that way, and 40 otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from s3dlio.http.connection import WOULD_BLOCK
from s3dlio.http.deadlines import Limits, Pace
from s3dlio.http.framing import BodyKind, FramingError, ResponseHead, parse_head
from s3dlio.http.head_patterns import pattern_of
from s3dlio.http.pool import Connections, connections_of
from s3dlio.http.receive import receive_into
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import Expected
from s3dlio.memory.target import Buffer, Target
from s3dlio.objects.batched import (
    NOTHING,
    TOGETHER,
    BatchedRequest,
    BatchedStore,
    ReadDone,
    free_connections,
    head_buffers,
    receive_heads,
    signed,
    tell,
    with_connection,
)
from s3dlio.objects.ranges import RangeStore, mismatch, read_unsplit
from s3dlio.objects.request import Begun
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.poller import READ
from s3dlio.tuning import FEW_IN_FLIGHT, HEAD_BYTES

if TYPE_CHECKING:
    from s3dlio.http.endpoints import Endpoint
    from s3dlio.objects.heads import Heads
    from s3dlio.objects.request import StoreService
    from s3dlio.runtime.engine import Engine
    from s3dlio.uri import URI

_SUMMED = 256 << 10  # bytes after which the checksum is taken further: few enough to be in the cache still
_BRIEF = 0.2  # seconds from which on it is looked at how fast a body moves
_SMALL = 1 << 20  # bytes of an object that takes its steps together with others

_WHOLE = b"HTTP/1.1 200 "


class ReadStore(BatchedStore, RangeStore, Protocol):
    """What a read asks of the store."""

    def service(self) -> StoreService:
        """Where requests go."""


class Read(BatchedRequest, Target):
    """A read, and the target of its body once the head has come."""

    __slots__ = ("_ahead", "_expected", "_memory", "_pace", "_split", "_summed", "filled")

    _expected: Expected | None
    store: ReadStore

    def __init__(self, store: ReadStore, uri: URI, done: ReadDone) -> None:
        """
        Args:
            store, uri, done: see `BatchedRequest`.
        """
        super().__init__(store, uri, done)
        self._memory = NOTHING
        self.size = 0  # until the head has come
        self.filled = 0
        self._ahead = NOTHING  # lent for the body before its size was known
        self._split = 0  # where in the answer that begins
        self._summed = 0  # bytes of the body that are in the checksum
        self._pace: Pace | None = None  # of a body that takes long

    def common(self, endpoint: Endpoint) -> Heads:
        """What the heads of reads have in common, of objects in the same container at an endpoint."""
        return self.store.service().reads(self.uri.container, endpoint)

    def make_head(self, heads: Heads) -> bytes:
        """The head of the request, of what it has in common with others."""
        return heads.head(self.store.path_of(self.uri))

    def fall_back(self, begun: Begun | None) -> Operation[None]:
        """The ordinary operation, which continues with what has begun and calls `done`."""
        return read_one(self.store, self.uri, self._done, begun)

    def _so_far(self, received: bytearray) -> dict[str, Any]:
        if self.head:
            return {"received": self.head, "target": Buffer(self._memory, self.filled)}
        return {"received": received}

    def sum_further(self, _: memoryview) -> None:
        """Add the bytes that have come to the checksum, once there are enough of them."""
        if self.filled - self._summed >= _SUMMED:
            assert self._expected is not None
            self._expected.update(self.received(self._summed))
            self._summed = self.filled

    def is_late(self, now: float, limits: Limits) -> bool:
        """Whether a deadline has passed. A body may take any time while it moves fast enough."""
        if not self.head:
            return now - self.touched > limits.idle or now - self.began > limits.total
        if now - self.began < _BRIEF:
            return now - self.touched > limits.idle
        self._pace = self._pace or Pace(now, self.filled)
        return now - self.touched > limits.idle or self._pace.is_too_slow(now, self.filled, limits)

    @staticmethod
    def begin_together(engine: Engine, reads: list[Read], ended: Callable[[list[Read]], None]) -> None:
        """Sign the requests of some reads, then send them.

        Args:
            engine: drives them.
            reads: new ones.
            ended: called when objects have been delivered, or when something else has to go on in the place of a read.
        """
        for read in with_connection(connections_of(engine), signed(reads, ended, Read.common, Read.make_head)):
            connection, sent = read.connection, read.sent
            assert connection is not None
            try:
                count = connection.sock.send(sent) if connection.tls is None else connection.tls.send(memoryview(sent))
            except OSError:
                count = 0
            if count == len(sent):
                engine.watch(connection.fd, READ, read)
            else:
                read.stop()
                read.end_otherwise(read.begun())

    @staticmethod
    def advance_together(engine: Engine, ready: list[Read]) -> None:
        """Take reads whose sockets are ready as far as they come."""
        connections = connections_of(engine)
        few = len(ready) <= FEW_IN_FLIGHT
        for start in range(0, len(ready), TOGETHER):
            reads = ready[start : start + TOGETHER]
            small = []
            usual = connections.usual_answer
            counts = receive_heads(connections, reads) if usual is None else _receive_alike(connections, reads, *usual)
            for read, (buffer, view), count in zip(reads, connections.head_buffers, counts, strict=False):
                if count:
                    _take_head(read, buffer, view, count)
                if read.size <= _SMALL:
                    small.append(read)
                else:  # takes so long that a server would wait for the next request
                    _receive_bodies([read], engine.now, few=few)
                    _deliver(connections, [read])
            _receive_bodies(small, engine.now, few=few)
            _deliver(connections, small)


async def read_one(store: RangeStore, uri: URI, done: ReadDone, begun: Begun | None = None) -> None:
    """Read a whole object by one request in the ordinary way: with tries, redirections, resumed bodies and errors.

    Args:
        store, uri: the object.
        done: called with its bytes, or with the error.
        begun: what a batched read has already done; None to start from nothing.
    """
    try:
        data = await read_unsplit(store, uri, begun)
    except Exception as error:
        done(error)
    else:
        done(data)


def _receive_alike(connections: Connections, reads: list[Read], head_size: int, size: int) -> list[int]:
    """As `receive_heads`, what is behind so many bytes going where an object of that size belongs."""
    now = connections.engine.now
    counts = []
    for read, (_, view) in zip(reads, head_buffers(connections, len(reads)), strict=False):
        connection, count = read.connection, WOULD_BLOCK
        if connection is not None and not read.head:
            ahead = NOTHING
            try:
                if connection.tls is None:
                    ahead = lease(size)
                    count = os.readv(connection.fd, (view[:head_size], ahead))
                else:
                    count = connection.tls.receive(view)
            except BlockingIOError:
                pass
            except OSError:
                count = 0
            if count > 0:
                read.touched = now
                read._ahead, read._split = ahead, head_size
            elif count != WOULD_BLOCK:
                read.hand_over()
        counts.append(max(count, 0))
    return counts


def _take_head(read: Read, buffer: bytearray, view: memoryview, count: int) -> None:
    """The first `count` bytes of the buffer are the answer's beginning; or those of them that are not in the memory
    that was lent ahead.
    """
    connection = read.connection
    ahead, split, read._ahead = read._ahead, read._split, NOTHING
    if connection is None:  # stopped since it was received
        return
    in_place = len(ahead) > 0 and count > split
    pattern = connection.pattern
    found = None if pattern is None else pattern.match(buffer, 0, split if in_place else count)
    end = 0 if found is None else found.end()
    if end != split and in_place and buffer.find(b"\r\n\r\n", 0, split) + 4 != split:  # the head is another one
        buffer = buffer[:split] + ahead[: count - split]
        view, in_place = memoryview(buffer), False
    if found is None:
        end = split if in_place else buffer.find(b"\r\n\r\n", 0, count) + 4
    head_bytes, body = buffer[:end], ahead[: count - split] if in_place else view[end:count]
    if end < 4 or not buffer.startswith(_WHOLE):
        read.hand_over(head_bytes + body if in_place else buffer[:count])
        return
    verify = read.service.settings.verify_get
    head: ResponseHead | None
    length: int | None
    try:
        if pattern is not None and found is not None:
            length, read.keep_alive = int(found["length"]), pattern.keep_alive
            head = pattern.brief_head(found) if verify else None
        else:
            head = parse_head(head_bytes, "GET")
            connection.pattern = pattern_of(head_bytes, head)
            whole = head.body is BodyKind.LENGTH and "content-range" not in head.headers
            length, read.keep_alive = head.length if whole else None, head.keep_alive
        if not length or len(body) > length:  # what is empty may be a folder
            read.hand_over(head_bytes + body)
            return
        read._expected = read.store.whole_checksum(head) if verify and head is not None else None
        alike = in_place and len(ahead) == length
        read._memory = ahead if alike else lease(length)
    except (FramingError, MemoryError, OverflowError):
        read.hand_over(head_bytes + body)
        return
    read.head, read.size = head_bytes, length
    if alike:
        read.filled = len(body)
    else:
        read.take(body)
        _note_sizes(read.connections, (end, length))


def _note_sizes(connections: Connections, sizes: tuple[int, int]) -> None:
    """Remember how many bytes the head and the body of an answer had."""
    alike = sizes == connections.last_answer and sizes[0] <= HEAD_BYTES and 0 < sizes[1] <= _SMALL
    connections.last_answer, connections.usual_answer = sizes, sizes if alike else None


def _receive_bodies(reads: list[Read], now: float, *, few: bool) -> None:
    """Receive what has arrived of the bodies of reads whose heads have been read; `few` as for `receive_into`."""
    for read in reads:
        connection, before, size = read.connection, read.filled, read.size
        if connection is None or not read.head:
            continue
        expected = read._expected
        if before < size:
            observe = None if expected is None or size <= _SUMMED else read.sum_further
            try:
                is_open = receive_into(read, connection, few, observe)
            except OSError:
                is_open = False
            if read.filled != before:
                read.touched = now
            if not is_open:
                read.hand_over()
                continue
        if expected is not None and read.filled == size:
            expected.update(read.received(read._summed))  # at once: the bytes are in the cache still


def _deliver(connections: Connections, reads: list[Read]) -> None:
    """Deliver the objects that have come whole, and begin the next reads on their connections."""
    whole = [read for read in reads if read.connection is not None and read.head and read.filled == read.size]
    if not whole:
        return
    free_connections(connections, whole)
    for read in whole:
        expected, data, read._memory = read._expected, read.result(), NOTHING  # nobody but the caller holds the bytes
        if expected is None or expected.is_met():
            read.endpoint.worked()
            read._done(data)
        else:
            read.fail_otherwise(mismatch(read.uri.text, expected))
    tell(connections, whole)
