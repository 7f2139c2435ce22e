# SPDX-License-Identifier: Apache-2.0
"""A server that answers requests for an object named "case" by a script: bytes are sent, seconds waited, at most until
the connection is closed; and those for others at once, with 200.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from s3dlio.http.pool import pool
from tests.replay import answer
from tests.servers.certificates import Certificate

CLOSE = "close the connection"
RESET = "break the connection, as a server does that was killed"
EARLY = "begin before the request's body has come"
BODY = "receive the body, after EARLY"
LATER = "wait for `send_rest`"
Step = bytes | float | str
# The steps that answer one request.
Script = Sequence[Step]


class Endless(bytes):
    """Bytes that are sent again and again until the client closes the connection."""


class Scripted:
    """The server. Each script answers one request for the case, in order."""

    def __init__(self, scripts: Sequence[Script], certificate: Certificate | None = None) -> None:
        self._scripts = list(scripts)
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._ended = threading.Event()
        self._go = threading.Event()
        self._went = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.chain, certificate.key)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def send_rest(self) -> None:
        """Continue the script that waits at LATER; returns when all its bytes have arrived at the client."""
        self._go.set()
        assert self._went.wait(30)
        time.sleep(0.01)  # the kernel may deliver bytes a moment after they were sent

    def close(self) -> None:
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self, connection: socket.socket) -> None:
        if self._context is not None:
            try:
                connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:  # the client has closed the connection
                connection.close()
                return
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        return
                    head += line
                self.requests.append(head.decode())
                script: Script = [answer(200, b"plain" if head.startswith(b"GET") else b"")]
                if re.search(rb"/case[ ?]", head):
                    script = self._scripts.pop(0) if self._scripts else [answer(599, "asked too often")]
                length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
                if EARLY not in script:
                    self.bodies.append(stream.read(int(length[1]) if length else 0))
                for step in script:
                    if isinstance(step, Endless):
                        while not self._ended.is_set():
                            connection.sendall(step)
                    elif isinstance(step, bytes):
                        connection.sendall(step)
                    elif isinstance(step, float):
                        self._ended.wait(step)
                    elif step is LATER:
                        self._go.wait(30)
                    elif step is BODY:
                        self.bodies.append(stream.read(int(length[1]) if length else 0))
                    elif step is CLOSE:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    elif step is RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                if LATER in script:
                    self._went.set()


@contextmanager
def scripted(scripts: Sequence[Script], certificate: Certificate | None = None) -> Iterator[Scripted]:
    """The server, as the S3 endpoint that the environment names; with TLS if there is a certificate."""
    server = Scripted(scripts, certificate)
    if certificate is not None:
        os.environ["AWS_CA_BUNDLE"] = str(certificate.ca)
    os.environ.update(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield server
    finally:
        pool.clear()
        server.close()
