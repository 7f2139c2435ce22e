# SPDX-License-Identifier: Apache-2.0
"""The server: plays scripts on sockets, plain and TLS, for all protocols in one thread.

A director gives a script for every request. A script is a list of steps: bytes to send, seconds to wait, an end of the
connection. The server also notices requests on connections that a client must not use any more.
"""

from __future__ import annotations

import contextlib
import enum
import heapq
import itertools
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from tests.chaos.stores import MODELS, Asked, Model
from tests.servers import certificates

T = TypeVar("T")

TOGETHER = 16_384  # bytes that a single segment, and a single TLS record, surely hold
_SMALL_BUFFER = 262_144  # bytes, some segments, that the kernel is to take of a request whose answer comes before it
_PATIENCE = 0.5  # seconds to wait for the rest of requests that were answered early


class End(enum.Enum):
    """How a connection ends."""

    CLOSE = "closed"
    SILENT = "closed without the end of TLS"
    RESET = "reset"


class Unasked(NamedTuple):
    """The bytes of the step before this one went beyond the answer.

    Attributes:
        together: they were a part of the same step as its end.
    """

    together: bool


class Later(NamedTuple):
    """Unexpected bytes, some seconds later, unless another request comes before them."""

    seconds: float
    data: bytes


Step = bytes | float | End | Unasked | Later


class Script(NamedTuple):
    """What is played for a request.

    Attributes:
        steps: in order.
        early: played before the body of the request has been read.
    """

    steps: list[Step]
    early: bool = False


class Director(Protocol):
    """Who says what is played.

    Attributes:
        models: the state of each protocol.
    """

    @property
    def turn(self) -> int:
        """Counts the calls of the client."""

    @property
    def models(self) -> Mapping[str, Model]: ...

    def welcome(self) -> End | bytes | None:
        """How a new connection ends immediately; or bytes to send on it instead of answers; or None."""

    def head(self, scheme: str, asked: Asked) -> Script | None:
        """A script to be played before the body of a request has come, or None."""

    def request(self, scheme: str, asked: Asked, answered: bool) -> Script:
        """A request has come whole; the script, which is not played if the request was answered early."""

    def disregarded(self, certain: bool) -> None:
        """A request came on a connection on which unasked-for bytes had been sent.

        Args:
            certain: whether they had arrived before the client could last look: with the answer, or in an earlier call.
        """

    def overdue(self) -> bool:
        """Whether the call has taken too long; true once."""


