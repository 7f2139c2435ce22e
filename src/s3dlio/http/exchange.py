# SPDX-License-Identifier: Apache-2.0
"""One exchange: a request out, its answer in, on one connection.

An `Exchange` is awaited by a store's operation and driven by the engine, which calls its `_on_…` method of the moment
when the socket is ready. It lives through these: opening (a new connection only), sending, head, body, done.

- A kept-alive connection may have been closed by the server in the moment it was taken. If it ends before a single
  byte of an answer, the request goes out again on a new connection, once, and nobody hears of it. The same if bytes
  arrive that are no answer at all: they belong to an earlier one.
- An answer that has no body by definition (to HEAD, 204, 304) is complete with its head; if it announces a body, or
  bytes follow it, the connection is closed.
- While a body is being sent the answer is watched for: a server may refuse early. A refusal ends the sending and is
  what the exchange gives, and a failed write is no error then. A success (2xx) ends nothing: the body is sent to its
  end, and the answer counts only once the other side's kernel has confirmed all of it. Without that a body that fits
  into this kernel's buffers would count as sent as soon as it is in there.
- What a server sends is bounded. The content of an object of known length may be as long as memory allows; one of
  unknown length up to S3DLIO_UNSIZED_MAX_MB. Any other answer (a page of a listing, the result of a copy) has at most
  `DOCUMENT_BYTES`. The body of an error has at most `ERROR_BYTES`: of a longer one only status and fields are used.
- The limit on a request as a whole leaves out the time in which a body moves, in either direction. A body is bounded by
  silence, and by the least rate that it must have on average. Of a body that is sent, what counts is what the other
  side has confirmed: megabytes fit into the kernel, and take minutes to leave it over a slow network.
- A body of known length is received into its final buffer: one pooled for it, or the target that `receive` names when
  it has seen the head. Checksums are taken on the way, while the bytes are in the cache. A body that tells its length
  only by its end is collected, whatever `receive` says.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from s3dlio.http.address import Address
from s3dlio.http.connection import WOULD_BLOCK, ConnectError, Connection
from s3dlio.http.deadlines import Limits, Pace
from s3dlio.http.framing import (
    BodyKind,
    ChunkedDecoder,
    FirstLineError,
    FramingError,
    ResponseHead,
    find_head_end,
    parse_head,
)
from s3dlio.http.opening import Opening
from s3dlio.http.pool import HEAD_BYTES, connections_of
from s3dlio.http.response import Response, TransportError
from s3dlio.memory.buffers import lease
from s3dlio.memory.target import Buffer, Target
from s3dlio.runtime.poller import READ, WRITE

if TYPE_CHECKING:
    from s3dlio.runtime.engine import Engine
    from s3dlio.runtime.operation import Task

_PIECE_BYTES = 256 * 1024  # of a body whose length is not known
_NOTHING = memoryview(b"")
_NO_BYTES = bytearray()
_MIB = 1 << 20
_MOST_INTERIM = 32  # 1xx answers before the real one
_LOOK_AGAIN = 0.01  # seconds between two looks at what the other side has confirmed of a body that was answered early
CONFIRMED_BYTES = 64 << 10
"""The longest body of a request that is not looked after when its answer has come: any kernel takes so many bytes
whether its program reads them or not, so that their being confirmed would prove nothing."""

ERROR_BYTES = 1 << 20  # the longest body of an error
DOCUMENT_BYTES = 64 << 20  # the longest body that is no object's content: 5,000 of Azure's longest names fit
AT_ONCE = 64 << 20  # bytes of a body that are received before others have their turn
FEW = 16  # as many may have to wait meanwhile
OBSERVED_BYTES = 2 << 20  # received at once where a body is looked at on the way: what the cache holds, and no less

Receive = Callable[[ResponseHead], "Target | None"]
Observe = Callable[[memoryview], None]


class Continuation(NamedTuple):
    """A request that has been sent, or a part of it, and what has been received on its connection. An exchange that is
    given one continues from there.

    Attributes:
        connection: carries the request and its answer.
        began: when the request was sent, in seconds of the monotonic clock.
        touched: when a byte last moved, on that clock.
        unsent: the part of the request that has not been sent.
        received: the head of the answer if `target` is given; otherwise all bytes of the answer so far.
        target: holds what has been received of the body, after the head; None if the head has not been read yet.
    """

    connection: Connection
    began: float
    touched: float
    unsent: Sequence[memoryview] = ()
    received: bytearray = _NO_BYTES
    target: Buffer | None = None


class Exchange:
    """Awaitable: `response = await Exchange(...)`."""

    __slots__ = (
        "_body",
        "_chunks",
        "_closes",
        "_confirmed",
        "_connection",
        "_connections",
        "_continuation",
        "_decoder",
        "_early",
        "_engine",
        "_finish_before_stop",
        "_fresh",
        "_got",
        "_head",
        "_head_bytes",
        "_interim",
        "_leave_last_connection",
        "_limits",
        "_method",
        "_moved",
        "_moved_at",
        "_moves_since",
        "_observe",
        "_opening",
        "_pace",
        "_receive",
        "_receiving",
        "_request",
        "_target",
        "_unsent",
        "_waiting",
        "_write_failed",
        "address",
        "began",
        "finish_before_stop",
        "task",
        "touched",
    )

    def __init__(
        self,
        address: Address,
        method: str,
        head: bytes,
        limits: Limits,
        body: Sequence[memoryview] = (),
        receive: Receive | None = None,
        observe: Observe | None = None,
        continuation: Continuation | None = None,
        finish_before_stop: bool = False,
        leave_last_connection: bool = False,
    ) -> None:
        """
        Args:
            address: the server.
            method: of the request; HEAD has no body in its answer.
            head: the head of the request, as it goes out.
            limits: deadlines.
            body: the body of the request; not copied, so it must not change meanwhile.
            receive: given the head of each answer before its body, names the target for that body, which has as much
                room as the body is long; None for a pooled one.
            observe: called with each piece of a body of known length, in order, while it is still in the cache.
            continuation: the request under way that this exchange continues; None for a new one.
            finish_before_stop: whether an operation that is stopped still waits for the answer, since it names what the
                operation has to undo.
            leave_last_connection: whether to open a connection instead of using the last idle one.
        """
        self.address = address
        self._method = method
        self._request = [memoryview(head), *filter(len, body)]
        self._limits = limits
        self._receive = receive
        self._observe = observe
        self._continuation = continuation
        self._finish_before_stop = finish_before_stop
        self.finish_before_stop = False  # until the request is being sent (see `engine.Awaited`)
        self._leave_last_connection = leave_last_connection
        self._fresh = False
        self._moved = 0.0  # seconds in which a body has moved, before the one that moves now
        self._moves_since = 0.0  # when the body that moves now began to; 0 if none does
        self._moved_at = 0.0  # when bytes of the request's body last moved
        self._confirmed = -1  # bytes that the other side has received on the connection; -1 for not known
        self._pace: Pace | None = None  # of that body
        self._receiving = False  # whether the body that moves is the answer's
        self._waiting = False  # for a connection of another exchange, or its descriptor
        self._connection: Connection | None = None
        self._opening: Opening | None = None

    def __await__(self) -> Generator[Any, Any, Response]:
        response: Response = yield self
        return response

    # Getting a connection...

    def begin(self, engine: Engine, task: Task) -> None:
        """Called by the engine when an operation awaits this exchange."""
        self._engine = engine
        self._connections = connections = connections_of(engine)
        self.task = task
        # The operation may have computed for long, or the event loop been held up, since the engine last looked.
        self.touched = engine.now = monotonic()
        if not self._fresh:
            self.began = self.touched
        connections.in_flight.add(self)
        continuation, self._continuation = self._continuation, None
        if continuation is not None:
            self._take_over(continuation)
            return
        connection = None
        if not self._fresh:
            connection = connections.take(self.address, self._limits, self._leave_last_connection)
        if connection is not None:
            self._start(connection)
            return
        self.open()

    def open(self) -> None:
        """Open a connection."""
        self._waiting = False
        self.touched = self._engine.now
        self._opening = Opening(
            self._engine, self._connections.lookups, self.address, self._on_open, self._on_not_opened
        )
        self._opening.begin(self._limits.connect)

    def take(self, connection: Connection) -> None:
        """Use the connection of an exchange that has ended, instead of one of its own."""
        self._waiting = False
        self.touched = self._engine.now
        self._start(connection)

    def is_connected(self) -> bool:
        """Whether it holds a connection, or opens one."""
        return self._connection is not None or self._opening is not None

    def _on_open(self, connection: Connection) -> None:
        self._opening = None
        self.touched = self._engine.now
        self._start(connection)

    def _on_not_opened(self, error: Exception) -> None:
        if isinstance(error, ConnectError) and error.kind == "descriptors":
            self._opening = None
            if self._connections.close_idle():
                self.open()
            elif self._connections.wait(self):
                self._waiting = True
            else:
                self._fail(error.kind, str(error))
        elif isinstance(error, ConnectError):
            self._fail(error.kind, str(error))
        else:  # a CA file that cannot be read, a name that TLS does not take
            self._drop()
            self._engine.resume(self.task, error=error)

    # Sending the request...

    def _start(self, connection: Connection) -> None:
        self._reset(connection)
        self._unsent = self._request.copy()
        if len(self._unsent) > 1:
            self._begin_to_send(self._engine.now)
        connection.will_send(sum(map(len, self._unsent)))
        if self._send():
            self._engine.watch(connection.fd, READ, self._on_head)
        else:
            self._engine.watch(connection.fd, READ | WRITE, self._on_sending)

    def _take_over(self, begun: Continuation) -> None:
        """Continue a request that has been sent, or a part of it."""
        connection = begun.connection
        self._reset(connection)
        self.began, self.touched = begun.began, begun.touched
        if len(self._request) > 1:
            self._begin_to_send(begun.began)
        if begun.unsent:
            self._unsent = list(begun.unsent)
            self._engine.watch(connection.fd, READ | WRITE, self._on_sending)
            return
        self._engine.watch(connection.fd, READ, self._on_head)
        if begun.target is not None:
            self._moved = begun.touched - begun.began
        if begun.received:
            behind = begun.target.received() if begun.target is not None else None
            self._take_head(begun.received, len(begun.received), behind)
            if self._receiving:
                self._pace = Pace(self._engine.now, 0, begun.began)
        if self._connection is connection and self._head is None and self.address.tls:
            self._on_head(READ)

    def _begin_to_send(self, now: float) -> None:
        """The body of the request begins to move."""
        if self._moves_since:  # on another connection, which was lost
            self._moved = self.body_seconds()
        self._moves_since = self._moved_at = now
        self._confirmed, self._pace = -1, None

    def _reset(self, connection: Connection) -> None:
        self._connection = connection
        self.finish_before_stop = self._finish_before_stop
        self._unsent = []
        self._write_failed: OSError | None = None
        self._head: ResponseHead | None = None
        self._head_bytes = b""
        self._interim = 0
        self._closes = False  # whether bytes may follow the answer
        self._early: bytes | None = None  # what followed the head of a success that came before the body was sent
        self._got = 0

    def _send(self) -> bool:
        """Send what fits; whether nothing is left to send."""
        unsent = self._unsent
        connection = self._connection
        assert connection is not None
        try:
            while unsent:
                count = connection.send(unsent)
                if not count:
                    return False
                self.touched = self._moved_at = self._engine.now
                self._unsent = unsent = without_first(unsent, count)
        except OSError as error:
            # The server may have refused and closed: its answer, if there is one, is what counts.
            self._write_failed = error
            self._unsent = []
        return True

    def _on_sending(self, events: int) -> None:
        connection = self._connection
        assert connection is not None
        if events & ~WRITE and self._early is None:
            self._on_head(events)
            if self._connection is not connection or (self._head is not None and self._early is None):
                return
        if not self._send():
            return
        head, early = self._head, self._early
        if early is None or head is None:
            self._engine.watch(connection.fd, READ, self._on_head)
        elif self._write_failed is not None:
            self._lost(self._write_failed)
        else:
            self._take_early(connection)

    def _take_early(self, connection: Connection) -> None:
        """Use the success that came early if the other side has confirmed all that was sent; else look again soon."""
        head, early = self._head, self._early
        if self._connection is not connection or head is None or early is None or self._unsent:
            return  # it has ended meanwhile
        delivered = connection.is_delivered()
        if delivered is None:
            self._engine.watch(connection.fd, 0, self._on_sending)  # that it is broken is told all the same
            self._engine.call_later(_LOOK_AGAIN, partial(self._take_early, connection))
        elif delivered:
            self._early = None
            self._engine.watch(connection.fd, READ, self._on_head)  # an idle connection is to be told of what comes
            self._begin_body(head, memoryview(early))
        else:
            self._lost(None)

    # Receiving the answer...

    def _on_head(self, _: int) -> None:
        while self._receive_head():  # no poller sees the bytes that TLS has read ahead
            pass

    def _receive_head(self) -> bool:
        """Receive once; whether to do so again at once, for more of the head."""
        connection, connections = self._connection, self._connections
        assert connection is not None
        try:
            count = connection.receive(connections.head_view)
        except OSError as error:
            self._lost(error)
            return False
        if count <= 0:
            if count != WOULD_BLOCK:
                self._lost(None)
            return False
        self.touched = self._engine.now
        return self._take_head(connections.head_buffer, count)

    def _take_head(self, buffer: bytearray, count: int, behind: memoryview | None = None) -> bool:
        """Read the head, if it is whole, and begin the body.

        Args:
            buffer: what has come, in its first `count` bytes.
            behind: what came behind the head, if it is not in there.

        Returns:
            Whether to receive again at once, for more of the head.
        """
        engine, connections = self._engine, self._connections
        try:
            if self._head_bytes:
                buffer = bytearray(self._head_bytes) + buffer[:count]
                count = len(buffer)
            start = 0
            while True:
                end = find_head_end(buffer, start, count)
                if end < 0:
                    self._head_bytes = bytes(buffer[start:count])
                    return self.address.tls
                head = parse_head(buffer[start:end], self._method)
                if head.status >= 200:
                    break
                start = end  # 1xx: the answer is still to come
                self._closes = self._closes or not head.keep_alive
                self._interim += 1
                if self._interim > _MOST_INTERIM:
                    raise FramingError(f"more than {_MOST_INTERIM} answers 1xx came, and no other")
        except FirstLineError as error:
            if not self._interim and self._was_reused():
                self._begin_anew()
            else:
                self._malformed(error)
            return False
        except FramingError as error:
            self._malformed(error)
            return False
        self._head = head
        if behind is None:
            whole = connections.head_view if buffer is connections.head_buffer else memoryview(buffer)
            behind = whole[end:count]
        if head.status < 300 and len(self._request) > 1 and self._is_early():
            self._early = bytes(behind)
            assert self._connection is not None
            if self._write_failed is not None:
                self._lost(self._write_failed)
            elif self._unsent:
                engine.watch(self._connection.fd, WRITE, self._on_sending)
            else:
                self._take_early(self._connection)
            return False
        self._begin_body(head, behind)
        return False

    def _is_early(self) -> bool:
        """Whether an answer has come before the other side has received the body of the request."""
        if self._unsent or self._write_failed is not None:
            return True
        if sum(map(len, self._request)) <= CONFIRMED_BYTES:
            return False
        assert self._connection is not None
        return not self._connection.is_delivered()

    def _begin_body(self, head: ResponseHead, rest: memoryview) -> None:
        """Decide where the body goes, and take what came behind the head."""
        if self._moves_since:  # the request had a body
            self._moved, self._pace = self.body_seconds(), None
        self._moves_since, self._receiving = self._engine.now, True
        kind = head.body
        try:
            target = self._receive(head) if self._receive is not None else None
        except (MemoryError, OverflowError):
            self._malformed(_no_memory(head.length))
            return
        except Exception as error:  # what the operation makes of the head is its own to hear
            self._drop()
            self._engine.resume(self.task, error=error)
            return
        if kind is BodyKind.LENGTH:
            length = head.length
            assert length is not None
            if target is None:
                if length == len(rest) == 0:  # as the answers to most writes
                    self._done(_NOTHING)
                    return
                if not self._fits(head, length):
                    return
                try:
                    target = Buffer(lease(length))
                except (MemoryError, OverflowError):
                    self._malformed(_no_memory(length))
                    return
            if target.size - target.filled != length:
                room = target.size - target.filled
                self._malformed(FramingError(f"the answer has {length} bytes where {room} were asked for"))
                return
            got = len(rest)
            if got > length:
                self._malformed(FramingError("the answer is longer than its Content-Length"))
                return
            self._target, self._got = target, got
            if got:
                target.take(rest)
                if self._observe is not None:
                    self._observe(rest)
            if got == length:
                self._done_of_length(length)
            else:
                self._go_on(self._on_body, at_once=len(rest) >= HEAD_BYTES // 2)
        elif kind is BodyKind.NONE:
            self._closes = self._closes or len(rest) > 0
            self._done(_NOTHING)
        else:
            self._chunks = bytearray()
            if kind is BodyKind.CHUNKED:
                self._decoder = ChunkedDecoder()
                self._take_chunked(rest)
                if self._connection is not None:
                    self._go_on(self._on_chunked, at_once=False)
            else:
                self._chunks += rest
                self._go_on(self._on_until_close, at_once=False)

    def _fits(self, head: ResponseHead, count: int) -> bool:
        """Whether so many bytes of a body are within the limits; if not, the exchange has ended."""
        if head.status >= 300:
            if count <= ERROR_BYTES:
                return True
            self._closes = True
            reason = f"{head.reason} (with a body longer than {ERROR_BYTES >> 10} KiB, the limit for errors)"
            self._head = head._replace(reason=reason.strip())
            self._done(_NOTHING)
            return False
        if self._receive is not None and head.body is not BodyKind.LENGTH and head.status in (200, 206):
            most = self._limits.unsized_max
            if count <= most:
                return True
            why = f"the answer does not tell its length, and is longer than {most / _MIB:g} MiB (S3DLIO_UNSIZED_MAX_MB)"
        elif count <= DOCUMENT_BYTES:
            return True
        else:
            why = f"the answer is longer than {DOCUMENT_BYTES >> 20} MiB, the limit for what is no object's content"
        self._malformed(FramingError(why))
        return False

    def _go_on(self, handler: Callable[[int], None], *, at_once: bool) -> None:
        """Receive the body when the socket is ready; at once where bytes are known, or may be, to wait already."""
        assert self._connection is not None
        self._engine.watch(self._connection.fd, READ, handler)
        if at_once or self.address.tls:  # no poller sees the bytes that TLS has read ahead
            handler(READ)

    def _on_body(self, _: int) -> None:
        connection, target, got, observe = self._connection, self._target, self._got, self._observe
        assert connection is not None
        length = got + target.size - target.filled
        few = len(self._connections.in_flight) <= FEW
        until, pours = got + AT_ONCE, few and connection.low_water > 1
        while True:
            view = target.room() if observe is None else target.room(OBSERVED_BYTES)
            try:
                count = connection.receive(view)
            except OSError as error:
                self._lost(error)
                return
            if count <= 0:
                if count != WOULD_BLOCK:
                    self._lost(None)
                return
            self.touched = self._engine.now
            if observe is not None:
                observe(view[:count])
            target.filled += count  # type: ignore[misc]
            self._got = got = got + count
            connection.expect(length - got)
            pours = pours or (few and connection.low_water > 1)
            if got == length:
                self._done_of_length(length)
                return
            if self.address.tls:
                if count < len(view) and connection.low_water > 1:
                    return  # inside TLS there is less than a record
            elif got >= until or not pours:
                return  # what else is there the poller will tell, for less than a receive that finds nothing

    def _done_of_length(self, length: int) -> None:
        """The body is whole: the last `length` bytes of its target."""
        whole = self._target.result()
        self._done(whole if len(whole) == length else whole[len(whole) - length :])

    def _on_chunked(self, _: int) -> None:
        while (piece := self._receive_piece()) is not None:
            self._take_chunked(piece)
            if not self._is_more_inside():
                return

    def _take_chunked(self, piece: memoryview) -> None:
        try:
            for data in self._decoder.feed(piece):
                self._chunks += data
            if self._head is None or not self._fits(self._head, len(self._chunks)):
                return
            if self._decoder.done:
                if self._decoder.consumed != len(piece):
                    raise FramingError("the answer goes on behind its last chunk")
                self._done(memoryview(self._chunks))
        except FramingError as error:
            self._malformed(error)

    def _on_until_close(self, _: int) -> None:
        while (piece := self._receive_piece(at_end=self._done_until_close)) is not None:
            self._chunks += piece
            if self._head is None or not self._fits(self._head, len(self._chunks)) or not self._is_more_inside():
                return

    def _done_until_close(self) -> None:
        self._done(memoryview(self._chunks))

    def _is_more_inside(self) -> bool:
        """Whether bytes wait inside TLS. What waits in the socket the poller will tell, after a look at the clock."""
        return self._connection is not None and self._connection.pending() > 0

    def _receive_piece(self, at_end: Callable[[], None] | None = None) -> memoryview | None:
        connection = self._connection
        if connection is None:
            return None
        view = memoryview(bytearray(_PIECE_BYTES))
        try:
            count = connection.receive(view)
        except OSError as error:
            self._lost(error)
            return None
        if count <= 0:
            if count != WOULD_BLOCK:
                if at_end is not None:
                    at_end()
                else:
                    self._lost(None)
            return None
        self.touched = self._engine.now
        return view[:count]

    # Ending...

    def _done(self, body: memoryview) -> None:
        connection, head, connections = self._connection, self._head, self._connections
        assert connection is not None
        assert head is not None
        self._connection = None
        connections.in_flight.discard(self)
        if head.keep_alive and not self._closes and not self._unsent and self._write_failed is None:
            connections.release(connection)
        else:
            connections.drop(connection)
        self._engine.resume(self.task, Response(head, body, self.address))

    def _lost(self, error: OSError | None) -> None:
        """The connection ended, or broke, before the answer was whole."""
        why = (error and (error.strerror or str(error))) or "the server closed the connection"
        if self._was_reused() and self._head is None and not self._head_bytes:
            self._begin_anew()
            return
        if self._head is None:
            failed = self._write_failed
            what = f"while the request was sent ({failed.strerror or failed})" if failed else "before an answer"
        elif self._early is not None:
            what = f"while the body was sent, which the server had answered with {self._head.status} already"
        elif self._head.body is BodyKind.LENGTH:
            what = f"after {self._got} of {self._head.length} bytes of the body"
        else:
            what = "in the body"
        self._fail("lost", f"the connection was lost {what}: {why}")

    def _was_reused(self) -> bool:
        """Whether the connection has carried another exchange before this one."""
        assert self._connection is not None
        return self._connection.reused

    def _begin_anew(self) -> None:
        """Send the request again, on a new connection."""
        self._drop()
        self._fresh = True
        self.begin(self._engine, self.task)

    def _malformed(self, error: FramingError) -> None:
        self._fail("malformed", str(error))

    def body_seconds(self) -> float:
        """Seconds in which a body, of the request or of the answer, has moved."""
        until = self.touched if self._receiving else self._moved_at
        return self._moved + (max(0.0, until - self._moves_since) if self._moves_since else 0.0)

    def check_deadlines(self, now: float) -> None:
        """Fail if a deadline has passed."""
        limits = self._limits
        moved = self._look_at_body(now) if self._moves_since else None
        if now - self.began > limits.total and now - self.began - self.body_seconds() > limits.total:
            self._fail("timeout", "the request took longer than S3DLIO_REQUEST_TIMEOUT allows")
        elif self._opening is not None:
            if now - self.touched > limits.connect:
                # Worth another try at once only where the next one begins with another address.
                kind = "connect" if self._opening.give_up() else "connect timeout"
                self._fail(kind, f"no connection within {limits.connect:g} s")
        elif not self._waiting and now - self.touched > limits.idle:
            self._fail("timeout", f"no byte moved for {limits.idle:g} s")
        elif moved is None:
            self._pace = None
            if self._connection is not None:
                self._connection.look(now - self.touched)
        elif self._connection is not None:
            self._pace = self._pace or Pace(now, moved)
            if self._pace.is_too_slow(now, moved, limits):
                self._fail("slow", limits.why_too_slow())
            else:
                self._connection.look(now - self.touched)

    def _look_at_body(self, now: float) -> int | None:
        """Bytes of the body that moves, counted from anywhere; None if it has moved as a whole."""
        connection = self._connection
        if connection is None:
            return None
        if self._receiving:
            assert self._head is not None
            return self._got if self._head.body is BodyKind.LENGTH else len(self._chunks)
        known = connection.confirmed()
        if known is None:
            return sum(map(len, self._request)) - sum(map(len, self._unsent)) if self._unsent else None
        confirmed, everything = known
        if confirmed > self._confirmed >= 0:
            self.touched = self._moved_at = now
        self._confirmed = confirmed
        return None if everything and not self._unsent else confirmed  # None: the server thinks about its answer

    def detach(self) -> bool:
        """Release everything, because the operation is stopped (see `engine.Awaited`)."""
        self._drop()
        return True

    def _fail(self, kind: str, message: str) -> None:
        head = None if self._connection is None else self._head
        got = 0 if head is None else self._got
        self._drop()
        self._engine.resume(self.task, error=TransportError(kind, message, head, got))

    def _drop(self) -> None:
        connections = self._connections
        connections.in_flight.discard(self)
        self.finish_before_stop = False
        if self._waiting:
            self._waiting = False
            connections.waiting.remove(self)
        if self._opening is not None:
            self._opening.close()
            self._opening = None
        if self._connection is not None:
            connections.drop(self._connection)
            self._connection = None


def _no_memory(length: int | None) -> FramingError:
    """The error for an answer that is said to have more bytes than there is memory."""
    return FramingError(f"the answer is said to have {length} bytes: there is no memory for them")


def without_first(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left of some views after their first bytes."""
    left = []
    for view in views:
        if count < len(view):
            left.append(view[count:])
        count = max(0, count - len(view))
    return left
