# SPDX-License-Identifier: Apache-2.0
"""Blocking work for an event loop, in threads that end with the calls.

All calls on one loop share an executor, which ends with the last call under way on that loop.

Python ends all executors when the main thread ends, although threads that are not daemons, and their event loops, still
run. From then on each call starts a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from s3dlio.errors import S3dlioError
from s3dlio.tuning import FILE_THREADS

T = TypeVar("T")


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run blocking work in a thread, and await its result. The work gets an event that is set when it has to stop.

    If the task is canceled, the work is asked to stop. The cancellation continues when the work has ended.

    Raises:
        S3dlioError: no thread could be started: the system refuses, or the interpreter is exiting.
        BaseException: what the work raises.
    """
    stopped = threading.Event()
    loop = asyncio.get_running_loop()
    with _executor(loop) as executor:
        future = asyncio.wrap_future(_submitted(executor, work, stopped), loop=loop)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stopped.set()
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            future.exception()  # retrieved, so that the loop does not report it
            raise


def _submitted(
    executor: ThreadPoolExecutor, work: Callable[[threading.Event], T], stopped: threading.Event
) -> Future[T]:
    """Start `work` in a thread of the executor, or in a new thread after Python has ended all executors.

    Raises:
        S3dlioError: no thread could be started: the system refuses, or the interpreter is exiting.
    """
    with contextlib.suppress(RuntimeError):
        return executor.submit(work, stopped)
    future: Future[T] = Future()

    def run_it() -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(stopped))
            except BaseException as error:
                future.set_exception(error)

    try:
        threading.Thread(target=run_it, name="s3dlio-async", daemon=True).start()
    except RuntimeError as error:
        raise S3dlioError(
            f"cannot start a thread for this call: {error}; raise the limit on threads (ulimit -u)"
        ) from None
    return future


class _Shared:
    """The executor of a loop, and the number of calls that use it."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="s3dlio-async")
        self.users = 0


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def _executor(loop: asyncio.AbstractEventLoop) -> Iterator[ThreadPoolExecutor]:
    """The executor for the calls of this loop. It ends with the last of them."""
    shared = _shared.get(loop)
    if shared is None:
        shared = _shared[loop] = _Shared()
    shared.users += 1
    try:
        yield shared.executor
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[loop]
            shared.executor.shutdown(wait=False)
