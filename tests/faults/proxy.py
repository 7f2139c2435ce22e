# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of a real server that injects faults.

The proxy runs in a thread of the test, with its own event loop. It understands just enough HTTP to separate requests:
it reads each one, asks `choose` for a fault (None: no fault), and relays or damages the answer of the real server.
Requests go out unchanged, Host included, so that signatures stay right. Positions within bodies come from a random
generator with a seed.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding:[ \t]*chunked")
_PAUSE = 0.02  # seconds between two pieces of a trickle
_MOST_LOOKED_AT = 65536
_TURNS_OF_ACCEPTING = 4  # of the loop, from a connection's being accepted to the first step of its task

_IN_UPLOAD = {"reset in upload", "stall in upload", "refuse early"}
_BEFORE = {
    "reset at once", "close at once", "stall at once", "delay", "garbage head", "endless 1xx", "status", *_IN_UPLOAD,
}  # fmt: skip
_IN_BODY = {"reset after head", "reset in body", "cut body", "stall in body", "longer length", "shorter length"}
KINDS = _BEFORE | {"lost answer", "reset in head", "trickle", "1xx", "close after", *_IN_BODY}


class Fault(NamedTuple):
    """What is to go wrong with a request.

    Attributes:
        kind: one of `KINDS`.
        status: for "status" and "refuse early".
        code: the error's code in the body that goes with it.
        fields: more lines of that answer's head.
    """

    kind: str
    status: int = 0
    code: str = ""
    fields: str = ""


class Asked(NamedTuple):
    """A request, as `choose` sees it; `body` is empty where it is long."""

    method: str
    target: str
    length: int
    body: bytes


class _Over(Exception):
    """The connection is done with."""


