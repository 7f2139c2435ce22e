# SPDX-License-Identifier: Apache-2.0
"""`Gather`: an operation runs others side by side."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any


class Gather:
    """Runs operations side by side, at most `limit` of them at a time, and waits for all.

    The first that fails stops the others; when all have ended its error is raised. Results go where the operations
    put them.
    """

    def __init__(self, operations: Iterable[Any], limit: int) -> None:
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
