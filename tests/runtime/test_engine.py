# SPDX-License-Identifier: Apache-2.0
"""Tasks, groups, batched work and an extension on an engine: side by side, stopped, and closed."""

from __future__ import annotations

import _thread
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, ClassVar

import pytest

from s3dlio.runtime import engine as engine_module
from s3dlio.runtime.engine import Engine, Sleep
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation, Stopped, Task
from s3dlio.runtime.poller import READ, Signal
from s3dlio.runtime.run import run


async def _sleep(seconds: float) -> None:
    await Sleep(seconds)


class Answer:
    """Waits for the answer that the test gives with `Engine.resume`."""

    def __init__(self, *, finish_before_stop: bool) -> None:
        self.finish_before_stop = finish_before_stop
        self.is_detached = False

    def __await__(self) -> Generator[Any, Any, object]:
        return (yield self)

    def begin(self, engine: Engine, task: Task) -> None:
        pass

    def detach(self) -> bool:
        self.is_detached = True
        return True


async def _gather(operations: Iterator[Operation[None] | Byte | Signal], limit: int) -> None:
    await Gather(operations, limit)


def _run_until(engine: Engine, done: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        engine.turn(0.05)


def test_at_most_the_limit_of_operations_run_side_by_side() -> None:
    running: list[int] = []
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        running.append(number)
        most = max(most, len(running))
        await Sleep(0.001 * (number % 3))
        running.remove(number)

    run(_gather(map(work, range(50)), 7))
    assert most == 7
    assert running == []


def test_the_first_failure_stops_the_others_and_is_raised_when_they_have_ended() -> None:
    ended: list[str] = []

    async def fail() -> None:
        await Sleep(0.01)
        raise KeyError("first")

    async def wait() -> None:
        try:
            await Sleep(60)
        finally:
            await Sleep(0.05)
            ended.append("cleaned up")

    began = time.monotonic()
    with pytest.raises(KeyError, match="first"):
        run(_gather(iter([wait(), fail(), wait()]), 3))
    assert ended == ["cleaned up", "cleaned up"]
    assert time.monotonic() - began < 5


def test_an_error_of_the_iterator_is_raised_after_the_operations_before_it_have_ended() -> None:
    ended = []

    async def made() -> None:
        await Sleep(0.01)
        ended.append("made")

    def operations() -> Iterator[Operation[None]]:
        yield made()
        raise OSError("no more")

    async def main() -> None:
        try:
            await _gather(operations(), 5)
        finally:
            ended.append("main")

    with pytest.raises(OSError, match="no more"):
        run(main())
    assert ended == ["made", "main"]


def test_groups_within_groups_are_stopped_together() -> None:
    ended = []

    async def leaf() -> None:
        try:
            await Sleep(60)
        finally:
            ended.append(True)

    async def branch() -> None:
        await _gather((leaf() for _ in range(3)), 3)

    async def fail() -> None:
        await Sleep(0.01)
        raise KeyError

    with pytest.raises(KeyError):
        run(_gather(iter([branch(), branch(), fail()]), 3))
    assert len(ended) == 6


def test_a_call_that_sleeps_is_stopped_from_another_thread() -> None:
    stopped = threading.Event()
    threading.Timer(0.1, stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        run(_sleep(60), stopped)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("stopped", [None, threading.Event()], ids=["never stopped", "may be stopped"])
def test_ctrl_c_just_before_a_wait_is_handled(stopped: threading.Event | None) -> None:
    # The signal is only marked as pending, as if it had arrived just before the system call: it ends no wait.
    pending = threading.Timer(0.3, _thread.interrupt_main)
    pending.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(_sleep(20), stopped)
    assert time.monotonic() - began < 5
    pending.join()


def test_a_group_that_is_stopped_after_a_failure_ends_with_stopped() -> None:
    # Its parent tries again after the failure: a call that is to end must not.
    engine = Engine()
    tries = []

    async def fail() -> None:
        await Sleep(0.01)
        raise KeyError

    async def linger() -> None:
        try:
            await Sleep(60)
        finally:
            await Sleep(0.1)

    async def main() -> None:
        while True:
            tries.append(True)
            try:
                await _gather(iter([fail(), linger()]), 2)
            except KeyError:
                continue

    task = engine.start(main(), lambda _: None)
    deadline = time.monotonic() + 0.05
    while time.monotonic() < deadline:
        engine.turn(0.01)
    engine.cancel(task)
    _run_until(engine, lambda: task.ended)
    assert isinstance(task.error, Stopped)
    assert len(tries) == 1
    engine.close()


def test_a_task_that_is_stopped_while_it_is_ready_begins_nothing_else() -> None:
    engine = Engine()
    steps = []

    async def main() -> None:
        await Sleep(0.001)
        steps.append("continued")

    task = engine.start(main(), lambda _: None)
    engine.turn(0)
    time.sleep(0.01)
    engine._run_timers(time.monotonic())  # the task is ready now
    engine.cancel(task)
    _run_until(engine, lambda: task.ended)
    assert isinstance(task.error, Stopped)
    assert steps == []
    engine.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stopped_task_gets_an_answer_that_names_what_to_undo_and_begins_nothing_else(when: str) -> None:
    engine = Engine()
    heard: list[object] = []

    async def main() -> None:
        heard.append(await Answer(finish_before_stop=True))
        try:
            await Sleep(10)
        except Stopped:
            heard.append("stopped")
            raise

    task = engine.start(main(), lambda _: None)
    engine.turn(0)
    if when == "before":
        engine.cancel(task)
    engine.resume(task, "upload")
    if when == "after":
        engine.cancel(task)
    _run_until(engine, lambda: task.ended)
    assert isinstance(task.error, Stopped)
    assert heard == ["upload", "stopped"]
    engine.close()


def test_a_task_that_is_stopped_again_gets_such_an_answer_that_has_arrived() -> None:
    engine = Engine()
    heard: list[object] = []

    async def main() -> None:
        heard.append(await Answer(finish_before_stop=True))
        await Sleep(10)

    task = engine.start(main(), lambda _: None)
    engine.turn(0)
    engine.cancel(task)
    engine.resume(task, "upload")  # in the turn in which the time to undo ends
    engine.cancel(task)
    _run_until(engine, lambda: task.ended)
    assert isinstance(task.error, Stopped)
    assert heard == ["upload"]
    engine.close()


@pytest.mark.parametrize("close", [False, True], ids=["stopped again", "closed"])
def test_a_task_waits_for_such_an_answer_once(close: bool) -> None:
    engine = Engine()
    answer = Answer(finish_before_stop=True)

    async def main() -> None:
        await answer

    task = engine.start(main(), lambda _: None)
    engine.turn(0)
    engine.cancel(task)
    engine.turn(0)
    assert not task.ended
    if close:
        engine.close()
    else:
        engine.cancel(task)
        engine.turn(0)
        engine.close()
    assert answer.is_detached
    assert isinstance(task.error, Stopped)


def test_a_stopped_task_gets_no_answer_that_names_nothing_to_undo() -> None:
    engine = Engine()
    heard: list[str] = []

    async def main() -> None:
        await Sleep(10)
        heard.append("answer")

    task = engine.start(main(), lambda _: None)
    engine.turn(0)
    engine.resume(task, "part")
    engine.cancel(task)
    _run_until(engine, lambda: task.ended)
    assert isinstance(task.error, Stopped)
    assert heard == []
    engine.close()


def test_undoing_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "UNDO_SECONDS", 0.2)
    engine = Engine()

    async def main() -> None:
        try:
            await Sleep(60)
        finally:
            await Sleep(60)

    task = engine.start(main(), lambda _: None)
    engine.turn(0)
    engine.cancel(task)
    _run_until(engine, lambda: task.ended, seconds=2)
    engine.close()


def test_closing_stops_everything_under_way() -> None:
    engine = Engine()
    ended = []

    async def wait() -> None:
        try:
            await Sleep(60)
        finally:
            try:
                await Sleep(60)
            finally:
                ended.append(True)

    async def group() -> None:
        await _gather((wait() for _ in range(2)), 2)

    for operation in (wait(), group()):
        engine.start(operation, lambda _: None)
    engine.turn(0)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 1
    assert len(ended) == 3


def test_a_group_that_waits_for_a_signal_continues_when_the_signal_is_set() -> None:
    signal = Signal()
    done = []

    async def work() -> None:
        done.append(True)

    def operations() -> Iterator[Operation[None] | Signal]:
        yield work()
        signal.awaited = True
        threading.Timer(0.05, signal.set).start()
        yield signal
        yield work()

    run(_gather(operations(), 3))
    assert len(done) == 2
    signal.close()


def test_an_operation_that_fails_before_its_first_wait_ends_the_call() -> None:
    async def fail() -> None:
        raise LookupError("mine")

    async def nothing() -> None:
        pass

    async def operation() -> None:
        try:
            await Gather((fail() for _ in range(1)), 8)
        finally:
            await nothing()

    with pytest.raises(LookupError, match="mine"):
        run(operation())


# Batched work, and an extension...


class Byte:
    """Batched work that waits for a byte on a socket. `steps` notes how many were begun or advanced together."""

    steps: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, then: Operation[None] | None = None, *, at_once: bool = False) -> None:
        self.rest: Operation[None] | None = None
        self.at_once = at_once
        self.reader, self.writer = socket.socketpair()
        self._then = then

    @classmethod
    def begin_together(cls, engine: Engine, new: list[Byte], on_end: Callable[[Sequence[Byte]], None]) -> None:
        cls.steps.append(("begin", len(new)))
        for one in new:
            one.engine, one.on_end = engine, on_end
            engine.watch(one.reader.fileno(), READ, one)

    @classmethod
    def advance_together(cls, engine: Engine, ready: list[Byte]) -> None:  # noqa: ARG003
        cls.steps.append(("advance", len(ready)))
        for one in ready:
            one.rest = one._then
            one.stop()
        ready[0].on_end(ready)

    engine: Engine
    on_end: Callable[[Sequence[Byte]], None]

    def stop(self) -> None:
        self.engine.forget(self.reader.fileno())
        self.reader.close()
        self.writer.close()


