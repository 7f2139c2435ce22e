# SPDX-License-Identifier: Apache-2.0
"""A program that ends, forks or drops iterators while it reads ahead: `python endings.py KIND FOLDER SEED...`.

KIND is "exit", "fork" or "collection". Every seed is a separate process, forked from this one before it starts any
thread. It ends like any program, through the finalization of the interpreter. The seed decides what the process does,
when it does it, and which exit status it must have. A line is printed for each process that ends with another status,
writes anything to standard error, or does not end.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NoReturn

import s3dlio
from s3dlio import aio
from s3dlio.runtime import engine  # noqa: F401  # loaded once, before the forks
from s3dlio.stores.azure import store as _azure  # noqa: F401
from s3dlio.stores.gcs import store as _gcs  # noqa: F401
from s3dlio.stores.s3 import store as _s3  # noqa: F401
from s3dlio.transfer import (
    read_ahead,
)

OBJECTS = 40
SECONDS = 30.0  # until a process counts as hanging
_held: list[Any] = []  # what is alive until the interpreter clears its modules


def _content(number: int) -> bytes:
    return bytes([number]) * (1000 + 3000 * number)


def fill(folder: str) -> None:
    """Write the objects that the program reads, below a folder that also serves as a bucket."""
    for number in range(OBJECTS):
        with open(f"{folder}/{number}", "wb") as file:
            file.write(_content(number))


class Case:
    """One process: its chance, and the objects that it reads."""

    def __init__(self, folder: str, seed: int) -> None:
        self.chance = random.Random(seed)
        root = self.chance.choice([f"file://{folder}", f"direct://{folder}", "s3://bucket", "s3://bucket"])
        self.uris = [f"{root}/{number}" for number in range(OBJECTS)]
        self.ordered = self.chance.random() < 0.7

    def pause(self, most: float = 0.03) -> None:
        """Wait for a random time."""
        time.sleep(self.chance.random() * most)

    def reading(self, forever: bool = False) -> tuple[Iterator[tuple[str, memoryview]], bool]:
        """An iterator over the objects, and whether its source is a generator."""
        slow = self.chance.choice([0.0, 0.0, 0.0005, 0.005])
        in_flight = self.chance.choice([1, 2, 4, 16])

        def source() -> Iterator[str]:
            while True:
                for uri in self.uris:
                    if slow:
                        time.sleep(slow)
                    yield uri
                if not forever:
                    return

        generated = forever or self.chance.random() < 0.5
        uris = source() if generated else self.uris
        return s3dlio.get_many_iter(uris, in_flight, self.ordered), generated

    def some(self, forever: bool = False) -> Iterator[tuple[str, memoryview]]:
        """An iterator of which some objects have been taken."""
        objects, _ = self.reading(forever)
        for _ in range(self.chance.randrange(OBJECTS // 2)):
            _check(next(objects))
        return objects


def _check(item: tuple[str, memoryview]) -> int:
    number = int(item[0].rpartition("/")[2])
    if item[1] != _content(number):
        raise AssertionError(f"wrong bytes for {item[0]}")
    return number


def _in_thread(work: Callable[[], object], daemon: bool = False) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=daemon)
    thread.start()
    return thread


# Exit...


def _falls_off(case: Case) -> None:
    _held.append(case.some(forever=True))
    case.pause()


def _exits_with_status(case: Case) -> None:
    objects = case.some()
    case.pause()
    _held.append(objects)
    sys.exit(7)


def _leaves_at_once(case: Case) -> None:
    _held.append(case.some(forever=True))
    case.pause()
    os._exit(5)


def _exits_in_a_thread(case: Case) -> None:
    def work() -> None:
        _held.append(case.some())
        sys.exit(3)  # which ends the thread alone

    _in_thread(work).join()
    case.pause()


def _leaves_daemons(case: Case) -> None:
    def work() -> None:
        for item in case.some(forever=True):
            _check(item)

    for _ in range(case.chance.randrange(1, 3)):
        _in_thread(work, daemon=True)
    case.pause(0.1)


def _leaves_daemons_that_call(case: Case) -> None:
    def work() -> None:
        while True:
            for uri, data in s3dlio.get_many(case.uris[:8], 4):
                _check((uri, data))

    _in_thread(work, daemon=True)
    case.pause(0.1)


def _leaves_a_loop(case: Case) -> None:
    """In a thread that Python waits for, after it has ended all executors, or in one that it stops."""

    async def work() -> None:
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            for item in await aio.get_many_async(case.uris[:6], 3):
                _check(item)

    _in_thread(lambda: asyncio.run(work()), daemon=case.chance.random() < 0.5)
    case.pause(0.1)


def _has_a_cycle(case: Case) -> None:
    cycle: list[Any] = [case.some(forever=True)]
    cycle.append(cycle)
    case.pause()


def _is_half_way_through_a_generator(case: Case) -> None:
    def batches() -> Iterator[int]:
        objects = case.some(forever=True)
        try:
            for item in objects:
                yield _check(item)
        finally:
            objects.close()  # type: ignore[attr-defined]

    _held.append(batches())
    next(_held[-1])
    case.pause()


def _uses_one_at_exit(case: Case) -> None:
    objects = case.some(forever=True)

    def use() -> None:
        try:
            for _ in range(3):
                _check(next(objects))
        except s3dlio.S3dlioError:
            pass  # the threads have ended already
        objects.close()  # type: ignore[attr-defined]

    atexit.register(use)
    if case.chance.random() < 0.5:  # before those who use it: as if it had been registered first
        atexit.unregister(read_ahead._end)
        atexit.register(read_ahead._end)
    case.pause()


def _has_an_open_writer(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        opened = s3dlio.MultipartUploadWriter.from_uri(f"file://{folder}/object")
        opened.write(bytes(100_000))
        _held.append(opened)
        case.pause()


EXITS: list[tuple[Callable[[Case], None], int]] = [
    (_falls_off, 0),
    (_falls_off, 0),
    (_exits_with_status, 7),
    (_leaves_at_once, 5),
    (_exits_in_a_thread, 0),
    (_leaves_daemons, 0),
    (_leaves_daemons, 0),
    (_leaves_daemons_that_call, 0),
    (_leaves_a_loop, 0),
    (_leaves_a_loop, 0),
    (_has_a_cycle, 0),
    (_is_half_way_through_a_generator, 0),
    (_uses_one_at_exit, 0),
    (_has_an_open_writer, 0),
]


# Fork...


def _rest_in_child(case: Case, objects: Iterator[tuple[str, memoryview]], taken: list[int], generated: bool) -> int:
    """In the child: all that the parent had not taken, or what it had begun and then an error."""
    found = list(taken)
    try:
        found.extend(_check(item) for item in objects)
    except s3dlio.S3dlioError as error:
        if not generated or "forked" not in str(error):
            raise
        complete = list(range(len(found)))
    else:
        complete = list(range(OBJECTS))
    if case.ordered:
        return 0 if found == complete else 21
    return 0 if len(set(found)) == len(found) and set(complete) <= set(range(OBJECTS)) else 22


def _wait_for(child: int) -> None:
    status = _ended(child)
    if status != 0:
        raise AssertionError(f"the child ended with {status}")


def _forks(case: Case) -> None:
    """In the thread that iterates, and the child ends as a program does."""
    objects, generated = case.reading()
    taken = [_check(next(objects)) for _ in range(case.chance.randrange(OBJECTS))]
    case.pause(0.005)
    child = os.fork()
    if not child:
        status = _rest_in_child(case, objects, taken, generated)
        if case.chance.random() < 0.5:
            sys.exit(status)
        os._exit(status)
    _wait_for(child)
    taken.extend(map(_check, objects))
    if sorted(taken) != list(range(OBJECTS)):
        raise AssertionError("the parent lost an object")


def _forks_in_a_thread(case: Case) -> None:
    """While other threads iterate and call, holding whatever lock."""
    stopped = threading.Event()

    def iterate() -> None:
        while not stopped.is_set():
            for item in case.some():
                _check(item)

    def call() -> None:
        while not stopped.is_set():
            s3dlio.get_many(case.uris[:6], 3)

    working = [_in_thread(iterate), _in_thread(call)]
    failures: list[str] = []

    def fork() -> None:
        for _ in range(3):
            case.pause(0.01)
            child = os.fork()
            if not child:
                failed = 1
                try:
                    numbers = sorted(_check(item) for item in s3dlio.get_many_iter(case.uris, 4))
                    s3dlio.get_many(case.uris[:6], 3)
                    failed = 0 if numbers == list(range(OBJECTS)) else 23
                finally:
                    os._exit(failed)
            if status := _ended(child):
                failures.append(f"the child ended with {status}")

    _in_thread(fork).join()
    stopped.set()
    for thread in working:
        thread.join()
    if failures:
        raise AssertionError(failures[0])


FORKS: list[tuple[Callable[[Case], None], int]] = [(_forks, 0), (_forks, 0), (_forks_in_a_thread, 0)]


# Collection...


def _no_thread_stays() -> None:
    gc.collect()
    deadline = time.monotonic() + 10
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("s3dlio-read")]:
        if time.monotonic() > deadline:
            raise AssertionError(f"still alive: {left}")
        time.sleep(0.005)


def _is_dropped(case: Case) -> None:
    objects = case.some(forever=True)
    case.pause()
    del objects
    _no_thread_stays()


def _is_dropped_in_a_thread(case: Case) -> None:
    held = [case.some(forever=True) for _ in range(3)]
    case.pause()
    _in_thread(held.clear).join()
    _no_thread_stays()


def _is_collected_during_calls(case: Case) -> None:
    gc.set_threshold(case.chance.choice([1, 5, 20]))
    for _ in range(4):
        cycle: list[Any] = [case.some(forever=True)]
        cycle.append(cycle)
        del cycle
        if case.chance.random() < 0.5:
            opened: list[Any] = [s3dlio.MultipartUploadWriter.from_uri(case.uris[0] + ".new")]
            opened.append(opened)
            opened[0].write(b"x" * 1000)
            del opened
        for item in s3dlio.get_many(case.uris[:6], 3):
            _check(item)
    gc.set_threshold(700)
    _no_thread_stays()


def _is_closed_half_way(case: Case) -> None:
    def numbers() -> Generator[int, None, None]:
        for item in case.some(forever=True):
            yield _check(item)

    half = numbers()
    next(half)
    case.pause()
    half.close()
    _no_thread_stays()


def _is_closed_in_a_thread_while_it_is_used(case: Case) -> None:
    objects = case.some(forever=True)

    def close() -> None:
        case.pause()
        objects.close()  # type: ignore[attr-defined]

    closing = _in_thread(close)
    for item in objects:
        _check(item)
    closing.join()
    _no_thread_stays()


COLLECTIONS: list[tuple[Callable[[Case], None], int]] = [
    (_is_dropped, 0),
    (_is_dropped_in_a_thread, 0),
    (_is_collected_during_calls, 0),
    (_is_closed_half_way, 0),
    (_is_closed_in_a_thread_while_it_is_used, 0),
]
KINDS = {"exit": EXITS, "fork": FORKS, "collection": COLLECTIONS}


# The processes...


def _ended(child: int) -> int | None:
    """The exit status of a child; None for one that did not end, which is killed."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGABRT)
    os.waitpid(child, 0)
    return None


def _be(case: Case, work: Callable[[Case], None], errors: int) -> NoReturn:
    os.dup2(errors, 2)
    import faulthandler

    faulthandler.enable(all_threads=True)  # where the threads of a process stand that had to be killed
    work(case)
    sys.exit()


def main(kind: str, folder: str, *seeds: str) -> None:
    """Run a process for each seed, and print the findings."""
    for seed in map(int, seeds):
        case = Case(folder, seed)
        work, expected = case.chance.choice(KINDS[kind])
        with tempfile.TemporaryFile() as errors:
            child = os.fork()
            if not child:
                _be(case, work, errors.fileno())
            status = _ended(child)
            errors.seek(0)
            noise = errors.read().decode(errors="replace")
        if status != expected or noise:
            outcome = "hangs" if status is None else f"ended with {status}"
            sys.stdout.write(f"{kind} {seed} {work.__name__}: {outcome}\n{noise[-6000:]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
