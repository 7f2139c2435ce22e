# SPDX-License-Identifier: Apache-2.0
"""The buffer pool: views stay valid while they are in use, and their memory is used again afterwards."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import contextlib
import gc
import importlib.util
import multiprocessing
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import s3dlio
from s3dlio.memory.buffers import PAGE, BufferPool, block_size, lease, pool
from s3dlio.tuning import POOLED_FROM
from tests.behavior.content import content
from tests.processes import in_forked_child, output
from tests.required import lacking
from tests.threads import side_by_side

MIB = 1 << 20

_SIZES = [1000, POOLED_FROM - 1, POOLED_FROM, 100_001, MIB, (2 * MIB) + 1]


def _address(data: Any) -> int:
    return int(np.frombuffer(data, np.uint8).ctypes.data)


class _Objects(dict[str, bytes]):
    def __repr__(self) -> str:  # otherwise a failed test would print megabytes
        return f"<{len(self)} objects>"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("objects")
    found = {f"{scheme}://{folder}/{size}": content(size, size) for size in _SIZES for scheme in ("file", "direct")}
    s3dlio.put_many(found.items())
    return _Objects(found)


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    """Hide older objects from the garbage collector: otherwise each collection would take a second."""
    gc.freeze()
    yield
    gc.unfreeze()


# Leases...


@pytest.mark.parametrize(
    "size", [0, 1, POOLED_FROM - 1, POOLED_FROM, POOLED_FROM + 1, MIB, 2 * MIB, 2 * MIB + 1, 9 * MIB, 33 * MIB]
)
@pytest.mark.parametrize("aligned", [False, True])
def test_a_lease_is_a_writable_view_of_exactly_the_size(size: int, aligned: bool) -> None:
    view = lease(size, aligned=aligned)
    assert (view.format, view.ndim, view.readonly, len(view), view.contiguous) == ("B", 1, False, size, True)
    if size:
        view[0] = view[-1] = 7
        if aligned or size >= POOLED_FROM:
            assert _address(view) % PAGE == 0
        if size >= 2 * MIB:
            assert _address(view) % (2 * MIB) == 0


@given(st.integers(1, 1 << 34))
def test_a_block_holds_the_lease_and_wastes_little(size: int) -> None:
    block = block_size(size)
    assert block >= size
    assert block % PAGE == 0
    assert block_size(block) == block
    if size > 8 * MIB:
        assert block % (2 * MIB) == 0
        assert block <= size * 1.25


def test_blocks_that_are_out_do_not_overlap() -> None:
    views = [lease(size) for size in _SIZES * 5]
    for number, view in enumerate(views):
        view[:] = bytes([number]) * len(view)
    for number, view in enumerate(views):
        assert bytes(view) == bytes([number]) * len(view)


# Valid while anything made from the view is in use...


def _holders() -> list[Any]:
    kinds: list[Any] = [lambda view: view, lambda view: np.frombuffer(view, np.uint8), memoryview]
    if importlib.util.find_spec("torch"):
        import torch

        kinds.append(lambda view: torch.frombuffer(view, dtype=torch.uint8))
    return kinds


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["get", "get", "slice", "hold", "drop", "drop", "check", "write", "collect"]),
        st.integers(0, 1000),
        st.integers(0, 1000),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, idle_mb=st.sampled_from(["0", "4", "64"]))
def test_reads_slices_arrays_and_drops_in_any_order_never_disturb_each_other(
    objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int, int]], idle_mb: str
) -> None:
    monkeypatch.setenv("S3DLIO_BUFFER_IDLE_MB", idle_mb)
    uris = list(objects)
    kinds = _holders()
    # (data, expected content, start, stop). A view and everything made from it share one expected content.
    held: list[tuple[Any, bytearray, int, int]] = []

    def plain(data: Any) -> Any:
        return data.numpy() if hasattr(data, "numpy") else data  # a tensor of PyTorch has no buffer protocol

    def check(item: tuple[Any, bytearray, int, int]) -> None:
        data, expected, start, stop = item
        assert memoryview(plain(data)) == expected[start:stop]

    for step, first, second in steps:
        if step == "get":
            uri = uris[first % len(uris)]
            whole = bytearray(objects[uri])
            held.append((s3dlio.get(uri), whole, 0, len(whole)))
        elif step == "collect":
            gc.collect()
        elif held:
            number = first % len(held)
            data, expected, start, stop = held[number]
            if step == "drop":
                del held[number]
            elif step == "check":
                check(held[number])
            elif step == "hold":
                held.append((kinds[second % len(kinds)](plain(data)), expected, start, stop))
            elif step == "slice":
                cut = second % (stop - start)
                held.append((data[cut:], expected, start + cut, stop))
            elif step == "write":
                data[second % (stop - start)] = second % 256
                expected[start + second % (stop - start)] = second % 256
            del data
    for item in held:
        check(item)


@pytest.mark.parametrize("size", [POOLED_FROM, MIB, 9 * MIB])
def test_a_block_is_used_again_once_its_last_view_is_gone(size: int) -> None:
    view = lease(size)
    address = _address(view)
    array = np.frombuffer(view[10:20], np.uint8)
    del view
    other = lease(size)
    assert _address(other) != address  # the array still keeps the block
    del array
    assert _address(lease(size)) == address


def test_the_garbage_collector_neither_takes_a_lent_block_nor_loses_one() -> None:
    view = lease(9 * MIB)
    address = _address(view)
    gc.collect()
    del view
    gc.collect()
    assert _address(lease(9 * MIB)) == address


def test_a_released_view_returns_its_block() -> None:
    with lease(9 * MIB) as view:
        address = _address(view)
    assert _address(lease(9 * MIB)) == address


# Bounds...


_RESIDENT = """
        import sys
        import s3dlio

        def resident(name="VmRSS"):
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

        s3dlio.get(sys.argv[1])[:1]
        before = resident()
