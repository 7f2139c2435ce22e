# SPDX-License-Identifier: Apache-2.0
"""Batches: many objects in one call, any mix of schemes.

Operations of blocking stores run in the calling thread and, where they turn out to wait, in threads that end with the
call. Those of cloud stores are driven side by side by one engine, also in the calling thread. If a batch has both,
the files get a thread of their own. The first failure stops what has not begun and is raised when what was under
way has ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from s3dlio import settings
from s3dlio.errors import S3dlioError
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.run import run
from s3dlio.runtime.threads import for_each
from s3dlio.stores.base import Store, read_into
from s3dlio.transfer.stores import Stores
from s3dlio.types import BytesLike, Progress, as_view
from s3dlio.uri import URI, parse

if TYPE_CHECKING:
    from s3dlio.objects.batched import BatchedRequest, ReadDone

# More threads than this only wait for each other; fewer would leave a network file system idle.
THREADS = min(32, max(8, 2 * (os.cpu_count() or 1)))

_NOT_YET = memoryview(b"")


class Work(NamedTuple):
    """Operations to run, at most `max_in_flight` of either kind at a time, each taken when its turn comes.

    A blocking one is made by the thread that runs it, at once: Ctrl-C in between would leave it made and never run.
    """

    blocking: Iterator[Callable[[], Operation[None]]]
    network: Iterator[Operation[None] | BatchedRequest]
    max_in_flight: int


def work_of(
    blocking: bool, operation: Callable[..., Operation[None]], items: Iterable[tuple[Any, ...]], max_in_flight: int
) -> Work:
    """The work of one operation on many items, all on stores of the same kind.

    Args:
        blocking: whether the stores are blocking ones.
        operation: a coroutine function.
        items: what it is called with, each time.
        max_in_flight: operations at a time.
    """
    if blocking:
        return Work((partial(operation, *item) for item in items), iter(()), max_in_flight)
    return Work(iter(()), starmap(operation, items), max_in_flight)


def getting(
    names: Sequence[str], max_in_flight: int, return_errors: bool
) -> tuple[Work, list[tuple[str, memoryview | Exception]]]:
    """The work of reading many objects, and the list that it fills.

    Args:
        names: URIs.
        max_in_flight: objects at a time.
        return_errors: put an object's error in the place of its bytes; otherwise it ends the work.

    Raises:
        InvalidURIError, TypeError: one of the URIs is none; not with `return_errors`.
    """
    results: list[tuple[str, memoryview | Exception]] = [(name, _NOT_YET) for name in names]

    def put_in(index: int, text: str, result: memoryview | Exception) -> None:
        if return_errors or not isinstance(result, Exception):
            results[index] = text, result
            return
        try:
            raise result
        finally:
            del result  # whose traceback refers to this frame: as garbage the two would keep buffers

    stores = Stores()
    blocking: list[tuple[Store, URI, ReadDone]] = []
    network: list[tuple[Store, URI, ReadDone]] = []
    for index, name in enumerate(names):
        try:
            uri = parse(name)
        except (S3dlioError, TypeError) as error:
            if not return_errors:
                raise
            results[index] = name, error
        else:
            store = stores[uri.scheme]
            (blocking if store.blocking else network).append((store, uri, partial(put_in, index, uri.text)))

    makers = (partial(read_into, *item) for item in blocking)
    work: Iterator[Operation[None] | BatchedRequest]
    if len(network) >= max_in_flight:  # enough objects to keep the network busy: none is split
        work = (store.batched_get(uri, done) for store, uri, done in network)
    else:
        work = starmap(read_into, network)
    return Work(makers, work, max_in_flight), results


def giving(uris: Iterable[str], max_in_flight: int, receive: Callable[[str, memoryview], object]) -> Work:
    """The work of reading many objects and giving each to `receive`, in one thread at a time.

    `uris` is consumed as the work continues; the kind of the first decides whether threads or the engine do the work.

    Args:
        uris: the objects.
        max_in_flight: objects at a time.
        receive: called with the URI and the bytes of each object.

    Raises:
        InvalidURIError, TypeError: one of the first URIs is none; a later one ends the work when its turn comes.
    """
    targets = map(parse, uris)
    first = next(targets, None)
    if first is None:
        return Work(iter(()), iter(()), max_in_flight)
    stores, in_turn = Stores(), threading.Lock()

    def take(text: str, result: memoryview | Exception) -> None:
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                del result  # whose traceback refers to this frame
        with in_turn:
            receive(text, result)

    if stores[first.scheme].blocking:
        every = chain([first], targets)
        makers = (partial(read_into, stores[uri.scheme], uri, partial(take, uri.text)) for uri in every)
        return Work(makers, iter(()), max_in_flight)
    begun = [first, *islice(targets, max_in_flight - 1)]
    crowded = len(begun) == max_in_flight  # enough objects to keep the network busy: none is split
    work: Iterator[Operation[None] | BatchedRequest] = (
        stores[uri.scheme].batched_get(uri, partial(take, uri.text))
        if crowded
        else read_into(stores[uri.scheme], uri, partial(take, uri.text))
        for uri in chain(begun, targets)
    )
    return Work(iter(()), work, max_in_flight)


class _Counter:
    """Counts the objects of a batch that are done and calls `progress` for each, in one thread at a time."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes = self._objects = 0

    def add(self, uri: URI, size: int) -> None:
        """Count an object of `size` bytes."""
        with self._lock:
            self._bytes += size
            self._objects += 1
            self._progress(Progress(uri.text, self._bytes, None, self._objects, None))


