# SPDX-License-Identifier: Apache-2.0
"""Operations: the coroutines that stores are made of.

The same coroutine serves the blocking call, the batch and asyncio. `runtime.run` drives it in the calling thread,
`runtime.on_asyncio` on an event loop. An operation may await

- `pause`: a point in a long blocking operation at which it may be stopped;
- `runtime.engine.Sleep`: a number of seconds, such as between two tries of a request;
- `runtime.group.Gather`: other operations, several at a time;
- an exchange with a server (`http.exchange`).

`pause` needs nothing else. The other three run on an engine (`runtime.engine`), which is imported on first use: a
program that only reads files never loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Operation = Coroutine[Any, Any, T]

# The longest wait in seconds. After each wait deadlines, stopped calls and signals are looked at: a signal that arrives
# just before a wait does not end that wait.
TICK = 0.1

# Seconds in which a stopped operation may undo what it began. After that it is stopped again, wherever it waits.
UNDO_SECONDS = 2.0


class Stopped(BaseException):
    """Thrown into an operation that has to end now, because its call was interrupted or its task was canceled."""


class Pause:
    """A point between two pieces of blocking work at which an operation may be stopped."""

    def __await__(self) -> Generator[None, None, None]:
        yield


pause = Pause()


class Task:
    """An operation that an engine runs.

    Attributes:
        operation: the coroutine.
        on_end: called with this task when the operation has ended.
        awaited: what the operation waits for (`engine.Awaited`); None before its first step and while it
            computes.
        is_ready: whether the operation is queued to run.
        stopping: the operation gets the answer that it waits for, and `Stopped` when it waits for anything else.
        ended: whether the operation has ended, with `result` or with `error`.
    """

    __slots__ = ("awaited", "ended", "error", "is_ready", "on_end", "operation", "result", "stopping")

    def __init__(self, operation: Operation[Any], on_end: Callable[[Task], None]) -> None:
        self.operation = operation
        self.on_end = on_end
        self.awaited: Any = None
        self.is_ready = False
        self.stopping = False
        self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None
