# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a small unet3d workload of DLIO on s3dlio, from an empty folder to a table and a report of results.

Strategy: the workload runs on a folder of this machine, then on an S3 server, SeaweedFS, which is started for the demo
on a free port of the loopback interface. If SeaweedFS is not installed, the demo says so and runs on the folder alone.
Each target is one run of `python -m s3dlio.integrations.dlio` in a process of its own: generate, two epochs of
training, a checkpoint after each. Progress and table are made from the recorded operations, so they show what really
went through s3dlio. A run that generates, reads or saves less than it should is a failure. The sizes of MLPerf
Storage's unet3d are scaled down and its proportions kept, so that a run takes half a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import s3dlio
from s3dlio.dlio.record.records import FOLDER_VARIABLE
from s3dlio.dlio.record.totals import Totals, summarise
from s3dlio.dlio.report import HTML_NAME, write_report
from s3dlio.errors import ConfigurationError
from tests.servers import install, seaweedfs
from tests.servers.base import running

FILES = 48
FILE_BYTES = 8 << 20
BATCH = 4
EPOCHS = 2
# Seconds of simulated computing per batch. Two workers read a batch in about half of it on two cores.
COMPUTATION_TIME = 0.12
MODEL_BYTES = 128 << 20

RESULTS = Path("demo-results")
BUCKET = "s3://demo"

# The phases of a run: the kind of operation that shows its progress, and how many of these it takes.
PHASES = {"generate": FILES, "read": FILES * EPOCHS, "checkpoint_write": EPOCHS}


@dataclass(frozen=True)
class Target:
    """A storage to run the workload on.

    Attributes:
        title: the title of the table, and the name of the folder with the results.
        storage_root: URI of the folder for data and checkpoints.
        environment: variables that this storage needs, such as credentials and an endpoint.
    """

    title: str
    storage_root: str
    environment: Mapping[str, str] = field(default_factory=dict)


def workload(storage_root: str, output: Path) -> list[str]:
    """The arguments of DLIO for one run. DLIO ignores keys that only its other version has."""
    settings = {
        "storage.storage_type": "s3dlio",
        "storage.storage_root": storage_root,
        "workflow.generate_data": True,
        "dataset.num_files_train": FILES,
        "dataset.record_length": FILE_BYTES,
        "dataset.record_length_stdev": 0,
        "dataset.record_length_resize": FILE_BYTES // 64,
        "dataset.record_length_bytes": FILE_BYTES,
        "dataset.record_length_bytes_stdev": 0,
        "dataset.record_length_bytes_resize": FILE_BYTES // 64,
        "reader.batch_size": BATCH,
        "reader.read_threads": 2,
        "train.epochs": EPOCHS,
        "train.computation_time": COMPUTATION_TIME,
        "checkpoint.checkpoint_after_epoch": 1,
        "checkpoint.epochs_between_checkpoints": 1,
        "checkpoint.model_size": MODEL_BYTES,
        "checkpoint.num_layers": 0,
        "model.model_size_bytes": MODEL_BYTES,
    }
    overrides = [f"++workload.{key}={_quoted(value)}" for key, value in settings.items()]
    return ["workload=unet3d_h100", f"hydra.run.dir={_quoted(str(output))}", *overrides]


@dataclass(frozen=True)
class Outcome:
    """The results of a successful run.

    Attributes:
        operations: number of operations that went through s3dlio.
        bytes: bytes that they moved.
        samples_per_second: DLIO's measurement, over all epochs.
        utilization: accelerator utilization in percent, DLIO's measurement over all epochs.
        checkpoint_rate: bytes per second while checkpoints were written.
        folder: the folder of data, log and results.
    """

    operations: int
    bytes: int
    samples_per_second: float
    utilization: float
    checkpoint_rate: float
    folder: Path


def run(target: Target, folder: Path, console: Console) -> Outcome | None:
    """Run the workload on one target and print its table; if it fails, print the end of its log and return None."""
    output, log = folder / "dlio", folder / "dlio.log"
    metrics = folder / "operations"
    metrics.mkdir(parents=True)
    environment = {**os.environ, **target.environment, FOLDER_VARIABLE: str(metrics)}
    command = [sys.executable, "-m", "s3dlio.integrations.dlio", *workload(target.storage_root, output)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            _follow(process, metrics, target.title, console)
        finally:
            process.kill()
            process.wait()
    totals = summarise(metrics)
    missing = [kind for kind, count in PHASES.items() if kind not in totals or totals[kind].operations < count]
    if process.returncode or missing:
        console.print(f"DLIO on {target.title} ended with status {process.returncode}", style="bold red")
        for kind in missing:
            done = totals[kind].operations if kind in totals else 0
            console.print(f"{kind}: {done} operations, {PHASES[kind]} expected", style="red")
        console.print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), markup=False, highlight=False)
        console.print(f"the whole log: {log}", soft_wrap=True, markup=False, highlight=False)
        return None
    outcome = _outcome(totals, folder, output)
    console.print(_table(target, totals, outcome))
    console.print(f"results: {folder}", soft_wrap=True, markup=False, highlight=False)
    try:
        page, _ = write_report(output, metrics=metrics, html=folder / HTML_NAME)
        line = f"report:  {page}"
    except ConfigurationError as error:  # the extra is not installed
        line = f"no report: {error}"
    console.print(line, soft_wrap=True, markup=False, highlight=False)
    return outcome


