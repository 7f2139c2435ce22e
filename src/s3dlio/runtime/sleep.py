# SPDX-License-Identifier: Apache-2.0
"""`Sleep`: an operation waits for a number of seconds."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s3dlio.runtime.engine import Engine
    from s3dlio.runtime.operation import Task


class Sleep:
    """Awaitable: waits for a number of seconds."""

    finish_before_stop = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Any, None, None]:
        yield self

    def begin(self, engine: Engine, task: Task) -> None:
        """Start to wait (see `engine.Awaited`)."""
        self._engine = engine
        self._task: Task | None = task
        engine.call_later(self.seconds, self._wake)

    def detach(self) -> bool:
        """Wait no longer (see `engine.Awaited`)."""
        self._task = None  # the timer stays, and does nothing
        return True

    def _wake(self) -> None:
        if self._task is not None:
            self._engine.resume(self._task)
