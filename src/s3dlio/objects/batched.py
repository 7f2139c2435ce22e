# SPDX-License-Identifier: Apache-2.0
"""Batched requests: one whole object by one request, as one of many. Reads and writes share what is here.

In a batch of small objects, most of the cost of a request is the interpreter's work around it. A batched request has
little of that: no coroutine, no task, no parts, no retries. It uses a connection that is open already, and understands
only the usual answer.

Requests whose sockets are ready in the same turn take each step together (`engine.Batched`): all heads are received,
then all heads are read, and so on. The requests that follow them are all signed, and then all sent. The kernel and the
interpreter displace each other from the processor's caches, so fewer changes between the two cost less: a read of
64 KiB took 66 µs of CPU time where each request took all its steps alone, and takes 48 µs this way.

Everything unusual falls back to the ordinary operation, which has retries, redirections, resumed bodies and errors: no
connection, another status, a chunked body, a lost connection, a head in two pieces, a deadline. If the request has been
sent, the operation gets its connection and everything that was received on it (`Begun`), and continues from there.

    sign --> take a connection --> send --> receive the head --> receive the body (reads) --> done
       \\             \\                \\             \\                      \\
        +-------------+---------------+--------------+----------------------+----> the ordinary operation

Between two of these steps a request may be stopped, by the failure of another request of the same step. Its
`connection` is None then, as it is after its end. Every step checks that.
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

NO_BYTES = bytearray()
NO_MEMORY = memoryview(b"")

# Called when a batched read or write has ended, with the caller's name for the object and a result: the bytes of the
# object, None for a write, or the error. The function may raise the error: the operation then fails, and with it the
# batch. The name is an argument because one function for a batch costs less than a function for each object.
ReadDone = Callable[[Any, memoryview | Exception], None]
WriteDone = Callable[[Any, Exception | None], None]


class BatchedStore(Protocol):
    """What a batched request needs from the store that holds the object."""

    def service(self) -> StoreService:
        """Where requests go."""

    def path_of(self, uri: URI) -> str:
        """The path of the object in its container, percent-encoded."""


class BatchedRequest:
    """A batched request, which the engine advances together with others of its class (`engine.Batched`).

    Attributes:
        store: holds the object.
        uri: the object.
        size: bytes of the object.
        connection: carries the request while it is under way; None before and after.
        connections: those of the engine.
        service, endpoint, heads: where the request goes, and what made its head.
        sent: the head of the request.
        head: the head of the answer, once it has been read and its body is being received.
        began: when the request was sent, in seconds of the monotonic clock.
        touched: when a byte was last received, on that clock.
        keep_alive: whether the connection can be used again after the answer.
        on_end: called with requests that have ended.
        rest: the operation that continues the request after its end; None if the request is done.
        at_once: whether `rest` has to begin before anything else.
    """

    __slots__ = (
        "_done",
        "_item",
        "at_once",
        "began",
        "connection",
        "connections",
        "endpoint",
        "head",
        "heads",
        "keep_alive",
        "on_end",
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
    endpoint: Endpoint
    heads: Heads
    keep_alive: bool
    on_end: Callable[[list[Any]], None]
    sent: bytes
    service: StoreService
    size: int
    store: BatchedStore
    touched: float

    def __init__(self, store: BatchedStore, uri: URI, done: Callable[[Any, Any], None], item: Any) -> None:
        """`done` is a `ReadDone` or a `WriteDone`, called with `item`, the caller's name for the object."""
        self.store = store
        self.uri = uri
        self._done = done
        self._item = item
        self.connection: Connection | None = None
        self.head = NO_BYTES
        self.rest: Operation[None] | None = None
        self.at_once = False

    # What each kind of request does in its own way...

    @staticmethod
    def begin_together(engine: Engine, new: list[Any], on_end: Callable[[list[Any]], None]) -> None:
        """Start new requests of this class (see `engine.Batched`)."""
        raise NotImplementedError

    @staticmethod
    def advance_together(engine: Engine, ready: list[Any]) -> None:
        """Advance the requests of this class whose sockets are ready (see `engine.Batched`)."""
        raise NotImplementedError

    def heads_at(self, endpoint: Endpoint) -> Heads:
        """Makes the heads of requests of this class for objects in this container, sent to this endpoint now."""
        raise NotImplementedError

    def make_head(self, heads: Heads) -> bytes:
        """The head of this request."""
        raise NotImplementedError

    def ordinary(self, begun: Begun | None) -> Operation[None]:
        """The ordinary operation, which does what `begun` has left of this request, and calls `done`."""
        raise NotImplementedError

    def is_late(self, now: float, limits: Limits) -> bool:
        """Whether a deadline has passed."""
        raise NotImplementedError

    # Falling back to the ordinary operation...

    def fall_back(self, begun: Begun | None) -> None:
        """End; the ordinary operation continues."""
        self.rest = self.ordinary(begun)
        self.on_end([self])

    def hand_over(self, received: bytearray = NO_BYTES) -> None:
        """End; the ordinary operation continues on the connection.

        If the head of the answer has not been read, `received` is what has been received of the answer.
        """
        connection = self.connection
        assert connection is not None
        self._let_go()
        self.at_once = True  # until the operation begins, no deadline is checked and nothing closes the connection
        continuation = Continuation(connection, self.began, self.touched, **self._so_far(received))
        self.fall_back(self.begun()._replace(continuation=continuation))

    def begun(self) -> Begun:
        """This request before it is sent."""
        heads = self.heads
        return Begun(self.endpoint, heads.address, self.sent, heads.credential, self.began)

    def finish(self, result: Any) -> None:
        """Call `done`, after an answer that has been received as a whole; `report` is still to be called.

        `done` may raise: the error given to it, to end the batch, or an error of the caller's own function. A step must
        not fail, since it is a step of other requests and, on an event loop, of other calls. So a task gets the error.
        """
        try:
            self._done(self._item, result)
        except Exception as error:
            self.rest = _raise(error)

    def _so_far(self, received: bytearray) -> dict[str, Any]:
        """What has been sent and received, as fields of `Continuation`."""
        return {"received": received}

    def _let_go(self) -> None:
        """Stop to use the connection."""
        self.connection = None
        self.connections.in_flight.discard(self)
        self.endpoint.in_flight -= 1

    # Called by the engine and its connections...

    def is_connected(self) -> bool:
        """Whether this request holds a connection."""
        return self.connection is not None

    def check_deadlines(self, now: float) -> None:
        """If a deadline has passed, hand over to the ordinary operation, which fails."""
        connection = self.connection
        if connection is None:
            return
        if self.is_late(now, self.service.limits):
            self.hand_over()
        elif connection.low_water > 1:
            connection.look(now - self.touched)

    def stop(self) -> None:
        """Close the connection; neither `done` nor `on_end` is called."""
        connection = self.connection
        if connection is not None:
            self._let_go()
            self.connections.drop(connection)


