# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""Targets that a write must not replace (pipes, devices, descriptors), and rights that a new file takes over."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import s3dlio
from s3dlio.stores.files import temporary
from tests.behavior.content import content
from tests.filesystems import NOBODY, as_another_user, open_folder
from tests.processes import output, start
from tests.required import lacking
from tests.threads import meanwhile

Put = Callable[[str, bytes], object]


def _by_writer(uri: str, data: bytes) -> None:
    with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        for begin in range(0, len(data), 7000):
            writer.write(data[begin : begin + 7000])


def _by_copy(uri: str, data: bytes) -> None:
    source = Path(f"{uri.partition('://')[2]}.source")
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(data)
    s3dlio.copy(f"file://{source}", uri)


def _by_command(verb: str) -> Put:
    def put(uri: str, data: bytes) -> None:
        path = uri.partition("://")[2]
        source = Path(f"{path}.source")
        source.write_bytes(data)
        target = path if verb == "get" else uri
        done = subprocess.run(
            [sys.executable, "-m", "s3dlio", verb, f"file://{source}", target],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            assert "Traceback" not in done.stderr
            raise s3dlio.S3dlioError(done.stderr)

    return put


PUTS: dict[str, Put] = {
    "put_bytes": s3dlio.put_bytes,
    "put_many": lambda uri, data: s3dlio.put_many([(uri, data)]),
    "writer": _by_writer,
    "copy": _by_copy,
    "command get": _by_command("get"),
    "command cp": _by_command("cp"),
}


@pytest.fixture(params=["file", "direct"])
def scheme(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=PUTS.values(), ids=list(PUTS))
def put(request: pytest.FixtureRequest) -> Put:
    chosen: Put = request.param
    return chosen


# Pipes, devices and descriptors...


@pytest.mark.parametrize("number", ["77777", "99999999999", 30 * "9"])
def test_a_link_to_a_descriptor_that_is_not_open_is_an_error(tmp_path: Path, scheme: str, number: str) -> None:
    (tmp_path / "link").symlink_to(f"/proc/self/fd/{number}")
    with pytest.raises(s3dlio.S3dlioError, match="link"):
        s3dlio.put_bytes(f"{scheme}://{tmp_path}/link", b"x")


@pytest.mark.parametrize("name", ["fifo", "link"])
def test_a_pipe_is_written_into_and_stays(tmp_path: Path, scheme: str, put: Put, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    data = content(300_000)  # more than fits into a pipe: the reader must be able to read meanwhile

    with meanwhile((tmp_path / "fifo").read_bytes) as read:
        time.sleep(0.05)
        put(f"{scheme}://{tmp_path}/{name}", data)
        assert read.result(30) == data
    assert stat.S_ISFIFO(os.lstat(tmp_path / "fifo").st_mode)
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_without_a_reader_is_an_error_immediately(tmp_path: Path, scheme: str, put: Put) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(s3dlio.S3dlioError, match="/fifo: no process has opened this pipe for reading"):
        put(f"{scheme}://{tmp_path}/fifo", b"x")
    assert stat.S_ISFIFO(os.lstat(tmp_path / "fifo").st_mode)


def test_a_pipe_whose_reader_goes_away_is_an_error(tmp_path: Path, scheme: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with s3dlio.MultipartUploadWriter.from_uri(f"{scheme}://{tmp_path}/fifo") as writer:
        writer.write(b"x")
        os.close(reader)
        with pytest.raises(s3dlio.S3dlioError, match=f"cannot write into {scheme}://{tmp_path}/fifo: Broken pipe"):
            writer.write(b"x")


@pytest.mark.parametrize("call", ["put_bytes(uri, bytes(1 << 20))", "put_many([(uri, bytes(1 << 20))] * 20)"])
def test_ctrl_c_ends_a_write_into_a_full_pipe(tmp_path: Path, call: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    program = f"""
        import sys
        import s3dlio
        uri = sys.argv[1]
        print("ready", flush=True)
        s3dlio.{call}
    """
    try:
        with start(program, f"file://{tmp_path}/fifo") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            assert process.wait(10) == -signal.SIGINT
            assert time.monotonic() - began < 5
    finally:
        os.close(reader)


def test_a_device_is_written_into_and_stays(tmp_path: Path, scheme: str, put: Put) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.close(os.open(null, os.O_WRONLY))
    except OSError as error:
        lacking(f"no device can be made and opened here: {error}")
    put(f"{scheme}://{null}", content(100_000))
    assert stat.S_ISCHR(os.lstat(null).st_mode)


def test_dev_null_accepts_everything_and_dev_full_nothing(scheme: str) -> None:
    s3dlio.put_bytes(f"{scheme}:///dev/null", content(3 << 20))
    s3dlio.download(f"file://{__file__}", "/dev/null")
    with pytest.raises(s3dlio.S3dlioError, match=f"cannot write into {scheme}:///dev/full: No space left") as caught:
        s3dlio.put_bytes(f"{scheme}:///dev/full", b"x")
    assert "nothing was changed" not in str(caught.value)
    for name in ("null", "full"):
        assert stat.S_ISCHR(os.stat(f"/dev/{name}").st_mode)


def test_sockets_and_block_devices_are_refused_and_stay(tmp_path: Path, scheme: str, put: Put) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(s3dlio.S3dlioError, match="it is a socket"):
            put(f"{scheme}://{tmp_path}/socket", b"x")
        assert stat.S_ISSOCK(os.lstat(tmp_path / "socket").st_mode)
    block = tmp_path / "block"
    try:
        os.mknod(block, 0o600 | stat.S_IFBLK, os.makedev(7, 255))
    except OSError as error:
        lacking(f"no device can be made here: {error}")
    with pytest.raises(s3dlio.S3dlioError, match="it is a block device"):
        put(f"{scheme}://{block}", b"x")
    assert stat.S_ISBLK(os.lstat(block).st_mode)


def test_a_target_that_becomes_a_pipe_during_the_write_stays_a_pipe(tmp_path: Path, scheme: str) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(f"{scheme}://{tmp_path}/object")
    writer.write(b"x")
    os.mkfifo(tmp_path / "object")
    with pytest.raises(s3dlio.S3dlioError, match="something that is not a file took its name"):
        writer.close()
    assert stat.S_ISFIFO(os.lstat(tmp_path / "object").st_mode)
    assert os.listdir(tmp_path) == ["object"]


def test_pipes_and_devices_are_not_deleted(tmp_path: Path, scheme: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with pytest.raises(s3dlio.S3dlioError, match=f"cannot delete {scheme}://{tmp_path}/fifo"):
        s3dlio.delete(f"{scheme}://{tmp_path}/fifo")
    s3dlio.delete(f"{scheme}://{tmp_path}/link")
    assert os.listdir(tmp_path) == ["fifo"]


_WRITING = "import s3dlio, sys; s3dlio.put_bytes(sys.argv[1], b'content')"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_path_that_names_a_descriptor_is_written_through_it(tmp_path: Path, scheme: str, name: str) -> None:
    assert output(_WRITING, f"{scheme}://{name}") == "content"  # a pipe
    (tmp_path / "log").write_bytes(b"before ")
    with open(tmp_path / "log", "ab") as log:
        inode = os.fstat(log.fileno()).st_ino
        subprocess.run([sys.executable, "-c", _WRITING, f"{scheme}://{name}"], stdout=log, check=True, timeout=60)
    assert (tmp_path / "log").read_bytes() == b"before content"
    assert (tmp_path / "log").stat().st_ino == inode
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", _WRITING, f"{scheme}://{name}"]
        subprocess.run(command, stdout=theirs.fileno(), check=True, timeout=60)
        theirs.close()
        assert ours.recv(100) == b"content"


def test_a_download_to_standard_output_reaches_a_slow_reader(tmp_path: Path) -> None:
    data = content(1 << 20)
    (tmp_path / "object").write_bytes(data)
    command = [sys.executable, "-m", "s3dlio", "get", f"file://{tmp_path}/object", "/dev/stdout"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        time.sleep(0.5)
        assert process.stdout.read() == data
    assert process.returncode == 0


# The mode...


MODES = [0o600, 0o644, 0o640, 0o664, 0o755, 0o777, 0o604, 0o444, 0o400, 0o000, 0o4755, 0o2755, 0o6711, 0o1644]


@pytest.mark.parametrize("mode", MODES, ids=[f"{mode:04o}" for mode in MODES])
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000], ids=lambda mask: f"umask {mask:03o}")
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, scheme: str, mode: int, mask: int) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    before = os.umask(mask)
    try:
        for write in (s3dlio.put_bytes, _by_writer, _by_copy):
            os.chmod(path, mode)
            write(f"{scheme}://{path}", b"new")
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)
    os.chmod(path, 0o600)
    assert path.read_bytes() == b"new"


def test_a_file_replaced_through_a_link_keeps_its_mode(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "object"
    path.write_bytes(b"old")
    os.chmod(path, 0o640)
    (tmp_path / "link").symlink_to(path)
    s3dlio.put_bytes(f"{scheme}://{tmp_path}/link", b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)


def test_a_mode_that_changes_during_the_write_is_kept(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    os.chmod(path, 0o644)
    with s3dlio.MultipartUploadWriter.from_uri(f"{scheme}://{path}") as writer:
        writer.write(b"new")
        os.chmod(path, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", MODES, ids=[f"{mode:04o}" for mode in MODES])
def test_a_temporary_is_never_readable_by_more_than_the_file(tmp_path: Path, scheme: str, mode: int) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    os.chmod(path, mode)
    before = os.umask(0)
    try:
        with s3dlio.MultipartUploadWriter.from_uri(f"{scheme}://{path}") as writer:
            writer.write(b"new")
            (name,) = set(os.listdir(tmp_path)) - {"object"}
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o077 & ~mode == 0
    finally:
        os.umask(before)


# Owner and group...


def _as_root() -> None:
    if os.geteuid() != 0:
        lacking("giving files to other users takes root")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o4755, 0o2770], ids=lambda mode: f"{mode:04o}")
def test_a_file_of_another_user_keeps_owner_group_and_mode_when_root_replaces_it(
    tmp_path: Path, scheme: str, mode: int
) -> None:
    _as_root()
    path = tmp_path / "object"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    os.chmod(path, mode)
    s3dlio.put_bytes(f"{scheme}://{path}", b"new")
    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (1234, 2345, mode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o644, 0o644),
        (0o640, 0o600),
        (0o664, 0o644),
        (0o604, 0o600),  # the members of the old group had no rights, and would be among the others now
        (0o4755, 0o755),
        (0o2755, 0o755),
        (0o6750, 0o700),
        (0o1666, 0o1666),
    ],
    ids=lambda mode: f"{mode:04o}",
)
def test_a_file_whose_group_cannot_be_kept_is_readable_by_no_more_than_before(
    scheme: str, mode: int, expected: int
) -> None:
    _as_root()
    with open_folder() as folder:
        path = folder / "object"
        path.write_bytes(b"old")
        os.chown(path, 1234, 2345)
        os.chmod(path, mode)
        as_another_user(lambda: s3dlio.put_bytes(f"{scheme}://{path}", b"new"))
        facts = path.stat()
        assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (NOBODY, NOBODY, expected)
        assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("mode", "expected"), [(0o664, 0o664), (0o640, 0o640), (0o6755, 0o755)])
