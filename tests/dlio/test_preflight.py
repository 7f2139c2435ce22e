# SPDX-License-Identifier: Apache-2.0
"""Checks at the start of a run, on one rank and on several: all ranks continue, or all ranks end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.integrations.dlio import install_s3dlio_storage
from tests.dlio.checkouts import COMMAND, copied, environment
from tests.dlio.runs import FILES, Run, run_dlio
from tests.faults.proxy import Asked, Fault, FaultProxy
from tests.servers.base import S3Server

pytestmark = pytest.mark.usefixtures("dlio")


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[FaultProxy]:
    """The S3 server behind a proxy, with the bucket `preflight`."""
    os.environ.update(seaweedfs.environment())
    with FaultProxy(seaweedfs.url) as faulty:
        os.environ["AWS_ENDPOINT_URL"] = faulty.url
        s3dlio.make_bucket("s3://preflight")
        faulty.requests.clear()
        yield faulty


def on(root: str) -> dict[str, object]:
    return {"storage.storage_type": "s3dlio", "storage.storage_root": root}


def listed_folder(asked: Asked) -> str | None:
    """The last segment of the folder that a request lists; None for other requests."""
    if asked.method != "GET" or "list-type=2" not in asked.target or "max-keys=1&" in asked.target:
        return None
    return asked.target.removesuffix("%2F").rpartition("%2F")[2]


def errors(of: Run) -> list[str]:
    return [line.partition("s3dlio: error: ")[2] for line in of.log.splitlines() if "s3dlio: error: " in line]


# Whole runs...


def test_a_typo_in_the_bucket_ends_all_ranks_before_anything_is_done(proxy: FaultProxy, tmp_path: Path) -> None:
    ended = run_dlio(tmp_path, on("s3://prefligth/typo"), ranks=2, timeout=60)
    assert ended.status == 1, ended.log
    assert len(errors(ended)) == 2, ended.log  # for data and for checkpoints, printed by one rank
    assert all("s3://prefligth/typo/" in error and "no such bucket" in error for error in errors(ended))
    assert set(proxy.requests) == {"GET"}
    assert ended.operations == []


def test_a_rank_that_lacks_a_variable_is_named_and_all_end(proxy: FaultProxy, tmp_path: Path) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    ended = run_dlio(tmp_path, on("s3://preflight/lacking"), ranks=3, timeout=60, without={2: "AWS_SECRET_ACCESS_KEY"})
    assert ended.status == 1, ended.log
    (error,) = errors(ended)
    assert error == (
        f"environment: rank 2 on host {socket.gethostname()} lacks AWS_SECRET_ACCESS_KEY, which rank 0 has; "
        "forward it with `mpirun -x AWS_SECRET_ACCESS_KEY`"
    )
    assert secret not in ended.log
    assert not proxy.requests


def test_four_ranks_list_each_folder_once(proxy: FaultProxy, tmp_path: Path) -> None:
    listed: Counter[str | None] = Counter()
    proxy.choose = lambda asked: listed.update([listed_folder(asked)])
    settings = {**on("s3://preflight/once"), "dataset.num_subfolders_train": 2, "workflow.checkpoint": False}
    ended = run_dlio(tmp_path, settings, ranks=4)
    assert ended.status == 0, ended.log
    assert ended.samples == FILES == ended.totals["read"].operations
    # The preflight lists the data folder. DLIO lists both folders, then the files in the subfolders.
    del listed[None]
    assert listed == {"unet3d": 1, "train": 2, "valid": 1}
    assert ended.totals["list"].operations == 3


def test_dlios_own_command_checks_and_lists_the_same(proxy: FaultProxy, tmp_path: Path) -> None:
    package = copied(tmp_path / "checkout")
    install_s3dlio_storage(package, patch=True)
    as_command: dict[str, Any] = {"command": [COMMAND], "environment": environment(package), "ranks": 2, "timeout": 60}
    ended = run_dlio(tmp_path / "typo", on("s3://prefligth/typo"), **as_command)
    assert ended.status == 1, ended.log
    assert all("no such bucket" in error for error in errors(ended))
    assert len(errors(ended)) == 2, ended.log

    listed: Counter[str | None] = Counter()
    proxy.choose = lambda asked: listed.update([listed_folder(asked)])
    ended = run_dlio(tmp_path / "once", {**on("s3://preflight/command"), "workflow.checkpoint": False}, **as_command)
    assert ended.status == 0, ended.log
    assert ended.samples == FILES == ended.totals["read"].operations
    del listed[None]
    assert listed == {"unet3d": 1, "train": 1, "valid": 1}


def test_a_failed_listing_on_rank_zero_ends_all_ranks(proxy: FaultProxy, tmp_path: Path) -> None:
    refused: list[Asked] = []

    def choose(asked: Asked) -> Fault | None:
        if listed_folder(asked) != "train":
            return None
        refused.append(asked)
        return Fault("status", 403, "AccessDenied")

    proxy.choose = choose
    os.environ["S3DLIO_PREFLIGHT"] = "0"
    training_alone = {"workflow.generate_data": False, "workflow.checkpoint": False}
    ended = run_dlio(tmp_path, {**on("s3://preflight/refused"), **training_alone}, ranks=2, timeout=60)
    assert ended.status == 1, ended.log
    assert "403 AccessDenied" in ended.log
    assert len(refused) == 1
    assert "Not enough training dataset" not in ended.log


def test_a_run_that_only_reads_writes_nothing_to_its_storage(proxy: FaultProxy, tmp_path: Path) -> None:
    settings = {**on("s3://preflight/read"), "workflow.checkpoint": False}
    generated = run_dlio(tmp_path / "first", settings)
    assert generated.status == 0, generated.log
    proxy.requests.clear()
    proxy.choose = lambda asked: None if asked.method in ("GET", "HEAD") else Fault("status", 403, "AccessDenied")
    ended = run_dlio(tmp_path / "second", {**settings, "workflow.generate_data": False})
    assert ended.status == 0, ended.log
    assert ended.samples == FILES
    assert set(proxy.requests) <= {"GET", "HEAD"}


def test_missing_data_ends_the_run_at_once(tmp_path: Path) -> None:
    ended = run_dlio(tmp_path, {**on(f"file://{tmp_path}"), "workflow.generate_data": False})
    assert ended.status == 1
    (error,) = errors(ended)
    assert error.startswith(f"file://{tmp_path}/data/unet3d/train: the folder is empty or missing")
    assert not (tmp_path / "data").exists()


# Ranks alone...

_ON_RANKS = """
    import json, sys
    from mpi4py import MPI
    from s3dlio import diagnostics
    from s3dlio.dlio.check.environments import compare_environments
    from s3dlio.dlio.run import ranks

    communicator = MPI.COMM_WORLD
    said = {}
    found = compare_environments(communicator, diagnostics.environment_variables({"s3"}))
    said["levels"] = [finding.level for finding in found]
    said["messages"] = [finding.message for finding in found]

    ranks._NAMES_IN_MESSAGE = 3
    calls = []
    names = ranks.from_rank_zero(communicator, lambda: calls.append(1) or [f"name {number}" for number in range(10)])
    said["names"] = names == [f"name {number}" for number in range(10)]
    said["nothing"] = ranks.from_rank_zero(communicator, lambda: calls.append(1) or [])
    said["value"] = ranks.from_rank_zero(communicator, lambda: calls.append(1) or 7)
    said["calls"] = len(calls)

    class Local(Exception):
        def __reduce__(self):
            raise TypeError("it cannot be sent")

    def fail(error):
        raise error

    said["errors"] = []
    for error in FileNotFoundError("gone"), Local("here"):
        try:
            ranks.from_rank_zero(communicator, lambda: fail(error))
        except Exception as raised:
            said["errors"].append(f"{type(raised).__name__}: {raised}")
    everyone = communicator.gather(said)
    if communicator.rank == 0:
        print(json.dumps(everyone))
