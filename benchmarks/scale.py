# SPDX-License-Identifier: Apache-2.0
"""Beyond one machine: what a job of many ranks needs from its endpoints, and what it costs each rank.

    python -m benchmarks.scale [--ranks 512] [--output FILE]

There is no job of 512 machines to measure, so the page has three parts:

- *Measured* on this machine: the connections, the memory and the CPU time of one rank.
- *Calculated* from these figures: the same for all ranks.
- *Simulated*: the requests of all ranks to endpoints of limited bandwidth, for each strategy, with equal endpoints and
  with one that is half as fast. On purpose the simulated ranks choose their endpoints by a private part of s3dlio, the
  code that real ranks run (`s3dlio.http.endpoints`).

A simulated endpoint divides its bandwidth evenly among its requests, and each request takes a fixed amount of work in
addition. Networks and clients have no limits. So the simulation shows how evenly load spreads and what an uneven fleet
costs; it does not model a product.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import objects, servers
from benchmarks.peers import ROOT
from benchmarks.scenarios import KIB, MIB, Scenario
from s3dlio.http.address import Address
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.settings import Settings

IN_FLIGHT = 16
# A simulated endpoint: bytes per second, and seconds of its work for each request beside the bytes.
BANDWIDTH, PER_REQUEST = 10e9, 20e-6
# unet3d of MLPerf Storage: bytes of an object (mean, standard deviation), objects in an epoch, and the bytes that one
# H100 reads per second.
MEAN, DEVIATION, FILES, PER_ACCELERATOR = 146_600_628, 68_341_808, 50_000, 2.96 * (1 << 30)
PAGE = 1000  # keys in a page of a listing


def _size(draw: random.Random) -> float:
    """The size of an object in bytes, drawn as DLIO draws it."""
    return max(1e6, draw.gauss(MEAN, DEVIATION))


# Measured...

_RANK = """
import json, os, resource, sys, time
import s3dlio
bucket, count, in_flight, seconds = sys.argv[1], *map(int, sys.argv[2:])

def status(name):
    return int(open("/proc/self/status").read().partition(name + ":")[2].split()[0]) / 1024

def sockets():
    links = (os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
             if os.path.islink(f"/proc/self/fd/{number}"))
    return sum(link.startswith("socket:") for link in links)

empty = status("VmRSS")
uris = [f"s3://{bucket}/{number:05d}" for number in range(count)]
s3dlio.get_many(uris[:1])
one = status("VmRSS")

def read():
    done = 0
    for _, body in s3dlio.get_many_iter(uris, in_flight, ordered=False):
        done += len(body)
        del body
    return done

read()
before, began, done, objects = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), 0, 0
while time.perf_counter() < began + seconds:
    done += read()
    objects += count
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"empty": empty, "one": one, "peak": status("VmHWM"), "sockets": sockets(),
                  "cpu_us": cpu / objects * 1e6, "per_cpu": done / cpu}))
"""


def measure() -> dict[str, dict[str, float]]:
    """Measure one rank that reads from nginx: name of the row -> figures."""
    rows = {}
    with tempfile.TemporaryDirectory(prefix=f"s3dlio-scale-{os.getpid()}-") as name:
        root = Path(name)
        small = Scenario("64 KiB", (64 * KIB,), 1000, IN_FLIGHT, 1000, ())
        large = Scenario("146 MiB", (146 * MIB,), 4, 4, 4, ())
        made = {one.name: (one, objects.make(root, one)) for one in (small, large)}
        with servers.static(root, [found for _, found in made.values()]) as world:
            for name, (one, found) in made.items():
                for in_flight in (1, 16, 64) if one is small else (1, 4):
                    arguments = [found.bucket, str(one.objects), str(in_flight), "2"]
                    done = subprocess.run(
                        [sys.executable, "-c", _RANK, *arguments],
                        env={**os.environ, **world.environment},
                        cwd=ROOT,
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    rows[f"{name}, {in_flight} in flight"] = json.loads(done.stdout)
    return rows


# Simulated...


class _Server:
    """A simulated endpoint, which works on all its requests at the same time, with an equal share for each.

    Its clock counts the work that each request has received. A request ends when the clock has advanced by the work
    that the request needs.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed  # seconds of work per second
        self.clock = 0.0
        self.at = 0.0
        self.waiting: list[tuple[float, int, int]] = []
        self.most = 0

    def advance(self, now: float) -> None:
        if self.waiting:
            self.clock += (now - self.at) * self.speed / len(self.waiting)
        self.at = now

    def next_end(self) -> float:
        if not self.waiting:
            return float("inf")
        return self.at + (self.waiting[0][0] - self.clock) * len(self.waiting) / self.speed


