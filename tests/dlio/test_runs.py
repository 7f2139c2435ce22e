# SPDX-License-Identifier: Apache-2.0
"""Runs of DLIO: each generates, trains and writes checkpoints in a different way."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.dlio.runs import FILES, MODEL_BYTES, RECORD_BYTES, Run, assert_complete, run_dlio

pytestmark = pytest.mark.usefixtures("dlio")


def on(root: Path, scheme: str = "file") -> dict[str, object]:
    return {"storage.storage_type": "s3dlio", "storage.storage_root": f"{scheme}://{root}"}


def assert_whole(run: Run, data: Path, checkpoints: Path, epochs: int = 1, samples_per_file: int = 1) -> None:
    """Assert that every file, sample and checkpoint of every epoch was transferred, and that both accounts agree."""
    assert run.status == 0, run.log
    totals = run.totals
    assert all(operation["ok"] for operation in run.operations)

    generated = {
        str(operation["uri"]).partition("://")[2] for operation in run.operations if operation["kind"] == "generate"
    }
    assert generated == {str(path) for path in data.rglob("*") if path.is_file()}
    assert len(generated) == totals["generate"].operations == FILES
    assert totals["generate"].bytes == size_below(data)

    assert totals["read"].operations == FILES * samples_per_file * epochs == run.samples
    assert totals["read"].bytes == totals["generate"].bytes * samples_per_file * epochs
    read = {operation["uri"] for operation in run.operations if operation["kind"] == "read"}
    assert len(read) == FILES

    assert run.checkpoints == epochs
    assert totals["checkpoint_write"].bytes == size_below(checkpoints) > epochs * MODEL_BYTES


def size_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def processes(run: Run) -> int:
    return len(list((run.output / "s3dlio-metrics").glob("*.jsonl")))


def test_forked_workers_read_subfolders_on_file(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    settings = {**on(root), "reader.read_threads": 2, "dataset.num_subfolders_train": 2, "train.epochs": 2}
    run = run_dlio(tmp_path, settings)
    assert_whole(run, root / "data", root / "checkpoints", epochs=2)
    assert sorted(path.name for path in (root / "data/unet3d/train").iterdir()) == ["0", "1"]
    assert processes(run) == 3


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_workers_that_do_not_inherit_the_registration_read_on_direct(tmp_path: Path, start_method: str) -> None:
    root = tmp_path / "storage"
    workers = {"reader.read_threads": 2, "reader.multiprocessing_context": start_method}
    run = run_dlio(tmp_path, {**on(root, "direct"), **workers})
    assert_whole(run, root / "data", root / "checkpoints")
    assert {operation["scheme"] for operation in run.operations} == {"direct"}
    assert processes(run) == 3


def test_a_dlio_that_has_the_storage_type_runs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dlio_benchmark

    package = tmp_path / "patched" / "dlio_benchmark"
    shutil.copytree(Path(dlio_benchmark.__file__ or "").parent, package)
    enumerations = package / "common" / "enumerations.py"
    source = enumerations.read_text()
    assert source.count("    S3 = 's3'\n") == 1
    enumerations.write_text(source.replace("    S3 = 's3'\n", "    S3 = 's3'\n    S3DLIO = 's3dlio'\n"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]))
    root = tmp_path / "storage"
    workers = {"reader.read_threads": 2, "reader.multiprocessing_context": "spawn"}
    run = run_dlio(tmp_path, {**on(root), **workers})
    assert_whole(run, root / "data", root / "checkpoints")


def test_four_ranks_share_npy_files(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    run = run_dlio(tmp_path, {**on(root), "dataset.format": "npy"}, ranks=4)
    assert_whole(run, root / "data", root / "checkpoints")
    assert processes(run) == 4


def test_folders_given_as_uris_need_no_storage_type(tmp_path: Path) -> None:
    data, checkpoints = tmp_path / "a" / "data", tmp_path / "b" / "checkpoints"
    folders = {"dataset.data_folder": f"file://{data}", "checkpoint.checkpoint_folder": f"direct://{checkpoints}"}
    run = run_dlio(tmp_path, folders)
    assert_whole(run, data, checkpoints)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "dlio"]


def test_the_default_root_is_the_working_directory(tmp_path: Path) -> None:
    run = run_dlio(tmp_path, {"storage.storage_type": "s3dlio", "dataset.num_samples_per_file": 2})
    assert_whole(run, tmp_path / "data", tmp_path / "checkpoints", samples_per_file=2)


def test_samples_of_an_indexed_file_are_read_as_ranges(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    settings = {"dataset.format": "indexed_binary", "dataset.num_samples_per_file": 2, "reader.read_threads": 2}
    run = run_dlio(tmp_path, {**on(root), **settings})
    assert_complete(run, f"file://{root}", samples_per_file=2)
    assert run.totals["read"].bytes == FILES * 2 * RECORD_BYTES


@pytest.mark.parametrize("format", ["jpeg", "png", "hdf5", "csv"])
def test_formats_are_read_by_dlios_own_decoders(tmp_path: Path, format: str) -> None:
    # Two samples in a file where the format has room for them; DLIO opens the file for each.
    samples = 1 if format in ("jpeg", "png") else 2
    root = tmp_path / "storage"
    # A record is a row of a csv file, each of its bytes a column.
    sizes = dict.fromkeys(("dataset.record_length", "dataset.record_length_bytes"), 1024)
    settings = {"dataset.format": format, "dataset.num_samples_per_file": samples, **sizes}
    run = run_dlio(tmp_path, {**on(root), **settings})
    assert_whole(run, root / "data", root / "checkpoints", samples_per_file=samples)


def test_dlio_invents_synthetic_samples(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    run = run_dlio(tmp_path, {**on(root), "dataset.format": "synthetic"})
    assert run.status == 0, run.log
    assert run.samples == FILES == run.totals["generate"].operations
    assert "read" not in run.totals
    assert "warning: no sample was read" not in run.log


def test_deleting_a_data_set_deletes_nothing_beside_it(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    beside = root / "data" / "unet3d-2" / "precious"
    beside.parent.mkdir(parents=True)
    beside.write_bytes(b"x")
    run = run_dlio(tmp_path, {**on(root), "dataset.keep_files": False})
    assert run.status == 0, run.log
    assert run.samples == FILES == run.totals["read"].operations
    assert [path for path in (root / "data").rglob("*") if path.is_file()] == [beside]
    assert size_below(root / "checkpoints") > MODEL_BYTES


def test_an_error_on_one_rank_ends_all_ranks(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    generated = run_dlio(tmp_path, on(root))
    assert generated.status == 0, generated.log
    damaged = root / "data/unet3d/train" / f"img_{FILES - 1}_of_{FILES}.npz"
    damaged.write_bytes(damaged.read_bytes()[: RECORD_BYTES // 2])
    run = run_dlio(tmp_path, {**on(root), "workflow.generate_data": False}, ranks=2, timeout=60)
    assert run.status != 0
    assert f"file://{damaged} is not a readable npz file" in run.log
    assert "rank 1 failed; ending all ranks" in run.log


def test_a_run_that_reads_nothing_says_so(tmp_path: Path) -> None:
    run = run_dlio(tmp_path, {**on(tmp_path / "storage"), "reader.batch_size": FILES + 1})
    assert run.samples == 0
    assert "warning: no sample was read" in run.log


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset.format": "hdf5_opt"}, "does not support the format hdf5_opt"),
        ({"dataset.format": "tfrecord"}, "DLIO does not read tfrecord with the data loader pytorch"),
        ({"reader.data_loader": "native_dali"}, "native_dali opens local paths"),
        ({"storage.storage_options.acess_key_id": "hidden"}, "did you mean access_key_id?"),
    ],
    ids=["format", "loader", "native loader", "option"],
)
def test_a_workload_that_cannot_work_is_refused_at_the_start(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    run = run_dlio(tmp_path, {**on(tmp_path / "storage"), **settings})
    assert run.status == 1
    assert message in run.log
    assert "hidden" not in run.log
    assert size_below(tmp_path / "storage") == 0


# DLIO without TensorFlow, even if TensorFlow is installed.
_WITHOUT_TENSORFLOW = """if True:
    import runpy, sys
    from importlib.machinery import PathFinder
    from pathlib import Path

    find = PathFinder.find_spec

    def find_spec(name, path=None, target=None):
        if name == "tensorflow":
            path = [folder for folder in sys.path if not Path(folder, "tensorflow", "core").is_dir()]
        return find(name, path, target)

    PathFinder.find_spec = find_spec
    runpy.run_module("s3dlio.integrations.dlio", run_name="__main__")
