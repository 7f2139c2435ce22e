# SPDX-License-Identifier: Apache-2.0
"""Bytes that no request asked for never become the answer to the next one: their connection is not used again.

The server sends them after an answer; the next request, which must get its own answer, goes out when they have arrived.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest

import s3dlio
from s3dlio.http.connection import Connection
from tests.behavior.content import content
from tests.http.scripted import CLOSE, LATER, Script, Scripted, scripted
from tests.replay import answer
from tests.servers import certificates

FIRST, CASE, LAST = (f"s3://bucket/{name}" for name in ("first", "case", "last"))
FOREIGN = answer(200, b"foreign", {"ETag": '"f"'})
LARGE = content(300_000)

HEAD = answer(200, b"", {"Content-Length": "7", "ETag": '"1"'})
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
CHUNKED_NOTHING = b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
UNASKED = {
    "a body": b"foreign",
    "a whole answer": FOREIGN,
    "the end of chunks": b"0\r\n\r\n",
    "an empty line": b"\r\n",
    "half an answer": FOREIGN[:20],
}
OPERATIONS: dict[str, tuple[Callable[[str], object], bytes]] = {
    "stat": (s3dlio.stat, HEAD),
    "exists, chunked": (s3dlio.exists, HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")),
    "delete": (s3dlio.delete, NO_CONTENT),
    "delete, chunked": (s3dlio.delete, CHUNKED_NOTHING),
    "delete, with a length": (s3dlio.delete, NO_CONTENT.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n")),
    "delete, after an interim answer": (
        s3dlio.delete,
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n" + NO_CONTENT,
    ),
    "get": (s3dlio.get, answer(200, b"content")),
    "get, large": (s3dlio.get, answer(200, LARGE)),
    "get_range": (
        lambda uri: s3dlio.get_range(uri, 0, 7),
        answer(206, b"content", {"Content-Range": "bytes 0-6/7", "ETag": '"1"'}),
    ),
    "put": (lambda uri: s3dlio.put_bytes(uri, b"data"), answer(200)),
}


Serve = Callable[[list[Script]], AbstractContextManager[Scripted]]


@pytest.fixture(params=["plain", "TLS"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Serve:
    """Starts a scripted server, with TLS or without."""
    certificate = certificates.make(tmp_path) if request.param == "TLS" else None
    return lambda scripts: scripted(scripts, certificate)


@pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED.keys())
@pytest.mark.parametrize(("operation", "reply"), OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_connection_with_unasked_bytes_is_not_used_by_the_next_call(
    operation: Callable[[str], object], reply: bytes, unasked: bytes, serve: Serve
) -> None:
    with serve([[reply, LATER, unasked]]) as server:
        operation(CASE)
        server.send_rest()
        assert bytes(s3dlio.get(LAST)) == b"plain"
        assert server.connections == 2


@pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED.keys())
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith(("stat", "delete"))])
def test_bytes_that_come_together_with_an_answer_without_a_body_end_its_connection(
    name: str, unasked: bytes, serve: Serve
) -> None:
    operation, reply = OPERATIONS[name]
    with serve([[reply + unasked]]) as server:
        operation(CASE)
        assert bytes(s3dlio.get(LAST)) == b"plain"
        assert server.connections == 2


def test_a_connection_that_is_quiet_is_used_again(serve: Serve) -> None:
    # The session tickets of TLS 1.3 make a connection readable without an answer.
    with serve([[HEAD], [NO_CONTENT], [answer(200, LARGE)]]) as server:
        s3dlio.stat(CASE)
        s3dlio.delete(CASE)
        s3dlio.get(CASE)
        s3dlio.get_many([FIRST, LAST] * 10, 1)
        assert server.connections == 1


# In a batch, which keeps its connections...


T = TypeVar("T")


def with_rest(server: Scripted, *before: T, case: T, after: Sequence[T]) -> Iterator[T]:
    """Items of a batch. The rest of the script arrives after the item of the case, and before the next one begins."""
    yield from before
    yield case
    server.send_rest()
    yield from after


@pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED.keys())
@pytest.mark.parametrize("body", [b"content", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("before", [1, 3])
def test_a_read_of_a_batch_gets_its_own_answer(before: int, body: bytes, unasked: bytes, serve: Serve) -> None:
    with serve([[answer(200, body), LATER, unasked]]) as server:
        found = s3dlio.get_many_iter(with_rest(server, *[FIRST] * before, case=CASE, after=[LAST] * 2), 1)
        assert [bytes(data) for _, data in found] == [*[b"plain"] * before, body, b"plain", b"plain"]
        assert server.connections == 2


@pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED.keys())
def test_a_write_of_a_batch_gets_its_own_answer(unasked: bytes, serve: Serve) -> None:
    refused = answer(403, "<Error><Code>AccessDenied</Code></Error>") if unasked == FOREIGN else unasked
    with serve([[answer(200), LATER, refused]]) as server:
        pairs = with_rest(server, (FIRST, b"1"), case=(CASE, b"2"), after=[(LAST, b"3"), (LAST, b"4")])
        s3dlio.put_many(pairs, 1)
        assert server.bodies == [b"1", b"2", b"3", b"4"]
        assert server.connections == 2


def test_an_ordinary_request_of_a_batch_gets_its_own_answer(serve: Serve) -> None:
    missing = answer(404, "<Error><Code>NoSuchKey</Code></Error>")
    with serve([[missing, LATER, FOREIGN]]) as server:
        s3dlio.get(FIRST)
        with pytest.raises(s3dlio.ObjectNotFoundError):
            s3dlio.get(CASE)
        server.send_rest()
        s3dlio.delete(LAST)
        assert server.connections == 2


# Bytes that are not an answer, on a reused connection...


@pytest.mark.parametrize("times", [1, 2])
def test_a_request_is_sent_again_once_after_bytes_that_are_not_an_answer(times: int, serve: Serve) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    old: Script = [b"old\r\n\r\n", CLOSE]
    scripts: list[Script] = [*[old] * times, [answer(200, b"content")]]
    with serve(scripts) as server:
        s3dlio.get(FIRST)
        if times == 1:
            assert bytes(s3dlio.get(CASE)) == b"content"
        else:
            with pytest.raises(s3dlio.S3dlioError, match=r"case.*status line"):
                s3dlio.get(CASE)
        assert server.connections == 2


def test_a_request_on_a_new_connection_is_not_sent_again() -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    with scripted([[b"old\r\n\r\n", CLOSE]]) as server:
        with pytest.raises(s3dlio.S3dlioError, match=r"case.*status line"):
            s3dlio.get(CASE)
        assert server.connections == 1


def test_one_system_call_checks_all_connections_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Connection] = []
    is_quiet = Connection.is_quiet

    def noted(self: Connection) -> bool:
        asked.append(self)
        return is_quiet(self)

    with scripted([]):
        s3dlio.get_many([FIRST] * 20, 4)
        monkeypatch.setattr(Connection, "is_quiet", noted)
        s3dlio.get_many([FIRST] * 200, 4)
    assert len(asked) <= 8  # only connections from the pool are asked, once each
