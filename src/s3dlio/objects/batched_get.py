# SPDX-License-Identifier: Apache-2.0
"""Batched reads: a whole object by one GET, as one of many (`objects.batched`).

The usual answer has a head that arrives in one piece, with status 200 and the length of the body. The body is received
into its final memory, and its checksum is computed on the way. A read is the target of its own body (`memory.target`):
it counts the bytes that have been received, and is delivered when all have.

The objects of a data set often have one size, and the heads of their answers one length. If the last two answers agreed
in both, the next ones are received into two buffers at once (`readv`): the head into the usual buffer, the body into
memory that was leased ahead. Every answer is then checked: if its head does not end where that of the last answer did,
the two pieces are joined and read like any other answer. A read of 64 KiB costs 38 µs of CPU time this way, and 40
otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from s3dlio.errors import add_endpoint
from s3dlio.http.connection import WOULD_BLOCK
from s3dlio.http.deadlines import Limits, Pace
from s3dlio.http.framing import BodyKind, FramingError, parse_head
from s3dlio.http.head_patterns import pattern_of
from s3dlio.http.pool import Connections, connections_of
from s3dlio.http.receive import receive_into
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import Expected
from s3dlio.memory.target import Buffer, Target
from s3dlio.objects.batched import (
    NO_MEMORY,
    BatchedRequest,
    BatchedStore,
    ReadDone,
    connect,
    head_buffers,
    receive_heads,
    release,
    report,
    sign,
)
from s3dlio.objects.one_range import RangeStore, mismatch
from s3dlio.objects.ranges import read_unsplit
from s3dlio.objects.request import Begun
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.poller import READ
from s3dlio.tuning import BRIEF_BODY, FEW_IN_FLIGHT, HEAD_BYTES, REQUESTS_IN_STEP, SMALL_OBJECT, SUMMED_BYTES

if TYPE_CHECKING:
    from s3dlio.http.endpoints import Endpoint
    from s3dlio.objects.heads import Heads
    from s3dlio.objects.request import StoreService
    from s3dlio.runtime.engine import Engine
    from s3dlio.uri import URI

_WHOLE = b"HTTP/1.1 200 "


class ReadStore(BatchedStore, RangeStore, Protocol):
    """What a batched read needs from the store that holds the object."""

    def service(self) -> StoreService:
        """Where requests go."""


class BatchedRead(BatchedRequest, Target):
    """A batched read. It is the target of its body once the head has been read."""

    __slots__ = ("_ahead", "_expected", "_memory", "_pace", "_split", "_summed", "filled")

    _expected: Expected | None
    store: ReadStore

    def __init__(self, store: ReadStore, uri: URI, done: ReadDone, item: Any) -> None:
        """`done` is called with `item`, the caller's name for the object, and the bytes of the object or the error."""
        BatchedRequest.__init__(self, store, uri, done, item)  # `super()` costs 300 instructions for each object
        self._memory = NO_MEMORY
        self.size = 0  # until the head has been read
        self.filled = 0
        self._ahead = NO_MEMORY  # leased for the body before its size is known
        self._split = 0  # how many bytes of the answer were not received into that
        self._summed = 0  # bytes of the body that are in the checksum
        self._pace: Pace | None = None  # of a body that takes long

    @staticmethod
    def begin_together(engine: Engine, new: list[BatchedRead], on_end: Callable[[list[BatchedRead]], None]) -> None:
        """Sign the requests of new reads, then send them (see `engine.Batched`)."""
        for read in connect(connections_of(engine), sign(new, on_end)):
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
                read.fall_back(read.begun())

    @staticmethod
    def advance_together(engine: Engine, ready: list[BatchedRead]) -> None:
        """Receive the answers of reads whose sockets are ready, as far as they have arrived (see `engine.Batched`)."""
        connections = connections_of(engine)
        few = len(ready) <= FEW_IN_FLIGHT
        for start in range(0, len(ready), REQUESTS_IN_STEP):
            reads = ready[start : start + REQUESTS_IN_STEP]
            small = []
            usual = connections.usual_answer
            counts = receive_heads(connections, reads) if usual is None else _receive_alike(connections, reads, *usual)
            for read, (buffer, view), count in zip(reads, connections.head_buffers, counts, strict=False):
                if count:
                    _take_head(read, buffer, view, count)
                if read.size <= SMALL_OBJECT:
                    small.append(read)
                else:  # takes so long that its server would wait for the next request if others came first
                    _receive_bodies([read], engine.now, few=few)
                    _deliver(connections, [read])
            _receive_bodies(small, engine.now, few=few)
            _deliver(connections, small)

    def heads_at(self, endpoint: Endpoint) -> Heads:
        return self.store.service().reads(self.uri.container, endpoint)

    def make_head(self, heads: Heads) -> bytes:
        return heads.head(self.store.path_of(self.uri))

    def ordinary(self, begun: Begun | None) -> Operation[None]:
        return read_one(self.store, self.uri, self._done, self._item, begun)

    def is_late(self, now: float, limits: Limits) -> bool:
        """Whether a deadline has passed. A body may take any time while it moves fast enough."""
        if not self.head:
            return now - self.touched > limits.idle or now - self.began > limits.total
        if now - self.began < BRIEF_BODY:
            return now - self.touched > limits.idle
        self._pace = self._pace or Pace(now, self.filled)
        return now - self.touched > limits.idle or self._pace.is_too_slow(now, self.filled, limits)

    def update_checksum(self, _: memoryview) -> None:
        """Add the bytes that have been received to the checksum, once there are enough of them."""
        if self.filled - self._summed >= SUMMED_BYTES:
            assert self._expected is not None
            self._expected.update(self.received(self._summed))
            self._summed = self.filled

    def _so_far(self, received: bytearray) -> dict[str, Any]:
        if self.head:
            return {"received": self.head, "target": Buffer(self._memory, self.filled)}
        return {"received": received}


