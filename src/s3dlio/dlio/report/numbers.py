# SPDX-License-Identifier: Apache-2.0
"""All numbers of a report: what DLIO measured, and what the recorded operations add up to."""

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

_SEARCHED_FOR = (
    f"summary.json, dlio.log, *_output.json, *per_epoch_stats.json and .hydra of DLIO, and {FOLDER_NAME}/*.jsonl"
)


@dataclass(frozen=True)
class Report:
    """The numbers of a report.

    Attributes:
        results: what DLIO wrote about the run.
        recorded: what the recorded operations add up to.
        metrics: the folder of the recorded operations, or None if the run recorded none.
        notes: what is missing, and how that limits the report.
    """

    results: Results
    recorded: Statistics
    metrics: Path | None
    notes: list[str]

    @property
    def title(self) -> str:
        """The name of the workload, or of the folder if the workload is not known."""
        return self.results.workload or self.results.folder.resolve().name

    def document(self) -> dict[str, Any]:
        """The numbers for JSON. The key of a number with a unit ends in that unit."""
        results, recorded = self.results, self.recorded
        began = recorded.began
        return {
            "format": 1,
            "workload": results.workload,
            "results_folder": str(results.folder),
            "metrics_folder": None if self.metrics is None else str(self.metrics),
            "began": None if began is None else datetime.fromtimestamp(began, timezone.utc).isoformat(),
            "seconds": recorded.seconds,
            "ranks": results.ranks,
            "hosts": results.hosts,
            "processes": recorded.processes,
            "schemes": recorded.schemes,
            "expected_utilisation_percent": results.expected_utilisation_percent,
            "dlio": {key: _finite(value) for key, value in results.metric.items()},
            "epochs": [_finite(self._epoch(dataclasses.asdict(epoch))) for epoch in results.epochs],
            "operations": _listed(recorded.kinds),
            "series": dataclasses.asdict(recorded.series),
            "endpoints": _listed(recorded.endpoints),
            "checkpoints": _listed(recorded.checkpoints),
            "errors": {"count": recorded.errors, "first": _listed(recorded.failures)},
            "messages": [{"level": level, "text": text} for level, text in results.messages],
            "settings": results.settings,
            "notes": self.notes,
        }

    def _epoch(self, epoch: dict[str, Any]) -> dict[str, Any]:
        for name in ("start", "end"):
            epoch[f"{name}_seconds"] = self.since_began(epoch.pop(name))
        return epoch

    def since_began(self, moment: float | None) -> float | None:
        """Seconds since the first operation; since DLIO's start if no operation was recorded; None if not known."""
        origin = self.recorded.began if self.recorded.began is not None else self.results.start
        return None if moment is None or origin is None else moment - origin


def collect(folder: Path, metrics: Path | None = None) -> Report:
    """Read everything that a run has left.

    Args:
        folder: DLIO's output folder (`hydra.run.dir`), or a folder that holds recorded operations alone.
        metrics: the folder of recorded operations, if it is not in the output folder (S3DLIO_METRICS_DIR).

    Raises:
        ObjectNotFoundError: the folder holds nothing of a run; the message says what was searched for.
    """
    if not folder.is_dir():
        raise ObjectNotFoundError(f"{folder} is not a folder: expected DLIO's output folder (hydra.run.dir)")
    if metrics is not None and not any(metrics.glob("*.jsonl")):
        raise ObjectNotFoundError(f"{metrics} holds no recorded operations: expected files *.jsonl in it")
    if metrics is None:
        candidates = (folder / FOLDER_NAME, folder)
        metrics = next((candidate for candidate in candidates if any(candidate.glob("*-*.jsonl"))), None)
    results, recorded = read_results(folder), read_records(metrics)
    if not results.files and metrics is None:
        raise ObjectNotFoundError(f"{folder} holds no results of DLIO: searched for {_SEARCHED_FOR}{_below(folder)}")
    if recorded.began is not None:
        results = results.shifted(recorded.began)
    return Report(results, recorded, metrics, [*results.notes, *_notes(results, recorded, metrics)])


def _below(folder: Path) -> str:
    """The latest runs in folders below, for the message: DLIO's default folder is hydra_log/<model>/<time>."""
    patterns = [f"{'*/' * depth}{name}" for depth in (1, 2, 3) for name in ("summary.json", "dlio.log")]
    runs = {str(path.parent) for pattern in patterns for path in folder.glob(pattern)}
    if not runs:
        return ""
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"; folders with results are {', '.join(sorted(runs)[-3:])}{more}"


def _notes(results: Results, recorded: Statistics, metrics: Path | None) -> list[str]:
    notes = []
    if not results.files:
        notes.append("There is no output of DLIO, so utilization, epochs and settings are not known.")
    if metrics is None:
        notes.append(
            "No operation was recorded, so rates, latencies, endpoints and checkpoints are not known. If "
            "S3DLIO_METRICS_DIR was set during the run, name its folder with --metrics."
        )
    elif recorded.began is None:
        notes.append(f"No operation could be read from {metrics}.")
    if recorded.began is not None and _older(results.folder / "summary.json", recorded.began):
        notes.append(
            "summary.json is older than the recorded operations: DLIO's numbers are those of an earlier run in the "
            "same folder."
        )
    if recorded.unreadable_lines:
        lines = "1 line" if recorded.unreadable_lines == 1 else f"{recorded.unreadable_lines} lines"
        notes.append(
            f"{lines} of {metrics} could not be read and were left out. A process that is killed while it writes "
            "leaves such a line."
        )
    reads = recorded.kind("read")
    if recorded.began is not None and (reads is None or not reads.operations):
        notes.append("No sample was read.")
    return notes


def _older(path: Path, moment: float) -> bool:
    """Whether a file exists and was last written before a time, given in seconds since 1970."""
    try:
        return path.stat().st_mtime < moment
    except OSError:
        return False


def _listed(items: list[Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(item) for item in items]


def _finite(value: Any) -> Any:
    """The value, with None for NaN and infinity, which JSON cannot write."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
