# SPDX-License-Identifier: Apache-2.0
"""Plain requests: one object by one request, as one of many, without ceremony. Reads (`objects.batched_get`) and writes
(`objects.batched_put`) have in common what is here.

In a batch of small objects what a request costs is the interpreter's work around it, so this way has little of it: no
coroutine, no task, no parts; a connection that is open, and an answer that is the usual one.

Requests whose sockets are ready at the same time take each step together: all heads are received, then all are parsed,
and so on, and what begins in their place is signed first and then sent. The kernel and the interpreter displace each
other from the processor's caches, so the fewer changes between them the better: a read of 64 KiB cost 66 µs of CPU time
where each took all its steps by itself, and 48 that way.

Whatever is not usual (no connection yet, another status, a chunked body, a lost connection, a head in two pieces, a
deadline) is not dealt with here. What there is (`Begun`: the connection, and what has come on it) is handed over to
the ordinary operation, which goes on from there: it knows tries, redirections, resumed bodies and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from s3dlio.http.connection import WOULD_BLOCK, Connection
from s3dlio.http.exchange import Continuation
from s3dlio.http.pool import Connections
from s3dlio.objects.request import Begun
from s3dlio.runtime.operation import Operation
from s3dlio.tuning import HEAD_BYTES

if TYPE_CHECKING:
    from s3dlio.http.deadlines import Limits
    from s3dlio.http.endpoints import Endpoint
    from s3dlio.objects.heads import Heads
    from s3dlio.objects.request import StoreService
    from s3dlio.runtime.engine import Engine
    from s3dlio.uri import URI

TOGETHER = 32  # requests that take a step together: what they touch is to stay in the cache until the next
NO_BYTES = bytearray()
NOTHING = memoryview(b"")


# Called when a batched read or write has ended: with the bytes of the object, or None for a write, or with the error.
# It may raise the error: the operation then fails, and with it the batch.
ReadDone = Callable[[memoryview | Exception], None]
WriteDone = Callable[[Exception | None], None]


class BatchedStore(Protocol):
    """What a plain request asks of the store."""

    def service(self) -> StoreService:
        """Where requests go."""

    def path_of(self, uri: URI) -> str:
        """The path of the object in its container, percent-encoded."""


class BatchedRequest:
    """A plain request, driven by the engine together with others.

    Attributes:
        store: where the object is.
        uri: names it.
        connection: on which the answer comes, as long as it is awaited.
        head: the head of the answer, once it has been taken in while its body has not.
        ended: called with requests that have ended, of which some may have a `rest`.
        rest: what goes on in the place of this one, once it has ended.
        at_once: whether that has to be begun before anything else.
        keep_alive: whether the connection can be used again after the answer.
        size: bytes of the object.
        began, touched: when it was sent, and when a byte last came, in seconds of the monotonic clock.
    """

    __slots__ = (
        "_done",
        "at_once",
        "began",
        "connection",
        "connections",
        "ended",
        "endpoint",
        "head",
        "heads",
        "keep_alive",
        "rest",
        "sent",
        "service",
        "size",
        "store",
        "touched",
        "uri",
    )

    began: float
    connections: Connections
    ended: Callable[[list[Any]], None]
    endpoint: Endpoint
    heads: Heads
    keep_alive: bool
    sent: bytes
    service: StoreService
    size: int
    store: BatchedStore
    touched: float

    def __init__(self, store: BatchedStore, uri: URI, done: Callable[[Any], None]) -> None:
        """
        Args:
            store, uri: see above.
            done: see `ReadDone` and `WriteDone`.
        """
        self.store = store
        self.uri = uri
        self._done = done
        self.connection: Connection | None = None
        self.head = NO_BYTES
        self.rest: Operation[None] | None = None
        self.at_once = False

    @staticmethod
    def begin_together(engine: Engine, new: list[Any], ended: Callable[[list[Any]], None]) -> None:
        """Start new requests of this class (see `engine.Batched`)."""
        raise NotImplementedError

    @staticmethod
    def advance_together(engine: Engine, ready: list[Any]) -> None:
        """Advance the requests whose sockets are ready (see `engine.Batched`)."""
        raise NotImplementedError

    def hand_over(self, received: bytearray = NO_BYTES) -> None:
        """Let the ordinary operation go on with what there is; `received` is what came first, if it was not taken."""
        connection = self.connection
        assert connection is not None
        self._let_go()
        self.at_once = True  # a connection in nobody's hands would be lost
        continuation = Continuation(connection, self.began, self.touched, **self._so_far(received))
        self.end_otherwise(self.begun()._replace(continuation=continuation))

    def fall_back(self, begun: Begun | None) -> Operation[None]:
        """The ordinary operation, which continues with what has begun and calls `done`."""
        raise NotImplementedError

    def _so_far(self, received: bytearray) -> dict[str, Any]:
        """What has been done, as fields of `Continuation`."""
        return {"received": received}

    def begun(self, failure: Exception | None = None) -> Begun:
        """The request, not sent yet; or what is wrong with its answer."""
        heads = self.heads
        return Begun(self.endpoint, heads.address, self.sent, heads.credential, self.began, failure=failure)

    def end_otherwise(self, begun: Begun | None) -> None:
        """Let the ordinary operation go on."""
        self.rest = self.fall_back(begun)
        self.ended([self])

    def fail_otherwise(self, failure: Exception) -> None:
        """The same, once the caller of this tells that it has ended: the operation then fails."""
        self.rest = self.fall_back(self.begun(failure))

    def _let_go(self) -> None:
        """The request is no longer the one that uses its connection."""
        self.connection = None
        self.connections.in_flight.discard(self)
        self.endpoint.in_flight -= 1

    # What the engine asks of everything under way...

    def is_connected(self) -> bool:
        """Whether it holds a connection."""
        return self.connection is not None

    def check_deadlines(self, now: float) -> None:
        """Let the ordinary operation fail, if a deadline has passed."""
        connection = self.connection
        if connection is None:
            return
        if self.is_late(now, self.service.limits):
            self.hand_over()
        elif connection.low_water > 1:
            connection.look(now - self.touched)

    def is_late(self, now: float, limits: Limits) -> bool:
        """Whether a deadline has passed."""
        return now - self.touched > limits.idle or now - self.began > limits.total

    def stop(self) -> None:
        """Drop everything; nothing is delivered, and nobody told."""
        connection = self.connection
        if connection is not None:
            self._let_go()
            self.connections.drop(connection)


# Steps that both take...

P = TypeVar("P", bound=BatchedRequest)


def signed(
    requests: list[P],
    ended: Callable[[list[P]], None],
    common: Callable[[P, Endpoint], Heads],
    make_head: Callable[[P, Heads], bytes],
) -> list[P]:
    """Make the heads of some requests; those that have one now. The others go the ordinary way.

    Args:
        requests: new ones.
        ended: see `BatchedRequest`.
        common: gives what the heads of requests like this one, to the same container at an endpoint, have in common.
        make_head: makes the head of a request from that.
    """
    made = []
    store: BatchedStore | None = None
    service: StoreService
    heads: Heads
    container, of = "", None  # of the object before this one, and its endpoint
    for one in requests:
        one.ended = ended
        try:
            if one.store is not store:
                service, store, of = one.store.service(), one.store, None
            endpoint = service.endpoints.choose()
            if endpoint is not of or one.uri.container != container:
                heads, container, of = common(one, endpoint), one.uri.container, endpoint
            one.sent = make_head(one, heads)
        except Exception:  # no credentials, for one: the ordinary way meets the same, and tells
            one.end_otherwise(None)
            continue
        one.service, one.endpoint, one.heads = service, endpoint, heads
        made.append(one)
    return made


def with_connection(connections: Connections, ready: list[P]) -> list[P]:
    """Those of some requests for which there is an open connection to send them on; the others go the ordinary way."""
    now = monotonic()  # an event loop may have been held up since the engine last looked
    taken = []
    connections.check()
    for one in ready:
        one.began = one.touched = now
        one.connection = connections.take_checked(one.heads.address, one.service.limits)
        if one.connection is None:
            one.end_otherwise(one.begun())
            continue
        one.connections = connections
        one.endpoint.in_flight += 1
        taken.append(one)
    connections.in_flight.update(taken)
    return taken


def head_buffers(connections: Connections, count: int) -> list[tuple[bytearray, memoryview]]:
    """The engine's buffers for heads, at least so many."""
    buffers = connections.head_buffers
    while len(buffers) < count:
        buffer = bytearray(HEAD_BYTES)
        buffers.append((buffer, memoryview(buffer)))
    return buffers


