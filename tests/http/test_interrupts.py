# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends every network call within 0.3 s, and leaves no connection, thread, temporary file or upload behind.

Each call runs in a program of its own, against an endpoint that makes it wait: a proxy that stalls, a full queue, a
resolver that hangs. The program gets SIGINT while it waits, and then prints what is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import s3dlio
from tests.faults.proxy import Asked, Fault, FaultProxy
from tests.http.conftest import Silent
from tests.servers.base import S3Server

_WITHIN = 0.3  # seconds
_TRIES = 3  # on a busy machine a process or its server may stand still for longer than that

_PROGRAM = """
import json, os, signal, socket, sys, threading, time
import s3dlio
from s3dlio.http import tls
from s3dlio.runtime import engine
from s3dlio.http.pool import pool
def descriptors():
    return len(os.listdir("/proc/self/fd"))
def threads():
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
root, scratch = sys.argv[1:3]
{prepare}
before = descriptors()
interrupted = 0.0
def on_signal(number, frame):
    global interrupted
    interrupted = time.monotonic()
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, on_signal)
print("ready", flush=True)
try:
    {call}
    outcome = "returned"
except KeyboardInterrupt:
    outcome = "interrupted"
took = time.monotonic() - interrupted
del_names = [name for name in globals() if name in ("writer", "reading")]
for name in del_names:
    del globals()[name]
deadline = time.monotonic() + 3
while threads() and time.monotonic() < deadline:
    time.sleep(0.01)
left = descriptors() - before - pool.count()
print(json.dumps(dict(outcome=outcome, took=took, descriptors=left, threads=threads())), flush=True)
"""


class Case(NamedTuple):
    """A call that waits.

    Attributes:
        call: the statement that waits.
        endpoint: makes it wait: a fault of the proxy, or "silent" for an endpoint that takes no connection.
        prepare: statements before it.
        threads: the threads that may be left for a while: a system's resolver cannot be stopped.
    """

    call: str
    endpoint: Fault | str
    prepare: str = ""
    threads: tuple[str, ...] = ()


_STALL = Fault("stall at once")
_LATER = Fault("status", 503, "SlowDown", "Retry-After: 30\r\n")
_HANGING = "socket.getaddrinfo = lambda *_, **__: time.sleep(60)\nos.environ['AWS_ENDPOINT_URL'] = 'http://storage:9'"
_SEVERAL = (
    "port = int(os.environ['AWS_ENDPOINT_URL'].rpartition(':')[2])\n"
    "found = [(socket.AF_INET, socket.SOCK_STREAM, 6, '', (f'127.0.0.{host}', port)) for host in (1, 2, 3)]\n"
    "socket.getaddrinfo = lambda *_, **__: found\n"
    "os.environ['AWS_ENDPOINT_URL'] = 'http://storage:9'"
)
_MUTE = (
    "listening = socket.create_server(('127.0.0.1', 0))\n"
    "os.environ['AWS_ENDPOINT_URL'] = f'https://127.0.0.1:{listening.getsockname()[1]}'\n"
    "tls.context(None)"
)
_SOURCE = "with open(scratch + '.source', 'wb') as file: file.write(bytes(1 << 20))"
_WRITER = "writer = s3dlio.MultipartUploadWriter.from_uri(root + '/target')\n"

CASES = {
    "get": Case("s3dlio.get(root + '/small')", _STALL),
    "get, in the body": Case("s3dlio.get(root + '/small')", Fault("stall in body")),
    "get_range": Case("s3dlio.get_range(root + '/small', 1, 10)", _STALL),
    "get_many": Case("s3dlio.get_many([f'{root}/{n}' for n in range(100)])", _STALL),
    "get_many_iter": Case("reading = s3dlio.get_many_iter([f'{root}/{n}' for n in range(100)]); next(reading)", _STALL),
    "put_bytes": Case("s3dlio.put_bytes(root + '/target', bytes(30 << 20))", Fault("stall in upload")),
    "put of parts": Case("s3dlio.put_bytes(root + '/target', bytes(40 << 20))", Fault("stall in upload")),
    "put_many": Case("s3dlio.put_many((f'{root}/{n}', bytes(100_000)) for n in range(100))", _STALL),
    "writer": Case("writer.write(bytes(40 << 20))", Fault("stall in upload"), _WRITER),
    "list": Case("s3dlio.list(root)", _STALL),
    "list_iter": Case("next(s3dlio.list_iter(root))", _STALL),
    "stat": Case("s3dlio.stat(root + '/small')", _STALL),
    "exists": Case("s3dlio.exists(root + '/small')", _STALL),
    "delete": Case("s3dlio.delete(root + '/small')", _STALL),
    "download": Case("s3dlio.download(root + '/small', scratch + '/copy')", Fault("stall in body")),
    "upload": Case("s3dlio.upload(scratch + '.source', root + '/target')", Fault("stall in upload"), _SOURCE),
    "resolving": Case("s3dlio.get(root + '/small')", _STALL, _HANGING, ("s3dlio-resolve",)),
    "connecting": Case("s3dlio.get(root + '/small')", "silent"),
    "connecting many": Case("s3dlio.get_many([f'{root}/{n}' for n in range(100)])", "silent"),
    "connecting to several addresses": Case("s3dlio.get(root + '/small')", "silent", _SEVERAL),
    "handshaking": Case("s3dlio.get(root + '/small')", _STALL, _MUTE),
    "waiting to try again": Case("s3dlio.get(root + '/small')", _LATER),
    "waiting to try many again": Case("s3dlio.get_many([f'{root}/{n}' for n in range(100)])", _LATER),
    "waiting to download again": Case("s3dlio.download(root + '/small', scratch + '/copy')", _LATER),
}


