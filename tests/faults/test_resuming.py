# SPDX-License-Identifier: Apache-2.0
"""A body that is cut off continues where it stopped, however often that happens, instead of starting again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import s3dlio
from s3dlio.http.pool import pool
from tests.faults.conftest import Broken, survived
from tests.faults.proxy import Asked, Fault
from tests.replay import Received, Replay, answer

_CUTS = 8


def _next(faults: Iterator[Fault], _: Asked) -> Fault | None:
    return next(faults, None)


@pytest.mark.parametrize("kind", ["cut body", "reset in body"])
def test_a_body_that_is_cut_off_every_time_arrives_all_the_same(
    broken: Broken, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3DLIO_RETRIES", "2")  # from the start again this would be hopeless
    monkeypatch.setenv("S3DLIO_REQUEST_TIMEOUT", "30")
    data = random.Random(kind).randbytes(900_000)
    s3dlio.put_bytes(f"{broken.root}/resumed", data)
    broken.proxy.injected.clear()
    calls: list[Callable[[str], memoryview]] = [
        s3dlio.get,
        lambda uri: s3dlio.get_many([uri], max_in_flight=1)[0][1],
    ]
    for call in calls:
        faults = iter([Fault(kind)] * _CUTS)
        broken.proxy.choose = partial(_next, faults)
        assert call(f"{broken.root}/resumed").tobytes() == data
    assert len(broken.proxy.injected) == 2 * _CUTS
    survived[kind] += len(broken.proxy.injected)


@pytest.mark.parametrize("more", [0, 1, 100])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("batch", [True, False])
def test_a_body_that_is_always_cut_at_the_same_byte_is_given_up(
    monkeypatch: pytest.MonkeyPatch, more: int, ranges: bool, batch: bool
) -> None:
    """Also one that gets a few bytes further each time."""
    monkeypatch.setenv("S3DLIO_RETRIES", "4")
    size, cut, began = 1 << 20, 500_000, time.monotonic()
    tries = 0

    def cut_off(request: Received) -> bytes:
        nonlocal tries
        tries += 1
        first = int(request.headers["range"].split("=")[1].split("-")[0]) if "range" in request.headers else 0
        last = cut + more * tries
        fields = {"ETag": '"1"', "Connection": "close"}
        if ranges and "range" in request.headers:
            fields |= {"Content-Range": f"bytes {first}-{size - 1}/{size}", "Content-Length": str(size - first)}
            return answer(206, bytes(max(0, last - first)), fields)
        return answer(200, bytes(last), fields | {"Content-Length": str(size)})

    with Replay(cut_off) as server:
        for name, value in {"ENDPOINT_URL": server.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "s"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        with pytest.raises(s3dlio.S3dlioError):
            s3dlio.get_many(["s3://bucket/key"], max_in_flight=1) if batch else s3dlio.get("s3://bucket/key")
        assert tries <= 2 * 5 + 1
    assert time.monotonic() - began < 15
    pool.clear()
