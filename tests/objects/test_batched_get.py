# SPDX-License-Identifier: Apache-2.0
"""Batched reads, and their fall-back to the ordinary operation: both give the same results and errors.

The first object of each batch opens the connection, the second is the case, and the third shows that the case has left
nothing on the connection.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Callable

import pytest

import s3dlio
from s3dlio.http.endpoints import Endpoint
from s3dlio.http.pool import Connections, pool
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.objects import batched_get
from s3dlio.objects.batched_get import BatchedRead
from s3dlio.runtime.engine import Engine
from tests.behavior.content import content
from tests.http.scripted import CLOSE, Script, scripted
from tests.replay import Replay, answer

FIRST, CASE, LAST = (f"s3://bucket/{name}" for name in ("first", "case", "last"))
DATA = content(300_000)
CUT = 100_000
CHECKSUM = {"x-amz-checksum-crc32c": crc32c_text(crc32c([memoryview(DATA)]))}
VERSION = {"ETag": '"1"'}


def ok(body: bytes = DATA) -> bytes:
    return answer(200, body)


def cut(head_and_body: bytes, body_bytes: int) -> bytes:
    head, _, body = head_and_body.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" + body[:body_bytes]


def rest(start: int) -> bytes:
    headers = {**VERSION, "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return answer(206, DATA[start:], headers)


WHOLE = answer(200, DATA, VERSION)
CHECKED = answer(200, DATA, CHECKSUM)

# The answers to the requests for the second object, one script for each request.
WHOLE_IN_THE_END: dict[str, list[Script]] = {
    "at once": [[WHOLE]],
    "checked": [[CHECKED]],
    "the head in two pieces": [[WHOLE[:20], 0.05, WHOLE[20:]]],
    "the head alone, then the body in pieces": [
        [cut(WHOLE, 0), 0.05, DATA[:10], 0.05, DATA[10:200_000], 0.05, DATA[200_000:]]
    ],
    "checked, the body in pieces": [[cut(CHECKED, 10), 0.05, DATA[10:290_000], 0.05, DATA[290_000:]]],
    "an interim answer before": [[b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WHOLE]],
    "in chunks": [[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n" + DATA + b"\r\n0\r\n\r\n"]],
    "the last of its connection": [[answer(200, DATA, {"Connection": "close"}), CLOSE]],
    "a connection that was closed meanwhile": [[CLOSE], [WHOLE]],
    "a head that breaks off": [[WHOLE[:20], CLOSE], [WHOLE]],
    "a body that breaks off, of a version": [[cut(WHOLE, CUT), 0.05, CLOSE], [rest(CUT)]],
    "a body that breaks off twice": [[cut(WHOLE, CUT), CLOSE], [cut(rest(CUT), CUT), CLOSE], [rest(2 * CUT)]],
    "a body that breaks off, of no version": [[cut(ok(), CUT), CLOSE], [ok()]],
    "not now": [[answer(503, "later")], [WHOLE]],
    "bytes of an earlier answer": [[b"SSH-2.0-OpenSSH_9.2\r\n\r\n", CLOSE], [WHOLE]],
    "the end of an earlier answer": [[b"0\r\n\r\n" + answer(200, "old")], [WHOLE]],
}

FAILED: dict[str, tuple[list[Script], type[Exception], str]] = {
    "missing": ([[answer(404, "<Error><Code>NoSuchKey</Code></Error>")]], s3dlio.ObjectNotFoundError, "bucket/case"),
    "refused": ([[answer(403, "<Error><Code>AccessDenied</Code></Error>")]], s3dlio.PermissionDeniedError, "case"),
    "other bytes": ([[answer(200, content(300_000, 2), CHECKSUM)]], s3dlio.IntegrityError, "case.*CRC32C"),
    "longer than it says": ([[ok(b"1234") + b"5", CLOSE]], s3dlio.S3dlioError, "case.*Content-Length"),
    "not HTTP": ([[b"SSH-2.0-OpenSSH_9.2\r\n\r\n", CLOSE]] * 2, s3dlio.S3dlioError, "case.*status line"),
    "two lengths": (
        [[b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1", CLOSE]],
        s3dlio.S3dlioError,
        "case.*Content-Length",
    ),
    "more than there is memory": (
        [[b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n", CLOSE]],
        s3dlio.S3dlioError,
        "case.*memory",
    ),
    "silence in the body": ([[cut(WHOLE, CUT), 3.0], [3.0], [3.0]], s3dlio.StoreTimeoutError, "case.*no byte"),
    "silence before the head": ([[3.0]] * 2, s3dlio.StoreTimeoutError, "case.*no byte"),
}


@pytest.fixture(autouse=True)
def batched_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs for which a batched read was begun."""
    begun: list[str] = []
    begin = BatchedRead.begin_together

    def noted(engine: Engine, reads: list[BatchedRead], ended: Callable[[list[BatchedRead]], None]) -> None:
        begun.extend(read.uri.text for read in reads)
        begin(engine, reads, ended)

    monkeypatch.setattr(BatchedRead, "begin_together", staticmethod(noted))
    return begun


# After three answers of the same sizes, the next one is received as if it had these sizes, too.
BEFORE = pytest.mark.parametrize("before", [[FIRST], [FIRST] * 3], ids=["", "after answers of one size"])