class Outcome(NamedTuple):
    """The result of a simulated job.

    Attributes:
        used: fraction of the bandwidth of all endpoints that was used, until the first rank had begun its last object.
        longest_queue: the largest number of requests at one endpoint.
        even: the number of requests at each endpoint if all had the same number.
        connections: the largest number of connections that one rank opened, to all endpoints.
        accepted: the largest number of connections at one endpoint.
        p50: median time of an object, in seconds.
        p99: time within which 99 % of the objects were done, in seconds.
        last_after: time of the slowest rank, relative to the median rank.
    """

    used: float
    longest_queue: int
    even: float
    connections: int
    accepted: int
    p50: float
    p99: float
    last_after: float


def simulate(ranks: int, count: int, strategy: str, slow: bool, each: int = 24) -> Outcome:
    """Simulate a job whose ranks each read some objects, `IN_FLIGHT` at a time.

    Args:
        ranks: number of ranks.
        count: number of endpoints.
        strategy: how the ranks choose endpoints.
        slow: whether the first endpoint is half as fast as the others.
        each: objects that a rank reads.
    """
    draw = random.Random(ranks * count)
    fleet = [_Server(0.5 if slow and not number else 1.0) for number in range(count)]
    clients = [_endpoints(rank, count, strategy) for rank in range(ranks)]
    left = [each] * ranks
    opened = [[0] * count for _ in range(ranks)]
    begun: dict[int, tuple[float, int, int, Endpoint]] = {}
    latencies: list[float] = []
    finished = [0.0] * ranks
    worked, first_end, now, tickets = 0.0, 0.0, 0.0, 0

    def begin(rank: int) -> None:
        nonlocal tickets, worked
        left[rank] -= 1
        endpoint = clients[rank].choose()
        endpoint.in_flight += 1
        number = clients[rank].all.index(endpoint)
        opened[rank][number] = max(opened[rank][number], endpoint.in_flight)
        server = fleet[number]
        server.advance(now)
        work = _size(draw) / BANDWIDTH + PER_REQUEST
        if not first_end:
            worked += work
        heapq.heappush(server.waiting, (server.clock + work, tickets, number))
        server.most = max(server.most, len(server.waiting))
        begun[tickets] = now, rank, number, endpoint
        tickets += 1

    for _ in range(min(IN_FLIGHT, each)):
        for rank in range(ranks):
            begin(rank)
    while begun:
        server = min(fleet, key=_Server.next_end)
        now = server.next_end()
        server.advance(now)
        _, ticket, _ = heapq.heappop(server.waiting)
        began, rank, _, endpoint = begun.pop(ticket)
        endpoint.in_flight -= 1
        endpoint.worked()
        latencies.append(now - began)
        finished[rank] = now
        if left[rank]:
            begin(rank)
        elif not first_end:
            first_end = now
            worked -= sum(one[0] - server.clock for server in fleet for one in server.waiting)
    ordered = sorted(latencies)
    return Outcome(
        worked / (first_end * sum(server.speed for server in fleet)),
        max(server.most for server in fleet),
        ranks * min(IN_FLIGHT, each) / count,
        max(sum(numbers) for numbers in opened),
        max(sum(numbers[number] for numbers in opened) for number in range(count)),
        ordered[len(ordered) // 2],
        ordered[int(len(ordered) * 0.99)],
        max(finished) / statistics.median(finished),
    )


def _endpoints(rank: int, count: int, strategy: str) -> Endpoints:
    """The endpoints as a process of this rank has them."""
    before = os.environ.get("RANK")
    os.environ["RANK"] = str(rank)
    try:
        addresses = [Address(False, f"node{number}", 80) for number in range(count)]
        return Endpoints([Endpoint(address) for address in addresses], strategy)
    finally:
        if before is None:
            del os.environ["RANK"]
        else:
            os.environ["RANK"] = before


# The page...


def document(ranks: int) -> str:
    """All three parts, in Markdown."""
    return "\n".join([*_measured_and_calculated(ranks, measure()), *_simulated(ranks), ""])


def _measured_and_calculated(ranks: int, measured: dict[str, dict[str, float]]) -> Iterator[str]:
    yield "Measured: one rank, `get_many_iter` from nginx over loopback."
    yield ""
    yield "| objects | connections | memory at the peak, MiB | CPU per object | GB per CPU-second |"
    yield "|---|---|---|---|---|"
    for name, row in measured.items():
        yield (
            f"| {name} | {row['sockets']:.0f} | {row['peak']:.0f} | {row['cpu_us']:,.0f} µs |"
            f" {row['per_cpu'] / 1e9:.2f} |"
        )
    low, high = (measured[f"64 KiB, {number} in flight"] for number in (16, 64))
    connection = (high["peak"] - low["peak"]) / (high["sockets"] - low["sockets"]) * 1024
    large = measured["146 MiB, 4 in flight"]
    small = measured["64 KiB, 16 in flight"]
    yield ""
    yield (
        f"Of this memory the interpreter alone takes {small['empty']:.0f} MiB, s3dlio with its first connection"
        f" {small['one'] - small['empty']:.0f} MiB, and each further connection with its object of 64 KiB about"
        f" {connection:.0f} KiB."
    )
    yield ""
    yield f"Calculated from these figures: {ranks} ranks with {IN_FLIGHT} objects in flight each, unet3d."
    yield ""
    yield "| what | of a rank | of all ranks |"
    yield "|---|---|---|"
    gets = FILES / ranks
    pages = -(-FILES // PAGE)
    cpu = PER_ACCELERATOR / large["per_cpu"]
    part = Settings().get_part_mb * MIB
    draw = random.Random(ranks)
    parts = statistics.fmean(-(-_size(draw) // part) for _ in range(FILES))
    yield f"| GET requests of an epoch of {FILES:,} objects, read whole | {gets:,.0f} | {FILES:,} |"
    yield f"| the same, read in parts of {part // MIB:.0f} MiB | {gets * parts:,.0f} | {FILES * parts:,.0f} |"
    yield "| HEAD requests | 0 | 0 |"
    yield f"| LIST requests of a listing, where every rank lists | {pages} | {pages * ranks:,} |"
    yield f"| connections | {IN_FLIGHT} | {IN_FLIGHT * ranks:,} |"
    yield f"| memory at the peak | {large['peak']:,.0f} MiB | {large['peak'] * ranks / 1024:,.0f} GiB |"
    yield f"| cores for one H100 a rank (2.96 GiB/s each) | {cpu:.1f} | {cpu * ranks:,.0f} |"
    yield ""


def _simulated(ranks: int) -> Iterator[str]:
    yield (
        f"Simulated: {ranks} ranks with {IN_FLIGHT} in flight, unet3d's sizes, endpoints of"
        f" {BANDWIDTH / 1e9:.0f} GB/s and {PER_REQUEST * 1e6:.0f} µs per request."
    )
    yield ""
    yield (
        "| endpoints | strategy | bandwidth used | longest queue, even | connections of a rank | at an endpoint |"
        " object, p50 | p99 | last rank beside the median |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for count in (1, 4, 16):
        for slow in (False, True) if count > 1 else (False,):
            for strategy in ("round_robin", "least_connections") if count > 1 else ("round_robin",):
                one = simulate(ranks, count, strategy, slow)
                fleet = f"{count}, one at half speed" if slow else str(count)
                yield (
                    f"| {fleet} | {strategy} | {one.used:.0%} | {one.longest_queue:,}, {one.even:,.0f} |"
                    f" {one.connections} | {one.accepted:,} | {one.p50:.1f} s | {one.p99:.1f} s |"
                    f" {one.last_after:.2f} |"
                )


def main() -> None:
    """Print the page, or write it to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Beyond one machine.")
    parser.add_argument("--ranks", type=int, default=512)
    parser.add_argument("--output", type=Path, help="a file instead of standard output")
    arguments: Any = parser.parse_args()
    text = document(arguments.ranks)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
