# SPDX-License-Identifier: Apache-2.0
"""HTTP proxies: requests without TLS in absolute form, TLS through CONNECT, and hosts that are reached directly."""

from __future__ import annotations

import base64
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import s3dlio
from s3dlio.errors import ConfigurationError, S3dlioError, StoreUnavailableError
from s3dlio.http.pool import pool
from tests.servers.base import S3Server


class ForwardProxy:
    """An HTTP proxy: opens tunnels, and passes on requests in absolute form unchanged.

    Attributes:
        heads: the first head on each connection.
        answers: the answer to CONNECT, in pieces; the connection ends unless the last piece says 200.
        authorization: the value of Proxy-Authorization that the proxy requires; it answers 407 without it.
    """

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.answers = [b"HTTP/1.1 200 Connection established\r\n\r\n"]
        self.authorization = ""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ForwardProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        pool.clear()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client:
            received = b""
            while b"\r\n\r\n" not in received:
                piece = client.recv(65536)
                if not piece:
                    return
                received += piece
            head = received.split(b"\r\n\r\n")[0].decode("latin-1")
            self.heads.append(head)
            method, target, _ = head.split("\r\n")[0].split(" ")
            if self.authorization and f"\r\nProxy-Authorization: {self.authorization}" not in head:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            if method == "CONNECT":
                for piece in self.answers:
                    client.sendall(piece)
                    time.sleep(0.02)
                if b"200 " not in self.answers[-1]:
                    return
                received = b""
            place = urlsplit(f"//{target}" if method == "CONNECT" else target)
            assert place.hostname is not None
            with socket.create_connection((place.hostname, place.port or 80)) as server:
                server.sendall(received)
                self._relay({client: server, server: client})

    @staticmethod
    def _relay(to: dict[socket.socket, socket.socket]) -> None:
        while True:
            for ready in select.select(list(to), [], [])[0]:
                try:
                    piece = ready.recv(1 << 20)
                    to[ready].sendall(piece)
                except OSError:
                    return
                if not piece:
                    return


@pytest.fixture
def forward() -> Iterator[ForwardProxy]:
    pool.clear()
    with ForwardProxy() as proxy:
        yield proxy


def _round_trip(bucket: str) -> None:
    data = os.urandom(300_000)
    s3dlio.put_bytes(f"{bucket}/by-proxy", data)
    assert s3dlio.get(f"{bucket}/by-proxy").tobytes() == data
    assert f"{bucket}/by-proxy" in s3dlio.list(f"{bucket}/")


@pytest.fixture
def secure(bucket: str, seaweedfs_tls: S3Server) -> str:
    """The URI of the bucket, which the environment reaches by https."""
    os.environ.update(seaweedfs_tls.environment())
    return bucket


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_requests_without_tls_go_to_the_proxy_in_absolute_form(
    bucket: str, seaweedfs: S3Server, forward: ForwardProxy, variable: str
) -> None:
    os.environ[variable] = f"http://127.0.0.1:{forward.port}"
    _round_trip(bucket)
    assert [head.split("\r\n")[0] for head in forward.heads] == [f"PUT {seaweedfs.url}/http-tests/by-proxy HTTP/1.1"]


def test_tls_goes_through_a_tunnel(secure: str, seaweedfs_tls: S3Server, forward: ForwardProxy) -> None:
    os.environ["HTTPS_PROXY"] = f"127.0.0.1:{forward.port}"
    _round_trip(secure)
    place = urlsplit(seaweedfs_tls.url).netloc
    assert [head.split("\r\n")[:2] for head in forward.heads] == [[f"CONNECT {place} HTTP/1.1", f"Host: {place}"]]
    assert "authorization" not in forward.heads[0].lower()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_user_and_password_are_sent_to_the_proxy(
    bucket: str, seaweedfs: S3Server, seaweedfs_tls: S3Server, forward: ForwardProxy, tls: bool
) -> None:
    os.environ.update((seaweedfs_tls if tls else seaweedfs).environment())
    forward.authorization = "Basic " + base64.b64encode(b"user:p@ss word").decode()
    os.environ["HTTPS_PROXY" if tls else "HTTP_PROXY"] = f"http://user:p%40ss%20word@127.0.0.1:{forward.port}"
    _round_trip(bucket)
    assert len(forward.heads) == 1


