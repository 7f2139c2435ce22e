# SPDX-License-Identifier: Apache-2.0
"""An S3 server that receives objects into memory, for the PUT scenarios: `python sink.py PORT`.

A server that writes files costs several times as much as any client, so the figures would be those of the server. nginx
also answers 201, which S3 does not. The sink receives each body into memory that it has used before, and answers like
S3, with an ETag and the CRC32C of the request. It accepts multipart uploads and any signature. The harness then
checks the bytes by GET with ?crc, which returns the CRC-32 of the object.

One epoll loop serves all connections, with as little Python per request as possible.
"""

from __future__ import annotations

import mmap
import re
import select
import socket
import sys
import zlib

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHECKSUM = re.compile(rb"(?i)\r\n(x-amz-checksum-crc32c: *[^\r]+)\r\n")
_PART = re.compile(rb"[?&]partNumber=(\d+)")
_ETAG = b'ETag: "9a0364b9e99bb480dd25e1f0284c8555"\r\n'
_HEAD = 16384
_UPLOAD = (
    b'<?xml version="1.0" encoding="UTF-8"?><InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>'
    b"<UploadId>upload</UploadId></InitiateMultipartUploadResult>"
)
_COMPLETE = (
    b'<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><Location>l</Location><Bucket>b</Bucket>'
    b"<Key>k</Key><ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555-1&quot;</ETag></CompleteMultipartUploadResult>"
)

# Path -> part number (0 for an object in one piece) -> the memory of the part, and how many bytes of it are used.
_objects: dict[bytes, dict[int, tuple[memoryview, int]]] = {}


class _Connection:
    """A connection, and the request that is being received on it."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = bytearray(_HEAD)
        self.held = 0  # bytes in head
        self.body: memoryview | None = None
        self.received = 0
        self.answer = b""

    def serve(self) -> bool:
        """Receive what has arrived, and answer complete requests. Returns False if the client closed the connection."""
        while True:
            try:
                if self.body is not None:
                    count = self.socket.recv_into(self.body[self.received :])
                    self.received += count
                else:
                    count = self.socket.recv_into(memoryview(self.head)[self.held :])
                    self.held += count
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not count:
                return False
            if self.body is None:
                self._begin()
            if self.body is not None and self.received == len(self.body):
                self.body = None
                self.socket.sendall(self.answer)

    def _begin(self) -> None:
        """Read the head of a request if it is complete, and prepare the answer and the memory for the body."""
        end = self.head.find(b"\r\n\r\n", 0, self.held) + 4
        if end < 4:
            return
        head = bytes(self.head[:end])
        method, target, _ = head.split(b" ", 2)
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if b"100-continue" in head:
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        path, _, query = target.partition(b"?")
        if method == b"PUT":
            part = _PART.search(target)
            self.body = _memory(path, int(part[1]) if part else 0, length)
            checksum = _CHECKSUM.search(head)
            more = checksum[1] + b"\r\n" if checksum else b""
            self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + _ETAG + more + b"\r\n"
        else:
            # The list of parts in CompleteMultipartUpload: the sink has that information, and ignores the body.
            self.body = memoryview(bytearray(length))
            self.answer = _answer(method, path, query)
        early = self.held - end
        self.body[:early] = self.head[end : self.held]
        self.received, self.held = early, 0


def _memory(path: bytes, part: int, length: int) -> memoryview:
    # An object in parts replaces one in one piece, and the other way round. Parts keep their memory for the next
    # upload.
    parts = _objects.setdefault(path, {})
    for number in [number for number in parts if bool(number) != bool(part)]:
        del parts[number]
    held = parts.get(part)
    if held is None or len(held[0]) < length:
        block = mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            block.madvise(mmap.MADV_HUGEPAGE)
        held = memoryview(block), length
    parts[part] = held[0], length
    return held[0][:length]


def _answer(method: bytes, path: bytes, query: bytes) -> bytes:
    body = b""
    if method == b"POST":
        body = _UPLOAD if query.startswith(b"uploads") else _COMPLETE
    elif method == b"GET" and query == b"crc":
        checksum = 0
        for _, (view, length) in sorted(_objects.get(path, {}).items()):
            checksum = zlib.crc32(_decoded(view[:length]), checksum)
        body = str(checksum).encode()
    elif method == b"DELETE":
        _objects.clear()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _decoded(view: memoryview) -> bytearray | memoryview:
    """The body without the chunk lines and the trailer of aws-chunked, which its first line identifies."""
    if not re.match(rb"[0-9a-f]{1,8}(;chunk-signature=[0-9a-f]+)?\r\n", view[:100]):
        return view
    decoded, position = bytearray(), 0
    while True:
        line = bytes(view[position : position + 120]).partition(b"\r\n")[0]
        length = int(line.partition(b";")[0], 16)
        if not length:
            return decoded
        start = position + len(line) + 2
        decoded += view[start : start + length]
        position = start + length + 2


def main(port: int) -> None:
    """Serve until the process is killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    poller = select.epoll()
    poller.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, _Connection] = {}
    while True:
        for number, _ in poller.poll():
            if number == listener.fileno():
                one = _Connection(listener.accept()[0])
                connections[one.socket.fileno()] = one
                poller.register(one.socket.fileno(), select.EPOLLIN)
            elif not connections[number].serve():
                connections.pop(number).socket.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
