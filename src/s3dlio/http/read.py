"""One whole object by one GET, as one of many: the common case of reading, without ceremony.

In a batch of small objects what a request costs is the interpreter's work around it, so this way has little of it: no
coroutine, no task, no parts; a connection that is open, a head that arrives in one piece and says 200 and how long the
body is, the body into its final buffer, its checksum on the way, done.

Reads whose sockets are ready at the same time take each step together (`go_on`): all receive their heads, all have them
parsed, all receive their bodies, all are delivered, and what begins in their place is signed first and then sent. The
kernel and the interpreter displace each other from the processor's caches, so the fewer changes between them the
better: an object of 64 KiB costs 48 µs of CPU time that way, and 66 where each takes all its steps by itself.

Whatever is not like that (no connection yet, another status, a chunked body, a lost connection, a head in two pieces,
a deadline) is not dealt with here. What there is (`Begun`: the connection, and what has come on it) is handed over to
the ordinary operation, which goes on from there: it knows tries, redirections, resumed bodies and errors.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from s3dlio.buffers import lease
from s3dlio.checksums import Expected
from s3dlio.http.connection import WOULD_BLOCK, Connection
from s3dlio.http.exchange import HEAD_BYTES, OBSERVED_BYTES
from s3dlio.http.framing import BodyKind, FramingError, ResponseHead, parse_head
from s3dlio.http.poller import READ
from s3dlio.operations import Operation

if TYPE_CHECKING:
    from s3dlio.endpoints import Endpoint
    from s3dlio.http.address import Address
    from s3dlio.http.client import Request, Service
    from s3dlio.http.engine import Engine

_AT_ONCE = 4 << 20  # received before others have their turn
_SMALL = 1 << 20  # bytes of an object that takes its steps together with others
_TOGETHER = 32  # reads that take a step together: what they touch is to stay in the cache until the next

_WHOLE = b"HTTP/1.1 200 "
_NO_BYTES = bytearray()
_NOTHING = memoryview(b"")


class Begun(NamedTuple):
    """A request that may have been sent, and what has come of its answer.

    Attributes:
        request: the request.
        endpoint, address: where it goes.
        sent: its head.
        began, touched: when it was sent, and when a byte last came, in seconds of the monotonic clock.
        connection: on which the answer comes; None if the request has not been sent.
        head: the head of the answer; or, as long as `target` is empty, whatever has come.
        target: the buffer for the body.
        got: bytes of the body that are in there.
        failure: what is wrong with the object, which has come whole then.
    """

    request: Request
    endpoint: Endpoint
    address: Address
    sent: bytes
    began: float
    touched: float
    connection: Connection | None = None
    head: bytearray = _NO_BYTES
    target: memoryview = _NOTHING
    got: int = 0
    failure: Exception | None = None


class Checks(Protocol):
    """What a read asks of the store."""

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        """The checksum to compare the body with, if the answer carries one."""

    def mismatch(self, uri: str, expected: Expected) -> Exception:
        """The error for a body that does not have it."""


class Read:
    """A read, driven by the engine."""

    __slots__ = (
        "_address",
        "_checks",
        "_connection",
        "_deliver",
        "_endpoint",
        "_engine",
        "_expected",
        "_got",
        "_head_bytes",
        "_item",
        "_keep_alive",
        "_on_end",
        "_otherwise",
        "_request",
        "_sent",
        "_service",
        "_target",
        "at_once",
        "began",
        "error",
        "rest",
        "touched",
    )

    def __init__(
        self,
        service: Service,
        request: Request,
        checks: Checks,
        item: Any,
        deliver: Callable[[Any, memoryview], None],
        otherwise: Callable[[Any, Begun | None], Operation[None]],
    ) -> None:
        """
        Args:
            service: where the request goes.
            request: a GET of a whole object.
            checks: the store.
            item: what the caller knows the object by.
            deliver: called with the item and the object's bytes.
            otherwise: makes the operation that reads the object in the ordinary way, going on with what has begun.
        """
        self._service = service
        self._request = request
        self._checks = checks
        self._item = item
        self._deliver = deliver
        self._otherwise = otherwise
        self._connection: Connection | None = None
        self.rest: Operation[None] | None = None  # what goes on in the place of this read, once it has ended
        self.at_once = False  # whether that has to be begun before anything else
        self.error: BaseException | None = None

    def begin(self, engine: Engine, on_end: Callable[[Read], None]) -> None:
        """Make the request ready to be sent. `on_end` is called when the object is delivered, or when `rest` has to go
        on.
        """
        self._engine = engine
        self._on_end = on_end
        service = self._service
        try:
            self._endpoint = endpoint = service.endpoints.choose()
            self._address, self._sent = service.prepare(self._request, endpoint)
        except Exception:  # no credentials, for one: the ordinary way meets the same, and tells
            self._end(self._otherwise(self._item, None))
            return
        self.began = self.touched = monotonic()  # an event loop may have been held up since the engine last looked
        self._connection = connection = engine.take_connection(self._address, service.limits.keep_alive)
        if connection is None:
            self._end(self._otherwise(self._item, self._begun()))
            return
        endpoint.in_flight += 1
        self._head_bytes = _NO_BYTES
        self._target = _NOTHING
        self._got = 0
        engine.exchanges.add(self)
        engine.outbox.append(self)

    def send(self) -> None:
        """Send the request, which `begin` has made; nothing if the read has been stopped since."""
        connection, engine = self._connection, self._engine
        if connection is None:
            return
        try:
            sent = connection.send([memoryview(self._sent)])
        except OSError:
            sent = 0
        if sent == len(self._sent):
            engine.watch(connection.fd, READ, self)
        else:
            self.stop()
            self._end(self._otherwise(self._item, self._begun()))

    def _receive_head(self, view: memoryview) -> int:
        """Bytes of the answer's beginning, received into a buffer; 0 if there is nothing to take in."""
        connection = self._connection
        if connection is None or self._head_bytes:
            return 0
        try:
            count = connection.receive(view)
        except OSError:
            count = 0
        if count > 0:
            self.touched = self._engine.now
            return count
        if count != WOULD_BLOCK:
            self._hand_over()
        return 0

    def _take_head(self, buffer: bytearray, view: memoryview, count: int) -> None:
        """The first `count` bytes of the buffer are the answer's beginning."""
        if self._connection is None:  # stopped since it was received
            return
        end = buffer.find(b"\r\n\r\n", 0, count) + 4
        if end < 4 or not buffer.startswith(_WHOLE):
            self._hand_over(buffer[:count])
            return
        head_bytes = buffer[:end]
        try:
            head = parse_head(head_bytes, "GET")
            length = head.length
            if head.body is not BodyKind.LENGTH or length is None or count - end > length:
                self._hand_over(buffer[:count])
                return
            self._expected = self._checks.whole_checksum(head) if self._service.settings.verify_get else None
            self._target = target = lease(length)
        except (FramingError, MemoryError, OverflowError):
            self._hand_over(buffer[:count])
            return
        self._head_bytes = head_bytes
        self._keep_alive = head.keep_alive
        if count > end:
            target[: count - end] = piece = view[end:count]
            self._got = count - end
            if self._expected is not None:
                self._expected.update(piece)

    def _receive_body(self) -> None:
        """Receive what has come of the body, if its head has; from a large one not more than is fair to others."""
        connection, target, got = self._connection, self._target, self._got
        length = len(target)
        if connection is None or got == length:
            return
        expected = self._expected
        until = got + _AT_ONCE
        while True:
            try:
                count = connection.receive(target[got:] if expected is None else target[got : got + OBSERVED_BYTES])
            except OSError:
                count = 0
            if count <= 0:
                if count != WOULD_BLOCK:
                    self._hand_over()
                return
            self.touched = self._engine.now
            if expected is not None:
                expected.update(target[got : got + count])
            self._got = got = got + count
            if got == length:
                return
            if self._address.tls:
                continue  # no poller sees the bytes that TLS has read ahead
            if expected is None or count < OBSERVED_BYTES or got >= until:
                return  # what else is there the poller will tell, for less than a receive that finds nothing

    def _end_if_done(self) -> None:
        """Deliver the object if all of it has come."""
        connection, engine = self._connection, self._engine
        if connection is None or not self._head_bytes or self._got < len(self._target):
            return
        expected = self._expected
        self._connection = None
        engine.exchanges.discard(self)
        endpoint = self._endpoint
        endpoint.in_flight -= 1
        endpoint.traffic.requests += 1
        endpoint.traffic.bytes += len(self._target)
        if self._keep_alive:
            engine.release_connection(connection)
        else:
            engine.drop_connection(connection)
        if expected is not None and not expected.is_met():
            failure = self._checks.mismatch(self._request.uri, expected)
            self._end(self._otherwise(self._item, self._begun(failure)))
            return
        endpoint.worked()
        self._deliver(self._item, self._target)
        self._end(None)

    def _hand_over(self, received: bytearray = _NO_BYTES) -> None:
        """Let the ordinary operation go on with what there is; `received` is what came first, if it was not taken."""
        engine, connection = self._engine, self._connection
        assert connection is not None
        self._connection = None
        engine.exchanges.discard(self)
        self._endpoint.in_flight -= 1
        begun = self._begun()._replace(
            connection=connection, head=self._head_bytes or received, target=self._target, got=self._got
        )
        self._end(self._otherwise(self._item, begun), at_once=True)  # a connection in nobody's hands would be lost

    def _begun(self, failure: Exception | None = None) -> Begun:
        touched = self.touched
        return Begun(self._request, self._endpoint, self._address, self._sent, self.began, touched, failure=failure)

    def _end(self, rest: Operation[None] | None, *, at_once: bool = False) -> None:
        self.rest, self.at_once = rest, at_once
        self._on_end(self)

    # What the engine asks of everything under way...

    def check_deadlines(self, now: float) -> None:
        """Let the ordinary operation fail, if a deadline has passed."""
        limits = self._service.limits
        if now - self.began > limits.total or now - self.touched > limits.idle:
            self._hand_over()

    def stop(self) -> None:
        """Drop everything; nothing is delivered, and nobody told."""
        engine, connection = self._engine, self._connection
        if connection is not None:
            self._connection = None
            engine.exchanges.discard(self)
            self._endpoint.in_flight -= 1
            engine.drop_connection(connection)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.stop()
        self.error = error
        self._on_end(self)


def go_on(engine: Engine, ready: list[Read]) -> None:
    """Take reads whose sockets are ready as far as they come."""
    buffers = engine.head_buffers
    while len(buffers) < min(len(ready), _TOGETHER):
        buffer = bytearray(HEAD_BYTES)
        buffers.append((buffer, memoryview(buffer)))
    for start in range(0, len(ready), _TOGETHER):
        reads = ready[start : start + _TOGETHER]
        counts = [read._receive_head(view) for read, (_, view) in zip(reads, buffers, strict=False)]
        small = []
        for read, (buffer, view), count in zip(reads, buffers, counts, strict=False):
            if count:
                read._take_head(buffer, view, count)
            if len(read._target) <= _SMALL:
                small.append(read)
            else:  # takes so long that a server would wait for the next request
                read._receive_body()
                read._end_if_done()
                engine.send_all()
        for read in small:
            read._receive_body()
        for read in small:
            read._end_if_done()
        engine.send_all()
