# SPDX-License-Identifier: Apache-2.0
"""Generators write to local paths, and the files are uploaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import s3dlio
from s3dlio.dlio.record import records
from s3dlio.dlio.record.totals import summarise
from s3dlio.dlio.run.generators import write_objects


class Storage:
    """DLIO's storage, as far as a generator uses it."""

    def __init__(self, root: Path) -> None:
        self.root = f"file://{root}"

    def get_uri(self, id: str) -> str:
        return f"{self.root}/{id}"

    def create_node(self, id: str) -> str:
        return f"made {id}"


class Generator:
    """DLIO's generator: `generate` writes files where its storage says."""

    def __init__(self, root: Path, write: Callable[[Generator], None]) -> None:
        self.storage = Storage(root)
        self.write = write
        self.staged: list[str] = []

    def path(self, id: str) -> str:
        self.staged.append(self.storage.get_uri(id))
        return self.staged[-1]

    def generate(self) -> None:
        self.write(self)


@pytest.fixture(autouse=True)
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "stage"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_each_file_is_uploaded_and_counted(tmp_path: Path, stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.FOLDER_VARIABLE, str(tmp_path / "metrics"))

    def write(generator: Generator) -> None:
        for name, content in [("train/0/a.npz", b"a"), ("train/1/a.npz", b"bb"), ("valid/a.npz", b"ccc")]:
            Path(generator.path(name)).write_bytes(content)

    generator = Generator(tmp_path / "out", write)
    write_objects(generator, "npz")
    generator.generate()
    root = f"file://{tmp_path}/out"
    assert s3dlio.list(root, recursive=True) == [f"{root}/{n}/a.npz" for n in ("train/0", "train/1", "valid")]
    assert s3dlio.get(f"{root}/train/1/a.npz").tobytes() == b"bb"
    assert summarise(tmp_path / "metrics")["generate"].bytes == 6
    assert os.listdir(stage) == []


def test_at_most_one_file_is_staged(tmp_path: Path) -> None:
    staged = []

    def write(generator: Generator) -> None:
        for i in range(3):
            path = Path(generator.path(f"train/{i}.npz"))
            staged.append(len(list(path.parent.iterdir())))
            path.write_bytes(b"x")

    generator = Generator(tmp_path / "out", write)
    write_objects(generator, "npz")
    generator.generate()
    assert staged == [0, 0, 0]
    assert len(list((tmp_path / "out/train").iterdir())) == 3


def test_a_file_stays_staged_until_its_index_is_made(tmp_path: Path, stage: Path) -> None:
    def write(generator: Generator) -> None:
        for number in range(3):
            data = Path(generator.path(f"valid/{number}.tfrecord"))
            data.write_text(f"data {number}")
            index = Path(generator.path(f"index/valid/{number}.idx"))
            index.write_text(data.read_text())
            assert "valid" in str(data)

    generator = Generator(tmp_path / "out", write)
    write_objects(generator, "tfrecord")
    generator.generate()
    assert [(tmp_path / f"out/index/valid/{number}.idx").read_text() for number in range(3)] == [
        f"data {number}" for number in range(3)
    ]
    assert len(list((tmp_path / "out/valid").iterdir())) == 3
    assert os.listdir(stage) == []


def test_files_written_beside_the_path_are_uploaded_too(tmp_path: Path) -> None:
    def write(generator: Generator) -> None:
        path = generator.path("train/a.indexed_binary")
        for suffix in ("", ".off.idx", ".sz.idx"):
            Path(path + suffix).write_text(suffix)
        Path(generator.path("train/b.csv") + ".gz").write_text("compressed")

    generator = Generator(tmp_path / "out", write)
    write_objects(generator, "npz")
    generator.generate()
    names = sorted(path.name for path in (tmp_path / "out/train").iterdir())
    assert names == ["a.indexed_binary", "a.indexed_binary.off.idx", "a.indexed_binary.sz.idx", "b.csv.gz"]


def test_a_generator_that_fails_leaves_no_half_file(tmp_path: Path, stage: Path) -> None:
    def write(generator: Generator) -> None:
        Path(generator.path("train/a.npz")).write_bytes(b"whole")
        Path(generator.path("train/b.npz")).write_bytes(b"ha")
        raise OSError("no space left")

    generator = Generator(tmp_path / "out", write)
    write_objects(generator, "npz")
    with pytest.raises(OSError, match="no space left"):
        generator.generate()
    assert [path.name for path in (tmp_path / "out/train").iterdir()] == ["a.npz"]
    assert os.listdir(stage) == []


def test_other_methods_of_the_storage_are_unchanged(tmp_path: Path) -> None:
    answers: list[object] = []

    def write(generator: Generator) -> None:
        answers.extend([generator.storage.create_node("train"), generator.storage.islocalfs()])  # type: ignore[attr-defined]

    generator = Generator(tmp_path / "out", write)
    write_objects(generator, "npz")
    generator.generate()
    assert answers == ["made train", True]
