# SPDX-License-Identifier: Apache-2.0
"""Each command on file:// and direct://, and copies between the two."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

import s3dlio
from tests.cli.command import run

MIB = 1 << 20


@pytest.fixture(params=["file", "direct"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(scheme: str, tmp_path: Path) -> str:
    """The URI of a folder that holds a.bin, b.txt and sub/c.txt."""
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(256)) * 16)
    (folder / "b.txt").write_bytes(b"b")
    (folder / "sub" / "c.txt").write_bytes(b"cc")
    return f"{scheme}://{folder}"


def local(uri: str) -> Path:
    return Path(uri.partition("://")[2])


def test_ls_prints_the_children_of_a_folder(root: str) -> None:
    result = run("ls", "--sort", root)
    assert result == (0, f"{root}/a.bin\n{root}/b.txt\n{root}/sub/\n".encode(), "")


def test_ls_r_prints_every_object_below_and_filters_by_the_name_below(root: str) -> None:
    assert sorted(run("ls", "-r", root).lines) == [f"{root}/a.bin", f"{root}/b.txt", f"{root}/sub/c.txt"]
    assert sorted(run("ls", "-r", "--pattern", r"^[bs].*\.txt$", root).lines) == [
        f"{root}/b.txt",
        f"{root}/sub/c.txt",
    ]


def test_ls_json_is_one_array_and_with_long_has_all_facts(root: str) -> None:
    short = json.loads(run("ls", "--sort", "--json", root).out)
    assert short == [{"uri": f"{root}/a.bin"}, {"uri": f"{root}/b.txt"}, {"uri": f"{root}/sub/"}]
    long = json.loads(run("ls", "--sort", "--json", "--long", root).out)
    assert [entry["uri"] for entry in long] == [entry["uri"] for entry in short]
    assert long[0]["size"] == 4096
    assert set(long[0]) == {"uri", *s3dlio.stat(f"{root}/a.bin")}
    assert json.loads(run("ls", "--json", "--pattern", "nothing", root).out) == []


def test_ls_long_prints_size_and_time_in_columns(root: str) -> None:
    os.utime(local(root) / "a.bin", (0, 0))
    first, _, last = run("ls", "-l", "--sort", root).lines
    assert first.split() == ["4096", "1970-01-01T00:00:00Z", f"{root}/a.bin"]
    assert last.split() == ["-", "-", f"{root}/sub/"]
    assert first.index(root) == last.index(root)


def test_ls_of_an_object_prints_that_object(root: str) -> None:
    assert run("ls", f"{root}/b.txt").lines == [f"{root}/b.txt"]


def test_ls_of_an_empty_folder_prints_nothing_and_succeeds(root: str) -> None:
    (local(root) / "empty").mkdir()
    assert run("ls", f"{root}/empty") == (0, b"", "")


def test_stat_prints_the_facts_of_the_api(root: str) -> None:
    uri = f"{root}/a.bin"
    facts = s3dlio.stat(uri)
    shown = json.loads(run("stat", "--json", uri).out)
    assert facts["last_modified"] is not None
    assert shown == {"uri": uri, **facts, "last_modified": facts["last_modified"].isoformat()}
    assert datetime.fromisoformat(shown["last_modified"]).utcoffset() is not None
    lines = dict(line.split(":", 1) for line in run("stat", uri).lines)
    assert lines["size"].strip() == "4096"
    assert "content_type" not in lines


def test_cat_writes_objects_or_a_range_of_each(root: str) -> None:
    content = (local(root) / "a.bin").read_bytes()
    assert run("cat", f"{root}/a.bin", f"{root}/b.txt").out == content + b"b"
    assert run("cat", "--offset", "3", "--length", "1000", f"{root}/a.bin").out == content[3:1003]
    assert run("cat", "--offset", "4090", f"{root}/a.bin").out == content[4090:]
    assert run("cat", "--offset", "5000", "--length", "0", f"{root}/a.bin").out == b""


def test_an_object_larger_than_one_chunk_passes_unchanged(root: str) -> None:
    content = os.urandom(33 * MIB + 5)
    assert run("put", "-", f"{root}/new/large", stdin=content).status == 0
    assert (local(root) / "new" / "large").read_bytes() == content
    assert run("get", f"{root}/new/large", "-").out == content
    assert run("cat", "--offset", "7", "--length", str(17 * MIB), f"{root}/new/large").out == content[7:][: 17 * MIB]


def test_get_writes_to_a_file_a_folder_or_the_current_folder(root: str, tmp_path: Path) -> None:
    for arguments, written in [
        ((f"{root}/b.txt",), "b.txt"),
        ((f"{root}/b.txt", "other"), "other"),
        ((f"{root}/b.txt", "folder/"), "folder/b.txt"),
    ]:
        assert run("get", *arguments, folder=tmp_path) == (0, b"", "")
        assert (tmp_path / written).read_bytes() == b"b"


def test_put_copies_a_file_to_an_object_or_into_a_folder(root: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    assert run("put", "mine", f"{root}/deep/below/other", folder=tmp_path) == (0, b"", "")
    assert run("put", "mine", f"{root}/sub/", folder=tmp_path) == (0, b"", "")
    assert bytes(s3dlio.get(f"{root}/deep/below/other")) == b"mine"
    assert bytes(s3dlio.get(f"{root}/sub/mine")) == b"mine"


@pytest.mark.parametrize("target_scheme", ["", "file://", "direct://"])
def test_cp_copies_objects_and_trees_to_any_protocol(root: str, tmp_path: Path, target_scheme: str) -> None:
    target = f"{target_scheme}{tmp_path}"
    assert run("cp", f"{root}/a.bin", f"{target}/copy.bin") == (0, b"", "")
    assert (tmp_path / "copy.bin").read_bytes() == (local(root) / "a.bin").read_bytes()
    assert run("cp", "-r", root, f"{target}/tree") == (0, b"", "")
    names = [path.relative_to(tmp_path / "tree") for path in (tmp_path / "tree").rglob("*") if path.is_file()]
    assert sorted(map(str, names)) == ["a.bin", "b.txt", "sub/c.txt"]


def test_cp_takes_relative_local_paths_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    assert run("cp", "one", "two", folder=tmp_path) == (0, b"", "")
    assert (tmp_path / "two").read_bytes() == b"1"


def test_rm_deletes_objects_and_with_r_folders(root: str) -> None:
    assert run("rm", f"{root}/a.bin", f"{root}/b.txt", f"{root}/missing") == (0, b"", "")
    assert run("ls", root).lines == [f"{root}/sub/"]
    assert run("rm", "-r", f"{root}/sub", f"{root}/missing") == (0, b"", "")
    assert run("ls", root).out == b""


def test_rm_r_of_an_object_deletes_only_that_object(root: str) -> None:
    assert run("rm", "-r", f"{root}/a.bin").status == 0
    assert run("ls", "--sort", root).lines == [f"{root}/b.txt", f"{root}/sub/"]


def test_mkdir_creates_folders_and_their_parents(root: str) -> None:
    for _ in range(2):
        assert run("mkdir", f"{root}/x/y/z", f"{root}/w/") == (0, b"", "")
    assert (local(root) / "x" / "y" / "z").is_dir()
    assert (local(root) / "w").is_dir()
