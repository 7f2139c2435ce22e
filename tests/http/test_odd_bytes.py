# SPDX-License-Identifier: Apache-2.0
"""Answers with bytes changed, left out, added or repeated at random give a result or an S3dlioError."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

import s3dlio
from s3dlio.http.pool import pool
from tests.behavior.content import content
from tests.replay import Received, Replay, answer

DATA = content(3_000)
ODD = [b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b":", b" ", b"\xff", b"9" * 30, b"-1", b",", b"chunked", b"HTTP/1.1 "]
VALID = [
    answer(200, DATA, {"ETag": '"1"', "x-amz-meta-a": "b"}),
    answer(206, DATA, {"ETag": '"1"', "Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}),
    b'HTTP/1.1 200 OK\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n'
    + DATA
    + b"\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"", {"ETag": '"1"'}),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    answer(503, "<Error><Code>SlowDown</Code></Error>", {"Retry-After": "0"}),
    answer(301, "<Error/>", {"Location": "http://127.0.0.1:1/", "x-amz-bucket-region": "us-east-1"}),
]
VERBS: dict[str, Callable[[], object]] = {
    "get": lambda: s3dlio.get("s3://bucket/k"),
    "get_range": lambda: s3dlio.get_range("s3://bucket/k", 0, 3_000),
    "get_many": lambda: s3dlio.get_many([f"s3://bucket/{number}" for number in range(6)], 2),
    "put": lambda: s3dlio.put_bytes("s3://bucket/k", DATA),
    "put_many": lambda: s3dlio.put_many([(f"s3://bucket/{number}", DATA) for number in range(6)], 2),
    "stat": lambda: s3dlio.stat("s3://bucket/k"),
    "delete": lambda: s3dlio.delete("s3://bucket/k"),
}


def changed(draw: random.Random) -> bytes:
    """One of the valid answers, with some changes, most of them in its head."""
    data = bytearray(draw.choice(VALID))
    for _ in range(draw.choice([0, 1, 1, 2, 5])):
        head = data.find(b"\r\n\r\n") + 8 if draw.random() < 0.8 else len(data)
        at = draw.randrange(max(1, min(head, len(data))))
        kind = draw.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            data[at:at] = draw.choice(ODD)
        elif kind == 2:
            del data[at : at + draw.choice([1, 2, 10])]
        elif kind == 3:
            data[at:at] = data[max(0, at - 20) : at]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_a_call_raises_only_errors_of_this_library(verb: Callable[[], object], seed: int) -> None:
    draw = random.Random(seed)

    def reply(_: Received) -> bytes:
        data = changed(draw)
        # The server closes the connection after the answer, so that the client does not wait for what was cut off.
        return data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) if draw.random() < 0.7 else data

    with Replay(reply) as server:
        os.environ.update(
            AWS_ENDPOINT_URL=server.url,
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
            S3DLIO_RETRIES="1",
            S3DLIO_READ_TIMEOUT="0.1",
        )
        for number in range(60):
            try:
                verb()
            except s3dlio.S3dlioError:
                pass
            except Exception as error:
                raise AssertionError(f"after {number} calls") from error
        pool.clear()
