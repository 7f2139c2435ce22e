"""Runs the operations of stores, which are coroutines, in the calling thread.

An operation suspends for one of two reasons. `pause` is a point where a long blocking operation may be stopped: a
plain call goes straight on, an async twin throws into it once its task is cancelled. Everything else a suspended
operation waits for is the network.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Pause:
    """A point between two pieces of blocking work at which an operation may be stopped."""

    def __await__(self) -> Generator[None, None, None]:
        yield


pause = Pause()


class Stopped(BaseException):
    """Thrown into an operation that is to end at once, because the task that waited for it was cancelled."""


def run(operation: Coroutine[Any, Any, T], stopped: threading.Event | None = None) -> T:
    """Run an operation to its end and return its result.

    Args:
        operation: a store's coroutine.
        stopped: once it is set, `Stopped` is thrown into the operation at its next pause.
    """
    try:
        while True:
            operation.send(None)
            if stopped is not None and stopped.is_set():
                operation.throw(Stopped())
    except StopIteration as done:
        result: T = done.value
        return result


def iterate(generator: AsyncGenerator[T, None]) -> Iterator[T]:
    """The items of a store's generator, each step run in the calling thread."""
    try:
        while True:
            try:
                item = run(_step(generator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(_end(generator))


async def _step(generator: AsyncGenerator[T, None]) -> T:
    return await generator.__anext__()


async def _end(generator: AsyncGenerator[Any, None]) -> None:
    await generator.aclose()
