# SPDX-License-Identifier: Apache-2.0
"""Batched writes, and their fall-back to the ordinary operation: both give the same results and errors.

The first object of each batch opens the connection, the second is the case, and the third shows that the case has left
nothing on the connection.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

import pytest

import s3dlio
from s3dlio.http.connection import Connection
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.objects.batched_put import BatchedWrite
from s3dlio.runtime.engine import Engine
from s3dlio.runtime.poller import Poller
from s3dlio.tuning import SMALL_OBJECT
from tests.behavior.content import content
from tests.http.scripted import CLOSE, EARLY, Script, scripted
from tests.replay import answer

FIRST, CASE, LAST = (f"s3://bucket/{name}" for name in ("first", "case", "last"))
DATA = content(300_000)
OTHER = content(300_000, 2)
PAIRS = [(FIRST, b"first"), (CASE, DATA), (LAST, b"last")]
CHECKSUM = "x-amz-checksum-crc32c"

STORED = answer(200)


def confirming(data: bytes) -> bytes:
    """The answer of a server that has stored these bytes."""
    return answer(200, b"", {CHECKSUM: crc32c_text(crc32c([memoryview(data)]))})


def tagging(data: bytes) -> bytes:
    """The answer of a server that knows no CRC32C: it confirms the bytes by their MD5."""
    return answer(200, b"", {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})


# The answers to the requests for the second object, one script for each request.
STORED_IN_THE_END: dict[str, list[Script]] = {
    "at once": [[STORED]],
    "confirmed": [[confirming(DATA)]],
    "confirmed by the ETag": [[tagging(DATA)]],
    "in two pieces": [[STORED[:20], 0.05, STORED[20:]]],
    "an interim answer before": [[b"HTTP/1.1 100 Continue\r\n\r\n" + STORED]],
    "with a body": [[answer(200, b"<Stored/>")]],
    "with a body that comes later": [[answer(200, b"<Stored/>")[:-4], 0.05, b"ed/>"]],
    "in chunks": [[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]],
    "without a length": [[b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", CLOSE]],
    "the last of its connection": [[answer(200, b"", {"Connection": "close"}), CLOSE]],
    "a connection that was closed meanwhile": [[CLOSE], [STORED]],
    "an answer that breaks off": [[STORED[:20], CLOSE], [STORED]],
    "not now": [[answer(503, "later")], [STORED]],
    "not now, and closed": [[answer(503, "later", {"Connection": "close"}), CLOSE], [STORED]],
    "bytes of an earlier answer": [[b"0\r\n\r\n"], [STORED]],
}

REFUSED = answer(403, "<Error><Code>AccessDenied</Code></Error>")
FAILED: dict[str, tuple[list[Script], type[Exception], str]] = {
    "refused": ([[REFUSED]], s3dlio.PermissionDeniedError, "bucket/case"),
    "other bytes": ([[confirming(OTHER)]], s3dlio.IntegrityError, "bucket/case.*stored other bytes"),
    "other bytes by the ETag": ([[tagging(OTHER)]], s3dlio.IntegrityError, "bucket/case.*stored other bytes"),
    "not HTTP": ([[b"SSH-2.0-OpenSSH_9.2\r\n\r\n", CLOSE]] * 2, s3dlio.S3dlioError, "case.*status line"),
    "two lengths": (
        [[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\n", CLOSE]],
        s3dlio.S3dlioError,
        "case.*Content-Length",
    ),
    "silence": ([[3.0]] * 2, s3dlio.StoreTimeoutError, "case.*no byte"),
}


@pytest.fixture(autouse=True)
def batched_writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs for which a batched write was begun."""
    begun: list[str] = []
    begin = BatchedWrite.begin_together

    def noted(
        engine: Engine,
        writes: list[BatchedWrite],
        ended: Callable[[list[BatchedWrite]], None],
    ) -> None:
        begun.extend(write.uri.text for write in writes)
        begin(engine, writes, ended)

    monkeypatch.setattr(BatchedWrite, "begin_together", staticmethod(noted))
    return begun


@pytest.mark.parametrize("scripts", STORED_IN_THE_END.values(), ids=STORED_IN_THE_END.keys())
def test_the_object_is_written_whole(scripts: list[Script], batched_writes: list[str]) -> None:
    with scripted(scripts) as server:
        s3dlio.put_many(PAIRS, 1)
    assert server.bodies == [b"first", *[DATA] * len(scripts), b"last"]
    assert batched_writes == [FIRST, CASE, LAST]


@pytest.mark.parametrize(("scripts", "kind", "message"), FAILED.values(), ids=FAILED.keys())
def test_a_failure_is_raised(scripts: list[Script], kind: type[Exception], message: str) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="0.4", S3DLIO_RETRIES="1")
    with scripted(scripts) as server:
        before = time.monotonic()
        with pytest.raises(kind, match=message):
            s3dlio.put_many(PAIRS, 1)
        assert time.monotonic() - before < 3
        s3dlio.put_many([(FIRST, b"again"), (LAST, b"again")], 1)
    assert server.bodies == [b"first", *[DATA] * len(scripts), b"again", b"again"]