"""


def test_a_workload_that_needs_tensorflow_says_so(tmp_path: Path) -> None:
    settings = {"framework": "tensorflow", "reader.data_loader": "tensorflow", "dataset.format": "tfrecord"}
    command = (sys.executable, "-c", _WITHOUT_TENSORFLOW)
    run = run_dlio(tmp_path, {**on(tmp_path / "storage"), **settings}, command=command)
    assert run.status == 1
    assert "framework tensorflow with format tfrecord needs TensorFlow; run pip install tensorflow-cpu" in run.log
    assert size_below(tmp_path / "storage") == 0


def test_two_ranks_write_each_indexed_file_together(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    settings = {"dataset.format": "indexed_binary", "dataset.num_files_train": 2, "reader.batch_size": 1}
    run = run_dlio(tmp_path, {**on(root), **settings}, ranks=2)
    assert run.status == 0, run.log
    assert run.samples == run.totals["read"].operations == 2
    assert run.totals["read"].bytes == 2 * RECORD_BYTES
    assert run.totals["generate"].operations == len(list((root / "data/unet3d/train").iterdir())) == 2 * 3


@pytest.mark.usefixtures("checkpoints_are_read")
def test_checkpoints_are_read_back(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    only_checkpoints = {"workflow.generate_data": False, "workflow.train": False}
    count = {"checkpoint.num_checkpoints_write": 2, "checkpoint.num_checkpoints_read": 2}
    run = run_dlio(tmp_path, {**on(root), **only_checkpoints, **count})
    assert run.status == 0, run.log
    assert run.checkpoints == 2
    assert run.totals["checkpoint_write"].bytes == size_below(root / "checkpoints") > 2 * MODEL_BYTES
    assert run.totals["checkpoint_read"].operations == 2
    assert run.totals["checkpoint_read"].bytes == run.totals["checkpoint_write"].bytes
