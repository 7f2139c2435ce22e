# SPDX-License-Identifier: Apache-2.0
"""`bench`: what an endpoint gives, and what it costs here."""

from __future__ import annotations

import re
import signal
from typing import Annotated

import typer

from s3dlio import bench as measuring
from s3dlio.cli import output
from s3dlio.cli.arguments import OneURI

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_HEAD = ("", "objects", "seconds", "MB/s", "objects/s", "p50 ms", "p99 ms", "CPU µs each", "GB/CPU-s")


def byte_count(text: str | int) -> int:
    """The number of bytes that a size with or without a unit means.

    Raises:
        BadParameter: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]?)(i?B)?", str(text), re.IGNORECASE)
    if not found:
        raise typer.BadParameter(f"{text!r} is no size: expected bytes, or a number with KiB, MiB, GiB, KB, MB or GB")
    unit = found[2].upper() + ("B" if (found[3] or "").upper() == "B" and found[2] else "")
    return round(float(found[1]) * _UNITS[unit])


def bench(
    uri: OneURI,
    size: Annotated[
        int,
        typer.Option(
            metavar="SIZE",
            parser=byte_count,
            show_default="8MiB",
            help="Bytes of an object: 4096, 64KiB, 8MiB, 146.6MB.",
        ),
    ] = 8 << 20,
    objects: Annotated[int, typer.Option(min=1, help="How many objects; under mpirun, for each rank.")] = 64,
    in_flight: Annotated[int, typer.Option(min=1, help="Objects at a time; under mpirun, for each rank.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write, read, list and delete objects below the folder URI, and show rates, latencies and CPU time."""
    # mpirun passes Ctrl-C on as SIGTERM; and whoever ends this wants no objects left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ranks = measuring.Ranks()
    speaking = ranks.rank == 0

    def show(step: measuring.Step) -> None:
        if speaking and not json:
            output.line(_row(step))

    if speaking and not json:
        output.line("".join(f"{text:>13}" for text in _HEAD))
    steps = measuring.measure(uri, size, objects, in_flight, ranks, show)
    if speaking and json:
        output.document(
            {
                "uri": uri,
                "size": size,
                "objects_per_rank": objects,
                "in_flight_per_rank": in_flight,
                "ranks": ranks.size,
                "steps": [step.facts() for step in steps],
            }
        )


def _row(step: measuring.Step) -> str:
    facts = step.facts()
    moved = step.bytes > 0
    cells = (
        step.operation,
        str(step.objects),
        f"{step.seconds:.3f}",
        f"{facts['bytes_per_second'] / 1e6:.1f}" if moved else "-",
        f"{facts['objects_per_second']:.0f}",
        f"{facts['latency_p50_seconds'] * 1e3:.2f}",
        f"{facts['latency_p99_seconds'] * 1e3:.2f}",
        f"{facts['cpu_seconds_per_object'] * 1e6:.0f}",
        f"{facts['bytes_per_cpu_second'] / 1e9:.2f}" if moved and step.cpu else "-",
    )
    return "".join(f"{text:>13}" for text in cells)
