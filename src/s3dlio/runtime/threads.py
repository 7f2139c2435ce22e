# SPDX-License-Identifier: Apache-2.0
"""Blocking work on many items, in threads that end with the call.

The calling thread works too, and alone while the work keeps it busy. A file in the page cache costs a few
microseconds: threads would only compete for the interpreter. Copying large files is bound by memory (64 MiB: 7.2 GB/s
from one thread and from two, at 7.2 against 3.8 GB per CPU-second). A thread is added after an item whose work had to
wait. So a batch of cached files never starts a thread, and a batch on a slow file system soon works on as many items
at a time as it may.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import perf_counter, thread_time
from typing import Generic, TypeVar

from s3dlio.runtime.operation import TICK, Stopped
from s3dlio.tuning import LONG_WAIT

T = TypeVar("T")


def for_each(
    items: Iterable[T],
    work: Callable[[T], object],
    limit: int,
    *,
    at_once: bool = False,
    stopped: threading.Event | None = None,
) -> None:
    """Call `work` with every item, in at most `limit` threads, the calling one included.

    After the first exception no item is begun. The exception is raised when the work under way has ended. After
    KeyboardInterrupt in the calling thread `stopped` is set too, so that the work under way ends at its next pause; a
    second KeyboardInterrupt is raised immediately.

    Args:
        items: what to work on; consumed under a lock, by one thread at a time.
        work: called with an item; its result is ignored.
        limit: threads at most.
        at_once: the work is known to wait: start all threads at the beginning.
        stopped: once this is set no item is begun, and `Stopped` is raised in the end.
    """
    crew = _Crew(items, work, limit, stopped)
    crew.work_in_this_thread(at_once)
    crew.join()
    if crew.failures:
        raise crew.failure()


class _Crew(Generic[T]):
    """The threads of one call of `for_each`.

    `is_done` and `failures` describe the state:

    - Working: `is_done` is false. Threads take items, and may add threads.
    - Ending: `is_done` is true, for ever: the items are used up, or `failures` says why no other item is begun. Each
      thread ends after its current item, so joining all of them comes to an end.

    The lock guards the items and the adding of threads: at most `limit` threads ever work, and no thread is added in
    the second state. Neither list needs it: appending is one step.

    A crew belongs to no reference cycle once its threads have ended, so whatever `work` holds, such as a block of the
    buffer pool, is free as soon as the call returns. A cycle would keep that until the garbage collector runs: each
    read of direct:// would take another block.

    Attributes:
        failures: the exceptions that ended the work, as they came.
    """

    def __init__(
        self, items: Iterable[T], work: Callable[[T], object], limit: int, stopped: threading.Event | None
    ) -> None:
        self.failures: list[BaseException] = []
        self._items = iter(items)
        self._work = work
        self._limit = limit
        self._stopped = stopped
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []  # without the calling one
        self._is_done = False

    def work_in_this_thread(self, at_once: bool) -> None:
        """Work on items in the calling thread until no other is to be begun; raises nothing.

        Args:
            at_once: start all other threads first.
        """
        try:
            if at_once:
                for _ in range(self._limit - 1):
                    self._add_thread()
            self._work_on_items()
            if self.failures and not isinstance(error := self.failure(), Exception):
                self._interrupt(error)
        except BaseException as error:  # Ctrl-C between two of these lines
            self._interrupt(error)

    def join(self) -> None:
        """Wait until all threads have ended, or until Ctrl-C comes for the second time; raises nothing."""
        while not (self.failures and _is_second_interrupt(self.failure())):
            try:
                for thread in self._threads:  # which may grow meanwhile: a thread adds others
                    join(thread)
                return
            except BaseException as error:  # Ctrl-C during the wait
                if self.failures and isinstance(self.failure(), KeyboardInterrupt):
                    error.__context__ = self.failure()
                self._interrupt(error)

    def failure(self) -> BaseException:
        """The exception to raise. Ctrl-C comes before `Stopped`, which other threads may have raised because of it."""
        kinds = Exception | Stopped
        return next((failure for failure in self.failures if not isinstance(failure, kinds)), self.failures[0])

    def _work_on_items(self) -> None:
        """Work on one item after the other until no other is to be begun; raises nothing."""
        try:
            while True:
                with self._lock:
                    if self._is_done:
                        return
                    if self._stopped is not None and self._stopped.is_set():
                        raise Stopped
                    try:
                        item = next(self._items)
                    except StopIteration:
                        self._is_done = True
                        return
                started, busy = perf_counter(), thread_time()
                self._work(item)
                if len(self._threads) + 1 < self._limit:
                    waited = perf_counter() - started - (thread_time() - busy)
                    if waited > LONG_WAIT:
                        self._add_thread()
        except BaseException as error:
            self._is_done = True
            self.failures.append(error)

    def _add_thread(self) -> None:
        with self._lock:
            if self._is_done or len(self._threads) + 1 >= self._limit:
                return
            thread = threading.Thread(target=self._work_on_items, name="s3dlio-worker", daemon=True)
            self._threads.append(thread)  # before it starts: Ctrl-C in between must not leave an unknown thread
            try:
                thread.start()
            except RuntimeError:  # the system refuses another thread: the present ones do the work
                self._threads.pop()
                self._limit = len(self._threads) + 1

    def _interrupt(self, error: BaseException) -> None:
        """Begin no other item, and ask the work under way to end."""
        self._is_done = True
        self.failures.insert(0, error)
        if self._stopped is not None:
            self._stopped.set()


def _is_second_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C came again while the call was ending: then the user does not want to wait for that."""
    return isinstance(error, KeyboardInterrupt) and isinstance(error.__context__, KeyboardInterrupt)


def join(thread: threading.Thread) -> None:
    """Wait until a thread has ended, and handle signals meanwhile."""
    while thread.is_alive():
        thread.join(TICK)
