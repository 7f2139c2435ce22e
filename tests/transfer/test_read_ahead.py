# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""get_many_iter across a fork: the child continues with the objects not yet returned, and so does the parent."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3dlio
from tests.behavior.content import content
from tests.processes import in_forked_child


@pytest.fixture
def uris(tmp_path: Path) -> list[str]:
    found = [f"file://{tmp_path}/{number}" for number in range(30)]
    s3dlio.put_many((uri, content(100_000, seed=number)) for number, uri in enumerate(found))
    return found


def test_parent_and_child_both_continue_after_a_fork(uris: list[str]) -> None:
    objects = s3dlio.get_many_iter(uris, max_in_flight=4)
    assert [next(objects)[0] for _ in range(7)] == uris[:7]

    def rest() -> None:
        found = list(objects)
        assert [uri for uri, _ in found] == uris[7:]
        assert [data == content(100_000, seed=int(uri.rpartition("/")[2])) for uri, data in found] == [True] * 23

    in_forked_child(rest)
    rest()


def test_a_child_may_close_or_drop_the_iterator_of_its_parent(uris: list[str]) -> None:
    held = [s3dlio.get_many_iter(uris, max_in_flight=4)]
    next(held[0])

    def close() -> None:
        held[0].close()
        assert list(held[0]) == []
        held.clear()

    in_forked_child(close)
    in_forked_child(held.clear)
    assert [uri for uri, _ in held[0]] == uris[1:]


def test_forks_at_any_time_lose_nothing(uris: list[str]) -> None:
    for turn in range(15):
        objects = s3dlio.get_many_iter(uris, max_in_flight=1 + turn % 5)
        taken = [next(objects)[0] for _ in range(1 + turn)]
        time.sleep(0.0003 * turn)

        def rest(taken: list[str] = taken, objects: Iterator[tuple[str, memoryview]] = objects) -> None:
            assert taken + [uri for uri, _ in objects] == uris

        in_forked_child(rest)
        objects.close()


def _send_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# The second is like a signal that arrives just before the wait: it is pending, and wakes no thread.
@pytest.mark.parametrize("interrupt", [_send_ctrl_c, _thread.interrupt_main], ids=["while waiting", "just before"])
def test_ctrl_c_ends_the_wait_for_the_next_object(interrupt: Callable[[], None]) -> None:
    go_on = threading.Event()

    def source() -> Iterator[str]:
        assert go_on.wait(30)
        yield from ()

    objects = s3dlio.get_many_iter(source())
    timer = threading.Timer(0.05, interrupt)
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(objects)
    assert time.monotonic() - began < 5
    timer.join()
    go_on.set()
    objects.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("s3dlio")]
