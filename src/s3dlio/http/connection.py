# SPDX-License-Identifier: Apache-2.0
"""One connection: a non-blocking socket, with or without TLS, from its first steps to its end.

`opening` connects the socket. `advance` then takes the connection through its phases: CONNECT to a proxy if TLS goes
through one, and the TLS handshake. It returns the event to wait for, and 0 when the connection is open. After that
`send` and `receive` move bytes. Neither blocks, and neither raises an exception because it would have to wait.

An idle connection is used again only if `is_quiet`. Bytes that no request asked for, such as a body after the answer to
HEAD, would be taken for the answer to the next request.

While a long body is received over a short way, the kernel is asked to wake this process for many bytes only (`expect`).
Otherwise a client that is faster than its server would be woken for every few packets, and the faster it is, the more
time it would spend on being woken. Over a long way the kernel would then let too few bytes be under way at first.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import sys
from typing import Any, Literal

from s3dlio import descriptors, forks, redaction
from s3dlio.http import framing, tls
from s3dlio.http.address import Address
from s3dlio.http.head_patterns import HeadPattern
from s3dlio.runtime.poller import READ
from s3dlio.tuning import (
    LOW_WATER_BYTES,
    LOW_WATER_PATIENCE,
    NEAR_MICROSECONDS,
    SEND_BUFFER,
    TLS_RECEIVED_BYTES,
    TLS_SENT_AT_ONCE,
)

WOULD_BLOCK = tls.WOULD_BLOCK


def _kernel_makes_room() -> bool:
    """Whether a socket's buffer grows to its low-water mark: on Linux since 4.18. (gVisor reports 4.4.)"""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release) if sys.platform == "linux" else None
    return version is not None and (int(version[1]), int(version[2])) >= (4, 18)


LOW_WATER = LOW_WATER_BYTES if _kernel_makes_room() else 1
_TLS_LOW_WATER = min(LOW_WATER, TLS_RECEIVED_BYTES)
# Offsets of `tcpi_unacked`, `tcpi_bytes_acked`, `tcpi_notsent_bytes` and `tcpi_min_rtt` in linux/tcp.h's `tcp_info`.
_UNACKED, _BYTES_ACKED, _NOT_SENT, _MIN_RTT = 24, 120, 144, 148
_RESET = 7  # TCP_CLOSE in linux/tcp.h, the first byte of `tcp_info`: the other side has broken the connection
_has_poll = hasattr(select, "poll")


ConnectFailure = Literal["connect", "refused", "untrusted", "proxy", "descriptors"]


class ConnectError(OSError):
    """The connection could not be made.

    Attributes:
        kind: "refused", if the server refused; "untrusted", if its certificate cannot be verified; "proxy", if the
            proxy refused; "descriptors", if this process can open no more files; "connect" otherwise.
    """

    def __init__(self, message: str, kind: ConnectFailure = "connect") -> None:
        super().__init__(redaction.message(message))  # a proxy may have sent a part of the message
        self.kind = kind


