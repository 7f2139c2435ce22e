# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""The async twins on files: their threads, their loops, and cancellation between two pieces of an object."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from pathlib import Path

import pytest

import s3dlio
from s3dlio.stores.files.names import RESERVED
from s3dlio.tuning import FILE_PIECE
from tests.behavior.content import content
from tests.processes import in_forked_child
from tests.threads import side_by_side


def test_a_call_that_is_canceled_before_its_turn_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"file://{tmp_path}/object"
    s3dlio.put_bytes(uri, b"x")
    hold = threading.Event()
    busy = threading.Semaphore(0)
    real = os.stat

    def held(*arguments: object, **named: object) -> os.stat_result:
        if str(arguments[0]).endswith("/held"):
            busy.release()
            assert hold.wait(30)
        return real(*arguments, **named)  # type: ignore[arg-type]

    async def work() -> None:
        monkeypatch.setattr(os, "stat", held)
        loop = asyncio.get_running_loop()
        # More calls than there are threads, so that the delete has to wait for one.
        calls = [asyncio.create_task(s3dlio.exists_async(f"file://{tmp_path}/held")) for _ in range(200)]
        await loop.run_in_executor(None, busy.acquire)
        delete = asyncio.create_task(s3dlio.delete_async(uri))
        await asyncio.sleep(0.01)
        delete.cancel()
        await asyncio.sleep(0.01)
        hold.set()
        with pytest.raises(asyncio.CancelledError):
            await delete
        assert await asyncio.gather(*calls) == [False] * 200

    asyncio.run(work())
    assert s3dlio.exists(uri)


@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_a_put_is_canceled_between_two_pieces_and_removes_its_temporary_file(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{scheme}://{tmp_path}/object"
    s3dlio.put_bytes(uri, b"old")
    begun, go_on = threading.Event(), threading.Event()
    name = "write" if scheme == "file" else "pwrite"
    real = getattr(os, name)
    written: list[int] = []

    def held(*arguments: object) -> int:
        begun.set()
        assert go_on.wait(30)
        written.append(int(real(*arguments)))
        return written[-1]

    async def work() -> None:
        monkeypatch.setattr(os, name, held)
        task = asyncio.create_task(s3dlio.put_bytes_async(uri, bytes(4 * FILE_PIECE)))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        assert [found for found in os.listdir(tmp_path) if found.startswith(RESERVED)]
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()  # the cancellation waits for the call under way
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(tmp_path) == ["object"]

    asyncio.run(work())
    assert sum(written) == FILE_PIECE
    assert s3dlio.get(uri) == b"old"


@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_a_copy_is_canceled_between_two_pieces_and_leaves_nothing(tmp_path: Path, scheme: str) -> None:
    source = tmp_path / "source"
    source.touch()
    os.truncate(source, 4 * FILE_PIECE)
    begun, go_on = threading.Event(), threading.Event()
    moved: list[int] = []

    def progress(step: s3dlio.Progress) -> None:
        moved.append(step.bytes_done)
        begun.set()
        assert go_on.wait(30)

    async def work() -> None:
        target = f"{scheme}://{tmp_path}/target"
        task = asyncio.create_task(s3dlio.copy_async(f"file://{source}", target, progress=progress))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert moved[-1] <= FILE_PIECE
    assert os.listdir(tmp_path) == ["source"]


def test_a_get_is_canceled_between_two_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "object").touch()
    os.truncate(tmp_path / "object", 10 * FILE_PIECE)
    begun, go_on = threading.Event(), threading.Event()
    real = os.preadv
    pieces: list[int] = []

    def held(fd: int, buffers: list[memoryview], offset: int) -> int:
        begun.set()
        assert go_on.wait(30)
        pieces.append(real(fd, buffers, offset))
        return pieces[-1]

    async def work() -> None:
        monkeypatch.setattr(os, "preadv", held)
        task = asyncio.create_task(s3dlio.get_async(f"file://{tmp_path}/object"))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert pieces == [FILE_PIECE]


def test_a_second_cancellation_does_not_interrupt_the_cleanup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = os.write

    def held(fd: int, data: memoryview) -> int:
        begun.set()
        assert go_on.wait(30)
        return real(fd, data)

    async def work() -> None:
        monkeypatch.setattr(os, "write", held)
        task = asyncio.create_task(s3dlio.put_bytes_async(f"file://{tmp_path}/object", bytes(2 * FILE_PIECE)))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.005)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(tmp_path) == []

    asyncio.run(work())


def test_loops_in_several_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    async def work(number: int) -> None:
        uris = [f"file://{tmp_path}/{number}-{part}" for part in range(20)]
        await asyncio.gather(*(s3dlio.put_bytes_async(uri, content(50_000, part)) for part, uri in enumerate(uris)))
        found = await s3dlio.get_many_async(uris)
        assert [data == content(50_000, part) for part, (_, data) in enumerate(found)] == [True] * 20

    def run(number: int) -> None:
        for _ in range(3):
            asyncio.run(work(number))

    side_by_side([partial(run, number) for number in range(4)])


def test_a_forked_child_uses_its_own_loop(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/object"
    asyncio.run(s3dlio.put_bytes_async(uri, b"parent"))

    def work() -> None:
        assert asyncio.run(s3dlio.get_async(uri)) == b"parent"
        asyncio.run(s3dlio.put_bytes_async(uri, b"child"))

    in_forked_child(work)
    assert asyncio.run(s3dlio.get_async(uri)) == b"child"
