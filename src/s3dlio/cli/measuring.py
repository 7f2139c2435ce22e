# SPDX-License-Identifier: Apache-2.0
"""The measurement of `s3dlio bench`: writes objects, reads them, lists them and deletes them.

Each step is one call of the public API, with a clock for each object (`_Clock`): `put_many`, `get_each`, `list` and
`delete_many`. Between reading and listing, all objects are read again, not timed, and compared byte for byte with what
was written. All objects lie below one folder with a random name, which is removed at the end, after an error as well.

Under `mpirun` every rank works on its own objects, below its own folder. The ranks begin each step together. After a
step in which one of them failed, none begins the next, and each removes its objects. Rank 0 reports the sums.
"""

from __future__ import annotations

import random
import resource
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import s3dlio
from s3dlio.cli.mpi import Ranks
from s3dlio.errors import IntegrityError, S3dlioError

PREFIX = "s3dlio-bench-"
_SHIFTS = 4096
# After a failure the server may still be carrying out requests, so the removal is repeated.
_REMOVALS, _PAUSE = 4, 0.25  # times, seconds
_CHECK = "check whether another program changes the folder"


class Step(NamedTuple):
    """The figures of one step, of one rank or of all.

    Attributes:
        operation: put, get, list or delete.
        objects: number of objects.
        bytes: bytes moved; 0 for list and delete.
        seconds: wall-clock time; of several ranks the longest.
        cpu: user and system time of this process, or of all ranks, in seconds.
        latencies: seconds for each object; for list, those of the whole call.
    """

    operation: str
    objects: int
    bytes: int
    seconds: float
    cpu: float
    latencies: list[float]

    def latency(self, fraction: float) -> float:
        """The time within which this fraction of the objects was done, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]

    def facts(self) -> dict[str, Any]:
        """The figures by names with units, for JSON."""
        return {
            "operation": self.operation,
            "objects": self.objects,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "bytes_per_second": self.bytes / self.seconds,
            "objects_per_second": self.objects / self.seconds,
            "latency_p50_seconds": self.latency(0.5),
            "latency_p99_seconds": self.latency(0.99),
            "cpu_seconds": self.cpu,
            "cpu_seconds_per_object": self.cpu / self.objects,
            "bytes_per_cpu_second": self.bytes / self.cpu if self.cpu else None,
        }


def measure(
    uri: str, size: int, objects: int, max_in_flight: int, ranks: Ranks, report: Callable[[Step], None]
) -> list[Step]:
    """Measure an endpoint.

    Args:
        uri: a folder. The objects lie in a new folder below it, which is removed at the end.
        size: bytes of an object.
        objects: number of objects, for each rank.
        max_in_flight: objects at a time, for each rank.
        ranks: the processes that measure together.
        report: called after each step with the sum of all ranks.

    Returns:
        The steps, as reported.

    Raises:
        S3dlioError: the first error of this rank, or an error that says which other rank failed.
        IntegrityError: an object does not hold what was written to it, or the listing does not have every object.
    """
    folder = f"{uri.rstrip('/')}/{PREFIX}{uuid.uuid4().hex}/"
    work = _Objects(folder, size, objects, max_in_flight)
    steps = []
    try:
        for one in (work.put, work.get, work.verify, work.list, work.delete):
            outcomes = _one_step(one, ranks)
            if outcomes[0] is not None:
                steps.append(_sum(outcomes))
                report(steps[-1])
    except BaseException:
        work.remove()
        for _ in range(_REMOVALS):
            time.sleep(_PAUSE)
            work.remove()
        raise
    work.remove()
    return steps


def _one_step(step: Callable[[], Step | None], ranks: Ranks) -> list[Step | None]:
    """Run a step, together with all ranks, and return the figures of each.

    Raises:
        S3dlioError: another rank failed. A rank that failed raises its own error unchanged.
    """
    ranks.gather(None)
    failed: BaseException | None = None
    done: Step | None = None
    try:
        done = step()
    except BaseException as error:
        failed = error
    outcomes = ranks.gather((done, repr(failed) if failed else ""))
    if failed:
        raise failed
    for rank, (_, why) in enumerate(outcomes):
        if why:
            raise S3dlioError(f"rank {rank} failed: {why}")
    return [found for found, _ in outcomes]


def _sum(outcomes: list[Step | None]) -> Step:
    found = [one for one in outcomes if one is not None]
    return Step(
        found[0].operation,
        sum(one.objects for one in found),
        sum(one.bytes for one in found),
        max(one.seconds for one in found),
        sum(one.cpu for one in found),
        [latency for one in found for latency in one.latencies],
    )


class _Clock:
    """Times each object of a call: from the moment when the call takes its name until it reports the object as done."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self._began: dict[str, float] = {}

    def begin(self, names: Iterable[str]) -> Iterator[str]:
        """The names, each of whose clocks starts when it is taken."""
        for name in names:
            self._began[name] = time.perf_counter()
            yield name

    def end(self, name: str) -> None:
        """Stop the clock of an object."""
        self.latencies.append(time.perf_counter() - self._began.pop(name))