async def _raise(error: Exception) -> None:
    raise error


# Steps that reads and writes share...

P = TypeVar("P", bound=BatchedRequest)


def sign(requests: list[P], on_end: Callable[[list[P]], None]) -> list[P]:
    """Choose endpoints for new requests of one class and make their heads.

    Returns:
        The requests that have a head. The others have fallen back.
    """
    made = []
    store: BatchedStore | None = None
    service: StoreService
    heads: Heads
    container, heads_endpoint = "", None  # of `heads`, which most requests share with the one before
    for one in requests:
        one.on_end = on_end
        try:
            if one.store is not store:
                service, store, heads_endpoint = one.store.service(), one.store, None
            endpoint = service.endpoints.choose()
            if endpoint is not heads_endpoint or one.uri.container != container:
                heads, container, heads_endpoint = one.heads_at(endpoint), one.uri.container, endpoint
            one.sent = one.make_head(heads)
        except Exception:  # such as for missing credentials: the ordinary operation meets and reports the same error
            one.fall_back(None)
            continue
        one.service, one.endpoint, one.heads = service, endpoint, heads
        made.append(one)
    return made


def connect(connections: Connections, requests: list[P]) -> list[P]:
    """Take an open connection for each request. Returns the requests that have one; the others have fallen back."""
    now = monotonic()  # the event loop may have been busy with other things since the engine last looked
    connected = []
    connections.check()
    for one in requests:
        one.began = one.touched = now
        one.connection = connections.take_checked(one.heads.address, one.service.limits)
        if one.connection is None:
            one.fall_back(one.begun())
            continue
        one.connections = connections
        one.endpoint.in_flight += 1
        connected.append(one)
    connections.in_flight.update(connected)
    return connected


def head_buffers(connections: Connections, count: int) -> list[tuple[bytearray, memoryview]]:
    """Buffers to receive heads into, at least `count` of them."""
    buffers = connections.head_buffers
    while len(buffers) < count:
        buffer = bytearray(HEAD_BYTES)
        buffers.append((buffer, memoryview(buffer)))
    return buffers


def receive_heads(connections: Connections, ready: Sequence[BatchedRequest]) -> list[int]:
    """Receive the first bytes of answers, at most `REQUESTS_IN_STEP`, each into one of `connections.head_buffers`.

    Returns:
        For each request the number of bytes; 0 if there is nothing to read.
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


def release(connections: Connections, answered: Sequence[BatchedRequest]) -> None:
    """Release the connections of requests whose answers have been received as a whole."""
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


def report(connections: Connections, ended: list[P]) -> None:
    """Call `on_end` for requests that have ended, once for those that belong to the same group."""
    connections.in_flight.difference_update(ended)
    for on_end, requests in groupby(ended, attrgetter("on_end")):
        on_end(list(requests))
