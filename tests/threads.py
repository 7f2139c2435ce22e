# SPDX-License-Identifier: Apache-2.0
"""Threads of tests. What a thread raises fails the test: an assertion in a bare `threading.Thread` would be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Call every function in a separate thread, all at the same time.

    Returns:
        What the functions returned, in order.

    Raises:
        BaseException: the exception of the first function that raised one, after all have ended.
    """
    with ThreadPoolExecutor(len(works)) as threads:
        futures = [threads.submit(work) for work in works]
    return [future.result() for future in futures]


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not within this time.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {seconds:g} s"
        time.sleep(0.005)


@contextmanager
def meanwhile(work: Callable[[], T]) -> Iterator[Future[T]]:
    """Run a function in a thread while the block runs; the end of the block waits for the function.

    Yields:
        The future of the function.

    Raises:
        BaseException: what the block raised, or else what the function raised.
    """
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        yield future
    future.result()
