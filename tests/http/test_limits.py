# SPDX-License-Identifier: Apache-2.0
"""Everything that a server sends is bounded: what never ends becomes an error that names the limit, soon and in little
memory.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

import pytest

import s3dlio
from tests.behavior.content import content
from tests.http.scripted import Endless, Script, scripted

CASE, LAST = "s3://bucket/case", "s3://bucket/last"
FILLING = b"x" * (1 << 20)
CHUNKED = "Transfer-Encoding: chunked"
# The ways to delimit a body that never ends: the header field, and what is sent.
DELIMITED: dict[str, tuple[str, bytes]] = {
    "by a length": ("Content-Length: 9999999999999", FILLING),
    "in chunks": (CHUNKED, b"%x\r\n%s\r\n" % (len(FILLING), FILLING)),
    "until the end": ("Connection: close", FILLING),
}
OPERATIONS: dict[str, Callable[[], object]] = {
    "get": lambda: s3dlio.get(CASE),
    "get_range": lambda: s3dlio.get_range(CASE, 1, 10),
    "get_many": lambda: s3dlio.get_many([LAST, CASE, LAST], 1),
    "put": lambda: s3dlio.put_bytes(CASE, b"data"),
    "put_many": lambda: s3dlio.put_many([(LAST, b"1"), (CASE, b"2")], 1),
    "delete": lambda: s3dlio.delete(CASE),
}
SECONDS = 20
MEMORY = 700 << 20  # bytes that the process may grow by: the largest document, read and parsed


@pytest.fixture(autouse=True)
def soon_and_in_little_memory() -> object:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MEMORY


def endless(status: int, delimited: tuple[str, bytes]) -> Script:
    return [f"HTTP/1.1 {status} Status\r\n{delimited[0]}\r\n\r\n".encode(), Endless(delimited[1])]


@pytest.mark.parametrize("delimited", DELIMITED.values(), ids=DELIMITED.keys())
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
@pytest.mark.parametrize(
    ("status", "kind"), [(403, s3dlio.PermissionDeniedError), (503, s3dlio.StoreUnavailableError)], ids=["403", "503"]
)
def test_an_error_whose_body_never_ends_is_that_error(
    status: int, kind: type[Exception], operation: Callable[[], object], delimited: tuple[str, bytes]
) -> None:
    os.environ["S3DLIO_RETRIES"] = "1"
    with scripted([endless(status, delimited)] * 2), pytest.raises(kind, match=f"case.*{status}.*1024 KiB"):
        operation()


@pytest.mark.parametrize("delimited", DELIMITED.values(), ids=DELIMITED.keys())
def test_a_page_that_never_ends_is_an_error(delimited: tuple[str, bytes]) -> None:
    with scripted([endless(200, delimited)]), pytest.raises(s3dlio.S3dlioError, match=r"case.*64 MiB"):
        s3dlio.list("s3://case/")


@pytest.mark.parametrize("delimited", DELIMITED.values(), ids=DELIMITED.keys())
def test_a_confirmation_that_never_ends_is_an_error(delimited: tuple[str, bytes]) -> None:
    with scripted([endless(200, delimited)]), pytest.raises(s3dlio.S3dlioError, match=r"bucket/case.*64 MiB"):
        s3dlio.put_bytes(CASE, b"data")


@pytest.mark.parametrize("name", ["get", "get_range", "get_many"])
@pytest.mark.parametrize("how", ["in chunks", "until the end"])
def test_an_object_without_a_length_is_bounded_by_the_setting(how: str, name: str) -> None:
    os.environ.update(S3DLIO_UNSIZED_MAX_MB="3", S3DLIO_RETRIES="0")
    with (
        scripted([endless(200, DELIMITED[how])]),
        pytest.raises(s3dlio.S3dlioError, match=r"case.*3 MiB.*S3DLIO_UNSIZED_MAX_MB"),
    ):
        OPERATIONS[name]()


def test_an_object_without_a_length_within_the_limit_is_read() -> None:
    os.environ["S3DLIO_UNSIZED_MAX_MB"] = "3"
    data = content(3 << 20)
    with scripted([[f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n".encode(), b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)]]):
        assert s3dlio.get(CASE) == data


OK = b"HTTP/1.1 200 OK\r\n"
FLOODS: dict[str, tuple[list[bytes], str]] = {
    "interim answers": ([Endless(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")], "more than 32 interim answers"),
    "fields": ([OK, Endless(b"X-Field: x\r\n")], "65536 bytes"),
    "a field": ([OK, b"X-Field: ", Endless(b"x" * 1000)], "65536 bytes"),
    "many small fields": ([OK, b"X: 1\r\n" * 300, b"Content-Length: 0\r\n\r\n"], "256 fields"),
    "a reason": ([b"HTTP/1.1 200 ", Endless(b"x" * 1000)], "65536 bytes"),
    "trailers": ([OK, f"{CHUNKED}\r\n\r\n0\r\n".encode(), Endless(b"X-Field: x\r\n")], "trailer section.*65536 bytes"),
    "a chunk's size": ([OK, f"{CHUNKED}\r\n\r\n".encode(), Endless(b"0" * 1000)], "4096 bytes"),
    "chunk extensions": ([OK, f"{CHUNKED}\r\n\r\n".encode(), Endless(b"1;%s\r\nx\r\n" % (b"e" * 4000))], "16384 bytes"),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("flood", "limit"), FLOODS.values(), ids=FLOODS.keys())
def test_floods_end_at_their_limits(flood: list[bytes], limit: str, name: str) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    with scripted([flood, flood]), pytest.raises(s3dlio.S3dlioError, match=f"case.*{limit}"):
        OPERATIONS[name]()
