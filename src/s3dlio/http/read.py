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
from itertools import groupby
from operator import attrgetter
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
    from s3dlio.http.client import GetHeads, StoreService
    from s3dlio.http.engine import Engine
    from s3dlio.uri import URI

_AT_ONCE = 4 << 20  # received before others have their turn
_SUMMED = 256 << 10  # bytes after which the checksum is taken further: few enough to be in the cache still
_SMALL = 1 << 20  # bytes of an object that takes its steps together with others
_TOGETHER = 32  # reads that take a step together: what they touch is to stay in the cache until the next

_WHOLE = b"HTTP/1.1 200 "
_NO_BYTES = bytearray()
_NOTHING = memoryview(b"")


class Begun(NamedTuple):
    """A request that may have been sent, and what has come of its answer.

    Attributes:
        endpoint, address: where it goes.
        sent: its head.
        credential: what the service let it go out with (see `Request`).
        began, touched: when it was sent, and when a byte last came, in seconds of the monotonic clock.
        connection: on which the answer comes; None if the request has not been sent.
        head: the head of the answer; or, as long as `target` is empty, whatever has come.
        target: the buffer for the body.
        got: bytes of the body that are in there.
        failure: what is wrong with the object, which has come whole then.
    """

    endpoint: Endpoint
    address: Address
    sent: bytes
    credential: Any
    began: float
    touched: float
    connection: Connection | None = None
    head: bytearray = _NO_BYTES
    target: memoryview = _NOTHING
    got: int = 0
    failure: Exception | None = None


class ReadStore(Protocol):
    """What a read asks of the store."""

    def service(self) -> StoreService:
        """Where requests go."""

    def path_of(self, uri: URI) -> str:
        """The path of the object in its container, percent-encoded."""

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        """The checksum to compare the body with, if the answer carries one."""

    def mismatch(self, uri: str, expected: Expected) -> Exception:
        """The error for a body that does not have it."""


class Read:
    """A read, driven by the engine together with others.

    Attributes:
        ended: called with reads that have ended, of which some may have a `rest`.
        rest: what goes on in the place of this read, once it has ended.
        at_once: whether that has to be begun before anything else.
        error: what it has ended with.
        began, touched: when it was sent, and when a byte last came, in seconds of the monotonic clock.
    """

    __slots__ = (
        "_connection",
        "_deliver",
        "_endpoint",
        "_engine",
        "_expected",
        "_got",
        "_head_bytes",
        "_heads",
        "_item",
        "_keep_alive",
        "_otherwise",
        "_sent",
        "_service",
        "_store",
        "_summed",
        "_target",
        "_uri",
        "at_once",
        "began",
        "ended",
        "error",
        "rest",
        "touched",
    )

    _connection: Connection | None
    _endpoint: Endpoint
    _engine: Engine
    _expected: Expected | None
    _got: int
    _head_bytes: bytearray
    _heads: GetHeads
    _keep_alive: bool
    _sent: bytes
    _service: StoreService
    _target: memoryview
    began: float
    ended: Callable[[list[Read]], None]
    touched: float

    def __init__(
        self,
        store: ReadStore,
        uri: URI,
        item: Any,
        deliver: Callable[[Any, memoryview], None],
        otherwise: Callable[[Any, Begun | None], Operation[None]],
    ) -> None:
        """
        Args:
            store: where the object is.
            uri: names it.
            item: what the caller knows the object by.
            deliver: called with the item and the object's bytes.
            otherwise: makes the operation that reads the object in the ordinary way, going on with what has begun.
        """
        self._store = store
        self._uri = uri
        self._item = item
        self._deliver = deliver
        self._otherwise = otherwise
        self._connection = None
        self._head_bytes = _NO_BYTES
        self._target = _NOTHING
        self._got = 0
        self._summed = 0  # bytes of the body that are in the checksum
        self.rest: Operation[None] | None = None
        self.at_once = False
        self.error: BaseException | None = None

    def _hand_over(self, received: bytearray = _NO_BYTES) -> None:
        """Let the ordinary operation go on with what there is; `received` is what came first, if it was not taken."""
        connection = self._connection
        assert connection is not None
        self._let_go()
        begun = self._begun()._replace(
            connection=connection, head=self._head_bytes or received, target=self._target, got=self._got
        )
        self.at_once = True  # a connection in nobody's hands would be lost
        self._end_otherwise(begun)

    def _begun(self, failure: Exception | None = None) -> Begun:
        heads = self._heads
        return Begun(
            self._endpoint, heads.address, self._sent, heads.credential, self.began, self.touched, failure=failure
        )

    def _end_otherwise(self, begun: Begun | None) -> None:
        self.rest = self._otherwise(self._item, begun)
        self.ended([self])

    def _let_go(self) -> None:
        """The read is no longer the one that uses its connection."""
        self._connection = None
        self._engine.exchanges.discard(self)
        self._endpoint.in_flight -= 1

    # What the engine asks of everything under way...

    def check_deadlines(self, now: float) -> None:
        """Let the ordinary operation fail, if a deadline has passed."""
        limits = self._service.limits
        if self._connection is not None and (now - self.began > limits.total or now - self.touched > limits.idle):
            self._hand_over()

    def stop(self) -> None:
        """Drop everything; nothing is delivered, and nobody told."""
        connection = self._connection
        if connection is not None:
            self._let_go()
            self._engine.drop_connection(connection)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.stop()
        self.error = error
        self.ended([self])


