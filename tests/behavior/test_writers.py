# SPDX-License-Identifier: Apache-2.0
"""MultipartUploadWriter: an object written in pieces, visible when it is complete."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable

import numpy as np
import pytest

import s3dlio
from tests.behavior.content import content

OLD = b"the old object"


@pytest.fixture
def uri(root: str) -> str:
    s3dlio.put_bytes(f"{root}/object", OLD)
    return f"{root}/object"


def _untouched(uri: str) -> bool:
    folder = uri.rpartition("/")[0]
    return s3dlio.get(uri) == OLD and s3dlio.list(folder, recursive=True) == [uri]


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [0],
        [1],
        [0, 5, 0],
        [4096] * 3,
        [1] * 100,
        [4095, 2, 4095, (4 << 20) - 1],
        [(4 << 20) + 1, (4 << 20) - 1],
        [100_000] * 60,
        [3, (17 << 20) + 1, 4096, 12],
        [8 << 20, 8 << 20, 8 << 20],
    ],
    ids=lambda pieces: f"{len(pieces)}x{max(pieces, default=0)}",
)
def test_the_pieces_make_the_object(uri: str, pieces: Iterable[int]) -> None:
    parts = [content(size, seed=number) for number, size in enumerate(pieces)]
    writer = s3dlio.MultipartUploadWriter.from_uri(uri)
    assert [writer.write(part) for part in parts] == [len(part) for part in parts]
    assert writer.tell() == sum(map(len, parts))
    writer.close()
    assert s3dlio.get(uri) == b"".join(parts)


def test_nothing_is_visible_before_close(uri: str, root: str) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(uri)
    fresh = s3dlio.MultipartUploadWriter.from_uri(f"{root}/fresh")
    for size in (10, 9 << 20, 3):
        writer.write(content(size))
        fresh.write(content(size))
        assert _untouched(uri)
        assert not s3dlio.exists(f"{root}/fresh")
    writer.close()
    fresh.close()
    assert s3dlio.get(uri) == s3dlio.get(f"{root}/fresh") == content(10) + content(9 << 20) + content(3)


def test_a_writer_that_was_never_written_to_makes_an_empty_object(root: str) -> None:
    s3dlio.MultipartUploadWriter.from_uri(f"{root}/object").close()
    assert s3dlio.get(f"{root}/object") == b""


def test_the_callers_buffer_may_be_used_again_after_a_write(uri: str) -> None:
    buffer = bytearray(300_000)
    expected = b""
    with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        for number in range(30):
            buffer[:] = content(len(buffer), seed=number)
            expected += buffer
            writer.write(buffer)
    assert s3dlio.get(uri) == expected


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abcd")[1:], np.arange(5.0), np.zeros((0,))])
def test_any_contiguous_buffer_can_be_written(uri: str, data: s3dlio.BytesLike) -> None:
    with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        writer.write(data)
    assert s3dlio.get(uri) == memoryview(data).tobytes()  # type: ignore[arg-type]


def test_text_is_refused_and_the_writer_continues(uri: str) -> None:
    with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        writer.write(b"one, ")
        with pytest.raises(TypeError, match="encode"):
            writer.write("text")  # type: ignore[arg-type]
        writer.write(b"two")
    assert s3dlio.get(uri) == b"one, two"


def test_abort_leaves_the_old_object_and_nothing_else(uri: str) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(uri)
    writer.write(content(9 << 20))
    writer.abort()
    assert _untouched(uri)
    writer.abort()
    writer.close()
    assert _untouched(uri)


def test_an_exception_in_the_block_aborts(uri: str) -> None:
    def fail() -> None:
        with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
            writer.write(content(9 << 20))
            raise LookupError("in the block")

    with pytest.raises(LookupError, match="in the block"):
        fail()
    assert _untouched(uri)


def test_a_dropped_writer_aborts(uri: str) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(uri)
    writer.write(content(9 << 20))
    del writer
    assert _untouched(uri)


def test_closing_twice_succeeds_and_writing_afterwards_fails(uri: str) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(uri)
    writer.write(b"whole")
    assert (writer.closed, writer.tell()) == (False, 5)
    writer.close()
    writer.close()
    writer.abort()  # too late: this does nothing
    assert writer.closed
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    assert s3dlio.get(uri) == b"whole"


def test_writing_after_abort_is_an_error(uri: str) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(uri)
    writer.abort()
    assert writer.closed
    with pytest.raises(ValueError, match="aborted"):
        writer.write(b"more")
    assert _untouched(uri)


def test_of_two_writers_at_once_the_last_to_close_wins(uri: str) -> None:
    first, second = (s3dlio.MultipartUploadWriter.from_uri(uri) for _ in range(2))
    for part in range(4):
        first.write(content(3 << 20, seed=part))
        second.write(content(2 << 20, seed=part + 10))
    second.close()
    assert s3dlio.get(uri) == b"".join(content(2 << 20, seed=part + 10) for part in range(4))
    first.close()
    assert s3dlio.get(uri) == b"".join(content(3 << 20, seed=part) for part in range(4))


def test_libraries_can_write_into_a_writer_as_into_a_file(uri: str, root: str) -> None:
    s3dlio.put_bytes(f"{root}/source", content(3_000_000))
    with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        assert writer.writable()
        pickle.dump({"weights": np.arange(1000)}, writer)
        writer.flush()
        position = writer.tell()
        with open(__file__, "rb") as this:
            shutil.copyfileobj(this, writer)
    whole = s3dlio.get(uri)
    assert np.array_equal(pickle.loads(whole[:position])["weights"], np.arange(1000))
    with open(__file__, "rb") as this:
        assert whole[position:] == this.read()


def test_a_malformed_uri_is_refused_at_once() -> None:
    with pytest.raises(s3dlio.InvalidURIError, match="nonsense"):
        s3dlio.MultipartUploadWriter.from_uri("nonsense")
