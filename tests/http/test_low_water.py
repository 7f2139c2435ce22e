# SPDX-License-Identifier: Apache-2.0
"""While much of a body is left, the kernel wakes the client for many bytes only: never for more than will arrive, and
never so late that a slow server looks silent.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest

import s3dlio
from s3dlio.errors import S3dlioError
from s3dlio.http import connection, exchange, receive
from s3dlio.http.connection import LOW_WATER, Connection
from s3dlio.http.pool import pool
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.objects import batched_get as read_module
from s3dlio.runtime.poller import Poller
from tests.behavior.content import content
from tests.http.scripted import CLOSE, Step, scripted
from tests.replay import answer
from tests.required import lacking

FIRST, CASE, LAST = (f"s3://bucket/{name}" for name in ("first", "case", "last"))
DATA = content(4 * LOW_WATER)
HEADERS = {"ETag": '"1"', "Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
CHECKED = {"x-amz-checksum-crc32c": crc32c_text(crc32c([memoryview(DATA)]))}


def _one() -> memoryview:
    return s3dlio.get(CASE)


def _of_a_batch() -> memoryview:
    # The first of them opens the connection: what is read on an open one is a plain request (`objects.batched_get`).
    return s3dlio.get_many([FIRST, CASE, LAST], max_in_flight=1)[1][1]


# How the object is read, and what its answer begins with.
WAYS: dict[str, tuple[Callable[[], memoryview], bytes]] = {
    "one": (_one, answer(206, DATA, HEADERS)),
    "of a batch": (_of_a_batch, answer(200, DATA, {"ETag": '"1"'})),
    "of a batch, checked": (_of_a_batch, answer(200, DATA, {"ETag": '"1"', **CHECKED})),
}
ways = pytest.mark.parametrize(("read", "whole"), WAYS.values(), ids=WAYS.keys())


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is near, however long the machine takes to answer."""
    if LOW_WATER == 1:
        lacking("the kernel cannot be asked to wait for many bytes: run the tests on Linux 4.18 or later")
    monkeypatch.setattr(connection, "NEAR_MICROSECONDS", 1_000_000)


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The low-water marks that were set, in order."""
    asked: list[int] = []
    ask = Connection._set_low_water

    def noted(self: Connection, count: int) -> None:
        asked.append(count)
        ask(self, count)

    monkeypatch.setattr(Connection, "_set_low_water", noted)
    pool.clear()  # of the connections of other tests
    yield asked
    pool.clear()


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The low-water mark is never reset after a silence, so a mark that is too high shows."""
    monkeypatch.setattr(connection, "LOW_WATER_PATIENCE", float("inf"))


def _low_waters() -> list[int]:
    idle = [one for those in pool._idle.values() for one in those]
    return [one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) for one in idle]


@ways
@pytest.mark.usefixtures("no_second_look")
def test_the_mark_is_raised_while_much_is_left_and_reset_for_the_next_request(
    read: Callable[[], memoryview], whole: bytes, marks: list[int]
) -> None:
    body = len(whole) - len(DATA)
    with scripted([[whole[: body + 1000], 0.05, whole[body + 1000 :]]]):
        assert read() == DATA
        assert marks == [LOW_WATER, 1]
        assert _low_waters() == [1]
        assert s3dlio.get(LAST) == b"plain"


@ways
def test_the_mark_is_not_raised_over_a_long_way(
    read: Callable[[], memoryview], whole: bytes, marks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "NEAR_MICROSECONDS", 0)
    body = len(whole) - len(DATA)
    with scripted([[whole[: body + 1000], 0.05, whole[body + 1000 :]]]):
        assert read() == DATA
        assert marks == []


@ways
def test_a_slow_server_is_not_taken_for_a_silent_one(read: Callable[[], memoryview], whole: bytes) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="0.6", S3DLIO_RETRIES="0")
    position = len(whole) - len(DATA) + 1000
    script: list[Step] = [whole[:position]]
    for _ in range(30):  # 1.5 s, and fewer bytes than the kernel is to wake the client for
        script += [0.05, whole[position : position + 1000]]
        position += 1000
    with scripted([[*script, whole[position:]]]):
        assert read() == DATA


