# SPDX-License-Identifier: Apache-2.0
"""Reads what DLIO has written into its output folder; both 2.0.0 and the main branch, and even if the run was killed.

Strategy: DLIO writes most numbers when a run ends: `summary.json`; the steps of each rank in `<rank>_output.json`; the
times of each epoch in `per_epoch_stats.json` (2.0.0) or `<rank>_per_epoch_stats.json` (main). A run that was killed has
only its log, in which rank 0 reports each epoch when it ends. The files are read from the least to the most accurate,
and a later one replaces the numbers of an earlier one. A missing or damaged file is a note, not an error.

DLIO writes local times without their time zone. They are read as UTC, and `Results.shifted` corrects them by the clock
of the recorded operations.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from s3dlio import redaction

MOST_MESSAGES = 50

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?")
_EPOCH = re.compile(r"(Starting|Ending) epoch (\d+)\b")
_BLOCK = re.compile(r"Epoch (\d+) - Block \d+ \[Training\] (Accelerator Utilization|Throughput) [^:]*: (\d+(?:\.\d+)?)")
_MESSAGE = re.compile(r"\[(WARNING|ERROR|CRITICAL)\]\s*(.*?)(?:\s\[\S+:\d+\])?$")
_QUARTER = 900.0  # seconds; time zones differ by multiples of a quarter of an hour


@dataclass
class Epoch:
    """One epoch; an attribute that is not known is None.

    Attributes:
        start, end: in seconds since 1970.
        utilisation_percent: utilization of the accelerators, mean over the ranks.
        samples_per_second: samples of all ranks.
        steps: training steps of all ranks.
        waiting_percent: the share of the time of these steps in which a rank waited for its batch.
        evaluation_utilisation_percent, evaluation_samples_per_second: utilization and samples of the evaluation.
    """

    epoch: int
    start: float | None = None
    end: float | None = None
    utilisation_percent: float | None = None
    samples_per_second: float | None = None
    steps: int | None = None
    waiting_percent: float | None = None
    evaluation_utilisation_percent: float | None = None
    evaluation_samples_per_second: float | None = None


@dataclass
class Results:
    """What DLIO wrote about a run; a number that is not known is None.

    Attributes:
        folder: DLIO's output folder.
        files: the names of the files that were found in it.
        workload: the name of the workload's configuration, such as "unet3d_h100", or "".
        start: in seconds since 1970.
        ranks, hosts: how many there were.
        expected_utilisation_percent: the utilization that the workload requires.
        mean_utilisation_percent, mean_samples_per_second: means over the epochs.
        metric: the averages in the summary, by DLIO's names, which end in their units.
        settings: values by name, as text, with secrets hidden.
        messages: the first `MOST_MESSAGES` warnings and errors in the log, as (level, text).
        notes: what is missing or could not be read, and how that limits the report.
    """

    folder: Path
    files: list[str] = field(default_factory=list)
    workload: str = ""
    start: float | None = None
    ranks: int | None = None
    hosts: int | None = None
    expected_utilisation_percent: float | None = None
    mean_utilisation_percent: float | None = None
    mean_samples_per_second: float | None = None
    metric: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def shifted(self, first_operation: float) -> Results:
        """These results with all times corrected by the clock of the recorded operations.

        DLIO writes its first time within seconds of the first operation. The difference between the two, rounded to a
        quarter of an hour, is the time zone.
        """
        if self.start is None:
            return self
        offset = round((first_operation - self.start) / _QUARTER) * _QUARTER
        epochs = [
            dataclasses.replace(
                epoch,
                start=None if epoch.start is None else epoch.start + offset,
                end=None if epoch.end is None else epoch.end + offset,
            )
            for epoch in self.epochs
        ]
        return dataclasses.replace(self, start=self.start + offset, epochs=epochs)


def read_results(folder: Path) -> Results:
    """Read what DLIO has written into its output folder. An empty folder gives empty results."""
    return _Reader(folder).read()


class _Reader:
    """Reads the files of one folder into one `Results`."""

    def __init__(self, folder: Path) -> None:
        self._results = Results(folder)
        self._epochs: dict[int, Epoch] = {}
        self._ranks_known = False

    def read(self) -> Results:
        results = self._results
        self._read_log()
        self._read_epoch_stats()
        self._read_ranks()
        self._read_summary()
        self._read_settings()
        results.epochs = [self._epochs[number] for number in sorted(self._epochs)]
        if results.start is None:
            results.start = min((epoch.start for epoch in results.epochs if epoch.start is not None), default=None)
        return results

    def _epoch(self, number: int) -> Epoch:
        return self._epochs.setdefault(number, Epoch(number))

    # The log, which a killed run has, too...

    def _read_log(self) -> None:
        path = self._results.folder / "dlio.log"
        blocks: dict[tuple[int, str], list[float]] = {}
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self._read_line(line.rstrip(), blocks)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._note(f"dlio.log cannot be read: {error.strerror}.")
            return
        self._results.files.append("dlio.log")
        for (number, what), values in blocks.items():
            mean = sum(values) / len(values)
            if what == "Throughput":
                self._epoch(number).samples_per_second = mean
            else:
                self._epoch(number).utilisation_percent = mean

    def _read_line(self, line: str, blocks: dict[tuple[int, str], list[float]]) -> None:
        results = self._results
        if line.startswith(("[WARNING", "[ERROR", "[CRITICAL")):
            message = _MESSAGE.match(line)
            if message and len(results.messages) < MOST_MESSAGES:
                results.messages.append((message[1].lower(), redaction.text(message[2])))
            return
        if results.start is None and (time := _TIME.search(line)):
            results.start = _seconds(time[0])
        if "poch " not in line:
            return
        if block := _BLOCK.search(line):
            blocks.setdefault((int(block[1]), block[2]), []).append(float(block[3]))
        elif (border := _EPOCH.search(line)) and (time := _TIME.search(line)):
            epoch = self._epoch(int(border[2]))
            if border[1] == "Starting":
                epoch.start = _seconds(time[0])
            else:
                epoch.end = _seconds(time[0])

    # The numbers that DLIO writes when a run ends...

    def _read_epoch_stats(self) -> None:
        for name in ("per_epoch_stats.json", "0_per_epoch_stats.json"):
            for key, stats in self._document(name).items():
                if key.isdecimal() and isinstance(stats, dict):
                    epoch = self._epoch(int(key))
                    epoch.start = _seconds(stats.get("start")) or epoch.start
                    epoch.end = _seconds(stats.get("end")) or epoch.end

    def _read_ranks(self) -> None:
        names = sorted(path.name for path in self._results.folder.glob("*_output.json"))
        ranks: dict[int, list[_RankEpoch]] = {}
        for name in names:
            for key, epoch in self._document(name).items():
                if key.isdecimal() and (rank := _rank_epoch(epoch)) is not None:
                    ranks.setdefault(int(key), []).append(rank)
        self._ranks_known = bool(ranks)
        for number, parts in ranks.items():
            epoch = self._epoch(number)
            epoch.steps = sum(part.steps for part in parts)
            total = sum(part.seconds for part in parts)
            epoch.waiting_percent = 100 * sum(part.waiting for part in parts) / total if total else None
            epoch.utilisation_percent = sum(part.utilization for part in parts) / len(parts)
            epoch.samples_per_second = sum(part.throughput for part in parts)

    def _read_summary(self) -> None:
        results = self._results
        summary = self._document("summary.json")
        if not summary:
            if results.files and "summary.json" not in results.files:
                source = "the steps of all ranks" if self._ranks_known else "rank 0's messages in dlio.log"
                self._note(
                    "There is no summary.json: the run ended before DLIO wrote it. The numbers of the epochs are from "
                    f"{source}."
                )
            return
        results.start = _seconds(summary.get("start")) or results.start
        results.ranks = _count(summary.get("num_accelerators"))
        results.hosts = _count(summary.get("num_hosts"))
        metric = summary.get("metric")
        results.metric = metric if isinstance(metric, dict) else {}
        results.mean_utilisation_percent = _number(results.metric.get("train_au_mean_percentage"))
        results.mean_samples_per_second = _number(results.metric.get("train_throughput_mean_samples_per_second"))
        for key, attribute in {
            "train_au_percentage": "utilisation_percent",
            "train_throughput_samples_per_second": "samples_per_second",
            "eval_au_percentage": "evaluation_utilisation_percent",
            "eval_throughput_samples_per_second": "evaluation_samples_per_second",
        }.items():
            values = results.metric.get(key)
            for number, value in enumerate(values if isinstance(values, list) else [], 1):
                setattr(self._epoch(number), attribute, _number(value))

    # The settings...

    def _read_settings(self) -> None:
        results = self._results
        folder = results.folder / ".hydra"
        if not folder.is_dir():
            if results.files:
                self._note("There is no folder .hydra, so the settings of the run are not known.")
            return
        config = self._yaml(".hydra/config.yaml")
        tree = config.get("workload", config) if isinstance(config, dict) else None
        if isinstance(tree, dict):
            for name, value in _flat(redaction.tree(tree)):
                results.settings[name] = redaction.setting(name, value)
            results.expected_utilisation_percent = _expected(tree)
        overrides = self._yaml(".hydra/overrides.yaml")
        for override in overrides if isinstance(overrides, list) else []:
            name, _, value = str(override).partition("=")
            if name.lstrip("+") == "workload":
                results.workload = redaction.text(value)

    # Files...

    def _document(self, name: str) -> dict[str, Any]:
        """The object in a JSON file; empty if the file does not exist; empty, with a note, if it is damaged."""
        try:
            value = json.loads((self._results.folder / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._results.files.append(name)
            why = error.strerror if isinstance(error, OSError) else "the file is truncated or damaged"
            self._note(f"{name} cannot be read: {why}.")
            return {}
        self._results.files.append(name)
        return value if isinstance(value, dict) else {}

    def _yaml(self, name: str) -> Any:
        import yaml

        try:
            value = yaml.safe_load((self._results.folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, yaml.YAMLError):
            self._note(f"{name} cannot be read: the file is truncated or damaged.")
            value = None
        self._results.files.append(name)
        return value

    def _note(self, text: str) -> None:
        self._results.notes.append(text)


class _RankEpoch(NamedTuple):
    """An epoch on one rank.

    Attributes:
        seconds, waiting: the time of all steps, and the part of it in which the rank waited for its batch.
        utilization: percent.
        throughput: samples per second.
    """

    steps: int
    seconds: float
    waiting: float
    utilization: float
    throughput: float


def _rank_epoch(epoch: Any) -> _RankEpoch | None:
    """What DLIO wrote about an epoch on one rank; None if it has no training step, or is damaged."""
    try:
        steps = {block: times for block, times in epoch["proc"].items() if block != "eval"}
        counts = {block: len(times) for block, times in steps.items()}
        total = sum(counts.values())
        if not total:
            return None
        # Means over the blocks, weighted by their steps, as DLIO computes them.
        utilization, throughput = (
            sum(epoch[what][block] * counts[block] for block in steps) / total for what in ("au", "throughput")
        )
        waiting = sum(sum(epoch["load"][block]) for block in steps)
        return _RankEpoch(total, sum(map(sum, steps.values())), waiting, utilization, throughput)
    except (KeyError, TypeError, AttributeError):
        return None


def _flat(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a tree of settings, as (dotted name, value as text). Mappings in a list are numbered from 0."""
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def _expected(tree: dict[str, Any]) -> float | None:
    metric = tree.get("metric")
    share = _number(metric.get("au")) if isinstance(metric, dict) else None
    return None if share is None else share * 100


def _seconds(moment: object) -> float | None:
    """One of DLIO's times in seconds since 1970, read as UTC; None if it is damaged."""
    try:
        return datetime.fromisoformat(str(moment)).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def _number(value: object) -> float | None:
    """The value if it is a finite number. DLIO writes NaN for a mean over no samples."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
