# SPDX-License-Identifier: Apache-2.0
"""Several endpoints of one service: which one the next request goes to.

An endpoint that refuses, times out, breaks off or says 503 is left alone for a while that doubles with each failure
in a row, up to half a minute; its requests go to the others. When the while is over it gets one request, and once that
is answered its share again. With no healthy endpoint left, the one whose while ends first is tried: being wrong about
all is worse than asking.

Processes of one job start at different endpoints, by their MPI rank and worker number, so that the first requests of
hundreds of ranks do not all hit the same one.

What is exchanged with each is added up in `traffic`, by URL, for as long as the process lives.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections.abc import Sequence

from s3dlio.http.address import Address

_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0

_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "RANK")


class Traffic:
    """What this process has exchanged with an endpoint. A forked child goes on from its parent's numbers.

    Attributes:
        requests: tries, answered or not.
        bytes: of bodies, in both directions; of a body that was cut off, those that came.
    """

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0


# By the URL of the endpoint.
traffic: dict[str, Traffic] = {}


class Endpoint:
    """One endpoint and how it fares.

    Attributes:
        address: where it is.
        path: path before the container's, without a final "/".
        in_flight: requests that are with it now.
        traffic: what this process has exchanged with it.
    """

    __slots__ = ("_failures", "_rested_at", "address", "in_flight", "path", "traffic")

    def __init__(self, address: Address, path: str = "") -> None:
        self.address = address
        self.path = path
        self.in_flight = 0
        self.traffic = traffic.setdefault(address.url, Traffic())
        self._failures = 0
        self._rested_at = 0.0

    def worked(self) -> None:
        """It answered: it is healthy."""
        if self._failures:
            self._failures = 0
            self._rested_at = 0.0

    def failed(self) -> None:
        """It did not answer, or said that it cannot: leave it alone for a while."""
        now = time.monotonic()
        if now >= self._rested_at:  # not for each of the requests that failed together
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
            self._failures += 1
            self._rested_at = now + pause * random.uniform(0.75, 1.0)

    def is_healthy(self, now: float) -> bool:
        """Whether it may be given another request: it has not failed lately, or is to be tried with a single one."""
        return not self._failures or (now >= self._rested_at and not self.in_flight)

    @property
    def rested_at(self) -> float:
        """When it may be used again, on the monotonic clock; in the past if it is healthy."""
        return self._rested_at


class Endpoints:
    """The endpoints of a service."""

    def __init__(self, endpoints: Sequence[Endpoint], strategy: str = "round_robin") -> None:
        """
        Args:
            endpoints: at least one.
            strategy: "round_robin", or "least_connections": the one with the fewest requests in flight.
        """
        self.all = tuple(endpoints)
        self._least = strategy == "least_connections"
        self._turn = itertools.count(place_in_job())

    def choose(self, avoid: Endpoint | None = None) -> Endpoint:
        """The endpoint for the next request.

        Args:
            avoid: the one that has just failed this request; another is chosen if there is a healthy one.
        """
        every = self.all
        if len(every) == 1:
            return every[0]
        now = time.monotonic()
        healthy = [endpoint for endpoint in every if endpoint is not avoid and endpoint.is_healthy(now)]
        if not healthy:
            return min(every, key=lambda endpoint: endpoint.rested_at)
        turn = next(self._turn)
        if self._least:
            fewest = min(endpoint.in_flight for endpoint in healthy)
            healthy = [endpoint for endpoint in healthy if endpoint.in_flight == fewest]
        return healthy[turn % len(healthy)]

    def others_healthy(self, failed: Endpoint) -> bool:
        """Whether one of the endpoints beside the one that failed is healthy."""
        if len(self.all) == 1:
            return False
        now = time.monotonic()
        return any(endpoint is not failed and endpoint.is_healthy(now) for endpoint in self.all)


def place_in_job() -> int:
    """A number that differs between the processes of a job: its MPI rank and the number of a worker process.

    Where there is neither, the process id: children of a plain fork follow each other.
    """
    rank = next((int(text) for name in _RANK_VARIABLES if (text := os.environ.get(name, "")).isdecimal()), None)
    processes = sys.modules.get("multiprocessing.process")
    identity = processes.current_process()._identity if processes is not None else ()
    if rank is None and not identity:
        return os.getpid()
    return (rank or 0) + (identity[-1] if identity else 0)