@BEFORE
@pytest.mark.parametrize("scripts", WHOLE_IN_THE_END.values(), ids=WHOLE_IN_THE_END.keys())
def test_the_object_is_read_whole(scripts: list[Script], before: list[str], batched_reads: list[str]) -> None:
    with scripted(scripts) as server:
        found = s3dlio.get_many([*before, CASE, LAST], 1)
    assert found == [*((FIRST, b"plain") for _ in before), (CASE, DATA), (LAST, b"plain")]
    assert not found[len(before)][1].readonly
    assert batched_reads == [*before, CASE, LAST]
    assert len(server.requests) == len(before) + len(scripts) + 1


@BEFORE
@pytest.mark.parametrize(("scripts", "kind", "message"), FAILED.values(), ids=FAILED.keys())
def test_a_failure_is_returned_and_ends_no_other_read(
    scripts: list[Script], kind: type[Exception], message: str, before: list[str]
) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="0.4", S3DLIO_RETRIES="1")
    with scripted(scripts):
        began = time.monotonic()
        found = s3dlio.get_many([*before, CASE, LAST], 1, return_errors=True)
        assert time.monotonic() - began < 3
    *first, error, last = (result for _, result in found)
    assert [*first, last] == [b"plain"] * (len(before) + 1)
    assert isinstance(error, kind)
    assert re.search(message, str(error))


def test_a_failure_that_is_raised_ends_the_other_reads() -> None:
    gone = answer(404, "<Error><Code>NoSuchKey</Code></Error>")
    with scripted([[0.1, gone]]):
        s3dlio.get_many([FIRST, LAST], 2)  # two connections, for the batched reads that follow
        with pytest.raises(s3dlio.ObjectNotFoundError, match="bucket/case"):
            s3dlio.get_many([CASE, *[FIRST] * 100], 2)


@pytest.mark.parametrize("pieces", [[ok(b"")], [ok(b"")[:20], 0.05, ok(b"")[20:]]], ids=["at once", "in two pieces"])
def test_an_empty_object_is_empty(pieces: Script) -> None:
    with scripted([pieces, pieces]):
        # The first read opens the connection, so it is an ordinary one.
        assert [bytes(data) for _, data in s3dlio.get_many([CASE, CASE, LAST], 1)] == [b"", b"", b"plain"]


def test_connections_are_reused() -> None:
    with scripted([[WHOLE]]) as server:
        s3dlio.get_many([FIRST, CASE, LAST] + [FIRST] * 20, 1)
        assert server.connections == 1


def test_requests_go_to_the_endpoints_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Endpoint] = []
    worked = Endpoint.worked

    def noted(self: Endpoint) -> None:
        chosen.append(self)
        worked(self)

    monkeypatch.setattr(Endpoint, "worked", noted)
    with scripted([]) as one, scripted([]) as other:
        os.environ["S3_ENDPOINT_URIS"] = f"{one.url},{other.url}"
        s3dlio.get_many([FIRST] * 40, 4)
        assert len(one.requests) == len(other.requests) == 20
    assert all(endpoint.in_flight == 0 for endpoint in chosen)


@pytest.mark.parametrize("checked", [False, True], ids=["", "checked"])
@pytest.mark.parametrize("length", [100, 70_000])
def test_objects_of_the_usual_size_and_others_do_not_mix(
    length: int, checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    received_alike = 0
    receive = batched_get._receive_alike

    def noted(connections: Connections, reads: list[BatchedRead], head_size: int, size: int) -> list[int]:
        nonlocal received_alike
        received_alike += len(reads)
        return receive(connections, reads, head_size, size)

    monkeypatch.setattr(batched_get, "_receive_alike", noted)
    draw = random.Random(7)
    objects = {}
    for number in range(400):
        # Mostly objects of one size; some are larger or smaller, and some heads are longer.
        size = length if draw.random() < 0.9 else draw.choice([0, 1, length - 1, length + 1, 3 * length])
        body = content(size, number)
        headers = {"X-Filling": "x" * draw.choice([1, 50])} if draw.random() < 0.1 else {}
        if checked:
            headers["x-amz-checksum-crc32c"] = crc32c_text(crc32c([memoryview(body)]))
        objects[f"s3://bucket/{number}"] = body, answer(200, body, headers)
    with Replay(lambda request: objects[f"s3:/{request.path}"][1]) as server:
        os.environ.update(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
        found = s3dlio.get_many(objects, 4)
        pool.clear()
    assert [uri for uri, data in found if data != objects[uri][0]] == []
    assert received_alike > 100


def test_an_error_of_the_receiver_ends_its_own_call_on_an_event_loop_alone(batched_reads: list[str]) -> None:
    uris = [f"s3://bucket/{number}" for number in range(40)]
    received: list[str] = []

    def refuse(uri: str, _: memoryview) -> None:
        received.append(uri)
        if len(received) > 10:
            raise LookupError(uri)

    async def both() -> tuple[object, object]:
        calls = s3dlio.get_each_async(uris, refuse, 4), s3dlio.get_many_async(uris, 4)
        failed, found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        return failed, found

    with scripted([]):
        failed, found = asyncio.run(both())
    assert isinstance(failed, LookupError)
    assert found == [(uri, b"plain") for uri in uris]
    assert batched_reads
