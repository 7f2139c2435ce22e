# SPDX-License-Identifier: Apache-2.0
"""TLS: certificates are verified against the configured authority; bytes that TLS has read ahead are received."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

import s3dlio
from s3dlio.errors import ConfigurationError, StoreUnavailableError
from s3dlio.http.pool import pool
from s3dlio.http.tls import Stream
from tests.servers import certificates
from tests.servers.base import S3Server


@pytest.fixture
def other_authority(tmp_path: Path) -> Path:
    """An authority that has signed none of the certificates."""
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def test_objects_of_all_sizes_are_read_whole(secure: str) -> None:
    os.environ.update(S3DLIO_GET_PART_MB="1", S3DLIO_PUT_PART_MB="5", S3DLIO_MULTIPART_THRESHOLD_MB="5")
    for size in (0, 1, 8_000, 16_384, 100_000, (5 << 20) + 300_001):
        data = os.urandom(size)
        s3dlio.put_bytes(f"{secure}/object", data)
        assert s3dlio.get(f"{secure}/object").tobytes() == data


def test_large_bodies_of_a_batch_need_no_new_connections(secure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Stream] = []
    init = Stream.__init__

    def noted(self: Stream, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        made.append(self)
        init(self, sock, context, host)

    monkeypatch.setattr(Stream, "__init__", noted)
    pool.clear()  # of the connections of other tests
    pairs = {f"{secure}/large/{number}": os.urandom(1 << 20) for number in range(20)}
    s3dlio.put_many(pairs.items(), max_in_flight=2)
    assert {uri: data.tobytes() for uri, data in s3dlio.get_many(pairs, max_in_flight=2)} == pairs
    assert len(made) == 2


def test_a_batch_shares_its_connections(secure: str) -> None:
    uris = [f"{secure}/batch/{number}" for number in range(60)]
    pool.clear()  # of the connections of other tests
    s3dlio.put_many(((uri, uri.encode() * 500) for uri in uris), max_in_flight=8)
    assert [data.tobytes() for _, data in s3dlio.get_many(uris, max_in_flight=8)] == [
        uri.encode() * 500 for uri in uris
    ]
    assert s3dlio.list(f"{secure}/batch") == sorted(uris)
    assert pool.count() <= 8


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_authority_may_be_named_by_either_variable(secure: str, seaweedfs_tls: S3Server, variable: str) -> None:
    del os.environ["AWS_CA_BUNDLE"]
    os.environ[variable] = str(seaweedfs_tls.ca_file)
    s3dlio.put_bytes(f"{secure}/object", b"x")


@pytest.mark.parametrize("authority", ["another", "the system's"])
def test_a_certificate_of_an_unknown_authority_is_refused_at_once(
    secure: str, other_authority: Path, authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.clear()
    del os.environ["AWS_CA_BUNDLE"]
    if authority == "another":
        os.environ["AWS_CA_BUNDLE"] = str(other_authority)
    connections: list[object] = []
    connect = socket.socket.connect

    def connect_and_count(self: socket.socket, place: tuple[str, int]) -> None:
        connections.append(place)
        connect(self, place)

    monkeypatch.setattr(socket.socket, "connect", connect_and_count)
    with pytest.raises(StoreUnavailableError, match=r"cannot verify the server's cert.*AWS_CA_BUNDLE or SSL_CERT_FILE"):
        s3dlio.get(f"{secure}/object")
    assert len(connections) == 1  # another try would fail the same way


def test_a_certificate_for_another_host_is_refused(secure: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    with _Answering(context, b"") as os.environ["AWS_ENDPOINT_URL"]:
        os.environ["AWS_CA_BUNDLE"] = str(tmp_path / "ca.pem")
        with pytest.raises(StoreUnavailableError, match=r"not valid for '127.0.0.1'.*host name"):
            s3dlio.get(f"{secure}/object")


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "not a certificate"])
def test_a_file_of_authorities_that_cannot_be_used_is_named(secure: str, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    pool.clear()
    os.environ["AWS_CA_BUNDLE"] = str(path)
    with pytest.raises(ConfigurationError, match=r"authorities\.pem.*AWS_CA_BUNDLE"):
        s3dlio.get(f"{secure}/object")
    results = s3dlio.get_many([f"{secure}/one", f"{secure}/two"], return_errors=True)
    assert [type(error) for _, error in results] == [ConfigurationError, ConfigurationError]


_BODY = b"y" * 6_000
_LONG_HEAD = b"HTTP/1.1 206 Partial\r\n" + b"".join(b"X-Field-%d: %s\r\n" % (n, b"v" * 900) for n in range(11))
_FACTS = b'ETag: "e"\r\nLast-Modified: Sun, 22 Nov 2026 20:00:00 GMT\r\n'
_ANSWERS = {
    "a head longer than one receive": _LONG_HEAD
    + _FACTS
    + b"Content-Range: bytes 0-5999/6000\r\nContent-Length: 6000\r\n\r\n"
    + _BODY,
    "a head behind others": b"HTTP/1.1 103 Early Hints\r\nLink: "
    + b"l" * 8_150
    + b"\r\n\r\nHTTP/1.1 206 Partial\r\n"
    + _FACTS
    + b"Content-Range: bytes 0-5999/6000\r\nContent-Length: 6000\r\n\r\n"
    + _BODY,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    + _FACTS
    + b"\r\n"
    + b"".join(b"3e8\r\n" + _BODY[:1_000] + b"\r\n" for _ in range(6))
    + b"0\r\n\r\n",
}


@pytest.mark.usefixtures("secure")
@pytest.mark.parametrize("answer", _ANSWERS.values(), ids=_ANSWERS.keys())
def test_bytes_that_tls_has_read_ahead_are_received_at_once(answer: bytes, tmp_path: Path) -> None:
    # The whole answer is one record, so the socket has only one event.
    assert len(answer) <= 16_384 + 4_096
    made = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    os.environ.update(AWS_CA_BUNDLE=str(made.ca), S3DLIO_READ_TIMEOUT="5", S3DLIO_RETRIES="0")
    with _Answering(context, answer) as os.environ["AWS_ENDPOINT_URL"]:
        assert s3dlio.get("s3://tls-tests/object").tobytes() == _BODY


class _Answering:
    """A TLS server that gives one answer, in as few records as possible, and waits until the client closes."""

    def __init__(self, context: ssl.SSLContext, answer: bytes) -> None:
        self._context = context
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"https://127.0.0.1:{self._listening.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        pool.clear()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(self._answer)
                    connection.recv(1)
            except OSError:
                plain.close()