def test_a_file_whose_group_can_be_kept_keeps_its_mode_except_setuid(scheme: str, mode: int, expected: int) -> None:
    _as_root()
    with open_folder() as folder:
        path = folder / "object"
        path.write_bytes(b"old")
        os.chown(path, 1234, NOBODY)
        os.chmod(path, mode)
        as_another_user(lambda: s3dlio.put_bytes(f"{scheme}://{path}", b"new"))
        facts = path.stat()
        assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (NOBODY, NOBODY, expected)


def test_a_file_in_a_setgid_folder_keeps_its_own_group(tmp_path: Path, scheme: str) -> None:
    _as_root()
    os.chown(tmp_path, 0, 4321)
    os.chmod(tmp_path, 0o2755)
    path = tmp_path / "object"
    path.write_bytes(b"old")
    os.chown(path, 0, 2345)
    os.chmod(path, 0o640)
    with s3dlio.MultipartUploadWriter.from_uri(f"{scheme}://{path}") as writer:
        writer.write(b"new")
        (name,) = set(os.listdir(tmp_path)) - {"object"}
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600  # its group is that of the folder until then
    facts = path.stat()
    assert (facts.st_gid, stat.S_IMODE(facts.st_mode)) == (2345, 0o640)
    s3dlio.put_bytes(f"{scheme}://{tmp_path}/new", b"new")
    assert (tmp_path / "new").stat().st_gid == 4321


