# SPDX-License-Identifier: Apache-2.0
"""The async twins: the same results and errors, and a canceled call that leaves nothing."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from tests.behavior.content import content

DATA = content(300_000)


def test_every_twin_does_what_its_verb_does(root: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("local")

    async def work() -> None:
        await s3dlio.mkdir_async(f"{root}/made")
        await s3dlio.put_bytes_async(f"{root}/a", DATA)
        await s3dlio.put_many_async((f"{root}/many/{number}", content(number)) for number in range(10))
        assert await s3dlio.get_async(f"{root}/a") == DATA
        assert await s3dlio.get_range_async(f"{root}/a", 10, 20) == DATA[10:30]
        assert await s3dlio.get_range_async(f"{root}/a", 299_999) == DATA[-1:]
        assert await s3dlio.get_range_async(f"{root}/a", 300_000, 5) == b""
        assert b"".join([chunk async for chunk in s3dlio.get_chunks_async(f"{root}/a", 70_000)]) == DATA
        chunks = s3dlio.get_chunks_async(f"{root}/a", 1000, 1500, 2500)
        assert [bytes(chunk) async for chunk in chunks] == [DATA[1500:2500], DATA[2500:3500], DATA[3500:4000]]
        assert await s3dlio.stat_async(f"{root}/a") == s3dlio.stat(f"{root}/a")
        assert await s3dlio.exists_async(f"{root}/a") is True
        assert await s3dlio.exists_async(f"{root}/many") is False
        assert await s3dlio.list_async(root, recursive=True) == s3dlio.list(root, recursive=True)
        assert await s3dlio.list_async(root, pattern="^a") == [f"{root}/a"]
        for recursive in (True, False):
            entries = [entry async for entry in s3dlio.entries_async(root, recursive)]
            assert sorted(entries, key=repr) == sorted(s3dlio.entries(root, recursive), key=repr)
        uris = await s3dlio.list_async(f"{root}/many")
        assert await s3dlio.get_many_async(uris, 3) == s3dlio.get_many(uris)
        given: dict[str, memoryview] = {}
        await s3dlio.get_each_async(uris, given.__setitem__, 3)
        assert given == dict(s3dlio.get_many(uris))
        found = await s3dlio.get_many_async([f"{root}/missing", uris[0]], return_errors=True)
        assert [type(result) for _, result in found] == [s3dlio.ObjectNotFoundError, memoryview]
        await s3dlio.download_async(f"{root}/a", folder / "a")
        await s3dlio.upload_async(folder / "a", f"{root}/b")
        await s3dlio.copy_async(f"{root}/many", f"{root}/copied", recursive=True)
        assert await s3dlio.get_async(f"{root}/b") == DATA
        assert len(await s3dlio.list_async(f"{root}/copied")) == 10
        await s3dlio.delete_async(f"{root}/a")
        steps: list[s3dlio.Progress] = []
        await s3dlio.put_many_async([(f"{root}/copied/0", b"new")], progress=steps.append)
        await s3dlio.delete_many_async(await s3dlio.list_async(f"{root}/copied"), progress=steps.append)
        assert steps[0] == s3dlio.Progress(f"{root}/copied/0", 3, None, 1, None)
        assert [step.objects_done for step in steps[1:]] == list(range(1, 11))
        assert await s3dlio.list_async(f"{root}/copied") == []
        await s3dlio.delete_async(f"{root}/many", recursive=True)
        assert not await s3dlio.exists_async(f"{root}/a")
        assert await s3dlio.list_async(f"{root}/many") == []

    asyncio.run(work())
    assert Path(folder / "a").read_bytes() == DATA


def test_many_calls_of_one_loop_run_side_by_side(root: str) -> None:
    async def work() -> list[memoryview]:
        await asyncio.gather(*(s3dlio.put_bytes_async(f"{root}/{n}", content(n * 1000, n)) for n in range(50)))
        return await asyncio.gather(*(s3dlio.get_async(f"{root}/{n}") for n in range(50)))

    assert [data == content(n * 1000, n) for n, data in enumerate(asyncio.run(work()))] == [True] * 50


def test_the_loop_continues_while_a_call_is_under_way(root: str) -> None:
    async def work() -> int:
        turns = 0
        task = asyncio.create_task(s3dlio.put_bytes_async(f"{root}/object", bytes(32 << 20)))
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        return turns

    assert asyncio.run(work()) > 5  # a call that blocked the loop would allow one or two
    assert s3dlio.stat(f"{root}/object")["size"] == 32 << 20


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda root: s3dlio.get_async(f"{root}/missing"), s3dlio.ObjectNotFoundError),
        (lambda root: s3dlio.get_range_async(f"{root}/missing", 0), s3dlio.ObjectNotFoundError),
        (lambda root: s3dlio.stat_async(f"{root}/missing"), s3dlio.ObjectNotFoundError),
        (lambda root: s3dlio.get_many_async([f"{root}/missing"]), s3dlio.ObjectNotFoundError),
        (lambda root: s3dlio.copy_async(f"{root}/missing", f"{root}/b"), s3dlio.ObjectNotFoundError),
        (lambda root: _first(s3dlio.get_chunks_async(f"{root}/missing")), s3dlio.ObjectNotFoundError),
        (lambda root: s3dlio.get_range_async(f"{root}/a", -1), ValueError),
        (lambda root: s3dlio.put_bytes_async(f"{root}/a", "text"), TypeError),  # type: ignore[arg-type]
        (lambda root: s3dlio.get_many_async(f"{root}/a"), TypeError),
        (lambda root: s3dlio.list_async(root, pattern="("), ValueError),
        (lambda root: s3dlio.get_async(root.replace("://", ":/")), s3dlio.InvalidURIError),
    ],
)
def test_twins_raise_the_errors_of_their_verbs(
    root: str, call: Callable[[str], Awaitable[Any]], kind: type[Exception]
) -> None:
    async def work() -> None:
        await call(root)

    with pytest.raises(kind) as caught:
        asyncio.run(work())
    assert type(caught.value) is kind


async def _first(items: AsyncIterator[Any]) -> Any:
    return await anext(items)


# Cancellation...


def test_a_canceled_read_of_chunks_ends_and_leaves_nothing_open(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", content(4 << 20))
    before = len(os.listdir("/proc/self/fd"))

    async def read() -> None:
        async for _ in s3dlio.get_chunks_async(f"{root}/object", 1 << 20):
            received.set()
            await asyncio.sleep(30)

    async def work() -> None:
        task = asyncio.create_task(read())
        await received.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    received = asyncio.Event()
    asyncio.run(work())
    s3dlio.get(f"{root}/object")
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # an idle connection may be kept


def test_a_canceled_batch_begins_no_object_and_leaves_only_complete_ones(root: str) -> None:
    begun: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def endless() -> Iterator[tuple[str, bytes]]:
            while True:
                if len(begun) == 5:
                    loop.call_soon_threadsafe(task.cancel)
                begun.append(f"{root}/{len(begun)}")
                yield begun[-1], DATA

        task = asyncio.create_task(s3dlio.put_many_async(endless()))
        with pytest.raises(asyncio.CancelledError):
            await task
        known = len(begun)
        await asyncio.sleep(0.05)
        assert len(begun) == known

    asyncio.run(work())
    written = s3dlio.list(root)
    assert set(written) <= set(begun)
    assert all(s3dlio.get(uri) == DATA for uri in written)


def test_a_canceled_put_leaves_the_old_object_or_the_new_one_and_nothing_else(root: str) -> None:
    uri, new = f"{root}/object", content(48 << 20)

    async def work(steps: int) -> None:
        task = asyncio.create_task(s3dlio.put_bytes_async(uri, new))
        for _ in range(steps):
            await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # unless the call ended before
            await task
        assert s3dlio.list(root, recursive=True) == [uri]

    for steps in (0, 1, 2, 5, 10, 20):
        s3dlio.put_bytes(uri, DATA)
        asyncio.run(work(steps))
        assert s3dlio.get(uri) in (DATA, new)


def test_a_canceled_copy_leaves_no_target_or_a_complete_one(root: str) -> None:
    s3dlio.put_bytes(f"{root}/object", content(48 << 20))

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            task.cancel()
            asked.set()

        def progress(step: s3dlio.Progress) -> None:
            if not asked.is_set():
                loop.call_soon_threadsafe(cancel)
                assert go_on.wait(30), step

        asked, go_on = asyncio.Event(), threading.Event()
        task = asyncio.create_task(s3dlio.copy_async(f"{root}/object", f"{root}/copy", progress=progress))
        await asked.wait()
        await asyncio.sleep(0.01)  # the cancellation reaches the call
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    left = s3dlio.list(root, recursive=True)
    assert set(left) <= {f"{root}/object", f"{root}/copy"}
    assert all(s3dlio.get(uri) == content(48 << 20) for uri in left)


def test_a_time_limit_ends_a_call(root: str) -> None:
    hold = threading.Event()
    stored = 0

    def endless() -> Iterator[tuple[str, bytes]]:
        nonlocal stored
        while True:
            yield f"{root}/object", DATA
            stored += 1  # one at a time: the one before has been stored when the next is requested
            hold.wait(0.001)

    async def work(seconds: float) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(s3dlio.put_many_async(endless(), 1), seconds)

    seconds = 0.1
    while not stored:  # a busy machine may store none in that time
        asyncio.run(work(seconds))
        seconds *= 2
    assert s3dlio.get(f"{root}/object") == DATA
