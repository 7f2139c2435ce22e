# SPDX-License-Identifier: Apache-2.0
"""The engine runs any number of operations in one thread and watches their descriptors.

An engine serves one blocking call (`runtime.run`) and ends with it: no thread and no event loop outlives the call. On
asyncio, one engine serves all calls on a loop (`runtime.on_asyncio`).

The engine drives three kinds of things, all of them described by protocols below:

- Tasks. A task is an operation, a coroutine that yields an `Awaited` whenever it has to wait: a sleep, a group, an
  exchange with a server. The engine calls `begin` of the awaited object, which calls `Engine.resume` when it is done.
- Batched work (`Batched`): requests without a coroutine. Those of one class whose descriptors are ready in the same
  turn take each step together.
- An `Extension`: what another layer keeps as long as the engine lives, such as connections (`http.pool`).

The states of a task, and what changes them:

    state     waits for                    next
    -------   --------------------------   ------------------------------------------------------------------
    ready     its turn in `run_ready`      runs; then waiting, ready again (if it is being stopped), or ended
    waiting   `awaited`                    ready, by `resume`
    ended     nothing                      `on_end` has been called

Rules:

- An awaited object resumes its task exactly once, unless it is detached before.
- `resume` only queues a task. So no operation runs inside a handler, a timer or `begin`, and none of these meets its
  own operation further up the stack. The only exception is `start_now`.
- A stopped task gets `Stopped` where it waits. It may then wait again, to undo what it began, for `UNDO_SECONDS` in
  all. While it waits for an answer that names what has to be undone (`Awaited.finish_before_stop`), it gets that answer
  first, and `Stopped` at its next wait.
- A closing engine stops every task, and no task waits again.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, Protocol

from s3dlio import forks
from s3dlio.runtime.operation import TICK, UNDO_SECONDS, Operation, Stopped, Task
from s3dlio.runtime.poller import Poller

Handler = Callable[[int], None]


class Awaited(Protocol):
    """An object that an operation awaits."""

    @property
    def finish_before_stop(self) -> bool:
        """Whether a stopped operation first gets the answer, because the answer names what has to be undone.

        False while no answer can arrive, such as before the request is sent.
        """

    def begin(self, engine: Engine, task: Task) -> None:
        """Start. When done, possibly at once, call `engine.resume` with the task and a value or an error."""

    def detach(self) -> bool:
        """Release everything, because the operation is stopped.

        Returns:
            True if the engine has to resume the task with `Stopped`. False if this object does so itself, later: a
            group, after its operations have ended.
        """


class Sleep:
    """Awaitable: waits for a number of seconds."""

    finish_before_stop = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Any, None, None]:
        yield self

    def begin(self, engine: Engine, task: Task) -> None:
        """Start to wait (see `Awaited`)."""
        self._engine = engine
        self._task: Task | None = task
        engine.call_later(self.seconds, self._wake)

    def detach(self) -> bool:
        """Wait no longer (see `Awaited`)."""
        self._task = None  # the timer stays, and does nothing
        return True

    def _wake(self) -> None:
        if self._task is not None:
            self._engine.resume(self._task)


class Batched(Protocol):
    """Work without a coroutine that takes each step together with other work of its class.

    A `Gather` takes batched work like an operation, and `Engine.watch` takes it in place of a handler. They collect the
    work that is new, or ready, at the same time, and call the static method of its class once.

    Attributes:
        rest: an operation that continues this work after it has ended; None if the work is done.
        at_once: whether `rest` has to begin before anything else, since it holds a connection.
    """

    rest: Operation[None] | None
    at_once: bool

    @staticmethod
    def begin_together(engine: Engine, new: list[Any], on_end: Callable[[Sequence[Any]], None]) -> None:
        """Start new work of this class; `on_end` is called with each part of it that has ended."""

    @staticmethod
    def advance_together(engine: Engine, ready: list[Any]) -> None:
        """Advance the work of this class whose descriptors are ready. Some of it may have been stopped meanwhile."""

    def stop(self) -> None:
        """Release everything; `on_end` is not called."""


class Extension(Protocol):
    """What another layer keeps as long as an engine lives. An engine has at most one extension."""

    @property
    def in_flight(self) -> Collection[object]:
        """What has deadlines to check. While there is anything, no wait of the engine is longer than a TICK."""

    def on_tick(self, now: float) -> None:
        """Check deadlines. Called about once in a TICK."""

    def on_idle_event(self, fd: int) -> None:
        """Something has happened on a descriptor that is watched without a handler."""

    def on_close(self) -> None:
        """Release everything. The engine is closed: no task runs, and no descriptor is watched."""


class Engine:
    """Drives tasks. Used by one thread at a time."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.now = time.monotonic()  # when the last wait ended: the time for all handlers of a turn
        self.extension: Extension | None = None
        self.closing = False
        self.handlers: dict[int, Handler | Batched] = {}  # `http.pool` removes one to make its connection idle
        self._tasks: set[Task] = set()  # that have not ended
        self._ready: deque[tuple[Task, Any, BaseException | None]] = deque()  # to run, each with its value or error
        self._events: dict[int, int] = {}  # the events that each descriptor is watched for
        self._timers: list[tuple[float, int, Callable[[], None]]] = []  # a heap: when, order of the calls, what to call
        self._order = itertools.count()
        self._next_tick = self.now + TICK
        self._canceled: list[tuple[float, Task]] = []  # each with the time at which it is stopped again
        _engines.add(self)

    # Tasks...

    def start(self, operation: Operation[Any], on_end: Callable[[Task], None]) -> Task:
        """Run a new operation as soon as the engine turns; `on_end` is called with its task when it has ended."""
        task = Task(operation, on_end)
        self._tasks.add(task)
        self.resume(task)
        return task

    def start_now(self, task: Task) -> None:
        """Run a new task up to where it first waits, before anything else."""
        self._tasks.add(task)
        self._advance(task, None, None)

    def adopt(self, operation: Operation[Any], awaited: Awaited, on_end: Callable[[Task], None]) -> Task:
        """Continue an operation that has begun elsewhere and waits for `awaited`."""
        task = Task(operation, on_end)
        self._tasks.add(task)
        self._wait(task, awaited)
        return task

    def resume(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        """Queue a task to continue with the value, or the error, of what it waited for."""
        task.is_ready = True
        self._ready.append((task, value, error))

    def run_ready(self) -> None:
        """Run every task that can continue, until each waits or has ended."""
        while self._ready:
            task, value, error = self._ready.popleft()
            if not task.ended:
                self._advance(task, value, error)

    def _advance(self, task: Task, value: Any, error: BaseException | None) -> None:
        task.is_ready, task.awaited = False, None  # the awaited object may hold the answer's memory
        try:
            awaited = task.operation.send(value) if error is None else task.operation.throw(error)
            while awaited is None:  # a pause
                awaited = task.operation.send(None)
        except StopIteration as done:
            self._end(task, done.value, None)
        except BaseException as failure:
            self._end(task, None, failure)
            if not isinstance(failure, Exception | Stopped):
                raise  # Ctrl-C while the operation computed: it ends the whole call
        else:
            self._wait(task, awaited)

    def _end(self, task: Task, result: Any, error: BaseException | None) -> None:
        task.ended, task.result, task.error = True, result, error
        self._tasks.discard(task)
        task.on_end(task)

    def _wait(self, task: Task, awaited: Awaited) -> None:
        if self.closing or task.stopping:
            task.stopping = False
            self.resume(task, error=Stopped())
        else:
            task.awaited = awaited
            awaited.begin(self, task)

    # Stopping tasks...

    def cancel(self, task: Task) -> None:
        """Stop a task. It ends after it has undone what it began, or after `UNDO_SECONDS`, when it is stopped again."""
        if not task.ended:
            self._canceled.append((time.monotonic() + UNDO_SECONDS, task))
            self._stop(task)

    def _stop(self, task: Task) -> None:
        """Throw `Stopped` into a task: now, or at its next wait if it has to get an answer first.

        If it is stopped for the second time, it gets only an answer that has arrived; none if the engine closes.
        """
        awaited = task.awaited
        waits_once = task.is_ready or not task.stopping  # an answer that has arrived costs no time
        if awaited is not None and awaited.finish_before_stop and waits_once and not self.closing:
            task.stopping = True
            return
        task.stopping = False
        if task.is_ready:  # replace the value that it would continue with: it must not begin anything else
            self._ready = deque(entry for entry in self._ready if entry[0] is not task)
        if task.is_ready or awaited is None or awaited.detach():
            self.resume(task, error=Stopped())

    def _stop_late(self, now: float) -> None:
        """Stop canceled tasks again that have not ended in time."""
        late = [task for when, task in self._canceled if when <= now]
        self._canceled = [(when, task) for when, task in self._canceled if when > now and not task.ended]
        for task in late:
            self.cancel(task)

    # Timers...

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after some seconds, unless the engine is closed before. The function must not raise."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), call))

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    # Descriptors...

    def watch(self, fd: int, events: int, handler: Handler | Batched) -> None:
        """Call `handler` with the events of a descriptor, or advance batched work when there is one.

        The events of a descriptor that is watched and has no handler any more go to the extension.
        """
        self.handlers[fd] = handler
        known = self._events.get(fd)
        if known != events:
            if known is None:
                self.poller.register(fd, events)
            else:
                self.poller.modify(fd, events)
            self._events[fd] = events

    def poll_idle(self) -> None:
        """Give the extension the events of descriptors without a handler. Events of others stay for the next turn."""
        for fd, _ in self.poller.poll(0):
            if fd not in self.handlers and self.extension is not None:
                self.extension.on_idle_event(fd)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor, which may be closed already."""
        self.handlers.pop(fd, None)
        if self._events.pop(fd, None) is not None:
            try:
                self.poller.unregister(fd)
            except (OSError, ValueError):
                pass  # closed: the kernel has forgotten it

    # Turning...

    def turn(self, timeout: float, before_waiting: Callable[[], None] | None = None) -> None:
        """Run the tasks that can continue, wait once for descriptors and timers, and handle what happened.

        The order matters:

        1. Ready tasks run first. They begin requests, so the wait covers the descriptors of these.
        2. One wait. After it `now` is set; every handler of this turn uses that time.
        3. Handlers run in the order of the events. A handler may close a descriptor that has an event of its own in
           this turn, and open another with the same number. So each handler is looked up just before its call, and
           handlers that such an event could mislead check their sockets.
        4. Batched work whose descriptors are ready is advanced, each class together. Handlers before may have
           stopped some of it: batched work checks that itself.
        5. Timers, then once in a TICK deadlines and canceled tasks. They come after the handlers: a byte that arrived
           in time counts even if the thread was too busy to receive it.
        6. Tasks that were resumed run before the turn ends. On an event loop there may be no other turn until something
           happens, and what these tasks send is what will happen.

        Args:
            timeout: the longest wait in seconds.
            before_waiting: called if no descriptor is ready yet, before the wait.
        """
        self.run_ready()
        events = self._poll(timeout, before_waiting)
        self.now = now = time.monotonic()
        handlers = self.handlers
        batches: dict[type[Batched], list[Batched]] = {}
        for fd, event in events:
            handler = handlers.get(fd)
            if handler is None:
                if self.extension is not None:
                    self.extension.on_idle_event(fd)
            elif callable(handler):
                handler(event)
            else:
                batch = batches.get(type(handler))
                if batch is None:
                    batches[type(handler)] = [handler]
                else:
                    batch.append(handler)
        for kind, batch in batches.items():
            kind.advance_together(self, batch)
        if self._timers:
            self._run_timers(now)
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._tick(now)
        self.run_ready()

    def _poll(self, timeout: float, before_waiting: Callable[[], None] | None) -> list[tuple[int, int]]:
        if timeout > 0 and (longest := self.time_to_wait()) is not None:
            timeout = min(timeout, longest)
        events = self.poller.poll(timeout if before_waiting is None else 0)
        if before_waiting is not None and not events:
            before_waiting()
            events = self.poller.poll(timeout)
        return events

    def _tick(self, now: float) -> None:
        if self.extension is not None:
            self.extension.on_tick(now)
        if self._canceled:
            self._stop_late(now)

    def time_to_wait(self) -> float | None:
        """The seconds after which the engine has to turn even if no descriptor is ready; None for never."""
        extension = self.extension
        longest = TICK if self._canceled or (extension is not None and extension.in_flight) else None
        if self._timers:
            until = max(0.0, self._timers[0][0] - time.monotonic())
            longest = until if longest is None else min(longest, until)
        return longest

    # Closing...

    def close(self) -> None:
        """Stop every task that waits, and let none wait again; then close the extension."""
        self.closing = True
        if self._tasks:
            self._stop_all()
        self.poller.close()  # which forgets every descriptor at once
        extension, self.extension = self.extension, None  # which refers to this engine: leave no garbage cycle
        if extension is not None:
            extension.on_close()

    def _stop_all(self) -> None:
        for task in list(self._tasks):
            if not task.is_ready:
                self._stop(task)
        self.run_ready()


def _close_inherited(engine: Engine) -> None:
    """Close an engine of the parent: a child that leaves the call must neither change its poller nor keep anything."""
    engine.closing = True
    engine.extension = None  # its connections are closed
    engine.poller.close()


_engines = forks.each_in_child(_close_inherited)
