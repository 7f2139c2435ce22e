# SPDX-License-Identifier: Apache-2.0
"""`s3dlio bench`: what an endpoint delivers, and what that costs this machine."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from s3dlio.cli import output
from s3dlio.cli.arguments import OneURI

if TYPE_CHECKING:
    from s3dlio.cli.measuring import Step

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_HEAD = ("", "objects", "seconds", "MB/s", "objects/s", "p50 ms", "p99 ms", "CPU µs each", "GB/CPU-s")


def byte_count(text: str | int) -> int:
    """The number of bytes that a size with or without a unit stands for.

    Raises:
        BadParameter: the text is not a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]?)(i?B)?", str(text), re.IGNORECASE)
    if not found:
        raise typer.BadParameter(
            f"{text!r} is not a size: expected a number of bytes, or a number with KiB, MiB, GiB, KB, MB or GB"
        )
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
            help="Size of an object, as in 4096, 64KiB, 8MiB or 146.6MB.",
        ),
    ] = 8 << 20,
    objects: Annotated[int, typer.Option(min=1, help="Number of objects; under mpirun, for each rank.")] = 64,
    in_flight: Annotated[int, typer.Option(min=1, help="Objects in flight; under mpirun, for each rank.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure an endpoint.

    Write, read, list and delete objects below the folder URI, and print rates, latencies and CPU time.
    """
    from s3dlio.cli import measuring
    from s3dlio.cli.mpi import Ranks

    # mpirun passes Ctrl-C on as SIGTERM, and the objects have to be removed then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ranks = Ranks()
    prints = ranks.rank == 0

    def show(step: Step) -> None:
        if prints and not json:
            output.line(_row(step))

    if prints and not json:
        output.line("".join(f"{text:>13}" for text in _HEAD))
    steps = measuring.measure(uri, size, objects, in_flight, ranks, show)
    if prints and json:
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


def _row(step: Step) -> str:
    facts = step.facts()
    moves_bytes = step.bytes > 0
    cells = (
        step.operation,
        str(step.objects),
        f"{step.seconds:.3f}",
        f"{facts['bytes_per_second'] / 1e6:.1f}" if moves_bytes else "-",
        f"{facts['objects_per_second']:.0f}",
        f"{facts['latency_p50_seconds'] * 1e3:.2f}",
        f"{facts['latency_p99_seconds'] * 1e3:.2f}",
        f"{facts['cpu_seconds_per_object'] * 1e6:.0f}",
        f"{facts['bytes_per_cpu_second'] / 1e9:.2f}" if moves_bytes and step.cpu else "-",
    )
    return "".join(f"{text:>13}" for text in cells)
