# SPDX-License-Identifier: Apache-2.0
"""A bucket on SeaweedFS, reached directly, by https or through a fault proxy; and servers that say nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

import s3dlio
from s3dlio.http.pool import pool
from tests.faults.proxy import FaultProxy
from tests.servers.base import S3Server


@pytest.fixture
def bucket(seaweedfs: S3Server) -> Iterator[str]:
    """The URI of a bucket, without a final "/", and an environment to reach it."""
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://http-tests")
    yield "s3://http-tests"
    pool.clear()


@pytest.fixture
def secure(seaweedfs_tls: S3Server) -> Iterator[str]:
    """The URI of a bucket that is reached by https, and an environment to reach it."""
    os.environ.update(seaweedfs_tls.environment())
    s3dlio.make_bucket("s3://tls-tests")
    yield "s3://tls-tests"
    pool.clear()


@pytest.fixture
def proxy(bucket: str, seaweedfs: S3Server) -> Iterator[FaultProxy]:
    """A fault proxy in front of the server. The environment names the proxy as the endpoint."""
    assert bucket
    with FaultProxy(seaweedfs.url) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        pool.clear()
        yield proxy
        pool.clear()


@pytest.fixture
def refusing() -> str:
    """The URL of an endpoint on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[Silent]:
    """An endpoint to which no connection can be made, because its queue is full."""
    with Silent() as endpoint:
        yield endpoint


class Silent:
    """A listening socket whose queue is full: the kernel drops further attempts to connect."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._queued: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        for _ in range(8):
            client = socket.socket()
            client.settimeout(0.1)
            self._queued.append(client)
            try:
                client.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return
        raise RuntimeError("the queue of a listening socket does not fill")

    @property
    def url(self) -> str:
        """The URL of this endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Refuse connections from now on."""
        for connection in (*self._queued, self._listening):
            connection.close()

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Answering:
    """A server that gives each connection the next answer after the head of a request, and reads no further."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        pool.clear()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(4096)
            connection.sendall(answer)
