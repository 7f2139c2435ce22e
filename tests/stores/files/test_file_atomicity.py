# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""A write happens completely or not at all: for readers, after a kill, on a full disk, and among many writers."""

from __future__ import annotations

import dis
import fcntl
import itertools
import mmap
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import s3dlio
from s3dlio.runtime import threads
from s3dlio.stores.files import direct, file, temporary
from s3dlio.stores.files.names import RESERVED
from tests.behavior.content import content
from tests.filesystems import tiny_file_system
from tests.processes import ended, output, start, without_coverage

MIB = 1 << 20


@pytest.fixture(params=["file", "direct"])
def scheme(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def _temporaries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(RESERVED)]


# Readers...


def _rewrite_for_ever(uri: str, puts: mmap.mmap) -> None:
    """Replace an object again and again: version v is all bytes of v % 251, 32 MiB long if even, 31 MiB if odd."""
    contents = {size: np.empty(size, np.uint8) for size in (31 * MIB, 32 * MIB)}
    version = 0
    while True:
        version += 1
        data = contents[(32 - version % 2) * MIB]
        data[:] = version % 250
        puts[0:8] = (2 * version - 1).to_bytes(8, "little")  # odd: a put is under way
        s3dlio.put_bytes(uri, data)
        puts[0:8] = (2 * version).to_bytes(8, "little")
        time.sleep(0.05)  # leave some of the processor to the reader


@pytest.mark.parametrize(("scheme", "reads"), [("file", 2000), ("direct", 100)], ids=["file", "direct"])
def test_a_reader_of_an_object_that_is_rewritten_sees_complete_versions_only(
    tmp_path: Path, scheme: str, reads: int
) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(32 * MIB))
    puts = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the child
    child = os.fork()
    if child == 0:
        try:
            _rewrite_for_ever(uri, puts)
        finally:
            os._exit(1)
    short = mixed = overlapping = 0
    versions: set[int] = set()
    try:
        for _ in range(reads):
            before = int.from_bytes(puts[0:8], "little")
            view = s3dlio.get(uri)
            after = int.from_bytes(puts[0:8], "little")
            overlapping += before % 2 or before != after
            values = np.frombuffer(view, np.uint8)[::4096]  # one byte of each page: files change by pages
            version = int(values[0])
            versions.add(version)
            short += len(view) != (32 - version % 2) * MIB
            mixed += bool((values != version).any()) or view[-1] != version
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (short, mixed) == (0, 0)
    assert overlapping > reads / 10  # otherwise the test has tested nothing
    assert len(versions) > 3


