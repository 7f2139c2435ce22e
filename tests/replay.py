# SPDX-License-Identifier: Apache-2.0
"""A server that sends the bytes it was given: for answers of real services that no emulator gives.

    with Replay([answer(200, b"content", {"ETag": '"1"'})]) as server:
        ...
        assert server.requests[0].target == "/bucket/key"

Each request is read whole, kept, and answered by the next of the list, or by what a function makes of it. Answers are
bytes and go out unchanged; the connection stays open unless the answer says "Connection: close".
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple


class Received(NamedTuple):
    """A request; the names of header fields are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


Choose = Callable[[Received], bytes]


def answer(status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None, reason: str = "-") -> bytes:
    """An answer with its Content-Length, unless `headers` give one or the transfer is chunked."""
    content = body.encode() if isinstance(body, str) else body
    fields = dict(headers or {})
    if not {"content-length", "transfer-encoding"} & {name.lower() for name in fields}:
        fields["Content-Length"] = str(len(content))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {reason}\r\n{head}\r\n".encode("latin-1") + content


class Replay:
    """The server, in separate threads until the block ends."""

    def __init__(self, answers: Sequence[bytes] | Choose) -> None:
        self.requests: list[Received] = []
        self._left = None if callable(answers) else list(answers)
        self._choose = answers if callable(answers) else None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Replay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        assert kind is not None or not self._left, f"{len(self._left or ())} answers were never requested"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while (line := stream.readline()) not in (b"", b"\r\n"):
                method, target, _ = line.decode("latin-1").split(" ", 2)
                headers = {}
                while (field := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
                    name, _, value = field.partition(":")
                    headers[name.lower()] = value.strip()
                length = int(headers.get("content-length", 0))
                body = stream.read(length)
                if len(body) < length:  # the client has stopped sending and waits for no answer
                    break
                reply = self._reply(Received(method, target, headers, body))
                connection.sendall(reply)
                if re.search(rb"(?i)\r\nconnection: close\r\n", reply):
                    break
        self._open.discard(connection)

    def _reply(self, request: Received) -> bytes:
        with self._lock:
            self.requests.append(request)
            if self._choose is not None:
                return self._choose(request)
            assert self._left is not None
            if not self._left:
                return answer(599, f"no answer was given for {request.method} {request.target}")
            return self._left.pop(0)
