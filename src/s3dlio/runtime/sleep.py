# SPDX-License-Identifier: Apache-2.0
"""`Sleep`: an operation waits for a number of seconds."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


class Sleep:
    """Awaitable: waits for a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Any, None, None]:
        yield self
