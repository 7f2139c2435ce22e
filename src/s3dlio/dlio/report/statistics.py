# SPDX-License-Identifier: Apache-2.0
"""Statistics of the recorded operations of a run: by kind, over time, by endpoint, by checkpoint, and the failures.

Strategy: one pass over all lines keeps three numbers per operation in arrays (24 bytes, so that a million operations
take 24 MB), and the earliest failures as a whole. The run is cut into at most `MOST_BINS` bins of a round width, so
that plots and tables stay bounded however long it was. The bytes of an operation are spread over its duration: a
checkpoint that takes a minute is not a burst at its end. A percentile is the latency of one of the operations, by
nearest rank: the smallest value that at least this percentage of the values does not exceed.
"""

from __future__ import annotations

import bisect
import json
import math
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s3dlio import redaction
from s3dlio.dlio.record.totals import covered

MOST_BINS = 80
MOST_FAILURES = 100

CHECKPOINT_KINDS = ("checkpoint_write", "checkpoint_read")
DATA_KINDS = ("read", "generate", *CHECKPOINT_KINDS)  # listed in this order, before all others

# DLIO's main branch has a folder for each checkpoint; 2.0.0 puts epoch, step and rank into the names of the files.
_CHECKPOINT = (re.compile(r"/global_epoch(\d+)_step(\d+)/"), re.compile(r"-(\d+)-(\d+)-\d+\.\w+$"))


@dataclass(frozen=True)
class Kind:
    """All operations of one kind. The latencies are those of the successful ones, None if there are none.

    Attributes:
        operations, errors: how many succeeded, and how many failed.
        busy_seconds: the time in which at least one of them was running.
        rate_bytes_per_second: the bytes of all of them, divided by the busy seconds.
    """

    kind: str
    operations: int
    errors: int
    bytes: int
    busy_seconds: float
    rate_bytes_per_second: float
    p50_seconds: float | None
    p90_seconds: float | None
    p99_seconds: float | None
    max_seconds: float | None


@dataclass(frozen=True)
class Series:
    """The run over time, in bins of one width.

    Attributes:
        width_seconds: width of a bin.
        start_seconds: where each bin begins, counted from the first operation.
        rate_bytes_per_second: the rate in each bin, by kind; only for kinds that moved bytes.
        p50_seconds, p99_seconds: the latency of the operations that began in each bin, by kind, None if none did; only
            for kinds that moved bytes, or for all kinds if none moved bytes.
        errors: the number of operations of any kind that began in each bin and failed.
    """

    width_seconds: float
    start_seconds: list[float]
    rate_bytes_per_second: dict[str, list[float]]
    p50_seconds: dict[str, list[float | None]]
    p99_seconds: dict[str, list[float | None]]
    errors: list[int]