def _outcome(totals: Mapping[str, Totals], folder: Path, output: Path) -> Outcome:
    metric = json.loads((output / "summary.json").read_text())["metric"]
    checkpoints = totals["checkpoint_write"]
    return Outcome(
        sum(total.operations for total in totals.values()),
        sum(total.bytes for total in totals.values()),
        metric["train_throughput_mean_samples_per_second"],
        metric["train_au_mean_percentage"],
        checkpoints.bytes / checkpoints.busy,
        folder,
    )


def _follow(process: subprocess.Popen[bytes], metrics: Path, title: str, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {
            kind: progress.add_task(f"{title}: {kind.replace('_', ' ')}", total=count, start=False)
            for kind, count in PHASES.items()
        }
        started = set()
        running = True
        while running:
            running = process.poll() is None
            for kind, total in summarise(metrics).items():
                if kind in tasks:
                    if kind not in started:
                        progress.start_task(tasks[kind])
                        started.add(kind)
                    progress.update(tasks[kind], completed=total.operations)
            time.sleep(0.2 if running else 0)


def _table(target: Target, totals: Mapping[str, Totals], outcome: Outcome) -> Table:
    table = Table(title=f"DLIO unet3d through s3dlio on {target.title}", title_justify="left")
    table.add_column("what")
    table.add_column("operations", justify="right")
    table.add_column("data", justify="right")
    table.add_column("rate", justify="right")
    others = [kind for kind in totals if kind not in PHASES]
    for kind in (*PHASES, *others):
        total = totals[kind]
        rate = f"{decimal(int(total.bytes / total.busy))}/s" if total.bytes else ""
        table.add_row(kind.replace("_", " "), str(total.operations), decimal(total.bytes) if total.bytes else "", rate)
    table.add_section()
    table.add_row("training", "", "", f"{outcome.samples_per_second:.1f} samples/s")
    table.add_row("accelerator utilization", "", "", f"{outcome.utilization:.1f} %")
    table.add_row("checkpoint throughput", "", "", f"{decimal(int(outcome.checkpoint_rate))}/s")
    return table


def _summary(outcomes: Mapping[str, Outcome]) -> Table:
    table = Table(title="All runs", title_justify="left")
    for column in ("storage", "operations", "data", "samples/s", "utilization", "checkpoints"):
        table.add_column(column, justify="left" if column == "storage" else "right")
    for title, outcome in outcomes.items():
        table.add_row(
            title,
            str(outcome.operations),
            decimal(outcome.bytes),
            f"{outcome.samples_per_second:.1f}",
            f"{outcome.utilization:.1f} %",
            f"{decimal(int(outcome.checkpoint_rate))}/s",
        )
    return table


def _quoted(value: object) -> str:
    """A value in the grammar of Hydra's overrides. A text is quoted, as `=`, `,` or a bracket would end it."""
    return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else str(value)


def demonstrate(targets: Sequence[Target], folder: Path = RESULTS) -> int:
    """Run the workload on each target, one after another.

    Args:
        targets: where to run it.
        folder: for data, logs and results; the results of an earlier demo are removed.

    Returns:
        The exit status: 0 if all runs succeeded.
    """
    console = Console()
    shutil.rmtree(folder, ignore_errors=True)
    outcomes: dict[str, Outcome] = {}
    for target in targets:
        outcome = run(target, folder.absolute() / target.title, console)
        if outcome is not None:
            outcomes[target.title] = outcome
    if len(outcomes) > 1:
        console.print(_summary(outcomes))
    return 0 if len(outcomes) == len(targets) else 1


def on_files(folder: Path = RESULTS) -> Target:
    """A target on this machine, below the folder of results."""
    return Target("file", f"file://{folder.absolute() / 'file' / 'storage'}")


def main() -> int:
    """Run the demo; returns its exit status."""
    try:
        install.locate("seaweedfs")
    except install.ServerMissing as error:
        print(f"demo: no run on S3: {error}", file=sys.stderr)
        return demonstrate([on_files()])
    with running("seaweedfs", seaweedfs.start) as server:
        environment = server.plain.environment()
        os.environ.update(environment)
        s3dlio.make_bucket(BUCKET)
        return demonstrate([on_files(), Target("s3", f"{BUCKET}/dlio", environment)])


if __name__ == "__main__":
    sys.exit(main())
