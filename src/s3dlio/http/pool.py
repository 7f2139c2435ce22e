# SPDX-License-Identifier: Apache-2.0
"""Keeps connections between two requests: those of an engine while a call lasts, and idle ones for the next call.

While a call lasts, its engine keeps the connections that the call has used (`Connections`). They stay registered with
the engine's poller, and the one used last is used first, so a batch of small objects needs two system calls an object
beside the polling. At the end of the call they go into the pool of the process (`Pool`), for the next call.

No request is sent on a connection that the server has closed, or on which bytes have arrived that no request asked for.
Before a batch step one system call checks all connections of an engine (`check`); before any other request the
connection checks its own socket (`Connection.is_quiet`). Between requests the poller reports both.

When the process can open no more files, an exchange first closes idle connections. Without idle connections, the
exchange waits in `Connections.waiting` until another exchange of the engine releases a connection or a descriptor.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain
from typing import Protocol

from s3dlio import forks
from s3dlio.http.address import Address
from s3dlio.http.connection import Connection
from s3dlio.http.deadlines import Limits
from s3dlio.http.opening import Lookup
from s3dlio.runtime.engine import Engine
from s3dlio.tuning import HEAD_BYTES


class InFlight(Protocol):
    """A request that is under way."""

    def is_connected(self) -> bool:
        """Whether it holds a connection or opens one."""

    def check_deadlines(self, now: float) -> None:
        """Fail if a deadline has passed."""


class Waiting(Protocol):
    """A request that can open no connection, because the process has no more descriptors."""

    address: Address

    def open(self) -> None:
        """Open a connection."""

    def take(self, connection: Connection) -> None:
        """Use a connection that another request has released."""


class Connections:
    """The connections of an engine, and what else its requests share (an `engine.Extension`).

    Attributes:
        engine: watches the connections.
        in_flight: the requests that are under way.
        lookups: the host names that openings wait for, with their ports.
        waiting: the requests that can open no connection, in the order in which they are served.
        head_buffer, head_view: receive the head of an answer.
        head_buffers: receive the heads of batched requests that advance together.
        last_answer: bytes of head and body of the last object that was read in a batch.
        usual_answer: the same sizes if the last two such answers agreed in both; None otherwise.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.in_flight: set[InFlight] = set()
        self.lookups: dict[tuple[str, int], Lookup] = {}
        self.waiting: list[Waiting] = []
        self.head_buffer = bytearray(HEAD_BYTES)
        self.head_view = memoryview(self.head_buffer)
        self.head_buffers: list[tuple[bytearray, memoryview]] = []
        self.last_answer = (0, 0)
        self.usual_answer: tuple[int, int] | None = None
        self._handlers = engine.handlers
        self._idle: dict[Address, list[Connection]] = {}
        self._limits: Limits | None = None  # of the last request, but for batched ones that found a connection here

    # Taking and releasing...

    def take(self, address: Address, limits: Limits, leave_last: bool = False) -> Connection | None:
        """An open connection on which nothing has arrived: one that this call used before, or one from the pool.

        With `leave_last`, return None instead of the last idle connection.
        """
        self._limits = limits
        idle = self._idle.get(address)
        if leave_last and (len(idle) if idle else 0) + pool.count(address) < 2:
            return None
        while idle:
            connection = idle.pop()
            if connection.is_quiet():
                return connection
            self.drop(connection)
        return pool.take(address, limits.keep_alive)

    def take_checked(self, address: Address, limits: Limits) -> Connection | None:
        """An open connection as `take` gives it. Right after `check` that needs no system call for each connection."""
        idle = self._idle.get(address)
        if idle:
            return idle.pop()
        self._limits = limits
        return pool.take(address, limits.keep_alive)

    def check(self) -> None:
        """Close the idle connections of this engine on which something has arrived, asking the kernel only once."""
        if any(self._idle.values()):
            self.engine.poll_idle()

    def release(self, connection: Connection) -> None:
        """Keep a connection for the next request of this call."""
        connection.reused = True
        del self._handlers[connection.fd]
        if connection.pending() and not connection.is_quiet():  # inside TLS, where no poller sees it
            self.drop(connection)
        elif not self.waiting or not self._hand_on(connection):
            self._idle.setdefault(connection.address, []).append(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection."""
        self.engine.forget(connection.fd)
        connection.close()

    # Without descriptors for more connections...

    def close_idle(self) -> bool:
        """Close every idle connection of this engine and of the process; returns whether there was one."""
        idle = [connection for connections in self._idle.values() for connection in connections]
        self._idle.clear()
        for connection in idle:
            self.drop(connection)
        found = bool(idle) or pool.count() > 0
        pool.clear()
        return found

    def wait(self, request: Waiting) -> bool:
        """Let a request wait for a connection in use here, or for its descriptor; False if none is in use."""
        if not any(one.is_connected() for one in self.in_flight):
            return False
        self.waiting.append(request)
        return True

    def _hand_on(self, connection: Connection) -> bool:
        """Give a connection to a request that waits for one to the same address; False if none does."""
        for request in self.waiting:
            if request.address == connection.address:
                if not connection.is_quiet():
                    self.drop(connection)
                    return True
                self.waiting.remove(request)
                request.take(connection)
                return True
        return False

    def _open_for_waiting(self) -> None:
        """Let the requests that wait try again to open connections, until one of them has to wait again."""
        for request in list(self.waiting):
            if request in self.waiting:
                self.waiting.remove(request)
                request.open()
                if request in self.waiting:
                    return

    # Called by the engine...

    def on_tick(self, now: float) -> None:
        """Check the deadlines of all requests, and open connections if there are descriptors again."""
        for request in list(self.in_flight):
            if request in self.in_flight:
                request.check_deadlines(now)
        if self.waiting:
            self._open_for_waiting()

    def on_idle_event(self, fd: int) -> None:
        """Something has arrived on an idle connection: most likely the server has closed it."""
        for idle in self._idle.values():
            for connection in idle:
                if connection.fd == fd and not connection.is_quiet():
                    idle.remove(connection)
                    self.drop(connection)
                    return

    def on_close(self) -> None:
        """Put the connections into the pool of the process."""
        if self._limits is not None:
            pool.give(chain.from_iterable(self._idle.values()), self._limits)


def connections_of(engine: Engine) -> Connections:
    """The connections of an engine, which has no other extension."""
    connections = engine.extension
    if connections is None:
        connections = engine.extension = Connections(engine)
    return connections  # type: ignore[return-value]  # to check the type would cost 250 instructions for each request


class Pool:
    """The idle connections of this process, by address. The one used last is given first: it is the warmest.

    Several threads use it without a lock. Each step takes one connection out of a list, or puts one in.
    """

    def __init__(self) -> None:
        self._idle: dict[Address, list[Connection]] = {}

    def take(self, address: Address, keep_alive: float) -> Connection | None:
        """Return an open connection on which nothing has arrived since its last answer, or None.

        A connection that has been idle for more than `keep_alive` seconds is not used again.
        """
        idle = self._idle.get(address)
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                break  # another thread was faster
            if time.monotonic() - connection.since < keep_alive and connection.is_quiet():
                return connection
            connection.close()
        return None

    def give(self, connections: Iterable[Connection], limits: Limits) -> None:
        """Keep open and unused connections for the next call, and close those that have been idle for too long."""
        now = time.monotonic()
        for connection in connections:
            idle = self._idle.setdefault(connection.address, [])
            if len(idle) >= limits.idle_connections:
                connection.close()
            else:
                connection.since = now
                idle.append(connection)
        for kept in list(self._idle.values()):
            while kept and now - kept[0].since > limits.keep_alive:
                try:
                    oldest = kept.pop(0)
                except IndexError:
                    break  # another thread was faster
                oldest.close()

    def count(self, address: Address | None = None) -> int:
        """The number of idle connections to one address, or to all."""
        return len(self._idle.get(address, ())) if address is not None else sum(map(len, self._idle.values()))

    def clear(self) -> None:
        """Close every idle connection."""
        while self._idle:
            try:
                _, idle = self._idle.popitem()
            except KeyError:
                break  # another thread was faster
            for connection in idle:
                connection.close()


pool = Pool()

forks.in_child(pool._idle.clear)  # `http.connection` closes the descriptors
