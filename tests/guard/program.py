# SPDX-License-Identifier: Apache-2.0
"""The program whose costs are counted: `python -m tests.guard.program FOLDER GETS PUTS`.

The program uses every hot path a few times, so that everything is loaded, connected and cached, then for `COUNT`
objects, then for twice as many. A mark that both tools see (a library function and a system call that nothing else here
uses) stands before each of the two parts and after the last. The tools take the difference of the two parts, in which
the fixed cost of a call has no share.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable

import s3dlio
from s3dlio.runtime import engine
from s3dlio.runtime.poller import Poller

COUNT = 25
FIRST = 3  # times, of as many objects as it takes to know how their answers look (`http.head_patterns`)
IN_FLIGHT = 8
SMALL = 4096
KEYS = 250  # in the page that is listed

# Path -> by how many objects, or keys, its two parts differ. The order is that of the counts.
PATHS = {
    "get": COUNT,
    "get_many": COUNT,
    "get_many_iter": COUNT,
    "get_range": COUNT,
    "put_bytes": COUNT,
    "put_many": COUNT,
    "list": KEYS,
    "file get": COUNT,
    "file stat": COUNT,
    "file put": COUNT,
}
_PAUSE = 0.01  # seconds
# Paths with several objects in flight, whose cost depends on how many answers each poll finds.
SEVERAL = frozenset({"get_many", "get_many_iter", "put_many"})
MARK = "sched_get_priority_max"


def paths(folder: str) -> dict[str, Callable[[int], object]]:
    """Each hot path as a function of how many objects."""
    uris = [f"s3://bucket/{number:03}" for number in range(2 * COUNT)]
    data = bytes(SMALL)
    file = f"file://{folder}/small"

    def put_each(targets: list[str]) -> None:
        for uri in targets:
            s3dlio.put_bytes(uri, data)

    return {
        "get": lambda count: [s3dlio.get(uri) for uri in uris[:count]],
        "get_many": lambda count: s3dlio.get_many(uris[:count], IN_FLIGHT),
        "get_many_iter": lambda count: list(s3dlio.get_many_iter(uris[:count], IN_FLIGHT)),
        "get_range": lambda count: [s3dlio.get_range(uri, 1024, 1024) for uri in uris[:count]],
        "put_bytes": lambda count: put_each(uris[:count]),
        "put_many": lambda count: s3dlio.put_many(((uri, data) for uri in uris[:count]), IN_FLIGHT),
        "list": lambda count: [s3dlio.list("s3://listing/") for _ in range(count // COUNT)],
        "file get": lambda count: [s3dlio.get(file) for _ in range(count)],
        "file stat": lambda count: [s3dlio.stat(file) for _ in range(count)],
        "file put": lambda count: put_each([f"file://{folder}/put"] * count),
    }


def _mark() -> None:
    os.getloadavg()
    os.sched_get_priority_max(os.SCHED_OTHER)


class _Patient(Poller):
    """Lets the server answer everything that it has been asked, so that a poll finds all of it.

    How many answers each poll finds would otherwise be up to how busy the machine is: with half of them it takes
    6 % more instructions an object, with one at a time 45 %.
    """

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        time.sleep(_PAUSE)
        return super().poll(timeout)


def main(folder: str, gets: str, puts: str) -> None:
    """Use every path. The clock stands still, and no garbage is collected: neither is a cost of one path."""
    gc.disable()
    now = time.time()
    time.time = lambda: now
    sys.setswitchinterval(60)  # seconds: threads take turns where they wait, not where a busy machine has brought them
    known = paths(folder)
    for name in PATHS:
        os.environ["AWS_ENDPOINT_URL"] = puts if name.startswith("put") else gets
        engine.Poller = _Patient if name in SEVERAL else Poller  # type: ignore[attr-defined]
        use = known[name]
        for _ in range(FIRST):
            use(2 * COUNT)
        _mark()
        use(COUNT)
        _mark()
        use(2 * COUNT)
        _mark()


if __name__ == "__main__":
    main(*sys.argv[1:])