def deleting(uris: Iterable[str], max_in_flight: int, progress: Callable[[Progress], None] | None) -> Work:
    """The work of deleting many objects. `uris` is consumed as it continues; the kind of the first decides by what.

    Args:
        uris: the objects.
        max_in_flight: objects at a time.
        progress: called when an object has been deleted.

    Raises:
        InvalidURIError, TypeError: the first URI is none; a later one ends the work when its turn comes.
    """
    targets = map(parse, uris)
    first = next(targets, None)
    if first is None:
        return Work(iter(()), iter(()), max_in_flight)
    stores, counter = Stores(), None if progress is None else _Counter(progress)

    async def delete(uri: URI) -> None:
        await stores[uri.scheme].delete(uri)
        if counter is not None:
            counter.add(uri, 0)

    return work_of(stores[first.scheme].blocking, delete, zip(chain([first], targets)), max_in_flight)


def putting(
    pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int, progress: Callable[[Progress], None] | None = None
) -> Work:
    """The work of writing many objects. `pairs` is consumed as it goes on; the kind of the first decides by what.

    Args:
        pairs: URIs and data.
        max_in_flight: objects at a time.
        progress: called when an object has been written.

    Raises:
        InvalidURIError, TypeError: the first pair is none; a later one ends the work when its turn comes.
    """
    views = ((parse(uri), as_view(data)) for uri, data in pairs)
    first = next(views, None)
    if first is None:
        return Work(iter(()), iter(()), max_in_flight)

    every = chain([first], views)
    stores, counter = Stores(), None if progress is None else _Counter(progress)

    async def put(uri: URI, data: memoryview) -> None:
        await stores[uri.scheme].put(uri, data)
        if counter is not None:
            counter.add(uri, len(data))

    if stores[first[0].scheme].blocking:
        return work_of(True, put, every, max_in_flight)
    work = (
        stores[uri.scheme].batched_put(
            uri, data, _raise if counter is None else partial(_raise_or_count, counter, uri, len(data))
        )
        for uri, data in every
    )
    return Work(iter(()), work, max_in_flight)


def _raise_or_count(counter: _Counter, uri: URI, size: int, error: Exception | None) -> None:
    """End the batch if an object could not be written; count the object otherwise."""
    if error is not None:
        _raise(error)
    counter.add(uri, size)


def _raise(error: Exception | None) -> None:
    """End the batch if an object could not be written."""
    if error is not None:
        try:
            raise error
        finally:
            del error  # whose traceback refers to this frame


def run_work(work: Work, stopped: threading.Event | None = None) -> None:
    """Do the work in the calling thread, and in others where files are waited for.

    Args:
        work: what to do.
        stopped: set to stop it from outside.
    """
    stopping = stopped or threading.Event()

    def run_blocking(first: Callable[[], Operation[None]]) -> None:
        threads = min(work.max_in_flight, THREADS)
        for_each(chain([first], work.blocking), lambda make: run(make(), stopping), threads, stopped=stopping)

    def run_network(first: Operation[None] | BatchedRequest) -> None:
        with settings.held():
            run(side_by_side(chain((first,), work.network), work.max_in_flight), stopping)

    def run_or_stop_the_other(part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException:
            stopping.set()
            raise

    parts: list[Callable[[], None]] = []
    if (for_engine := next(work.network, None)) is not None:
        parts.append(partial(run_network, for_engine))
    if (for_threads := next(work.blocking, None)) is not None:
        parts.append(partial(run_blocking, for_threads))
    if len(parts) == 1:
        parts[0]()
    elif parts:
        for_each(parts, run_or_stop_the_other, 2, at_once=True, stopped=stopping)


async def side_by_side(operations: Iterable[Operation[None] | BatchedRequest], limit: int) -> None:
    """One operation that runs others, at most `limit` at a time."""
    await Gather(operations, limit)
