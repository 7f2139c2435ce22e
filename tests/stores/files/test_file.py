# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""Links, folders, modes, odd names and permissions, which only file systems have; on file:// and direct://."""

from __future__ import annotations

import os
import socket
import stat
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

import s3dlio
from s3dlio.stores.files import walk
from s3dlio.stores.files.names import RESERVED
from tests.behavior.content import content
from tests.processes import in_forked_child


@pytest.fixture(params=["file", "direct"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path}"


# Links...


def test_a_link_to_a_file_is_an_object(base: str, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"data")
    (tmp_path / "link").symlink_to("target")
    assert s3dlio.get(f"{base}/link") == b"data"
    assert s3dlio.exists(f"{base}/link")
    assert s3dlio.stat(f"{base}/link")["size"] == 4
    assert s3dlio.list(base) == [f"{base}/link", f"{base}/target"]


def test_a_put_through_a_link_replaces_its_target(base: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere/target")
    (tmp_path / "chain").symlink_to(tmp_path / "link")
    (tmp_path / "dangling").symlink_to("elsewhere/new")
    for name, target in (("link", "target"), ("chain", "target"), ("dangling", "new")):
        s3dlio.put_bytes(f"{base}/{name}", name.encode())
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "elsewhere" / target).read_bytes() == name.encode()
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["new", "target"]


def test_a_link_to_nowhere_or_to_itself_is_not_an_object(base: str, tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "itself").symlink_to("itself")
    for name in ("nowhere", "itself", "itself/below"):
        assert s3dlio.exists(f"{base}/{name}") is False
        assert s3dlio.is_prefix(f"{base}/{name}") is False
        assert s3dlio.list(f"{base}/{name}") == []
        for read in (s3dlio.get, s3dlio.stat):
            with pytest.raises(s3dlio.ObjectNotFoundError, match=name):
                read(f"{base}/{name}")
    assert s3dlio.list(base) == s3dlio.list(base, recursive=True) == []


def test_loops_of_links_end(base: str, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "object").write_bytes(b"x")
    (deep / "to-a").symlink_to(tmp_path / "a")
    (deep / "to-itself").symlink_to(".")
    (tmp_path / "a" / "to-root").symlink_to(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "to-y").symlink_to(tmp_path / "y")
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "to-x").symlink_to(tmp_path / "x")
    (tmp_path / "y" / "object").write_bytes(b"y")
    found = s3dlio.list(base, recursive=True)
    assert f"{base}/a/b/c/object" in found
    assert f"{base}/x/to-y/object" in found  # a link to another folder is followed
    assert len(found) < 20
    s3dlio.copy(f"{base}/a/b", f"file://{tmp_path}/copied", recursive=True)
    assert (tmp_path / "copied" / "c" / "object").read_bytes() == b"x"


def test_deleting_links_leaves_their_targets(base: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "object").write_bytes(b"x")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, target in (("to-file", kept / "object"), ("to-folder", kept), ("to-itself", folder)):
        (folder / name).symlink_to(target)
    s3dlio.delete(f"{base}/folder/to-folder")
    assert (folder / "to-folder").is_symlink()  # a folder, hence not an object
    s3dlio.delete(f"{base}/folder/to-file", recursive=True)
    assert (folder / "to-file").is_symlink()  # an object, hence nothing below it
    s3dlio.delete(f"{base}/folder/to-file")
    assert not (folder / "to-file").is_symlink()
    s3dlio.delete(f"{base}/folder", recursive=True)
    assert not folder.exists()
    assert os.listdir(kept) == ["object"]


def test_a_folder_named_through_a_link_is_deleted_with_it(base: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "object").write_bytes(b"x")
    (tmp_path / "link").symlink_to("data")
    s3dlio.delete(f"{base}/link", recursive=True)
    assert os.listdir(tmp_path) == []


def test_a_tree_is_not_copied_into_itself_through_a_link(base: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "object").write_bytes(b"x")
    (tmp_path / "link").symlink_to("data")
    for target in (f"{base}/link/sub", f"{base}/x/../data/sub", f"file://{tmp_path}/data/./sub"):
        with pytest.raises(s3dlio.InvalidURIError, match="into itself"):
            s3dlio.copy(f"{base}/data", target, recursive=True)
    assert os.listdir(tmp_path / "data") == ["object"]


# Neither files nor folders...


