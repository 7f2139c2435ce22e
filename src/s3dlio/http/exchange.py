# SPDX-License-Identifier: Apache-2.0
"""One exchange: a request out, its answer in, on one connection.

An operation awaits an `Exchange`, and the engine drives it: it calls the exchange's handler of the moment when the
socket is ready. An exchange is in one of these states:

    state     waits for                                         next
    -------   -----------------------------------------------   ---------------------------------------------------
    NEW       being awaited                                     SENDING with an idle connection, OPENING without;
                                                                any of the others for a `Continuation`
    OPENING   a new connection                                  SENDING; WAITING if no descriptor is left
    WAITING   a connection of another exchange, or its          SENDING; OPENING
              descriptor
    SENDING   room in the socket, and an answer that comes      HEAD when all is sent; EARLY; BODY
              before all is sent
    HEAD      the head of the answer                            BODY; EARLY
    EARLY     all of the request's body to be sent and          BODY
              confirmed, after a success has been received
    BODY      the rest of the answer's body                     ENDED
    ENDED     nothing                                           NEW, once, if the connection was stale

Every state may also end in ENDED: by a failure, a deadline, or because the operation is stopped. The operation is
resumed once, on the way to the last ENDED.

Rules:

- Stale connections. A server may have closed an idle connection at the moment it is taken. If a reused connection ends
  before the first byte of an answer, the request is sent again on a new connection, once and silently. The request is
  also sent again if the bytes that arrive are not an answer, because such bytes belong to an earlier answer.
- Early answers. The answer is watched for while a body is sent, because a server may refuse early. A refusal ends the
  sending and is the result; a failed write is then not an error. A success (2xx) does not end the sending: the answer
  counts only after the other side's kernel has confirmed the whole body. Otherwise a body that fits into this kernel's
  buffers would count as stored once it is in there.
- Answers without a body (to HEAD; 204, 304) are complete with their heads. If such an answer announces a body, or bytes
  follow it, the connection is closed.
- Bounds. The content of an object may be as long as memory allows if the head states its length, and as
  `Limits.unsized_max` otherwise. Any other answer, such as a page of a listing, has at most `DOCUMENT_BYTES`. The body
  of an error has at most `ERROR_BYTES`; of a longer one only status and fields are used.
- Deadlines. The time in which a body moves, in either direction, does not count toward `Limits.total`
  (`http.deadlines`). For a body that is sent, the bytes that the other side has confirmed count: the kernel holds
  megabytes, which take minutes to leave over a slow network.
- Memory. A body of known length is received into its final target (`http.receive`): the one that `receive` names after
  the head, or a pooled buffer. Checksums are computed on the way, while the bytes are in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from enum import Enum
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from s3dlio.http.address import Address
from s3dlio.http.connection import WOULD_BLOCK, ConnectError, Connection
from s3dlio.http.deadlines import Limits, Pace
from s3dlio.http.framing import BodyKind, FirstLineError, FramingError, ResponseHead, find_head_end, parse_head
from s3dlio.http.opening import Opening
from s3dlio.http.pool import connections_of
from s3dlio.http.receive import BodyUntilClose, ChunkedBody, Observe, TooLongError, receive_into
from s3dlio.http.response import Failure, Response, TransportError
from s3dlio.memory.buffers import lease
from s3dlio.memory.target import Buffer, Target
from s3dlio.runtime.poller import READ, WRITE
from s3dlio.tuning import FEW_IN_FLIGHT, HEAD_BYTES

if TYPE_CHECKING:
    from s3dlio.runtime.engine import Engine
    from s3dlio.runtime.operation import Task

ERROR_BYTES = 1 << 20  # the longest body of an error
DOCUMENT_BYTES = 64 << 20  # the longest body that is not an object's content: 5,000 of Azure's longest names fit
CONFIRMED_BYTES = 64 << 10
"""The longest request body whose confirmation is not waited for. Any kernel confirms this many bytes before its program
has read them, so a confirmation would prove nothing."""

_MOST_INTERIM = 32  # 1xx answers before the final one
_LOOK_AGAIN = 0.01  # seconds between two checks whether the other side has confirmed a body that was answered early
_NOTHING = memoryview(b"")
_NO_BYTES = bytearray()
_MIB = 1 << 20

Receive = Callable[[ResponseHead], "Target | None"]


class State(Enum):
    """The states of an exchange. The table at the top of this module describes them."""

    NEW = "new"
    OPENING = "opening"
    WAITING = "waiting"
    SENDING = "sending"
    HEAD = "head"
    EARLY = "early"
    BODY = "body"
    ENDED = "ended"


# As globals, because on Python 3.10 an attribute of an Enum class takes a method call.
NEW, OPENING, WAITING, SENDING, HEAD, EARLY, BODY, ENDED = State


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


class Outgoing(Protocol):
    """A request without its head.

    Attributes:
        method: the method, in capitals; the answer to HEAD has no body.
        body: the body of the request. It is not copied, so it must not change until the exchange has ended.
        receive: called with the head of the answer before its body. Returns the target for a body of known length, with
            exactly as much free room; None for a pooled buffer.
        observe: called with each piece of a body of known length, in order, while it is in the cache.
        finish_before_stop: whether an operation that is stopped still waits for the answer, since it names what the
            operation has to undo.
        leave_last_connection: whether to open a connection instead of using the last idle one.
    """

    method: str
    body: Sequence[memoryview]
    receive: Receive | None
    observe: Observe | None
    finish_before_stop: bool
    leave_last_connection: bool


class Exchange:
    """Awaitable: `response = await Exchange(...)`. Raises TransportError if it fails.

    Attributes:
        address: the server.
        task: the operation that awaits this exchange.
        began: when the exchange began, in seconds of the monotonic clock.
        touched: when a byte last moved, or the state last changed, on that clock.
        finish_before_stop: whether an operation that is stopped still waits for the answer (see `engine.Awaited`).
    """

    __slots__ = (
        "_closes",
        "_collected",
        "_confirmed",
        "_connection",
        "_connections",
        "_continuation",
        "_early",
        "_engine",
        "_fresh",
        "_head",
        "_head_bytes",
        "_interim",
        "_limits",
        "_moved",
        "_moved_at",
        "_moves_since",
        "_opening",
        "_pace",
        "_request",
        "_state",
        "_target",
        "_unsent",
        "_views",
        "_write_failed",
        "address",
        "began",
        "finish_before_stop",
        "task",
        "touched",
    )

    _unsent: list[memoryview]

    def __init__(
        self,
        request: Outgoing,
        address: Address,
        head: bytes,
        limits: Limits,
        continuation: Continuation | None = None,
    ) -> None:
        """Take the request, its signed head, and what a batched request has done of it already; None for a new one."""
        self.address = address
        self.finish_before_stop = False  # until the request is being sent
        self._request = request
        self._views = [memoryview(head), *filter(len, request.body)]
        self._limits = limits
        self._continuation = continuation
        self._state = NEW
        self._fresh = False  # whether only a new connection will do
        self._connection: Connection | None = None
        self._opening: Opening | None = None
        # The body that moves now, of the request or of the answer; and those that have moved before it.
        self._moves_since = 0.0  # when it began to move; 0 if none moves
        self._moved_at = 0.0  # when bytes of it last moved
        self._moved = 0.0  # seconds in which others have moved
        self._pace: Pace | None = None
        self._confirmed = -1  # bytes that the other side has confirmed on the connection; -1 for not known

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
            connection = connections.take(self.address, self._limits, self._request.leave_last_connection)
        if connection is not None:
            self._start(connection)
            return
        self.open()

    def open(self) -> None:
        """Open a connection."""
        self._state = OPENING
        self.touched = self._engine.now
        self._opening = Opening(
            self._engine, self._connections.lookups, self.address, self._on_open, self._on_not_opened
        )
        self._opening.begin(self._limits.connect)

    def take(self, connection: Connection) -> None:
        """Use a connection that another exchange has released."""
        self.touched = self._engine.now
        self._start(connection)

    def is_connected(self) -> bool:
        """Whether the exchange holds a connection, or opens one."""
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
                self._state = WAITING
            else:
                self._fail(error.kind, str(error))
        elif isinstance(error, ConnectError):
            self._fail(error.kind, str(error))
        else:  # such as a CA file that cannot be read, or a name that TLS does not accept
            self._drop()
            self._engine.resume(self.task, error=error)

    # Sending the request...

    def _start(self, connection: Connection) -> None:
        """Send the request on a connection."""
        self._reset(connection)
        self._unsent = self._views.copy()
        if len(self._unsent) > 1:
            self._begin_to_send(self._engine.now)
        connection.will_send(sum(map(len, self._unsent)))
        self._state = SENDING
        if self._send():
            self._state = HEAD
            self._engine.watch(connection.fd, READ, self._on_head)
        else:
            self._engine.watch(connection.fd, READ | WRITE, self._on_sending)

    def _reset(self, connection: Connection) -> None:
        """Begin on a connection: nothing has been sent, and nothing received."""
        self._connection = connection
        self.finish_before_stop = self._request.finish_before_stop
        self._unsent = []
        self._write_failed: OSError | None = None
        self._head: ResponseHead | None = None
        self._head_bytes = b""  # received, and not yet a whole head
        self._interim = 0
        self._closes = False  # whether the server may send more after the answer
        self._early = b""  # received after the head of an early success
        self._target: Target | None = None  # of a body of known length
        self._collected: ChunkedBody | BodyUntilClose | None = None  # a body of unknown length

    def _take_over(self, begun: Continuation) -> None:
        """Continue a request that has been sent, or a part of it."""
        connection = begun.connection
        self._reset(connection)
        self.began, self.touched = begun.began, begun.touched
        if len(self._views) > 1:
            self._begin_to_send(begun.began)
        if begun.unsent:
            self._unsent = list(begun.unsent)
            self._state = SENDING
            self._engine.watch(connection.fd, READ | WRITE, self._on_sending)
            return
        self._state = HEAD
        self._engine.watch(connection.fd, READ, self._on_head)
        if begun.target is not None:
            self._moved = begun.touched - begun.began
        if begun.received:
            rest = begun.target.received() if begun.target is not None else None
            self._take_head(begun.received, len(begun.received), rest)
            if self._state is BODY:
                self._pace = Pace(self._engine.now, 0, begun.began)
        if self._connection is connection and self._state is HEAD and self.address.tls:
            self._on_head(READ)

    def _begin_to_send(self, now: float) -> None:
        """The body of the request begins to move."""
        if self._moves_since:  # on another connection, which was lost
            self._moved = self.body_seconds()
        self._moves_since = self._moved_at = now
        self._confirmed, self._pace = -1, None

    def _send(self) -> bool:
        """Send what fits; returns whether nothing is left to send."""
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
            # The server may have refused and closed the connection. Then its answer counts.
            self._write_failed = error
            self._unsent = []
        return True

    def _on_sending(self, events: int) -> None:
        """Handle the socket in SENDING and EARLY: read an answer, if any, before sending more."""
        connection = self._connection
        assert connection is not None
        if events & ~WRITE and self._state is SENDING:
            self._on_head(events)
            if self._connection is not connection or self._state is BODY:
                return  # the exchange has ended, begins on another connection, or receives a refusal
        if not self._send():
            return
        if self._state is SENDING:
            self._state = HEAD
            self._engine.watch(connection.fd, READ, self._on_head)
        elif self._write_failed is not None:
            self._lost(self._write_failed)
        else:
            self._use_early(connection)

    # An early success...

    def _is_early(self) -> bool:
        """Whether an answer has been received before the other side has confirmed the body of the request."""
        if self._unsent or self._write_failed is not None:
            return True
        if sum(map(len, self._views)) <= CONFIRMED_BYTES:
            return False
        assert self._connection is not None
        return not self._connection.is_delivered()

    def _keep_early(self, rest: memoryview) -> None:
        """Keep a success until the body of the request is confirmed; `rest` has been received after its head."""
        connection = self._connection
        assert connection is not None
        self._state = EARLY
        self._early = bytes(rest)
        if self._write_failed is not None:
            self._lost(self._write_failed)
        elif self._unsent:
            self._engine.watch(connection.fd, WRITE, self._on_sending)
        else:
            self._use_early(connection)

    def _use_early(self, connection: Connection) -> None:
        """Use an early success if the other side has confirmed all that was sent; otherwise check again soon."""
        if self._connection is not connection or self._state is not EARLY or self._unsent:
            return  # the exchange has ended since this check was scheduled
        delivered = connection.is_delivered()
        if delivered is None:
            self._engine.watch(connection.fd, 0, self._on_sending)  # a broken connection is reported nevertheless
            self._engine.call_later(_LOOK_AGAIN, partial(self._use_early, connection))
        elif delivered:
            assert self._head is not None
            self._engine.watch(connection.fd, READ, self._on_head)  # an idle connection is watched for what arrives
            self._begin_body(self._head, memoryview(self._early))
        else:
            self._lost(None)

    # Receiving the head...

    def _on_head(self, _: int) -> None:
        """Handle the socket in HEAD, and in SENDING when an answer arrives."""
        while self._receive_head():  # no poller sees the bytes that TLS has read ahead
            pass

    def _receive_head(self) -> bool:
        """Receive once; returns whether to do so again at once, for the rest of the head."""
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

    def _take_head(self, buffer: bytearray, count: int, rest: memoryview | None = None) -> bool:
        """Read the head, if it is whole, and begin the body.

        The first `count` bytes of the buffer have been received. If it holds only the head, `rest` is what was received
        after it.

        Returns:
            Whether to receive again at once, for the rest of the head.
        """
        if self._head_bytes:
            buffer = bytearray(self._head_bytes) + buffer[:count]
            count = len(buffer)
        try:
            head, end = self._read_head(buffer, count)
        except FramingError as error:
            if isinstance(error, FirstLineError) and not self._interim and self._was_reused():
                self._begin_anew()
            else:
                self._malformed(error)
            return False
        if head is None:
            self._head_bytes = bytes(buffer[end:count])
            return self.address.tls
        self._head = head
        if rest is None:
            connections = self._connections
            whole = connections.head_view if buffer is connections.head_buffer else memoryview(buffer)
            rest = whole[end:count]
        if head.status < 300 and len(self._views) > 1 and self._is_early():
            self._keep_early(rest)
        else:
            self._begin_body(head, rest)
        return False

    def _read_head(self, buffer: bytearray, count: int) -> tuple[ResponseHead | None, int]:
        """The head of the final answer, and where it ends; or None, and where it begins, if it is not whole.

        Interim answers (1xx) before it are skipped.

        Raises:
            FramingError: the bytes are not an answer.
        """
        start = 0
        while True:
            end = find_head_end(buffer, start, count)
            if end < 0:
                return None, start
            head = parse_head(buffer[start:end], self._request.method)
            if head.status >= 200:
                return head, end
            start = end
            self._closes = self._closes or not head.keep_alive
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                raise FramingError(f"the server sent more than {_MOST_INTERIM} interim answers (1xx) and no final one")

    # Receiving the body...

    def _begin_body(self, head: ResponseHead, rest: memoryview) -> None:
        """Decide where the body goes, and take what was received after the head."""
        if self._moves_since:  # the request had a body
            self._moved, self._pace = self.body_seconds(), None
        self._state = BODY
        self._moves_since = self._moved_at = self._engine.now
        try:
            receive = self._request.receive
            target = receive(head) if receive is not None else None
        except (MemoryError, OverflowError):
            self._malformed(_no_memory(head.length))
            return
        except Exception as error:  # the operation refuses this head: it gets its own error
            self._drop()
            self._engine.resume(self.task, error=error)
            return
        if head.length == len(rest) == 0 and target is None:  # such as the answers to most writes
            self._done(_NOTHING)
        elif head.body is BodyKind.LENGTH:
            self._begin_sized(head, rest, target)
        elif head.body is BodyKind.NONE:
            self._closes = self._closes or len(rest) > 0
            self._done(_NOTHING)
        else:
            most = self._longest(head)
            body = ChunkedBody(most) if head.body is BodyKind.CHUNKED else BodyUntilClose(most)
            self._begin_collected(body, rest)

    # ... of known length

    def _begin_sized(self, head: ResponseHead, rest: memoryview, target: Target | None) -> None:
        """Receive a body of known length, or end if it is wrong, too long or already whole."""
        length = head.length
        assert length is not None
        if target is None:
            if length > self._longest(head):
                self._too_long(head)
                return
            try:
                target = Buffer(lease(length))
            except (MemoryError, OverflowError):
                self._malformed(_no_memory(length))
                return
        room = target.size - target.filled
        if room != length:
            self._malformed(FramingError(f"the answer has {length} bytes, but {room} bytes were requested"))
            return
        if len(rest) > length:
            self._malformed(FramingError("the server sent more bytes than the answer's Content-Length"))
            return
        self._target = target
        if rest:
            target.take(rest)
            observe = self._request.observe
            if observe is not None:
                observe(rest)
        if len(rest) == length:
            self._done_sized(target)
            return
        assert self._connection is not None
        self._engine.watch(self._connection.fd, READ, self._on_sized)
        # Receive at once if bytes are likely to wait, or may be inside TLS, where no poller sees them.
        if len(rest) >= HEAD_BYTES // 2 or self.address.tls:
            self._on_sized(READ)

    def _on_sized(self, _: int) -> None:
        """Handle the socket in BODY, for a body of known length."""
        connection, target = self._connection, self._target
        assert connection is not None
        assert target is not None
        before = target.filled
        try:
            few = len(self._connections.in_flight) <= FEW_IN_FLIGHT
            is_open = receive_into(target, connection, few, self._request.observe)
        except OSError as error:
            self._lost(error)  # here: kept in a variable, its traceback would be a cycle that keeps the target
            return
        finally:
            if target.filled != before:
                self.touched = self._moved_at = self._engine.now
        if target.filled == target.size:
            self._done_sized(target)
        elif not is_open:
            self._lost(None)

    def _done_sized(self, target: Target) -> None:
        """The target is full: the last part of its bytes is the body."""
        assert self._head is not None
        length = self._head.length or 0
        whole = target.result()
        self._done(whole if len(whole) == length else whole[len(whole) - length :])

    # ... of unknown length

    def _begin_collected(self, body: ChunkedBody | BodyUntilClose, rest: memoryview) -> None:
        """Collect a body of unknown length."""
        connection = self._connection
        assert connection is not None
        self._collected = body
        self._collect(partial(body.take, rest))
        if self._state is BODY:
            self._engine.watch(connection.fd, READ, self._on_collected)
            if self.address.tls:  # bytes may be inside TLS, where no poller sees them
                self._on_collected(READ)

    def _on_collected(self, _: int) -> None:
        """Handle the socket in BODY, for a body of unknown length."""
        connection, body = self._connection, self._collected
        assert connection is not None
        assert body is not None
        self._collect(partial(body.receive, connection))

    def _collect(self, step: Callable[[], bool]) -> None:
        """Take more of the body; end if it is whole, lost, or wrong.

        `step` takes more, and returns whether the connection is still open.
        """
        body, head = self._collected, self._head
        assert body is not None
        assert head is not None
        before = body.count
        try:
            is_open = step()
        except OSError as error:
            self._lost(error)
        except FramingError as error:
            self._malformed(error)
        except TooLongError:
            self._too_long(head)
        else:
            if body.count != before:
                self.touched = self._moved_at = self._engine.now
            if body.is_whole:
                self._done(body.result())
            elif not is_open:
                self._lost(None)

    def _longest(self, head: ResponseHead) -> float:
        """The most bytes that the body of an answer may have, unless it goes into a target."""
        if head.status >= 300:
            return ERROR_BYTES
        return self._limits.unsized_max if self._is_unsized_object(head) else DOCUMENT_BYTES

    def _is_unsized_object(self, head: ResponseHead) -> bool:
        return self._request.receive is not None and head.body is not BodyKind.LENGTH and head.status in (200, 206)

    def _too_long(self, head: ResponseHead) -> None:
        """End because the body is longer than its limit. Of an error, status and fields are the result."""
        if head.status >= 300:
            self._closes = True
            reason = f"{head.reason} (with a body longer than {ERROR_BYTES >> 10} KiB, the limit for errors)"
            self._head = head._replace(reason=reason.strip())
            self._done(_NOTHING)
        elif self._is_unsized_object(head):
            limit = f"{self._limits.unsized_max / _MIB:g} MiB (S3DLIO_UNSIZED_MAX_MB)"
            self._malformed(FramingError(f"the answer does not state its length and is longer than {limit}"))
        else:
            limit = f"{DOCUMENT_BYTES >> 20} MiB, the limit for answers that are not an object"
            self._malformed(FramingError(f"the answer is longer than {limit}"))

    def _received(self) -> int:
        """How many bytes of the body are in its target."""
        target, head = self._target, self._head
        if target is None or head is None or head.length is None:
            return 0
        return head.length - (target.size - target.filled)

    # Deadlines...

    def body_seconds(self) -> float:
        """Seconds in which a body, of the request or of the answer, has moved."""
        return self._moved + (max(0.0, self._moved_at - self._moves_since) if self._moves_since else 0.0)

    def check_deadlines(self, now: float) -> None:
        """Fail if a deadline has passed."""
        limits = self._limits
        moved = self._body_bytes(now) if self._moves_since else None
        if now - self.began > limits.total and now - self.began - self.body_seconds() > limits.total:
            self._fail("timeout", f"the request took longer than {limits.total:g} s (S3DLIO_REQUEST_TIMEOUT)")
        elif self._opening is not None:
            if now - self.touched > limits.connect:
                # Another try at once is worthwhile only if it begins with another IP address.
                again = self._opening.give_up()
                self._fail(
                    "connect" if again else "connect timeout",
                    f"no connection within {limits.connect:g} s (S3DLIO_CONNECT_TIMEOUT)",
                )
        elif self._state is not WAITING and now - self.touched > limits.idle:
            self._fail("timeout", f"no byte moved for {limits.idle:g} s (S3DLIO_READ_TIMEOUT)")
        elif self._connection is not None and not self._is_too_slow(now, moved):
            self._connection.look(now - self.touched)

    def _is_too_slow(self, now: float, moved: int | None) -> bool:
        """Fail if the body that moves is too slow. `moved` bytes of it have moved; None if none moves."""
        if moved is None:
            self._pace = None
            return False
        self._pace = self._pace or Pace(now, moved)
        if not self._pace.is_too_slow(now, moved, self._limits):
            return False
        self._fail("slow", self._limits.why_too_slow())
        return True

    def _body_bytes(self, now: float) -> int | None:
        """Bytes that have moved of the body that moves now, counted from an arbitrary start; None if none moves."""
        connection = self._connection
        if connection is None:
            return None
        if self._state is BODY:
            return self._received() if self._collected is None else self._collected.count
        known = connection.confirmed()
        if known is None:  # the kernel does not tell: count what it has taken
            return sum(map(len, self._views)) - sum(map(len, self._unsent)) if self._unsent else None
        confirmed, everything = known
        if confirmed > self._confirmed >= 0:
            self.touched = self._moved_at = now
        self._confirmed = confirmed
        return None if everything and not self._unsent else confirmed  # None: the server is preparing its answer

    # Ending...

    def _done(self, body: memoryview) -> None:
        """End with an answer."""
        connection, head, connections = self._connection, self._head, self._connections
        assert connection is not None
        assert head is not None
        self._state, self._connection = ENDED, None
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
        elif self._state is EARLY:
            what = f"while the body was sent, although the server had already answered {self._head.status}"
        elif self._collected is None:
            what = f"after {self._received()} of {self._head.length} bytes of the body"
        else:
            what = "while the body was received"
        self._fail("lost", f"the connection was lost {what}: {why}")

    def _was_reused(self) -> bool:
        """Whether the connection has carried another exchange before this one."""
        assert self._connection is not None
        return self._connection.reused

    def _begin_anew(self) -> None:
        """Send the request again, on a new connection."""
        self._drop()
        self._state, self._fresh = NEW, True
        self.begin(self._engine, self.task)

    def _malformed(self, error: FramingError) -> None:
        self._fail("malformed", str(error))

    def _fail(self, kind: Failure, message: str) -> None:
        """End with an error."""
        head = None if self._connection is None else self._head
        received = 0 if head is None else self._received()
        self._drop()
        self._engine.resume(self.task, error=TransportError(kind, message, head, received))

    def detach(self) -> bool:
        """Release everything, because the operation is stopped (see `engine.Awaited`)."""
        self._drop()
        return True

    def _drop(self) -> None:
        """Release everything without an outcome."""
        connections = self._connections
        connections.in_flight.discard(self)
        self.finish_before_stop = False
        if self._state is WAITING:
            connections.waiting.remove(self)
        self._state = ENDED
        if self._opening is not None:
            self._opening.close()
            self._opening = None
        if self._connection is not None:
            connections.drop(self._connection)
            self._connection = None


def _no_memory(length: int | None) -> FramingError:
    """The error for an answer that states a length for which there is no memory."""
    return FramingError(f"no memory for an answer of {length} bytes, the length that it states")


def without_first(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """The rest of some views after their first `count` bytes."""
    left = []
    for view in views:
        if count < len(view):
            left.append(view[count:])
        count = max(0, count - len(view))
    return left
