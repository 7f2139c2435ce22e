# SPDX-License-Identifier: Apache-2.0
"""Several endpoints of one service: shares of the requests, rests after failures, and calls that survive them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

import s3dlio
from s3dlio.errors import ConfigurationError, StoreUnavailableError
from s3dlio.http import endpoints as endpoints_module
from s3dlio.http.address import Address
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.pool import pool
from s3dlio.stores.s3.service import process_number
from tests.faults.proxy import Asked, Fault, FaultProxy
from tests.http.conftest import Silent
from tests.servers.base import S3Server

# Choosing...


class Clock:
    """The clock of `endpoints`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(endpoints_module, "time", clock)
    return clock


def _three(strategy: str = "round_robin") -> Endpoints:
    return Endpoints([Endpoint(Address(False, "127.0.0.1", port)) for port in (1, 2, 3)], strategy)


def _chosen(endpoints: Endpoints, times: int) -> Counter[int]:
    return Counter(endpoints.choose().address.port for _ in range(times))


def test_round_robin_gives_each_endpoint_the_same_share() -> None:
    assert _chosen(_three(), 300) == {1: 100, 2: 100, 3: 100}


def test_least_connections_chooses_the_endpoint_with_the_fewest_requests() -> None:
    endpoints = _three("least_connections")
    for in_flight, endpoint in zip((2, 1, 5), endpoints.all, strict=True):
        endpoint.in_flight = in_flight
    for _ in range(5):
        endpoints.choose().in_flight += 1
    assert [endpoint.in_flight for endpoint in endpoints.all] == [4, 4, 5]


def test_an_endpoint_that_fails_rests_for_a_time_that_grows(clock: Clock) -> None:
    endpoints = _three()
    failing = endpoints.all[0]
    pauses = []
    for _ in range(10):
        failing.failed()
        began = clock.now
        while endpoints.all[0] not in [endpoints.choose() for _ in range(3)]:
            clock.now += 0.05
        pauses.append(clock.now - began)
    assert 0.3 < pauses[0] < 0.6
    assert all(later > 1.2 * earlier for earlier, later in pairwise(pauses[:6]))
    assert max(pauses) < 31


def test_requests_that_fail_together_count_as_one_failure(clock: Clock) -> None:
    endpoints = _three()
    for _ in range(50):
        endpoints.all[0].failed()
    clock.now += 0.55
    assert _chosen(endpoints, 30)[1] == 10


def test_a_rested_endpoint_gets_one_request_and_then_its_share(clock: Clock) -> None:
    endpoints = _three()
    back = endpoints.all[0]
    back.failed()
    clock.now += 1
    back.in_flight += 1  # the one it is tried with
    assert _chosen(endpoints, 30)[1] == 0
    back.worked()
    assert _chosen(endpoints, 30)[1] == 10


def test_a_request_that_failed_goes_to_another_endpoint() -> None:
    endpoints = _three()
    for _ in range(20):
        assert endpoints.choose(avoid=endpoints.all[1]) is not endpoints.all[1]


def test_with_no_healthy_endpoint_the_one_whose_rest_ends_first_is_chosen(clock: Clock) -> None:
    endpoints = _three()
    for endpoint in (endpoints.all[1], endpoints.all[0], endpoints.all[2]):
        clock.now += 0.13  # more than what chance takes from a pause
        endpoint.failed()
    assert not endpoints.others_healthy(endpoints.all[0])
    assert endpoints.choose() is endpoints.all[1]


# The setting...


@pytest.mark.parametrize(
    "places",
    [
        "http://127.0.0.1:1,,http://127.0.0.1:2",
        "http://127.0.0.1:1, nonsense",
        "http://127.0.0.1:99999",
        "ftp://127.0.0.1",
        "http://user:secret@127.0.0.1",
        "http://",
        ",",
    ],
)
def test_a_malformed_list_is_an_error_that_names_it(seaweedfs: S3Server, places: str) -> None:
    os.environ.update({**seaweedfs.environment(), "S3_ENDPOINT_URIS": places})
    with pytest.raises(ConfigurationError, match="S3_ENDPOINT_URIS") as failure:
        s3dlio.get("s3://bucket/key")
    assert "secret" not in str(failure.value)


def test_an_unknown_strategy_is_an_error_that_names_it(seaweedfs: S3Server) -> None:
    os.environ.update({**seaweedfs.environment(), "S3_LOAD_BALANCE_STRATEGY": "fastest"})
    with pytest.raises(ConfigurationError, match=r"S3_LOAD_BALANCE_STRATEGY='fastest'.*round_robin or least_conn"):
        s3dlio.get("s3://bucket/key")


# Three proxies before one server...