class _Objects:
    """The objects of one rank.

    Neighbors differ in content, although all contents are slices of one piece of memory: each begins a byte later.
    """

    def __init__(self, folder: str, size: int, count: int, max_in_flight: int) -> None:
        self._folder = folder
        self._size = size
        self._names = [f"{folder}{number:08d}" for number in range(count)]
        self._max_in_flight = max_in_flight
        self._content = memoryview(random.Random(size).randbytes(size + _SHIFTS))

    def put(self) -> Step:
        """Write all objects."""
        clock = _Clock()
        pairs = ((name, self._data(number)) for number, name in enumerate(clock.begin(self._names)))
        return self._timed(
            "put",
            self._size,
            clock,
            lambda: s3dlio.put_many(pairs, self._max_in_flight, progress=lambda step: clock.end(step.uri)),
        )

    def get(self) -> Step:
        """Read all objects, and drop each at once."""
        clock = _Clock()
        names = clock.begin(self._names)
        return self._timed(
            "get",
            self._size,
            clock,
            lambda: s3dlio.get_each(names, lambda name, _: clock.end(name), self._max_in_flight),
        )

    def verify(self) -> None:
        """Read all objects again and compare them with what was written."""
        for number, (uri, data) in enumerate(s3dlio.get_many_iter(self._names, self._max_in_flight)):
            if data != self._data(number):
                raise IntegrityError(
                    f"{uri} does not hold the {self._size} bytes that were written to it; {_CHECK}", uri=uri
                )

    def list(self) -> Step:
        """List all objects."""
        before, began = _cpu(), time.perf_counter()
        found = s3dlio.list(self._folder, recursive=True)
        seconds, cpu = time.perf_counter() - began, _cpu() - before
        if found != self._names:
            raise IntegrityError(
                f"{self._folder}: the listing has {len(found)} objects, but {len(self._names)} were written; {_CHECK}",
                uri=self._folder,
            )
        return Step("list", len(found), 0, seconds, cpu, [seconds])

    def delete(self) -> Step:
        """Delete all objects, by one request each."""
        clock = _Clock()
        names = clock.begin(self._names)
        return self._timed(
            "delete",
            0,
            clock,
            lambda: s3dlio.delete_many(names, self._max_in_flight, progress=lambda step: clock.end(step.uri)),
        )

    def remove(self) -> None:
        """Delete the folder and all objects that are still in it."""
        s3dlio.delete(self._folder, recursive=True)

    def _data(self, number: int) -> memoryview:
        start = number % _SHIFTS
        return self._content[start : start + self._size]

    def _timed(self, operation: str, size: int, clock: _Clock, call: Callable[[], None]) -> Step:
        before, began = _cpu(), time.perf_counter()
        call()
        seconds, cpu = time.perf_counter() - began, _cpu() - before
        return Step(operation, len(self._names), len(self._names) * size, seconds, cpu, clock.latencies)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
