# SPDX-License-Identifier: Apache-2.0
"""Runs blocking work in threads that end with the call.

The calling thread works too, and alone as long as the work keeps it busy: files from the page cache cost a few
microseconds each, for which threads would only fight over the interpreter, and copying large ones is bound by memory
(64 MiB: 7.2 GB/s from one thread and from two, 7.2 against 3.8 GB per CPU-second). A thread is added when an item was
waited for. So a batch of cached files never starts one, and a batch on a slow file system soon has as many in flight
as it may.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import perf_counter, thread_time
from typing import TypeVar

from s3dlio.runtime.operation import TICK, Stopped

T = TypeVar("T")

_LONG_WAIT = 0.0003  # seconds; starting a thread costs about a third of this


def for_each(
    items: Iterable[T],
    work: Callable[[T], object],
    limit: int,
    *,
    at_once: bool = False,
    stopped: threading.Event | None = None,
) -> None:
    """Call `work` with every item, from at most `limit` threads, the calling one included.

    The first exception stops the rest from being started; it is raised when what was under way has ended.
    KeyboardInterrupt in the calling thread also sets `stopped`, so that what is under way ends at its next pause.
    Another one is raised at once.

    Args:
        items: what to work on; consumed under a lock, by one thread at a time.
        work: called with an item; its result is not used.
        limit: threads at most.
        at_once: the work is known to wait: start all threads now.
        stopped: once it is set no more items are begun, and `Stopped` is raised in the end.
    """
    source = iter(items)
    lock = threading.Lock()
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []
    ended = False

    def labour() -> None:
        nonlocal ended
        try:
            while True:
                with lock:
                    if ended:
                        return
                    if stopped is not None and stopped.is_set():
                        raise Stopped
                    try:
                        item = next(source)
                    except StopIteration:
                        ended = True
                        return
                started, busy = perf_counter(), thread_time()
                work(item)
                if len(threads) + 1 < limit and perf_counter() - started - (thread_time() - busy) > _LONG_WAIT:
                    add_thread()
        except BaseException as error:
            ended = True
            failures.append(error)

    def add_thread() -> None:
        nonlocal limit
        with lock:
            if ended or len(threads) + 1 >= limit:
                return
            thread = threading.Thread(target=labour, name="s3dlio-worker", daemon=True)
            threads.append(thread)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: those there are do the work
                threads.pop()
                limit = len(threads) + 1

    def interrupted(error: BaseException) -> None:
        nonlocal ended
        ended = True
        failures.insert(0, error)
        if stopped is not None:
            stopped.set()

    try:
        if at_once:
            for _ in range(limit - 1):
                add_thread()
        labour()
        if failures and not isinstance(_first(failures), Exception):
            interrupted(_first(failures))
    except BaseException as error:
        interrupted(error)
    while not (failures and _is_second(_first(failures))):
        try:
            for thread in threads:  # a thread may still add another behind itself
                join(thread)
            break
        except BaseException as error:  # Ctrl-C while the last items end
            if failures and isinstance(_first(failures), KeyboardInterrupt):
                error.__context__ = _first(failures)
            interrupted(error)
    # The functions above refer to each other. What the caller's work holds, such as a pooled block, must not wait
    # for the garbage collector to find that: direct:// reads would take a new block each.
    work = _nothing
    if failures:
        raise _first(failures)


def _first(failures: list[BaseException]) -> BaseException:
    """The failure to raise: Ctrl-C, which stops other threads before the calling one has undone its own work."""
    return next((failure for failure in failures if not isinstance(failure, Exception | Stopped)), failures[0])


def _is_second(error: BaseException) -> bool:
    """Whether Ctrl-C came again while what was begun was being undone: then nobody wants to wait for that."""
    return isinstance(error, KeyboardInterrupt) and isinstance(error.__context__, KeyboardInterrupt)


def join(thread: threading.Thread) -> None:
    """Wait until a thread has ended, looking at signals all the while."""
    while thread.is_alive():
        thread.join(TICK)


def _nothing(_: object) -> None:
    pass