def test_a_view_of_the_old_object_stays_as_it_was(tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    s3dlio.put_bytes(uri, content(MIB))
    old = s3dlio.get(uri)
    s3dlio.put_bytes(uri, bytes(10))
    assert old == content(MIB)


# Kills...


_HALF_A_PUT = """
    import sys, time
    import s3dlio
    writer = s3dlio.MultipartUploadWriter.from_uri(sys.argv[1])
    for _ in range(20):
        writer.write(bytes(1 << 20))
    print("half", flush=True)
    sys.stdin.read()
    writer.close()
"""


def _killed_half_way(uri: str) -> None:
    with start(_HALF_A_PUT, uri) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()


def test_a_kill_in_the_middle_of_a_put_leaves_the_old_object_and_the_next_writer_tidies_up(
    tmp_path: Path, scheme: str
) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    s3dlio.put_bytes(uri, b"old")
    _killed_half_way(uri)
    assert s3dlio.get(uri) == b"old"
    assert len(_temporaries(tmp_path)) == 1
    assert s3dlio.list(f"{scheme}://{tmp_path}") == [uri]
    assert s3dlio.list(f"{scheme}://{tmp_path}", recursive=True) == [uri]
    assert list(s3dlio.list_iter(f"{scheme}://{tmp_path}")) == [uri]
    output("import s3dlio, sys; s3dlio.put_bytes(sys.argv[1], b'new')", f"{scheme}://{tmp_path}/other")
    assert sorted(os.listdir(tmp_path)) == ["object", "other"]


def test_kills_at_any_time_leave_one_complete_version(tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    program = """
        import sys
        import s3dlio
        first, second = b"1" * (24 << 20), b"2" * (25 << 20)
        print("ready", flush=True)
        while True:
            s3dlio.put_bytes(sys.argv[1], first)
            s3dlio.put_bytes(sys.argv[1], second)
    """
    s3dlio.put_bytes(uri, b"1" * (24 * MIB))
    for turn in range(6):
        with start(program, uri) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.003 + 0.011 * turn)
            process.kill()
        assert s3dlio.get(uri) in (b"1" * (24 * MIB), b"2" * (25 * MIB))
    assert len(_temporaries(tmp_path)) <= 1  # each new writer removes what the last one left


def test_a_recursive_delete_removes_abandoned_temporary_files(tmp_path: Path, scheme: str) -> None:
    _killed_half_way(f"{scheme}://{tmp_path}/folder/object")
    s3dlio.delete(f"{scheme}://{tmp_path}/folder", recursive=True)
    assert os.listdir(tmp_path) == []


# Failures that do not end the process...


def test_a_temporary_file_that_cannot_be_created_is_reported_as_a_failed_write(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "file").touch()
    for name in ("file/object", "n" * 300 + "/object"):
        with pytest.raises(s3dlio.S3dlioError, match=f"cannot write {scheme}://{tmp_path}/{name}"):
            s3dlio.put_bytes(f"{scheme}://{tmp_path}/{name}", b"new")


def test_a_full_disk_leaves_the_old_object_and_no_temporary(tmp_path: Path, scheme: str) -> None:
    with tiny_file_system(tmp_path / "tiny", 8) as folder:
        uri = f"{scheme}://{folder}/object"
        s3dlio.put_bytes(uri, content(MIB))
        for put in (s3dlio.put_bytes, lambda uri, data: s3dlio.put_many([(uri, data)])):
            with pytest.raises(s3dlio.S3dlioError, match="free some space") as caught:
                put(uri, bytes(20 * MIB))
            assert type(caught.value) is s3dlio.S3dlioError
            assert uri in str(caught.value)
            assert caught.value.uri == uri
        writer = s3dlio.MultipartUploadWriter.from_uri(uri)
        with pytest.raises(s3dlio.S3dlioError, match="free some space"):  # noqa: PT012  # one of many writes
            for _ in range(20):
                writer.write(bytes(MIB))
            writer.close()
        assert writer.closed
        s3dlio.put_bytes(f"file://{tmp_path}/large", bytes(20 * MIB))
        with pytest.raises(s3dlio.S3dlioError, match="free some space"):
            s3dlio.copy(f"file://{tmp_path}/large", uri)
        assert os.listdir(folder) == ["object"]
        assert s3dlio.get(uri) == content(MIB)
        s3dlio.put_bytes(uri, content(2 * MIB))
        assert s3dlio.get(uri) == content(2 * MIB)


@pytest.mark.parametrize(
    ("scheme", "failing"),
    [("file", name) for name in ("write", "rename", "close", "flock", "fstat")]
    + [("direct", name) for name in ("pwrite", "ftruncate", "fdatasync", "rename", "close", "flock", "fstat")],
)
def test_whichever_system_call_fails_no_temporary_file_stays(
    tmp_path: Path, scheme: str, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    s3dlio.put_bytes(uri, b"old")
    home = fcntl if failing == "flock" else os
    real = getattr(home, failing)
    calls: list[object] = []

    def fail_once(*arguments: object) -> object:
        if not calls:
            calls.append(arguments)
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(home, failing, fail_once)
    with pytest.raises(KeyboardInterrupt):
        s3dlio.put_bytes(uri, content(100_000))
    monkeypatch.undo()
    assert _temporaries(tmp_path) == []
    assert s3dlio.get(uri) in (b"old", content(100_000))


def test_ctrl_c_while_the_folder_is_swept_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: str) -> None:
        raise KeyboardInterrupt(folder)

    monkeypatch.setattr(temporary, "sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        s3dlio.put_bytes(f"file://{tmp_path}/object", b"x")
    assert os.listdir(tmp_path) == []


# The interpreter checks for signals after calls, at the beginning of functions, and at the end of each round of a loop.
_LOOKS = {code for name, code in dis.opmap.items() if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))}
_INTERRUPTED = {module.__file__ for module in (direct, file, temporary, threads)}