class FaultProxy:
    """Forwards to one server, with faults.

    Attributes:
        url: the endpoint to use.
        requests: how many were received, by method.
        injected: the requests that met a fault, where it could take effect: a body must be there to be cut.
        connections: how many were accepted.
    """

    def __init__(self, upstream: str, choose: Callable[[Asked], Fault | None] | None = None, seed: int = 0) -> None:
        """
        Args:
            upstream: the server's URL; its path, if it has one, also ends `url`.
            choose: called in the proxy's thread with each request.
            seed: of the positions at which bodies break.
        """
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self._path = parts.path
        self.choose = choose or (lambda _: None)
        self._random = random.Random(seed)
        self.requests: Counter[str] = Counter()
        self.injected: list[tuple[Asked, Fault]] = []
        self.connections = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.revive()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The endpoint in front of the server's."""
        return f"http://127.0.0.1:{self.port}{self._path}"

    def kill(self) -> None:
        """Break every connection and accept no more, as a server that crashes."""
        self._run(self._kill())

    def revive(self) -> None:
        """Accept connections, on the same port as before."""
        self._run(self._listen())

    def open_connections(self) -> int:
        """Connections that the client has not closed."""
        return len(self._tasks)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1 << 20, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _kill(self) -> None:
        if self._server is not None:
            for listening in self._server.sockets:
                self._loop.remove_reader(listening)
            # Closing leaves what has just been accepted without a transport that is ever closed; the loop's next
            # turns make connections of it, which end with the others.
            for _ in range(_TURNS_OF_ACCEPTING):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        writer.transport.set_write_buffer_limits(0)  # what has been drained is with the kernel
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            upstream = await asyncio.open_connection(*self._upstream, limit=1 << 20)
            while True:
                await self._exchange(reader, writer, *upstream)
        except (_Over, OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            _reset(writer)  # dropped, because no code awaits the task of a connection
        finally:
            self._tasks.discard(task)
            writer.close()
            if upstream is not None:
                upstream[1].close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream_writer: asyncio.StreamWriter,
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        match = _LENGTH.search(head)
        length = int(match[1]) if match else 0
        body = await reader.readexactly(length) if length <= _MOST_LOOKED_AT else b""
        self.requests[method] += 1
        asked = Asked(method, target, length, body)
        fault = self.choose(asked)
        if fault is not None and fault.kind in _BEFORE and (length > _MOST_LOOKED_AT or fault.kind not in _IN_UPLOAD):
            self.injected.append((asked, fault))
            if await self._before(fault, method, length, reader, writer):
                return
        if length > _MOST_LOOKED_AT:
            body = await reader.readexactly(length)
        upstream_writer.write(head)
        upstream_writer.write(body)
        await upstream_writer.drain()
        answer, content = await _receive(upstream_reader, method)
        if fault is not None and fault.kind not in _BEFORE and (len(content) > 1 or fault.kind not in _IN_BODY):
            self.injected.append((asked, fault))
            await self._after(fault, answer, content, writer)
        else:
            writer.write(answer)
            writer.write(content)
            await writer.drain()

    # Faults that keep the request from the server...

    async def _before(
        self, fault: Fault, method: str, length: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the request has been answered; raises _Over if the connection is to end as well."""
        kind = fault.kind
        if kind == "reset at once":
            _reset(writer)
        elif kind == "close at once":
            pass
        elif kind == "stall at once":
            await asyncio.sleep(3600)
        elif kind == "delay":
            await asyncio.sleep(0.2)
            return False
        elif kind == "garbage head":
            writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        elif kind == "endless 1xx":
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 8)
                await writer.drain()
        elif kind == "status":
            if length > _MOST_LOOKED_AT:
                await reader.readexactly(length)
            await _send(writer, _refusal(fault, method))
            return True
        elif kind == "refuse early":
            # The body stays unread: closing with it in the socket is what resets the connection.
            await _send(writer, _refusal(fault, method))
            await asyncio.sleep(0.05)
        elif kind in _IN_UPLOAD:
            await reader.readexactly(self._random.randrange(1, length))
            if kind == "stall in upload":
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.sleep(3600)
            _reset(writer)
        await writer.drain()
        raise _Over

    # Faults of the answer...

    async def _after(self, fault: Fault, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        kind = fault.kind
        somewhere = self._random.randrange(len(body)) if body else 0
        length = _LENGTH.search(head)
        if kind == "lost answer":
            _reset(writer)
            raise _Over
        if kind == "reset in head":
            await _send(writer, head[: self._random.randrange(1, len(head) - 1)])
            _reset(writer)
            raise _Over
        if kind == "reset after head":
            await _send(writer, head)
            _reset(writer)
            raise _Over
        if kind in ("reset in body", "cut body", "stall in body"):
            await _send(writer, head + body[:somewhere])
            if kind == "stall in body":
                await asyncio.sleep(3600)
            if kind == "reset in body":
                _reset(writer)
            raise _Over
        if kind == "longer length" and length:
            await _send(writer, head.replace(length[0], length[0] + b"0") + body)
            raise _Over
        if kind == "shorter length" and length:
            shorter = b"\r\nContent-Length: %d" % (len(body) // 2)
            await _send(writer, head.replace(length[0], shorter) + body)
            return
        if kind == "1xx":
            head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head
        if kind == "trickle":
            whole = head + body
            cuts = sorted({1, 2, *(self._random.randrange(1, len(whole)) for _ in range(10)), len(whole)})
            for start, stop in zip([0, *cuts], cuts, strict=False):
                await _send(writer, whole[start:stop])
                await asyncio.sleep(_PAUSE)
            return
        await _send(writer, head + body)
        if kind == "close after":
            raise _Over


def _refusal(fault: Fault, method: str) -> bytes:
    body = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
    head = f"HTTP/1.1 {fault.status} Injected\r\nContent-Length: {len(body)}\r\n{fault.fields}\r\n".encode()
    return head if method == "HEAD" else head + body


async def _receive(reader: asyncio.StreamReader, method: str) -> tuple[bytes, bytes]:
    """An answer: its head, and its body as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    if method == "HEAD" or status in (204, 304):
        return head, b""
    if _CHUNKED.search(head):
        body = bytearray()
        while True:
            line = await reader.readuntil(b"\r\n")
            body += line + await reader.readexactly(int(line.split(b";")[0], 16) + 2)
            if line.split(b";")[0].strip() == b"0":
                return head, bytes(body)
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