def receive_heads(connections: Connections, ready: Sequence[BatchedRequest]) -> list[int]:
    """Receive the beginnings of answers, each into one of the engine's buffers.

    Args:
        connections: of the engine that drives them.
        ready: at most `TOGETHER` of them.

    Returns:
        The bytes of each; 0 if there is nothing to take in.
    """
    now = connections.engine.now
    counts = []
    for one, (_, view) in zip(ready, head_buffers(connections, len(ready)), strict=False):
        connection, count = one.connection, WOULD_BLOCK
        if connection is not None and not one.head:
            try:
                count = connection.sock.recv_into(view) if connection.tls is None else connection.tls.receive(view)
            except BlockingIOError:
                pass
            except OSError:
                count = 0
            if count > 0:
                one.touched = now
            elif count != WOULD_BLOCK:
                one.hand_over()
        counts.append(max(count, 0))
    return counts


def free_connections(connections: Connections, answered: Sequence[BatchedRequest]) -> None:
    """The answers to some requests have come whole: others may use their connections."""
    for one in answered:
        connection, endpoint = one.connection, one.endpoint
        assert connection is not None
        one.connection = None
        if one.keep_alive:
            connections.release(connection)
        else:
            connections.drop(connection)
        traffic = endpoint.traffic
        endpoint.in_flight -= 1
        traffic.requests += 1
        traffic.bytes += one.size


def tell(connections: Connections, ended: list[P]) -> None:
    """Tell those who wait for them that requests have ended."""
    connections.in_flight.difference_update(ended)
    for call, those in groupby(ended, attrgetter("ended")):
        call(list(those))
