# SPDX-License-Identifier: Apache-2.0
"""The async twins: the same verbs, the same results, for a program with an event loop.

The engine awaits the network on the caller's loop (`runtime.on_asyncio`). File I/O blocks, so it runs in threads of
our own executor, which lives as long as calls of that loop are under way: nothing outlives them. When a task is
cancelled its operation is stopped, a write removes its temporary, and only then does the cancellation go on; so nothing
of a cancelled call happens later.

Python ends all executors when the main thread ends, while threads that are not daemons, and their loops, still run.
From then on each call has a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from s3dlio import api
from s3dlio.errors import S3dlioError
from s3dlio.runtime.on_asyncio import run_async
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.run import run
from s3dlio.stores import store_for
from s3dlio.stores.base import Store
from s3dlio.transfer import batch, copying, listing
from s3dlio.types import BytesLike, ObjectInfo, as_view
from s3dlio.uri import parse

T = TypeVar("T")


async def get_async(uri: str) -> memoryview:
    """`get` for an event loop."""
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.get(target))


async def get_range_async(uri: str, offset: int, length: int | None = None) -> memoryview:
    """`get_range` for an event loop."""
    api.check_range(offset, length)
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.get_range(target, offset, length))


async def put_bytes_async(uri: str, data: BytesLike) -> None:
    """`put_bytes` for an event loop. `data` must not be changed before it returns."""
    view = as_view(data)
    target = parse(uri)
    store = store_for(target.scheme)
    await _run(store, store.put(target, view))


async def stat_async(uri: str) -> ObjectInfo:
    """`stat` for an event loop."""
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.stat(target))


async def exists_async(uri: str) -> bool:
    """`exists` for an event loop."""
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.exists(target))


async def mkdir_async(uri: str) -> None:
    """`mkdir` for an event loop."""
    target = parse(uri)
    store = store_for(target.scheme)
    await _run(store, store.mkdir(target))


async def delete_async(uri: str, recursive: bool = False) -> None:
    """`delete` for an event loop."""
    target = parse(uri)
    store = store_for(target.scheme)
    await _run(store, store.delete_prefix(target) if recursive else store.delete(target))


async def list_async(uri: str, recursive: bool = False, pattern: str | None = None) -> list[str]:
    """`list` for an event loop."""
    matching = listing.compiled(pattern)
    folder = parse(uri)
    store = store_for(folder.scheme)
    return await _run(store, listing.everything(store, folder, recursive, matching))


async def get_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool = False
) -> list[tuple[str, memoryview | Exception]]:
    """`get_many` for an event loop."""
    api.check_in_flight(max_in_flight)
    work, results = batch.getting(api.check_uris(uris), max_in_flight, return_errors)
    await _run_work(work)
    return results


async def put_many_async(pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int = 64) -> None:
    """`put_many` for an event loop.

    `pairs` is consumed as the writing goes on: its first pair, and for cloud stores all, on the loop, so it must not
    block; for files the others in another thread.
    """
    api.check_in_flight(max_in_flight)
    await _run_work(batch.putting(pairs, max_in_flight))


async def upload_async(
    path: api.Path, uri: str, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """`upload` for an event loop. `progress` is called in other threads."""
    await copy_async(api.local(path), uri, recursive=recursive, progress=progress)


async def download_async(
    uri: str, path: api.Path, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """`download` for an event loop. `progress` is called in other threads."""
    await copy_async(uri, api.local(path), recursive=recursive, progress=progress)


async def copy_async(
    source: str, target: str, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """`copy` for an event loop. `progress` is called in other threads."""
    places = parse(source), parse(target)
    await _in_thread(lambda stopped: copying.copy(*places, recursive, progress, stopped))


# How they run...


async def _run(store: Store, operation: Operation[T]) -> T:
    if store.blocking:
        return await _in_thread(lambda stopped: run(operation, stopped))
    return await run_async(operation)


async def _run_work(work: batch.Work) -> None:
    """Files in a thread, the network on the loop; the first failure stops both."""
    network = batch.side_by_side(work.network, work.max_in_flight)
    halves = {asyncio.ensure_future(run_async(network))}
    first_file = next(work.blocking, None)
    if first_file is not None:
        files = work._replace(blocking=chain([first_file], work.blocking), network=iter(()))
        halves.add(asyncio.ensure_future(_in_thread(lambda stopped: batch.run_work(files, stopped))))
    try:
        ended, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for half in halves:
            half.cancel()
        await asyncio.gather(*halves, return_exceptions=True)
    for half in ended:
        half.result()


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run blocking work in a thread; when the task is cancelled, stop it and wait for its end."""
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
            future.exception()  # seen, so that the loop does not report it
            raise


def _submitted(
    executor: ThreadPoolExecutor, work: Callable[[threading.Event], T], stopped: threading.Event
) -> Future[T]:
    """The result of `work`, which a thread of the executor is to run, or one of its own after executors have ended.

    Raises:
        S3dlioError: the interpreter is exiting, and starts no more threads.
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
        raise S3dlioError(f"no thread could be started for this call: {error}") from None
    return future


class _Shared:
    """The executor of a loop, and how many calls use it."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(batch.THREADS, thread_name_prefix="s3dlio-async")
        self.users = 0


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def _executor(loop: asyncio.AbstractEventLoop) -> Iterator[ThreadPoolExecutor]:
    """The executor for calls of this loop; it ends with the last of them."""
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
