# SPDX-License-Identifier: Apache-2.0
"""`Workload`: what a run of DLIO is going to do, as far as its storage is concerned.

`run.workload` makes one from DLIO's configuration.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from s3dlio.dlio.check.dlio_package import has_tensorflow
from s3dlio.dlio.check.findings import FAILURE, WARNING, Finding


@dataclass(frozen=True)
class Folder:
    """A folder that a workload uses.

    Attributes:
        uri: its URI.
        filled: the workload reads it, so it has to hold something already.
        written: the workload writes objects into it.
        elsewhere: another folder that may contain the objects to read, or "".
    """

    uri: str
    filled: bool = False
    written: bool = False
    elsewhere: str = ""

    @property
    def scheme(self) -> str:
        """The scheme of its URI."""
        return self.uri.partition("://")[0]


@dataclass(frozen=True)
class Workload:
    """The storage of a workload, and the settings of DLIO that decide how fast it can be.

    Attributes:
        storage_type: DLIO's name of it; `s3dlio` also for `s3` if Option 2 is installed.
        folders: the folders that the workload uses; empty if DLIO's own storage serves them.
        trains, generates, checkpoints: which phases it has.
        framework, format: DLIO's names of them.
        read_threads: worker processes that read, per rank; with 0 the training process reads.
        start_method: how the workers are started: fork, spawn or forkserver.
        samples: number of samples in the training data set.
        batch_size: samples per step and rank.
        file_bytes: mean size of a file of the data set.
    """

    storage_type: str
    folders: tuple[Folder, ...]
    trains: bool
    generates: bool
    checkpoints: bool
    framework: str
    format: str
    read_threads: int
    start_method: str
    samples: int
    batch_size: int
    file_bytes: int

    @property
    def schemes(self) -> set[str]:
        """The schemes of its folders."""
        return {folder.scheme for folder in self.folders}

    def document(self) -> dict[str, Any]:
        """The workload for JSON, where the folders are called `places`."""
        fields = dataclasses.asdict(self)
        return {"places" if name == "folders" else name: value for name, value in fields.items()}


def about_workload(workload: Workload, ranks: int | None = None) -> list[Finding]:
    """What is wrong with a workload, whatever its storage."""
    findings = []
    if workload.storage_type != "s3dlio":
        message = f"DLIO's own storage serves this workload, not s3dlio: its storage type is {workload.storage_type}"
        advice = "set ++workload.storage.storage_type=s3dlio"
        findings.append(Finding(WARNING, "workload", message, advice))
    if workload.framework == "tensorflow" and not has_tensorflow():
        message = "its framework, tensorflow, is not installed"
        advice = "install it, or set ++workload.framework=pytorch"
        findings.append(Finding(FAILURE, "workload", message, advice))
    step = workload.batch_size * (ranks or 1)
    if workload.trains and workload.samples < step:
        message = f"the run would read nothing: {workload.samples} samples do not fill a batch of {step} on all ranks"
        advice = "generate more files (num_files_train), or lower reader.batch_size"
        findings.append(Finding(WARNING, "workload", message, advice))
    return findings
