"""Reading from S3, side by side with the peers, on nginx: the server that costs less than any client.

    python -m benchmarks.network [--rounds N] [--quick] [--only TEXT] [--json FILE]

Every client reads the same objects, in its own process and environment, signed, with the same number in flight; the
clients take turns, round by round, so that a change of the machine's speed hits all of them; what is printed are
medians over the rounds, the spread, and ratios to the best peer of the same run. CPU is the client's, user and system;
the server's is printed beside it, since on a small machine the two compete.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import client as client_module
from benchmarks import peers
from s3dlio.checksums import crc32c, crc32c_text
from tests.servers import nginx
from tests.servers.base import running

PEERS = (
    "obstore, threads",
    "obstore, asyncio",
    "opendal, threads",
    "s3torchconnector, threads",
    "s3dlio 0.10 get_many",
    "s3dlio 0.10 get, threads",
)
OURS = ("s3dlio get_many",)
WITH_AZURE_AND_GCS = (*OURS, "obstore, threads", "obstore, asyncio")

ACCOUNT = "benchmark"


class Scenario(NamedTuple):
    """What is read.

    Attributes:
        size: bytes of an object, or of the largest.
        objects: how many there are.
        repeat: how often each is read in the timed part.
        in_flight: objects at a time.
        at_once: objects in one call of `get_many`.
        checked: whether the server sends the CRC32C of each object, and s3dlio verifies it.
        fork: whether the client is used, forked, and measured in the child.
        scheme: of the URIs; az and gs are asked for in the way of their services, from the same nginx.
        smallest: bytes of the smallest object, where sizes are drawn at random between the two; 0 where all are equal.
        clients: who takes part.
    """

    name: str
    size: int
    objects: int
    repeat: int
    in_flight: int
    at_once: int
    checked: bool = False
    fork: bool = False
    scheme: str = "s3"
    smallest: int = 0
    clients: tuple[str, ...] = (*OURS, *PEERS)


_LARGE = Scenario("8 MiB", 8 << 20, 32, 6, 16, 32)
_SMALL = Scenario("64 KiB", 64 << 10, 1000, 5, 16, 1000)

SCENARIOS = (
    _LARGE,
    _LARGE._replace(name="8 MiB, CRC32C verified", checked=True),
    # Clients with a runtime hang in a forked child: only ours takes part.
    _LARGE._replace(name="8 MiB, forked child", fork=True, clients=OURS),
    _SMALL,
    _SMALL._replace(name="64 KiB, CRC32C verified", checked=True),
    _SMALL._replace(name="64 KiB, forked child", fork=True, clients=OURS),
    *(
        scenario._replace(name=f"{scheme}:// {scenario.name}", scheme=scheme, clients=WITH_AZURE_AND_GCS)
        for scheme in ("az", "gs")
        for scenario in (_LARGE, _SMALL)
    ),
    Scenario(
        "10 GiB of 1 to 16 MiB, streamed", 16 << 20, 64, 19, 64, 64, smallest=1 << 20, clients=("s3dlio get_many_iter",)
    ),
)


def main() -> None:
    """Run the scenarios and print a table for each."""
    arguments = _arguments()
    chosen = [one for one in SCENARIOS if arguments.only in one.name]
    rounds = 2 if arguments.quick else arguments.rounds
    report: dict[str, Any] = {"machine": _machine(), "rounds": rounds, "scenarios": {}}
    for name in {name for one in chosen for name in one.clients}:
        peers.interpreter(name)
    report["peers"] = peers.versions()
    checksums = "".join(_with_checksum(size) for size in sorted({one.size for one in chosen if one.checked}))
    with running("nginx", partial(nginx.start, more=checksums)) as server:
        for scenario in chosen:
            folder = server.root / f"{'checked' if scenario.checked else 'plain'}-{scenario.size}"
            objects = _make_objects(folder, scenario)
            _show_as_other_services_do(server.root, folder)
            job = {
                **scenario._asdict(),
                "bucket": folder.name,
                "endpoint": server.url,
                "objects": objects,
            }
            results: dict[str, list[dict[str, float]]] = {name: [] for name in scenario.clients}
            for number in range(rounds):
                for name in _turns(scenario.clients, number):
                    print(f"\r{scenario.name}: round {number + 1}/{rounds}, {name:<30}", end="", file=sys.stderr)
                    results[name].append(_run(name, job, server.url, server.pids))
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr)
            report["scenarios"][scenario.name] = results
            print(_table(scenario, results), flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Read from S3, side by side with the peers.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which medians are taken (default 5)")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--only", default="", help="only scenarios with this in their name")
    parser.add_argument("--json", help="write every figure to this file")
    return parser.parse_args()


def _turns(clients: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Each round begins with another client."""
    start = number % len(clients)
    return (*clients[start:], *clients[:start])


