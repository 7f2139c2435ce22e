# SPDX-License-Identifier: Apache-2.0
"""Many threads, and iterators that are abandoned: each thread gets its own data, and nothing is left over."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import s3dlio
from s3dlio.errors import ObjectNotFoundError
from tests.concurrency.conftest import content, descriptors, fill, read_all, threads
from tests.faults.proxy import Fault, FaultProxy
from tests.threads import meanwhile

pytestmark = pytest.mark.timeout(100)


def test_thirty_two_threads_use_every_verb_concurrently() -> None:
    shared = fill("shared", 50)
    barrier = threading.Barrier(32)

    def work(number: int) -> None:
        chance = random.Random(number)
        own = f"s3://concurrency/thread-{number}/object"
        barrier.wait()
        for turn in range(6):
            s3dlio.put_bytes(own, content(f"{own}{turn}"))
            some = chance.sample(shared, 10)
            read_all(some)
            for uri, data in s3dlio.get_many_iter(some, max_in_flight=4):
                assert data.tobytes() == content(uri)
            assert s3dlio.get_range(some[0], 3, 20).tobytes() == content(some[0])[3:23]
            assert s3dlio.get(own).tobytes() == content(f"{own}{turn}")
            assert s3dlio.list(f"s3://concurrency/thread-{number}/") == [own]
        s3dlio.delete(own)
        assert not s3dlio.exists(own)

    with ThreadPoolExecutor(32) as executor:
        for future in [executor.submit(work, number) for number in range(32)]:
            future.result()


def test_batches_of_large_objects_in_several_threads_stay_separate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3DLIO_GET_PART_MB", "1")
    uris = [f"s3://concurrency/large/{number}" for number in range(6)]
    data = {uri: random.Random(uri).randbytes((3 << 20) + number) for number, uri in enumerate(uris)}
    s3dlio.put_many(data.items())

    def work(_: int) -> None:
        for uri, got in s3dlio.get_many(uris, max_in_flight=3):
            assert got.tobytes() == data[uri]
        assert s3dlio.get(uris[0]).tobytes() == data[uris[0]]

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(work, range(4)))


def _drop(reading: object) -> None:
    del reading


def _close(reading: Any) -> None:
    reading.close()


@pytest.mark.parametrize("end", [_drop, _close], ids=["dropped", "closed"])
@pytest.mark.parametrize("taken", [0, 1, 7])
def test_an_abandoned_iterator_leaves_nothing(end: Callable[[object], None], taken: int, proxy: FaultProxy) -> None:
    uris = fill("given-up", 60)
    before = threads()
    for _ in range(5):
        reading = s3dlio.get_many_iter(uris, max_in_flight=16)
        for place in range(taken):
            assert next(reading)[0] == uris[place]
        end(reading)
        del reading
    deadline = time.monotonic() + 5
    while threads() != before:
        assert time.monotonic() < deadline, threads()
        time.sleep(0.01)
    asked = proxy.requests["GET"]
    time.sleep(0.1)
    assert proxy.requests["GET"] == asked  # and nothing continues


def test_a_stalled_iterator_can_be_abandoned_immediately(proxy: FaultProxy) -> None:
    uris = fill("stalled", 20)
    proxy.choose = lambda asked: Fault("stall at once") if asked.target.endswith("/5") else None
    reading = s3dlio.get_many_iter(uris, max_in_flight=8)
    for place in range(5):
        assert next(reading)[0] == uris[place]
    began = time.monotonic()
    reading.close()
    assert time.monotonic() - began < 2
    assert list(reading) == []


def test_an_iterator_that_waits_before_a_retry_can_be_abandoned_immediately(proxy: FaultProxy) -> None:
    uris = fill("waiting", 20)
    proxy.choose = lambda _: Fault("status", 503, "SlowDown", "Retry-After: 50\r\n")
    reading = s3dlio.get_many_iter(uris, max_in_flight=8)
    with meanwhile(lambda: list(reading)) as taken:
        deadline = time.monotonic() + 5
        while not proxy.injected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        began = time.monotonic()
        reading.close()
        assert time.monotonic() - began < 2
    assert taken.result() == []


def test_the_first_failure_of_a_batch_ends_the_rest_and_leaves_the_connections_usable(proxy: FaultProxy) -> None:
    uris = fill("failing", 60)
    before = descriptors()
    for _ in range(5):
        with pytest.raises(ObjectNotFoundError, match="concurrency/failing/missing"):
            s3dlio.get_many([*uris[:20], "s3://concurrency/failing/missing", *uris[20:]], max_in_flight=16)
        read_all(uris)
    assert descriptors() - before <= 64 + proxy.open_connections() * 2


def test_an_error_replaces_only_its_own_object() -> None:
    uris = fill("some-missing", 30)
    wanted = [uri if number % 3 else f"{uri}-missing" for number, uri in enumerate(uris)]
    for number, (uri, got) in enumerate(s3dlio.get_many(wanted, max_in_flight=5, return_errors=True)):
        assert uri == wanted[number]
        if number % 3:
            assert isinstance(got, memoryview)
            assert got.tobytes() == content(uri)
        else:
            assert isinstance(got, ObjectNotFoundError)
