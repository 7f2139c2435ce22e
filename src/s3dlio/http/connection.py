# SPDX-License-Identifier: Apache-2.0
"""One connection: a non-blocking socket, plain or TLS, on its way from nothing to usable.

A connection begins with a socket that `opening` has connected. Becoming usable goes through phases, each of which waits
for the socket: CONNECT through a proxy where TLS goes through one, and the TLS handshake. `advance` takes it one step
further and says which event it waits for, 0 when it is open. After that `send` and `receive` move bytes; neither
blocks, and neither raises for having to wait.

No request is sent on a connection on which unasked-for bytes have arrived (a body after the answer to HEAD, a second
answer): they would be taken for the answer to it. `is_quiet` tells, and is asked before an idle connection is used.

A client that is faster than its server is woken for every few packets, and the more often the faster it is, so that it
spends the time it has won on receiving less at a time. So while the rest of a body is long, the kernel is asked to wake
it for many bytes only (`expect`); but not over a long way, where it would let only as many be under way at first.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import sys
from typing import Any

from s3dlio import descriptors, forks, redaction
from s3dlio.http import framing, tls
from s3dlio.http.address import Address
from s3dlio.http.head_patterns import Shape
from s3dlio.runtime.poller import READ

WOULD_BLOCK = tls.WOULD_BLOCK

_SEND_AT_ONCE = 256 * 1024  # bytes handed to TLS in one call


def _kernel_makes_room() -> bool:
    """Whether a socket's buffer grows to what is waited for: on Linux since 4.18. (gVisor says that it is 4.4.)"""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release) if sys.platform == "linux" else None
    return version is not None and (int(version[1]), int(version[2])) >= (4, 18)


# Bytes to be woken for. Fewer save less; with 1 MiB the sender waits for the receiver, and what waits leaves the cache.
LOW_WATER = 256 * 1024 if _kernel_makes_room() else 1
_PATIENCE = 0.1  # seconds to wait for them
# Microseconds of a round trip up to which they are waited for: with 500 a new connection takes twice as long.
_NEAR = 250
# Bytes that the kernel is to hold of what is sent (it doubles them): those are in the cache still when the server
# receives them. With the 4 MiB that it takes by itself PUT of 146 MiB costs a tenth more, with 200 KiB no less.
_SEND_BUFFER = 1 << 20
# Where `tcpi_unacked`, `tcpi_bytes_acked`, `tcpi_notsent_bytes` and `tcpi_min_rtt` are in linux/tcp.h's `tcp_info`.
_UNACKED, _BYTES_ACKED, _NOT_SENT, _MIN_RTT = 24, 120, 144, 148
_RESET = 7  # TCP_CLOSE in linux/tcp.h, the first byte of `tcp_info`: the other side has broken the connection
_has_poll = hasattr(select, "poll")
_TLS_LOW_WATER = min(LOW_WATER, tls.RECEIVED_BYTES)


