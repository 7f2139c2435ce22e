# SPDX-License-Identifier: Apache-2.0
"""Bodies of answers: each kind of body receives its bytes from a connection and knows when it is whole.

Strategy. `receive_into` is the receive loop for bodies of known length: it fills a target for as long as bytes keep
arriving and other requests can wait. Exchanges and batched reads use it.

A body whose head does not state its length is collected instead: a `ChunkedBody` until its last chunk, a
`BodyUntilClose` until the server closes the connection. These are bounded by a number of bytes.

TLS needs care everywhere, because the poller does not see bytes that a TLS stream has read ahead. Therefore every
receiver empties the stream before it returns to the poller.
"""

from __future__ import annotations

from collections.abc import Callable

from s3dlio.http.connection import WOULD_BLOCK, Connection
from s3dlio.http.framing import ChunkedDecoder, FramingError
from s3dlio.memory.target import Target
from s3dlio.tuning import BODY_BYTES_IN_A_TURN, OBSERVED_BYTES, UNSIZED_PIECE

Observe = Callable[[memoryview], None]


def receive_into(target: Target, connection: Connection, few: bool, observe: Observe | None = None) -> bool:
    """Receive the rest of a body into its target, as far as its bytes have arrived.

    One receive per turn is the rule: the poller tells whether there is more, which costs less than a receive that finds
    nothing. Over a fast connection with few requests in flight the loop continues while more keeps arriving, up to
    `BODY_BYTES_IN_A_TURN`: the server sends meanwhile, and its bytes are received while they are in the cache. A
    connection counts as fast once its low-water mark is raised (`Connection.expect`).

    Args:
        target: has room for exactly the rest of the body.
        connection: carries the answer.
        few: whether few requests are in flight, so that the others can wait.
        observe: called with each piece that has been received.

    Returns:
        False if the server has closed the connection before the target was full.

    Raises:
        OSError: the connection is broken.
    """
    sock, tls = connection.sock, connection.tls
    size, filled = target.size, target.filled
    until = filled + BODY_BYTES_IN_A_TURN
    fast = connection.low_water > 1
    while filled < size:
        view = target.room() if observe is None else target.room(OBSERVED_BYTES)
        try:
            count = sock.recv_into(view) if tls is None else tls.receive(view)
        except BlockingIOError:
            break
        if count <= 0:
            return count == WOULD_BLOCK
        target.filled = filled = filled + count  # type: ignore[misc]
        if observe is not None:
            observe(view[:count])
        connection.expect(size - filled)
        raised = connection.low_water > 1
        fast = fast or raised
        if tls is None:
            if filled >= until or not (fast and few):
                break
        elif raised and count < len(view):
            break  # less than a record is left inside TLS
    return True


class TooLongError(Exception):
    """A body without a stated length has more bytes than its limit."""


class _Collected:
    """A body of unknown length. Its pieces are collected in memory of its own.

    Attributes:
        is_whole: whether the last byte has been received.
    """

    __slots__ = ("_data", "_most", "is_whole")

    def __init__(self, most: float) -> None:
        """Take the most bytes that the body may have."""
        self._data = bytearray()
        self._most = most
        self.is_whole = False

    @property
    def count(self) -> int:
        """How many bytes have been collected."""
        return len(self._data)

    def _check(self) -> None:
        if len(self._data) > self._most:
            raise TooLongError

    def result(self) -> memoryview:
        """The body."""
        return memoryview(self._data)


class ChunkedBody(_Collected):
    """A body in chunks."""

    __slots__ = ("_decoder",)

    def __init__(self, most: float) -> None:
        super().__init__(most)
        self._decoder = ChunkedDecoder()

    def take(self, data: memoryview) -> bool:
        """Add received bytes; returns True.

        Raises:
            FramingError: the bytes are not a chunked body, or follow it.
            TooLongError: the body is longer than its limit.
        """
        for payload in self._decoder.feed(data):
            self._data += payload
        self._check()
        if self._decoder.done:
            if self._decoder.consumed != len(data):
                raise FramingError("the server sent data after the last chunk")
            self.is_whole = True
        return True

    def receive(self, connection: Connection) -> bool:
        """Receive what has arrived; returns False if the server has closed the connection. Raises as `take` does."""
        while not self.is_whole:
            piece = _receive_piece(connection)
            if piece is None:
                return False
            self.take(piece)
            if not connection.pending():  # the poller tells what waits in the socket
                break
        return True


class BodyUntilClose(_Collected):
    """A body that ends when the server closes the connection."""

    __slots__ = ()

    def take(self, data: memoryview) -> bool:
        """Add received bytes; returns True.

        Raises:
            TooLongError: the body is longer than its limit.
        """
        self._data += data
        self._check()
        return True

    def receive(self, connection: Connection) -> bool:
        """Receive what has arrived; returns True. Raises as `take` does."""
        while True:
            piece = _receive_piece(connection)
            if piece is None:
                self.is_whole = True
                return True
            self.take(piece)
            if not connection.pending():  # the poller tells what waits in the socket
                return True


def _receive_piece(connection: Connection) -> memoryview | None:
    """Receive once: the bytes, none if nothing has arrived, or None if the server has closed the connection."""
    view = memoryview(bytearray(UNSIZED_PIECE))
    count = connection.receive(view)
    return None if count == 0 else view[: max(0, count)]