class OtherByte(Byte):
    steps: ClassVar[list[tuple[str, int]]] = []


@pytest.fixture(autouse=True)
def _no_steps() -> None:
    Byte.steps.clear()
    OtherByte.steps.clear()


def test_batched_work_of_one_class_takes_each_step_together() -> None:
    work = [Byte(), OtherByte(), Byte(), Byte(), OtherByte()]
    for one in work:
        one.writer.send(b"x")
    run(_gather(iter(work), 8))
    assert Byte.steps == [("begin", 3), ("advance", 3)]
    assert OtherByte.steps == [("begin", 2), ("advance", 2)]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_operation_may_continue_batched_work_and_keeps_its_room_in_the_group(at_once: bool) -> None:
    ended: list[str] = []

    async def rest() -> None:
        await Sleep(0.02)
        ended.append("rest")

    async def last() -> None:
        ended.append("last")

    first = Byte(rest(), at_once=at_once)
    first.writer.send(b"x")
    run(_gather(iter([first, last()]), 1))
    assert ended == ["rest", "last"]


def test_a_failure_stops_batched_work() -> None:
    async def fail() -> None:
        raise LookupError

    waiting = Byte()
    with pytest.raises(LookupError):
        run(_gather(iter([waiting, fail()]), 2))
    assert waiting.reader.fileno() == -1
    assert Byte.steps == [("begin", 1)]


class Extension:
    """Notes what the engine calls."""

    def __init__(self) -> None:
        self.in_flight: set[object] = set()
        self.calls: list[object] = []

    def on_tick(self, _: float) -> None:
        self.calls.append("tick")

    def on_idle_event(self, fd: int) -> None:
        self.calls.append(fd)

    def on_close(self) -> None:
        self.calls.append("close")


def test_an_extension_gets_ticks_the_events_of_idle_descriptors_and_the_end() -> None:
    engine = Engine()
    engine.extension = extension = Extension()
    assert engine.time_to_wait() is None
    extension.in_flight.add("request")
    _run_until(engine, lambda: extension.calls == ["tick"])

    extension.calls.clear()
    reader, writer = socket.socketpair()
    engine.watch(reader.fileno(), READ, lambda _: extension.calls.append("handler"))
    writer.send(b"x")
    engine.turn(0)
    del engine.handlers[reader.fileno()]
    engine.turn(0)
    engine.poll_idle()
    engine.forget(reader.fileno())
    engine.turn(0)
    engine.close()
    expected = ["handler", reader.fileno(), reader.fileno(), "close"]
    assert [call for call in extension.calls if call != "tick"] == expected
    reader.close()
    writer.close()