def test_a_tunnel_that_is_refused_is_an_error_that_names_the_proxy_and_no_secret(
    secure: str, forward: ForwardProxy
) -> None:
    forward.authorization = "Basic what-it-wants"
    os.environ["HTTPS_PROXY"] = f"http://user:secret-word@127.0.0.1:{forward.port}"
    with pytest.raises(StoreUnavailableError, match="407") as failure:
        s3dlio.get(f"{secure}/object")
    assert f"through the proxy 127.0.0.1:{forward.port}" in str(failure.value)
    assert "its user and password" in str(failure.value)
    assert "secret-word" not in str(failure.value)
    assert len(forward.heads) == 1  # another try would get the same answer


def test_a_request_without_tls_that_the_proxy_refuses_is_an_error(bucket: str, forward: ForwardProxy) -> None:
    forward.authorization = "Basic what-it-wants"
    os.environ["HTTP_PROXY"] = f"http://127.0.0.1:{forward.port}"
    with pytest.raises(S3dlioError, match="407 Proxy Authentication Required"):
        s3dlio.get(f"{bucket}/object")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        (b"this is no proxy\r\n\r\n", "the answer of the proxy to CONNECT is not HTTP"),
        (b"", "the proxy closed the connection"),
        (b"HTTP/1.1 1", "the proxy closed the connection"),
    ],
)
def test_a_tunnel_that_cannot_be_opened_is_an_error(
    secure: str, forward: ForwardProxy, answer: bytes, message: str
) -> None:
    os.environ.update(HTTPS_PROXY=f"http://127.0.0.1:{forward.port}", S3DLIO_CONNECT_RETRY_SECONDS="0.3")
    forward.answers = [answer]
    with pytest.raises(StoreUnavailableError, match=message):
        s3dlio.get(f"{secure}/object")


def test_an_interim_answer_is_not_the_tunnel(secure: str, forward: ForwardProxy) -> None:
    forward.answers = [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 ",
        b"200 OK\r\n\r\n",
    ]
    os.environ["HTTPS_PROXY"] = f"http://127.0.0.1:{forward.port}"
    _round_trip(secure)


def test_a_proxy_that_does_not_listen_is_named(bucket: str, refusing: str) -> None:
    os.environ["HTTP_PROXY"] = refusing
    with pytest.raises(StoreUnavailableError, match=f"through the proxy {urlsplit(refusing).netloc}"):
        s3dlio.get(f"{bucket}/object")


@pytest.mark.parametrize("hosts", ["127.0.0.1", "example.com, 127.0.0.1", "*"])
def test_hosts_in_no_proxy_are_reached_directly(bucket: str, forward: ForwardProxy, hosts: str) -> None:
    os.environ.update(HTTP_PROXY=f"http://127.0.0.1:{forward.port}", NO_PROXY=hosts)
    _round_trip(bucket)
    assert forward.heads == []


def test_other_hosts_are_reached_through_the_proxy(bucket: str, forward: ForwardProxy) -> None:
    os.environ.update(HTTP_PROXY=f"http://127.0.0.1:{forward.port}", NO_PROXY="example.com,localhost")
    _round_trip(bucket)
    assert len(forward.heads) == 1


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "http://", "http://127.0.0.1:port"])
def test_a_url_that_is_not_an_http_proxy_is_refused(bucket: str, url: str) -> None:
    os.environ["HTTP_PROXY"] = url
    with pytest.raises(ConfigurationError, match="HTTP_PROXY"):
        s3dlio.get(f"{bucket}/object")
