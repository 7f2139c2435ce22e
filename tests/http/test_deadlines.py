# SPDX-License-Identifier: Apache-2.0
"""Every call ends in bounded time, and each setting that bounds it does what it says."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.errors import S3dlioError, StoreTimeoutError, StoreUnavailableError
from s3dlio.http import resolve
from s3dlio.http.pool import pool
from s3dlio.objects import request
from s3dlio.objects.one_off import fetch
from s3dlio.settings import current
from tests.faults.proxy import Asked, Fault, FaultProxy
from tests.http.conftest import Silent
from tests.http.scripted import Step, scripted
from tests.replay import Replay, answer

_CALLS: dict[str, Callable[[Path], Any]] = {
    "get": lambda _: s3dlio.get("s3://http-tests/object"),
    "get_range": lambda _: s3dlio.get_range("s3://http-tests/object", 5, 5),
    "get_many": lambda _: s3dlio.get_many([f"s3://http-tests/{number}" for number in range(100)]),
    "get_many_iter": lambda _: list(s3dlio.get_many_iter([f"s3://http-tests/{number}" for number in range(100)])),
    "put_bytes": lambda _: s3dlio.put_bytes("s3://http-tests/object", b"x"),
    "put of parts": lambda _: s3dlio.put_bytes("s3://http-tests/object", bytes(40 << 20)),
    "put_many": lambda _: s3dlio.put_many([(f"s3://http-tests/{number}", b"x") for number in range(100)]),
    "list": lambda _: s3dlio.list("s3://http-tests/"),
    "list_iter": lambda _: list(s3dlio.list_iter("s3://http-tests/")),
    "stat": lambda _: s3dlio.stat("s3://http-tests/object"),
    "exists": lambda _: s3dlio.exists("s3://http-tests/object"),
    "is_prefix": lambda _: s3dlio.is_prefix("s3://http-tests/folder"),
    "delete": lambda _: s3dlio.delete("s3://http-tests/object"),
    "delete recursive": lambda _: s3dlio.delete("s3://http-tests/folder", recursive=True),
    "upload": lambda scratch: s3dlio.upload(scratch / "file", "s3://http-tests/object"),
    "download": lambda scratch: s3dlio.download("s3://http-tests/object", scratch / "copy"),
}


def _error_of(call: Callable[[], object]) -> tuple[Exception | None, float]:
    began = time.monotonic()
    try:
        call()
    except Exception as error:
        return error, time.monotonic() - began
    return None, time.monotonic() - began


def _every_call(endpoint: str, scratch: Path) -> dict[str, tuple[Exception | None, float]]:
    os.environ.update(AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="s")
    (scratch / "file").write_bytes(b"x")
    with ThreadPoolExecutor(len(_CALLS)) as executor:
        futures = {name: executor.submit(_error_of, partial(call, scratch)) for name, call in _CALLS.items()}
        return {name: future.result() for name, future in futures.items()}


# Connecting...


def test_an_endpoint_that_refuses_answers_within_three_seconds(refusing: str, tmp_path: Path) -> None:
    for name, (error, took) in _every_call(refusing, tmp_path).items():
        assert isinstance(error, StoreUnavailableError), name
        assert refusing in str(error), name
        assert took < 3, name
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]


def test_an_endpoint_that_never_answers_is_given_up_at_the_connect_timeout(silent: Silent, tmp_path: Path) -> None:
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "0.7"
    for name, (error, took) in _every_call(silent.url, tmp_path).items():
        assert isinstance(error, StoreTimeoutError), name
        assert "no connection within 0.7 s" in str(error), name
        assert 0.7 <= took < 2.5, name


def test_a_server_that_accepts_and_never_speaks_tls_is_given_up_at_the_connect_timeout(bucket: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        os.environ["AWS_ENDPOINT_URL"] = f"https://127.0.0.1:{mute.getsockname()[1]}"
        os.environ["S3DLIO_CONNECT_TIMEOUT"] = "0.5"
        error, took = _error_of(lambda: s3dlio.get(f"{bucket}/object"))
    assert isinstance(error, StoreTimeoutError)
    assert took < 2


def test_refused_connections_are_tried_again_for_as_long_as_the_setting_says(proxy: FaultProxy, bucket: str) -> None:
    proxy.kill()
    os.environ["S3DLIO_CONNECT_RETRY_SECONDS"] = "0"
    error, took = _error_of(lambda: s3dlio.put_bytes(f"{bucket}/refused", b"x"))
    assert isinstance(error, StoreUnavailableError)
    assert "attempt" not in str(error)
    assert took < 1
    os.environ.update(S3DLIO_CONNECT_RETRY_SECONDS="10", S3DLIO_RETRIES="100")
    threading.Timer(0.4, proxy.revive).start()
    s3dlio.put_bytes(f"{bucket}/refused", b"x")
    assert s3dlio.get(f"{bucket}/refused").tobytes() == b"x"


# Names...


@pytest.fixture
def endpoint_by_name() -> Iterator[None]:
    os.environ["AWS_ENDPOINT_URL"] = "http://storage.invalid:9000"
    resolve._answers.clear()
    yield
    resolve._answers.clear()


@pytest.mark.usefixtures("bucket", "endpoint_by_name")
def test_a_slow_resolver_counts_for_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: slow.wait(10) and [])
    os.environ["S3DLIO_CONNECT_TIMEOUT"] = "0.5"
    error, took = _error_of(lambda: s3dlio.get("s3://http-tests/object"))
    slow.set()
    assert isinstance(error, StoreTimeoutError)
    assert took < 2


@pytest.mark.usefixtures("bucket", "endpoint_by_name")
@pytest.mark.parametrize("host", ["storage.invalid", "a" * 70 + ".invalid"])
def test_a_name_without_addresses_is_an_error_that_names_it(host: str) -> None:
    os.environ.update(AWS_ENDPOINT_URL=f"http://{host}:9000", S3DLIO_CONNECT_RETRY_SECONDS="0.5")
    error, took = _error_of(lambda: s3dlio.get("s3://http-tests/object"))
    assert isinstance(error, StoreUnavailableError)
    assert f"cannot resolve the name {host!r}" in str(error)
    assert took < 3


@pytest.mark.usefixtures("endpoint_by_name")
def test_the_next_address_of_a_name_is_tried_when_one_refuses_late(
    proxy: FaultProxy, silent: Silent, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first address drops the first packet, and refuses when the kernel sends it again a second later.
    places = [silent.port, proxy.port]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in places],
    )
    os.environ["AWS_ENDPOINT_URL"] = "http://storage.invalid:9000"
    threading.Timer(0.3, silent.close).start()
    s3dlio.put_bytes(f"{bucket}/second-address", b"x")
    assert proxy.requests["PUT"] == 1


# Answers...


def test_silence_is_given_up_at_the_read_timeout(proxy: FaultProxy, bucket: str) -> None:
    os.environ.update(S3DLIO_READ_TIMEOUT="0.4", S3DLIO_RETRIES="0")
    proxy.choose = lambda _: Fault("stall at once")
    error, took = _error_of(lambda: s3dlio.get(f"{bucket}/object"))
    assert isinstance(error, StoreTimeoutError)
    assert "no byte moved for 0.4 s" in str(error)
    assert 0.4 <= took < 2


@contextmanager
def _dripping(head: bytes) -> Iterator[str]:
    """A server that answers each request with a head at once, and then endlessly with a byte from time to time."""
    listening = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(head)
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                pass  # the client has closed the connection

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=[connection], daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


_DRIPS = {
    "body": b'HTTP/1.1 206 Partial\r\nContent-Length: 999\r\nContent-Range: bytes 0-998/999\r\nETag: "e"\r\n\r\n',
    "body without length": b"HTTP/1.1 200 OK\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
}


@pytest.mark.usefixtures("bucket")
def test_a_head_that_never_ends_is_given_up_at_the_request_timeout() -> None:
    os.environ["S3DLIO_REQUEST_TIMEOUT"] = "0.6"
    with _dripping(b"HTTP/1.1 200 OK\r\nX-Field: ") as os.environ["AWS_ENDPOINT_URL"]:
        error, took = _error_of(lambda: s3dlio.get("s3://http-tests/object"))
    assert isinstance(error, StoreTimeoutError)
    assert "S3DLIO_REQUEST_TIMEOUT" in str(error)
    assert took < 2.5


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("head", _DRIPS.values(), ids=_DRIPS.keys())
def test_a_body_that_drips_is_given_up_at_the_least_rate(
    monkeypatch: pytest.MonkeyPatch, head: bytes, batch: bool
) -> None:
    monkeypatch.setattr(request, "_RATE_SPAN", 0.5)
    os.environ.update(S3DLIO_RETRY_SECONDS="1", S3DLIO_REQUEST_TIMEOUT="20")
    with _dripping(head) as os.environ["AWS_ENDPOINT_URL"]:
        error, took = _error_of(
            lambda: (
                s3dlio.get_many(["s3://http-tests/object"] * 3, max_in_flight=3)
                if batch
                else s3dlio.get("s3://http-tests/object")
            )
        )
    assert isinstance(error, StoreTimeoutError)
    assert "S3DLIO_MIN_RATE (1024 bytes/s)" in str(error)
    assert 0.5 <= took < 6


@pytest.mark.parametrize("head", _DRIPS.values(), ids=_DRIPS.keys())
def test_a_request_that_is_not_for_an_object_is_bounded_including_its_body(head: bytes) -> None:
    with _dripping(head) as url:
        error, took = _error_of(lambda: fetch(current(), "GET", url, source="TEST", total=0.6))
    assert isinstance(error, StoreTimeoutError)
    assert "the answer took longer than 0.6 s" in str(error)
    assert took < 2.5


class Slow:
    """A server that receives and sends bodies in pieces, with a pause before each."""

    def __init__(
        self, pause: float = 0.1, size: int = 2000, pieces: int = 20, form: str = "length", think: float = 0
    ) -> None:
        self._pause, self._think, self._form = pause, think, form
        self._size, self._pieces = size, pieces
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self.received: list[int] = []
        self._executor = ThreadPoolExecutor(16)
        self._ended = threading.Event()

    def __enter__(self) -> Slow:
        url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        os.environ.update(AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="s")
        self._accepting = self._executor.submit(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for served in self._accepting.result():
            served.result()
        self._executor.shutdown()
        pool.clear()

    def _accept(self) -> list[Future[None]]:
        served: list[Future[None]] = []
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return served
            served.append(self._executor.submit(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(10)
            received = b""
            while b"\r\n\r\n" not in received:
                piece = connection.recv(1)
                if not piece:
                    return
                received += piece
            length = re.search(rb"(?i)\r\nContent-Length: (\d+)\r\n", received)
            left = int(length[1]) if length else 0
            while left and not self._ended.wait(self._pause):
                count = len(connection.recv(min(left, self._size)))
                if not count:
                    return
                left -= count
            self.received.append(int(length[1]) if length else 0)
            self._ended.wait(self._think)
            if received.startswith(b"GET"):
                self._answer(connection, b"\r\nRange:" in received)
            else:
                connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n')

    def _answer(self, connection: socket.socket, of_range: bool) -> None:
        whole, chunked = self._size * self._pieces, self._form == "chunks"
        status = f"206 Partial\r\nContent-Range: bytes 0-{whole - 1}/{whole}" if of_range else "200 OK"
        form = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {whole}"
        connection.sendall(f'HTTP/1.1 {status}\r\nETag: "1"\r\nConnection: close\r\n{form}\r\n\r\n'.encode())
        for _ in range(self._pieces):
            if self._ended.wait(self._pause):
                return
            piece = bytes(self._size)
            connection.sendall(b"%x\r\n%s\r\n" % (self._size, piece) if chunked else piece)
        if chunked:
            connection.sendall(b"0\r\n\r\n")


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("form", ["length", "chunks"])
@pytest.mark.parametrize("verb", ["get", "get_many", "get_many_iter"])
def test_a_body_that_flows_may_take_longer_than_the_request_timeout(verb: str, form: str) -> None:
    os.environ.update(S3DLIO_REQUEST_TIMEOUT="0.7", S3DLIO_READ_TIMEOUT="0.6", S3DLIO_RETRIES="0")
    uris = ["s3://http-tests/1", "s3://http-tests/2"]
    with Slow(form=form) as server:
        if verb == "get":
            read = [s3dlio.get(uris[0])]
        else:
            read = [data for _, data in getattr(s3dlio, verb)(uris, max_in_flight=2)]
    assert [data.tobytes() for data in read] == [bytes(40_000)] * len(read)
    assert len(server.received) == len(read)


def test_a_batched_read_that_flows_may_take_longer_than_the_request_timeout() -> None:
    """The connection is open already, as batched reads (`objects.batched_get`) need it."""
    os.environ.update(S3DLIO_REQUEST_TIMEOUT="0.7", S3DLIO_READ_TIMEOUT="0.6", S3DLIO_RETRIES="0")
    head = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 4000\r\n\r\n'
    slow: list[Step] = [head]
    for _ in range(10):
        slow += [0.2, bytes(400)]
    with scripted([slow]) as server:
        uris = ["s3://bucket/first", "s3://bucket/case"]
        assert len(s3dlio.get_many(uris, max_in_flight=1)[1][1]) == 4000
        assert server.connections == 1


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("rate", ["0", "10000"])
def test_the_least_rate_is_the_value_of_the_setting(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    monkeypatch.setattr(request, "_RATE_SPAN", 0.5)
    os.environ.update(S3DLIO_MIN_RATE=rate, S3DLIO_RETRIES="0")
    with Slow(size=500, pieces=12):  # 5,000 bytes/s
        error, _ = _error_of(lambda: s3dlio.get("s3://http-tests/object"))
    assert (error is None) if rate == "0" else ("S3DLIO_MIN_RATE (10000 bytes/s)" in str(error))


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("size", [300_000, 3_000_000])
@pytest.mark.parametrize("verb", ["put_bytes", "put_many"])
def test_an_upload_to_a_slow_server_may_take_longer_than_both_timeouts(verb: str, size: int) -> None:
    """The body lies in the kernel for most of the time. Bytes count when they leave the kernel."""
    os.environ.update(S3DLIO_REQUEST_TIMEOUT="1.5", S3DLIO_READ_TIMEOUT="1", S3DLIO_RETRIES="0")
    data = bytes(size)
    with Slow(pause=0.02, size=size // 150) as server:
        began = time.monotonic()
        if verb == "put_bytes":
            s3dlio.put_bytes("s3://http-tests/object", data)
        else:
            s3dlio.put_many([("s3://http-tests/object", data)])
        assert time.monotonic() - began > 2
    assert server.received == [size]


@pytest.mark.usefixtures("bucket")
def test_an_upload_that_drips_is_given_up_at_the_least_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_RATE_SPAN", 1)
    os.environ.update(S3DLIO_MIN_RATE="1000000", S3DLIO_RETRIES="0")
    with Slow(pause=0.05, size=20_000):
        error, took = _error_of(lambda: s3dlio.put_bytes("s3://http-tests/object", bytes(5_000_000)))
    assert isinstance(error, StoreTimeoutError)
    assert "S3DLIO_MIN_RATE" in str(error)
    assert took < 6


@pytest.mark.usefixtures("bucket")
def test_the_least_rate_does_not_apply_while_a_server_prepares_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_RATE_SPAN", 0.3)
    os.environ.update(S3DLIO_RETRIES="0")
    with Slow(pause=0, size=1_000_000, think=1.5):
        s3dlio.put_bytes("s3://http-tests/object", bytes(100_000))


@pytest.mark.usefixtures("bucket")
def test_a_server_that_does_not_answer_an_upload_is_given_up_at_the_read_timeout() -> None:
    os.environ.update(S3DLIO_RETRIES="0", S3DLIO_READ_TIMEOUT="0.6")
    for call in (s3dlio.put_bytes, lambda uri, data: s3dlio.put_many([(uri, data)])):
        with Slow(pause=0, size=1_000_000, think=8):
            error, took = _error_of(partial(call, "s3://http-tests/object", bytes(100_000)))
        assert isinstance(error, StoreTimeoutError)
        assert "no byte moved for 0.6 s" in str(error)
        assert 0.5 < took < 2


def test_the_request_timeout_holds_for_all_tries_together(proxy: FaultProxy, bucket: str) -> None:
    os.environ.update(S3DLIO_REQUEST_TIMEOUT="1", S3DLIO_READ_TIMEOUT="0.3", S3DLIO_RETRIES="1000")
    proxy.choose = lambda _: Fault("stall at once")
    error, took = _error_of(lambda: s3dlio.get(f"{bucket}/object"))
    assert isinstance(error, StoreTimeoutError)
    assert took < 2.5
    assert proxy.requests["GET"] > 1


# Tries...


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_a_request_is_tried_again_as_often_as_the_setting_says(proxy: FaultProxy, bucket: str, retries: int) -> None:
    os.environ["S3DLIO_RETRIES"] = str(retries)
    proxy.choose = lambda _: Fault("status", 500, "InternalError")
    with pytest.raises(StoreUnavailableError, match="500 InternalError"):
        s3dlio.get(f"{bucket}/object")
    assert proxy.requests["GET"] == retries + 1


def test_tries_end_after_the_retry_seconds(proxy: FaultProxy, bucket: str) -> None:
    os.environ.update(S3DLIO_RETRIES="1000", S3DLIO_RETRY_SECONDS="0.5")
    proxy.choose = lambda _: Fault("status", 503, "SlowDown")
    error, took = _error_of(lambda: s3dlio.get(f"{bucket}/object"))
    assert isinstance(error, StoreUnavailableError)
    assert took < 2
    assert proxy.requests["GET"] > 1


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "seconds"), (503, "date")])
def test_retry_after_is_obeyed(proxy: FaultProxy, bucket: str, status: int, form: str) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"x")
    times: list[float] = []
    # A date has whole seconds: more than one is left of the two that it is ahead.
    ahead = (
        "1" if form == "seconds" else format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
    )

    def choose(_: Asked) -> Fault | None:
        times.append(time.monotonic())
        return Fault("status", status, "SlowDown", f"Retry-After: {ahead}\r\n") if len(times) == 1 else None

    proxy.choose = choose
    assert s3dlio.get(f"{bucket}/object").tobytes() == b"x"
    assert len(times) == 2
    assert times[1] - times[0] >= (1 if form == "seconds" else 0.5)


@pytest.mark.parametrize(
    "asked", ["3", "120", "9" * 400, "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_a_long_wait_that_the_server_asks_for_does_not_end_the_tries(
    proxy: FaultProxy, bucket: str, asked: str
) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"x")
    os.environ["S3DLIO_RETRY_SECONDS"] = "2"
    until = time.monotonic() + 1
    busy = Fault("status", 503, "SlowDown", f"Retry-After: {asked}\r\n")
    proxy.choose = lambda _: busy if time.monotonic() < until else None
    assert s3dlio.get(f"{bucket}/object").tobytes() == b"x"
    if asked != "1e9":  # which has no meaning
        assert proxy.requests["GET"] <= 4


def test_a_wait_that_the_server_asks_for_is_cut_to_the_setting(proxy: FaultProxy, bucket: str) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"x")
    os.environ["S3DLIO_RETRY_AFTER_MAX"] = "0.4"
    faults = iter([Fault("status", 503, "SlowDown", "Retry-After: 3600\r\n")] * 3)
    proxy.choose = lambda _: next(faults, None)
    began = time.monotonic()
    assert s3dlio.get(f"{bucket}/object").tobytes() == b"x"
    assert 0.9 <= time.monotonic() - began < 3


def test_tries_end_in_time_when_the_server_always_asks_for_a_long_wait(proxy: FaultProxy, bucket: str) -> None:
    os.environ.update(S3DLIO_RETRY_SECONDS="1", S3DLIO_RETRIES="1000")
    proxy.choose = lambda _: Fault("status", 503, "SlowDown", "Retry-After: 3600\r\n")
    error, took = _error_of(lambda: s3dlio.get(f"{bucket}/object"))
    assert isinstance(error, StoreUnavailableError)
    assert 0.9 <= took < 3
    assert 3 <= proxy.requests["GET"] < 20


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 529, 530])
@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_status_that_may_pass_is_tried_again(scheme: str, status: int) -> None:
    good = answer(200, b"x", {"ETag": '"1"', "Content-Range": "bytes 0-0/1", "x-goog-generation": "1"})
    good = good.replace(b" 200 ", b" 206 ")
    with Replay([answer(status, "<html>a page</html>"), good]) as server:
        os.environ.update(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="s")
        os.environ.update(GCS_ENDPOINT_URL=server.url, S3DLIO_NO_SIGN="1")
        os.environ.update(
            AZURE_STORAGE_ENDPOINT=server.url, AZURE_STORAGE_ACCOUNT_NAME="a", AZURE_STORAGE_ACCOUNT_KEY="c2VjcmV0"
        )
        assert s3dlio.get(f"{scheme}://bucket/key").tobytes() == b"x"
    pool.clear()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 501, 525, 526])
def test_a_status_that_will_not_pass_is_not_tried_again(proxy: FaultProxy, bucket: str, status: int) -> None:
    proxy.choose = lambda _: Fault("status", status, "Injected")
    with pytest.raises(S3dlioError, match=f"{status} Injected"):
        s3dlio.get(f"{bucket}/object")
    assert proxy.requests["GET"] == 1