@ways
def test_a_server_that_falls_silent_is_given_up_in_time(read: Callable[[], memoryview], whole: bytes) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="0.6", S3DLIO_RETRIES="0")
    with scripted([[whole[: len(whole) - len(DATA) + 1000], 5.0]]):
        began = time.monotonic()
        with pytest.raises(S3dlioError, match=r"no byte moved for 0\.6 s"):
            read()
        assert time.monotonic() - began < 3


@ways
@pytest.mark.usefixtures("no_second_look")
@pytest.mark.parametrize("received", [1000, LOW_WATER + 1000, 3 * LOW_WATER])
def test_the_end_of_a_body_that_is_cut_short_is_noticed_at_once(
    read: Callable[[], memoryview], whole: bytes, received: int
) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="20", S3DLIO_RETRIES="0")
    with scripted([[whole[: len(whole) - len(DATA) + received], 0.05, CLOSE]]):
        began = time.monotonic()
        with pytest.raises(S3dlioError):
            read()
        assert time.monotonic() - began < 10


@ways
@pytest.mark.usefixtures("no_second_look")
@pytest.mark.parametrize("left", [1, LOW_WATER - 1, LOW_WATER, 2 * LOW_WATER - 1, 2 * LOW_WATER, 2 * LOW_WATER + 1])
def test_the_end_of_a_body_is_not_waited_for_as_a_whole(
    read: Callable[[], memoryview], whole: bytes, left: int
) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="2", S3DLIO_RETRIES="0")
    with scripted([[whole[:-left], 0.05, whole[-left:-1], 0.05, whole[-1:]]]):
        assert read() == DATA


@ways
@pytest.mark.parametrize(
    ("at_once", "few", "stays"),
    [
        pytest.param(64 << 20, 16, True, id="on and on"),
        pytest.param(1, 16, False, id="as far as is fair"),
        pytest.param(64 << 20, 0, False, id="not where many wait"),
    ],
)
def test_a_fast_body_is_received_for_a_whole_turn(
    read: Callable[[], memoryview], whole: bytes, at_once: int, few: int, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls = 0
    received: list[int] = []  # how often the poller had been asked by then
    poll, expect = Poller.poll, Connection.expect

    def counted(self: Poller, timeout: float | None = None) -> list[tuple[int, int]]:
        nonlocal polls
        polls += 1
        return poll(self, timeout)

    def noted(self: Connection, left: int) -> None:
        received.append(polls)
        expect(self, left)
        deadline = time.monotonic() + 20
        while left and not _waiting(self) and time.monotonic() < deadline:
            time.sleep(0.001)

    monkeypatch.setattr(receive, "BODY_BYTES_IN_A_TURN", at_once)
    for module in (exchange, read_module):
        monkeypatch.setattr(module, "FEW_IN_FLIGHT", few)
    monkeypatch.setattr(Poller, "poll", counted)
    monkeypatch.setattr(Connection, "expect", noted)
    with scripted([[whole]]):
        assert read() == DATA
    assert len(received) > 1
    assert len(set(received)) == (1 if stays else len(received))


def _waiting(of: Connection) -> int:
    """Bytes that wait in the kernel."""
    return int.from_bytes(fcntl.ioctl(of.fd, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.usefixtures("no_second_look")
def test_the_mark_is_reset_with_tls_too(secure: str, marks: list[int]) -> None:
    os.environ["S3DLIO_GET_PART_MB"] = "2"
    pairs = {f"{secure}/{number}": os.urandom(3_000_000 + number) for number in range(6)}
    s3dlio.put_many(pairs.items())
    assert dict(s3dlio.get_many(pairs, max_in_flight=3)) == pairs
    assert all(s3dlio.get(uri) == data for uri, data in pairs.items())
    assert max(marks) > 1
    assert set(_low_waters()) == {1}
