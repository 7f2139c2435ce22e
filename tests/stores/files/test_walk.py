# SPDX-License-Identifier: Apache-2.0
"""Trees of folders: of any depth, with few descriptors, and while another process replaces folders in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import s3dlio
from s3dlio.stores.files import walk
from tests.processes import in_forked_child

DEPTH = 1600  # gives a path of 11,200 bytes, while PATH_MAX is 4096


@pytest.fixture(params=["file", "direct"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"{request.param}://{tmp_path}"
    for entry in os.scandir(tmp_path):  # pytest itself cannot remove these
        subprocess.run(["rm", "-rf", entry.path], check=True)


def _make(root: Path, depth: int, beside: int = 0) -> None:
    """A chain of folders, in each a file, and folders that come before and after the next of the chain."""
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for level in range(depth):
        os.close(os.open(f"file{level}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        for number in range(beside):
            os.mkdir(f"beside{number}", dir_fd=fd)
            os.close(os.open(f"beside{number}/file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("folder", dir_fd=fd)
        below = os.open("folder", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """Let this process open at most `more` further descriptors."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    free = [fd for fd in range(highest) if not os.path.exists(f"/proc/self/fd/{fd}")]
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in free]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max([highest, *fillers]) + 1 + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for filler in fillers:
            os.close(filler)


# Depth...


def test_a_tree_deeper_than_any_path_is_listed_and_removed(base: str, tmp_path: Path) -> None:
    _make(tmp_path / "deep", DEPTH)

    def list_and_remove() -> None:
        with few_descriptors(64):
            found = s3dlio.list(f"{base}/deep", recursive=True)
            assert len(found) == DEPTH
            assert f"{base}/deep/{'folder/' * (DEPTH - 1)}file{DEPTH - 1}" in found
            s3dlio.delete(f"{base}/deep", recursive=True)

    in_forked_child(list_and_remove)
    assert os.listdir(tmp_path) == []


