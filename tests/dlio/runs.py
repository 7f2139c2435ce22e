# SPDX-License-Identifier: Apache-2.0
"""Runs DLIO in a process of its own, and reads its results.

DLIO ends with status 0 even if it has read nothing. So tests compare two accounts of a run: the operations that s3dlio
has recorded, and the steps and checkpoints in DLIO's own output files.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import s3dlio
from s3dlio.dlio.record.totals import Totals, summarise

FILES = 8
RECORD_BYTES = 65536
MODEL_BYTES = 1 << 20

# The names of each key in DLIO 2.0.0 and in its main branch, which ignore unknown keys.
SETTINGS: Mapping[str, object] = {
    "workflow.generate_data": True,
    "dataset.num_files_train": FILES,
    "dataset.record_length": RECORD_BYTES,
    "dataset.record_length_stdev": 0,
    "dataset.record_length_resize": 4096,
    "dataset.record_length_bytes": RECORD_BYTES,
    "dataset.record_length_bytes_stdev": 0,
    "dataset.record_length_bytes_resize": 4096,
    # The hdf5 generator fills a buffer of this size, by default 2 GiB, for every file.
    "dataset.generation_buffer_size": 4 * RECORD_BYTES,
    "reader.batch_size": 2,
    "reader.read_threads": 0,
    "train.epochs": 1,
    "train.computation_time": 0.01,
    "checkpoint.checkpoint_after_epoch": 1,
    "checkpoint.epochs_between_checkpoints": 1,
    "checkpoint.model_size": MODEL_BYTES,
    "checkpoint.num_layers": 0,
    "model.model_size_bytes": MODEL_BYTES,
}


@dataclass
class Run:
    """The results of a run."""

    status: int
    log: str
    output: Path
    batch_size: int

    @property
    def totals(self) -> dict[str, Totals]:
        """The totals of what s3dlio has recorded, by kind."""
        return summarise(self.output / "s3dlio-metrics")

    @property
    def operations(self) -> list[dict[str, object]]:
        """Every operation that s3dlio has recorded."""
        files = sorted((self.output / "s3dlio-metrics").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    @property
    def samples(self) -> int:
        """The samples that DLIO has trained on, by its own account, over all ranks and epochs."""
        return sum(
            len(steps) * self.batch_size
            for file in self.output.glob("*_output.json")
            for epoch in json.loads(file.read_text()).values()
            if isinstance(epoch, dict) and "proc" in epoch
            for steps in epoch["proc"].values()
        )

    @property
    def checkpoints(self) -> int:
        """The checkpoints that rank 0 has written, by DLIO's account."""
        (file,) = [*self.output.glob("per_epoch_stats.json"), *self.output.glob("0_per_epoch_stats.json")]
        epochs = json.loads(file.read_text()).values()
        return sum(bool(re.fullmatch(r"(save_)?ckpt\d+", name)) for epoch in epochs for name in epoch)


def overrides(settings: Mapping[str, object]) -> list[str]:
    """Settings below `workload`, as arguments of DLIO."""
    return [f"++workload.{key}={value}" for key, value in settings.items()]


def run_dlio(
    folder: Path,
    settings: Mapping[str, object],
    ranks: int = 1,
    timeout: float = 100,
    without: Mapping[int, str] | None = None,
    command: Sequence[str | Path] = (sys.executable, "-m", "s3dlio.integrations.dlio"),
    workload: str = "unet3d_h100",
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run DLIO on s3dlio, with `SETTINGS` and the given settings.

    Args:
        folder: working directory of the run; its output goes to `dlio` in there.
        settings: keys below `workload`, with their values.
        ranks: MPI ranks.
        timeout: seconds after which the run is killed and the test fails.
        without: by rank, the name of an environment variable that this rank does not get.
        command: the program and its first arguments.
        workload: the name of one of DLIO's workloads.
        environment: additional environment variables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "dlio"
    merged = {**SETTINGS, **settings}
    program = [*map(str, command), f"workload={workload}", f"hydra.run.dir={output}", *overrides(merged)]
    started = program
    if ranks > 1:
        mpirun = Path(sys.executable).with_name("mpirun")
        options = ["--allow-run-as-root", "--oversubscribe", "--mca", "btl", "self,sm"]
        started = [str(mpirun), *options, "-n", str(ranks), *program]
        if without:
            started = [str(mpirun), *options]
            for rank in range(ranks):
                started += [*([":"] if rank else []), "-n", "1", *_lacking(without.get(rank)), *program]
    process = subprocess.Popen(
        started,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        log, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    batch_size = merged["reader.batch_size"]
    assert isinstance(batch_size, int)
    return Run(process.returncode, log.decode(errors="replace"), output, batch_size)


def _lacking(variable: str | None) -> list[str]:
    return ["env", "-u", variable] if variable else []


def assert_complete(run: Run, root: str, samples_per_file: int = 1, reads: int | None = None) -> None:
    """Assert that every file was generated, read and saved, and that both accounts agree.

    Args:
        run: a run of one epoch.
        root: its storage root.
        samples_per_file: from its settings.
        reads: the number of `read` operations, if it is not the number of samples.
    """
    assert run.status == 0, run.log
    totals = run.totals
    failed = [operation for operation in run.operations if not operation["ok"]]
    assert not failed
    generated = {str(operation["uri"]) for operation in run.operations if operation["kind"] == "generate"}
    assert generated == set(s3dlio.list(f"{root}/data", recursive=True))
    assert len(generated) >= FILES
    assert run.samples == FILES * samples_per_file
    assert (totals["read"].operations if "read" in totals else 0) == (run.samples if reads is None else reads)
    assert run.checkpoints == 1
    saved = s3dlio.list(f"{root}/checkpoints", recursive=True)
    assert totals["checkpoint_write"].bytes == sum(s3dlio.stat(uri)["size"] for uri in saved) > 0
