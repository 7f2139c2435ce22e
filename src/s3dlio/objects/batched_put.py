# SPDX-License-Identifier: Apache-2.0
"""One small object by one PUT, as one of many: the common case of writing, as a plain request (`objects.batched`).

Head and body are sent in one piece, the head with the checksum of the body, from the caller's memory; the answer says
200 and has no body to speak of.
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
    TOGETHER,
    BatchedRequest,
    BatchedStore,
    WriteDone,
    free_connections,
    receive_heads,
    signed,
    tell,
    with_connection,
)
from s3dlio.objects.request import Begun, FirstTry, send
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.poller import READ

if TYPE_CHECKING:
    from s3dlio.http.address import Address
    from s3dlio.http.deadlines import Limits
    from s3dlio.http.endpoints import Endpoint
    from s3dlio.objects.heads import Heads
    from s3dlio.objects.request import WriteService
    from s3dlio.runtime.engine import Engine
    from s3dlio.uri import URI

SMALL = 1 << 20
"""The most bytes of an object that is written this way: one that is sent piece by piece needs no haste."""

_STORED = b"HTTP/1.1 200 "


class WriteStore(BatchedStore, Protocol):
    """What a write asks of the store."""

    def put(self, uri: URI, data: memoryview) -> Operation[None]:
        """Write the object."""

    def put_whole(self, uri: URI, data: list[memoryview], first: FirstTry) -> Operation[None]:
        """Write the object in one request, whose first try is made by `first`."""

    def service(self) -> WriteService:
        """Where requests go."""

    def checksum_of(self, data: memoryview) -> str:
        """The checksum of an object as it is sent."""

    def check_stored(self, uri: URI, head: ResponseHead, address: Address, checksum: str, data: memoryview) -> None:
        """Raise IntegrityError if the answer says that other bytes were stored."""


class Write(BatchedRequest):
    """A write."""

    __slots__ = ("_checksum", "_data", "_unsent")

    _checksum: str
    store: WriteStore

    def __init__(self, store: WriteStore, uri: URI, data: memoryview, done: WriteDone) -> None:
        """
        Args:
            data: the object; not copied, so it must not change meanwhile.
            store, uri, done: see `BatchedRequest`.
        """
        super().__init__(store, uri, done)
        self._data = data
        self.size = len(data)
        self._unsent: list[memoryview] = []

    def common(self, endpoint: Endpoint) -> Heads:
        """What the heads of writes have in common, of objects in the same container at an endpoint."""
        return self.store.service().writes(self.uri.container, endpoint)

    def make_head(self, heads: Heads) -> bytes:
        """The head of the request, of what it has in common with others."""
        self._checksum = self.store.checksum_of(self._data)
        return heads.head(self.store.path_of(self.uri), f"Content-Length: {self.size}\r\n", self._checksum)

    def fall_back(self, begun: Begun | None) -> Operation[None]:
        """The ordinary operation, which continues with what has begun and calls `done`."""
        return _write_one(self.store, self.uri, self._data, self._done, begun)

    def _so_far(self, received: bytearray) -> dict[str, Any]:
        return {"received": received, "unsent": self._unsent}

    def is_late(self, now: float, limits: Limits) -> bool:
        """Whether a deadline has passed; or half of the silence that is allowed, as the ordinary operation looks at how
        much of an upload has left the kernel.
        """
        return now - self.touched > limits.idle / 2 or now - self.began > limits.total

    def send(self, engine: Engine) -> None:
        """Send the request. What does not fit is handed over: while it is sent, the answer has to be listened for."""
        connection = self.connection
        assert connection is not None
        views = [memoryview(self.sent), self._data] if self.size else [memoryview(self.sent)]
        try:
            count = connection.send(views)
        except OSError:
            self.stop()
            self.end_otherwise(self.begun())
            return
        if count == len(self.sent) + self.size:
            engine.watch(connection.fd, READ, self)
        else:
            self._unsent = without_first(views, count)
            self.hand_over()

    @staticmethod
    def begin_together(engine: Engine, writes: list[Write], ended: Callable[[list[Write]], None]) -> None:
        """Sign the requests of some writes, then send them.

        Args:
            engine: drives them.
            writes: new ones.
            ended: called when objects have been stored, or when something else has to go on in the place of a write.
        """
        for write in with_connection(connections_of(engine), signed(writes, ended, Write.common, Write.make_head)):
            if write.connection is not None:  # not stopped by what became of one before it
                write.send(engine)

    @staticmethod
    def advance_together(engine: Engine, ready: list[Write]) -> None:
        """Take writes whose sockets are ready to their ends."""
        connections = connections_of(engine)
        for start in range(0, len(ready), TOGETHER):
            writes = ready[start : start + TOGETHER]
            counts = receive_heads(connections, writes)
            answered = [
                (write, head)
                for write, (buffer, _), count in zip(writes, connections.head_buffers, counts, strict=False)
                if count and (head := _answer(write, buffer, count)) is not None
            ]
            if answered:
                _look(connections, answered)


async def _write_one(store: WriteStore, uri: URI, data: memoryview, done: WriteDone, begun: Begun | None) -> None:
    """Write a whole object in the ordinary way: with tries, redirections and errors.

    Args:
        store, uri, data: the object.
        done: called with None when it is written, or with the error.
        begun: what a batched write has already done; None to start from nothing.
    """
    try:
        if begun is None:
            await store.put(uri, data)
        elif begun.failure is not None:
            raise begun.failure
        else:
            await store.put_whole(uri, [data], partial(send, begun=begun))
    except Exception as error:
        done(error)
    else:
        done(None)


def _answer(write: Write, buffer: bytearray, count: int) -> ResponseHead | None:
    """The head of the answer, which is in the first `count` bytes of the buffer, if that is all of it."""
    connection = write.connection
    if connection is None:  # stopped since it was received
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
    # A body may be an error; and an answer that came too early is waited with.
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


def _look(connections: Connections, answered: list[tuple[Write, ResponseHead]]) -> None:
    """See that what was stored is what was sent, and begin the next writes on the connections."""
    # Without those that have been stopped by what became of another one.
    answered = [(write, head) for write, head in answered if write.connection is not None]
    writes = [write for write, _ in answered]
    free_connections(connections, writes)
    for write, head in answered:
        try:
            write.store.check_stored(write.uri, head, write.heads.address, write._checksum, write._data)
        except Exception as failure:
            write.fail_otherwise(failure)
        else:
            write.endpoint.worked()
            write._done(None)
    tell(connections, writes)