def test_folders_that_were_closed_on_the_way_down_are_opened_again(base: str, tmp_path: Path) -> None:
    depth = 150
    _make(tmp_path / "deep", depth, beside=2)

    def list_and_remove() -> None:
        with few_descriptors(64):
            found = s3dlio.list(f"{base}/deep", recursive=True)
            assert len(set(found)) == len(found) == 3 * depth
            assert len(list(walk.pages(f"{tmp_path}/deep", recursive=True, sizes=True))) == -(-6 * depth // 500)
            s3dlio.delete(f"{base}/deep", recursive=True)

    in_forked_child(list_and_remove)
    assert os.listdir(tmp_path) == []


def test_a_deep_tree_with_links_is_listed(base: str, tmp_path: Path) -> None:
    depth = 100
    (tmp_path / "elsewhere").mkdir()
    at = tmp_path / "deep"
    for level in range(depth):
        at.mkdir()
        (at / "file").touch()
        if level:  # a link that leads back, which is not entered
            (at / "up").symlink_to("..")
        (at / "link").symlink_to(tmp_path / "elsewhere")
        if level % 10 == 5:  # some links are on the path down
            (tmp_path / f"other{level}").mkdir()
            (at / "folder").symlink_to(tmp_path / f"other{level}")
            at = at / "folder" / "next"
        else:
            at = at / "folder"
    (tmp_path / "elsewhere" / "file").touch()
    found = s3dlio.list(f"{base}/deep", recursive=True)
    assert len(found) == 2 * depth
    assert sum(name.endswith("/link/file") for name in found) == depth


def test_a_deep_tree_is_copied(base: str, tmp_path: Path) -> None:
    _make(tmp_path / "deep", 100)
    s3dlio.copy(f"{base}/deep", f"{base}/copy", recursive=True)
    assert len(s3dlio.list(f"{base}/copy", recursive=True)) == 100


# Changes during a walk...


@contextmanager
def _exchanging(folder: Path, link_to: Path) -> Iterator[None]:
    """While the block runs, replace each folder in a folder by a link, and back, again and again."""
    ended, begun = threading.Event(), threading.Event()

    def work() -> None:
        aside = folder.parent / "aside"
        while not ended.is_set():
            for name in map(str, range(10)):
                try:
                    os.rename(folder / name, aside)
                    os.symlink(link_to, folder / name)
                    os.unlink(folder / name)
                    os.rename(aside, folder / name)
                    begun.set()
                except OSError:
                    shutil.rmtree(aside, ignore_errors=True)

    with ThreadPoolExecutor(1) as thread:
        exchanged = thread.submit(work)
        try:
            assert begun.wait(20)
            yield
        finally:
            ended.set()
        exchanged.result()


def test_a_removal_does_not_follow_a_link_out_of_the_tree(base: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "a" / "b").mkdir(parents=True)
    for name in ("file", "a/file", "a/b/file"):
        (outside / name).touch()
    victim = tmp_path / "victim"
    for turn in range(15):
        for number in range(10):
            (victim / f"{number}" / "a" / "b").mkdir(parents=True)
            for name in ("file", "a/file", "a/b/file"):
                (victim / f"{number}" / name).touch()
        with _exchanging(victim, outside):
            for _ in range(3):
                s3dlio.delete(f"{base}/victim", recursive=True)
        shutil.rmtree(victim, ignore_errors=True)
        for name in ("file", "a/file", "a/b/file"):
            assert (outside / name).exists(), turn


def test_a_folder_that_became_a_link_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    real = os.open

    def exchange_then_open(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "folder":
            os.rmdir(path, dir_fd=dir_fd)
            os.symlink(tmp_path / "outside", path, dir_fd=dir_fd)
        return real(path, flags, mode, dir_fd=dir_fd)

    for work in (
        lambda: list(walk.pages(f"{tmp_path}/tree", recursive=True, sizes=False)),
        lambda: list(walk.remove(f"{tmp_path}/tree")),
    ):
        (tmp_path / "tree" / "folder").mkdir(parents=True)
        monkeypatch.setattr(os, "open", exchange_then_open)
        found = work()
        monkeypatch.undo()
        assert not any(found)
        assert os.listdir(tmp_path / "outside") == ["file"]
        if (tmp_path / "tree").exists():
            (tmp_path / "tree" / "folder").unlink()
            (tmp_path / "tree").rmdir()


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("short_way", [True, False])
def test_a_folder_that_replaces_a_closed_one_is_not_entered(
    tmp_path: Path, listing: bool, short_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_OPEN", 5)
    monkeypatch.setattr(walk, "PAGE", 1)
    if not short_way:
        monkeypatch.setattr(walk._Chain, "_open_from_below", lambda *_: None)
    root = tmp_path / "deep"
    _make(root, 60, beside=2)
    (tmp_path / "other" / "beside0").mkdir(parents=True)
    (tmp_path / "other" / "beside0" / "kept").touch()
    (tmp_path / "other" / "kept").touch()
    steps: Iterator[object] = walk.pages(f"{root}", recursive=True, sizes=False) if listing else walk.remove(f"{root}")
    deep = root / ("folder/" * 20)
    seen = []
    failed = ""
    try:
        for step in steps:
            seen.append(str(step))
            if (tmp_path / "moved").exists():
                continue
            if "folder/" * 20 in str(step) if listing else "file20" not in os.listdir(deep):
                os.rename(root / "folder", tmp_path / "moved")
                os.rename(tmp_path / "other", root / "folder")
    except walk.FolderError as error:
        failed = str(error.error)
    assert ("another folder replaced it" in failed) is not short_way
    assert "kept" not in "".join(seen)
    if listing or not short_way:  # otherwise the removal goes up to the root, and finds the other folder below it
        assert sorted(os.listdir(root / "folder")) == ["beside0", "kept"]
        assert os.listdir(root / "folder" / "beside0") == ["kept"]
