# SPDX-License-Identifier: Apache-2.0
"""Batches: many objects in one call, of any mix of schemes.

The calling thread works on files, and other threads help if a file system makes it wait; they end with the call. For
object stores an engine in the calling thread drives the requests side by side. If a batch has both kinds, the files get
a thread of their own. After the first failure no object is begun, and the failure is raised when the objects under way
have ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, starmap
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from s3dlio import settings
from s3dlio.errors import S3dlioError
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.run import run
from s3dlio.runtime.threads import for_each
from s3dlio.stores.base import read_into, write_from
from s3dlio.transfer.stores import Stores
from s3dlio.tuning import FILE_THREADS
from s3dlio.types import BytesLike, Progress, as_view
from s3dlio.uri import URI, parse

if TYPE_CHECKING:
    from s3dlio.objects.batched import BatchedRequest

T = TypeVar("T")

_NOT_YET = memoryview(b"")


class Work(NamedTuple):
    """Operations to run, at most `max_in_flight` of either kind at a time. Each is made when its turn comes.

    Attributes:
        blocking: makes operations on files. The thread that runs an operation also makes it, immediately before: Ctrl-C
            between the two would leave a coroutine that never runs.
        network: operations on object stores, and batched requests.
        max_in_flight: operations at a time.
        stores: those that the operations use.
    """

    blocking: Iterator[Callable[[], Operation[None]]]
    network: Iterator[Operation[None] | BatchedRequest]
    max_in_flight: int
    stores: Stores


# Kinds of work...


def getting(
    names: Sequence[str], max_in_flight: int, return_errors: bool
) -> tuple[Work, list[tuple[str, memoryview | Exception]]]:
    """The work of reading many objects, and the list of results that it fills.

    With `return_errors`, the list has the error of an object instead of its bytes; otherwise the error ends the work.

    Raises:
        InvalidURIError, TypeError: one of the URIs is invalid; not with `return_errors`.
    """
    results: list[tuple[str, memoryview | Exception]] = [(name, _NOT_YET) for name in names]

    def put_in(index: int, result: memoryview | Exception) -> None:
        if return_errors or not isinstance(result, Exception):
            results[index] = names[index], result
        else:
            try:
                raise result
            finally:
                del result  # see `_raise`

    stores = Stores()
    blocking: list[tuple[Any, ...]] = []  # the arguments of `read_into`
    network: list[tuple[Any, ...]] = []
    for index, name in enumerate(names):
        try:
            uri = parse(name)
        except (S3dlioError, TypeError) as error:
            if not return_errors:
                raise
            results[index] = name, error
        else:
            store = stores[uri.scheme]
            (blocking if store.blocking else network).append((store, uri, put_in, index))

    work: Iterator[Operation[None] | BatchedRequest]
    if len(network) >= max_in_flight:  # enough objects to keep the network busy: none is split
        work = (store.batched_get(uri, put_in, index) for store, uri, _, index in network)
    else:
        work = starmap(read_into, network)
    return Work((partial(read_into, *item) for item in blocking), work, max_in_flight, stores), results


def giving(uris: Iterable[str], max_in_flight: int, receive: Callable[[str, memoryview], object]) -> Work:
    """The work of reading many objects and giving each, with its URI, to `receive`, in one thread at a time.

    `uris` is consumed while the work proceeds. The first URI decides whether threads or an engine do the work.

    Raises:
        InvalidURIError, TypeError: one of the first URIs is invalid. A later one ends the work when its turn comes.
    """
    first, targets = _peeked(map(parse, uris))
    if first is None:
        return _NO_WORK
    stores, in_turn = Stores(), threading.Lock()

    def take(uri: URI, result: memoryview | Exception) -> None:
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                del result  # see `_raise`
        with in_turn:
            receive(uri.text, result)

    if stores[first.scheme].blocking:
        makers = (partial(read_into, stores[uri.scheme], uri, take, uri) for uri in targets)
        return Work(makers, iter(()), max_in_flight, stores)
    known = list(islice(targets, max_in_flight))
    work: Iterator[Operation[None] | BatchedRequest]
    if len(known) == max_in_flight:  # enough objects to keep the network busy: none is split
        work = (stores[uri.scheme].batched_get(uri, take, uri) for uri in chain(known, targets))
    else:
        work = (read_into(stores[uri.scheme], uri, take, uri) for uri in known)
    return Work(iter(()), work, max_in_flight, stores)


def putting(
    pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int, progress: Callable[[Progress], None] | None = None
) -> Work:
    """The work of writing many objects; `progress` is called when an object has been written.

    `pairs` is consumed while the work proceeds. The first URI decides whether threads or an engine do the work.

    Raises:
        InvalidURIError, TypeError: the first pair is invalid. A later one ends the work when its turn comes.
    """
    first, every = _peeked((parse(uri), as_view(data)) for uri, data in pairs)
    if first is None:
        return _NO_WORK
    stores = Stores()
    written = _raise if progress is None else _Counter(progress).written

    if stores[first[0].scheme].blocking:
        makers = (partial(write_from, stores[pair[0].scheme], *pair, written, pair) for pair in every)
        return Work(makers, iter(()), max_in_flight, stores)
    work = (stores[uri.scheme].batched_put(uri, data, written, (uri, data)) for uri, data in every)
    return Work(iter(()), work, max_in_flight, stores)


def deleting(uris: Iterable[str], max_in_flight: int, progress: Callable[[Progress], None] | None) -> Work:
    """The work of deleting many objects; `progress` is called when an object has been deleted.

    `uris` is consumed while the work proceeds. The first URI decides whether threads or an engine do the work.

    Raises:
        InvalidURIError, TypeError: the first URI is invalid. A later one ends the work when its turn comes.
    """
    first, targets = _peeked(map(parse, uris))
    if first is None:
        return _NO_WORK
    stores, counter = Stores(), None if progress is None else _Counter(progress)

    async def delete(uri: URI) -> None:
        await stores[uri.scheme].delete(uri)
        if counter is not None:
            counter.add(uri, 0)

    if stores[first.scheme].blocking:
        return Work((partial(delete, uri) for uri in targets), iter(()), max_in_flight, stores)
    return Work(iter(()), map(delete, targets), max_in_flight, stores)


_NO_WORK = Work(iter(()), iter(()), 1, Stores())


class _Counter:
    """Counts the objects of a batch that are done, and calls `progress` for each, in one thread at a time."""

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

    def written(self, pair: tuple[URI, memoryview], error: Exception | None) -> None:
        """Count an object that has been written, or end the batch with its error."""
        if error is None:
            self.add(pair[0], len(pair[1]))
        else:
            try:
                raise error
            finally:
                del error  # see `_raise`


def _peeked(items: Iterable[T]) -> tuple[T | None, Iterator[T]]:
    """Return the first item, or None if `items` is empty, and an iterator over all items."""
    rest = iter(items)
    for first in rest:
        return first, chain([first], rest)
    return None, rest


def _raise(_: object, error: Exception | None) -> None:
    """End the batch if an object could not be written."""
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame; the cycle would keep buffers until the collector runs


# Doing it...


def run_work(work: Work, stopped: threading.Event | None = None) -> None:
    """Do the work in the calling thread, and in other threads if a file system makes it wait; `stopped` ends it."""
    stopping = stopped or threading.Event()

    def run_blocking(first: Callable[[], Operation[None]]) -> None:
        threads = min(work.max_in_flight, FILE_THREADS)
        for_each(chain([first], work.blocking), lambda make: run(make(), stopping), threads, stopped=stopping)

    def run_network(first: Operation[None] | BatchedRequest) -> None:
        with settings.held(work.stores.settings):
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
    """An operation that runs others, at most `limit` at a time."""
    await Gather(operations, limit)
