# SPDX-License-Identifier: Apache-2.0
"""Runs operations on a running asyncio event loop.

All calls on one loop share an engine and its connections. The loop watches the descriptor of the engine's poller and
turns the engine when something happens there; the engine's next deadline is a timer of the loop. The engine is closed
when the last call has ended.

When a task is canceled, its operation is stopped. The task ends after the operation has undone what it began.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TypeVar

from s3dlio import descriptors
from s3dlio.errors import StoreUnavailableError
from s3dlio.runtime.engine import Engine
from s3dlio.runtime.operation import Operation

T = TypeVar("T")


class AsyncEngine:
    """An engine that an event loop turns, while calls on that loop use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        Raises:
            StoreUnavailableError: the process can open no more files.
        """
        self._loop = loop
        self._engine = Engine()
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None
        try:
            loop.add_reader(self._engine.poller.fileno(), self._turn)
        except OSError as error:
            self._engine.close()
            raise StoreUnavailableError(descriptors.shortage(error)) from error

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end. If the calling task is canceled, stop the operation and wait for its end."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._users += 1
        try:
            task = self._engine.start(operation, lambda _: None if future.done() else future.set_result(None))
            self._turn()
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                self._engine.cancel(task)
                self._turn()
                while not task.ended:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.shield(future)
                raise
        finally:
            self._users -= 1
            if not self._users:
                self._close()
        if task.error is not None:
            raise task.error
        result: T = task.result
        return result

    def _turn(self) -> None:
        """Turn the engine without waiting, and set the timer for its next deadline."""
        self._engine.turn(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._engine.time_to_wait()
        if wait is not None:
            self._timer = self._loop.call_later(wait, self._turn)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._engine.poller.fileno())
        del _async_engines[self._loop]
        self._engine.close()


_async_engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = weakref.WeakKeyDictionary()


async def run_async(operation: Operation[T]) -> T:
    """Run an operation on the running event loop and return its result."""
    loop = asyncio.get_running_loop()
    engine = _async_engines.get(loop)
    if engine is None:
        try:
            engine = _async_engines[loop] = AsyncEngine(loop)
        except BaseException:
            operation.close()  # Python warns about a coroutine that never runs
            raise
    return await engine.run(operation)