# The steps, each of which some reads take together...


def begin(engine: Engine, reads: list[Read], ended: Callable[[list[Read]], None]) -> None:
    """Sign the requests of some reads, then send them.

    Args:
        engine: drives them.
        reads: new ones.
        ended: called when objects have been delivered, or when something else has to go on in the place of a read.
    """
    now = monotonic()  # an event loop may have been held up since the engine last looked
    begun = []
    for read in _signed(reads, ended):
        read.began = read.touched = now
        heads, limits = read._heads, read._service.limits
        read._connection = connection = engine.take_connection(heads.address, limits.keep_alive)
        if connection is None:
            read._end_otherwise(read._begun())
            continue
        read._engine = engine
        read._endpoint.in_flight += 1
        begun.append(read)
    engine.exchanges.update(begun)
    for read in begun:
        connection, sent = read._connection, read._sent
        assert connection is not None
        try:
            count = connection.sock.send(sent) if connection.tls is None else connection.tls.send(memoryview(sent))
        except OSError:
            count = 0
        if count == len(sent):
            engine.watch(connection.fd, READ, read)
        else:
            read.stop()
            read._end_otherwise(read._begun())


def _signed(reads: list[Read], ended: Callable[[list[Read]], None]) -> list[Read]:
    """Make the heads of the requests; the reads that have one now."""
    signed = []
    store: ReadStore | None = None
    service: StoreService
    heads: GetHeads
    container, of = "", None  # of the object before this one, and its endpoint
    for read in reads:
        read.ended = ended
        uri = read._uri
        try:
            if read._store is not store:
                service, store, of = read._store.service(), read._store, None
            endpoint = service.endpoints.choose()
            if endpoint is not of or uri.container != container:
                heads, container, of = service.reads(uri.container, endpoint), uri.container, endpoint
            read._sent = heads.head(store.path_of(uri))
        except Exception:  # no credentials, for one: the ordinary way meets the same, and tells
            read._end_otherwise(None)
            continue
        read._service, read._endpoint, read._heads = service, endpoint, heads
        signed.append(read)
    return signed


def go_on(engine: Engine, ready: list[Read]) -> None:
    """Take reads whose sockets are ready as far as they come."""
    buffers = engine.head_buffers
    while len(buffers) < min(len(ready), _TOGETHER):
        buffer = bytearray(HEAD_BYTES)
        buffers.append((buffer, memoryview(buffer)))
    for start in range(0, len(ready), _TOGETHER):
        reads = ready[start : start + _TOGETHER]
        small = []
        counts = _receive_heads(reads, buffers, engine.now)
        for read, (buffer, view), count in zip(reads, buffers, counts, strict=False):
            if count:
                _take_head(read, buffer, view, count)
            if len(read._target) <= _SMALL:
                small.append(read)
            else:  # takes so long that a server would wait for the next request
                _receive_bodies([read], engine.now)
                _deliver(engine, [read])
        _receive_bodies(small, engine.now)
        _deliver(engine, small)


