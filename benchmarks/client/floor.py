# SPDX-License-Identifier: Apache-2.0
"""The floor: only sockets, a lower bound of the cost of any client on this machine.

Requests are prepared and not signed. Heads are hardly read, and nothing is retried, resumed or verified. One epoll loop
receives the bodies into buffers on huge pages, as many and as large as those that `get_many` holds, over as many
connections. A body stays where it was received, after its head, which a real client cannot do.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from itertools import cycle
from urllib.parse import urlsplit

from benchmarks.client.ours import content
from benchmarks.client.work import Item, Job, Runner, Take, operation

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]*)<")
_HEAD = 4096
_HUGE = 2 << 20
_LOW_WATER = 256 << 10  # SO_RCVLOWAT in bytes, while at least twice as much is certain to arrive


def sockets(job: Job) -> Runner:
    """The loop for the operation of the job."""
    make: Callable[[Job], Runner] = operation(job, get=_get, range=_get, put=_put, list=_list)
    return make(job)


class _Connection:
    """A socket, the item that was requested on it, and how much of the answer has arrived."""

    def __init__(self, job: Job) -> None:
        self.socket = connect(job)
        self.socket.setblocking(False)
        self.item: Item = None
        # As many buffers as one call of `get_many` holds objects for each connection.
        self.buffers = _buffers(-(-job["at_once"] // job["in_flight"]), job["size"] + _HEAD)
        self.buffer = next(self.buffers)
        self.received = self.start = self.end = 0
        self.low_water = 1

    def expect(self, left: int) -> None:
        """Raise SO_RCVLOWAT while `left` bytes are certain to arrive."""
        wanted = _LOW_WATER if left >= 2 * _LOW_WATER else 1
        if wanted != self.low_water:
            self.low_water = wanted
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)


def connect(job: Job) -> socket.socket:
    """Open a connection to the endpoint of the job."""
    parts = urlsplit(job["endpoint"])
    plain = socket.create_connection((parts.hostname or "", parts.port or 80))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "http":
        return plain
    return ssl.create_default_context(cafile=job["ca_file"]).wrap_socket(plain, server_hostname=parts.hostname)


def _buffers(count: int, size: int) -> Iterator[memoryview]:
    """Buffers on huge pages, mapped beforehand, which are used in turns."""
    block = -(-size // 4096) * 4096
    memory = mmap.mmap(-1, count * block + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    for start in range(0, len(memory), mmap.PAGESIZE):
        memory[start] = 0
    view = memoryview(memory)[-ctypes.addressof(ctypes.c_char.from_buffer(memory)) % _HUGE :]
    return cycle([view[start : start + block] for start in range(0, count * block, block)])


def _head(job: Job, method: str, path: str, more: str = "") -> bytes:
    return (
        f"{method} /{job['bucket']}/{path} HTTP/1.1\r\nHost: {urlsplit(job['endpoint']).netloc}\r\n{more}\r\n".encode()
    )


def _get(job: Job) -> Runner:
    def request(item: Item) -> bytes:
        if isinstance(item, str):
            return _head(job, "GET", item)
        return _head(job, "GET", item[0], f"Range: bytes={item[1]}-{item[1] + item[2] - 1}\r\n")

    connections = [_Connection(job) for _ in range(job["in_flight"])]
    by_number = {one.socket.fileno(): one for one in connections}
    # The head of a large object is received separately, so that the rest starts at the beginning of a page.
    first = _HEAD if job["size"] > 1 << 17 else None

    def run(items: Iterator[Item], take: Take) -> None:
        poller = select.epoll()
        for number in by_number:
            poller.register(number, select.EPOLLIN)

        def begin(one: _Connection) -> bool:
            one.item = next(items, None)
            if one.item is None:
                return False
            one.buffer, one.received, one.start, one.end = next(one.buffers), 0, 0, 0
            one.socket.send(request(one.item))
            return True

        busy = sum([begin(one) for one in connections])
        while busy:
            for number, _ in poller.poll():
                one = by_number[number]
                while True:
                    try:
                        count = one.socket.recv_into(one.buffer[one.received : one.end or first])
                    except (BlockingIOError, ssl.SSLWantReadError):
                        break
                    if not count:
                        raise ConnectionError("the server closed a connection")
                    one.received += count
                    if not one.end:
                        head = bytes(one.buffer[: min(one.received, _HEAD)])
                        one.start = head.find(b"\r\n\r\n") + 4
                        length = _LENGTH.search(head)
                        if one.start < 4 or not length:
                            raise ConnectionError("the server sent an answer that the floor does not understand")
                        one.end = one.start + int(length[1])
                    one.expect(one.end - one.received)
                    if one.received == one.end:
                        take(one.item, one.buffer[one.start : one.end])
                        busy -= not begin(one)
                        break
        poller.close()

    return run


def _put(job: Job) -> Runner:
    data = memoryview(content(job))

    connections = [_Connection({**job, "size": 0}) for _ in range(job["in_flight"])]
    by_number = {one.socket.fileno(): one for one in connections}

    def run(items: Iterator[Item], take: Take) -> None:
        poller = select.epoll()
        answer = bytearray(_HEAD)

        def begin(one: _Connection) -> bool:
            one.item = next(items, None)
            if one.item is None:
                poller.unregister(one.socket.fileno())
                return False
            head = _head(job, "PUT", one.item, f"Content-Length: {len(data)}\r\n")
            one.received = one.socket.sendmsg([head, data]) - len(head)
            poller.modify(one.socket.fileno(), select.EPOLLIN if one.received == len(data) else select.EPOLLOUT)
            return True

        for number in by_number:
            poller.register(number, 0)
        busy = sum([begin(one) for one in connections])
        while busy:
            for number, events in poller.poll():
                one = by_number[number]
                if events & select.EPOLLOUT:
                    try:
                        one.received += one.socket.send(data[one.received :])
                    except BlockingIOError:
                        continue
                    if one.received == len(data):
                        poller.modify(number, select.EPOLLIN)
                    continue
                count = one.socket.recv_into(answer)
                if not answer.startswith((b"HTTP/1.1 201", b"HTTP/1.1 204", b"HTTP/1.1 200")):
                    raise ConnectionError(f"the server answered {bytes(answer[:count])!r}")
                take(one.item, data)
                busy -= not begin(one)
        poller.close()

    return run


def _list(job: Job) -> Runner:
    """Receive every page of the listing and find the token of the next page; no key is extracted."""

    def run(items: Iterator[Item], take: Take) -> None:
        (buffer,) = (next(_buffers(1, 2 << 20)),)
        for item in items:
            keys = 0
            with connect(job) as connection:
                token = b""
                while True:
                    more = f"&continuation-token={token.decode()}" if token else ""
                    connection.sendall(_head(job, "GET", f"?list-type=2{more}"))
                    received = end = 0
                    while not end or received < end:
                        received += connection.recv_into(buffer[received:])
                        if not end and (length := _LENGTH.search(bytes(buffer[:_HEAD]))):
                            end = bytes(buffer[:_HEAD]).find(b"\r\n\r\n") + 4 + int(length[1])
                    keys += 1000
                    found = _TOKEN.search(buffer, 0, min(end, 8192))
                    if not found:
                        break
                    token = found[1]
            take(item, keys)

    return run
