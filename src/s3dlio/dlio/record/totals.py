# SPDX-License-Identifier: Apache-2.0
"""Adds up what the processes of a run have recorded, by kind of operation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Totals:
    """The sum over all recorded operations of one kind.

    Attributes:
        operations: how many succeeded.
        errors: how many failed.
        bytes: body bytes that the successful ones moved.
        seconds: the sum of the durations of the successful ones.
        busy: seconds in which at least one of them was running, so `bytes / busy` is the rate of all processes
            together.
    """

    operations: int = 0
    errors: int = 0
    bytes: int = 0
    seconds: float = 0.0
    _spans: list[tuple[float, float]] = field(default_factory=list, repr=False)

    @property
    def busy(self) -> float:
        return covered(self._spans)

    def add(self, record: dict[str, object]) -> None:
        """Add one line of a record file, as `records.Record` writes it."""
        if not record["ok"]:
            self.errors += 1
            return
        start, seconds, size = record["start"], record["seconds"], record["bytes"]
        assert isinstance(start, float)
        assert isinstance(seconds, float)
        assert isinstance(size, int)
        self.operations += 1
        self.bytes += size
        self.seconds += seconds
        self._spans.append((start, start + seconds))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The seconds that at least one of the given spans of time covers; a span is its begin and its end."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def summarise(folder: str | os.PathLike[str]) -> dict[str, Totals]:
    """Add up what all processes of a run have recorded.

    Args:
        folder: the folder that S3DLIO_METRICS_DIR named during the run.

    Returns:
        The totals by kind of operation, in alphabetical order of the kinds; empty if nothing was recorded.
    """
    totals: dict[str, Totals] = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            # The last line is incomplete if its process was killed, or is writing it now.
            if line.endswith(b"\n"):
                record = json.loads(line)
                totals.setdefault(record["kind"], Totals()).add(record)
    return dict(sorted(totals.items()))
