# SPDX-License-Identifier: Apache-2.0
"""Answers that arrive before the request's body has been sent: a refusal ends the sending, a success does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import s3dlio
from s3dlio.http.connection import Connection
from tests.behavior.content import content
from tests.http.scripted import BODY, CLOSE, EARLY, Script, Scripted, scripted
from tests.replay import answer
from tests.servers import certificates

FIRST, CASE, LAST = (f"s3://bucket/{name}" for name in ("first", "case", "last"))
DATA = content(30_000_000)  # more than the kernel takes at once
STORED = answer(200, b"", {"ETag": '"1"'})
REFUSED = answer(403, "<Error><Code>AccessDenied</Code></Error>")

SUCCESSES = {
    "without a body": [STORED],
    "with a body": [answer(200, "<Stored/>", {"ETag": '"1"'})],
    "in chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"],
    "in pieces": [STORED[:9], 0.05, STORED[9:]],
    "the rest of it after the body": [answer(200, "<Stored/>")[:-4], BODY, b"ed/>"],
    "after an interim answer": [b"HTTP/1.1 100 Continue\r\n\r\n", 0.05, STORED],
    "201": [answer(201)],
    "204": [b"HTTP/1.1 204 No Content\r\n\r\n"],
}

Serve = Callable[[list[Script]], AbstractContextManager[Scripted]]


@pytest.fixture(params=["plain", "TLS"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Serve:
    """Starts a scripted server, with TLS or without."""
    certificate = certificates.make(tmp_path) if request.param == "TLS" else None
    return lambda scripts: scripted(scripts, certificate)


@pytest.mark.parametrize("reply", SUCCESSES.values(), ids=SUCCESSES.keys())
def test_an_early_success_does_not_end_the_sending(reply: list[bytes | float | str], serve: Serve) -> None:
    script = [EARLY, *reply, 0.2] if BODY in reply else [EARLY, *reply, 0.2, BODY]
    with serve([script]) as server:
        if reply[0] in (answer(201), b"HTTP/1.1 204 No Content\r\n\r\n"):
            # S3 never answers PUT with this status. What is sent can be observed nevertheless.
            with pytest.raises(s3dlio.S3dlioError, match="case"):
                s3dlio.put_bytes(CASE, DATA)
        else:
            s3dlio.put_bytes(CASE, DATA)
        s3dlio.put_bytes(LAST, b"last")
        assert server.bodies == [DATA, b"last"]
        assert server.connections == 1


def test_early_successes_of_parts_do_not_end_their_sending(serve: Serve) -> None:
    os.environ.update(S3DLIO_MULTIPART_THRESHOLD_MB="5", S3DLIO_PUT_PART_MB="8", S3DLIO_PARTS_IN_FLIGHT="1")
    upload = answer(200, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
    whole = answer(200, '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>')
    parts: list[Script] = [[EARLY, STORED, 0.1, BODY]] * 4
    with serve(
        [[upload], *parts, [whole], [answer(200, b"", {"Content-Length": str(len(DATA)), "ETag": '"1"'})]]
    ) as server:
        s3dlio.put_bytes(CASE, DATA)
        assert b"".join(server.bodies[1:5]) == DATA


@pytest.mark.parametrize("reply", [STORED, answer(200, b"", {"Connection": "close"})], ids=["", "announced"])
def test_an_early_success_on_a_connection_that_closes_does_not_count(reply: bytes, serve: Serve) -> None:
    os.environ["S3DLIO_RETRIES"] = "1"
    with serve([[EARLY, reply, 0.1, CLOSE]] * 2) as server:
        with pytest.raises(s3dlio.StoreUnavailableError, match=r"case.*already answered 200"):
            s3dlio.put_bytes(CASE, DATA)
        assert server.bodies == []
    with serve([[EARLY, reply, 0.1, CLOSE], [STORED]]) as server:
        s3dlio.put_bytes(CASE, DATA)
        assert server.bodies == [DATA]


PUTS: dict[str, Callable[[bytes], None]] = {
    "put_bytes": lambda data: s3dlio.put_bytes(CASE, data),
    "put_many": lambda data: s3dlio.put_many([(CASE, data)], 1),
}


@pytest.mark.parametrize("size", [300_000, 1_000_000, 1_500_000])
@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS.keys())
def test_a_body_that_is_only_in_the_kernel_does_not_count_as_stored(
    put: Callable[[bytes], None], size: int, serve: Serve
) -> None:
    os.environ["S3DLIO_RETRIES"] = "1"
    data = DATA[:size]
    for end in ([CLOSE], [0.1, CLOSE]):
        with serve([[EARLY, STORED, *end]] * 3) as server:
            s3dlio.put_many([(FIRST, b"first")], 1)
            with pytest.raises(s3dlio.StoreUnavailableError, match="case"):
                put(data)
            assert server.bodies == [b"first"]
    with serve([[EARLY, STORED, 0.1, CLOSE], [EARLY, STORED, 0.1, BODY]]) as server:
        s3dlio.put_many([(FIRST, b"first")], 1)
        put(data)
        s3dlio.put_bytes(LAST, b"last")
        assert server.bodies == [b"first", data, b"last"]
        assert server.connections == 2


@pytest.mark.parametrize("status", [307, 400, 403, 413])
def test_an_early_refusal_ends_the_sending(status: int, serve: Serve) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    with serve([[EARLY, answer(status, "<Error><Code>Refused</Code></Error>"), 1.0, CLOSE]]) as server:
        began = time.monotonic()
        with pytest.raises(s3dlio.S3dlioError, match=f"case.*{status}"):
            s3dlio.put_bytes(CASE, DATA)
        assert time.monotonic() - began < 0.8
        assert server.bodies == []


@pytest.fixture(params=[1000, 0], ids=["a part at first", "nothing at first"])
def piece_by_piece(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The socket takes a part of a large buffer at first, or nothing; then at most 10,000 bytes at a time."""
    send = Connection.send
    took_none = False

    def little(self: Connection, views: list[memoryview]) -> int:
        nonlocal took_none
        if sum(map(len, views)) < 100_000:
            return send(self, views)
        if not request.param and not took_none:
            took_none = True
            return 0
        time.sleep(0.001)
        return send(self, [views[-1][:10_000] if len(views) == 1 else views[0]])

    monkeypatch.setattr(Connection, "send", little)


@pytest.mark.usefixtures("piece_by_piece")
def test_an_early_success_in_a_batch_does_not_end_the_sending() -> None:
    data = DATA[:1_000_000]
    with scripted([[EARLY, STORED, 0.05, BODY]]) as server:
        s3dlio.put_many([(FIRST, b"first"), (CASE, data), (LAST, b"last")], 1)
    assert server.bodies == [b"first", data, b"last"]
    assert server.connections == 1


@pytest.mark.usefixtures("piece_by_piece")
def test_an_early_success_in_a_batch_on_a_connection_that_closes_is_tried_again() -> None:
    data = DATA[:1_000_000]
    with scripted([[EARLY, STORED, 0.02, CLOSE], [STORED]]) as server:
        s3dlio.put_many([(FIRST, b"first"), (CASE, data), (LAST, b"last")], 1)
    assert server.bodies == [b"first", data, b"last"]


def test_a_success_after_a_broken_write_does_not_count() -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    with scripted([[EARLY, STORED, CLOSE]]) as server, pytest.raises(s3dlio.StoreUnavailableError, match="case"):
        s3dlio.put_bytes(CASE, DATA)
    assert server.bodies == []
