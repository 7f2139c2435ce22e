# SPDX-License-Identifier: Apache-2.0
"""Operations: the coroutines that stores are made of.

The same coroutine serves the blocking call, the batch and asyncio. `runtime.run` drives it in the calling thread,
`runtime.on_asyncio` on an event loop. An operation may await

- `pause`: a point in a long blocking operation at which it may be stopped;
- `runtime.sleep.Sleep`: a number of seconds, such as between two tries of a request;
- `runtime.group.Gather`: other operations, several at a time;
- an exchange with a server (`http.exchange`).

`pause` needs nothing else. The other three run on an engine (`runtime.engine`), which is imported on first use: a
program that only reads files never loads it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Operation = Coroutine[Any, Any, T]

# The longest wait in seconds. After each wait deadlines, stopped calls and signals are looked at: a signal that arrives
# just before a wait does not end that wait.
TICK = 0.1


class Stopped(BaseException):
    """Thrown into an operation that has to end now, because its call was interrupted or its task was canceled."""


class Pause:
    """A point between two pieces of blocking work at which an operation may be stopped."""

    def __await__(self) -> Generator[None, None, None]:
        yield


pause = Pause()