# A body that is sent in several pieces...


@pytest.fixture(params=[1000, 0], ids=["a part at first", "nothing at first"])
def piece_by_piece(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A kernel that takes only a part of a large buffer, or nothing, and then at most 1,000 bytes at a time."""
    send = Connection.send
    took_none = False

    def little(self: Connection, views: list[memoryview]) -> int:
        nonlocal took_none
        if sum(map(len, views)) < 100_000:
            return send(self, views)
        if not request.param and not took_none:
            took_none = True
            return 0
        return send(self, [views[0][:1000]])

    monkeypatch.setattr(Connection, "send", little)


@pytest.mark.usefixtures("piece_by_piece")
def test_an_object_that_does_not_fit_into_the_kernel_is_sent_piece_by_piece() -> None:
    with scripted([[STORED]]) as server:
        s3dlio.put_many(PAIRS, 1)
    assert server.bodies == [b"first", DATA, b"last"]
    assert server.connections == 1


@pytest.mark.usefixtures("piece_by_piece")
def test_an_early_refusal_ends_the_sending() -> None:
    with scripted([[EARLY, REFUSED, 0.2, CLOSE]]) as server, pytest.raises(s3dlio.PermissionDeniedError, match="case"):
        s3dlio.put_many(PAIRS, 1)
    assert server.bodies == [b"first"]


# Several writes...


def test_a_failure_ends_the_other_writes() -> None:
    with scripted([[0.1, REFUSED]]) as server:
        s3dlio.put_many([(FIRST, b"1"), (LAST, b"2")], 2)  # two connections, for the batched writes that follow
        with pytest.raises(s3dlio.PermissionDeniedError, match="bucket/case"):
            s3dlio.put_many([(CASE, b""), *((f"{FIRST}/{number}", b"x") for number in range(100_000))], 2)
    assert len(server.requests) < 100_000


@pytest.mark.parametrize(
    "pairs", [[(FIRST, b"1"), (CASE, b"2")], [(CASE, b"2"), (FIRST, b"1")]], ids=["after", "before"]
)
def test_a_refusal_is_raised_if_another_answer_arrived_at_the_same_time(
    pairs: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = Poller.poll

    def late(self: Poller, timeout: float | None = None) -> list[tuple[int, int]]:
        """Poll so late that both answers have arrived."""
        time.sleep(0.05)
        return poll(self, timeout)

    with scripted([[REFUSED]]):
        s3dlio.put_many([(FIRST, b"1"), (LAST, b"2")], 2)  # two connections, for the batched writes that follow
        monkeypatch.setattr(Poller, "poll", late)
        with pytest.raises(s3dlio.PermissionDeniedError, match="bucket/case"):
            s3dlio.put_many(pairs, 2)


def test_an_empty_object_is_written() -> None:
    with scripted([]) as server:
        s3dlio.put_many([(FIRST, b""), (LAST, b"")], 1)
    assert server.bodies == [b"", b""]
    assert all("\r\nContent-Length: 0\r\n" in request for request in server.requests)


def test_objects_do_not_mix_and_connections_are_reused() -> None:
    pairs = [(f"{FIRST}/{number}", content(5_000 + number, number)) for number in range(200)]
    with scripted([]) as server:
        s3dlio.put_many(pairs, 8)
        assert server.connections == 8
    assert sorted(server.bodies) == sorted(data for _, data in pairs)


def test_requests_go_to_the_endpoints_in_turn() -> None:
    with scripted([]) as one, scripted([]) as other:
        os.environ["S3_ENDPOINT_URIS"] = f"{one.url},{other.url}"
        s3dlio.put_many([(FIRST, b"x")] * 40, 4)
        assert len(one.requests) == len(other.requests) == 20


@pytest.mark.parametrize(
    ("environment", "size"),
    [({"S3DLIO_PUT_VERIFY": "1"}, 10), ({"S3DLIO_SIGN_PAYLOAD": "1"}, 10), ({}, SMALL_OBJECT + 1)],
    ids=["verified afterwards", "payloads signed", "large"],
)
def test_large_verified_and_signed_objects_are_written_in_the_ordinary_way(
    environment: dict[str, str], size: int, batched_writes: list[str]
) -> None:
    data = content(size)
    stored = {"ETag": '"1"', CHECKSUM: crc32c_text(crc32c([memoryview(data)]))}
    with scripted([[answer(200, b"", stored)], [answer(200, b"", {**stored, "Content-Length": str(size)})]]) as server:
        os.environ.update(environment)
        s3dlio.put_many([(CASE, data)], 1)
    assert server.bodies[0] == data
    assert not batched_writes


def test_an_object_above_the_multipart_threshold_is_written_in_parts(batched_writes: list[str]) -> None:
    os.environ["S3DLIO_MULTIPART_THRESHOLD_MB"] = "0.001"
    with scripted([[REFUSED]]) as server, pytest.raises(s3dlio.PermissionDeniedError, match="case"):
        s3dlio.put_many([(CASE, content(5_000))], 1)
    assert server.requests[0].startswith("POST /bucket/case?uploads=")
    assert not batched_writes