def _content(size: int) -> bytes:
    """The content of all objects of a size: one, so that nginx can send one CRC32C for all."""
    return random.Random(size).randbytes(size)


def _with_checksum(size: int) -> str:
    """The part of nginx's configuration that sends the CRC32C of the objects of a size."""
    checksum = crc32c_text(crc32c([memoryview(_content(size))]))
    return f'location /checked-{size}/ {{ add_header ETag $stored; add_header x-amz-checksum-crc32c "{checksum}"; }}\n'


def _make_objects(folder: Path, scenario: Scenario) -> dict[str, int]:
    """Put the objects of a scenario where nginx finds them; returns key -> CRC-32."""
    folder.mkdir(exist_ok=True)
    content = _content(scenario.size)
    sizes = random.Random(scenario.smallest)
    objects = {}
    for number in range(scenario.objects):
        size = sizes.randint(scenario.smallest, scenario.size) if scenario.smallest else scenario.size
        key = f"{size}-{number:05d}"
        (folder / key).write_bytes(content[:size])
        objects[key] = zlib.crc32(content[:size])
    return objects


def _show_as_other_services_do(root: Path, folder: Path) -> None:
    """Let a bucket also be found at the paths of Azure and of the JSON API of Google Cloud Storage."""
    for place in (root / ACCOUNT / folder.name, root / "storage" / "v1" / "b" / folder.name / "o"):
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(folder)


def _run(name: str, job: dict[str, Any], endpoint: str, servers: tuple[int, ...]) -> dict[str, float]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark-secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"benchmark-secret").decode(),
        "AZURE_STORAGE_ENDPOINT": f"{endpoint}/{ACCOUNT}",
        "STORAGE_EMULATOR_HOST": endpoint,
        "S3DLIO_VERIFY_GET": "1" if job["checked"] else "0",
    }
    before = _cpu_of(servers)
    done = subprocess.run(
        [peers.interpreter(name), client_module.__file__, name],
        input=json.dumps(job),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if not done.stdout:
        raise SystemExit(f"\n{name} failed in {job['name']} with status {done.returncode}:\n{done.stderr[-2000:]}")
    # The figures are out before the interpreter ends: a peer whose runtime crashes then has done its work.
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    figures["server"] = _cpu_of(servers) - before
    return figures


def _cpu_of(pids: tuple[int, ...]) -> float:
    """CPU seconds of some processes and their children so far."""
    ticks = 0
    for pid in pids:
        for child in (pid, *_children(pid)):
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _table(scenario: Scenario, results: dict[str, list[dict[str, float]]]) -> str:
    """The figures of a scenario as a table in Markdown."""
    rows = {name: _medians(rounds) for name, rounds in results.items()}
    others = [row for name, row in rows.items() if name in PEERS]
    lines = [
        f"\n### {scenario.name}: {scenario.in_flight} in flight\n",
        "| client | GB/s | GB per CPU-s | objects/s | CPU per object, µs | server CPU, s | peak, MiB | spread |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['rate']:.2f} | {row['per_cpu']:.2f} | {row['objects']:.0f} | {row['cpu_us']:.0f} |"
            f" {row['server']:.2f} | {row['peak']:.0f} | ±{row['spread']:.0%} |"
        )
    if others:
        ours = rows[OURS[0]]
        lines.append(
            f"\nAgainst the best peer: {ours['per_cpu'] / max(row['per_cpu'] for row in others):.2f} times the bytes"
            f" per CPU-second, {ours['cpu_us'] / min(row['cpu_us'] for row in others):.2f} of the CPU per object,"
            f" {ours['rate'] / max(row['rate'] for row in others):.2f} times the rate."
        )
    return "\n".join(lines)


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    cpu = [one["user"] + one["system"] for one in rounds]
    per_cpu = [one["bytes"] / spent / 1e9 for one, spent in zip(rounds, cpu, strict=True)]
    middle = statistics.median(per_cpu)
    return {
        "rate": statistics.median(one["bytes"] / one["seconds"] / 1e9 for one in rounds),
        "per_cpu": middle,
        "objects": statistics.median(one["objects"] / one["seconds"] for one in rounds),
        "cpu_us": statistics.median(spent / one["objects"] * 1e6 for one, spent in zip(rounds, cpu, strict=True)),
        "server": statistics.median(one["server"] for one in rounds),
        "peak": statistics.median(one["peak_mib"] for one in rounds),
        "spread": max(abs(value - middle) for value in per_cpu) / middle,
    }


def _machine() -> dict[str, Any]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": model.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
