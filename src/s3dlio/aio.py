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
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from s3dlio import api
from s3dlio.errors import S3dlioError
from s3dlio.runtime.on_asyncio import run_async
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.run import end, run, step
from s3dlio.stores.base import Store
from s3dlio.transfer import batch, buckets, chunks, copying, listing
from s3dlio.transfer.stores import store_for
from s3dlio.types import BytesLike, Entry, ObjectInfo, as_view
from s3dlio.uri import of_path, parse

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


def get_chunks_async(
    uri: str, chunk_size: int = api.CHUNK, offset: int = 0, length: int | None = None
) -> AsyncIterator[memoryview]:
    """Read an object, or a range of it, in chunks, on an event loop; the async twin of `get_chunks`.

    All chunks are of one version of the object, and each stays valid while it, or anything made from it, lives. Nothing
    is read before the first is asked for, nor while the caller works on a chunk.

    Args:
        uri: the object.
        chunk_size: bytes of a chunk; the last may be shorter.
        offset: first byte, from 0.
        length: number of bytes; None for all that follow.

    Returns:
        An async iterator of writable views. An empty object, and a range past the end, have no chunks.

    Raises:
        ValueError: a chunk size below 1, or a negative offset or length; at once. All other errors come from the
            iteration.
        ObjectNotFoundError: no such object, or the URI names a folder.
        IntegrityError: the object was replaced after some of its chunks had been handed out.
        PermissionDeniedError, StoreTimeoutError, StoreUnavailableError

    Example:
        >>> async for chunk in s3dlio.get_chunks_async("s3://bucket/large", 8 << 20):
        ...     digest.update(chunk)
    """
    api.check_range(offset, length)
    api.check_chunk_size(chunk_size)
    target = parse(uri)
    store = store_for(target.scheme)
    return _iterate(store, chunks.chunks(store, target, chunk_size, offset, length))


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


def entries_async(uri: str, recursive: bool = True) -> AsyncIterator[Entry]:
    """List a folder with sizes, on an event loop; the async twin of `entries`. No request is made for an object.

    Args:
        uri: a folder, with or without its last "/".
        recursive: every object below it; otherwise its children, folders with a final "/" and size 0.

    Returns:
        An async iterator of `Entry`: `uri`, the full URI, and `size`, in bytes, in the store's own order, page by page.

    Raises:
        InvalidURIError: not such a URI; at once. All other errors come from the iteration.
        ObjectNotFoundError: no such bucket or container.
        PermissionDeniedError, StoreTimeoutError, StoreUnavailableError: a failed listing never looks like a short one.

    Example:
        >>> async for entry in s3dlio.entries_async("s3://bucket/folder"):
        ...     print(entry.uri, entry.size)
    """
    folder = parse(uri)
    store = store_for(folder.scheme)
    return _each(_iterate(store, listing.entries(store, folder, recursive)))


async def make_bucket_async(uri: str) -> None:
    """Make a bucket, or a container, on an event loop; the async twin of `make_bucket`.

    Args:
        uri: "s3://bucket", "az://container" or "gs://bucket". One that is yours already is left as it is.

    Raises:
        InvalidURIError: the URI names more than a bucket, or its store has no buckets (files).
        PermissionDeniedError: these credentials may not make buckets, or somebody else has one of that name.
        ConfigurationError: no credentials, or, on Google Cloud Storage, no project.
        StoreTimeoutError, StoreUnavailableError

    Example:
        >>> await s3dlio.make_bucket_async("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    await _run(store, store.make_bucket(target))


async def remove_bucket_async(uri: str) -> None:
    """Remove a bucket, or a container, that is empty, on an event loop; the async twin of `remove_bucket`.

    Args:
        uri: "s3://bucket", "az://container" or "gs://bucket".

    Raises:
        S3dlioError: the bucket is not empty. Its objects are never deleted, whatever the service would do.
        ObjectNotFoundError: no such bucket.
        InvalidURIError: the URI names more than a bucket, or its store has no buckets (files).
        PermissionDeniedError, StoreTimeoutError, StoreUnavailableError

    Example:
        >>> await s3dlio.remove_bucket_async("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    await _run(store, buckets.remove(store, target))


async def list_buckets_async(uri: str) -> list[str]:
    """List the buckets, or containers, that these credentials own, on an event loop; the async twin of `list_buckets`.

    Args:
        uri: the service: "s3://", "az://" or "gs://".

    Returns:
        Full URIs, sorted, each with a final "/".

    Raises:
        InvalidURIError: another URI.
        PermissionDeniedError: these credentials may not list buckets.
        ConfigurationError: no credentials, or, on Google Cloud Storage, no project.
        StoreTimeoutError, StoreUnavailableError

    Example:
        >>> await s3dlio.list_buckets_async("s3://")
        ['s3://bucket/', 's3://other/']
    """
    scheme = buckets.scheme_of_service(uri)
    store = store_for(scheme)
    return await _run(store, buckets.names(store, scheme))


async def get_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool = False
) -> list[tuple[str, memoryview | Exception]]:
    """`get_many` for an event loop."""
    api.check_in_flight(max_in_flight)
    work, results = batch.getting(api.check_uris(uris), max_in_flight, return_errors)
    await _run_work(work)
    return results