@dataclass(frozen=True)
class EndpointShare:
    """The traffic with one endpoint: requests, including repeated ones, and bytes of bodies in both directions."""

    url: str
    requests: int
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that all ranks together wrote or read.

    Attributes:
        kind: "checkpoint_write" or "checkpoint_read".
        start_seconds: when the transfer of its first file began, counted from the first operation.
        seconds: the time in which at least one of its files was being transferred.
    """

    name: str
    kind: str
    start_seconds: float
    files: int
    bytes: int
    seconds: float
    rate_bytes_per_second: float


@dataclass(frozen=True)
class Failure:
    """A failed operation; `start_seconds` is counted from the first operation."""

    start_seconds: float
    kind: str
    uri: str
    error: str
    process: str


@dataclass(frozen=True)
class Statistics:
    """The statistics of a run.

    Attributes:
        began: when the first operation began, in seconds since 1970; None if none was recorded. seconds: from the begin
        of the first operation to the end of the last one. processes: number of processes that recorded something.
        schemes: the schemes of all URIs, in alphabetical order. failures: the earliest `MOST_FAILURES` failed
        operations. unreadable_lines: number of lines that cannot be read as records, such as the last one of a process
        that was killed while it
            wrote.
    """

    began: float | None
    seconds: float
    processes: int
    schemes: list[str]
    kinds: list[Kind]
    series: Series
    endpoints: list[EndpointShare]
    checkpoints: list[Checkpoint]
    failures: list[Failure]
    unreadable_lines: int

    @property
    def errors(self) -> int:
        """The number of failed operations."""
        return sum(kind.errors for kind in self.kinds)

    def kind(self, name: str) -> Kind | None:
        """The operations of one kind, None if there are none."""
        return next((kind for kind in self.kinds if kind.kind == name), None)


@dataclass
class _Columns:
    """One kind of operations: start, seconds and bytes of each successful one, and the start of each failed one."""

    starts: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    failed: array[float] = field(default_factory=lambda: array("d"))

    def spans(self) -> Iterator[tuple[float, float]]:
        return ((start, start + seconds) for start, seconds in zip(self.starts, self.seconds, strict=True))


class _Reading:
    """Collects the lines of all files."""

    def __init__(self) -> None:
        self.kinds: dict[str, _Columns] = defaultdict(_Columns)
        self.schemes: set[str] = set()
        self.endpoints: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.checkpoints: dict[tuple[str, str], list[tuple[float, float, int]]] = defaultdict(list)
        self.failures: list[tuple[float, str, str, str, str]] = []
        self.ended = -math.inf
        self.processes = 0
        self.unreadable = 0

    def read(self, path: Path) -> None:
        self.processes += 1
        process = path.stem
        with path.open("rb") as lines:
            for line in lines:
                try:
                    self._add(json.loads(line), process)
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                    self.unreadable += 1

    def _add(self, record: dict[str, Any], process: str) -> None:
        # Convert everything before adding anything, so that a damaged line counts nowhere.
        kind, uri, scheme = str(record["kind"]), str(record["uri"]), str(record["scheme"])
        start, seconds, size = float(record["start"]), float(record["seconds"]), int(record["bytes"])
        succeeded, error = bool(record["ok"]), str(record["error"])
        shares = [
            (str(url), int(share["requests"]), int(share["bytes"]))
            for url, share in record.get("endpoints", {}).items()
        ]
        if not (math.isfinite(start) and 0 <= seconds < math.inf and 0 <= size < 1 << 63):
            raise ValueError("impossible time or size")
        columns = self.kinds[kind]
        self.ended = max(self.ended, start + seconds)
        self.schemes.add(scheme)
        if succeeded:
            columns.starts.append(start)
            columns.seconds.append(seconds)
            columns.sizes.append(size)
            if kind in CHECKPOINT_KINDS:
                self.checkpoints[kind, _checkpoint_name(uri)].append((start, start + seconds, size))
        else:
            columns.failed.append(start)
            self._add_failure((start, kind, uri, error, process))
        for url, requests, moved in shares:
            total = self.endpoints[url]
            total[0] += requests
            total[1] += moved

    def _add_failure(self, failure: tuple[float, str, str, str, str]) -> None:
        if len(self.failures) < MOST_FAILURES or failure < self.failures[-1]:
            bisect.insort(self.failures, failure)
            del self.failures[MOST_FAILURES:]


def read_records(folder: Path | None) -> Statistics:
    """Read what all processes of a run have recorded into a folder; None if there are no records."""
    reading = _Reading()
    for path in sorted(folder.glob("*.jsonl")) if folder is not None else ():
        reading.read(path)
    kinds = {name: reading.kinds[name] for name in sorted(reading.kinds, key=_order)}
    starts = [time for columns in kinds.values() for time in (columns.starts, columns.failed) if time]
    began = min(map(min, starts)) if starts else None
    span = reading.ended - began if began is not None else 0.0
    return Statistics(
        began=began,
        seconds=span,
        processes=reading.processes,
        schemes=sorted(reading.schemes),
        kinds=[_kind(name, columns) for name, columns in kinds.items()],
        series=_series(kinds, began or 0.0, span),
        endpoints=_endpoints(reading.endpoints),
        checkpoints=_checkpoints(reading.checkpoints, began or 0.0),
        failures=[
            Failure(start - (began or 0.0), kind, redaction.text(uri), redaction.text(error), process)
            for start, kind, uri, error, process in reading.failures
        ],
        unreadable_lines=reading.unreadable,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of ordered values by nearest rank: the smallest value that at least this share do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def bin_width(span: float) -> float:
    """The width of the bins for a span of seconds: 1, 2 or 5 times a power of ten, so that `MOST_BINS` are enough."""
    least = max(span, 1e-3) / MOST_BINS
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _order(kind: str) -> tuple[int, str]:
    return (DATA_KINDS.index(kind) if kind in DATA_KINDS else len(DATA_KINDS), kind)


def _kind(name: str, columns: _Columns) -> Kind:
    ordered = sorted(columns.seconds)
    busy, size = covered(columns.spans()), sum(columns.sizes)
    p50, p90, p99, most = (percentile(ordered, p) if ordered else None for p in (50, 90, 99, 100))
    rate = size / busy if busy else 0.0
    return Kind(name, len(ordered), len(columns.failed), size, busy, rate, p50, p90, p99, most)


def _series(kinds: dict[str, _Columns], began: float, span: float) -> Series:
    width = bin_width(span)
    count = min(MOST_BINS, int(span / width) + 1) if kinds else 0
    moving = {name: columns for name, columns in kinds.items() if any(columns.sizes)}
    timed = moving or {name: columns for name, columns in kinds.items() if columns.starts}
    errors = [0] * count
    for columns in kinds.values():
        for start in columns.failed:
            errors[min(count - 1, int((start - began) / width))] += 1
    latencies = {name: _latencies(columns, began, width, count) for name, columns in timed.items()}
    return Series(
        width_seconds=width,
        start_seconds=[number * width for number in range(count)],
        rate_bytes_per_second={name: _rates(columns, began, width, count) for name, columns in moving.items()},
        p50_seconds={name: [percentile(of, 50) if of else None for of in bins] for name, bins in latencies.items()},
        p99_seconds={name: [percentile(of, 99) if of else None for of in bins] for name, bins in latencies.items()},
        errors=errors,
    )


def _rates(columns: _Columns, began: float, width: float, count: int) -> list[float]:
    """Bytes per second in each bin. The bytes of an operation are spread evenly over its duration.

    The first and the last bin of an operation get their share at once. For the full bins between, `steps` notes where
    the share begins and where it ends, and a running sum over `steps` adds it to each of them: so an operation takes
    the same time however many bins it covers.
    """
    bins = [0.0] * count
    steps = [0.0] * (count + 1)
    for start, seconds, size in zip(columns.starts, columns.seconds, columns.sizes, strict=True):
        low, high = (start - began) / width, (start + seconds - began) / width
        first, last = min(count - 1, int(low)), min(count - 1, int(high))
        if first == last:
            bins[first] += size
        else:
            each = size / (high - low)
            bins[first] += each * (first + 1 - low)
            bins[last] += each * (high - last)
            steps[first + 1] += each
            steps[last] -= each
    filled = 0.0
    for number in range(count):
        filled += steps[number]
        bins[number] = max(0.0, bins[number] + filled) / width
    return bins


def _latencies(columns: _Columns, began: float, width: float, count: int) -> list[list[float]]:
    bins: list[list[float]] = [[] for _ in range(count)]
    for start, seconds in zip(columns.starts, columns.seconds, strict=True):
        bins[min(count - 1, int((start - began) / width))].append(seconds)
    for values in bins:
        values.sort()
    return bins


def _endpoints(totals: dict[str, list[int]]) -> list[EndpointShare]:
    shares = [EndpointShare(redaction.text(url), *total) for url, total in totals.items()]
    return sorted(shares, key=lambda share: (-share.bytes, -share.requests, share.url))


def _checkpoints(files: dict[tuple[str, str], list[tuple[float, float, int]]], began: float) -> list[Checkpoint]:
    found = []
    for (kind, name), parts in files.items():
        seconds = covered((start, end) for start, end, _ in parts)
        size = sum(size for _, _, size in parts)
        start = min(start for start, _, _ in parts) - began
        found.append(Checkpoint(name, kind, start, len(parts), size, seconds, size / seconds if seconds else 0.0))
    return sorted(found, key=lambda checkpoint: checkpoint.start_seconds)


def _checkpoint_name(uri: str) -> str:
    for pattern in _CHECKPOINT:
        match = pattern.search(uri)
        if match:
            return f"epoch {match[1]}, step {match[2]}"
    return redaction.text(uri.rpartition("/")[2])
