"""Batches: many objects in one call, any mix of schemes.

Operations of blocking stores run in the calling thread and, where they turn out slow, in threads that end with the
call. The first failure stops what has not begun, lets what is under way end, and is raised.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence

from s3dlio.operations import run
from s3dlio.stores import store_for
from s3dlio.uri import URI
from s3dlio.workers import for_each

# More threads than this only wait for each other; fewer would leave a network file system idle.
THREADS = min(32, max(8, 2 * (os.cpu_count() or 1)))


def get_each(
    uris: Sequence[URI],
    max_in_flight: int,
    deliver: Callable[[int, memoryview | Exception], None],
    stopped: threading.Event | None = None,
) -> None:
    """Read every object.

    Args:
        uris: the objects.
        max_in_flight: objects at a time.
        deliver: called with an object's place in `uris` and its bytes, or the error in their stead, from any of the
            threads. What it raises stops the batch.
        stopped: set to stop the batch from outside.
    """
    stopping = stopped or threading.Event()

    def get(place: int) -> None:
        uri = uris[place]
        result: memoryview | Exception
        try:
            result = run(store_for(uri.scheme).get(uri), stopping)
        except Exception as error:
            result = error
        deliver(place, result)

    for_each(range(len(uris)), get, min(max_in_flight, THREADS), stopped=stopping)


def put_each(
    pairs: Iterable[tuple[URI, memoryview]], max_in_flight: int, stopped: threading.Event | None = None
) -> None:
    """Write every object. `pairs` is consumed as the writing goes on."""
    stopping = stopped or threading.Event()

    def put(pair: tuple[URI, memoryview]) -> None:
        uri, data = pair
        run(store_for(uri.scheme).put(uri, data), stopping)

    for_each(pairs, put, min(max_in_flight, THREADS), stopped=stopping)