@pytest.fixture(scope="module")
def interrupted(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What each program has printed. A few programs run at a time."""
    environment = {**os.environ, **seaweedfs.environment()}
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as executor:
        for name, value in seaweedfs.environment().items():
            patch.setenv(name, value)

        s3dlio.make_bucket("s3://interrupts")
        s3dlio.put_bytes("s3://interrupts/small", bytes(100_000))

        folder = tmp_path_factory.mktemp("interrupted")

        def interrupt(case: Case) -> dict[str, Any]:
            for _ in range(_TRIES):
                told = _interrupt(case, seaweedfs.url, environment, Path(tempfile.mkdtemp(dir=folder)))
                if told["took"] < _WITHIN and len(told["aborted"]) >= len(told["created"]):
                    break
            return told

        yield dict(zip(CASES, executor.map(interrupt, CASES.values()), strict=True))


def _interrupt(case: Case, server: str, environment: dict[str, str], scratch: Path) -> dict[str, Any]:
    asked: list[Asked] = []

    def choose(request: Asked) -> Fault | None:
        asked.append(request)
        # An upload in parts is created and aborted without a fault: its parts stall.
        of_parts = isinstance(case.endpoint, Fault) and case.endpoint.kind == "stall in upload"
        if isinstance(case.endpoint, str) or (of_parts and request.method in ("POST", "DELETE")):
            return None
        return None if request.method == "HEAD" and "download" in case.call else case.endpoint

    program_text = _PROGRAM.replace("{prepare}", case.prepare).replace("{call}", case.call)
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(server, choose))
        url = stack.enter_context(Silent()).url if case.endpoint == "silent" else proxy.url
        program = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", program_text, "s3://interrupts", str(scratch)],
                env={**environment, "AWS_ENDPOINT_URL": url},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(program.kill)
        assert program.stdout is not None
        with closing(program.stdout):
            if program.stdout.readline() != "ready\n":
                raise RuntimeError(program.communicate()[1])
            deadline = time.monotonic() + 5
            elsewhere = url != proxy.url or case.prepare in (_HANGING, _MUTE)
            while not proxy.injected and not elsewhere and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.3)  # now it waits
            program.send_signal(signal.SIGINT)
            line = program.stdout.readline()
            if not line:
                raise RuntimeError(program.communicate()[1])
            told: dict[str, Any] = json.loads(line)
        told["created"] = [
            request.target for request in asked if request.method == "POST" and "uploads" in request.target
        ]
        told["aborted"] = [request.target for request in asked if request.method == "DELETE"]
        told["files"] = [entry.name for entry in scratch.iterdir()]
    return told


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", CASES)
def test_ctrl_c_ends_the_call_and_leaves_nothing(interrupted: dict[str, dict[str, Any]], name: str) -> None:
    told = interrupted[name]
    assert told["outcome"] == "interrupted"
    assert told["took"] < _WITHIN
    assert [thread for thread in told["threads"] if thread not in CASES[name].threads] == []
    # While a name is being resolved, the thread keeps its end of a socket pair.
    assert told["descriptors"] <= len(told["threads"])
    assert told["files"] == []
    assert len(told["aborted"]) == len(told["created"]) or name == "delete"


def test_uploads_in_parts_are_among_the_interrupted_calls(interrupted: dict[str, dict[str, Any]]) -> None:
    assert [name for name in CASES if interrupted[name]["created"]] == ["put of parts", "writer"]
