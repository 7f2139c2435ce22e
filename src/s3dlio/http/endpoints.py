# SPDX-License-Identifier: Apache-2.0
"""Several endpoints of one service: which one the next request goes to.

Strategy. Requests are spread over the healthy endpoints, in turn or to the one with the fewest requests in flight. An
endpoint that refuses, times out, breaks off or answers 503 rests: for half a second at first, for twice as long after
each further failure, up to half a minute. Then it gets a single request, and after an answer its share again. If no
endpoint is healthy, the one whose rest ends first gets the request: trying it costs less than failing without a try.

The first request goes to an endpoint that the caller names by number. The processes of a job name different ones, so
that the first requests of hundreds of ranks do not all go to the same endpoint.

`traffic` adds up requests and bytes by the URL of the endpoint, from the start of the process to its end.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence

from s3dlio.http.address import Address

_FIRST_REST = 0.5  # seconds
_LONGEST_REST = 30.0


class Traffic:
    """What this process has exchanged with an endpoint. A forked child continues from its parent's numbers.

    Attributes:
        requests: tries, answered or not.
        bytes: bytes of bodies in both directions. Of a body that was cut off, only the received part counts.
    """

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0


# By the URL of the endpoint.
traffic: dict[str, Traffic] = {}


class Endpoint:
    """An endpoint and its health.

    Attributes:
        address: the server.
        path: the path before the container's, without a final "/".
        in_flight: how many requests await an answer from this endpoint.
        traffic: what this process has exchanged with the endpoint.
        rested_at: when the rest after the last failure ends, on the monotonic clock; in the past for a healthy one.
    """

    __slots__ = ("_failures", "address", "in_flight", "path", "rested_at", "traffic")

    def __init__(self, address: Address, path: str = "") -> None:
        self.address = address
        self.path = path
        self.in_flight = 0
        self.traffic = traffic.setdefault(address.url, Traffic())
        self.rested_at = 0.0
        self._failures = 0

    def worked(self) -> None:
        """Note an answer: the endpoint is healthy."""
        if self._failures:
            self._failures = 0
            self.rested_at = 0.0

    def failed(self) -> None:
        """Note that the endpoint did not answer, or answered that it cannot serve now: it rests."""
        now = time.monotonic()
        if now >= self.rested_at:  # requests that fail together count as one failure
            rest = min(_LONGEST_REST, _FIRST_REST * 2**self._failures)
            self._failures += 1
            self.rested_at = now + rest * random.uniform(0.75, 1.0)

    def is_healthy(self, now: float) -> bool:
        """Whether the endpoint may get another request. One that has rested gets a single one until it answers."""
        return not self._failures or (now >= self.rested_at and not self.in_flight)


class Endpoints:
    """The endpoints of a service."""

    def __init__(self, endpoints: Sequence[Endpoint], strategy: str = "round_robin", first: int = 0) -> None:
        """
        Args:
            endpoints: at least one.
            strategy: "round_robin" for each in turn, or "least_connections" for the one with the fewest requests in
                flight.
            first: the number of the endpoint that gets the first request; a larger one wraps around.
        """
        self.all = tuple(endpoints)
        self._least = strategy == "least_connections"
        self._turn = itertools.count(first)

    def choose(self, avoid: Endpoint | None = None) -> Endpoint:
        """The endpoint for the next request; not `avoid`, which has just failed it, if another one is healthy."""
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
        """Whether an endpoint other than the one that failed is healthy."""
        if len(self.all) == 1:
            return False
        now = time.monotonic()
        return any(endpoint is not failed and endpoint.is_healthy(now) for endpoint in self.all)
