# SPDX-License-Identifier: Apache-2.0
"""Opens a connection: resolves the name, races its addresses, then makes the proxy's tunnel and the TLS handshake.

    name --Lookup--> race --_won--> tunnel and TLS --_advance--> `on_open`
      \\                 \\                        \
       `on_failed`: no address, no attempt connected, or the tunnel or the handshake failed

The race follows RFC 8305 (Happy Eyeballs). Peers (socket addresses) are tried in the order that `resolve` gives: the
next one as soon as an attempt fails, or when nothing has happened for a quarter of a second. So several attempts may be
in flight. The first that connects wins, and the others are closed. A peer that does not answer costs 250 ms. A peer
that refuses, or that this machine has no route to (such as any IPv6 address), costs nothing.

A peer that failed, or was overtaken, is tried last for a minute. If the tunnel or the handshake fails, the opening has
failed, and the next try of the request starts with another peer. S3DLIO_CONNECT_TIMEOUT bounds the whole opening; the
caller checks it. If there are so many peers that a quarter of a second for each would take too long, they share half
that time equally.

Openings of one engine that need the same name share one `Lookup`, so a batch waits on one descriptor for it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from s3dlio import descriptors, forks
from s3dlio.http import resolve
from s3dlio.http.address import Address
from s3dlio.http.connection import ConnectError, Connection
from s3dlio.http.resolve import SocketAddress
from s3dlio.runtime.poller import READ, WRITE

if TYPE_CHECKING:
    from s3dlio.runtime.engine import Engine

_NEXT_AFTER = 0.25  # seconds between two attempts (RFC 8305, section 5)
_LEAST_AFTER = 0.01  # the same, at least, if there are many peers
_AVOIDED = 60.0  # seconds for which a peer that failed is tried last
_SHOWN = 3  # the most failed peers that a message names

# Failures of this process or machine, which say nothing about the peer.
_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_avoided: dict[SocketAddress, float] = {}  # until when, on the monotonic clock


def _avoid(peer: SocketAddress) -> None:
    now = time.monotonic()
    for known in [known for known, until in list(_avoided.items()) if until < now]:
        _avoided.pop(known, None)
    _avoided[peer] = now + _AVOIDED


def _is_avoided(peer: SocketAddress) -> bool:
    return _avoided.get(peer, 0.0) > time.monotonic()


class Lookup:
    """A host name that is being resolved for some openings of one engine."""

    def __init__(self, engine: Engine, lookups: dict[tuple[str, int], Lookup], key: tuple[str, int]) -> None:
        self._engine = engine
        self._lookups = lookups
        self._key = key
        self.openings: list[Opening] = []
        self.waiter = resolve.ask(*key)
        engine.watch(self.waiter.reader.fileno(), READ, self._on_answer)
        lookups[key] = self

    def _on_answer(self, _: int) -> None:
        if not self.waiter.is_answered:
            return  # the event of a closed socket that had the same number
        self._end()
        try:
            answer = self.waiter.answer()
        except OSError as error:
            failure = ConnectError(f"cannot resolve the name {self._key[0]!r}: {error.strerror or error}")
            for opening in self.openings:
                opening.fail(failure)
            return
        for opening in self.openings:
            opening.race(answer.in_turn())

    def leave(self, opening: Opening) -> None:
        """Remove an opening that has ended; stop waiting if it was the last."""
        self.openings.remove(opening)
        if not self.openings:
            self._end()
            self.waiter.close()

    def _end(self) -> None:
        self._engine.forget(self.waiter.reader.fileno())
        if self._lookups.get(self._key) is self:
            del self._lookups[self._key]


class Opening:
    """Opens one connection. Either `on_open` or `on_failed` is called once, possibly before `begin` returns."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_attempts",
        "_callbacks",
        "_connection",
        "_delay",
        "_engine",
        "_failures",
        "_lookup",
        "_lookups",
        "_peer",
        "_peers",
        "_untried",
    )

    def __init__(
        self,
        engine: Engine,
        lookups: dict[tuple[str, int], Lookup],
        address: Address,
        on_open: Callable[[Connection], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        """
        Args:
            engine: watches the sockets.
            lookups: the host names, with their ports, that openings of this engine wait for.
            address: the server.
            on_open: called with the connection when it is open.
            on_failed: called with a ConnectError, or with the ConfigurationError for a CA file.
        """
        self._engine = engine
        self._lookups = lookups
        self._address = address
        # Dropped at the end: a timer may refer to the opening a moment longer, and must not keep the request's memory.
        self._callbacks: tuple[Callable[[Connection], None], Callable[[Exception], None]] | None = (on_open, on_failed)
        self._lookup: Lookup | None = None
        self._peers: list[SocketAddress] = []
        self._untried: list[SocketAddress] = []
        self._attempts: dict[int, tuple[socket.socket, SocketAddress]] = {}  # by descriptor, the oldest first
        self._failures: list[tuple[SocketAddress, OSError]] = []
        self._peer: SocketAddress | None = None  # of the connection
        self._connection: Connection | None = None
        self._delay = _NEXT_AFTER
        _all.add(self)

    def begin(self, seconds: float) -> None:
        """Start to connect. The caller gives up after some seconds."""
        way = self._address.proxy or self._address
        self._delay = seconds
        addresses = resolve.known(way.host, way.port)
        if addresses is not None:
            self.race(addresses)
            return
        key = way.host, way.port
        lookup = self._lookups.get(key)
        try:
            if lookup is None or lookup.waiter.is_stale:
                lookup = Lookup(self._engine, self._lookups, key)
        except OSError as error:
            if descriptors.are_short(error):
                self.fail(ConnectError(descriptors.shortage(error), "descriptors"))
            else:
                self.fail(ConnectError(f"cannot resolve the name {way.host!r}: {error.strerror or error}"))
            return
        lookup.openings.append(self)
        self._lookup = lookup

    # The race...

    def race(self, addresses: list[SocketAddress]) -> None:
        """Connect to the first of these peers that answers."""
        self._lookup = None
        if len(addresses) > 1:
            addresses.sort(key=_is_avoided)
            fair = self._delay / (2 * len(addresses))
            self._delay = max(_LEAST_AFTER, min(_NEXT_AFTER, fair))
        self._peers, self._untried = addresses, addresses.copy()
        self._try_next()

    def _try_next(self) -> None:
        """Start the next attempt; fail if no peer is left and no attempt is in flight."""
        while self._untried:
            peer = self._untried.pop(0)
            try:
                sock = _attempt(peer)
            except OSError as error:
                self._note(peer, error)
                continue
            fd = sock.fileno()
            self._attempts[fd] = sock, peer
            self._engine.watch(fd, WRITE, partial(self._on_attempt, fd))
            if self._untried:
                self._engine.call_later(self._delay, partial(self._on_delay, len(self._untried)))
            return
        if not self._attempts:
            self.fail(self._error())

    def _on_delay(self, untried: int) -> None:
        """Start the next attempt if none has started since `untried` peers were left."""
        if self._attempts and len(self._untried) == untried:
            self._try_next()

    def _on_attempt(self, fd: int, _: int) -> None:
        sock, peer = self._attempts[fd]
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            try:
                sock.getpeername()
            except OSError:
                return  # the event of a closed socket that had the same number
            self._won(fd)
            return
        self._note(peer, OSError(code, os.strerror(code)))
        del self._attempts[fd]
        if self._untried or not self._attempts:
            self._try_next()  # before this socket is closed, so that the next has another number
        self._engine.forget(fd)
        sock.close()

    def _note(self, peer: SocketAddress, error: OSError) -> None:
        self._failures.append((peer, error))
        if error.errno not in _OWN:
            self._avoid(peer)

    def _avoid(self, peer: SocketAddress) -> None:
        if len(self._peers) > 1:
            _avoid(peer)

    def _won(self, winner: int) -> None:
        """An attempt has connected: drop the others. Peers whose attempts began earlier were overtaken."""
        sock, self._peer = self._attempts[winner]
        for fd, (_, peer) in self._attempts.items():
            if fd == winner:
                break
            self._avoid(peer)
        del self._attempts[winner]
        self._drop_attempts()
        self._connection = Connection(self._address, sock)
        self._advance(WRITE)

    # After the race: the proxy's tunnel, and TLS...

    def _advance(self, _: int) -> None:
        connection, peer = self._connection, self._peer
        assert connection is not None
        assert peer is not None
        try:
            events = connection.advance()
        except ConnectError as error:
            if error.kind == "connect":
                self._avoid(peer)
            self.fail(error)
        except Exception as error:  # a CA file that cannot be read, a name that TLS does not take
            self.fail(error)
        else:
            if events:
                self._engine.watch(connection.fd, events, self._advance)
                return
            if len(self._peers) > 1:
                _avoided.pop(peer, None)
            self._connection = None
            if self._callbacks is not None:
                on_open = self._callbacks[0]
                self._callbacks = None
                on_open(connection)

    # Ending...

    def fail(self, error: Exception) -> None:
        """End without a connection."""
        self._lookup = None
        callbacks = self._callbacks
        self.close()
        if callbacks is not None:
            callbacks[1](error)

    def give_up(self) -> bool:
        """Drop everything after too long a time. Returns whether a new try would start with another peer."""
        if self._connection is not None and self._peer is not None:
            self._avoid(self._peer)
        for _, peer in self._attempts.values():
            self._avoid(peer)
        self.close()
        return len(self._peers) > 1 and not all(map(_is_avoided, self._peers))

    def close(self) -> None:
        """Drop everything, without calling `on_open` or `on_failed`."""
        self._callbacks = None
        if self._lookup is not None:
            self._lookup.leave(self)
            self._lookup = None
        self._drop_attempts()
        if self._connection is not None:
            self._engine.forget(self._connection.fd)
            self._connection.close()
            self._connection = None

    def _drop_attempts(self) -> None:
        self._untried.clear()
        for fd, (sock, _) in self._attempts.items():
            self._engine.forget(fd)
            sock.close()
        self._attempts.clear()

    def _error(self) -> ConnectError:
        """The error if no attempt has connected."""
        for _, error in self._failures:
            if descriptors.are_short(error):
                return ConnectError(descriptors.shortage(error), "descriptors")
        refused = any(isinstance(error, ConnectionRefusedError) for _, error in self._failures)
        if len(self._failures) == 1:
            [(_, error)] = self._failures
            why = f"cannot connect: {error.strerror or error}"
        else:
            each = [f"{peer[1][0]}: {error.strerror or error}" for peer, error in self._failures[:_SHOWN]]
            more = ["…"] if len(self._failures) > _SHOWN else []
            why = f"cannot connect to any of {len(self._failures)} addresses: {', '.join(each + more)}"
        return ConnectError(why, "refused" if refused else "connect")


def _attempt(peer: SocketAddress) -> socket.socket:
    """A socket that is connecting.

    Raises:
        OSError: the machine cannot connect to it, for lack of a route or of the address family, for example.
    """
    family, address = peer
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BlockingIOError:
        pass
    except BaseException:
        sock.close()
        raise
    return sock


def _close_inherited(opening: Opening) -> None:
    """In a forked child: close the sockets of the parent's attempts."""
    for sock, _ in opening._attempts.values():
        sock.close()


_all = forks.each_in_child(_close_inherited)