async def read_one(store: RangeStore, uri: URI, done: ReadDone, item: Any, begun: Begun | None = None) -> None:
    """Read a whole object by one request in the ordinary way: with tries, redirections, resumed bodies and errors.

    The request may have been begun by a batched read. `done` is called with `item`, the caller's name for the object.
    """
    try:
        data = await read_unsplit(store, uri, begun)
    except Exception as error:
        done(item, error)
    else:
        done(item, data)


# The head of an answer...


def _receive_alike(connections: Connections, reads: list[BatchedRead], head_size: int, size: int) -> list[int]:
    """Receive the first bytes of answers as `receive_heads` does, each into two buffers.

    The first `head_size` bytes go into the usual buffer, and what follows into leased memory of `size` bytes.
    """
    now = connections.engine.now
    counts = []
    for read, (_, view) in zip(reads, head_buffers(connections, len(reads)), strict=False):
        connection, count = read.connection, WOULD_BLOCK
        if connection is not None and not read.head:
            ahead = NO_MEMORY
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


def _take_head(read: BatchedRead, buffer: bytearray, view: memoryview, count: int) -> None:
    """Find the end of the head in the first `count` bytes of an answer, and begin the body.

    The bytes are in `buffer`, which `view` shows. If memory was leased ahead, only the first `split` bytes are in the
    buffer and the others in that memory. There they stay if the head ends at `split` (`in_place`); otherwise the two
    pieces are joined. Whether the head ends there is known at once if it matches the pattern of the last head on this
    connection, and is looked for otherwise.
    """
    connection = read.connection
    ahead, split, read._ahead = read._ahead, read._split, NO_MEMORY
    if connection is None:  # stopped since the bytes were received
        return
    in_place = len(ahead) > 0 and count > split
    pattern = connection.pattern
    found = None if pattern is None else pattern.match(buffer, 0, split if in_place else count)
    end = 0 if found is None else found.end()
    if end != split and in_place and buffer.find(b"\r\n\r\n", 0, split) + 4 != split:
        buffer = buffer[:split] + ahead[: count - split]
        view, in_place = memoryview(buffer), False
    if found is None:
        end = split if in_place else buffer.find(b"\r\n\r\n", 0, count) + 4
    head, body = buffer[:end], ahead[: count - split] if in_place else view[end:count]
    if end < 4 or not buffer.startswith(_WHOLE):
        read.hand_over(head + body if in_place else buffer[:count])
    elif not _begin_body(read, head, body, found, ahead if in_place else NO_MEMORY):
        read.hand_over(head + body)


