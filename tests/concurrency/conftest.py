# SPDX-License-Identifier: Apache-2.0
"""A bucket on SeaweedFS, and a check for leftovers of each test: threads, descriptors, child processes."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

import pytest

import s3dlio
from s3dlio.http.pool import pool
from tests.faults.proxy import FaultProxy
from tests.servers.base import S3Server

_HANGS = 60  # seconds after which a forked child is taken to hang, and killed


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def threads() -> list[str]:
    """The names of all threads except the main one."""
    return sorted(thread.name for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _nothing_is_left(seaweedfs: S3Server) -> Iterator[None]:
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://concurrency")
    pool.clear()
    resource_tracker.ensure_running()  # multiprocessing's own, which stays
    before = descriptors(), threads()
    yield
    deadline = time.monotonic() + 5  # a thread that has done its work may still be on its way out
    while True:
        pool.clear()
        gc.collect()
        after = descriptors(), threads()
        # There may be fewer than before, because a proxy of an earlier test closes its side late.
        if after[0] <= before[0] and Counter(after[1]) <= Counter(before[1]):
            return
        assert time.monotonic() < deadline, (before, after)
        time.sleep(0.02)


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[FaultProxy]:
    """A proxy before the server, which the environment names as the endpoint."""
    with FaultProxy(seaweedfs.url) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        yield proxy
        pool.clear()


def content(uri: str) -> bytes:
    """The content of a URI: bytes and a size that no other object has."""
    return uri.encode() * (1 + sum(uri.encode()) % 997)


def fill(name: str, count: int) -> list[str]:
    """Write objects, and return their URIs."""
    uris = [f"s3://concurrency/{name}/{number}" for number in range(count)]
    s3dlio.put_many((uri, content(uri)) for uri in uris)
    return uris


def read_all(uris: list[str]) -> None:
    """Read objects in a batch, and check the content of each."""
    for uri, data in s3dlio.get_many(uris):
        assert data.tobytes() == content(uri)


class Child:
    """A forked child, which reports its failure to its parent."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._told, telling = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(telling)
            return
        signal.alarm(_HANGS)
        told = b""
        try:
            work()
        except BaseException:
            told = traceback.format_exc().encode()
        finally:
            os.write(telling, told or b"right")
            os._exit(0)

    def check(self) -> None:
        """Wait for its end; fail if anything went wrong in it."""
        with os.fdopen(self._told, "rb") as pipe:
            told = pipe.read().decode()
        _, status = os.waitpid(self._pid, 0)
        assert status == 0, f"the child hung or died: {status}"
        assert told == "right", told
