# SPDX-License-Identifier: Apache-2.0
"""All numbers of a report, from both accounts of a run: DLIO's and that of the recorded operations."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from s3dlio.dlio.record.records import FOLDER_NAME
from s3dlio.dlio.report.results import Results, read_results
from s3dlio.dlio.report.statistics import Statistics, read_records
from s3dlio.errors import ObjectNotFoundError

_LOOKED_FOR = (
    f"summary.json, dlio.log, *_output.json, *per_epoch_stats.json and .hydra of DLIO, and {FOLDER_NAME}/*.jsonl"
)


@dataclass(frozen=True)
class Report:
    """The numbers of a report.

    Attributes:
        metrics: the folder of the recorded operations; None if there is none.
        notes: what the reader should know of what is missing.
    """

    results: Results
    operations: Statistics
    metrics: Path | None
    notes: list[str]

    @property
    def title(self) -> str:
        """What was run."""
        return self.results.workload or self.results.folder.resolve().name

    def document(self) -> dict[str, Any]:
        """The numbers as JSON has them. Every key of a number that has a unit names it."""
        results, operations = self.results, self.operations
        began = operations.began
        return {
            "format": 1,
            "workload": results.workload,
            "results_folder": str(results.folder),
            "metrics_folder": None if self.metrics is None else str(self.metrics),
            "began": None if began is None else datetime.fromtimestamp(began, timezone.utc).isoformat(),
            "seconds": operations.seconds,
            "ranks": results.ranks,
            "hosts": results.hosts,
            "processes": operations.processes,
            "schemes": operations.schemes,
            "expected_utilisation_percent": results.expected_utilisation_percent,
            "dlio": {key: _finite(value) for key, value in results.metric.items()},
            "epochs": [_finite(self._epoch(dataclasses.asdict(epoch))) for epoch in results.epochs],
            "operations": _listed(operations.kinds),
            "series": dataclasses.asdict(operations.series),
            "endpoints": _listed(operations.endpoints),
            "checkpoints": _listed(operations.checkpoints),
            "errors": {"count": operations.errors, "first": _listed(operations.failures)},
            "messages": [{"level": level, "text": text} for level, text in results.messages],
            "settings": results.settings,
            "notes": self.notes,
        }

    def _epoch(self, epoch: dict[str, Any]) -> dict[str, Any]:
        for name in ("start", "end"):
            epoch[f"{name}_seconds"] = self.since_began(epoch.pop(name))
        return epoch

    def since_began(self, moment: float | None) -> float | None:
        """Seconds from the first operation, or, where none was recorded, from DLIO's start; None if not known."""
        origin = self.operations.began if self.operations.began is not None else self.results.start
        return None if moment is None or origin is None else moment - origin


def collect(folder: Path, metrics: Path | None = None) -> Report:
    """Read everything that a run has left.

    Args:
        folder: DLIO's output folder (`hydra.run.dir`); or a folder of recorded operations alone.
        metrics: the folder of recorded operations if it lies elsewhere (S3DLIO_METRICS_DIR).

    Raises:
        ObjectNotFoundError: nothing of a run is there; the message says what was looked for.
    """
    if not folder.is_dir():
        raise ObjectNotFoundError(f"{folder} is no folder: expected DLIO's output folder (hydra.run.dir)")
    if metrics is not None and not any(metrics.glob("*.jsonl")):
        raise ObjectNotFoundError(f"{metrics} holds no recorded operations: there is no *.jsonl in it")
    if metrics is None:
        places = (folder / FOLDER_NAME, folder)
        metrics = next((place for place in places if any(place.glob("*-*.jsonl"))), None)
    results, operations = read_results(folder), read_records(metrics)
    if not results.files and metrics is None:
        raise ObjectNotFoundError(f"{folder} holds no results of DLIO: looked for {_LOOKED_FOR}{_elsewhere(folder)}")
    if operations.began is not None:
        results = results.shifted(operations.began)
    return Report(results, operations, metrics, [*results.notes, *_notes(results, operations, metrics)])


def _elsewhere(folder: Path) -> str:
    """Names runs that lie below the folder: DLIO's default is hydra_log/<model>/<time>."""
    patterns = [f"{'*/' * depth}{name}" for depth in (1, 2, 3) for name in ("summary.json", "dlio.log")]
    runs = {str(path.parent) for pattern in patterns for path in folder.glob(pattern)}
    if not runs:
        return ""
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"; below it there is {', '.join(sorted(runs)[-3:])}{more}"


def _notes(results: Results, operations: Statistics, metrics: Path | None) -> list[str]:
    notes = []
    if not results.files:
        notes.append("There is no output of DLIO: utilisation, epochs and settings are not known.")
    if metrics is None:
        notes.append(
            "No operation was recorded: rates, latencies, endpoints and checkpoints are not known. If "
            "S3DLIO_METRICS_DIR was set during the run, name that folder with --metrics."
        )
    elif operations.began is None:
        notes.append(f"No operation could be read from {metrics}.")
    if operations.began is not None and _older(results.folder / "summary.json", operations.began):
        notes.append(
            "summary.json is older than the recorded operations: DLIO's figures are those of an earlier run in the "
            "same folder."
        )
    if operations.unreadable_lines:
        lines = "1 line" if operations.unreadable_lines == 1 else f"{operations.unreadable_lines} lines"
        notes.append(
            f"{lines} of {metrics} could not be read and were left out: a process that is killed while it writes "
            "leaves one."
        )
    reads = operations.kind("read")
    if operations.began is not None and (reads is None or not reads.operations):
        notes.append("No sample was read.")
    return notes


def _older(path: Path, moment: float) -> bool:
    """Whether a file is there that was last written before a time in seconds since 1970."""
    try:
        return path.stat().st_mtime < moment
    except OSError:
        return False


def _listed(items: list[Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(item) for item in items]


def _finite(value: Any) -> Any:
    """The value with None for what is no number, which JSON cannot write."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