@pytest.fixture
def proxies(seaweedfs: S3Server) -> Iterator[list[FaultProxy]]:
    """Three endpoints of the same service, and an environment that names them."""
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://endpoints")
    with ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(seaweedfs.url)) for _ in range(3)]
        _use(proxies)
        yield proxies
        pool.clear()


def _use(proxies: list[FaultProxy], strategy: str = "round_robin") -> None:
    os.environ["S3_ENDPOINT_URIS"] = ", ".join(proxy.url for proxy in proxies)
    os.environ["S3_LOAD_BALANCE_STRATEGY"] = strategy


def _shares(proxies: list[FaultProxy], before: list[int] | None = None) -> list[int]:
    return [sum(proxy.requests.values()) - earlier for proxy, earlier in zip(proxies, before or [0, 0, 0], strict=True)]


def _uris(count: int) -> list[str]:
    return [f"s3://endpoints/{number}" for number in range(count)]


def _content(uri: str) -> bytes:
    return uri.encode() * 100


@pytest.mark.parametrize("strategy", ["round_robin", "least_connections"])
def test_a_batch_is_spread_evenly(proxies: list[FaultProxy], strategy: str) -> None:
    _use(proxies, strategy)
    s3dlio.put_many((uri, _content(uri)) for uri in _uris(300))
    assert [data.tobytes() for _, data in s3dlio.get_many(_uris(300))] == [_content(uri) for uri in _uris(300)]
    for share in _shares(proxies):
        # Requests in flight depend on the speed of the answers, which on a busy machine differs for a while.
        assert share == pytest.approx(200, rel=0.05 if strategy == "round_robin" else 0.3)


def test_single_calls_are_spread(proxies: list[FaultProxy]) -> None:
    s3dlio.put_bytes("s3://endpoints/one", b"x")
    for call in (
        lambda: s3dlio.get("s3://endpoints/one"),
        lambda: s3dlio.get_range("s3://endpoints/one", 0, 1),
        lambda: s3dlio.stat("s3://endpoints/one"),
        lambda: s3dlio.exists("s3://endpoints/one"),
        lambda: s3dlio.list("s3://endpoints/nothing"),
        lambda: s3dlio.put_bytes("s3://endpoints/one", b"x"),
        lambda: s3dlio.delete("s3://endpoints/nothing"),
    ):
        before = _shares(proxies)
        for _ in range(6):
            call()
        assert _shares(proxies, before) == [2, 2, 2]


def test_least_connections_gives_less_to_a_slow_endpoint(proxies: list[FaultProxy]) -> None:
    _use(proxies, "least_connections")
    s3dlio.put_bytes("s3://endpoints/one", b"x")
    proxies[0].choose = lambda _: Fault("delay")
    before = _shares(proxies)
    s3dlio.get_many(["s3://endpoints/one"] * 300, max_in_flight=12)
    shares = _shares(proxies, before)
    assert shares[0] < min(shares[1:]) / 2