async def get_each_async(
    uris: Iterable[str], receive: Callable[[str, memoryview], object], max_in_flight: int = 64
) -> None:
    """Read many objects and call a function with each as it comes, on an event loop; the async twin of `get_each`.

    Args:
        uris: the objects; any iterable, consumed as the reading continues: its first URI, and for cloud stores all, on
            the loop, so it must not block; for files the others in another thread.
        receive: called with the URI and a writable view of its bytes, in the order in which the objects come: for cloud
            stores on the loop, for files in other threads, by one thread at a time. An exception that it raises ends
            the reading.
        max_in_flight: objects read at a time, at most.

    Raises:
        The first error, naming its URI, once what was under way has ended.
        TypeError: `uris` is a single string.

    Example:
        >>> await s3dlio.get_each_async(uris, lambda uri, data: print(uri, len(data)))
    """
    api.check_no_string(uris)
    api.check_in_flight(max_in_flight)
    await _run_work(batch.giving(uris, max_in_flight, receive))


async def put_many_async(
    pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int = 64, *, progress: api.ProgressCallback | None = None
) -> None:
    """`put_many` for an event loop.

    `pairs` is consumed as the writing goes on: its first pair, and for cloud stores all, on the loop, so it must not
    block; for files the others in another thread. `progress` is called with a `Progress` for every object written: for
    cloud stores on the loop, for files in other threads, by one thread at a time.
    """
    api.check_in_flight(max_in_flight)
    await _run_work(batch.putting(pairs, max_in_flight, progress))


async def delete_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, progress: api.ProgressCallback | None = None
) -> None:
    """Delete many objects, of any mix of schemes, on an event loop; the async twin of `delete_many`.

    Args:
        uris: the objects; any iterable, consumed as the deleting continues: its first URI, and for cloud stores all, on
            the loop, so it must not block; for files the others in another thread.
        max_in_flight: objects deleted at a time, at most.
        progress: called with a `Progress` for every object deleted: for cloud stores on the loop, for files in other
            threads, by one thread at a time.

    Raises:
        The first error, naming its URI, once what was under way has ended. Objects deleted before it stay deleted.
        TypeError: `uris` is a single string.

    Example:
        >>> await s3dlio.delete_many_async(f"s3://bucket/folder/{number}" for number in range(1000))
    """
    api.check_no_string(uris)
    api.check_in_flight(max_in_flight)
    await _run_work(batch.deleting(uris, max_in_flight, progress))


async def upload_async(
    path: api.Path, uri: str, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """`upload` for an event loop. `progress` is called in other threads."""
    await copy_async(of_path(path), uri, recursive=recursive, progress=progress)


async def download_async(
    uri: str, path: api.Path, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """`download` for an event loop. `progress` is called in other threads."""
    await copy_async(uri, of_path(path), recursive=recursive, progress=progress)


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


async def _iterate(store: Store, generator: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items of a store's generator, each step run as a call of its own."""
    try:
        while True:
            try:
                item = await _run(store, step(generator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        await _run(store, end(generator))


async def _each(pages: AsyncGenerator[list[T], None]) -> AsyncGenerator[T, None]:
    try:
        async for page in pages:
            for item in page:
                yield item
    finally:
        await pages.aclose()


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
