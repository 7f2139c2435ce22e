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
from itertools import chain, starmap
from typing import NamedTuple

from s3dlio import settings
from s3dlio.errors import S3dlioError
from s3dlio.operations import Gather, Operation, run
from s3dlio.stores import store_for
from s3dlio.stores.base import Store
from s3dlio.transfer.data import BytesLike, as_view
from s3dlio.uri import URI, parse
from s3dlio.workers import for_each

# More threads than this only wait for each other; fewer would leave a network file system idle.
THREADS = min(32, max(8, 2 * (os.cpu_count() or 1)))

_NOT_YET = memoryview(b"")


class Work(NamedTuple):
    """Operations to run, at most `max_in_flight` of either kind at a time, each taken when its turn comes."""

    blocking: Iterator[Operation[None]]
    network: Iterator[Operation[None]]
    max_in_flight: int


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
    blocking: list[tuple[int, Store, URI]] = []
    network: list[tuple[int, Store, URI]] = []
    for place, name in enumerate(names):
        try:
            uri = parse(name)
        except (S3dlioError, TypeError) as error:
            if not return_errors:
                raise
            results[place] = name, error
        else:
            store = store_for(uri.scheme)
            (blocking if store.blocking else network).append((place, store, uri))
    crowded = len(network) >= max_in_flight

    async def get(place: int, store: Store, uri: URI) -> None:
        try:
            results[place] = uri.text, await (store.get_one_of_many(uri) if crowded else store.get(uri))
        except Exception as error:
            if not return_errors:
                raise
            results[place] = uri.text, error

    return Work(starmap(get, blocking), starmap(get, network), max_in_flight), results


def putting(pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int) -> Work:
    """The work of writing many objects. `pairs` is consumed as it goes on; the kind of the first decides by what.

    Raises:
        InvalidURIError, TypeError: the first pair is none; a later one ends the work when its turn comes.
    """
    views = ((parse(uri), as_view(data)) for uri, data in pairs)
    first = next(views, None)
    if first is None:
        return Work(iter(()), iter(()), max_in_flight)

    async def put(uri: URI, data: memoryview) -> None:
        await store_for(uri.scheme).put(uri, data)

    operations = starmap(put, chain([first], views))
    if store_for(first[0].scheme).blocking:
        return Work(operations, iter(()), max_in_flight)
    return Work(iter(()), operations, max_in_flight)


def run_work(work: Work, stopped: threading.Event | None = None) -> None:
    """Do the work in the calling thread, and in others where files are waited for.

    Args:
        work: what to do.
        stopped: set to stop it from outside.
    """
    stopping = stopped or threading.Event()

    def run_blocking(first: Operation[None]) -> None:
        threads = min(work.max_in_flight, THREADS)
        operations = chain([first], work.blocking)
        for_each(operations, lambda operation: run(operation, stopping), threads, stopped=stopping)

    def run_network(first: Operation[None]) -> None:
        with settings.held():
            run(side_by_side(chain([first], work.network), work.max_in_flight), stopping)

    def run_or_stop_the_other(part: tuple[Callable[[Operation[None]], None], Operation[None]]) -> None:
        try:
            part[0](part[1])
        except BaseException:
            stopping.set()
            raise

    begun = ((run_network, next(work.network, None)), (run_blocking, next(work.blocking, None)))
    parts = [(run_part, first) for run_part, first in begun if first is not None]
    if len(parts) == 1:
        run_part, first = parts[0]
        run_part(first)
    elif parts:
        for_each(parts, run_or_stop_the_other, 2, at_once=True, stopped=stopping)


async def side_by_side(operations: Iterable[Operation[None]], limit: int) -> None:
    """One operation that runs others, at most `limit` at a time."""
    await Gather(operations, limit)