def test_no_call_fails_while_an_endpoint_is_killed_and_revived(proxies: list[FaultProxy]) -> None:
    # Each batch starts with all three; one is killed during the batch, and revived.
    gets, puts, different = 2_000, 500, 200
    s3dlio.put_many((uri, _content(uri)) for uri in _uris(different))
    for work in ("get", "put"):
        pulse = _Pulse(proxies[1], kill_after=(gets if work == "get" else puts) // 9)
        if work == "get":
            uris = _uris(different) * (gets // different)
            got = s3dlio.get_many(uris, max_in_flight=32)
            assert [uri for uri, _ in got] == uris
            assert all(data.tobytes() == _content(uri) for uri, data in got)
        else:
            s3dlio.put_many(((f"{uri}/new", _content(uri)) for uri in _uris(puts)), max_in_flight=32)
        pulse.join()
        assert pulse.killed
        _wait_until_tried_again(proxies)
    read = s3dlio.get_many([f"{uri}/new" for uri in _uris(puts)])
    assert [data.tobytes() for _, data in read] == [_content(uri) for uri in _uris(puts)]


class _Pulse(threading.Thread):
    """Kills a proxy after some requests, and revives it soon after."""

    def __init__(self, proxy: FaultProxy, kill_after: int) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._left = kill_after
        self._reached = threading.Event()
        self.killed = False
        proxy.choose = self._count
        self.start()

    def _count(self, _: Asked) -> None:
        self._left -= 1
        if self._left <= 0:
            self._reached.set()

    def run(self) -> None:
        if self._reached.wait(60):
            self._proxy.choose = lambda _: None
            self._proxy.kill()
            self.killed = True
            time.sleep(0.3)
            self._proxy.revive()


def _wait_until_tried_again(proxies: list[FaultProxy]) -> None:
    """Read until the endpoint that was killed has its share again."""
    deadline = time.monotonic() + 20
    while True:
        before = _shares(proxies)
        s3dlio.get_many(_uris(60))
        shares = _shares(proxies, before)
        if all(share == pytest.approx(20, abs=1) for share in shares):
            return
        assert time.monotonic() < deadline, shares
        time.sleep(0.1)


@pytest.mark.parametrize("fault", [Fault("status", 503, "SlowDown"), Fault("reset at once")], ids=lambda of: of.kind)
def test_an_endpoint_that_fails_gets_few_requests_and_no_call_fails(proxies: list[FaultProxy], fault: Fault) -> None:
    os.environ["S3DLIO_RETRIES"] = "2"
    s3dlio.put_many((uri, _content(uri)) for uri in _uris(100))
    proxies[2].choose = lambda _: fault
    before = _shares(proxies)
    for _ in range(3):
        got = s3dlio.get_many(_uris(100), max_in_flight=4)
        assert all(data.tobytes() == _content(uri) for uri, data in got)
    assert _shares(proxies, before)[2] < 20


def _exchanged(proxies: list[FaultProxy]) -> list[tuple[int, int]]:
    """Requests and bytes of each endpoint since the process began: an earlier test may have had the same port."""
    none_yet = endpoints_module.Traffic()
    totals = [endpoints_module.traffic.get(proxy.url, none_yet) for proxy in proxies]
    return [(total.requests, total.bytes) for total in totals]


def test_requests_and_bytes_of_each_endpoint_are_counted(proxies: list[FaultProxy]) -> None:
    before = _exchanged(proxies)

    def exchanged() -> list[tuple[int, int]]:
        return [(now[0] - then[0], now[1] - then[1]) for now, then in zip(_exchanged(proxies), before, strict=True)]

    s3dlio.put_many((uri, _content(uri)) for uri in _uris(30))
    written = sum(len(_content(uri)) for uri in _uris(30))
    assert [requests for requests, _ in exchanged()] == _shares(proxies)
    assert sum(moved for _, moved in exchanged()) == written
    proxies[0].choose = lambda _: Fault("reset at once")
    read = sum(len(data) for _, data in s3dlio.get_many(_uris(30)))
    assert sum(requests for requests, _ in exchanged()) > 60
    assert sum(moved for _, moved in exchanged()) == written + read


def test_an_endpoint_that_accepts_no_connection_costs_a_single_wait(proxies: list[FaultProxy]) -> None:
    s3dlio.put_many((uri, _content(uri)) for uri in _uris(50))
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "0.5"
    with Silent() as silent:
        os.environ["S3_ENDPOINT_URIS"] = f"{silent.url},{proxies[0].url}"
        began = time.monotonic()
        for uri in _uris(50):
            assert s3dlio.get(uri).tobytes() == _content(uri)
        assert time.monotonic() - began < 3


def test_without_any_endpoint_the_error_comes_within_three_seconds(proxies: list[FaultProxy]) -> None:
    for proxy in proxies:
        proxy.kill()
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        s3dlio.get("s3://endpoints/one")
    assert time.monotonic() - began < 3


# Places in a job...


def test_each_rank_starts_at_another_endpoint(proxies: list[FaultProxy]) -> None:
    s3dlio.put_bytes("s3://endpoints/one", b"x")
    before = _shares(proxies)
    program = "import s3dlio; s3dlio.get('s3://endpoints/one')"
    ranks = [
        subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "OMPI_COMM_WORLD_RANK": str(rank)})
        for rank in range(3)
    ]
    assert [rank.wait(60) for rank in ranks] == [0, 0, 0]
    assert _shares(proxies, before) == [1, 1, 1]


def _read_one(_: Any) -> int:
    time.sleep(0.2)  # so that each worker gets one
    return len(s3dlio.get("s3://endpoints/one"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_each_worker_starts_at_another_endpoint_even_after_its_parent(proxies: list[FaultProxy]) -> None:
    s3dlio.put_bytes("s3://endpoints/one", b"x")
    before = _shares(proxies)
    with multiprocessing.get_context("fork").Pool(3) as workers:
        assert workers.map(_read_one, range(3), chunksize=1) == [1, 1, 1]
    assert _shares(proxies, before) == [1, 1, 1]


def test_children_of_a_plain_fork_start_at_different_endpoints() -> None:
    reader, writer = os.pipe()
    for _ in range(20):
        child = os.fork()
        if not child:
            os.write(writer, bytes([process_number() % 3]))
            os._exit(0)
        os.waitpid(child, 0)
    assert set(os.read(reader, 20)) == {0, 1, 2}
    os.close(reader)
    os.close(writer)