"""


def test_results_of_rank_zero_reach_every_rank() -> None:
    variables = {"AWS_ACCESS_KEY_ID": "first", "AWS_REGION": "here", "HTTP_PROXY": "http://127.0.0.1:9"}
    program = [sys.executable, "-c", textwrap.dedent(_ON_RANKS)]
    changed = ["env", "-u", "HTTP_PROXY", "AWS_ACCESS_KEY_ID=second", "AZURE_STORAGE_KEY=x", "S3DLIO_RETRIES=3"]
    mpirun = [str(Path(sys.executable).with_name("mpirun")), "--allow-run-as-root", "--oversubscribe"]
    command = [*mpirun, "--mca", "btl", "self,sm", "-n", "2", *program, ":", "-n", "1", *changed, *program]
    ended = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    first, *others = json.loads(ended.stdout)

    host = socket.gethostname()
    assert first["levels"] == ["warning"] * 3
    assert first["messages"] == [
        f"{name} differs between rank 0 and rank 2 on host {host}"
        for name in ("AWS_ACCESS_KEY_ID", "HTTP_PROXY", "S3DLIO_RETRIES")
    ]
    assert first["calls"] == 3
    assert first["errors"] == ["FileNotFoundError: gone", "Local: here"]
    for other in others:
        assert other["levels"] == []
        assert other["calls"] == 0
        assert other["errors"] == ["FileNotFoundError: gone", "S3dlioError: Local: here"]
    for rank in (first, *others):
        assert rank["names"] is True
        assert rank["nothing"] == []
        assert rank["value"] == 7
