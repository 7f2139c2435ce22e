# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""direct:// transfers exact bytes with O_DIRECT, several transfers in flight, and warns where O_DIRECT is missing."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import mmap
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import s3dlio
from s3dlio.memory.buffers import PAGE
from s3dlio.stores.files import direct
from s3dlio.stores.files.names import RESERVED
from s3dlio.tuning import DIRECT_SEGMENT
from tests.behavior.content import content
from tests.filesystems import takes_direct
from tests.required import lacking

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on a file system with O_DIRECT."""
    if not takes_direct(tmp_path):
        lacking(f"the file system of {tmp_path} has no O_DIRECT: give pytest a --basetemp on another")
    return tmp_path


def _flags(fd: int) -> int:
    """The flags of an open file, as the kernel shows them."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("flags:")), 8)


class _Seen:
    """Records the transfers of a test as the kernel sees them, and makes them."""

    def __init__(self) -> None:
        self.direct: list[bool] = []
        self.aligned: list[bool] = []
        self.threads: set[int] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def transfer(self, fd: int, buffer: memoryview, offset: int, call: Callable[[], int]) -> int:
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        with self.lock:
            self.direct.append(bool(_flags(fd) & os.O_DIRECT))
            self.aligned.append(not (address % PAGE or len(buffer) % PAGE or offset % PAGE))
            self.threads.add(threading.get_ident())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return call()
        finally:
            with self.lock:
                self.at_once -= 1


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> _Seen:
    found = _Seen()
    preadv, pwrite = os.preadv, os.pwrite
    monkeypatch.setattr(
        os, "preadv", lambda fd, views, offset: found.transfer(fd, views[0], offset, lambda: preadv(fd, views, offset))
    )
    monkeypatch.setattr(
        os, "pwrite", lambda fd, view, offset: found.transfer(fd, view, offset, lambda: pwrite(fd, view, offset))
    )
    return found


# Past the page cache...


@pytest.mark.parametrize("size", [1, 4095, 4096, 100_001, 9 * MIB + 1])
def test_every_transfer_is_aligned_and_o_direct(folder: Path, seen: _Seen, size: int) -> None:
    s3dlio.put_bytes(f"direct://{folder}/object", content(size))
    written = len(seen.direct)
    assert s3dlio.get(f"direct://{folder}/object") == content(size)
    assert 0 < written < len(seen.direct)
    assert all(seen.direct)
    assert all(seen.aligned)


def _cached_pages(path: Path) -> int:
    """The number of pages of a file in the page cache."""
    size = path.stat().st_size
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        residency = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        code = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), residency)
        del start
        if code:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in residency)


def test_nothing_of_an_object_stays_in_the_page_cache(folder: Path) -> None:
    path = folder / "object"
    s3dlio.put_bytes(f"file://{path}", content(3 * MIB))
    if not _cached_pages(path):
        lacking("mincore tells nothing here")
    path.unlink()
    s3dlio.put_bytes(f"direct://{path}", content(3 * MIB))
    assert _cached_pages(path) == 0
    assert s3dlio.get(f"direct://{path}") == content(3 * MIB)
    assert s3dlio.get_range(f"direct://{path}", 5000, 5000) == content(3 * MIB)[5000:10_000]
    assert _cached_pages(path) == 0


def test_a_direct_read_sees_what_the_page_cache_has_not_written_yet(folder: Path) -> None:
    with (folder / "object").open("wb") as file:
        file.write(content(MIB))
        file.flush()
        assert s3dlio.get(f"direct://{folder}/object") == content(MIB)


# Exact bytes...


_LARGE = 2 * DIRECT_SEGMENT + 3 * PAGE + 1234


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    path = tmp_path_factory.mktemp("direct") / "large"
    path.write_bytes(content(_LARGE))
    return f"direct://{path}", content(_LARGE)


_NEAR = st.sampled_from([0, PAGE, DIRECT_SEGMENT, 2 * DIRECT_SEGMENT, _LARGE - _LARGE % PAGE, _LARGE])
_OFFSETS = st.one_of(
    st.integers(0, _LARGE + 10), st.builds(lambda near, by: max(0, near + by), _NEAR, st.integers(-3, 3))
)


@settings(max_examples=150, deadline=None)
@given(offset=_OFFSETS, end=_OFFSETS, to_the_end=st.booleans())
def test_any_range_equals_that_of_a_file_read(
    large: tuple[str, bytes], offset: int, end: int, to_the_end: bool
) -> None:
    uri, data = large
    if to_the_end:
        assert s3dlio.get_range(uri, offset) == data[offset:]
    else:
        assert s3dlio.get_range(uri, offset, max(0, end - offset)) == data[offset : max(offset, end)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.one_of(
            st.integers(0, 3 * PAGE),
            st.sampled_from(
                [
                    DIRECT_SEGMENT - 1,
                    DIRECT_SEGMENT,
                    DIRECT_SEGMENT + 1,
                    2 * DIRECT_SEGMENT + PAGE,
                    5 * DIRECT_SEGMENT + 1,
                ]
            ),
        ),
        max_size=5,
    )
)
def test_pieces_of_any_size_make_the_object(tmp_path: Path, pieces: list[int]) -> None:
    parts = [content(size, seed=number) for number, size in enumerate(pieces)]
    with s3dlio.MultipartUploadWriter.from_uri(f"direct://{tmp_path}/object") as writer:
        for part in parts:
            writer.write(part)
    assert (tmp_path / "object").read_bytes() == b"".join(parts)


