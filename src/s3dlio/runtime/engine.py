# SPDX-License-Identifier: Apache-2.0
"""The engine: any number of operations and their exchanges, driven by a poller from the calling thread.

`run_begun` is the whole of it for a plain call: make an engine, poll until the operation has ended, put the connections
back into the pool. Nothing lives on: no thread, no loop. For a program with an event loop of its own the same engine is
polled when the loop says that its descriptor is readable (`async_engine`).

An operation is a coroutine; what it awaits is an object with `begin(engine, task)` and `detach()`. When that is
through it calls `resume`, and the operation goes on in the next turn. Tasks are these coroutines with a note of who
waits for them.

Connections in use here stay registered with this engine's poller between the exchanges of one call, and the one used
last is used first, so that a batch of small objects costs two system calls an object beside the polling. Before a
connection is used again, the poller or the connection itself is asked whether unasked-for bytes have arrived on it; if
so, it is closed (`http.connection`).
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from s3dlio import forks
from s3dlio.http.address import Address
from s3dlio.http.connection import Connection, pool
from s3dlio.http.exchange import HEAD_BYTES, Exchange
from s3dlio.http.opening import Lookup
from s3dlio.objects import batched_get, batched_put
from s3dlio.objects.batched import Plain
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import TICK, Operation, Stopped
from s3dlio.runtime.poller import READ, Poller
from s3dlio.runtime.sleep import Sleep
from s3dlio.runtime.wakeup import Signal

T = TypeVar("T")

# Seconds that an operation that is stopped, by Ctrl-C or because its task was cancelled, has to undo what it has begun.
# One that has nothing to undo ends at once.
_CLEANING = 2.0

Handler = Callable[[int], None]


class Task:
    """An operation under way."""

    __slots__ = ("ended", "error", "hears", "on_end", "operation", "result", "stopping", "waiting")

    def __init__(self, operation: Operation[Any], on_end: Callable[[Task], None]) -> None:
        self.operation = operation
        self.on_end = on_end
        self.waiting: Any = None
        self.ended = False
        self.hears = (
            False  # whether the answer that it waits for names what would have to be undone (`finish_before_stop`)
        )
        self.stopping = False  # to be stopped at what it waits for next: it has to hear an answer before
        self.result: Any = None
        self.error: BaseException | None = None


class Engine:
    """Drives tasks. Used by one thread at a time."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.now = time.monotonic()
        self.exchanges: set[Exchange | Plain] = set()
        self.head_buffer = bytearray(HEAD_BYTES)
        self.head_view = memoryview(self.head_buffer)
        self.head_buffers: list[tuple[bytearray, memoryview]] = []  # of plain requests that go on together
        self.last_answer = (0, 0)  # bytes of head and body of the last object that was read plainly
        self.usual_answer: tuple[int, int] | None = None  # the same, if the one before had as many
        self._handlers: dict[int, Handler | batched_get.Read | batched_put.Write] = {}
        self._events: dict[int, int] = {}
        self._ready: deque[tuple[Task, Any, BaseException | None]] = deque()
        # Each with when it ends, its order, and who waits for it: a task with its sleep, or none with what to call.
        self._timers: list[tuple[float, int, Task | None, Sleep | Callable[[], None]]] = []
        self._order = itertools.count()
        self._hot: dict[Address, list[Connection]] = {}
        self._next_tick = 0.0
        self._cancelled: list[tuple[float, Task]] = []  # each with the time at which its cleaning up is cut short
        self.lookups: dict[tuple[str, int], Lookup] = {}  # names that openings wait for, with their ports
        self.waiting: deque[Exchange] = deque()  # that can open no connection, for want of descriptors
        self.closing = False
        _engines.add(self)

    # Tasks...

    def start(self, operation: Operation[Any], on_end: Callable[[Task], None]) -> Task:
        """Run a new operation; `on_end` is called with its task when it has ended."""
        task = Task(operation, on_end)
        self._ready.append((task, None, None))
        return task

    def start_at_once(self, task: Task) -> None:
        """Run a new task's operation up to where it first waits, before anything else."""
        self._advance(task, None, None)

    def adopt(self, operation: Operation[Any], awaited: Any, on_end: Callable[[Task], None]) -> Task:
        """Go on with an operation that has begun elsewhere and waits for `awaited`."""
        task = Task(operation, on_end)
        self._wait(task, awaited)
        return task

    def resume(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        """Let a task go on with what it waited for."""
        task.waiting = None
        self._ready.append((task, value, error))

    def cancel(self, task: Task) -> None:
        """Throw `Stopped` into a task. It ends when it has cleaned up; if that takes long, it is stopped again.

        A task whose answer has come hears the answer first, for it may name what is to be undone.
        """
        if task.ended:
            return
        self._cancelled.append((time.monotonic() + _CLEANING, task))
        if isinstance(task.waiting, _Group):
            task.waiting.stop(Stopped())  # the task goes on when its group has cleaned up
        else:
            self._stop(task)

    def _stop(self, task: Task) -> None:
        if isinstance(task.waiting, Exchange):
            if (
                task.waiting.finish_before_stop
                and task.waiting.may_have_arrived()
                and not task.stopping
                and not self.closing
            ):
                task.stopping = True
                return
            task.waiting.detach()
        elif task.waiting is None:  # about to go on: it is not to begin anything else first
            has_answer = task.hears and any(entry[0] is task and entry[1] is not None for entry in self._ready)
            if has_answer and not self.closing:
                task.stopping = True
                return
            self._ready = deque(entry for entry in self._ready if entry[0] is not task)
        task.stopping = False
        self.resume(task, error=Stopped())

    def _hurry_cancelled(self, now: float) -> None:
        late = [task for when, task in self._cancelled if when <= now]
        self._cancelled = [(when, task) for when, task in self._cancelled if when > now and not task.ended]
        for task in late:
            self.cancel(task)

    def _advance(self, task: Task, value: Any, error: BaseException | None) -> None:
        try:
            awaited = task.operation.send(value) if error is None else task.operation.throw(error)
            while awaited is None:
                awaited = task.operation.send(None)
        except StopIteration as done:
            task.ended, task.result = True, done.value
            task.on_end(task)
        except BaseException as failure:
            task.ended, task.error = True, failure
            task.on_end(task)
            if not isinstance(failure, Exception | Stopped):
                raise  # Ctrl-C while the operation computed
        else:
            self._wait(task, awaited)

    def _wait(self, task: Task, awaited: Any) -> None:
        if self.closing or task.stopping:
            task.stopping = False
            self.resume(task, error=Stopped())
        elif isinstance(awaited, Exchange):
            task.waiting = awaited
            awaited.begin(self, task)
        elif isinstance(awaited, Sleep):
            task.waiting = awaited
            heapq.heappush(self._timers, (time.monotonic() + awaited.seconds, next(self._order), task, awaited))
        else:
            assert isinstance(awaited, Gather)
            task.waiting = group = _Group(self, task, awaited)
            group.begin()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something after some seconds, unless the engine is closed before; it must not raise."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), None, call))

    # Sockets...

    def watch(self, fd: int, events: int, handler: Handler | batched_get.Read | batched_put.Write) -> None:
        """Call `handler` with what happens on a descriptor; a plain request goes on together with others."""
        self._handlers[fd] = handler
        known = self._events.get(fd)
        if known != events:
            if known is None:
                self.poller.register(fd, events)
            else:
                self.poller.modify(fd, events)
            self._events[fd] = events

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor, which may be closed already."""
        self._handlers.pop(fd, None)
        if self._events.pop(fd, None) is not None:
            try:
                self.poller.unregister(fd)
            except (OSError, ValueError):
                pass  # closed: the kernel has forgotten it

    def take_connection(self, address: Address, keep_alive: float, spare: bool = False) -> Connection | None:
        """An open connection on which nothing has arrived: one this call used before, or one from the pool.

        Args:
            address: where to.
            keep_alive: seconds after which an idle connection is not trusted any more.
            spare: whether the last idle one is left to others.
        """
        hot = self._hot.get(address)
        if spare and (len(hot) if hot else 0) + pool.count(address) < 2:
            return None
        while hot:
            connection = hot.pop()
            if connection.is_quiet():
                return connection
            self.drop_connection(connection)
        return pool.take(address, keep_alive)

    def take_checked_connection(self, address: Address, keep_alive: float) -> Connection | None:
        """The same right after `check_connections`, without a system call for each connection that this call used."""
        hot = self._hot.get(address)
        return hot.pop() if hot else pool.take(address, keep_alive)

    def check_connections(self) -> None:
        """Close the connections not in use on which something has arrived, asking the kernel once for all of them."""
        if any(self._hot.values()):
            for fd, _ in self.poller.poll(0):
                if fd not in self._handlers:
                    self._on_idle(fd)

    def release_connection(self, connection: Connection) -> None:
        """Keep a connection for the next exchange of this call."""
        connection.reused = True
        del self._handlers[connection.fd]
        if connection.pending() and not connection.is_quiet():  # inside TLS, where no poller sees it
            self.drop_connection(connection)
        elif not self.waiting or not self._hand_on(connection):
            self._hot.setdefault(connection.address, []).append(connection)

    # Without descriptors for more connections...

    def close_idle(self) -> bool:
        """Close the idle connections; returns whether there was one."""
        idle = [connection for hot in self._hot.values() for connection in hot]
        self._hot.clear()
        for connection in idle:
            self.drop_connection(connection)
        found = bool(idle) or pool.count() > 0
        pool.clear()
        return found

    def wait_for_connection(self, exchange: Exchange) -> bool:
        """Let an exchange wait for a connection in use here, or for its descriptor; False if none is."""
        if not any(one.is_connected() for one in self.exchanges):
            return False
        self.waiting.append(exchange)
        return True

    def _hand_on(self, connection: Connection) -> bool:
        """Give a connection to an exchange that waits for one to that address; whether there is one."""
        for exchange in self.waiting:
            if exchange.address == connection.address:
                if not connection.is_quiet():
                    self.drop_connection(connection)
                    return True
                self.waiting.remove(exchange)
                exchange.take(connection)
                return True
        return False

    def _open_for_waiting(self) -> None:
        """Try again to open connections for those that wait, until that fails."""
        for exchange in list(self.waiting):
            if exchange in self.waiting:
                self.waiting.remove(exchange)
                exchange.open()
                if exchange in self.waiting:
                    return

    def _on_idle(self, fd: int) -> None:
        """Something arrived on a connection that is not in use: most likely the server has closed it."""
        for hot in self._hot.values():
            for connection in hot:
                if connection.fd == fd and not connection.is_quiet():
                    hot.remove(connection)
                    self.drop_connection(connection)
                    return

    def drop_connection(self, connection: Connection) -> None:
        """Close a connection."""
        self.forget(connection.fd)
        connection.close()

    # Turning...

    def turn(self, timeout: float, before_waiting: Callable[[], None] | None = None) -> None:
        """Let every task that can go on do so, then wait for sockets and timers once, at most `timeout` seconds.

        Args:
            before_waiting: called if no socket is ready yet.
        """
        self.run_ready()
        if timeout > 0 and (longest := self.time_to_wait()) is not None:
            timeout = min(timeout, longest)
        events = self.poller.poll(timeout if before_waiting is None else 0)
        if before_waiting is not None and not events:
            before_waiting()
            events = self.poller.poll(timeout)
        self.now = now = time.monotonic()
        handlers = self._handlers
        reads, writes = [], []
        for fd, event in events:
            handler = handlers.get(fd)
            if handler is None:
                self._on_idle(fd)
            elif isinstance(handler, batched_get.Read):
                reads.append(handler)
            elif isinstance(handler, batched_put.Write):
                writes.append(handler)
            else:
                handler(event)
        if reads:
            batched_get.go_on(self, reads)
        if writes:
            batched_put.go_on(self, writes)
        if self._timers:
            self._run_timers(now)
        if now >= self._next_tick:
            self._next_tick = now + TICK
            for exchange in list(self.exchanges):
                if exchange in self.exchanges:
                    exchange.check_deadlines(now)
            if self.waiting:
                self._open_for_waiting()
            if self._cancelled:
                self._hurry_cancelled(now)
        self.run_ready()

    def run_ready(self) -> None:
        """Let every task that can go on do so, until each waits or has ended."""
        while self._ready:
            task, value, error = self._ready.popleft()
            if not task.ended:
                self._advance(task, value, error)

    def time_to_wait(self) -> float | None:
        """Seconds until something has to be looked at even if no socket is ready, None for ever."""
        longest = TICK if self.exchanges or self._cancelled else None
        if self._timers:
            until = max(0.0, self._timers[0][0] - time.monotonic())
            longest = until if longest is None else min(longest, until)
        return longest

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, task, awaited = heapq.heappop(self._timers)
            if not isinstance(awaited, Sleep):
                awaited()
            elif task is not None and task.waiting is awaited:
                self.resume(task)

    def close(self) -> None:
        """End. What is still under way is stopped, and may wait for nothing more; connections go into the pool."""
        self.closing = True
        if self.exchanges or self._timers or self._ready:
            self._stop_all()
        self.poller.close()  # which forgets every descriptor at once
        pool.give(itertools.chain.from_iterable(self._hot.values()))

    def _stop_all(self) -> None:
        """Stop whatever is under way."""
        for plain in [one for one in self.exchanges if isinstance(one, Plain)]:
            plain.fail(Stopped())
        sleeping = [task for _, _, task, sleep in self._timers if task is not None and task.waiting is sleep]
        for task in [*sleeping, *(exchange.task for exchange in self.exchanges if isinstance(exchange, Exchange))]:
            self._stop(task)
        self.run_ready()


class _Group:
    """The children of a `Gather`."""

    def __init__(self, engine: Engine, parent: Task, gather: Gather) -> None:
        self._engine = engine
        self._parent = parent
        self._operations = gather.operations
        self._limit = gather.limit
        self._active: set[Task | Plain] = set()
        self._failure: BaseException | None = None
        self._source_failure: Exception | None = None
        self._exhausted = False
        self._signal: Signal | None = None  # waited for before another child is begun
        self._over = False

    def begin(self) -> None:
        """Start as many children as may run; go on with the parent if none is left."""
        reads: list[batched_get.Read] = []
        writes: list[batched_put.Write] = []
        room = 0 if self._exhausted or self._signal is not None else max(0, self._limit - len(self._active))
        try:
            for operation in itertools.islice(self._operations, room):
                room -= 1
                if isinstance(operation, batched_get.Read):
                    reads.append(operation)
                elif isinstance(operation, batched_put.Write):
                    writes.append(operation)
                elif isinstance(operation, Signal):
                    self._signal = operation
                    self._engine.watch(operation.reader.fileno(), READ, self._on_signal)
                    break
                else:
                    self._active.add(self._engine.start(operation, self._on_end))
            else:
                self._exhausted = self._exhausted or room > 0
        except Exception as error:  # raised by what makes the operations: it comes after those it has made
            self._exhausted, self._source_failure = True, error
        if reads:
            self._active.update(reads)
            batched_get.begin(self._engine, reads, self._on_plain_ended)
        if writes:
            self._active.update(writes)
            batched_put.begin(self._engine, writes, self._on_plain_ended)
        if not self._active and self._signal is None:
            self._resume_parent(self._source_failure)

    def _resume_parent(self, error: BaseException | None) -> None:
        if not self._over:
            self._over = True
            self._engine.resume(self._parent, error=error)

    def stop(self, failure: BaseException) -> None:
        """Stop every child; the parent goes on with `failure` when they have ended."""
        if self._failure is None:
            self._failure = failure
            self._stop_listening()
            for child in list(self._active):
                if isinstance(child, Plain):
                    self._active.discard(child)
                    child.stop()
                else:
                    self._engine.cancel(child)
            if not self._active:
                self._resume_parent(failure)
        elif isinstance(failure, Stopped):
            self._failure = failure  # a parent that is told to stop must not take the other for one to try again after

    def _on_signal(self, _: int) -> None:
        assert self._signal is not None
        self._signal.reader.recv(64)
        self._stop_listening()
        self.begin()

    def _stop_listening(self) -> None:
        if self._signal is not None:
            self._engine.forget(self._signal.reader.fileno())
            self._signal = None

    def _on_plain_ended(self, ended: Sequence[Plain]) -> None:
        self._active.difference_update(ended)
        over, error = False, None
        for plain in ended:
            if plain.rest is None:
                over, error = True, error or plain.error
            elif plain.at_once:
                task = Task(plain.rest, self._on_end)
                self._active.add(task)
                self._engine.start_at_once(task)
            else:
                self._active.add(self._engine.start(plain.rest, self._on_end))
        if over:
            self._go_on(error)

    def _on_end(self, task: Task) -> None:
        self._active.discard(task)
        self._go_on(task.error)

    def _go_on(self, error: BaseException | None) -> None:
        """A child has ended."""
        if self._failure is not None:
            if not self._active:
                self._resume_parent(self._failure)
        elif error is not None:
            self.stop(error)
        else:
            self.begin()


def run_begun(
    operation: Operation[T],
    awaited: Any,
    stopped: threading.Event | None,
    before_waiting: Callable[[], None] | None,
) -> T:
    """Run an operation that waits for `awaited` to its end.

    Args:
        operation: the coroutine, begun.
        awaited: what it yielded.
        stopped: once it is set, the operation is stopped.
        before_waiting: called each time that no socket is ready and the engine is about to wait for one.
    """
    engine = Engine()
    try:
        task = engine.adopt(operation, awaited, _nobody_waits)
        told = False
        try:
            engine.run_ready()  # what ends without waiting for anything must not be waited for
            while not task.ended:
                engine.turn(TICK, before_waiting)
                if stopped is not None and stopped.is_set() and not told:
                    engine.cancel(task)
                    told = True
        except BaseException:
            # Ctrl-C: what was begun is undone, in threads of the same call at the same time. Another one ends that.
            if stopped is not None:
                stopped.set()
            deadline = time.monotonic() + _CLEANING
            if not engine.closing:
                engine.cancel(task)
                engine.turn(0)
                while not task.ended and time.monotonic() < deadline:
                    engine.turn(TICK)
            raise
    finally:
        engine.close()
    if task.error is not None:
        raise task.error
    result: T = task.result
    return result


def _nobody_waits(_: Task) -> None:
    """A plain call looks at its task itself."""


def _close_inherited(engine: Engine) -> None:
    """Close a poller of the parent's, which a child that unwinds the stack would otherwise change."""
    engine.closing = True
    engine.poller.close()


_engines = forks.each_in_child(_close_inherited)
