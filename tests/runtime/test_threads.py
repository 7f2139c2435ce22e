# SPDX-License-Identifier: Apache-2.0
"""The threads of a call: errors, Ctrl-C, and a system that refuses another thread."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator

import pytest

from s3dlio.runtime import threads
from s3dlio.runtime.operation import Stopped
from s3dlio.runtime.threads import for_each
from tests.threads import until


def _ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("s3dlio-worker")]


def test_work_that_never_waits_stays_in_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine the work waits for a processor. Use a clock that runs only while the thread does.
    monkeypatch.setattr(threads, "perf_counter", time.thread_time)
    seen: set[int] = set()
    for_each(range(200), lambda _: seen.add(threading.get_ident()), 8)
    assert seen == {threading.get_ident()}


def test_work_that_waits_gets_threads_up_to_the_limit() -> None:
    meeting = threading.Barrier(3)
    done: list[int] = []

    def work(number: int) -> None:
        if number < 6:
            time.sleep(0.01)
        else:
            meeting.wait(30)  # passes only if three threads work at a time
        done.append(number)

    for_each(range(12), work, 3)
    assert sorted(done) == list(range(12))
    assert _ours() == []


def test_threads_can_be_started_at_once() -> None:
    meeting = threading.Barrier(4)
    for_each(range(4), lambda _: meeting.wait(30), 4, at_once=True)
    assert _ours() == []


def test_the_first_error_stops_the_rest_and_is_raised_when_all_have_ended() -> None:
    begun: list[int] = []
    ended: list[int] = []
    failed = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            failed.set()
            raise LookupError(f"item {number}")
        assert number > 3 or failed.wait(30)
        time.sleep(0.02)
        ended.append(number)

    with pytest.raises(LookupError, match="item 3"):
        for_each(range(1000), work, 4, at_once=True)
    assert _ours() == []
    assert sorted(ended) == sorted(set(begun) - {3})
    assert len(begun) < 20


def test_an_error_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("the items failed")

    with pytest.raises(LookupError, match="the items failed"):
        for_each(items(), lambda _: None, 4, at_once=True)
    assert _ours() == []


def test_an_interrupt_in_the_caller_asks_the_others_to_stop() -> None:
    stopped = threading.Event()
    caller = threading.current_thread()
    others_work = threading.Semaphore(0)

    def work(number: int) -> None:
        if threading.current_thread() is caller:
            assert others_work.acquire(timeout=30)
            raise KeyboardInterrupt
        others_work.release()
        assert stopped.wait(30), f"item {number} was never asked to stop"
        raise Stopped

    with pytest.raises(KeyboardInterrupt):
        for_each(range(100), work, 3, at_once=True, stopped=stopped)
    assert _ours() == []


def test_an_interrupt_while_threads_are_started_ends_the_started_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start
    started: list[threading.Thread] = []
    worked: list[int] = []

    def interrupted_after_the_second(thread: threading.Thread) -> None:
        real(thread)
        started.append(thread)
        if len(started) == 2:
            raise KeyboardInterrupt

    def work(number: int) -> None:
        time.sleep(0.005)
        worked.append(number)

    monkeypatch.setattr(threading.Thread, "start", interrupted_after_the_second)
    with pytest.raises(KeyboardInterrupt):
        for_each(range(10_000), work, 8, at_once=True)
    assert _ours() == []
    before = len(worked)
    time.sleep(0.03)
    assert len(worked) == before < 1000


def test_an_outside_stop_ends_the_work() -> None:
    stopped = threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number == 5:
            stopped.set()

    with pytest.raises(Stopped):
        for_each(range(1000), work, 1, stopped=stopped)
    assert done == [0, 1, 2, 3, 4, 5]


def test_the_caller_does_the_work_if_the_system_refuses_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start
    started: list[threading.Thread] = []

    def refuse_after_one(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_after_one)
    done: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.001)
        done.append(number)

    for_each(range(50), work, 8, at_once=True)
    assert sorted(done) == list(range(50))
    assert len(started) == 1


def test_ctrl_c_just_before_the_wait_for_threads_is_handled() -> None:
    stopped, taken = threading.Event(), threading.Event()

    def work(_: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert taken.wait(20)
        else:
            taken.set()
            stopped.wait(20)

    # Like a signal that arrives just before the system call: it is pending, and wakes no thread.
    pending = threading.Timer(0.3, _thread.interrupt_main)
    pending.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for_each(range(2), work, 2, at_once=True, stopped=stopped)
    assert time.monotonic() - began < 5
    assert stopped.is_set()
    pending.join()


def test_ctrl_c_is_raised_although_it_stopped_other_threads_before() -> None:
    stopped = threading.Event()
    calling = threading.get_ident()

    def work(item: int) -> None:
        if threading.get_ident() == calling and item:
            stopped.set()  # as the engine does before it undoes an operation
            until(lambda: all(thread.name != "s3dlio-worker" for thread in threading.enumerate()))
            raise KeyboardInterrupt
        time.sleep(0.01)
        if item and stopped.wait(10):
            raise Stopped

    with pytest.raises(KeyboardInterrupt):
        for_each(range(1000), work, 2, at_once=True, stopped=stopped)
