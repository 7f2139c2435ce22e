# SPDX-License-Identifier: Apache-2.0
"""The matrix of DLIO runs: formats, frameworks, protocols, start methods of the workers, and ranks.

Strategy: `make test-dlio` runs the matrix; `make test` has one run for each thing that can go wrong instead. The start
methods rotate over formats and protocols, so that any two of the three meet in each rotation. The two options of the
integration guide share their code after the first storage is created, so they run through a single rotation.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import s3dlio
from s3dlio.integrations.dlio import install_dropin_replacement, install_s3dlio_storage
from tests.behavior.protocols import PROTOCOLS, Protocol
from tests.dlio.checkouts import COMMAND, copied, environment
from tests.dlio.runs import FILES, MODEL_BYTES, assert_complete, run_dlio

pytestmark = [pytest.mark.matrix, pytest.mark.usefixtures("dlio"), pytest.mark.timeout(300)]

FORMATS = ("npz", "npy", "jpeg", "png", "hdf5", "csv", "indexed_binary", "mmap_indexed_binary", "synthetic")
STARTS = ("fork", "spawn", "forkserver", "in process")
STORES = [protocol for protocol in PROTOCOLS if protocol.name != "s3 on Ceph"]
# A record is a row of a csv file, each of its bytes a column.
_SMALL = dict.fromkeys(("dataset.record_length", "dataset.record_length_bytes"), 1024)

_ALL = [
    (format, protocol, STARTS[(i + j + k) % len(STARTS)], k)
    for i, format in enumerate(FORMATS)
    for j, protocol in enumerate(STORES)
    for k in range(len(STARTS))
]


def _cases(*shifts: int) -> list[object]:
    return [
        pytest.param(format, protocol, start, id=f"{format}-{protocol.name}-{start}")
        for format, protocol, start, k in _ALL
        if k in shifts
    ]


def _settings(root: str, format: str, start: str = "in process") -> dict[str, object]:
    workers = {} if start == "in process" else {"reader.read_threads": 2, "reader.multiprocessing_context": start}
    samples = {"dataset.num_samples_per_file": _samples(format)}
    where = {"storage.storage_type": "s3dlio", "storage.storage_root": root}
    return {**where, "dataset.format": format, **workers, **samples, **(_SMALL if format == "csv" else {})}


def _samples(format: str) -> int:
    # A jpeg, png or synthetic file has room for one, and DLIO's npy file is the same array for all.
    return 1 if format in ("jpeg", "png", "synthetic") else 2


@pytest.mark.parametrize(("format", "protocol", "start"), _cases(0, 1, 2, 3))
def test_every_combination(
    format: str, protocol: Protocol, start: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = protocol.root(request)
    run = run_dlio(tmp_path / "run", _settings(root, format, start), timeout=250)
    assert_complete(run, root, _samples(format), reads=0 if format == "synthetic" else None)


@pytest.mark.parametrize(("format", "protocol", "start"), _cases(0))
def test_every_pair_under_dlios_own_command_with_option_1(
    format: str, protocol: Protocol, start: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    package = copied(tmp_path / "checkout")
    install_s3dlio_storage(package, patch=True)
    root = protocol.root(request)
    settings = _settings(root, format, start)
    run = run_dlio(tmp_path / "run", settings, timeout=250, command=[COMMAND], environment=environment(package))
    assert_complete(run, root, _samples(format), reads=0 if format == "synthetic" else None)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_and_start_method_with_option_2(
    format: str, start: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    package = copied(tmp_path / "checkout")
    install_dropin_replacement(package)
    (protocol,) = (protocol for protocol in STORES if protocol.name.startswith("s3"))
    root = protocol.root(request)
    settings = {**_settings(root, format, start), "storage.storage_type": "s3"}
    run = run_dlio(tmp_path / "run", settings, timeout=250, command=[COMMAND], environment=environment(package))
    assert_complete(run, root, _samples(format), reads=0 if format == "synthetic" else None)


@pytest.mark.parametrize("protocol", STORES, ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_subfolders(ranks: int, protocol: Protocol, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = protocol.root(request)
    # DLIO's main branch takes files by multiples of the samples in one, the batch and the ranks: here all 8.
    settings = {**_settings(root, "npz"), "dataset.num_samples_per_file": 1, "dataset.num_subfolders_train": 2}
    run = run_dlio(tmp_path / "run", settings, ranks=ranks, timeout=250)
    assert_complete(run, root)


# DLIO's main branch makes each of these files 1 GiB large, so not on every store.
@pytest.mark.parametrize("protocol", [STORES[0], STORES[2]], ids=lambda protocol: protocol.name)
def test_ranks_write_one_indexed_file_together(
    protocol: Protocol, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = protocol.root(request)
    together = {"dataset.num_samples_per_file": 1, "dataset.num_files_train": 2, "reader.batch_size": 1}
    run = run_dlio(tmp_path / "run", {**_settings(root, "mmap_indexed_binary"), **together}, ranks=2, timeout=250)
    assert run.status == 0, run.log
    assert run.samples == run.totals["read"].operations == 2
    assert run.totals["generate"].operations == len(s3dlio.list(f"{root}/data", recursive=True)) == 2 * 3


@pytest.mark.parametrize("protocol", STORES, ids=lambda protocol: protocol.name)
def test_a_data_set_that_is_not_kept_is_deleted(
    protocol: Protocol, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = protocol.root(request)
    run = run_dlio(tmp_path / "run", {**_settings(root, "npz"), "dataset.keep_files": False}, timeout=250)
    assert run.status == 0, run.log
    assert run.samples == FILES * 2 == run.totals["read"].operations
    assert s3dlio.list(f"{root}/data", recursive=True) == []
    assert s3dlio.list(f"{root}/checkpoints", recursive=True) != []


_PEAKS = Path(__file__).with_name("peaks.py")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", STORES[:3], ids=lambda protocol: protocol.name)
def test_a_checkpoint_of_4_gib_takes_no_more_memory_than_the_model_and_300_mib(
    protocol: Protocol, request: pytest.FixtureRequest
) -> None:
    root = protocol.root(request)
    model = 4 << 30
    for direction in ("save", "load"):
        command = [sys.executable, str(_PEAKS), root, direction, str(model)]
        grown = int(subprocess.run(command, check=True, capture_output=True, timeout=400).stdout)
        assert model <= grown <= model + (300 << 20), direction
    s3dlio.delete(root, recursive=True)


tensorflow = pytest.mark.usefixtures("tensorflow")
_TENSORFLOW = {"framework": "tensorflow", "reader.data_loader": "tensorflow", "reader.read_threads": 2}


@tensorflow
@pytest.mark.parametrize("protocol", STORES, ids=lambda protocol: protocol.name)
def test_tensorflow_reads_tfrecord(protocol: Protocol, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = protocol.root(request)
    run = run_dlio(tmp_path / "run", {**_settings(root, "tfrecord"), **_TENSORFLOW}, timeout=250)
    assert_complete(run, root, 2, reads=FILES)
    read = [operation for operation in run.operations if operation["kind"] == "read"]
    assert sum(int(str(operation["bytes"])) for operation in read) == sum(
        s3dlio.stat(uri)["size"] for uri in s3dlio.list(f"{root}/data/unet3d/train")
    )


@tensorflow
@pytest.mark.usefixtures("checkpoints_are_read")
def test_checkpoints_of_tensorflow_are_read_back(tmp_path: Path) -> None:
    root = f"file://{tmp_path}/root"
    only_checkpoints = {"workflow.generate_data": False, "workflow.train": False}
    count = {"checkpoint.num_checkpoints_write": 2, "checkpoint.num_checkpoints_read": 2}
    settings = {**_settings(root, "tfrecord"), **_TENSORFLOW, **only_checkpoints, **count}
    run = run_dlio(tmp_path / "run", settings, timeout=250)
    assert run.status == 0, run.log
    totals = run.totals
    assert totals["checkpoint_write"].operations == totals["checkpoint_read"].operations == 2
    assert totals["checkpoint_read"].bytes > 2 * MODEL_BYTES


@tensorflow
def test_ranks_of_tensorflow_share_files(tmp_path: Path) -> None:
    root = f"file://{tmp_path}/root"
    run = run_dlio(tmp_path / "run", {**_settings(root, "tfrecord"), **_TENSORFLOW}, ranks=2, timeout=250)
    assert_complete(run, root, 2, reads=FILES)


@tensorflow
@pytest.mark.parametrize(
    ("format", "protocol"),
    [
        pytest.param(format, STORES[i % len(STORES)], id=f"{format}-{STORES[i % len(STORES)].name}")
        for i, format in enumerate(FORMATS)
    ],
)
def test_the_data_loader_of_tensorflow_reads_every_format(
    format: str, protocol: Protocol, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = protocol.root(request)
    run = run_dlio(tmp_path / "run", {**_settings(root, format), **_TENSORFLOW}, timeout=250)
    assert run.status == 0, run.log
    # It opens a file once, for all samples that are in it.
    assert run.samples == FILES * _samples(format)
    assert run.checkpoints == 1
    assert format == "synthetic" or run.totals["read"].errors == 0 < run.totals["read"].bytes
