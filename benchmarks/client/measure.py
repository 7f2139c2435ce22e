# SPDX-License-Identifier: Apache-2.0
"""Measures one client at one job: first a checked pass, which is not timed, then the timed part.

CPU time is that of the whole process, including the threads of a runtime, and of the processes that it has started.
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
    """Do the whole job once and compare every byte that was read. Afterward, connections, caches and buffers are warm.

    The harness compares objects that were written, on the server. Checkpoints of gigabytes are written only once, in
    the timed part.

    Raises:
        SystemExit: bytes are wrong or missing.
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
        if isinstance(result, int):  # the floor only counts keys
            return expected if result == job["keys"] else -result
        names = sorted(name.rpartition("/")[2] for name in result)
        return zlib.crc32("\n".join(names).encode())
    if isinstance(result, int):  # the worker of a DataLoader returns only the length
        return expected if result == job["sizes"][0] else -result
    return zlib.crc32(result)


def _items(job: Job) -> list[Item]:
    return list(job["ranges"]) if job["operation"] == "range" else list(job["objects"])


def _name(item: Item) -> str:
    return item if isinstance(item, str) else f"{item[0]}@{item[1]}"


def timed(job: Job, run: Runner) -> dict[str, float]:
    """Do the job for the time, or the number of calls, that it asks for, and measure."""
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
    """Counts results and drops each at once. Appending is atomic, so any thread may call the methods."""

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
    """Measure calls that take microseconds: the best of many tries, since other load on the machine only adds time."""
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
    """The user and system time of this process and of all processes that it has started, in seconds."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = own.ru_utime + ended.ru_utime, own.ru_stime + ended.ru_stime
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except FileNotFoundError:
            continue  # the thread has ended
        for child in children:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11]) / _TICK
            system += int(fields[12]) / _TICK
    return user, system


def _peak() -> int:
    """The peak of resident memory, in KiB. Unlike the value of getrusage, it does not include that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def in_child(job: Job, make: Callable[[Job], Runner]) -> Callable[[], dict[str, float]]:
    """Use the client, fork, and do the checked pass in the child, as in a DataLoader's worker. Returns the timed part.

    The child waits for a byte, does the timed part, and answers with its figures.
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