class _Link:
    """A connection."""

    def __init__(self, server: Server, sock: socket.socket, scheme: str, context: ssl.SSLContext | None) -> None:
        self._server = server
        self.sock = sock
        self.fd = sock.fileno()
        self._scheme = scheme
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._shaken = context is None
        self._received = bytearray()
        self._asked: Asked | None = None  # whose body is awaited
        self._length = 0
        self._answered = False
        self._steps: deque[Step] = deque()
        self._unsent = memoryview(b"")
        self._whole = False  # whether the last bytes went in one piece
        self.wakes_at = 0.0
        self._later: Later | None = None
        self._unasked: tuple[int, bool] | None = None
        self._ended = False

    # Bytes in...

    def readable(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._tls is None:
            self._received += data
        else:
            self._in.write(data)
            try:
                if not self._shaken:
                    self._tls.do_handshake()
                    self._shaken = True
                while piece := self._tls.read(1 << 16):
                    self._received += piece
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self.close()
                return
            self._flush()
        if self._ended:
            self._received.clear()
            return
        if self._later is not None and self._received:
            self._later, self.wakes_at = None, 0.0
        self.advance()

    def _take_request(self) -> bool:
        """Take a request from what has been received; whether there is a script to play."""
        director = self._server.director
        if self._asked is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return False
            lines = self._received[:end].decode("latin-1").split("\r\n")
            del self._received[: end + 4]
            method, target, _ = lines[0].split(" ")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            if self._unasked is not None:
                turn, together = self._unasked
                self._unasked = None
                director.disregarded(together or turn != director.turn)
            parts = urlsplit(target)
            query = {
                unquote(name): unquote(value) for name, _, value in (i.partition("=") for i in parts.query.split("&"))
            }
            self._asked = director.models[self._scheme].asked(method, parts.path, query, fields)
            self._length = int(fields.get("content-length", "0"))
            self._answered = False
            script = director.head(self._scheme, self._asked) if self._length else None
            if script is not None:
                self._answered = True
                with contextlib.suppress(OSError):
                    self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
                self._steps.extend(script.steps)
                return True
        if len(self._received) < self._length:
            return False
        asked = self._asked._replace(body=bytes(self._received[: self._length]))
        del self._received[: self._length]
        self._asked = None
        script = director.request(self._scheme, asked, self._answered)
        if not self._answered:
            self._steps.extend(script.steps)
        return True

    @property
    def is_receiving(self) -> bool:
        """Whether a request that was answered early has not come whole."""
        return self._asked is not None and self._answered

    # Bytes out...

    def advance(self) -> None:
        """Play as much as can be played now."""
        while self.fd >= 0:
            if self._unsent:
                if not self._send():
                    return
                continue
            if self.wakes_at:
                return
            if not self._steps:
                if self._ended or not self._take_request():
                    return
                continue
            self._play(self._steps.popleft())

    def _play(self, step: Step) -> None:
        if isinstance(step, bytes):
            self._whole = len(step) <= TOGETHER
            if self._tls is not None:
                with contextlib.suppress(ssl.SSLError):
                    if step:
                        self._tls.write(step)
                step = self._out.read()
            self._unsent = memoryview(step)
        elif isinstance(step, float):
            self._server.wake(self, step)
        elif isinstance(step, Later):
            self._later = step
            self._server.wake(self, step.seconds)
        elif isinstance(step, Unasked):
            self._unasked = self._server.director.turn, step.together and self._whole
        else:
            self._end(step)

    def woken(self) -> None:
        self.wakes_at = 0.0
        later, self._later = self._later, None
        if later is not None:
            try:
                self.sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                self._steps.extend([later.data, Unasked(together=False)])
            except OSError:
                pass
        self.advance()

    def _send(self) -> bool:
        try:
            count = self.sock.send(self._unsent)
        except BlockingIOError:
            self._whole = False
            self._server.poll.modify(self.fd, select.EPOLLIN | select.EPOLLOUT)
            return False
        except OSError:
            self.close()
            return False
        if count < len(self._unsent):
            self._whole = False
        self._unsent = self._unsent[count:]
        return True

    def writable(self) -> None:
        self._server.poll.modify(self.fd, select.EPOLLIN)
        self.advance()

    def _flush(self) -> None:
        """Send what TLS itself has to say: its handshake and its session tickets."""
        if data := self._out.read():
            self._unsent = memoryview(bytes(self._unsent) + data)

    def _end(self, how: End) -> None:
        self._steps.clear()
        if how is End.RESET:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()
            return
        if how is End.CLOSE and self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            with contextlib.suppress(OSError):
                self.sock.send(self._out.read())
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self._ended = True  # read and drop whatever comes until the client closes, too: a reset would lose the answer

    def close(self) -> None:
        if self.fd >= 0:
            self._server.forget(self)
            self.fd = -1
            self.sock.close()


class Server:
    """Listeners for every protocol, plain and TLS. `run` occupies a thread until `stop`."""

    def __init__(self, folder: Path, director: Director) -> None:
        certificate = certificates.make(folder)
        self.ca_file = str(certificate.ca)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        self.director = director
        self.overdue: Callable[[], None] = lambda: None
        self.poll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, str, bool]] = {}
        self.ports: dict[tuple[str, bool], int] = {}
        for scheme, tls in itertools.product(MODELS, (False, True)):
            listener = socket.create_server(("127.0.0.1", 0), backlog=256)
            listener.setblocking(False)
            self.poll.register(listener.fileno(), select.EPOLLIN)
            self._listeners[listener.fileno()] = listener, scheme, tls
            self.ports[scheme, tls] = listener.getsockname()[1]
        self._links: dict[int, _Link] = {}
        self._deaf: list[socket.socket] = []  # connections on which nothing is heard
        self._timers: list[tuple[float, int, _Link]] = []
        self._serial = itertools.count()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._quiet_since = 0.0
        self._bell, self._ring = os.pipe()
        self.poll.register(self._bell, select.EPOLLIN)
        self._stopped = threading.Event()

    # From other threads...

    def do(self, work: Callable[[], T]) -> T:
        """Run something in the server's thread, once nothing that was sent before is unread."""
        future: Future[T] = Future()
        self._commands.append((work, future))
        os.write(self._ring, b"!")
        return future.result(30)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()
        with contextlib.suppress(OSError):  # `run` may have ended between these lines, and closed the pipe
            os.write(self._ring, b"!")

    # In its own...

    def run(self) -> None:
        """Serve."""
        try:
            while not self._stopped.is_set():
                self._turn()
        finally:
            self.drop_links()
            for listener, _, _ in self._listeners.values():
                listener.close()
            self.poll.close()
            os.close(self._bell)
            os.close(self._ring)

    def _turn(self) -> None:
        now = time.monotonic()
        if self.director.overdue():
            self.overdue()
        timeout = min(1.0, max(0.0, self._timers[0][0] - now)) if self._timers else 1.0
        events = self.poll.poll(0 if self._commands else timeout)
        quiet = True
        for fd, event in events:
            if fd == self._bell:
                os.read(self._bell, 64)
                continue
            quiet = False
            if fd in self._listeners:
                self._accept(*self._listeners[fd])
            elif (link := self._links.get(fd)) is not None:
                if event & select.EPOLLOUT:
                    link.writable()
                if event & ~select.EPOLLOUT and link.fd >= 0:
                    link.readable()
                    link.advance()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            at, _, link = heapq.heappop(self._timers)
            if link.fd >= 0 and link.wakes_at == at:
                link.woken()
        if not quiet or events or not self._commands:
            self._quiet_since = now
            return
        if any(link.is_receiving for link in self._links.values()) and now - self._quiet_since < _PATIENCE:
            time.sleep(0.001)
            return
        work, future = self._commands.popleft()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    def _accept(self, listener: socket.socket, scheme: str, tls: bool) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        end = self.director.welcome()
        if isinstance(end, bytes):
            with contextlib.suppress(OSError):
                sock.send(end)
            self._deaf.append(sock)
            return
        if end is not None:
            if end is End.RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(self, sock, scheme, self._context if tls else None)
        self._links[link.fd] = link
        self.poll.register(link.fd, select.EPOLLIN)

    def wake(self, link: _Link, seconds: float) -> None:
        """Go on with a connection some seconds later."""
        link.wakes_at = time.monotonic() + seconds
        heapq.heappush(self._timers, (link.wakes_at, next(self._serial), link))

    def forget(self, link: _Link) -> None:
        """A connection ends."""
        self._links.pop(link.fd, None)
        with contextlib.suppress(OSError):
            self.poll.unregister(link.fd)

    def drop_links(self) -> None:
        """End all connections."""
        for link in list(self._links.values()):
            link.close()
        for sock in self._deaf:
            sock.close()
        self._deaf.clear()
        self._timers.clear()
