# SPDX-License-Identifier: Apache-2.0
"""Runs operations in the calling thread, without an event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

from s3dlio.runtime.operation import Operation, Stopped

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
    operation: Operation[T],
    stopped: threading.Event | None = None,
    before_waiting: Callable[[], None] | None = None,
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
    from s3dlio.runtime.engine import run_begun

    return run_begun(operation, awaited, stopped, before_waiting)


def iterate(generator: AsyncGenerator[T, None], stopped: threading.Event | None = None) -> Iterator[T]:
    """Yield the items of a store's generator, running each step in the calling thread.

    Args:
        generator: a store's async generator.
        stopped: once this event is set, `Stopped` is thrown into the generator.
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
