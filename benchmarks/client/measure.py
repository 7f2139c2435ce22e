# SPDX-License-Identifier: Apache-2.0
"""One client doing one job: a pass that is checked and not timed, then the timed part.

CPU time is that of the whole process, threads of a runtime included, and of the processes it has started.
"""

from __future__ import annotations

import os
import resource
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import cycle, islice, takewhile
from pathlib import Path
from typing import Any

from benchmarks.client.work import Item, Job, Runner

_TICK = os.sysconf("SC_CLK_TCK")


def checked_pass(job: Job, run: Runner) -> None:
    """Do everything once: connections, caches and buffers are there afterwards, and every byte has been compared.

    Raises:
        SystemExit: wrong bytes, or not all of them. What was written is compared by the harness, where it lies; what
            takes gigabytes is written once only.
    """
    if job["operation"] == "write":
        return
    items = _items(job)
    wanted = {_name(item): expected for item, expected in zip(items, job["objects"].values(), strict=True)}
    found: dict[str, int] = {}
    run(
        iter(items), lambda item, result: found.__setitem__(_name(item), _fingerprint(job, result, wanted[_name(item)]))
    )
    if found != wanted:
        wrong = [name for name, expected in wanted.items() if found.get(name) != expected]
        raise SystemExit(f"wrong bytes in {len(wanted) - len(found) or len(wrong)} objects, the first {wrong[0]}")


def _fingerprint(job: Job, result: Any, expected: int) -> int:
    if job["operation"] in ("put", "write", "stat"):
        return expected
    if job["operation"] == "list":
        if isinstance(result, int):  # the floor counts only
            return expected if result == job["keys"] else -result
        names = sorted(name.rpartition("/")[2] for name in result)
        return zlib.crc32("\n".join(names).encode())
    if isinstance(result, int):  # a loader's worker has dropped the bytes
        return expected if result == job["sizes"][0] else -result
    return zlib.crc32(result)


def _items(job: Job) -> list[Item]:
    return list(job["ranges"]) if job["operation"] == "range" else list(job["objects"])


def _name(item: Item) -> str:
    return item if isinstance(item, str) else f"{item[0]}@{item[1]}"


def timed(job: Job, run: Runner) -> dict[str, float]:
    """Do it again for as long, or as often, as the job says, and measure."""
    items = _items(job)
    tally = _Tally()
    before = _cpu()
    began = time.perf_counter()
    deadline = began + job["seconds"]
    again: Iterator[Item] = islice(cycle(items), job["count"]) if job["count"] else _until(deadline, items)
    run(again, tally.lengths if job["operation"] != "list" else tally.counts)
    seconds = time.perf_counter() - began
    user, system = (after - earlier for after, earlier in zip(_cpu(), before, strict=True))
    writes = tally.seen * job["size"]
    return {
        "seconds": seconds,
        "user": user,
        "system": system,
        "bytes": {"list": 0, "put": writes, "write": writes}.get(job["operation"], tally.total),
        "objects": tally.seen if job["operation"] != "list" else tally.total,
        "calls": tally.seen,
        "peak_mib": _peak() / 1024,
    }


def _until(deadline: float, items: list[Item]) -> Iterator[Item]:
    clock = time.perf_counter
    return takewhile(lambda _: clock() < deadline, cycle(items))


class _Tally:
    """What came; each result is let go of at once. Appending is atomic, so any thread may call."""

    def __init__(self) -> None:
        self._lengths: list[int] = []

    def lengths(self, _: Item, result: Any) -> None:
        self._lengths.append(result if isinstance(result, int) else len(result) if hasattr(result, "__len__") else 0)

    def counts(self, _: Item, result: Any) -> None:
        if isinstance(result, int):
            self._lengths.append(result)
        else:
            self._lengths.append(len(result) if hasattr(result, "__len__") else sum(1 for _ in result))

    @property
    def total(self) -> int:
        return sum(self._lengths)

    @property
    def seen(self) -> int:
        return len(self._lengths)


def tries(job: Job, run: Runner) -> dict[str, float]:
    """For calls of microseconds: the best of a number of tries, since what else the machine does only adds."""
    items = _items(job)
    calls = job["count"]
    best = float("inf")
    deadline = time.perf_counter() + job["seconds"]
    before = _cpu()
    began = time.perf_counter()
    done = 0
    while not done or time.perf_counter() < deadline:
        some = islice(cycle(items), calls)
        started = time.perf_counter()
        run(some, _drop)
        best = min(best, time.perf_counter() - started)
        done += calls
    user, system = (after - earlier for after, earlier in zip(_cpu(), before, strict=True))
    size = job["sizes"][0]
    return {
        "seconds": time.perf_counter() - began,
        "user": user,
        "system": system,
        "bytes": done * size,
        "objects": done,
        "calls": done,
        "best_us": best / calls * 1e6,
        "peak_mib": _peak() / 1024,
    }


def _drop(_: Item, result: Any) -> None:
    pass


def _cpu() -> tuple[float, float]:
    """User and system seconds of this process and of those it has started, ended or not."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = own.ru_utime + ended.ru_utime, own.ru_stime + ended.ru_stime
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except FileNotFoundError:
            continue  # a thread that has ended since
        for child in children:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11]) / _TICK
            system += int(fields[12]) / _TICK
    return user, system


def _peak() -> int:
    """The most memory that was resident, in KiB; of this program alone, unlike what getrusage keeps from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def in_child(job: Job, make: Callable[[Job], Runner]) -> Callable[[], dict[str, float]]:
    """Use the client, fork, and get ready in the child: what a DataLoader's worker does. Returns the timed part.

    The child waits for a byte, measures, and answers with its figures.
    """
    import json

    checked_pass(job, make(job))
    to_child, from_child = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            run = make(job)
            checked_pass(job, run)
            os.write(from_child[1], b"\n")
            os.read(to_child[0], 1)
            os.write(from_child[1], json.dumps(timed(job, run)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(from_child[1])
    answers = os.fdopen(from_child[0])
    if answers.readline() != "\n":
        raise SystemExit("the forked child ended without an answer")

    def measure() -> dict[str, float]:
        os.write(to_child[1], b"\n")
        text = answers.read()
        os.waitpid(child, 0)
        if not text:
            raise SystemExit("the forked child ended without an answer")
        figures: dict[str, float] = json.loads(text)
        return figures

    return measure