def test_data_from_any_address_is_written(folder: Path) -> None:
    data = content(9 * MIB)
    for start in (0, 1, 7, 511, 4095):
        s3dlio.put_bytes(f"direct://{folder}/object", memoryview(data)[start:])
        assert (folder / "object").read_bytes() == data[start:]


# Several in flight...


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_the_settings_limit_the_transfers_in_flight(
    folder: Path, seen: _Seen, in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3DLIO_DIRECT_IN_FLIGHT", str(in_flight))
    meeting = threading.Barrier(in_flight)
    transfer = seen.transfer

    def meet(fd: int, buffer: memoryview, offset: int, call: Callable[[], int]) -> int:
        def when_all_are_there() -> int:
            if offset < in_flight * DIRECT_SEGMENT:
                meeting.wait(30)  # fails unless that many transfers are under way together
            return call()

        return transfer(fd, buffer, offset, when_all_are_there)

    monkeypatch.setattr(seen, "transfer", meet)
    data = content(in_flight * DIRECT_SEGMENT)
    s3dlio.put_bytes(f"direct://{folder}/object", data)
    assert s3dlio.get(f"direct://{folder}/object") == data
    assert seen.most_at_once == in_flight
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("s3dlio")] == []


def test_a_small_read_starts_no_thread(folder: Path, seen: _Seen) -> None:
    s3dlio.put_bytes(f"direct://{folder}/object", content(DIRECT_SEGMENT))
    s3dlio.get(f"direct://{folder}/object")
    assert seen.threads == {threading.get_ident()}


