# SPDX-License-Identifier: Apache-2.0
"""What the operations of stores may wait for, and how they are run.

An operation is a coroutine, driven not by an event loop but by whoever calls `run`. It may wait for four things:

- `pause`: a point where a long blocking operation may be stopped. A plain call goes straight on; an async twin
  throws into it once its task is cancelled.
- `Sleep`: some seconds, as between two tries of a request.
- `Gather`: other operations, several at a time.
- an exchange with a server (`http.exchange`).

The first needs nothing. For the other three the operation is handed to the engine (`runtime.engine`), which is
imported then: a program that only reads files never loads it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from s3dlio.errors import StoreUnavailableError
from s3dlio.runtime import descriptors

if TYPE_CHECKING:
    from s3dlio.objects.batched_get import Read
    from s3dlio.objects.batched_put import Write

T = TypeVar("T")
Operation = Coroutine[Any, Any, T]

# Seconds that a wait takes at most before it looks at deadlines, at whether the call has been stopped, and at signals:
# one that is caught just before a wait does not end it.
TICK = 0.1


class Stopped(BaseException):
    """Thrown into an operation that is to end at once, because what waited for it no longer does."""


class Pause:
    """A point between two pieces of blocking work at which an operation may be stopped."""

    def __await__(self) -> Generator[None, None, None]:
        yield


pause = Pause()


class Sleep:
    """Waits for a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Any, None, None]:
        yield self


class Signal:
    """Tells an engine, from any thread, that something may go on. Holds two descriptors until it is closed."""

    def __init__(self) -> None:
        try:
            self.reader, self._writer = socket.socketpair()
        except OSError as error:
            raise StoreUnavailableError(descriptors.shortage(error)) from error
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self.awaited = False

    def set(self) -> None:
        """Wake whoever waits; nothing if nobody does."""
        if self.awaited:
            self.awaited = False
            self._writer.send(b"!")

    def close(self) -> None:
        """Give the descriptors back."""
        self.reader.close()
        self._writer.close()


class Gather:
    """Runs operations side by side, at most `limit` of them at a time, and waits for all.

    The first that fails stops the others; when all have ended its error is raised. Results go where the operations
    put them.
    """

    def __init__(self, operations: Iterable[Operation[Any] | Read | Write | Signal], limit: int) -> None:
        """
        Args:
            operations: coroutines, or requests that need none (`objects.batched`); taken one by one as places get free.
                A `Signal` among them means: none now, ask again when it is set.
            limit: operations at a time, 1 or more.
        """
        self.operations = iter(operations)
        self.limit = limit

    def __await__(self) -> Generator[Any, None, None]:
        yield self


class Deadline(threading.Event):
    """For `run`: an event that is set once some seconds have passed. Nobody can wait for it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._when = time.monotonic() + seconds

    def is_set(self) -> bool:
        """Whether the time is over."""
        return super().is_set() or time.monotonic() >= self._when


def run(
    operation: Operation[T],
    stopped: threading.Event | None = None,
    before_waiting: Callable[[], None] | None = None,
) -> T:
    """Run an operation to its end, in the calling thread, and return its result.

    Args:
        operation: a store's coroutine.
        stopped: once it is set, `Stopped` is thrown into the operation.
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
        operation.close()  # Ctrl-C between two steps: what it holds must not stay until the traceback is dropped
        raise
    from s3dlio.runtime.engine import run_begun

    return run_begun(operation, awaited, stopped, before_waiting)


def iterate(generator: AsyncGenerator[T, None], stopped: threading.Event | None = None) -> Iterator[T]:
    """The items of a store's generator, each step run in the calling thread; `stopped` as for `run`."""
    try:
        while True:
            try:
                item = run(_step(generator), stopped)
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(_end(generator))


async def _step(generator: AsyncGenerator[T, None]) -> T:
    return await generator.__anext__()


async def _end(generator: AsyncGenerator[Any, None]) -> None:
    await generator.aclose()
