# SPDX-License-Identifier: Apache-2.0
"""A small S3 that serves the files of a folder, now and then slowly, for programs that end while they read."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path

    def do_GET(self) -> None:
        body = (self.folder / urlsplit(self.path).path.rpartition("/")[2]).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        part = body
        if asked:
            first = int(asked[1])
            part = body[first : int(asked[2]) + 1 if asked[2] else None]
        if random.random() < 0.1:
            time.sleep(random.random() * 0.05)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(body)}")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that ended in the middle of an answer, as it should


@contextmanager
def serving(folder: str) -> Iterator[str]:
    """Serve a folder as a bucket; yields the endpoint."""
    handler = type("Handler", (_Handler,), {"folder": Path(folder)})
    with ThreadPoolExecutor(1) as thread, _Server(("127.0.0.1", 0), handler) as server:
        running = thread.submit(server.serve_forever, 0.05)
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            running.result()
