# SPDX-License-Identifier: Apache-2.0
"""Over a short way the kernel holds little of a body that is sent; over a long way as much as it likes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

import s3dlio
from s3dlio.http import connection
from s3dlio.http.pool import pool
from s3dlio.tuning import SEND_BUFFER
from tests.behavior.content import content
from tests.http.scripted import scripted
from tests.required import lacking

LARGE = content(3 * SEND_BUFFER)


@pytest.fixture(autouse=True)
def _in_one_piece() -> Iterator[None]:
    if sys.platform != "linux":
        lacking("how far it is to the server only Linux tells: run the tests on it")
    os.environ["S3DLIO_MULTIPART_THRESHOLD_MB"] = "64"
    pool.clear()  # of the connections of other tests
    yield
    pool.clear()


def _as_new() -> int:
    """The send buffer of an untouched connection, in bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        return client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _as_asked_for() -> int:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        return one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _after_writing(*sizes: int) -> int:
    """The send buffer of a connection after objects of these sizes have been written on it."""
    with scripted([[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]] * len(sizes)) as server:
        for size in sizes:
            s3dlio.put_bytes("s3://bucket/case", LARGE[:size])
        assert server.bodies == [LARGE[:size] for size in sizes]
        ((idle,),) = pool._idle.values()
        return idle.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


@pytest.mark.parametrize("sizes", [(len(LARGE),), (1000, len(LARGE)), (len(LARGE), 1000)])
def test_over_a_short_way_the_buffer_is_bounded_when_much_is_sent(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "NEAR_MICROSECONDS", 1_000_000)
    assert _after_writing(*sizes) == _as_asked_for()


def test_the_buffer_is_not_changed_for_little() -> None:
    assert _after_writing(1000, 1000) == _as_new()


def test_over_a_long_way_the_kernel_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "NEAR_MICROSECONDS", 0)
    assert _after_writing(len(LARGE), len(LARGE)) != _as_asked_for()
