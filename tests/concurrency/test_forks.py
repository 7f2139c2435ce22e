# SPDX-License-Identifier: Apache-2.0
"""A forked child works immediately, whatever its parent was doing, and does not harm its parent."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.http.pool import pool
from tests.concurrency.conftest import Child, content, fill, read_all
from tests.required import lacking
from tests.servers.base import S3Server

# Of Python 3.12 and later, which warn of any fork of a process with threads.
pytestmark = [pytest.mark.timeout(100), pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]


def _use_everything(name: str) -> None:
    uri = f"s3://concurrency/child/{name}"
    s3dlio.put_bytes(uri, content(uri))
    assert s3dlio.get(uri).tobytes() == content(uri)
    assert s3dlio.stat(uri)["size"] == len(content(uri))
    assert uri in s3dlio.list("s3://concurrency/child")
    s3dlio.delete(uri)
    assert not s3dlio.exists(uri)


def _sockets() -> list[str]:
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(entry))
    return [name for name in names if name.startswith("socket:") or "eventpoll" in name]


def test_a_child_works_after_its_parent_has_connected_transferred() -> None:
    uris = fill("after-use", 40)
    read_all(uris)

    def work() -> None:
        read_all(uris)
        _use_everything(str(os.getpid()))

    children = [Child(work) for _ in range(4)]
    read_all(uris)
    for child in children:
        child.check()
    read_all(uris)


def test_a_child_closes_its_parents_connections() -> None:
    before = _sockets()
    fill("inherited", 20)
    assert pool.count()
    assert _sockets() != before

    def work() -> None:
        assert not pool.count()
        assert _sockets() == before

    Child(work).check()


def test_a_child_forked_while_threads_transfer_works_and_so_do_the_threads() -> None:
    uris = fill("busy", 60)
    ended = threading.Event()

    def transfer(number: int) -> None:
        while not ended.is_set():
            read_all(uris[number::2])
            s3dlio.put_bytes(f"s3://concurrency/busy-writes/{number}", content(uris[number]))

    def work(number: int) -> None:
        read_all(uris)
        _use_everything(f"busy-{number}")

    with ThreadPoolExecutor(8) as threads:
        transfers = [threads.submit(transfer, number) for number in range(8)]
        try:
            for number in range(8):
                Child(partial(work, number)).check()
        finally:
            ended.set()
    for each in transfers:
        each.result()


class _Left(Exception):
    pass


@pytest.mark.parametrize("kind", [SystemExit, _Left])
def test_a_child_forked_inside_a_call_can_leave_the_call_and_make_others(kind: type[BaseException]) -> None:
    uris = [f"s3://concurrency/middle/{number}" for number in range(60)]

    def pairs() -> Iterator[tuple[str, bytes]]:
        for number, uri in enumerate(uris):
            if number in (20, 40):
                if not (child := os.fork()):
                    raise kind  # through the batch, which belongs to the parent
                children.append(child)
            yield uri, content(uri)

    children: list[int] = []
    parent = os.getpid()
    try:
        s3dlio.put_many(pairs(), max_in_flight=8)
    except BaseException as error:
        if os.getpid() == parent:
            raise
        try:
            _use_everything(f"left-{os.getpid()}")
            os._exit(7 if isinstance(error, kind) else 1)
        except BaseException:
            os._exit(2)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [7, 7]
    read_all(uris)


def test_a_tls_stream_of_the_parent_outlives_its_children(seaweedfs_tls: S3Server) -> None:
    os.environ.update(seaweedfs_tls.environment())
    uris = fill("tls", 20)
    connections = pool.count()
    for _ in range(3):
        Child(lambda: read_all(uris)).check()
        read_all(uris)
    assert pool.count() >= connections
    pool.clear()


def test_get_many_iter_continues_in_the_child_with_the_remaining_objects() -> None:
    uris = fill("ahead", 60)
    reading = s3dlio.get_many_iter(uris, max_in_flight=8)
    seen = [uri for uri, _ in itertools.islice(reading, 10)]

    def work() -> None:
        rest = [(uri, data.tobytes()) for uri, data in reading]
        assert rest == [(uri, content(uri)) for uri in uris[10:]]

    Child(work).check()
    assert seen + [uri for uri, _ in reading] == uris


def _read_share(share: list[str]) -> int:
    read_all(share)
    return len(share)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_reads(method: str) -> None:
    uris = fill("processes", 40)
    with multiprocessing.get_context(method).Pool(2) as workers:
        assert workers.map(_read_share, [uris[:20], uris[20:]], chunksize=1) == [20, 20]
        workers.close()
        workers.join()


def test_a_data_loader_with_forked_workers_reads_after_its_parent_has() -> None:
    if importlib.util.find_spec("torch") is None:
        lacking("PyTorch is not installed")
    data: Any = importlib.import_module("torch.utils.data")
    uris = fill("loader", 40)
    read_all(uris)

    class Objects:
        def __len__(self) -> int:
            return len(uris)

        def __getitem__(self, place: int) -> bytes:
            return s3dlio.get(uris[place]).tobytes()

    for _ in range(2):
        loader = data.DataLoader(
            Objects(), batch_size=5, num_workers=2, multiprocessing_context="fork", collate_fn=list, timeout=60
        )
        assert [item for batch in loader for item in batch] == [content(uri) for uri in uris]
