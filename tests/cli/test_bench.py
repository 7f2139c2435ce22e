# SPDX-License-Identifier: Apache-2.0
"""`s3dlio bench` on files and on a real S3 server: alone, interrupted, and under mpirun."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

import s3dlio
from s3dlio.cli import measuring
from s3dlio.cli.bench import byte_count
from s3dlio.cli.mpi import Ranks
from tests.cli.command import COMMAND, environment, run
from tests.required import lacking
from tests.servers.base import S3Server

MIB = 1 << 20


@pytest.fixture
def bucket(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a bucket with one object in it."""
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    uri = f"s3://bench-{uuid4().hex[:12]}"
    s3dlio.make_bucket(uri)
    s3dlio.put_bytes(f"{uri}/mine", b"mine")
    return uri


@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_the_table_has_a_row_for_each_step_and_no_object_is_left(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    result = run("bench", f"{scheme}://{tmp_path}", "--size", "100KB", "--objects", "9")
    assert (result.status, result.err) == (0, "")
    rows = [line.split() for line in result.lines[1:]]
    assert [row[:2] for row in rows] == [[name, "9"] for name in ("put", "get", "list", "delete")]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_figures_in_json_are_consistent_and_other_objects_stay(bucket: str) -> None:
    result = run("bench", bucket, "--size", "64KiB", "--objects", "40", "--in-flight", "8", "--json")
    assert (result.status, result.err) == (0, "")
    report = json.loads(result.out)
    steps = {step["operation"]: step for step in report["steps"]}
    assert list(steps) == ["put", "get", "list", "delete"]
    for name in ("put", "get"):
        step = steps[name]
        assert (step["objects"], step["bytes"]) == (40, 40 * 65536)
        assert step["bytes_per_second"] == pytest.approx(step["bytes"] / step["seconds"])
        assert 0 < step["latency_p50_seconds"] <= step["latency_p99_seconds"] <= step["seconds"]
        # Eight objects at a time: the sum of all latencies is at most eight times the time of the step.
        assert step["latency_p50_seconds"] * 20 <= 8 * step["seconds"]
    assert s3dlio.list(bucket, recursive=True) == [f"{bucket}/mine"]


def test_an_object_that_changes_after_the_write_is_named_and_all_are_removed(tmp_path: Path) -> None:
    def spoil(step: measuring.Step) -> None:
        if step.operation == "get":
            next(tmp_path.glob("*/00000003")).write_bytes(b"other")

    with pytest.raises(s3dlio.IntegrityError, match="00000003 does not hold the 1000 bytes"):
        measuring.measure(f"file://{tmp_path}", 1000, 5, 2, Ranks(), spoil)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_removes_its_objects(bucket: str, ending: signal.Signals) -> None:
    command = [*COMMAND, "bench", bucket, "--size", "64KiB", "--objects", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})) as process:
        deadline = time.monotonic() + 30
        while len(s3dlio.list(bucket, recursive=True)) < 20:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(ending)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")
    assert s3dlio.list(bucket, recursive=True) == [f"{bucket}/mine"]


def test_under_mpirun_all_ranks_measure_and_rank_0_prints_the_sums(tmp_path: Path) -> None:
    mpirun = Path(sys.executable).with_name("mpirun")
    if not mpirun.exists():
        lacking("there is no mpirun: run `make dlio`")
    options = ["--allow-run-as-root", "--oversubscribe", "--mca", "btl", "self,sm"]
    command = [str(mpirun), "-n", "2", *options, *COMMAND, "bench"]
    command += [f"file://{tmp_path}", "--size", "4096", "--objects", "30", "--json"]
    done = subprocess.run(command, capture_output=True, env=environment({}), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ranks"] == 2
    assert [step["objects"] for step in report["steps"]] == [60, 60, 60, 60]
    assert report["steps"][0]["bytes"] == 60 * 4096
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("64KiB", 65536), ("1M", MIB), ("2MB", 2_000_000), ("0.5 GiB", 512 * MIB)]
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert byte_count(text) == size


def test_a_malformed_size_is_a_usage_error(tmp_path: Path) -> None:
    result = run("bench", f"file://{tmp_path}", "--size", "4 furlongs")
    assert result.status == 2
    assert "'4 furlongs' is not a size: expected a number of bytes, or a number with KiB" in result.err
