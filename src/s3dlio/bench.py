# SPDX-License-Identifier: Apache-2.0
"""Measures an endpoint: writes objects, reads them, lists them and deletes them, with so many in flight.

Each step is one batch, driven as `put_many` and `get_many` drive theirs, with a clock around every object. Between the
reading and the listing all objects are read once more, not timed, and compared byte for byte with what was written.
Everything lies below one prefix with a random name, which is removed in the end whatever happens.

Under `mpirun` every rank works on objects of its own, below a prefix of its own. The ranks begin each step together,
and after a step in which one has failed none goes on, so that each removes what it wrote; rank 0 adds up.
"""

from __future__ import annotations

import os
import random
import resource
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from s3dlio import api
from s3dlio.errors import ConfigurationError, IntegrityError, S3dlioError
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation
from s3dlio.transfer import batch
from s3dlio.transfer.stores import store_for
from s3dlio.uri import URI, parse

PREFIX = "s3dlio-bench-"
_SHIFTS = 4096
# By which an MPI library tells a process how many there are: Open MPI, and MPICH and its relatives.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LATE, _PAUSE = 4, 0.25  # how often, and after how many seconds, a failed run looks again for what it wrote
_POLL = 0.0005  # seconds between two looks at whether the other ranks have come


class Step(NamedTuple):
    """What one step came to, of one rank or of all.

    Attributes:
        operation: put, get, list or delete.
        objects: how many.
        bytes: how many were moved; 0 for list and delete.
        seconds: wall clock; of several ranks the longest.
        cpu: user and system seconds of this process, or of all.
        latencies: seconds of each request for an object; of the whole call for list.
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
        """The figures with their units, for JSON."""
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


class Ranks:
    """The processes that measure together; one, unless this is one of several that `mpirun` has started.

    Attributes:
        rank: this one's number, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self._all: Any = None
        if max(int(os.environ.get(name) or 1) for name in _SIZES) > 1:
            try:
                from mpi4py import MPI
            except ImportError as error:
                raise ConfigurationError(
                    f"this is one of several MPI ranks, but mpi4py cannot be imported ({error}): pip install mpi4py"
                ) from None
            self._all = MPI.COMM_WORLD
            self.rank, self.size = self._all.rank, self._all.size

    def together(self, value: Any) -> list[Any]:
        """Wait for all ranks; gives what each has brought. Ctrl-C is heard while waiting."""
        if self._all is None:
            return [value]
        come = self._all.Ibarrier()
        while not come.Test():
            time.sleep(_POLL)
        found: list[Any] = self._all.allgather(value)
        return found


def measure(
    uri: str, size: int, objects: int, max_in_flight: int, ranks: Ranks, report: Callable[[Step], None]
) -> list[Step]:
    """Measure an endpoint.

    Args:
        uri: a folder; what is written goes below a prefix of its own in there, which is removed in the end.
        size: bytes of an object.
        objects: how many, for each rank.
        max_in_flight: objects at a time, for each rank.
        ranks: those that take part.
        report: called with each step when it has ended, the sum of all ranks.

    Returns:
        The steps, as reported.

    Raises:
        S3dlioError: the first error of this rank, or that another one has failed.
        IntegrityError: what was read is not what was written.
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
        for _ in range(_LATE):
            # The server may still be carrying out requests that were cut off.
            time.sleep(_PAUSE)
            work.remove()
        raise
    work.remove()
    return steps


def _one_step(step: Callable[[], Step | None], ranks: Ranks) -> list[Step | None]:
    """The step, with all ranks at a time; what each of them has measured.

    Raises:
        S3dlioError: another rank has failed. Its own error a rank raises as it is.
    """
    ranks.together(None)
    failed: BaseException | None = None
    done: Step | None = None
    try:
        done = step()
    except BaseException as error:
        failed = error
    outcomes = ranks.together((done, repr(failed) if failed else ""))
    if failed:
        raise failed
    for rank, (_, why) in enumerate(outcomes):
        if why:
            raise S3dlioError(f"rank {rank} has failed: {why}")
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


def _check(result: memoryview | Exception) -> None:
    if isinstance(result, Exception):
        raise result


class _Objects:
    """The objects of one rank. No two in a row have the same content, yet the content of all is one piece of memory."""

    def __init__(self, folder: str, size: int, count: int, max_in_flight: int) -> None:
        self._folder = folder
        self._size = size
        self._names = [f"{folder}{number:08d}" for number in range(count)]
        self._uris = [parse(name) for name in self._names]
        self._store = store_for(self._uris[0].scheme)
        self._max_in_flight = max_in_flight
        self._content = memoryview(random.Random(size).randbytes(size + _SHIFTS))

    def put(self) -> Step:
        """Write all."""

        async def put(number: int, uri: URI) -> None:
            await self._store.put(uri, self._data(number))

        return self._timed("put", self._size, put)

    def get(self) -> Step:
        """Read all, each dropped at once."""
        # As get_many does: an object is split only where connections would be idle.
        crowded = len(self._uris) >= self._max_in_flight

        async def get(_: int, uri: URI) -> None:
            if crowded:
                await Gather([self._store.batched_get(uri, _check)], 1)
            else:
                await self._store.get(uri)

        return self._timed("get", self._size, get)

    def verify(self) -> None:
        """Read all once more and compare."""
        for number, (uri, data) in enumerate(api.get_many_iter(self._names, self._max_in_flight)):
            if data != self._data(number):
                raise IntegrityError(f"{uri} does not hold the {self._size} bytes that were written to it", uri=uri)

    def list(self) -> Step:
        """List them."""
        before, began = _cpu(), time.perf_counter()
        found = api.list_objects(self._folder, recursive=True)
        seconds, cpu = time.perf_counter() - began, _cpu() - before
        if found != self._names:
            raise IntegrityError(
                f"listing {self._folder} gives {len(found)} objects, {len(self._names)} were written",
                uri=self._folder,
            )
        return Step("list", len(found), 0, seconds, cpu, [seconds])

    def delete(self) -> Step:
        """Delete them one by one."""

        async def delete(_: int, uri: URI) -> None:
            await self._store.delete(uri)

        return self._timed("delete", 0, delete)

    def remove(self) -> None:
        """Remove whatever there is."""
        api.delete(self._folder, recursive=True)

    def _data(self, number: int) -> memoryview:
        start = number % _SHIFTS
        return self._content[start : start + self._size]

    def _timed(self, name: str, size: int, one: Callable[[int, URI], Operation[None]]) -> Step:
        latencies: list[float] = []

        async def timed(number: int, uri: URI) -> None:
            started = time.perf_counter()
            await one(number, uri)
            latencies.append(time.perf_counter() - started)

        work = batch.work_of(self._store.blocking, timed, enumerate(self._uris), self._max_in_flight)
        before, began = _cpu(), time.perf_counter()
        batch.run_work(work)
        seconds, cpu = time.perf_counter() - began, _cpu() - before
        return Step(name, len(self._uris), len(self._uris) * size, seconds, cpu, latencies)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