class Connection:
    """A connection to one address."""

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_bounded",
        "_mark",
        "_phase",
        "_tunnel",
        "address",
        "fd",
        "low_water",
        "pattern",
        "process",
        "reused",
        "since",
        "sock",
        "tls",
    )

    def __init__(self, address: Address, sock: socket.socket) -> None:
        """Take over a non-blocking socket that is connected to the server or its proxy."""
        self.address = address
        self.sock = sock
        self.fd = sock.fileno()
        self.process = os.getpid()
        self.reused = False
        self.pattern: HeadPattern | None = None  # of the answers that the server sends
        self.since = 0.0  # when the connection became idle
        self.low_water = 1  # the fewest bytes that the poller reports
        self._bounded = False  # whether the size of the send buffer has been decided
        self._mark = 0  # what `low_water` is raised to; 0 until decided
        self._phase: Any = self._connected
        self._tunnel = bytearray()
        self._arrivals: Any = None  # polls this socket only
        self.tls: tls.Stream | None = None
        _all.add(self)

    # Opening...

    def advance(self) -> int:
        """Take the next step; returns the event to wait for, 0 when the connection is open.

        Raises:
            ConnectError: the connection cannot be opened.
        """
        events: int = self._phase()
        return events

    def _connected(self) -> int:
        if not self.address.tls:
            return 0
        if self.address.proxy is not None:
            self._phase = self._asked_proxy
            target = self.address.target
            fields = [("Host", target)]
            if self.address.proxy.authorization:
                fields.append(("Proxy-Authorization", self.address.proxy.authorization))
            try:
                self.sock.send(framing.request_head("CONNECT", target, fields))
            except OSError as error:
                raise ConnectError(f"the connection to the proxy was lost: {error.strerror or error}") from error
            return READ
        return self._begin_tls()

    def _asked_proxy(self) -> int:
        try:
            # Nothing of the tunnel is lost by receiving much: the server does not speak before the client.
            piece = self.sock.recv(4096)
        except BlockingIOError:
            return READ
        except OSError as error:
            raise ConnectError(f"the connection to the proxy was lost: {error.strerror or error}") from error
        if not piece:
            raise ConnectError("the proxy closed the connection before it answered CONNECT")
        self._tunnel += piece
        try:
            while True:
                end = framing.find_head_end(self._tunnel)
                if end < 0:
                    return READ
                head = framing.parse_head(bytes(self._tunnel[:end]), "CONNECT")
                if not head.is_informational:
                    break
                del self._tunnel[:end]
        except framing.FramingError as error:
            raise ConnectError(f"the answer of the proxy to CONNECT is not HTTP: {error}") from error
        if head.status >= 300:
            raise ConnectError(
                f"the proxy refused CONNECT with {head.status} {head.reason}",
                "connect" if head.status >= 500 else "proxy",
            )
        return self._begin_tls()

    def _begin_tls(self) -> int:
        try:
            context = tls.context(self.address.ca_file)
        except OSError as error:
            raise ConnectError(descriptors.shortage(error), "descriptors") from error
        self.tls = tls.Stream(self.sock, context, self.address.host)
        self._phase = self._handshake
        return self._handshake()

    def _handshake(self) -> int:
        assert self.tls is not None
        try:
            return self.tls.handshake()
        except ssl.SSLCertVerificationError as error:
            raise ConnectError(
                f"cannot verify the server's certificate: {error.verify_message}", "untrusted"
            ) from error
        except OSError as error:
            raise ConnectError(f"the TLS handshake failed: {error.strerror or error}") from error

    # Moving bytes...

    def send(self, views: list[memoryview]) -> int:
        """Send as much of some buffers as fits; returns the number of bytes, 0 to wait."""
        if self.tls is not None:
            first = views[0] if len(views) == 1 or len(views[0]) > TLS_SENT_AT_ONCE else _joined(views)
            return self.tls.send(first[:TLS_SENT_AT_ONCE])
        try:
            return self.sock.sendmsg(views) if len(views) > 1 else self.sock.send(views[0])
        except BlockingIOError:
            return 0

    def will_send(self, count: int) -> None:
        """Prepare to send a request of `count` bytes: over a short way, bound what the kernel holds of it."""
        if count > 2 * SEND_BUFFER and not self._bounded:
            self._bounded = True
            if self._is_near():
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def confirmed(self) -> tuple[int, bool] | None:
        """How many bytes sent on this connection the other side has confirmed, and whether these are all that the
        kernel was given. None where the kernel does not tell; only Linux does.
        """
        facts = self._facts()
        if facts is None:
            return None
        on_the_way = facts[_UNACKED : _UNACKED + 4] + facts[_NOT_SENT : _NOT_SENT + 4]
        return int.from_bytes(facts[_BYTES_ACKED : _BYTES_ACKED + 8], sys.byteorder), not any(on_the_way)

    def is_delivered(self) -> bool | None:
        """Whether the other side's kernel has confirmed all that was sent; None if not yet, False if the connection is
        broken, so that it never will. True where this kernel does not tell.

        A server that reads a request before it answers confirms all of the request with the answer.
        """
        facts = self._facts()
        if facts is None:
            return True
        if facts[0] == _RESET:
            return False
        return None if any(facts[_UNACKED : _UNACKED + 4] + facts[_NOT_SENT : _NOT_SENT + 4]) else True

    def receive(self, view: memoryview) -> int:
        """Receive into a buffer; returns the number of bytes, 0 at the end of the stream, WOULD_BLOCK to wait."""
        if self.tls is not None:
            return self.tls.receive(view)
        try:
            return self.sock.recv_into(view)
        except BlockingIOError:
            return WOULD_BLOCK

    def expect(self, left: int) -> None:
        """Raise SO_RCVLOWAT while at least that many bytes are certain to arrive, and reset it before the end.

        `left` bytes of the body have not been received yet; 0 resets the mark.
        """
        # Twice the mark, because TLS may hold as many bytes already.
        wanted = (self._mark or self._choose_mark()) if left >= 2 * LOW_WATER else 1
        if wanted != self.low_water:
            self._set_low_water(wanted)

    def _choose_mark(self) -> int:
        """Decide what `low_water` is raised to on this connection."""
        near = LOW_WATER > 1 and self._is_near()
        self._mark = (LOW_WATER if self.tls is None else _TLS_LOW_WATER) if near else 1
        return self._mark

    def _is_near(self) -> bool:
        """Whether the shortest round trip that the kernel has measured is short. Only Linux tells."""
        facts = self._facts()
        return facts is not None and int.from_bytes(facts[_MIN_RTT:], sys.byteorder) <= NEAR_MICROSECONDS

    def _facts(self) -> bytes | None:
        """The kernel's `struct tcp_info`, up to the shortest round trip; None if the kernel has none."""
        if sys.platform != "linux":
            return None
        facts = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT + 4)
        return facts if len(facts) == _MIN_RTT + 4 else None

    def look(self, silent: float) -> None:
        """Reset the low-water mark after a silence of some seconds: a slow server sends fewer bytes than the mark."""
        if self.low_water > 1 and silent > LOW_WATER_PATIENCE:
            self._set_low_water(1)

    def _set_low_water(self, count: int) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        self.low_water = count

    def pending(self) -> int:
        """Bytes inside TLS, where no poller sees them."""
        return self.tls.pending() if self.tls is not None else 0

    def is_quiet(self) -> bool:
        """Whether an idle connection may carry a request: the server has neither closed it nor sent anything.

        With TLS only decrypted bytes count, because session tickets make the socket readable. After False the
        connection must be closed.
        """
        if self.tls is None and _has_poll:
            # Half the cost of a receive, which raises an exception if nothing has arrived.
            if self._arrivals is None:
                self._arrivals = select.poll()
                self._arrivals.register(self.fd, READ)
            return not self._arrivals.poll(0)
        try:
            return self.receive(memoryview(bytearray(1))) == WOULD_BLOCK
        except OSError:
            return False

    def close(self) -> None:
        """Close only the descriptor: a TLS shutdown in a forked child would end the parent's stream."""
        self.fd = -1
        self.sock.close()


def _joined(views: list[memoryview]) -> memoryview:
    """A small head and the beginning of its body in one buffer, so that they are sent in one TLS record."""
    joined = bytearray()
    for view in views:
        joined += view[: TLS_SENT_AT_ONCE - len(joined)]
    return memoryview(joined)


_all = forks.each_in_child(Connection.close)
