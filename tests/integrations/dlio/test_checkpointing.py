"""Checkpoints in both directions: the same tensors come back, and neither direction holds a second model."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import s3dlio
from s3dlio.integrations.dlio import checkpointing, counters
from s3dlio.integrations.dlio.checkpointing import ObjectFile, stream_checkpoints


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


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges small enough that a test object takes many of them."""
    monkeypatch.setattr(checkpointing, "RANGE_BYTES", 64)
    monkeypatch.setattr(checkpointing, "SMALL_RANGE_BYTES", 16)


@pytest.mark.usefixtures("small_ranges")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 400),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(-500, 500), st.integers(0, 300)), max_size=8),
)
def test_an_object_reads_like_a_file(tmp_path: Path, size: int, steps: list[tuple[int, int, int]]) -> None:
    content = bytes(i % 251 for i in range(size))
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, content)
    ours, theirs = ObjectFile(uri), io.BytesIO(content)
    for whence, offset, length in steps:
        if whence == 0:
            offset = abs(offset)
        assert ours.seek(offset, whence) == theirs.seek(offset, whence)
        assert ours.read(length) == theirs.read(length)
        assert ours.tell() == theirs.tell()


@pytest.mark.usefixtures("small_ranges")
def test_reading_on_takes_large_ranges_and_each_byte_once(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(1000))
    file = ObjectFile(uri)
    assert len(file.read(1)) == 1  # a small range, then large ones
    assert len(file.read()) == 999
    assert file.bytes == 1000


@pytest.mark.usefixtures("small_ranges")
def test_an_object_cut_short_meanwhile_is_an_error_that_names_it(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(1000))
    file = ObjectFile(uri)
    s3dlio.put_bytes(uri, bytes(10))
    with pytest.raises(s3dlio.IntegrityError, match=uri):
        file.read()


@pytest.mark.usefixtures("dlio", "small_ranges")
@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_the_state_that_was_saved_is_loaded(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv(counters.FOLDER_VARIABLE, str(tmp_path / "metrics"))
    root = f"{scheme}://{tmp_path}/checkpoints"
    made = mechanism(root)
    state = {"a": torch.arange(500, dtype=torch.int32), "b": {"0": torch.rand(3, 7), "1": torch.ones(1)}}
    made.save_state("step1/model-0", state)
    # What DLIO loads it throws away, so the tensors are looked at here.
    loaded = torch.load(ObjectFile(f"{root}/step1/model-0.pt"))
    assert torch.equal(loaded["a"], state["a"])
    assert torch.equal(loaded["b"]["0"], state["b"]["0"])
    made.load_state("step1/model-0", state)
    written = counters.summarise(tmp_path / "metrics")["checkpoint_write"]
    assert written.bytes == s3dlio.stat(f"{root}/step1/model-0.pt")["size"] > 2000
    assert counters.summarise(tmp_path / "metrics")["checkpoint_read"].bytes >= written.bytes


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
def test_an_empty_state_is_an_error(tmp_path: Path) -> None:
    made = mechanism(f"file://{tmp_path}")
    made.save_state("model", {})
    with pytest.raises(s3dlio.IntegrityError, match="holds no state"):
        made.load_state("model", {})


_PEAKS = """
import resource, sys
from types import SimpleNamespace
import torch
from s3dlio.integrations.dlio.checkpointing import stream_checkpoints

made = SimpleNamespace(ext="pt")
stream_checkpoints(made, SimpleNamespace(get_uri=lambda id: f"{sys.argv[1]}/{id}"))
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
if sys.argv[2] == "save":
    made.save_state("model", {"a": torch.ones(int(sys.argv[3]), dtype=torch.int8)})
else:
    made.load_state("model", None)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before)
"""


@pytest.mark.usefixtures("dlio")
@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_memory_stays_below_the_model_and_300_mib(tmp_path: Path, scheme: str) -> None:
    model = 768 << 20
    for direction in ("save", "load"):
        command = [sys.executable, "-c", _PEAKS, f"{scheme}://{tmp_path}", direction, str(model)]
        grown = int(subprocess.run(command, check=True, capture_output=True).stdout)
        assert model <= grown <= model + (300 << 20), direction
