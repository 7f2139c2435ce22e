# SPDX-License-Identifier: Apache-2.0
"""One object: get, get_range, get_chunks, put_bytes, stat, exists, delete."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import pickle
from array import array
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import s3dlio
from s3dlio.types import ObjectInfo
from tests.behavior.content import ODD_NAMES, SIZES, content

DATA = content(100_003)


@pytest.mark.parametrize("size", SIZES)
def test_an_object_that_was_put_is_read(root: str, size: int) -> None:
    data = content(size, seed=size)
    s3dlio.put_bytes(f"{root}/object", data)
    got = s3dlio.get(f"{root}/object")
    assert isinstance(got, memoryview)
    assert (got.format, got.ndim, got.readonly, len(got)) == ("B", 1, False, size)
    assert got == data


@pytest.mark.parametrize("name", [*ODD_NAMES, "new\nline"])
def test_a_key_is_taken_verbatim(root: str, name: str) -> None:
    uri = f"{root}/folder/{name}"
    s3dlio.put_bytes(uri, name.encode())
    assert s3dlio.get(uri) == name.encode()
    assert s3dlio.exists(uri)
    assert s3dlio.list(f"{root}/folder") == [uri]
    assert s3dlio.list(root, recursive=True) == [uri]
    s3dlio.delete(uri)
    assert not s3dlio.exists(uri)


def test_a_view_that_was_read_belongs_to_the_caller(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", DATA)
    first, second = s3dlio.get(f"{root}/object"), s3dlio.get(f"{root}/object")
    first[:] = bytes(len(DATA))
    assert second == DATA
    assert s3dlio.get(f"{root}/object") == DATA


def test_a_replaced_object_is_seen_at_once_whatever_its_size(root: str) -> None:
    for size in (10, 100_000, 3, 0, 5_000_000, 1):
        data = content(size, seed=size)
        s3dlio.put_bytes(f"{root}/object", data)
        assert s3dlio.get(f"{root}/object") == data
        assert s3dlio.get_range(f"{root}/object", 0) == data
        assert s3dlio.stat(f"{root}/object")["size"] == size


# Ranges...


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, None),
        (0, 0),
        (0, 1),
        (1, None),
        (4095, 2),
        (4096, 4096),
        (17, 80_000),
        (100_002, 1),
        (100_002, 10),  # past the end: shorter
        (100_002, None),
        (0, 1 << 40),
        (100_003, None),  # at the end: empty
        (100_003, 5),
        (1 << 40, 1),
        (1 << 40, None),
        (50, 0),
        (1 << 40, 0),
    ],
)
def test_a_range_is_the_slice(root: str, offset: int, length: int | None) -> None:
    s3dlio.put_bytes(f"{root}/object", DATA)
    got = s3dlio.get_range(f"{root}/object", offset, length)
    assert isinstance(got, memoryview)
    assert (got.format, got.ndim, got.readonly) == ("B", 1, False)
    assert got == (DATA[offset:] if length is None else DATA[offset : offset + length])


def test_a_range_of_an_empty_object_is_empty(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", b"")
    assert s3dlio.get_range(f"{root}/object", 0) == b""
    assert s3dlio.get_range(f"{root}/object", 0, 10) == b""
    assert s3dlio.get_range(f"{root}/object", 10, 10) == b""


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1), (-5, 5), (-1, -1)])
def test_a_negative_range_is_a_value_error(root: str, offset: int, length: int) -> None:
    s3dlio.put_bytes(f"{root}/object", DATA)
    with pytest.raises(ValueError, match="0 or more"):
        s3dlio.get_range(f"{root}/object", offset, length)


# Chunks...


@pytest.mark.parametrize("size", [0, 1, 4096, 100_003])
@pytest.mark.parametrize("chunk_size", [1000, 4096, 100_002, 1 << 20])
@pytest.mark.parametrize(
    ("offset", "length"), [(0, None), (17, None), (0, 50_000), (4095, 2), (0, 0), (99_000, 1 << 40)]
)
def test_chunks_make_up_the_range(root: str, size: int, chunk_size: int, offset: int, length: int | None) -> None:
    s3dlio.put_bytes(f"{root}/object", DATA[:size])
    chunks = list(s3dlio.get_chunks(f"{root}/object", chunk_size, offset, length))
    assert b"".join(chunks) == DATA[:size][offset : None if length is None else offset + length]
    assert [len(chunk) for chunk in chunks[:-1]] == [chunk_size] * (len(chunks) - 1)
    assert all(0 < len(chunk) <= chunk_size and not chunk.readonly for chunk in chunks)


def test_chunks_can_be_left_half_way(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", DATA)
    chunks = s3dlio.get_chunks(f"{root}/object", 1000)
    first = next(chunks)
    del chunks
    s3dlio.put_bytes(f"{root}/object", b"other")
    assert first == DATA[:1000]


def test_chunks_of_an_object_that_is_replaced_meanwhile_never_mix_two_versions(root: str) -> None:
    """An open file keeps the old content; an object store has only the new content."""
    s3dlio.put_bytes(f"{root}/object", DATA)
    chunks = s3dlio.get_chunks(f"{root}/object", 1000)
    received = [bytes(next(chunks))]
    s3dlio.put_bytes(f"{root}/object", DATA[::-1])
    if root.startswith(("file:", "direct:")):
        assert b"".join([*received, *chunks]) == DATA
    else:
        with pytest.raises(s3dlio.IntegrityError, match="was replaced"):
            list(chunks)


@pytest.mark.parametrize(("chunk_size", "offset", "length"), [(0, 0, None), (-1, 0, None), (1, -1, None), (1, 0, -1)])
def test_chunks_refuse_wrong_numbers_at_once(root: str, chunk_size: int, offset: int, length: int | None) -> None:
    for call in (s3dlio.get_chunks, s3dlio.get_chunks_async):
        with pytest.raises(ValueError, match=r"expected (1|0) or more"):
            call(f"{root}/object", chunk_size, offset, length)


# Data...


_VALUES = np.arange(-6, 6)


@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        memoryview(bytearray(b"a part of it"))[2:6],
        memoryview(array("d", [1.5, 2.5])),
        array("i", [1, 2, 3]),
        b"",
        bytearray(),
        np.zeros(0, np.float32),
        np.zeros((0, 3)),
        np.array(5.5),
        *(
            _VALUES.astype(kind)
            for kind in ("i1", "u2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", "?", ">i4", "S3", "U2")
        ),
        np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(24, dtype="u1").reshape(2, 3, 4),
        _VALUES[3:9],
        np.arange(100_000).reshape(100, 1000),
    ],
    ids=lambda data: f"{type(data).__name__}-{getattr(data, 'dtype', '')}{getattr(data, 'shape', '')}".replace(" ", ""),
)
def test_any_contiguous_buffer_is_written_byte_for_byte(root: str, data: Any) -> None:
    s3dlio.put_bytes(f"{root}/object", data)
    assert s3dlio.get(f"{root}/object") == memoryview(data).tobytes()


def test_a_read_only_array_is_written(root: str) -> None:
    values = np.arange(1000)
    values.flags.writeable = False
    s3dlio.put_bytes(f"{root}/object", values)
    assert s3dlio.get(f"{root}/object") == values.tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", r"str.*encode"),
        (None, "NoneType"),
        (5, "int"),
        ([1, 2], "list"),
        (np.arange(10)[::2], "contiguous"),
        (np.zeros((3, 4), order="F"), "contiguous"),
        (memoryview(b"abcdef")[::-1], "contiguous"),
        (np.zeros(3, "datetime64[s]"), "ndarray"),
    ],
    ids=["str", "None", "int", "list", "strided", "fortran", "reversed", "datetime64"],
)
def test_data_that_is_not_a_contiguous_buffer_is_a_type_error_and_writes_nothing(
    root: str, data: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        s3dlio.put_bytes(f"{root}/object", data)
    assert not s3dlio.exists(f"{root}/object")


def test_a_view_that_was_read_can_be_put(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", DATA)
    s3dlio.put_bytes(f"{root}/copy", s3dlio.get(f"{root}/object"))
    s3dlio.put_bytes(f"{root}/object", s3dlio.get(f"{root}/copy")[3:70_000])
    assert s3dlio.get(f"{root}/copy") == DATA
    assert s3dlio.get(f"{root}/object") == DATA[3:70_000]


# Facts...


def test_stat_has_the_same_keys_everywhere(root: str) -> None:
    before = datetime.now(timezone.utc)
    s3dlio.put_bytes(f"{root}/object", DATA)
    facts = s3dlio.stat(f"{root}/object")
    assert set(facts) == set(ObjectInfo.__annotations__)
    assert facts["size"] == len(DATA)
    assert facts["last_modified"] is not None
    assert facts["last_modified"].utcoffset() == timedelta(0)
    assert abs(facts["last_modified"] - before) < timedelta(minutes=2)
    assert isinstance(facts["metadata"], dict)
    assert isinstance(facts["checksums"], dict)


def test_the_etag_changes_with_the_content(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", b"one")
    first = s3dlio.stat(f"{root}/object")["etag"]
    assert first == s3dlio.stat(f"{root}/object")["etag"]
    assert first is None or '"' not in first
    s3dlio.put_bytes(f"{root}/object", b"two")
    assert first is None or s3dlio.stat(f"{root}/object")["etag"] != first


def test_an_object_exists_and_is_not_a_prefix(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", b"")
    assert s3dlio.exists(f"{root}/object") is True
    assert s3dlio.is_prefix(f"{root}/object") is False


def test_a_folder_is_a_prefix_and_does_not_exist(root: str) -> None:
    s3dlio.put_bytes(f"{root}/folder/object", b"")
    for uri in (f"{root}/folder", f"{root}/folder/"):
        assert s3dlio.exists(uri) is False
        assert s3dlio.is_prefix(uri) is True


def test_a_missing_object_neither_exists_nor_is_a_prefix(root: str) -> None:
    s3dlio.put_bytes(f"{root}/folder2/object", b"")
    for uri in (f"{root}/missing", f"{root}/missing/deeper/still", f"{root}/folder", f"{root}/folder2/object/below"):
        assert s3dlio.exists(uri) is False
        assert s3dlio.is_prefix(uri) is False


# Delete...


def test_a_deleted_object_is_gone_and_its_neighbors_stay(root: str) -> None:
    for name in ("object", "object2", "folder/object"):
        s3dlio.put_bytes(f"{root}/{name}", b"x")
    s3dlio.delete(f"{root}/object")
    assert s3dlio.list(root, recursive=True) == [f"{root}/folder/object", f"{root}/object2"]


def test_deleting_a_missing_object_succeeds(root: str) -> None:
    s3dlio.delete(f"{root}/missing")
    s3dlio.delete(f"{root}/missing/deeper")
    s3dlio.delete(f"{root}/missing", recursive=True)
    s3dlio.put_bytes(f"{root}/object", b"x")
    s3dlio.delete(f"{root}/object/below")
    assert s3dlio.exists(f"{root}/object")


def test_deleting_a_folder_needs_recursive(root: str) -> None:
    s3dlio.put_bytes(f"{root}/folder/object", b"x")
    s3dlio.delete(f"{root}/folder")
    s3dlio.delete(f"{root}/folder/")
    assert s3dlio.exists(f"{root}/folder/object")


@pytest.mark.parametrize("end", ["", "/"])
def test_a_recursive_delete_removes_everything_below_and_nothing_beside(root: str, end: str) -> None:
    kept = [f"{root}/data.txt", f"{root}/data2/object", f"{root}/other/data/object"]
    for uri in (*kept, f"{root}/data/a", f"{root}/data/.hidden", f"{root}/data/sub/deep/b", f"{root}/data/sub2/c"):
        s3dlio.put_bytes(uri, b"x")
    s3dlio.delete(f"{root}/data{end}", recursive=True)
    assert s3dlio.list(root, recursive=True) == kept
    assert not s3dlio.is_prefix(f"{root}/data")


def test_a_recursive_delete_of_an_object_removes_nothing(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", b"x")
    s3dlio.delete(f"{root}/object", recursive=True)
    assert s3dlio.exists(f"{root}/object")


# Folders...


def test_mkdir_creates_no_object_and_may_be_repeated(root: str) -> None:
    for uri in (f"{root}/a/b/c", f"{root}/a/b/c/", f"{root}/a"):
        s3dlio.mkdir(uri)
        assert s3dlio.exists(uri) is False
    assert s3dlio.list(root, recursive=True) == []
    s3dlio.put_bytes(f"{root}/a/b/c/object", b"x")
    assert s3dlio.list(root, recursive=True) == [f"{root}/a/b/c/object"]


# Errors...


_READERS: list[Callable[[str], Any]] = [
    s3dlio.get,
    lambda uri: s3dlio.get_range(uri, 0, 1),
    lambda uri: s3dlio.get_range(uri, 10),
    lambda uri: next(s3dlio.get_chunks(uri)),
    lambda uri: next(s3dlio.get_chunks(uri, 10, 0, 10)),
    s3dlio.stat,
    lambda uri: s3dlio.get_many([uri]),
    lambda uri: next(s3dlio.get_many_iter([uri])),
    lambda uri: s3dlio.copy(uri, uri + "-copy"),
]
_READER_NAMES = ["get", "get_range", "get_range-to-end", "get_chunks", "get_chunks-of-one", "stat", "get_many"]
_READER_NAMES += ["get_many_iter", "copy"]


@pytest.mark.parametrize("read", _READERS, ids=_READER_NAMES)
@pytest.mark.parametrize("name", ["missing", "missing/deeper", "folder", "folder/", "folder/object/below"])
def test_anything_but_an_object_is_not_found(root: str, read: Callable[[str], Any], name: str) -> None:
    s3dlio.put_bytes(f"{root}/folder/object", b"x")
    with pytest.raises(s3dlio.ObjectNotFoundError) as caught:
        read(f"{root}/{name}")
    error = caught.value
    assert type(error) is s3dlio.ObjectNotFoundError
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, s3dlio.S3dlioError)
    assert error.uri == f"{root}/{name}"
    assert error.uri in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.uri, again.endpoint, again.status) == (
        str(error),
        error.uri,
        error.endpoint,
        error.status,
    )