@pytest.mark.parametrize("failing", ["preadv", "pwrite"])
def test_a_failed_transfer_among_several_is_raised_and_nothing_stays(
    folder: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"direct://{folder}/object"
    s3dlio.put_bytes(uri, content(6 * DIRECT_SEGMENT))
    real = getattr(os, failing)

    def fail_in_the_middle(fd: int, data: Any, offset: int) -> int:
        if offset == 3 * DIRECT_SEGMENT:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return int(real(fd, data, offset))

    monkeypatch.setattr(os, failing, fail_in_the_middle)
    calls: dict[str, Callable[[str], object]] = {
        "preadv": s3dlio.get,
        "pwrite": lambda uri: s3dlio.put_bytes(uri, bytes(6 * DIRECT_SEGMENT)),
    }
    with pytest.raises(s3dlio.S3dlioError, match="Input/output error") as caught:
        calls[failing](uri)
    assert caught.value.uri == uri
    monkeypatch.undo()
    assert os.listdir(folder) == ["object"]
    assert s3dlio.get(uri) == content(6 * DIRECT_SEGMENT)


# Without O_DIRECT...


@pytest.fixture(autouse=True)
def _no_warning_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_warned", {})


def _refuse(monkeypatch: pytest.MonkeyPatch, when: str, fallen_back: list[int]) -> None:
    """Make the system refuse O_DIRECT, at open or at each transfer, and record what is dropped from the cache."""
    refusal = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real_open, real_fcntl, preadv, pwrite, fadvise = os.open, fcntl.fcntl, os.preadv, os.pwrite, os.posix_fadvise

    def refusing_open(path: str, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_DIRECT:
            raise refusal
        return real_open(path, flags, *rest, **named)

    def refusing_fcntl(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise refusal
        return int(real_fcntl(fd, command, argument))

    def refusing_transfer(real: Callable[..., int]) -> Callable[..., int]:
        def transfer(fd: int, data: Any, offset: int) -> int:
            if _flags(fd) & os.O_DIRECT:
                meeting.wait()
                raise refusal
            return real(fd, data, offset)

        return transfer

    def dropped(fd: int, offset: int, length: int, advice: int) -> None:
        if advice == os.POSIX_FADV_DONTNEED:
            fallen_back.append(fd)
        fadvise(fd, offset, length, advice)

    if when == "open":
        monkeypatch.setattr(os, "open", refusing_open)
        monkeypatch.setattr(fcntl, "fcntl", refusing_fcntl)
    else:
        # Several threads get the error together, before the first of them has turned O_DIRECT off.
        meeting = threading.Barrier(2 if when == "transfers" else 1, timeout=30)
        monkeypatch.setattr(os, "preadv", refusing_transfer(preadv))
        monkeypatch.setattr(os, "pwrite", refusing_transfer(pwrite))
    monkeypatch.setattr(os, "posix_fadvise", dropped)


_REFUSALS = [("open", 100_001), ("open", 3 * DIRECT_SEGMENT), ("transfer", 100_001), ("transfers", 2 * DIRECT_SEGMENT)]


@pytest.mark.parametrize(("when", "size"), _REFUSALS)
def test_a_file_system_without_o_direct_causes_one_warning_and_its_cache_is_dropped(
    folder: Path, when: str, size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"direct://{folder}/object"
    data = content(size)
    fallen_back: list[int] = []
    monkeypatch.setenv("S3DLIO_DIRECT_IN_FLIGHT", "2")
    with caplog.at_level(logging.WARNING, "s3dlio"):
        _refuse(monkeypatch, when, fallen_back)
        s3dlio.put_bytes(uri, data)
        assert len(fallen_back) == 1
        assert s3dlio.get(uri) == data
        assert s3dlio.get_range(uri, 0, size - 1) == data[:-1]
        assert len(fallen_back) == 3
    monkeypatch.undo()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert uri in record.getMessage()
    assert "O_DIRECT" in record.getMessage()
    assert _cached_pages(folder / "object") == 0
    assert (folder / "object").read_bytes() == data


@pytest.mark.parametrize(("when", "size"), _REFUSALS)
def test_with_strict_direct_the_page_cache_is_an_error_and_nothing_is_written(
    folder: Path, when: str, size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"direct://{folder}/object"
    s3dlio.put_bytes(uri, content(size))
    monkeypatch.setenv("S3DLIO_DIRECT_STRICT", "1")
    monkeypatch.setenv("S3DLIO_DIRECT_IN_FLIGHT", "2")
    _refuse(monkeypatch, when, [])
    calls: list[Callable[[], object]] = [
        lambda: s3dlio.get(uri),
        lambda: s3dlio.get_range(uri, 0, size - 1),
        lambda: s3dlio.put_bytes(uri, bytes(size)),
    ]
    for call in calls:
        with pytest.raises(s3dlio.ConfigurationError, match="S3DLIO_DIRECT_STRICT") as caught:
            call()
        assert caught.value.uri == uri
        assert uri in str(caught.value)
    monkeypatch.undo()
    assert caplog.records == []
    assert os.listdir(folder) == ["object"]
    assert (folder / "object").read_bytes() == content(size)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_folder_is_not_taken_for_a_file_system_without_o_direct(
    folder: Path, strict: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("S3DLIO_DIRECT_STRICT", strict)
    with pytest.raises(s3dlio.ObjectNotFoundError, match="folder"):
        s3dlio.get(f"direct://{folder}")
    assert caplog.records == []


# As the kernel sees it...


def test_the_kernel_sees_direct_transfers_and_a_sync_before_the_rename(strace: list[str], folder: Path) -> None:
    trace = folder / "trace"
    (folder / "data").mkdir()
    program = """if True:
        import s3dlio, sys
        s3dlio.put_bytes(sys.argv[1], bytes(9_000_001))
        assert len(s3dlio.get(sys.argv[1])) == 9_000_001
    """
    calls = "trace=open,openat,fcntl,pwrite64,preadv,preadv2,ftruncate,fdatasync,rename,renameat,renameat2"
    tracing = [*strace, "-f", "-e", calls, "-o", str(trace)]
    subprocess.run(
        [*tracing, sys.executable, "-B", "-c", program, f"direct://{folder}/data/object"], check=True, timeout=60
    )
    lines = trace.read_text().splitlines()
    order = [
        next(number for number, line in enumerate(lines) if re.search(pattern, line))
        for pattern in (
            rf"openat?\(.*{RESERVED}.*O_CREAT",
            r"fcntl\(\d+, F_SETFL, .*O_DIRECT",
            r"pwrite64\(.*, 4194304, 0",
            r"ftruncate\(\d+, 9000001\)",
            r"fdatasync\(",
            r"rename(at2?)?\(",
            r'open(at)?\(.*data/object", .*O_DIRECT',
            r"preadv2?\(",
        )
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("most", [4096, 5000, 100_000, (1 << 20) + 7])
def test_transfers_that_the_system_cuts_short_are_continued(
    folder: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(6 << 20)
    for scheme in ("file", "direct"):
        with monkeypatch.context() as patch:
            real = {name: getattr(os, name) for name in ("preadv", "pwrite", "write")}
            patch.setattr(os, "preadv", lambda fd, to, at, real=real: real["preadv"](fd, [to[0][:most]], at))
            patch.setattr(os, "pwrite", lambda fd, part, at, real=real: real["pwrite"](fd, part[:most], at))
            patch.setattr(os, "write", lambda fd, part, real=real: real["write"](fd, part[:most]))
            s3dlio.put_bytes(f"{scheme}://{folder}/object", data)
            assert bytes(s3dlio.get(f"{scheme}://{folder}/object")) == data
            assert bytes(s3dlio.get_range(f"{scheme}://{folder}/object", 5, 3 << 20)) == data[5 : 5 + (3 << 20)]
