# SPDX-License-Identifier: Apache-2.0
"""Records what goes through s3dlio while DLIO runs: one JSON line per operation.

Strategy: DLIO spreads its work over MPI ranks and DataLoader workers, forked or spawned, and kills the workers instead
of ending them. Counters in memory would be lost with a worker. So each process appends every operation to a file of its
own, `<folder>/<host>-<pid>.jsonl`, by a single write to a descriptor opened with O_APPEND. The environment variable
S3DLIO_METRICS_DIR names the folder, so that child processes inherit it; without the variable nothing is recorded.

A line also holds the requests and bytes that the process has exchanged with each endpoint since its previous line.
Operations of several threads overlap, so these numbers do not belong to the operation of that line alone. But each
request is counted in exactly one line, so the sum over all lines is exact.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from s3dlio import diagnostics, forks
from s3dlio.errors import S3dlioError

ORIGIN = "[s3dlio] "  # how each error message of s3dlio begins in DLIO's output
FOLDER_VARIABLE = "S3DLIO_METRICS_DIR"
FOLDER_NAME = "s3dlio-metrics"  # in DLIO's output folder, used if the variable is not set

# The open file by process and folder: a forked child opens its own.
_descriptors: dict[tuple[int, str], int] = {}

# By endpoint, the requests and bytes that lines of this process already account for.
_accounted: dict[str, tuple[int, int]] = {}
_accounting = forks.ForkSafeLock()


class Record:
    """Records one operation when the `with` block ends, with the error if the block raised one.

    The block sets `bytes` to the size of the body that it moved. An error of s3dlio leaves the block with `[s3dlio]`
    before its message, so that DLIO's log shows where the error comes from.

    Args:
        kind: what DLIO did: `generate`, `read`, `index`, `checkpoint_write`, `checkpoint_read`, or the storage
            call (`put`, `get`, `list`, `stat`, `exists`, `mkdir`, `delete`).
        uri: the object or folder concerned.
    """

    def __init__(self, kind: str, uri: str) -> None:
        self.kind = kind
        self.uri = uri
        self.bytes = 0

    def __enter__(self) -> Record:
        self._start = time.time()
        self._clock = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write(error)
        if isinstance(error, S3dlioError) and not str(error).startswith(ORIGIN):
            # In the message, not in a traceback: DLIO shows an error of a worker without the module that raised it.
            error.args = (ORIGIN + str(error), *error.args[1:])

    def _write(self, error: BaseException | None) -> None:
        descriptor = _descriptor()
        if descriptor is None:
            return
        line: dict[str, object] = {
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
            line["endpoints"] = exchanged
        os.write(descriptor, json.dumps(line).encode() + b"\n")


def _descriptor() -> int | None:
    """This process's file in the folder that the environment names now; None if it names no folder."""
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
    """The requests and bytes by endpoint that no line accounts for yet. From now on the caller's line does."""
    found = {}
    with _accounting.lock:
        for url, (requests, size) in diagnostics.traffic().items():
            before = _accounted.get(url, (0, 0))
            if (requests, size) != before:
                found[url] = {"requests": requests - before[0], "bytes": size - before[1]}
                _accounted[url] = requests, size
    return found


@forks.in_child
def _account_after_fork() -> None:
    """Leave the traffic before the fork to the parent, whose lines account for it."""
    _accounted.update(diagnostics.traffic())


def clear(folder: str | os.PathLike[str]) -> None:
    """Remove the lines of an earlier run."""
    for path in Path(folder).glob("*.jsonl"):
        path.unlink()
