# SPDX-License-Identifier: Apache-2.0
"""Files over buffers and over objects read like local files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import s3dlio
from s3dlio.dlio.run import files
from s3dlio.dlio.run.files import BufferFile, ObjectFile


@given(
    content=st.binary(max_size=200), steps=st.lists(st.tuples(st.integers(0, 2), st.integers(-300, 300)), max_size=8)
)
def test_a_buffer_reads_like_a_file(content: bytes, steps: list[tuple[int, int]]) -> None:
    ours, theirs = BufferFile(memoryview(content)), io.BytesIO(content)
    for whence, offset in steps:
        if whence == 0:
            offset = abs(offset)
        assert ours.seek(offset, whence) == theirs.seek(offset, whence)
        assert ours.read(7) == theirs.read(7)
        assert ours.tell() == theirs.tell()


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges so small that a test object has many of them."""
    monkeypatch.setattr(files, "RANGE_BYTES", 64)
    monkeypatch.setattr(files, "SMALL_RANGE_BYTES", 16)


@pytest.mark.usefixtures("small_ranges")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
def test_sequential_reads_use_large_ranges_and_read_each_byte_once(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(1000))
    file = ObjectFile(uri)
    assert len(file.read(1)) == 1  # a small range, then large ones
    assert len(file.read()) == 999
    assert file.bytes == 1000


@pytest.mark.usefixtures("small_ranges")
def test_an_object_replaced_meanwhile_is_noticed(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(1000))
    file = ObjectFile(uri)
    file.read(100)
    file.verify()
    s3dlio.put_bytes(uri, b"x" * 1000)
    file.read()
    with pytest.raises(s3dlio.IntegrityError, match=f"{uri} was replaced while it was read"):
        file.verify()


@pytest.mark.usefixtures("small_ranges")
def test_an_object_cut_short_meanwhile_is_an_error_that_names_it(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(1000))
    file = ObjectFile(uri)
    s3dlio.put_bytes(uri, bytes(10))
    with pytest.raises(s3dlio.IntegrityError, match=uri):
        file.read()
