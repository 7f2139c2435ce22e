# SPDX-License-Identifier: Apache-2.0
"""Answers in the forms that S3 documents, and AWS behind a proxy, for tests.

No name is resolved: a request for AWS goes to `Aws`, which is set as the HTTPS proxy, ends the TLS inside and answers
from a list. So the tests can assert the address that the request would have been sent to.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import trustme

from tests.replay import Received, Replay, answer

_REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "cn-north-1")


def error(status: int, code: str, more: str = "", headers: dict[str, str] | None = None) -> bytes:
    """An error as ErrorResponses.html shows it."""
    return answer(status, error_body(code, more), {"Content-Type": "application/xml", **(headers or {})})


def error_body(code: str, more: str = "") -> str:
    """The body of an error."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>As documented.</Message>{more}'
        "<RequestId>656c76696e6727732072657175657374</RequestId><HostId>Uuag1LuByRx9e6j5Onimr</HostId></Error>"
    )


def chunked(*pieces: str) -> bytes:
    """An answer of 200 in chunks, as S3 sends it while it is still at work."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (head + "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces) + "0\r\n\r\n").encode()


def xml(name: str, content: str) -> str:
    """A result document."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{content}</{name}>"
    )


def use(server: Replay) -> None:
    """Make a server the endpoint."""
    os.environ.update(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")


@cache
def _tls() -> tuple[trustme.CA, ssl.SSLContext]:
    """An authority, and a server that has its certificate for the hosts of AWS."""
    authority = trustme.CA()
    names = [f"s3.{region}.amazonaws.com" for region in _REGIONS]
    names += [f"*.{name}" for name in names]
    names += [f"{name}.cn" for name in names]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return authority, context


class Aws(Replay):
    """AWS, as seen through an HTTPS proxy. `hosts` are those that were asked for, a port other than 443 included."""

    def __init__(self, answers: Sequence[bytes] | Callable[[Received], bytes], folder: Path) -> None:
        super().__init__(answers)
        self.hosts: list[str] = []
        authority, self._context = _tls()
        ca_file = folder / f"{self.url.rpartition(':')[2]}.pem"  # a file of its own: each name is read only once
        authority.cert_pem.write_to_path(ca_file)
        os.environ.update(
            HTTPS_PROXY=self.url,
            AWS_CA_BUNDLE=str(ca_file),
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
        )

    def __enter__(self) -> Aws:
        super().__enter__()
        return self

    def _serve(self, connection: socket.socket) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            piece = connection.recv(1)
            if not piece:
                return
            asked += piece
        method, host, _ = asked.decode().split(" ", 2)
        assert method == "CONNECT"
        self.hosts.append(host.removesuffix(":443"))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        super()._serve(self._context.wrap_socket(connection, server_side=True))


def damaging(url: str, *, up: bool = False, down: bool = False) -> Callable[[Received], bytes]:
    """What `Replay` is to answer as a way to a real server on which one bit of every content is lost.

    Args:
        url: the real server.
        up: damage uploads.
        down: damage downloads.
    """
    host = url.removeprefix("http://")

    def choose(request: Received) -> bytes:
        body = _damaged(request.body) if up and request.method == "PUT" else request.body
        connection = http.client.HTTPConnection(host, timeout=20)
        try:
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        fields = {name: value for name, value in reply.getheaders() if name.lower() != "transfer-encoding"}
        return answer(reply.status, _damaged(content) if down and request.method == "GET" else content, fields)

    return choose


def _damaged(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1]) if content else content
