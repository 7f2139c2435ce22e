# SPDX-License-Identifier: Apache-2.0
"""What went through s3dlio while DLIO ran: one JSON line per operation.

Strategy: DLIO's work is spread over MPI ranks and DataLoader workers, forked or spawned, that are killed
rather than ended. Counters in memory would die with them, so every operation is appended to a file of its
own process, `<folder>/<host>-<pid>.jsonl`, by a single write to a descriptor opened with O_APPEND. The
folder is the value of S3DLIO_METRICS_DIR, which children inherit; without it nothing is recorded.

A line also tells what the process has exchanged with each endpoint since its line before. Operations of several
threads overlap, so that this is not the one operation's own; but each request is in exactly one line, and the sum over
all lines is exact.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from s3dlio import forks
from s3dlio.errors import S3dlioError
from s3dlio.http.endpoints import traffic

# How every error message of ours begins in DLIO's output.
ORIGIN = "[s3dlio] "
FOLDER_VARIABLE = "S3DLIO_METRICS_DIR"
FOLDER_NAME = "s3dlio-metrics"  # in DLIO's output folder, where the variable is not set

# The open file by process and folder: a forked child opens its own.
_descriptors: dict[tuple[int, str], int] = {}

# The requests and bytes by endpoint that lines of this process, or its parent before the fork, account for.
_accounted: dict[str, tuple[int, int]] = {}
_accounting = forks.ForkSafeLock()


class Operation:
    """One operation, recorded when the `with` block ends, with its error if it ended by one.

    Args:
        kind: what DLIO did: `generate`, `read`, `index`, `checkpoint_write`, `checkpoint_read`, or the storage
            call (`put`, `get`, `list`, `stat`, `exists`, `mkdir`, `delete`).
        uri: what it did it to.

    The block sets `bytes` to the size of the body that moved. An error of s3dlio leaves it with `[s3dlio]` before its
    message, for DLIO's log.
    """

    def __init__(self, kind: str, uri: str) -> None:
        self.kind = kind
        self.uri = uri
        self.bytes = 0

    def __enter__(self) -> Operation:
        self._start = time.time()
        self._clock = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._record(error)
        if isinstance(error, S3dlioError) and not str(error).startswith(ORIGIN):
            # DLIO shows what was raised, in a worker without the module that raised it.
            error.args = (ORIGIN + str(error), *error.args[1:])

    def _record(self, error: BaseException | None) -> None:
        descriptor = _descriptor()
        if descriptor is None:
            return
        record: dict[str, object] = {
            "kind": self.kind,
            "uri": self.uri,
            "scheme": self.uri.partition("://")[0],
            "bytes": self.bytes,
            "start": self._start,
            "seconds": time.perf_counter() - self._clock,
            "ok": error is None,
            "error": None if error is None else f"{type(error).__name__}: {error}",
        }
        exchanged = _exchanged()
        if exchanged:
            record["endpoints"] = exchanged
        os.write(descriptor, json.dumps(record).encode() + b"\n")


def _descriptor() -> int | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    process = os.getpid()
    descriptor = _descriptors.get((process, folder))
    if descriptor is None:
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{socket.gethostname()}-{process}.jsonl")
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        descriptor = _descriptors.setdefault((process, folder), opened)
        if descriptor != opened:  # another thread was first
            os.close(opened)
    return descriptor


def _exchanged() -> dict[str, dict[str, int]]:
    """The requests and bytes by endpoint that no line accounts for yet, and that the caller's line will."""
    found = {}
    with _accounting.lock:
        for url, total in list(traffic.items()):
            requests, size = total.requests, total.bytes
            before = _accounted.get(url, (0, 0))
            if (requests, size) != before:
                found[url] = {"requests": requests - before[0], "bytes": size - before[1]}
                _accounted[url] = requests, size
    return found


@forks.in_child
def _account_after_fork() -> None:
    """What was exchanged before the fork is the parent's to write down."""
    _accounted.update({url: (total.requests, total.bytes) for url, total in traffic.items()})


def clear(folder: str | os.PathLike[str]) -> None:
    """Remove what an earlier run recorded."""
    for path in Path(folder).glob("*.jsonl"):
        path.unlink()


@dataclass
class Totals:
    """The sum over all operations of one kind.

    Attributes:
        operations: how many ended well.
        errors: how many ended with an error.
        bytes: body bytes moved by those that ended well.
        seconds: the sum of their durations.
        busy: seconds during which at least one of them was under way, so `bytes / busy` is the rate of all
            processes together.
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
    """Seconds that lie in at least one of these spans of time, each given by its begin and its end."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def summarise(folder: str | os.PathLike[str]) -> dict[str, Totals]:
    """Add up what all processes of a run recorded.

    Args:
        folder: the folder that S3DLIO_METRICS_DIR named during the run.

    Returns:
        The totals by kind of operation, kinds in alphabetical order; empty if nothing was recorded.
    """
    totals: dict[str, Totals] = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            # The process can have been killed, or be writing at this moment.
            if line.endswith(b"\n"):
                record = json.loads(line)
                totals.setdefault(record["kind"], Totals()).add(record)
    return dict(sorted(totals.items()))