def test_pipes_and_sockets_are_not_objects_and_no_call_waits_for_them(base: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            assert s3dlio.exists(f"{base}/{name}") is False
            for read in (s3dlio.get, s3dlio.stat, lambda uri: s3dlio.copy(uri, f"{base}/copy")):
                with pytest.raises(s3dlio.S3dlioError, match=name):
                    read(f"{base}/{name}")
        assert s3dlio.list(base) == []


def test_files_whose_size_the_kernel_does_not_report_are_read(tmp_path: Path) -> None:
    for scheme in ("file", "direct"):
        s3dlio.download(f"{scheme}:///proc/self/cmdline", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == Path("/proc/self/cmdline").read_bytes()
        assert bytes(s3dlio.get(f"{scheme}:///proc/self/cmdline")) == Path("/proc/self/cmdline").read_bytes()


# Names...


def test_names_that_are_not_text_are_listed_and_read(base: str, tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/b\xff\xfe", "wb") as file:
        file.write(b"data")
    (uri,) = s3dlio.list(base)
    assert s3dlio.get(uri) == b"data"


def test_a_name_with_a_lone_surrogate_that_encodes_no_byte_is_refused(base: str) -> None:
    for call in (s3dlio.get, s3dlio.exists, s3dlio.list, s3dlio.delete, lambda uri: s3dlio.put_bytes(uri, b"")):
        with pytest.raises(s3dlio.InvalidURIError, match="surrogate"):
            call(f"{base}/\ud800")


def test_the_longest_name_is_accepted_and_a_longer_one_refused(base: str) -> None:
    s3dlio.put_bytes(f"{base}/{'n' * 255}", b"x")
    assert s3dlio.get(f"{base}/{'n' * 255}") == b"x"
    for call in (s3dlio.get, lambda uri: s3dlio.put_bytes(uri, b"")):
        with pytest.raises(s3dlio.InvalidURIError, match="choose a shorter name"):
            call(f"{base}/{'n' * 256}")


def test_the_prefix_of_temporary_files_is_reserved(base: str, tmp_path: Path) -> None:
    with pytest.raises(s3dlio.InvalidURIError, match="are for temporary files"):
        s3dlio.put_bytes(f"{base}/folder/{RESERVED}mine", b"x")
    assert os.listdir(tmp_path) == []


def test_each_scheme_lists_its_own_uris(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "object").write_bytes(b"")
    for scheme in ("file", "direct"):
        assert s3dlio.list(f"{scheme}://{tmp_path}") == [f"{scheme}://{tmp_path}/sub/"]
        assert s3dlio.list(f"{scheme}://{tmp_path}//sub") == [f"{scheme}://{tmp_path}//sub/object"]


# Folders...


def test_mkdir_creates_folders_and_their_parents(base: str, tmp_path: Path) -> None:
    s3dlio.mkdir(f"{base}/a/b/c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert s3dlio.is_prefix(f"{base}/a/b")
    assert s3dlio.list(base) == [f"{base}/a/"]
    assert s3dlio.list(f"{base}/a/b/c") == []


def test_mkdir_fails_if_an_object_has_the_name(base: str) -> None:
    s3dlio.put_bytes(f"{base}/object", b"x")
    for name in ("object", "object/below"):
        with pytest.raises(s3dlio.S3dlioError, match=name):
            s3dlio.mkdir(f"{base}/{name}")
    assert s3dlio.get(f"{base}/object") == b"x"


def test_a_folder_is_never_overwritten(base: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder", "folder/", "new/"):
        with pytest.raises(s3dlio.ObjectNotFoundError, match="folder, not an object"):
            s3dlio.put_bytes(f"{base}/{name}", b"x")
    assert sorted(os.listdir(tmp_path)) in (["folder"], ["folder", "new"])
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.parametrize("uri", ["file:///", "file:////", "direct:///", "file:///tmp/..", "file:///proc/self/root"])
def test_the_root_of_the_file_system_is_never_deleted(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> Iterator[None]:
        raise AssertionError(f"it would have deleted {folder}")

    monkeypatch.setattr(walk, "remove", refuse)
    with pytest.raises(s3dlio.InvalidURIError, match="root"):
        s3dlio.delete(uri, recursive=True)


def test_listing_streams_in_constant_memory(tmp_path: Path) -> None:
    for number in range(20_000):
        os.close(os.open(tmp_path / f"a-name-of-usual-length-{number}.npz", os.O_CREAT | os.O_WRONLY))
    uri = f"file://{tmp_path}"
    tracemalloc.start()
    try:
        assert sum(1 for _ in s3dlio.list_iter(uri)) == 20_000
        streamed = tracemalloc.get_traced_memory()[1]
        assert len(s3dlio.list(uri)) == 20_000
        whole = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert streamed < whole / 5


@pytest.mark.parametrize("entries", [1, 2, 3, 7, 500])
def test_a_listing_is_complete_wherever_its_pages_end(
    base: str, tmp_path: Path, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE", entries)
    names = [f"{folder}{name}" for folder in ("", "a/", "a/b/", "c/", "c/d/e/") for name in "12345"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert s3dlio.list(base, recursive=True) == sorted(f"{base}/{name}" for name in names)
    assert sorted(s3dlio.list_iter(base, recursive=True)) == sorted(f"{base}/{name}" for name in names)
    assert s3dlio.list(base) == [f"{base}/{name}" for name in (*"12345", "a/", "c/", "empty/")]


def test_a_listing_left_half_way_leaves_no_folder_open(base: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for number in range(3000):
        os.close(os.open(tmp_path / "a" / "b" / f"{number}", os.O_CREAT | os.O_WRONLY))
    before = sorted(os.listdir("/proc/self/fd"))
    names = s3dlio.list_iter(base, recursive=True)
    next(names)
    del names
    assert sorted(os.listdir("/proc/self/fd")) == before


# Files...


def test_no_call_leaves_a_descriptor_open(base: str, tmp_path: Path) -> None:
    def calls() -> None:
        s3dlio.put_bytes(f"{base}/sub/object", content(100_000))
        s3dlio.get(f"{base}/sub/object")
        s3dlio.get_range(f"{base}/sub/object", 10, 10)
        s3dlio.copy(f"{base}/sub", f"{base}/other", recursive=True)
        list(s3dlio.get_many_iter([f"{base}/sub/object"] * 10))
        for uri in (f"{base}/missing", f"{base}/sub", f"{base}/pipe"):
            for call in (s3dlio.get, s3dlio.stat, lambda uri: s3dlio.put_bytes(f"{uri}/", b"")):
                with pytest.raises(s3dlio.S3dlioError):
                    call(uri)
        writer = s3dlio.MultipartUploadWriter.from_uri(f"{base}/written")
        writer.write(b"x")
        writer.abort()
        s3dlio.delete(f"{base}/other", recursive=True)

    os.mkfifo(tmp_path / "pipe")
    calls()
    before = sorted(os.listdir("/proc/self/fd"))
    calls()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007, 0o000])
def test_the_mode_of_a_file_comes_from_the_umask(base: str, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        s3dlio.put_bytes(f"{base}/new/object", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "object").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o777 & ~mask


def test_the_etag_notices_a_replacement_of_the_same_size_and_time(base: str, tmp_path: Path) -> None:
    s3dlio.put_bytes(f"{base}/object", b"one")
    first = s3dlio.stat(f"{base}/object")
    s3dlio.put_bytes(f"{base}/object", b"two")
    os.utime(tmp_path / "object", ns=(0, 0))
    second = s3dlio.stat(f"{base}/object")
    assert first["etag"] != second["etag"]
    assert second["last_modified"] == datetime.fromtimestamp(0, timezone.utc)


def test_a_file_that_is_truncated_while_it_is_read_is_an_integrity_error(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 3 << 20
    (tmp_path / "object").write_bytes(content(size))
    real = os.preadv
    for left in (0, 4096, 5000, (1 << 20) + 1):
        os.truncate(tmp_path / "object", size)

        def preadv(fd: int, buffers: list[memoryview], offset: int, left: int = left) -> int:
            os.truncate(tmp_path / "object", left)  # after its size was read, before its first byte is read
            return real(fd, buffers, offset)

        monkeypatch.setattr(os, "preadv", preadv)
        with pytest.raises(s3dlio.IntegrityError, match="truncated") as caught:
            s3dlio.get(f"{base}/object")
        monkeypatch.undo()
        assert caught.value.uri == f"{base}/object"
        assert f"{base}/object" in str(caught.value)


def test_writers_belong_to_the_process_that_opened_them(base: str, tmp_path: Path) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(f"{base}/object")
    writer.write(b"parent")

    in_forked_child(lambda: _refused(writer))
    writer.close()
    assert (tmp_path / "object").read_bytes() == b"parent"


def _refused(writer: s3dlio.MultipartUploadWriter) -> None:
    with pytest.raises(s3dlio.S3dlioError, match="forked child"):
        writer.write(b"child")
    writer.abort()