def _receive_heads(reads: list[Read], buffers: list[tuple[bytearray, memoryview]], now: float) -> list[int]:
    """Receive the beginnings of answers, each into a buffer; the bytes of each, 0 if there is nothing to take in."""
    counts = []
    for read, (_, view) in zip(reads, buffers, strict=False):
        connection, count = read._connection, WOULD_BLOCK
        if connection is not None and not read._head_bytes:
            try:
                count = connection.sock.recv_into(view) if connection.tls is None else connection.tls.receive(view)
            except BlockingIOError:
                pass
            except OSError:
                count = 0
            if count > 0:
                read.touched = now
            elif count != WOULD_BLOCK:
                read._hand_over()
        counts.append(max(count, 0))
    return counts


def _take_head(read: Read, buffer: bytearray, view: memoryview, count: int) -> None:
    """The first `count` bytes of the buffer are the answer's beginning."""
    if read._connection is None:  # stopped since it was received
        return
    end = buffer.find(b"\r\n\r\n", 0, count) + 4
    if end < 4 or not buffer.startswith(_WHOLE):
        read._hand_over(buffer[:count])
        return
    head_bytes = buffer[:end]
    try:
        head = parse_head(head_bytes, "GET")
        length = head.length
        if head.body is not BodyKind.LENGTH or length is None or count - end > length:
            read._hand_over(buffer[:count])
            return
        read._expected = read._store.whole_checksum(head) if read._service.settings.verify_get else None
        read._target = target = lease(length)
    except (FramingError, MemoryError, OverflowError):
        read._hand_over(buffer[:count])
        return
    read._head_bytes = head_bytes
    read._keep_alive = head.keep_alive
    if count > end:
        target[: count - end] = view[end:count]
        read._got = count - end


def _receive_bodies(reads: list[Read], now: float) -> None:
    """Receive what has come of bodies whose heads have; from large ones not more than is fair to others."""
    for read in reads:
        connection, target, got = read._connection, read._target, read._got
        if connection is None or not read._head_bytes:
            continue
        tls, expected, length = connection.tls, read._expected, len(target)
        until = got + _AT_ONCE
        while got < length:
            view = target[got:] if expected is None else target[got : got + OBSERVED_BYTES]
            try:
                count = connection.sock.recv_into(view) if tls is None else tls.receive(view)
            except BlockingIOError:
                break
            except OSError:
                count = 0
            if count <= 0:
                if count != WOULD_BLOCK:
                    read._hand_over()
                break
            read.touched = now
            read._got = got = got + count
            if expected is not None and got - read._summed >= _SUMMED:
                expected.update(target[read._summed : got])
                read._summed = got
            if tls is not None:
                continue  # no poller sees the bytes that TLS has read ahead
            if expected is None or count < OBSERVED_BYTES or got >= until:
                break  # what else is there the poller will tell, for less than a receive that finds nothing
        if expected is not None and got == length:
            expected.update(target[read._summed :])  # at once: the bytes are in the cache still


def _deliver(engine: Engine, reads: list[Read]) -> None:
    """Deliver the objects that have come whole, and begin the next reads on their connections."""
    delivered = []
    for read in reads:
        connection, target = read._connection, read._target
        if connection is None or not read._head_bytes or read._got < len(target):
            continue
        delivered.append(read)
        read._connection = None
        if read._keep_alive:
            engine.release_connection(connection)
        else:
            engine.drop_connection(connection)
        endpoint, expected = read._endpoint, read._expected
        traffic = endpoint.traffic
        endpoint.in_flight -= 1
        traffic.requests += 1
        traffic.bytes += len(target)
        if expected is None or expected.is_met():
            endpoint.worked()
            read._target = _NOTHING  # so that nobody but the caller holds the bytes
            read._deliver(read._item, target)
        else:
            failure = read._store.mismatch(read._uri.text, expected)
            read.rest = read._otherwise(read._item, read._begun(failure))
    engine.exchanges.difference_update(delivered)
    for ended, those in groupby(delivered, attrgetter("ended")):
        ended(list(those))
