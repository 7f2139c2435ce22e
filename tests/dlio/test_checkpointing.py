# SPDX-License-Identifier: Apache-2.0
"""Saved checkpoints are loaded with the same tensors, and neither direction holds a second copy of the model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import s3dlio
from s3dlio import settings
from s3dlio.dlio.record import records
from s3dlio.dlio.record.totals import summarise
from s3dlio.dlio.run.checkpointing import stream_checkpoints
from s3dlio.dlio.run.files import ObjectFile


class Storage:
    """DLIO's storage, as far as checkpointing uses it."""

    def __init__(self, root: str) -> None:
        self.root = root

    def get_uri(self, id: str) -> str:
        return f"{self.root}/{id}"


def mechanism(root: str) -> Any:
    made = SimpleNamespace(ext="pt")
    stream_checkpoints(made, Storage(root))
    return made


@pytest.mark.usefixtures("dlio")
@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_the_state_that_was_saved_is_loaded(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv(records.FOLDER_VARIABLE, str(tmp_path / "metrics"))
    root = f"{scheme}://{tmp_path}/checkpoints"
    made = mechanism(root)
    state = {"a": torch.arange(500, dtype=torch.int32), "b": {"0": torch.rand(3, 7), "1": torch.ones(1)}}
    made.save_state("step1/model-0", state)
    # DLIO discards the loaded tensors, so this test loads them itself.
    loaded = torch.load(ObjectFile(f"{root}/step1/model-0.pt"))
    assert torch.equal(loaded["a"], state["a"])
    assert torch.equal(loaded["b"]["0"], state["b"]["0"])
    made.load_state("step1/model-0", state)
    written = summarise(tmp_path / "metrics")["checkpoint_write"]
    assert written.bytes == s3dlio.stat(f"{root}/step1/model-0.pt")["size"] > 2000
    assert summarise(tmp_path / "metrics")["checkpoint_read"].bytes >= written.bytes


@pytest.mark.usefixtures("dlio")
def test_a_failed_save_leaves_the_checkpoint_that_was_there(tmp_path: Path) -> None:
    import torch

    root = f"file://{tmp_path}/checkpoints"
    made = mechanism(root)
    made.save_state("model", {"a": torch.ones(3)})
    before = bytes(s3dlio.get(f"{root}/model.pt"))
    with pytest.raises(AttributeError):
        made.save_state("model", {"a": torch.ones(100_000), "b": lambda: None})
    assert s3dlio.get(f"{root}/model.pt") == before
    assert s3dlio.list(root) == [f"{root}/model.pt"]


@pytest.mark.usefixtures("dlio")
def test_a_checkpoint_that_is_to_be_synced_syncs_files(tmp_path: Path) -> None:
    import torch

    assert not settings.current().file_sync
    try:
        mechanism(f"file://{tmp_path}").save_state("model", {"a": torch.ones(3)}, fsync=True)
        assert settings.current().file_sync
    finally:
        s3dlio.configure(file_sync=None)


@pytest.mark.usefixtures("dlio")
def test_an_empty_state_is_an_error(tmp_path: Path) -> None:
    made = mechanism(f"file://{tmp_path}")
    made.save_state("model", {})
    with pytest.raises(s3dlio.IntegrityError, match="the checkpoint is empty"):
        made.load_state("model", {})


_PEAKS = Path(__file__).with_name("peaks.py")


@pytest.mark.usefixtures("dlio")
@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_memory_stays_below_the_model_and_300_mib(tmp_path: Path, scheme: str) -> None:
    model = 768 << 20
    for direction in ("save", "load"):
        command = [sys.executable, str(_PEAKS), f"{scheme}://{tmp_path}", direction, str(model)]
        grown = int(subprocess.run(command, check=True, capture_output=True).stdout)
        assert model <= grown <= model + (300 << 20), direction


class _Planted:
    """An object that runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.usefixtures("dlio")
def test_a_checkpoint_runs_no_code_unless_a_setting_allows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    planted = tmp_path / "code-has-run"
    torch.save({"state": _Planted(planted)}, tmp_path / "model-0.pt")
    made = mechanism(f"file://{tmp_path}")
    with pytest.raises(s3dlio.S3dlioError, match="S3DLIO_TORCH_WEIGHTS_ONLY=0"):
        made.load_state("model-0", {})
    assert not planted.exists()
    monkeypatch.setenv("S3DLIO_TORCH_WEIGHTS_ONLY", "0")
    made.load_state("model-0", {})
    assert planted.exists()
