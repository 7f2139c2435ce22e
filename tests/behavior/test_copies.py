# SPDX-License-Identifier: Apache-2.0
"""upload, download and copy, of objects and of trees, with progress."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import s3dlio
from tests.behavior.content import content

TREE = {
    "empty": 0,
    "small": 10,
    "sub/medium": 100_001,
    "sub/deep/large": (20 << 20) + 3,
    ".hidden/object": 5,
    "with blank/ü%20+#": 7,
}


def _put_tree(root: str) -> None:
    s3dlio.put_many((f"{root}/{name}", content(size, seed=size)) for name, size in TREE.items())


def _holds_tree(root: str) -> bool:
    uris = s3dlio.list(root, recursive=True)
    return uris == sorted(f"{root}/{name}" for name in TREE) and all(
        s3dlio.get(uri) == content(size, seed=size)
        for uri, size in ((f"{root}/{name}", size) for name, size in TREE.items())
    )


def _write_tree(folder: Path) -> None:
    for name, size in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content(size, seed=size))


def _is_tree(folder: Path) -> bool:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return found == {name: content(size, seed=size) for name, size in TREE.items()}


@pytest.fixture
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local")


# Objects...


@pytest.mark.parametrize("size", [0, 1, 4097, (33 << 20) + 1])
def test_an_object_is_uploaded_and_downloaded(root: str, local: Path, size: int) -> None:
    (local / "source").write_bytes(content(size))
    s3dlio.upload(local / "source", f"{root}/object")
    s3dlio.copy(f"{root}/object", f"{root}/sub/copy")
    s3dlio.download(f"{root}/sub/copy", str(local / "new" / "target"))
    assert s3dlio.get(f"{root}/object") == content(size)
    assert (local / "new" / "target").read_bytes() == content(size)


def test_a_target_that_ends_in_a_slash_takes_the_name_of_the_source(root: str, local: Path) -> None:
    (local / "source.bin").write_bytes(b"data")
    s3dlio.upload(local / "source.bin", f"{root}/folder/")
    assert s3dlio.get(f"{root}/folder/source.bin") == b"data"
    s3dlio.copy(f"{root}/folder/source.bin", f"{root}/other/")
    assert s3dlio.get(f"{root}/other/source.bin") == b"data"
    s3dlio.download(f"{root}/other/source.bin", f"{local}/into/")
    assert (local / "into" / "source.bin").read_bytes() == b"data"


def test_a_download_into_an_existing_folder_takes_the_name_of_the_source(root: str, local: Path) -> None:
    s3dlio.put_bytes(f"{root}/folder/object.bin", b"data")
    s3dlio.download(f"{root}/folder/object.bin", local)
    assert (local / "object.bin").read_bytes() == b"data"


def test_an_existing_object_is_replaced(root: str, local: Path) -> None:
    s3dlio.put_bytes(f"{root}/object", content(100_000))
    (local / "source").write_bytes(b"short")
    s3dlio.upload(local / "source", f"{root}/object")
    assert s3dlio.get(f"{root}/object") == b"short"


def test_relative_local_paths_are_resolved(root: str, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(local)
    Path("source").write_bytes(b"data")
    s3dlio.upload("source", f"{root}/object")
    s3dlio.download(f"{root}/object", "sub/../target")
    assert (local / "target").read_bytes() == b"data"


# Trees...


@pytest.mark.parametrize("end", ["", "/"])
def test_a_tree_is_uploaded_and_downloaded(root: str, local: Path, end: str) -> None:
    _write_tree(local / "source")
    s3dlio.upload(f"{local}/source{end}", f"{root}/up{end}", recursive=True)
    assert _holds_tree(f"{root}/up")
    s3dlio.copy(f"{root}/up{end}", f"{root}/copied{end}", recursive=True)
    assert _holds_tree(f"{root}/copied")
    s3dlio.download(f"{root}/copied{end}", f"{local}/target{end}", recursive=True)
    assert _is_tree(local / "target")


def test_a_copied_tree_leaves_its_neighbors_alone(root: str) -> None:
    _put_tree(f"{root}/data")
    s3dlio.put_bytes(f"{root}/data2/object", b"beside")
    s3dlio.put_bytes(f"{root}/target/before", b"was there")
    s3dlio.copy(f"{root}/data", f"{root}/target", recursive=True)
    assert s3dlio.get(f"{root}/target/before") == b"was there"
    s3dlio.delete(f"{root}/target/before")
    assert _holds_tree(f"{root}/target")


def test_recursive_accepts_a_single_object(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", b"data")
    s3dlio.copy(f"{root}/object", f"{root}/copy", recursive=True)
    assert s3dlio.get(f"{root}/copy") == b"data"


def test_a_tree_is_not_copied_into_itself(root: str) -> None:
    _put_tree(f"{root}/data")
    for target in (f"{root}/data", f"{root}/data/", f"{root}/data/sub"):
        with pytest.raises(s3dlio.InvalidURIError, match="into itself"):
            s3dlio.copy(f"{root}/data", target, recursive=True)
    assert _holds_tree(f"{root}/data")


# Progress...


def _collected(call: Callable[[Callable[[s3dlio.Progress], None]], None]) -> list[s3dlio.Progress]:
    steps: list[s3dlio.Progress] = []
    call(steps.append)
    assert [step.bytes_done for step in steps] == sorted(step.bytes_done for step in steps)
    assert [step.objects_done for step in steps] == sorted(step.objects_done for step in steps)
    return steps


def test_progress_of_an_object_knows_its_total_from_the_start(root: str, local: Path) -> None:
    size = (40 << 20) + 1
    (local / "source").write_bytes(bytes(size))
    for steps in (
        _collected(lambda progress: s3dlio.upload(local / "source", f"{root}/object", progress=progress)),
        _collected(lambda progress: s3dlio.copy(f"{root}/object", f"{root}/copy", progress=progress)),
        _collected(lambda progress: s3dlio.download(f"{root}/copy", local / "target", progress=progress)),
    ):
        assert len(steps) >= 3
        assert {(step.bytes_total, step.objects_total) for step in steps} == {(size, 1)}
        assert steps[0].bytes_done < size
        assert (steps[-1].bytes_done, steps[-1].objects_done) == (size, 1)


def test_progress_of_a_tree_ends_with_everything_done(root: str) -> None:
    _put_tree(f"{root}/data")
    steps = _collected(lambda progress: s3dlio.copy(f"{root}/data", f"{root}/to", recursive=True, progress=progress))
    total = sum(TREE.values())
    assert steps[-1][1:] == (total, total, len(TREE), len(TREE))
    assert {step.uri for step in steps} == {f"{root}/data/{name}" for name in TREE}
    assert all(step.bytes_total in (None, total) and step.objects_total in (None, len(TREE)) for step in steps)


def test_an_exception_of_the_callback_ends_the_copy_and_leaves_nothing(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", bytes(40 << 20))

    def fail(step: s3dlio.Progress) -> None:
        raise LookupError(f"seen {step.bytes_done}")

    with pytest.raises(LookupError, match="seen"):
        s3dlio.copy(f"{root}/object", f"{root}/copy", progress=fail)
    assert s3dlio.list(root, recursive=True) == [f"{root}/object"]


# Errors...


def test_a_missing_source_is_not_found(root: str, local: Path) -> None:
    for recursive in (False, True):
        with pytest.raises(s3dlio.ObjectNotFoundError, match="missing"):
            s3dlio.upload(local / "missing", f"{root}/object", recursive=recursive)
        with pytest.raises(s3dlio.ObjectNotFoundError, match="missing"):
            s3dlio.download(f"{root}/missing", local / "target", recursive=recursive)
    assert s3dlio.list(root, recursive=True) == []
    assert not (local / "target").exists()


def test_a_folder_needs_recursive(root: str, local: Path) -> None:
    _put_tree(f"{root}/data")
    with pytest.raises(s3dlio.ObjectNotFoundError, match="data"):
        s3dlio.download(f"{root}/data", local / "target")
    with pytest.raises(s3dlio.ObjectNotFoundError, match="local"):
        s3dlio.upload(local, f"{root}/object")
    assert not (local / "target").exists()
    assert not s3dlio.exists(f"{root}/object")
