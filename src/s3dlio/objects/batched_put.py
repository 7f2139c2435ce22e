# SPDX-License-Identifier: Apache-2.0
"""Batched writes: a whole object by one PUT, as one of many (`objects.batched`).

Head and body are sent in one piece from the caller's memory, with the checksum of the body in the head. The usual
answer has status 200 and no body.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from s3dlio.http.exchange import CONFIRMED_BYTES, without_first
from s3dlio.http.framing import BodyKind, FramingError, ResponseHead, parse_head
from s3dlio.http.head_patterns import pattern_of
from s3dlio.http.pool import Connections, connections_of
from s3dlio.objects.batched import (
    BatchedRequest,
    BatchedStore,
    WriteDone,
    connect,
    receive_heads,
    release,
    report,
    sign,
)
from s3dlio.objects.request import Begun, FirstTry, send
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.poller import READ
from s3dlio.tuning import REQUESTS_IN_STEP

if TYPE_CHECKING:
    from s3dlio.http.address import Address
    from s3dlio.http.deadlines import Limits
    from s3dlio.http.endpoints import Endpoint
    from s3dlio.objects.heads import Heads
    from s3dlio.objects.request import WriteService
    from s3dlio.runtime.engine import Engine
    from s3dlio.uri import URI

_STORED = b"HTTP/1.1 200 "


class WriteStore(BatchedStore, Protocol):
    """What a batched write needs from the store that holds the object."""

    def put(self, uri: URI, data: memoryview) -> Operation[None]:
        """Write the object."""

    def put_whole(self, uri: URI, data: list[memoryview], first: FirstTry) -> Operation[None]:
        """Write the object in one request, whose first try is made by `first`."""

    def service(self) -> WriteService:
        """Where requests go."""

    def checksum_of(self, data: memoryview) -> str:
        """The checksum of an object, as its request contains it."""

    def check_stored(self, uri: URI, head: ResponseHead, address: Address, checksum: str, data: memoryview) -> None:
        """Raise IntegrityError if the answer says that other bytes were stored."""


class BatchedWrite(BatchedRequest):
    """A batched write."""

    __slots__ = ("_checksum", "_data", "_unsent")

    _checksum: str
    store: WriteStore

    def __init__(self, store: WriteStore, uri: URI, data: memoryview, done: WriteDone, item: Any) -> None:
        """`done` gets `item`, the caller's name for the object, and None or the error. The data must not change."""
        BatchedRequest.__init__(self, store, uri, done, item)  # `super()` costs 300 instructions for each object
        self._data = data
        self.size = len(data)
        self._unsent: list[memoryview] = []

    @staticmethod
    def begin_together(engine: Engine, new: list[BatchedWrite], on_end: Callable[[list[BatchedWrite]], None]) -> None:
        """Sign the requests of new writes, then send them (see `engine.Batched`)."""
        for write in connect(connections_of(engine), sign(new, on_end)):
            if write.connection is not None:  # not stopped by the failure of a write before it
                write.send(engine)

    @staticmethod
    def advance_together(engine: Engine, ready: list[BatchedWrite]) -> None:
        """Receive the answers of writes whose sockets are ready (see `engine.Batched`)."""
        connections = connections_of(engine)
        for start in range(0, len(ready), REQUESTS_IN_STEP):
            writes = ready[start : start + REQUESTS_IN_STEP]
            counts = receive_heads(connections, writes)
            answered = [
                (write, head)
                for write, (buffer, _), count in zip(writes, connections.head_buffers, counts, strict=False)
                if count and (head := _read_answer(write, buffer, count)) is not None
            ]
            if answered:
                _finish(connections, answered)

    def heads_at(self, endpoint: Endpoint) -> Heads:
        return self.store.service().writes(self.uri.container, endpoint)

    def make_head(self, heads: Heads) -> bytes:
        self._checksum = self.store.checksum_of(self._data)
        return heads.head(self.store.path_of(self.uri), f"Content-Length: {self.size}\r\n", self._checksum)

    def ordinary(self, begun: Begun | None) -> Operation[None]:
        return _write_one(self.store, self.uri, self._data, self._done, self._item, begun)

    def is_late(self, now: float, limits: Limits) -> bool:
        """Whether a deadline has passed, or half of the silence that is allowed.

        The ordinary operation has to take over in time: it checks how much of the body has left the kernel, which
        counts as progress while no answer comes.
        """
        return now - self.touched > limits.idle / 2 or now - self.began > limits.total

    def send(self, engine: Engine) -> None:
        """Send the request. If it does not fit into the kernel's buffer, hand over: an answer may come meanwhile."""
        connection = self.connection
        assert connection is not None
        views = [memoryview(self.sent), self._data] if self.size else [memoryview(self.sent)]
        try:
            count = connection.send(views)
        except OSError:
            self.stop()
            self.fall_back(self.begun())
            return
        if count == len(self.sent) + self.size:
            engine.watch(connection.fd, READ, self)
        else:
            self._unsent = without_first(views, count)
            self.hand_over()

    def _so_far(self, received: bytearray) -> dict[str, Any]:
        return {"received": received, "unsent": self._unsent}


async def _write_one(
    store: WriteStore, uri: URI, data: memoryview, done: WriteDone, item: Any, begun: Begun | None
) -> None:
    """Write a whole object in the ordinary way: with tries, redirections and errors.

    The request may have been begun by a batched write. `done` is called with `item`, the caller's name for the object.
    """
    try:
        if begun is None:
            await store.put(uri, data)
        else:
            await store.put_whole(uri, [data], partial(send, begun=begun))
    except Exception as error:
        done(item, error)
    else:
        done(item, None)


def _read_answer(write: BatchedWrite, buffer: bytearray, count: int) -> ResponseHead | None:
    """Read an answer, whose first bytes are the first `count` bytes of the buffer.

    Returns:
        Its head; None if the answer is not the usual one: the write has been handed over.
    """
    connection = write.connection
    if connection is None:  # stopped since the bytes were received
        return None
    pattern = connection.pattern
    found = None if pattern is None else pattern.match(buffer, 0, count)
    head: ResponseHead | None
    if pattern is not None and found is not None:
        end, head = found.end(), pattern.head(found)
    else:
        end = buffer.find(b"\r\n\r\n", 0, count) + 4
        try:
            head = parse_head(buffer[:end], "PUT") if end >= 4 and buffer.startswith(_STORED) else None
        except FramingError:
            head = None
        if head is not None:
            connection.pattern = pattern_of(buffer[:end], head)
    # A body may be an error. After an early answer, the rest of the body has to arrive before the answer counts.
    if (
        head is None
        or head.body is not BodyKind.LENGTH
        or head.length
        or count != end
        or (write.size > CONFIRMED_BYTES and not connection.is_delivered())
    ):
        write.hand_over(buffer[:count])
        return None
    write.keep_alive = head.keep_alive
    return head


def _finish(connections: Connections, answered: list[tuple[BatchedWrite, ResponseHead]]) -> None:
    """Check that the stored objects are those that were sent; the next writes then use the connections."""
    # To hand over one write may have stopped others.
    answered = [(write, head) for write, head in answered if write.connection is not None]
    writes = [write for write, _ in answered]
    release(connections, writes)
    for write, head in answered:
        try:
            write.store.check_stored(write.uri, head, write.heads.address, write._checksum, write._data)
        except Exception as failure:
            write.finish(failure)
        else:
            write.endpoint.worked()
            write.finish(None)
    report(connections, writes)
