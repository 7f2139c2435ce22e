# SPDX-License-Identifier: Apache-2.0
"""The async twins on S3: many tasks on one loop, canceled at any moment, and no trace of a canceled call."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

import s3dlio
from s3dlio.http import resolve
from s3dlio.http.pool import pool
from tests.concurrency.conftest import content, fill
from tests.faults.proxy import Asked, Fault, FaultProxy
from tests.threads import side_by_side

pytestmark = pytest.mark.timeout(100)


def test_two_hundred_tasks_use_every_verb_concurrently() -> None:
    shared = fill("tasks", 50)

    async def work(number: int) -> None:
        own = f"s3://concurrency/task-{number}/object"
        await s3dlio.put_bytes_async(own, content(own))
        some = random.Random(number).sample(shared, 4)
        for uri, data in await s3dlio.get_many_async(some, max_in_flight=2):
            assert isinstance(data, memoryview)
            assert data.tobytes() == content(uri)
        assert (await s3dlio.get_async(own)).tobytes() == content(own)
        assert (await s3dlio.get_range_async(own, 1, 9)).tobytes() == content(own)[1:10]
        assert (await s3dlio.stat_async(own))["size"] == len(content(own))
        assert await s3dlio.list_async(f"s3://concurrency/task-{number}/") == [own]
        await s3dlio.delete_async(own)
        assert not await s3dlio.exists_async(own)

    async def main() -> None:
        await asyncio.gather(*map(work, range(200)))

    asyncio.run(main())


def test_loops_in_several_threads_are_independent() -> None:
    uris = fill("loops", 30)

    async def main() -> None:
        got = await asyncio.gather(*map(s3dlio.get_async, uris))
        assert [data.tobytes() for data in got] == list(map(content, uris))

    side_by_side([lambda: asyncio.run(main())] * 6)


def test_canceling_half_of_the_tasks_leaves_the_others_correct(proxy: FaultProxy) -> None:
    uris = fill("half", 100)
    proxy.choose = lambda asked: Fault("delay") if asked.target.endswith(("1", "3", "5", "7", "9")) else None

    async def main() -> None:
        tasks = [asyncio.ensure_future(s3dlio.get_async(uri)) for uri in uris]
        chance = random.Random(4)
        for task in chance.sample(tasks, 50):
            task.cancel()
            await asyncio.sleep(0.002)
        for uri, data in zip(uris, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(data, BaseException):
                assert isinstance(data, asyncio.CancelledError)
            else:
                assert data.tobytes() == content(uri)
        # The connections of the canceled calls are closed, so their answers go nowhere.
        for uri, data in zip(uris, await asyncio.gather(*map(s3dlio.get_async, uris)), strict=True):
            assert data.tobytes() == content(uri)

    asyncio.run(main())


_STALL = Fault("stall at once")
_LATER = Fault("status", 503, "SlowDown", "Retry-After: 50\r\n")


@pytest.mark.parametrize("fault", [_STALL, _LATER], ids=["waiting for an answer", "waiting to try again"])
@pytest.mark.parametrize(
    "twin", ["get", "get_many", "put_bytes", "put_many", "list", "stat", "download", "upload", "download of a tree"]
)
def test_a_canceled_call_ends_immediately(proxy: FaultProxy, fault: Fault, twin: str, tmp_path: Any) -> None:
    proxy.choose = lambda _: fault
    source = tmp_path / "source"
    source.write_bytes(bytes(100_000))
    uri = "s3://concurrency/cancelled/object"
    calls: dict[str, Coroutine[Any, Any, object]] = {
        "get": s3dlio.get_async(uri),
        "get_many": s3dlio.get_many_async([f"{uri}-{number}" for number in range(100)]),
        "put_bytes": s3dlio.put_bytes_async(uri, bytes(100_000)),
        "put_many": s3dlio.put_many_async((f"{uri}-{number}", b"x") for number in range(100)),
        "list": s3dlio.list_async(uri),
        "stat": s3dlio.stat_async(uri),
        "download": s3dlio.download_async(uri, tmp_path / "copy"),
        "upload": s3dlio.upload_async(source, uri),
        "download of a tree": s3dlio.download_async(uri, tmp_path / "copy", recursive=True),
    }
    call = calls.pop(twin)
    for other in calls.values():
        other.close()

    async def main() -> float:
        task = asyncio.ensure_future(call)
        while not proxy.injected:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert asyncio.run(main()) < 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_a_canceled_write_changes_nothing_later(proxy: FaultProxy) -> None:
    uri = "s3://concurrency/cancelled/write"
    s3dlio.put_bytes(uri, b"old")

    async def main() -> None:
        proxy.choose = lambda asked: Fault("stall in upload") if asked.method == "PUT" else None
        task = asyncio.ensure_future(s3dlio.put_bytes_async(uri, bytes(8 << 20)))
        while not proxy.injected:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.choose = lambda _: None
        puts = proxy.requests["PUT"]
        await asyncio.sleep(0.3)
        assert proxy.requests["PUT"] == puts
        assert (await s3dlio.get_async(uri)).tobytes() == b"old"

    asyncio.run(main())


def test_a_canceled_multipart_upload_is_aborted(proxy: FaultProxy) -> None:
    os.environ.update(S3DLIO_PUT_PART_MB="5", S3DLIO_MULTIPART_THRESHOLD_MB="5")
    targets: list[tuple[str, str]] = []

    def choose(asked: Asked) -> Fault | None:
        targets.append((asked.method, asked.target))
        return Fault("stall in upload") if asked.method == "PUT" else None

    async def main() -> None:
        proxy.choose = choose
        task = asyncio.ensure_future(s3dlio.put_bytes_async("s3://concurrency/cancelled/parts", bytes(20 << 20)))
        while not proxy.injected:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [method for method, target in targets if method == "DELETE" and "uploadId=" in target] == ["DELETE"]


def test_cleanup_that_hangs_is_cut_short(proxy: FaultProxy) -> None:
    os.environ.update(S3DLIO_PUT_PART_MB="5", S3DLIO_MULTIPART_THRESHOLD_MB="5")
    proxy.choose = lambda asked: None if asked.method == "POST" else _STALL

    async def main() -> float:
        task = asyncio.ensure_future(s3dlio.put_bytes_async("s3://concurrency/cancelled/parts", bytes(20 << 20)))
        while not proxy.injected:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert asyncio.run(main()) < 6


def test_a_blocked_loop_does_not_count_its_own_delay_as_the_servers(proxy: FaultProxy) -> None:
    uris = fill("held-up", 20)
    os.environ.update(S3DLIO_READ_TIMEOUT="0.4", S3DLIO_RETRIES="0", S3DLIO_CONNECT_TIMEOUT="5")

    async def main() -> None:
        for _ in range(3):
            tasks = [asyncio.ensure_future(s3dlio.get_async(uri)) for uri in uris]
            await asyncio.sleep(0.05)
            assert not tasks[0].done()  # so that the engine reads the clock before the next line
            time.sleep(0.6)  # the caller computes
            later = asyncio.ensure_future(s3dlio.get_async(uris[1]))
            for uri, data in zip(uris, await asyncio.gather(*tasks), strict=True):
                assert data.tobytes() == content(uri)
            assert (await later).tobytes() == content(uris[1])

    proxy.choose = lambda asked: Fault("delay") if asked.target.endswith("held-up/0") else None
    asyncio.run(main())


def test_a_slow_resolver_does_not_block_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    uris = fill("resolver", 5)
    direct = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hanging.wait(20) and [])

    async def main() -> None:
        os.environ["AWS_ENDPOINT_URL"] = "http://storage.invalid:9000"
        stuck = asyncio.ensure_future(s3dlio.get_async(uris[0]))
        await asyncio.sleep(0.05)
        os.environ["AWS_ENDPOINT_URL"] = direct
        for uri in uris:
            assert (await asyncio.wait_for(s3dlio.get_async(uri), 5)).tobytes() == content(uri)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck

    asyncio.run(main())
    hanging.set()
    resolve._answers.clear()


def test_asyncio_wait_for_ends_a_call(proxy: FaultProxy) -> None:
    proxy.choose = lambda _: _STALL

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(s3dlio.get_async("s3://concurrency/limit/object"), 0.2)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 2


def test_connections_go_back_to_the_pool_with_the_last_task() -> None:
    uris = fill("pooled", 30)
    pool.clear()

    async def main() -> None:
        await asyncio.gather(*map(s3dlio.get_async, uris))

    asyncio.run(main())
    assert 0 < pool.count() <= 30


def test_a_plain_program_imports_no_event_loop() -> None:
    program = """
import sys
import s3dlio
s3dlio.list("s3://concurrency/none")
s3dlio.get_many([])
print([name for name in ("asyncio", "concurrent.futures", "http.client") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
