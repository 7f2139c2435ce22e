# SPDX-License-Identifier: Apache-2.0
"""Runs operations in the calling thread, without an event loop.

An operation that only pauses runs here. At the first thing that it awaits (a sleep, a group, an exchange) an engine is
made for the rest of the call. The calling thread turns the engine until the operation has ended, and closes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar

from s3dlio.runtime.operation import TICK, UNDO_SECONDS, Operation, Stopped, Task

T = TypeVar("T")


class Deadline(threading.Event):
    """An event for `run` that is set after some seconds. Nothing can wait for it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._when = time.monotonic() + seconds

    def is_set(self) -> bool:
        """Whether the seconds have passed."""
        return super().is_set() or time.monotonic() >= self._when


def run(
    operation: Operation[T], stopped: threading.Event | None = None, before_waiting: Callable[[], None] | None = None
) -> T:
    """Run an operation to its end, in the calling thread, and return its result.

    Args:
        operation: a store's coroutine.
        stopped: once this event is set, `Stopped` is thrown into the operation.
        before_waiting: called each time that no socket is ready and the engine is about to wait for one.
    """
    try:
        if stopped is not None and stopped.is_set():
            operation.throw(Stopped())  # before its first step
        while (awaited := operation.send(None)) is None:
            if stopped is not None and stopped.is_set():
                operation.throw(Stopped())
    except StopIteration as done:
        result: T = done.value
        return result
    except BaseException:
        operation.close()  # Ctrl-C between two steps: free what the operation holds before the traceback is dropped
        raise
    return _run_on_engine(operation, awaited, stopped, before_waiting)


def _run_on_engine(
    operation: Operation[T], awaited: Any, stopped: threading.Event | None, before_waiting: Callable[[], None] | None
) -> T:
    """Run the rest of an operation, which waits for `awaited`, on an engine of its own."""
    from s3dlio.runtime.engine import Engine

    engine = Engine()
    try:
        task = engine.adopt(operation, awaited, _ignore)
        canceled = False
        try:
            engine.run_ready()  # an operation that ends without waiting must not wait for the first turn
            while not task.ended:
                engine.turn(TICK, before_waiting)
                if stopped is not None and stopped.is_set() and not canceled:
                    engine.cancel(task)
                    canceled = True
        except BaseException:
            # Ctrl-C: undo what the operation has begun; `stopped` lets other threads of the same call do so meanwhile.
            # A second Ctrl-C ends that, wherever it is.
            if stopped is not None:
                stopped.set()
            deadline = time.monotonic() + UNDO_SECONDS
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


def _ignore(_: Task) -> None:
    """The end of the task, which the loop above looks for."""


def iterate(generator: AsyncGenerator[T, None], stopped: threading.Event | None = None) -> Iterator[T]:
    """Yield the items of a store's generator, running each step in the calling thread.

    Once the event `stopped` is set, `Stopped` is thrown into the generator.
    """
    try:
        while True:
            try:
                item = run(step(generator), stopped)
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(end(generator))


async def step(generator: AsyncGenerator[T, None]) -> T:
    """The next item of a store's generator; StopAsyncIteration after the last one."""
    return await generator.__anext__()


async def end(generator: AsyncGenerator[T, None]) -> None:
    """Close a store's generator."""
    await generator.aclose()