"""


@pytest.mark.parametrize(("scheme", "count"), [("file", 1000), ("direct", 300)])
def test_many_gets_that_are_dropped_need_the_memory_of_one(tmp_path: Path, scheme: str, count: int) -> None:
    (tmp_path / "object").write_bytes(bytes(8 * MIB))
    (tmp_path / "small").write_bytes(b"x")
    program = """
        for _ in range(int(sys.argv[3])):
            assert len(s3dlio.get(sys.argv[2])) == 8 << 20
        print(resident("VmHWM") - before)
    """
    uris = f"{scheme}://{tmp_path}/small", f"{scheme}://{tmp_path}/object"
    grown = output(_RESIDENT + program, *uris, str(count))
    assert float(grown) < 64


def test_idle_memory_stays_within_its_bound_even_when_everything_is_dropped_at_once(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    for name, size in (("large", 8 * MIB), ("medium", 200_000)):
        (tmp_path / name).write_bytes(bytes(size))
    program = """
        held = [s3dlio.get(uri) for uri in sys.argv[2:] for _ in range(40)]
        peak = resident() - before
        held.clear()
        print(peak, resident() - before)  # without a further call in which the pool could unmap memory
    """
    uris = [f"file://{tmp_path}/{name}" for name in ("small", "large", "medium")]
    peak, idle = map(float, output(_RESIDENT + program, *uris, S3DLIO_BUFFER_IDLE_MB="32").split())
    assert peak > 320
    assert idle < 32 + 24


def test_many_small_blocks_beyond_the_bound_need_no_more_than_their_size(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(bytes(128 << 10))
    program = """
        held = [s3dlio.get(sys.argv[1]) for _ in range(800)]
        print(resident() - before)
    """
    grown = output(_RESIDENT + program, f"file://{tmp_path}/object", S3DLIO_BUFFER_IDLE_MB="1")
    assert float(grown) < 150


def test_idle_bytes_are_bounded_and_can_be_dropped() -> None:
    small = BufferPool(lambda: 16 * MIB)
    held = [small.lease(4 * MIB) for _ in range(10)]
    assert small.idle_bytes() == 0
    held.clear()
    assert small.idle_bytes() == 16 * MIB
    held = [small.lease(3 * MIB) for _ in range(3)]
    assert small.idle_bytes() <= 16 * MIB
    held.clear()
    small.idle_limit = lambda: 0
    assert small.idle_bytes() == 0


def test_without_any_idle_memory_leases_still_work() -> None:
    none = BufferPool(lambda: 0)
    for size in _SIZES:
        view = none.lease(size, aligned=True)
        view[:] = content(size)
        assert view == content(size)
        del view
        assert none.idle_bytes() == 0


def test_a_lease_larger_than_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="no memory for a buffer"):
        lease(1 << 60)
    assert len(lease(MIB)) == MIB


# Threads...


def test_leases_of_many_threads_never_overlap() -> None:
    shared = BufferPool(lambda: 24 * MIB)

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        held: list[tuple[memoryview, int]] = []
        for turn in range(400):
            if held and (len(held) > 6 or chooser.random() < 0.4):
                view, mark = held.pop(chooser.randrange(len(held)))
                # Check both ends and the middle: a block that is lent twice is overwritten from its start.
                assert view[0] == view[len(view) // 2] == view[-1] == mark, f"thread {seed}, turn {turn}"
            else:
                size = chooser.choice([POOLED_FROM, 100_000, MIB, 3 * MIB])
                view, mark = shared.lease(size), chooser.randrange(256)
                view[0] = view[len(view) // 2] = view[-1] = mark
                held.append((view, mark))

    side_by_side([partial(work, seed) for seed in range(8)])
    assert shared.idle_bytes() <= 24 * MIB


def test_a_view_may_be_dropped_in_another_thread() -> None:
    address = 0
    held: list[memoryview] = []
    for _ in range(20):
        view = lease(9 * MIB)
        address = address or _address(view)
        assert _address(view) == address
        held.append(view)
        del view
        side_by_side([held.clear])


# Huge pages...


def _huge_pages_allowed() -> bool:
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return False
    return "[never]" not in text


def _huge_mib(view: memoryview) -> float:
    """MiB of huge pages in the mapping in which a view lies."""
    address = _address(view)
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            start, stop = (int(part, 16) for part in first.split("-"))
            inside = start <= address < stop
        elif inside and first == "AnonHugePages:":
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no mapping at {address:x}")


@pytest.fixture
def _no_idle_blocks() -> None:
    pool._before_fork()  # forgets all slabs, also those of which an earlier test still holds a block
    assert pool.idle_bytes() == 0


@pytest.mark.usefixtures("_no_idle_blocks")
@pytest.mark.parametrize("size", [4 * MIB, 64 * MIB])
def test_large_blocks_lie_on_huge_pages_where_the_kernel_has_them(size: int) -> None:
    view = lease(size)
    view[:] = bytes(size)
    if _huge_pages_allowed():
        assert _huge_mib(view) >= size / MIB / 2
    else:
        assert _huge_mib(view) == 0


@pytest.mark.usefixtures("_no_idle_blocks")
def test_small_blocks_share_huge_pages() -> None:
    views = [lease(POOLED_FROM) for _ in range(64)]
    for view in views:
        view[:] = bytes(POOLED_FROM)
    assert _huge_mib(views[-1]) >= (2 if _huge_pages_allowed() else 0)


@contextlib.contextmanager
def _living_child() -> Iterator[None]:
    """A forked child that does nothing until the end of the block."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_after_a_fork_the_parent_still_reads_into_huge_pages(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(bytes(64 * MIB))
    uri = f"file://{tmp_path}/object"
    least = 32 if _huge_pages_allowed() else 0
    kept = s3dlio.get(uri)
    s3dlio.get(uri)
    with _living_child():
        for _ in range(3):
            view = s3dlio.get(uri)
            assert _huge_mib(view) >= least
            del view
        del kept  # a block that was lent out at the fork
        views = [s3dlio.get(uri) for _ in range(2)]
        assert min(map(_huge_mib, views)) >= least


