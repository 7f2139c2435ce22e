# SPDX-License-Identifier: Apache-2.0
"""The tfrecord format and staged checkpoints, without TensorFlow; `test_matrix` has runs with TensorFlow."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

import s3dlio
from s3dlio.dlio.run import tfrecord


def file_of(*contents: bytes) -> bytes:
    # TensorFlow writes the checksums; s3dlio does not read them.
    return b"".join(struct.pack("<QI", len(content), 7) + content + bytes(4) for content in contents)


@pytest.mark.parametrize("contents", [[], [b""], [b"abc"], [b"abc", b"", b"d" * 1000]])
def test_every_record_is_found(contents: list[bytes], tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/a.tfrecord"
    s3dlio.put_bytes(uri, file_of(*contents))
    assert list(tfrecord.read_records(uri.encode())) == contents


@pytest.mark.parametrize("cut", [1, 8, 12, 14, 18])
def test_a_file_cut_short_is_an_error_that_names_it(cut: int) -> None:
    with pytest.raises(s3dlio.S3dlioError, match="gs://bucket/a is not a readable tfrecord file"):
        list(tfrecord.records(memoryview(file_of(b"abc"))[:cut], "gs://bucket/a"))


def test_the_index_that_dali_wants_is_written_without_its_program(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(file_of(b"abc", b"defgh"))
    storage = SimpleNamespace(get_uri=lambda id: str(tmp_path / id))
    module = SimpleNamespace(call=None)
    tfrecord.index_without_script(module, SimpleNamespace(storage=storage))
    module.call(["tfrecord2idx", str(path), "a.idx"])
    assert (tmp_path / "a.idx").read_text() == "0 19\n19 21\n"


def test_a_generator_that_writes_its_own_index_is_not_changed() -> None:
    module = SimpleNamespace()
    tfrecord.index_without_script(module, SimpleNamespace())
    assert not hasattr(module, "call")


class Mechanism:
    """A mechanism that writes a checkpoint as TensorFlow does: several local files, whose names it asks for."""

    ext = "tf"

    def get_name(self, suffix: str) -> str:
        raise AssertionError(f"{suffix} is for a local file")

    def save_state(self, suffix: str, state: dict[str, bytes]) -> None:
        name = Path(self.get_name(suffix))
        (name.parent / "checkpoint").write_text(name.name)
        Path(f"{name}-1.index").write_text(" ".join(state))
        Path(f"{name}-1.data-00000-of-00001").write_bytes(b"".join(state.values()))

    def load_state(self, suffix: str, state: dict[str, bytes]) -> None:
        name = self.get_name(suffix)
        keys = Path(f"{name}-1.index").read_text().split()
        state.update(dict.fromkeys(keys, Path(f"{name}-1.data-00000-of-00001").read_bytes()))


def staged(root: str) -> Mechanism:
    mechanism = Mechanism()
    tfrecord.stage_checkpoints(mechanism, SimpleNamespace(get_uri=lambda id: f"{root}/{id}"))
    return mechanism


def test_a_checkpoint_is_uploaded_and_read_back_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: list[str] = []
    upload = s3dlio.upload

    def watched(path: str, uri: str) -> None:
        uploaded.append(uri)
        upload(path, uri)

    monkeypatch.setattr(s3dlio, "upload", watched)
    root = f"file://{tmp_path}/checkpoints"
    staged(root).save_state("epoch1/model", {"weights": b"abc"})
    # The file that names the others comes last, so that no reader finds an incomplete checkpoint.
    names = ["model.tf-1.data-00000-of-00001", "model.tf-1.index", "checkpoint"]
    assert uploaded == [f"{root}/epoch1/{name}" for name in names]
    assert sorted(s3dlio.list(f"{root}/epoch1")) == sorted(uploaded)
    state: dict[str, bytes] = {}
    staged(root).load_state("epoch1/model", state)
    assert state == {"weights": b"abc"}


def test_a_missing_checkpoint_is_an_error_that_names_it(tmp_path: Path) -> None:
    root = f"file://{tmp_path}/checkpoints"
    staged(root).save_state("epoch1/model", {"weights": b"abc"})
    with pytest.raises(s3dlio.ObjectNotFoundError, match=f"{root}/epoch1/mod.tf: no such checkpoint"):
        staged(root).load_state("epoch1/mod", {})
