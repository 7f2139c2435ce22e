# SPDX-License-Identifier: Apache-2.0
"""Without file descriptors a batch continues with the connections that it has.

A call that needs a descriptor and gets none fails with an error that names the limit. No endpoint counts as failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.http.scripted import scripted
from tests.servers import certificates

# Its first argument is the number of files that it may still open. Everything is imported and loaded before.
PROGRAM = """
import asyncio, os, resource, sys
import s3dlio
from s3dlio import aio
from s3dlio.http.endpoints import Endpoint
from s3dlio.http import tls
from s3dlio.runtime import engine, on_asyncio
from s3dlio.http.pool import pool

s3dlio.get("s3://bucket/first")
s3dlio.get_many(["s3://bucket/first"] * 2, 2)
pool.clear()

def failed(endpoint):
    print("BLAMED")

eval(sys.argv[3] or "None")

Endpoint.failed = failed
more = int(sys.argv[1])
highest = max(map(int, os.listdir("/proc/self/fd")))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]  # no holes below the limit
used = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
uris = [f"s3://bucket/{number}" for number in range(300)]
try:
    print(eval(sys.argv[2]))
except s3dlio.S3dlioError as error:
    print(type(error).__name__, error)
"""
BATCHES = {
    "get_many": "sum(bytes(data) == b'plain' for _, data in s3dlio.get_many(uris, 32))",
    "put_many": "s3dlio.put_many([(uri, b'x') for uri in uris], 32) or 300",
    "get_many_iter": "sum(bytes(data) == b'plain' for _, data in s3dlio.get_many_iter(uris, 32))",
    "get_many_async": "sum(bytes(data) == b'plain' for _, data in asyncio.run(aio.get_many_async(uris, 32)))",
}
SINGLE = {
    "get": "s3dlio.get(uris[0])",
    "put": "s3dlio.put_bytes(uris[0], b'x')",
    "delete": "s3dlio.delete(uris[0])",
    "get_many": "s3dlio.get_many(uris, 32)",
    "get_many_iter": "list(s3dlio.get_many_iter(uris, 32))",
}


def run(more: int, expression: str, before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(more), expression, before],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("expression", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("more", [8, 12])
def test_a_batch_continues_with_the_connections_it_has(
    more: int, secure: bool, expression: str, tmp_path: Path
) -> None:
    os.environ["S3DLIO_CONNECT_RETRY_SECONDS"] = "0"
    with scripted([], certificates.make(tmp_path) if secure else None) as server:
        assert run(more, expression) == "300\n"
        assert server.connections <= more + 3


def test_a_lookup_without_descriptors_does_not_count_against_the_endpoint() -> None:
    with scripted([]) as server:
        os.environ["AWS_ENDPOINT_URL"] = server.url.replace("127.0.0.1", "localhost")
        assert run(8, BATCHES["get_many"]) == "300\n"


@pytest.mark.parametrize("expression", SINGLE.values(), ids=SINGLE.keys())
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_without_any_connection_the_error_names_the_limit(host: str, expression: str) -> None:
    os.environ["S3DLIO_CONNECT_RETRY_SECONDS"] = "0.2"
    with scripted([]) as server:
        os.environ["AWS_ENDPOINT_URL"] = server.url.replace("127.0.0.1", host)
        said = run(0, expression)
    assert said.startswith("StoreUnavailableError")
    assert "RLIMIT_NOFILE" in said
    assert "ulimit -n" in said
    assert "BLAMED" not in said


def test_an_async_call_without_descriptors_names_the_limit_and_leaves_no_coroutine() -> None:
    with scripted([]):
        said = run(3, "asyncio.run(aio.get_async(uris[0]))")  # the event loop needs three
    assert said.startswith("StoreUnavailableError")
    assert "RLIMIT_NOFILE" in said


def test_idle_connections_are_closed_to_make_room() -> None:
    with scripted([]) as server, scripted([]) as other:
        expression = (
            "s3dlio.get_many(uris, 3),"
            f" os.environ.update(AWS_ENDPOINT_URL='{other.url}'),"
            " sum(bytes(data) == b'plain' for _, data in s3dlio.get_many(uris, 3))"
        )
        os.environ["AWS_ENDPOINT_URL"] = server.url
        assert run(3, f"({expression})[-1]") == "300\n"


def test_the_error_for_certificates_that_cannot_be_opened_names_the_limit(tmp_path: Path) -> None:
    os.environ["S3DLIO_CONNECT_RETRY_SECONDS"] = "0.2"
    with scripted([], certificates.make(tmp_path)):
        said = run(1, "[tls.context.cache_clear(), s3dlio.get(uris[0])]")
    assert said.startswith("StoreUnavailableError GET s3://bucket/0 at https://")
    assert "RLIMIT_NOFILE" in said
    assert "BLAMED" not in said


def test_certificates_of_the_system_are_read_later_if_they_could_not_be_read(tmp_path: Path) -> None:
    authority = certificates.make(tmp_path).ca
    program = """
import os, resource
from s3dlio.http import tls
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), limits[1]))
try:
    tls.context(None)
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(tls.context(None).cert_store_stats()["x509"])
"""
    environment = {**os.environ, "SSL_CERT_FILE": str(authority)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "Too many open files\n1\n", done.stderr


FILES = {
    "read": "s3dlio.get(f'file://{folder}/object')",
    "write": "s3dlio.put_bytes(f'file://{folder}/new', b'x')",
    "list": "s3dlio.list(f'file://{folder}/')",
    "load": "s3dlio.get(f'direct://{folder}/object')",
}


@pytest.mark.parametrize("expression", FILES.values(), ids=FILES.keys())
def test_without_descriptors_for_files_the_error_names_the_limit(expression: str, tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(b"content")
    loaded = f"s3dlio.list((folder := {str(tmp_path)!r}) and f'file://{{folder}}/')"
    with scripted([]):
        said = run(0, expression, loaded)
    assert said.startswith("StoreUnavailableError")
    assert "RLIMIT_NOFILE" in said
