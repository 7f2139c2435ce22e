# SPDX-License-Identifier: Apache-2.0
"""Names with several addresses: which of them are tried, when, and how callers share the resolver."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

import s3dlio
from s3dlio.errors import StoreTimeoutError, StoreUnavailableError
from s3dlio.http import opening, resolve
from s3dlio.http.pool import pool
from tests.http.conftest import Silent
from tests.processes import ended, in_forked_child
from tests.replay import Replay, answer

Peer = tuple[int, tuple[str, int]]

_NAME = "cluster.invalid"


class Names:
    """A resolver that knows one name.

    Attributes:
        peers: its addresses.
        asked: how often it was asked.
        before: called before each answer.
    """

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.asked = 0
        self.before: Callable[[], object] = lambda: None

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if host != _NAME:
            raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port} is not known")
        self.asked += 1
        self.before()
        return [(family, socket.SOCK_STREAM, 6, "", peer) for family, peer in self.peers]


def _forget() -> None:
    for thread in threading.enumerate():
        if thread.name == "s3dlio-resolve":
            thread.join(5)  # so that its answer does not reach the next test
    resolve._answers.clear()
    opening._avoided.clear()
    pool.clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    os.environ.update(AWS_ENDPOINT_URL=f"http://{_NAME}:9000", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    _forget()
    yield made
    _forget()


@pytest.fixture
def server() -> Iterator[Replay]:
    with Replay(lambda _: answer(200, b"content", {"ETag": '"1"', "Connection": "close"})) as made:
        yield made


def _peer(url: str) -> Peer:
    return socket.AF_INET, ("127.0.0.1", int(url.rpartition(":")[2]))


def _get() -> float:
    """Read an object on a new connection; return the seconds that took."""
    pool.clear()
    began = time.monotonic()
    assert s3dlio.get("s3://bucket/key").tobytes() == b"content"
    return time.monotonic() - began


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _assert_closed(before: int) -> None:
    deadline = time.monotonic() + 2  # a thread of the server, or of the resolver, may be about to end
    while _descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _descriptors() <= before


# The race...


def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second_once(
    names: Names, server: Replay, silent: Silent
) -> None:
    names.peers = [_peer(silent.url), _peer(server.url)]
    opening._avoid(names.peers[1])  # so that the other is the first
    before = _descriptors()
    assert 0.2 < _get() < 1.5
    assert _get() < 0.2  # it was overtaken, and is tried last now
    assert names.asked == 1
    _assert_closed(before)


def test_the_last_of_many_addresses_is_reached_before_the_connect_timeout(names: Names, server: Replay) -> None:
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "2"
    with ExitStack() as stack:
        dead = [stack.enter_context(Silent()) for _ in range(12)]
        names.peers = [*(_peer(one.url) for one in dead), _peer(server.url)]
        opening._avoid(names.peers[-1])
        assert _get() < 1.8


@pytest.mark.parametrize("code", ["refused", "no route", "no family", "no source address"])
def test_an_address_that_fails_at_once_costs_nothing(
    names: Names, server: Replay, refusing: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: Peer = (socket.AF_INET6, ("::1", 9))
    if code == "refused":
        first = _peer(refusing)
    elif code == "no route":
        monkeypatch.setattr(opening, "_attempt", _without(errno.ENETUNREACH))
    elif code == "no family":
        monkeypatch.setattr(opening, "_attempt", _without(errno.EAFNOSUPPORT))
    else:
        monkeypatch.setattr(opening, "_attempt", _without(errno.EADDRNOTAVAIL))
    names.peers = [first, _peer(server.url)]
    opening._avoid(names.peers[1])  # so that the other is the first
    assert _get() < 0.2


def _without(code: int) -> Callable[[Peer], socket.socket]:
    attempt = opening._attempt

    def failing(peer: Peer) -> socket.socket:
        if peer[0] == socket.AF_INET6:
            raise OSError(code, os.strerror(code))
        return attempt(peer)

    return failing


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL])
def test_the_error_for_a_host_whose_addresses_all_fail_names_them(
    names: Names, code: int, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ["S3DLIO_CONNECT_RETRY_SECONDS"] = "0.3"
    monkeypatch.setattr(opening, "_attempt", _without(code))
    names.peers = [(socket.AF_INET6, ("::1", 9)), _peer(refusing), (socket.AF_INET6, ("::2", 9))]
    with pytest.raises(StoreUnavailableError, match="any of 3 addresses") as raised:
        s3dlio.get("s3://bucket/key")
    assert os.strerror(code) in str(raised.value)
    assert "127.0.0.1: Connection refused" in str(raised.value)


def test_an_ip_address_of_a_missing_family_is_an_error(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ.update(AWS_ENDPOINT_URL="http://[::1]:9", S3DLIO_CONNECT_RETRY_SECONDS="0")
    monkeypatch.setattr(opening, "_attempt", _without(errno.EAFNOSUPPORT))
    with pytest.raises(StoreUnavailableError, match="not supported"):
        s3dlio.get("s3://bucket/key")
    assert names.asked == 0


def test_the_connect_timeout_ends_attempts_that_all_hang(names: Names) -> None:
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "0.6"
    before = _descriptors()
    with Silent() as one, Silent() as other:
        names.peers = [_peer(one.url), _peer(other.url)]
        began = time.monotonic()
        with pytest.raises(StoreTimeoutError, match=r"no connection within 0\.6 s"):
            s3dlio.get("s3://bucket/key")
        assert time.monotonic() - began < 2
    _assert_closed(before)


def test_connections_spread_over_the_addresses(names: Names) -> None:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Replay(lambda _: answer(200, b"content", {"ETag": '"1"', "Connection": "close"})))
            for _ in range(4)
        ]
        names.peers = [_peer(one.url) for one in servers]
        for _ in range(12):
            _get()
        assert [len(one.requests) for one in servers] == [3, 3, 3, 3]


def test_families_alternate_and_the_first_of_the_system_leads() -> None:
    six: list[resolve.SocketAddress] = [(socket.AF_INET6, (f"::{n}", 1)) for n in range(3)]
    four: list[resolve.SocketAddress] = [(socket.AF_INET, (f"127.0.0.{n}", 1)) for n in range(2)]
    found = resolve.Addresses([*six, *four, six[0]])
    firsts = set()
    for _ in range(6):
        order = found.in_turn()
        assert sorted(order) == sorted([*six, *four])
        assert [family for family, _ in order[:4]] == [socket.AF_INET6, socket.AF_INET] * 2
        firsts.add(order[0])
    assert firsts == set(six)


@contextmanager
def _accepting(then: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that accepts connections and does one thing with each."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as executor:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listening.accept()[0])
                    then(accepted[-1])

        done = executor.submit(accept)
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            done.result()
            for connection in accepted:
                connection.close()


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("hangs", [False, True])
def test_after_a_failed_handshake_the_next_try_uses_another_address(
    names: Names, refusing: str, hangs: bool, proxied: bool
) -> None:
    # The second address refuses: the test is that it was tried.
    os.environ.update(S3DLIO_CONNECT_TIMEOUT="0.5", S3DLIO_CONNECT_RETRY_SECONDS="0.5")
    os.environ["AWS_ENDPOINT_URL"] = "https://127.0.0.1:9" if proxied else f"https://{_NAME}:9000"
    if proxied:
        os.environ["HTTPS_PROXY"] = f"http://{_NAME}:9000"
    count = 0

    def note(connection: socket.socket) -> None:
        nonlocal count
        count += 1
        if not hangs:
            connection.close()

    with _accepting(note) as url:
        names.peers = [_peer(url), _peer(refusing)]
        for _ in range(2):  # each of the two is first once
            with pytest.raises((StoreUnavailableError, StoreTimeoutError)):
                s3dlio.get("s3://bucket/key")
    assert count
    assert {peer for peer in names.peers if opening._is_avoided(peer)} == set(names.peers)


# The resolver...


def test_a_batch_without_connections_resolves_its_name_once(names: Names, server: Replay) -> None:
    names.peers = [_peer(server.url)]
    names.before = lambda: time.sleep(0.1)
    uris = [f"s3://bucket/{number}" for number in range(300)]
    assert len(s3dlio.get_many(uris, max_in_flight=100)) == 300
    assert names.asked == 1


def test_threads_share_one_resolution_and_its_failure(names: Names) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    asking = threading.Event()

    def fail() -> None:
        asking.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    names.before = fail
    before = _descriptors()
    with ThreadPoolExecutor(8) as executor:
        futures = [executor.submit(s3dlio.get, f"s3://bucket/{number}") for number in range(8)]
        time.sleep(0.3)
        asking.set()
        for future in futures:
            assert "Temporary failure" in str(future.exception())
    assert names.asked == 1
    assert not resolve._open
    _assert_closed(before)


def test_a_temporary_failure_of_the_resolver_is_retried(names: Names, server: Replay) -> None:
    until = time.monotonic() + 0.8

    def fail() -> None:
        if time.monotonic() < until:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    names.peers, names.before = [_peer(server.url)], fail
    _get()
    assert names.asked < 10


def test_a_name_is_resolved_again_while_a_first_resolution_hangs(
    names: Names, server: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_JOINED", 0.2)
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "0.4"
    hanging = threading.Event()
    names.peers = [_peer(server.url)]
    names.before = lambda: names.asked == 1 and hanging.wait(20)
    with pytest.raises(StoreTimeoutError, match="no connection"):
        s3dlio.get("s3://bucket/key")
    assert _get() < 0.4
    hanging.set()


def test_a_fork_while_a_name_is_resolved(names: Names, server: Replay) -> None:
    asked, proceed = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        proceed.wait(20)

    names.peers, names.before = [_peer(server.url)], wait

    reading, writing = os.pipe()

    def get() -> None:
        _get()
        os.write(writing, b"x")

    def in_child() -> None:
        names.before = lambda: None
        _get()
        # This process still holds copies of the parent's sockets, which must not keep the parent's waiter from waking.
        assert select.select([reading], [], [], 5)[0]

    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(get)
        assert asked.wait(5)
        timer = threading.Timer(0.5, proceed.set)
        timer.start()
        in_forked_child(in_child)
        timer.join()
        future.result(5)
    os.close(reading)
    os.close(writing)


def test_a_fork_while_addresses_race(names: Names, server: Replay) -> None:
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "1.5"
    with Silent() as one, Silent() as other, ThreadPoolExecutor(1) as executor:
        names.peers = [_peer(one.url), _peer(other.url)]
        future = executor.submit(s3dlio.get, "s3://bucket/key")
        deadline = time.monotonic() + 5
        while not any(len(racing._attempts) == 2 for racing in list(opening._all)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

        def in_child() -> None:
            assert not list(opening._all)
            names.peers = [_peer(server.url)]
            _get()

        in_forked_child(in_child)
        assert "no connection within 1.5 s" in str(future.exception(5))


def test_a_fork_of_the_thread_whose_addresses_race(names: Names, server: Replay) -> None:
    """The child leaves the call by an exception, and makes another call."""
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "1.5"

    class Forked(Exception):
        pass

    def fork(*_: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        child.append(os.fork())
        if not child[0]:
            raise Forked

    child: list[int] = []
    with Silent() as one, Silent() as other:
        names.peers = [_peer(one.url), _peer(other.url)]
        before = signal.signal(signal.SIGALRM, fork)
        signal.setitimer(signal.ITIMER_REAL, 0.7)
        try:
            s3dlio.get("s3://bucket/key")
        except Forked:
            status = 1
            try:
                names.peers = [_peer(server.url)]
                opening._avoided.clear()
                _get()
                status = 0
            finally:
                os._exit(status)
        except StoreTimeoutError:
            assert ended(child[0]) == 0
        finally:
            signal.signal(signal.SIGALRM, before)