def _interrupted(call: Callable[[], None], moment: int) -> bool:
    """Send Ctrl-C at the given check for signals during a call. Returns whether the call ran that long."""
    looks = 0

    def trace(frame: FrameType, _: str, __: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in _INTERRUPTED:
            return None
        frame.f_trace_opcodes = True
        last = -1

        def trace_operations(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            nonlocal looks, last
            if event == "opcode":
                before, last = last, frame.f_code.co_code[frame.f_lasti]
                looks += before in _LOOKS
                if looks > moment:
                    raise KeyboardInterrupt
            return trace_operations

        return trace_operations

    before = sys.gettrace()  # the tracer that measures coverage
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("size", [1000, 5 << 20], ids=["small", "large"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # Ctrl-C came before the await
def test_ctrl_c_at_any_moment_leaves_no_temporary_file_and_one_complete_version(
    tmp_path: Path, scheme: str, size: int
) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    old, new = content(size), content(size, 2)
    s3dlio.put_bytes(uri, old)
    moments = itertools.takewhile(
        lambda moment: _interrupted(lambda: s3dlio.put_bytes(uri, new), moment), itertools.count()
    )
    for moment in moments:
        assert os.listdir(tmp_path) == ["object"], moment
        assert s3dlio.get(uri) in (old, new), moment
        s3dlio.put_bytes(uri, old)
    assert moment > 20
    assert s3dlio.get(uri) == new


# Sweeping...


def test_sweeping_never_removes_a_file_that_is_being_written(tmp_path: Path) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(f"file://{tmp_path}/object")
    writer.write(b"live")
    (name,) = _temporaries(tmp_path)
    os.utime(tmp_path / name, (0, 0))  # not even one that looks old
    output("import s3dlio, sys; s3dlio.put_bytes(sys.argv[1], b'new')", f"file://{tmp_path}/other")
    assert _temporaries(tmp_path) == [name]
    writer.close()
    assert sorted(os.listdir(tmp_path)) == ["object", "other"]
    assert s3dlio.get(f"file://{tmp_path}/object") == b"live"


def test_a_temporary_of_another_host_is_stale_only_after_a_day(tmp_path: Path) -> None:
    young, old = (tmp_path / f"{RESERVED}other-{secrets.token_hex(8)}" for _ in range(2))
    young.touch()
    old.touch()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    s3dlio.put_bytes(f"file://{tmp_path}/object", b"x")
    assert sorted(os.listdir(tmp_path)) == sorted([young.name, "object"])


def test_writers_that_start_at_once_in_many_processes_all_succeed(tmp_path: Path) -> None:
    for turn in range(5):
        folder = tmp_path / str(turn)
        folder.mkdir()
        (folder / f"{RESERVED}{temporary._HOST}-abandoned").touch()
        waiting, go = os.pipe()
        children = []
        for number in range(8):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.close(go)
                    os.read(waiting, 1)
                    for part in range(10):
                        s3dlio.put_bytes(f"file://{folder}/{number}-{part}", content(20_000, seed=part))
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        os.close(go)
        os.close(waiting)
        assert [ended(child) for child in children] == [0] * 8
        assert sorted(os.listdir(folder)) == sorted(f"{number}-{part}" for number in range(8) for part in range(10))


def test_two_processes_that_write_the_same_object_both_succeed_and_leave_one_version(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    versions = [bytes([number]) * (3 * MIB + number) for number in range(4)]
    children = []
    for version in versions:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(15):
                    s3dlio.put_bytes(uri, version)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    seen = 0
    while seen < 10:
        if s3dlio.exists(uri):
            assert s3dlio.get(uri) in versions
            seen += 1
    assert [ended(child) for child in children] == [0] * 4
    assert s3dlio.get(uri) in versions
    assert os.listdir(tmp_path) == ["object"]


# Syncing...


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Records the system calls that matter here with their targets, and makes them."""
    calls: list[tuple[str, str]] = []

    def recorded(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(first: int | str, *rest: str) -> object:
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            calls.append((name, "temporary" if RESERVED in path else path))
            return real(first, *rest)

        return call

    for name in ("fsync", "fdatasync", "rename"):
        monkeypatch.setattr(os, name, recorded(name))
    return calls


@pytest.mark.parametrize("scheme", ["file", "direct"])
@pytest.mark.parametrize("sync", ["0", "1"])
def test_file_and_folder_are_synced_around_the_rename_when_asked(
    tmp_path: Path, scheme: str, sync: str, synced: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3DLIO_FILE_SYNC", sync)
    s3dlio.put_bytes(f"{scheme}://{tmp_path}/object", content(100_000))
    expected = [("rename", "temporary")]
    if sync == "1":
        expected = [("fsync", "temporary"), *expected, ("fsync", str(tmp_path))]
    if scheme == "direct":
        expected = [("fdatasync", "temporary"), *expected]
    assert synced == expected


def test_folders_made_for_an_object_are_synced_into_their_parents(
    tmp_path: Path, synced: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3DLIO_FILE_SYNC", "1")
    s3dlio.put_bytes(f"file://{tmp_path}/a/b/object", b"x")
    assert [path for name, path in synced if name == "fsync"] == [
        "temporary",
        f"{tmp_path}/a/b",
        f"{tmp_path}/a",
        f"{tmp_path}",
    ]


@pytest.mark.parametrize(
    ("scheme", "sync", "expected"),
    [
        ("file", "0", ["rename"]),
        ("file", "1", ["fsync", "rename", "fsync"]),
        ("direct", "0", ["fdatasync", "rename"]),
        ("direct", "1", ["fdatasync", "fsync", "rename", "fsync"]),
    ],
)
def test_the_kernel_sees_the_syncs(
    strace: list[str], tmp_path: Path, scheme: str, sync: str, expected: list[str]
) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "data").mkdir()
    program = "import s3dlio, sys; s3dlio.put_bytes(sys.argv[1], bytes(100_000))"
    tracing = [*strace, "-f", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", str(trace)]
    subprocess.run(
        [*tracing, sys.executable, "-B", "-c", program, f"{scheme}://{tmp_path}/data/object"],
        env=without_coverage({**os.environ, "S3DLIO_FILE_SYNC": sync}),  # coverage renames the file that it writes
        check=True,
        timeout=60,
    )
    calls = re.findall(r"^\d+ +(fsync|fdatasync|rename)(?:at2?)?\(.*\) += 0$", trace.read_text(), re.MULTILINE)
    assert calls == expected