class ConnectError(OSError):
    """The connection could not be made.

    Attributes:
        kind: "connect"; "refused", if somebody answered and said no; "untrusted", if the certificate is not one to
            trust; "proxy", if the proxy will not do it; "descriptors", if this process can open no more files.
    """

    def __init__(self, message: str, kind: str = "connect") -> None:
        super().__init__(redaction.message(message))  # a proxy may have sent a part of it
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
        "process",
        "reused",
        "shape",
        "since",
        "sock",
        "tls",
    )

    def __init__(self, address: Address, sock: socket.socket) -> None:
        """
        Args:
            address: the server.
            sock: connected to it, or to its proxy; non-blocking. It belongs to the connection from now on.
        """
        self.address = address
        self.sock = sock
        self.fd = sock.fileno()
        self.process = os.getpid()
        self.reused = False
        self.shape: Shape | None = None  # of the answers that come on it
        self.since = 0.0  # when it became idle
        self.low_water = 1  # bytes from which on the poller tells of this socket
        self._bounded = False  # whether it is settled how much the kernel holds of what is sent
        self._mark = 0  # what `low_water` may be raised to, once that is known
        self._phase: Any = self._connected
        self._tunnel = bytearray()
        self._arrivals: Any = None  # polls this socket alone
        self.tls: tls.Stream | None = None
        _all.add(self)

    # Opening...

    def advance(self) -> int:
        """Go one step further; returns the event to wait for, 0 when the connection is open.

        Raises:
            ConnectError: it cannot be opened.
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
                raise ConnectError(f"the proxy broke the connection: {error.strerror}") from error
            return READ
        return self._begin_tls()

    def _asked_proxy(self) -> int:
        try:
            # Byte by byte past the head would be wrong only in speed: the tunnel's first bytes are ours to ask for.
            piece = self.sock.recv(4096)
        except BlockingIOError:
            return READ
        except OSError as error:
            raise ConnectError(f"the proxy broke the connection: {error.strerror}") from error
        if not piece:
            raise ConnectError("the proxy closed the connection")
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
            raise ConnectError(f"the proxy does not speak HTTP: {error}") from error
        if head.status >= 300:
            kind = "connect" if head.status >= 500 else "proxy"
            raise ConnectError(f"the proxy refused with {head.status} {head.reason}", kind)
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
            raise ConnectError(f"the certificate cannot be verified: {error.verify_message}", "untrusted") from error
        except OSError as error:
            raise ConnectError(f"the TLS handshake failed: {error.strerror or error}") from error

    # Moving bytes...

    def send(self, views: list[memoryview]) -> int:
        """Send what fits of some buffers; returns the number of bytes taken, 0 if it has to wait."""
        if self.tls is not None:
            first = views[0] if len(views) == 1 or len(views[0]) > _SEND_AT_ONCE else _joined(views)
            return self.tls.send(first[:_SEND_AT_ONCE])
        try:
            return self.sock.sendmsg(views) if len(views) > 1 else self.sock.send(views[0])
        except BlockingIOError:
            return 0

    def will_send(self, count: int) -> None:
        """So many bytes are to be sent: over a short way, let the kernel hold only as many as it needs for that."""
        if count > 2 * _SEND_BUFFER and not self._bounded:
            self._bounded = True
            if self._is_near():
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def confirmed(self) -> tuple[int, bool] | None:
        """Bytes sent on this connection that the other side has received, and whether that is all that the kernel was
        given; None where the kernel does not tell. Only Linux does.
        """
        facts = self._facts()
        if facts is None:
            return None
        on_the_way = facts[_UNACKED : _UNACKED + 4] + facts[_NOT_SENT : _NOT_SENT + 4]
        return int.from_bytes(facts[_BYTES_ACKED : _BYTES_ACKED + 8], sys.byteorder), not any(on_the_way)

    def is_delivered(self) -> bool | None:
        """Whether the other side's kernel has received all that was sent; None if it has not yet, False if it never
        will, since the connection is broken. True where this kernel does not tell.

        A server that has read a request before it answers has confirmed all of it with the answer.
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
        """Be told of many bytes only, while more than so many are sure to come.

        Args:
            left: bytes of the body that have not been received yet. With 0 all is as for a new connection.
        """
        # The other half: what TLS may hold already.
        wanted = (self._mark or self._choose_mark()) if left >= 2 * LOW_WATER else 1
        if wanted != self.low_water:
            self._set_low_water(wanted)

    def _choose_mark(self) -> int:
        """What `low_water` may be raised to."""
        near = LOW_WATER > 1 and self._is_near()
        self._mark = (LOW_WATER if self.tls is None else _TLS_LOW_WATER) if near else 1
        return self._mark

    def _is_near(self) -> bool:
        """Whether the shortest round trip that the kernel has seen is a short one. Only Linux tells."""
        facts = self._facts()
        return facts is not None and int.from_bytes(facts[_MIN_RTT:], sys.byteorder) <= _NEAR

    def _facts(self) -> bytes | None:
        """The kernel's `struct tcp_info` about this connection, up to its shortest round trip; None if it has none."""
        if sys.platform != "linux":
            return None
        facts = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT + 4)
        return facts if len(facts) == _MIN_RTT + 4 else None

    def look(self, silent: float) -> None:
        """Be told of whatever has come if nothing was told of for a while: the server may only be slow.

        Args:
            silent: seconds since the last byte was received.
        """
        if self.low_water > 1 and silent > _PATIENCE:
            self._set_low_water(1)

    def _set_low_water(self, count: int) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        self.low_water = count

    def pending(self) -> int:
        """Bytes that wait inside TLS, where no poller sees them."""
        return self.tls.pending() if self.tls is not None else 0

    def is_quiet(self) -> bool:
        """Whether a request may be sent on an idle connection: neither its end nor unasked-for bytes have arrived.

        Inside TLS only decrypted bytes count: session tickets make the socket readable with nothing to deliver. The
        connection is only good for closing after False.
        """
        if self.tls is None and _has_poll:
            # Half as dear as a receive, which raises an exception for finding nothing.
            if self._arrivals is None:
                self._arrivals = select.poll()
                self._arrivals.register(self.fd, READ)
            return not self._arrivals.poll(0)
        try:
            return self.receive(memoryview(bytearray(1))) == WOULD_BLOCK
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor, nothing else: a TLS shutdown in a forked child would end the parent's stream."""
        self.fd = -1
        self.sock.close()


def _joined(views: list[memoryview]) -> memoryview:
    """A small head and the beginning of its body as one buffer, so that they leave in one TLS record."""
    joined = bytearray()
    for view in views:
        joined += view[: _SEND_AT_ONCE - len(joined)]
    return memoryview(joined)


_all = forks.each_in_child(Connection.close)
