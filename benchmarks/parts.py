# SPDX-License-Identifier: Apache-2.0
"""Where the time of a read or a write goes: the CPU time of each part alone, in this process, without a server.

    python -m benchmarks.parts

Prints a table in Markdown with the median of many tries, with warm caches. In a real transfer, kernel and interpreter
displace each other from the caches, so a whole transfer takes at least the sum of its parts.

Unlike the other benchmarks, this one measures private parts of s3dlio on purpose.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.scenarios import KIB, MIB
from s3dlio import settings
from s3dlio.http.framing import parse_head
from s3dlio.http.head_patterns import HeadPattern, pattern_of
from s3dlio.http.tls import context
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import ExpectedCrc32c
from s3dlio.stores.s3.store import S3Store
from s3dlio.uri import parse
from tests.servers import certificates

_TRIES = 15
_PIECE = 256 * KIB  # of a body; small enough to be in the cache when its checksum is computed
_HANDED_OVER = 128 * KIB  # encrypted bytes that are passed to OpenSSL at once

_HEAD = (
    "HTTP/1.1 200 OK\r\nx-amz-id-2: {0:064x}\r\nx-amz-request-id: {0:016X}\r\nDate: Wed, 25 Nov 2026 09:21:11 GMT\r\n"
    'Last-Modified: Wed, 25 Nov 2026 09:19:11 GMT\r\nETag: "{0:032x}"\r\nAccept-Ranges: bytes\r\n'
    "Content-Type: application/octet-stream\r\nContent-Length: 65536\r\nServer: AmazonS3\r\n\r\n"
)


def main() -> None:
    """Measure all parts and print the table."""
    settings.configure(
        s3_endpoints="http://127.0.0.1:9000", aws_access_key_id="any", aws_secret_access_key="any", aws_region="any"
    )
    print("| part | CPU time, µs |\n|---|---|")
    with settings.held():
        for name, number, work in (*_small(), *_large()):
            print(f"| {name} | {_microseconds(work, number):,.1f} |", flush=True)
    with _fed_socket() as (sock, target):
        received = _microseconds(partial(_receive, sock, target))
        print(f"| 8 MiB received from a socket, into memory used before | {received:,.1f} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        print(f"| 8 MiB of TLS records decrypted, from memory to memory | {_decrypted(Path(folder)):,.1f} |")


def _microseconds(work: Callable[[], object], number: int = 1) -> float:
    """The CPU time of this thread for one of `number` repetitions: the median of some tries, after one to warm up."""
    tries = []
    for _ in range(_TRIES + 1):
        began = time.thread_time()
        for _ in range(number):
            work()
        tries.append((time.thread_time() - began) / number * 1e6)
    return statistics.median(tries[1:])


def _small() -> list[tuple[str, int, Callable[[], object]]]:
    """Parts of reading a small object: name, repetitions in a try, and the function that does it."""
    store = S3Store(settings.current)
    numbers = itertools.count()
    heads = itertools.cycle([bytearray(_HEAD.format(number * 7919), "ascii") for number in range(1000)])
    views: list[memoryview] = []

    def head() -> None:
        service, uri = store.service(), parse(f"s3://bucket/folder/object-{next(numbers):07d}")
        service.reads(uri.container, service.endpoints.choose()).head(store.path_of(uri))

    def learn() -> HeadPattern:
        while True:
            one = next(heads)
            if (pattern := pattern_of(one, parse_head(one, "GET"))) is not None:
                return pattern

    pattern = learn()

    def recognize() -> None:
        one = next(heads)
        found = pattern.match(one, 0, len(one))
        assert found is not None
        pattern.brief_head(found)

    def memory() -> None:
        views.append(lease(64 * KIB))
        if len(views) == 256:
            views.clear()

    body = memoryview(bytearray(64 * KIB))
    return [
        ("the head of a GET, made and signed", 1000, head),
        ("the head of an answer, parsed", 1000, lambda: parse_head(next(heads), "GET")),
        ("the head of an answer, recognized by pattern", 1000, recognize),
        ("64 KiB of pooled memory, leased and returned", 1024, memory),
        ("CRC32C of 64 KiB, in the cache", 1000, partial(ExpectedCrc32c("").update, body)),
    ]


def _large() -> list[tuple[str, int, Callable[[], object]]]:
    """Parts of moving a large object."""
    source, target = lease(8 * MIB), lease(8 * MIB)
    source[:] = bytes(8 * MIB)

    def copy_in_pieces(*, checked: bool) -> None:
        expected = ExpectedCrc32c("")
        for start in range(0, 8 * MIB, _PIECE):
            target[start : start + _PIECE] = source[start : start + _PIECE]
            if checked:
                expected.update(target[start : start + _PIECE])

    return [
        ("8 MiB copied", 1, partial(copy_in_pieces, checked=False)),
        (
            "8 MiB copied, with the CRC32C of each piece computed while it is in the cache",
            1,
            partial(copy_in_pieces, checked=True),
        ),
        ("CRC32C of 8 MiB, from memory", 1, partial(ExpectedCrc32c("").update, source)),
    ]


@contextmanager
def _fed_socket() -> Iterator[tuple[socket.socket, memoryview]]:
    """Open a TCP connection over loopback on which a thread sends without pause. Yields it and 8 MiB of memory."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        thread = threading.Thread(target=_feed, args=(sender,))
        thread.start()
        with receiver:
            yield receiver, lease(8 * MIB)
        thread.join()


def _feed(sender: socket.socket) -> None:
    data = bytes(MIB)
    with suppress(OSError):  # the receiver closes the connection when it has enough
        while True:
            sender.sendall(data)


def _receive(sock: socket.socket, target: memoryview) -> None:
    got = 0
    while got < len(target):
        got += sock.recv_into(target[got:])


def _decrypted(folder: Path) -> float:
    """The CPU time of decrypting 8 MiB of records as `http.tls` does, in microseconds: the median of some tries."""
    certificate = certificates.make(folder)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate.chain, certificate.key)
    to_server, from_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, from_server, server_side=True)
    client = context(str(certificate.ca)).wrap_bio(to_client, to_server, server_hostname="localhost")
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
        to_client.write(from_server.read())
    content, target = bytes(8 * MIB), lease(8 * MIB)
    read: Callable[[int, memoryview], int] = client.read  # type: ignore[assignment]  # with a buffer: a number
    tries = []
    for _ in range(_TRIES):
        server.write(content)
        records = memoryview(from_server.read())
        got = 0
        began = time.thread_time()
        for start in range(0, len(records), _HANDED_OVER):
            to_client.write(records[start : start + _HANDED_OVER])
            with suppress(ssl.SSLWantReadError):
                while count := read(8 * MIB - got, target[got:]):
                    got += count
                    if got == 8 * MIB:
                        break
        tries.append((time.thread_time() - began) * 1e6)
    return statistics.median(tries)


if __name__ == "__main__":
    main()