def _begin_body(
    read: BatchedRead, head: bytearray, body: memoryview, found: re.Match[bytes] | None, ahead: memoryview
) -> bool:
    """Read the head of an answer and take the bytes of its body that came with it.

    `found` is the match of the head with the connection's pattern; None if it has not matched. `ahead` is memory that
    begins with `body`; empty if `body` is elsewhere.

    Returns:
        False if the answer is unusual: nothing has been taken.
    """
    connection, parsed, verify = read.connection, None, read.service.settings.verify_get
    assert connection is not None
    pattern = connection.pattern
    length: int | None
    try:
        if pattern is not None and found is not None:
            length, read.keep_alive = int(found["length"]), pattern.keep_alive
            if verify:
                parsed = pattern.brief_head(found)
        else:
            parsed = parse_head(head, "GET")
            connection.pattern = pattern_of(head, parsed)
            whole = parsed.body is BodyKind.LENGTH and "content-range" not in parsed.headers
            length, read.keep_alive = parsed.length if whole else None, parsed.keep_alive
        if not length or len(body) > length:  # an empty object may be a folder, which the ordinary operation checks
            return False
        read._expected = read.store.whole_checksum(parsed) if verify and parsed is not None else None
        read._memory = ahead if len(ahead) == length else lease(length)
    except (FramingError, MemoryError, OverflowError):
        return False
    read.head, read.size = head, length
    if read._memory is ahead:
        read.filled = len(body)
    else:
        read.take(body)
        _note_sizes(read.connections, (len(head), length))
    return True


def _note_sizes(connections: Connections, sizes: tuple[int, int]) -> None:
    """Remember the sizes of the head and the body of an answer; they are usual if the last answer had the same."""
    alike = sizes == connections.last_answer and sizes[0] <= HEAD_BYTES and 0 < sizes[1] <= SMALL_OBJECT
    connections.last_answer, connections.usual_answer = sizes, sizes if alike else None


# The body of an answer...


def _receive_bodies(reads: list[BatchedRead], now: float, *, few: bool) -> None:
    """Receive what has arrived of the bodies of reads whose heads have been read; `few` as for `receive_into`."""
    for read in reads:
        connection, before, size = read.connection, read.filled, read.size
        if connection is None or not read.head:
            continue
        expected = read._expected
        if before < size:
            observe = None if expected is None or size <= SUMMED_BYTES else read.update_checksum
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
            expected.update(read.received(read._summed))  # now, while the bytes are in the cache


def _deliver(connections: Connections, reads: list[BatchedRead]) -> None:
    """Deliver the objects that have been received as a whole; the next reads then use their connections."""
    whole = [read for read in reads if read.connection is not None and read.head and read.filled == read.size]
    if not whole:
        return
    release(connections, whole)
    for read in whole:
        expected, data, read._memory = read._expected, read.result(), NO_MEMORY  # only the caller keeps the bytes
        if expected is None or expected.is_met():
            read.endpoint.worked()
            read.finish(data)
        else:
            error = mismatch(read.uri.text, expected)
            add_endpoint(error, read.heads.address.url)
            read.finish(error)
    report(connections, whole)