# Forks...


def test_views_taken_before_a_fork_stay_valid_on_both_sides(objects: dict[str, bytes]) -> None:
    held = [(s3dlio.get(uri), data) for uri, data in objects.items()]
    arrays = [(np.frombuffer(view, np.uint8), data) for view, data in held]

    def work() -> None:
        assert all(view == data for view, data in held)
        for view, _ in held:
            view[:] = bytes(len(view))  # the parent must not see it
        for uri, data in objects.items():
            assert s3dlio.get(uri) == data
        held.clear()
        assert all(not array.any() for array, _ in arrays)
        arrays.clear()
        for uri, data in objects.items():
            assert [s3dlio.get(uri) == data for _ in range(3)] == [True] * 3

    in_forked_child(work)
    assert all(view == data for view, data in held)
    assert all(array.tobytes() == data for array, data in arrays)
    held.clear()
    for uri, data in objects.items():
        assert s3dlio.get(uri) == data
    assert all(array.tobytes() == data for array, data in arrays)


def test_a_child_of_a_child_works_too(objects: dict[str, bytes]) -> None:
    uris = list(objects)

    def work() -> None:
        assert [data == objects[uri] for uri, data in s3dlio.get_many(uris)] == [True] * len(uris)
        in_forked_child(lambda: s3dlio.get_many(uris))

    s3dlio.get_many(uris)
    in_forked_child(work)


def test_a_fork_while_other_threads_read_leaves_both_sides_working(objects: dict[str, bytes]) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert [uri for uri, data in objects.items() if s3dlio.get(uri) != data] == []

    with ThreadPoolExecutor(3) as threads:
        reading = [threads.submit(read) for _ in range(3)]
        try:
            for _ in range(15):
                in_forked_child(lambda: [s3dlio.get(uri) for uri in objects])
        finally:
            stop.set()
    for each in reading:
        each.result()


def _is_right(pair: tuple[str, bytes]) -> bool:
    uri, data = pair
    return bool(s3dlio.get(uri) == data) and all(found == data for _, found in s3dlio.get_many([uri] * 3))


def test_a_pool_of_forked_processes_reads_what_the_parent_read_before(objects: dict[str, bytes]) -> None:
    pairs = list(objects.items())
    assert all(map(_is_right, pairs))
    with multiprocessing.get_context("fork").Pool(3) as processes:
        assert processes.map(_is_right, pairs * 5) == [True] * len(pairs) * 5
    assert all(map(_is_right, pairs))


def test_data_loader_workers_read_after_the_parent_has(objects: dict[str, bytes]) -> None:
    if importlib.util.find_spec("torch") is None:
        lacking("PyTorch is not installed")
    data: Any = importlib.import_module("torch.utils.data")
    uris = list(objects)

    class Objects(data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(uris)

        def __getitem__(self, number: int) -> tuple[int, Any]:
            return number, np.frombuffer(s3dlio.get(uris[number]), np.uint8).sum(dtype=np.int64)

    expected = {number: sum(objects[uri]) for number, uri in enumerate(uris)}
    assert dict(Objects()[number] for number in range(len(uris))) == expected
    for context in ("fork", None):
        workers: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": context} if context else {}
        loader = data.DataLoader(Objects(), batch_size=None, **workers)
        assert {int(number): int(total) for number, total in loader} == expected