# Access control lists...


def _acl(*entries: tuple[int, int, int]) -> bytes:
    """The extended attribute that holds an ACL: version 2, then tag, permissions and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


_NONE = 0xFFFFFFFF
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 1, 2, 4, 16, 32


def _set_acl(path: Path, name: str, acl: bytes) -> None:
    try:
        os.setxattr(path, name, acl)
    except OSError as error:
        lacking(f"no access control lists here: {error}")


def test_a_replaced_file_keeps_its_acl(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    acl = _acl((_OWNER, 6, _NONE), (_USER, 4, 1234), (_GROUP, 0, _NONE), (_MASK, 4, _NONE), (_OTHERS, 0, _NONE))
    _set_acl(path, temporary._ACL, acl)
    s3dlio.put_bytes(f"{scheme}://{path}", b"new")
    assert path.read_bytes() == b"new"
    assert os.getxattr(path, temporary._ACL) == acl


def test_a_replaced_file_does_not_get_the_folders_acl(tmp_path: Path, scheme: str) -> None:
    acl = _acl((_OWNER, 7, _NONE), (_USER, 7, 1234), (_GROUP, 5, _NONE), (_MASK, 7, _NONE), (_OTHERS, 5, _NONE))
    path = tmp_path / "object"
    path.write_bytes(b"old")
    os.chmod(path, 0o660)
    _set_acl(tmp_path, "system.posix_acl_default", acl)
    s3dlio.put_bytes(f"{scheme}://{path}", b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        os.getxattr(path, temporary._ACL)
    s3dlio.put_bytes(f"{scheme}://{tmp_path}/new", b"new")
    assert os.getxattr(tmp_path / "new", temporary._ACL)


def test_without_its_acl_a_file_loses_the_rights_of_the_group(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    acl = _acl((_OWNER, 6, _NONE), (_USER, 4, 1234), (_GROUP, 0, _NONE), (_MASK, 4, _NONE), (_OTHERS, 0, _NONE))
    _set_acl(path, temporary._ACL, acl)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # the mask; the group itself may not read

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "setxattr", refuse)
    s3dlio.put_bytes(f"{scheme}://{path}", b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Hard links...


def test_other_hard_links_keep_the_old_content(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "object").write_bytes(b"old")
    os.link(tmp_path / "object", tmp_path / "other")
    s3dlio.put_bytes(f"{scheme}://{tmp_path}/object", b"new")
    assert ((tmp_path / "object").read_bytes(), (tmp_path / "other").read_bytes()) == (b"new", b"old")
