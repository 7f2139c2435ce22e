# SPDX-License-Identifier: Apache-2.0
"""Read ahead: `get_many_iter`.

A thread that lives as long as the iterator reads objects while the caller computes, within a window of objects and
bytes (`transfer.window`). The thread drives an engine if the first object is in a cloud store. If that is a file, the
thread works on files together with other threads.

To wake a thread costs more than to read a small object, so small objects are handed over several at a time: a waiting
caller is woken when half a window has arrived, or when the engine has nothing else to do. With 64 KiB and sixteen
objects in flight this takes 66 µs of CPU time per object instead of 100.

`ReadAhead`, which the caller holds, and `_Reading`, which the thread holds, are two objects: dropping the first ends
the thread. Three rules keep every end of an iterator from hanging:

- Collection. `__del__` runs at any allocation, in any thread, also inside a locked section of this module. It sets a
  flag and takes no lock; the thread sees the flag within 0.1 s.
- Exit. The interpreter stops daemon threads wherever they are, and a lock that such a thread held stays locked. So an
  atexit handler ends the threads before that happens, and no lock is taken later. It waits at most 1 s: a thread may be
  inside the caller's own iterable, or in a system call that never returns. If another atexit handler uses an iterator
  afterwards, the iterator raises an error. A daemon thread that uses one is blocked there until the interpreter ends.
- Fork. The thread does not exist in a child, and its lock may stay locked there forever. So the iterator makes a new
  window from the old one, without a lock (`Window.in_child`), and starts a new thread. A list or a tuple continues at
  the next index. Any other iterable cannot be continued if another thread was inside it at the fork: after everything
  taken from it before, the child gets an error.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from s3dlio import forks, settings
from s3dlio.errors import S3dlioError
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import TICK, Operation
from s3dlio.runtime.poller import Signal
from s3dlio.runtime.run import run
from s3dlio.runtime.threads import for_each, join
from s3dlio.transfer.stores import Stores
from s3dlio.transfer.window import Source, Window
from s3dlio.tuning import FILE_THREADS, SMALL_OBJECT
from s3dlio.uri import FILE_SCHEMES, parse

if TYPE_CHECKING:
    from s3dlio.objects.batched import BatchedRequest

_CLEANING = 1.0  # seconds that the threads have at the end of the program

Item = tuple[str, memoryview]  # URI, bytes

_process = os.getpid()  # each call of os.getpid would ask the kernel


@forks.in_child
def _note_fork() -> None:
    global _process
    _process = os.getpid()
    _reading.clear()


class _Flag(threading.Event):
    """An event that no thread waits for. Setting it takes no lock, so a finalizer may do that."""

    def __init__(self) -> None:
        super().__init__()
        self._raised = False

    def set(self) -> None:
        self._raised = True

    def is_set(self) -> bool:
        return self._raised


class ReadAhead(Iterator[Item]):
    """An iterator of (URI, bytes), which `get_many_iter` returns.

    `close()`, or dropping the iterator, ends the reading. After a fork both processes can continue it.

        for uri, data in s3dlio.get_many_iter(uris):
            ...
    """

    def __init__(self, uris: Iterable[str], max_in_flight: int, ordered: bool, now: settings.Settings) -> None:
        """
        Args:
            uris: the objects; consumed while they are read.
            max_in_flight: objects under way or arrived, at most.
            ordered: hand out in the order of `uris`; otherwise as they arrive.
            now: the settings of this call.
        """
        self._arguments = (max_in_flight, int(now.window_mb * settings.MIB), ordered)
        self._reading = _Reading(Window(Source(uris), *self._arguments), max_in_flight, now)
        self._process = _process

    def __next__(self) -> Item:
        """The next (URI, bytes); waits until the object has arrived.

        Raises:
            StopIteration: after the last object, and after `close`.
            S3dlioError: the object could not be read; the iteration has ended.
        """
        if self._process != _process:
            self._reading = self._reading.in_child()
            self._process = _process
        return self._reading.take()

    def close(self) -> None:
        """End the reading, and wait until no object is under way. No object is handed out afterwards."""
        if self._process != _process:  # the thread, and whichever held the lock, exist in the parent only
            self._reading = self._reading.emptied(Window(Source(()), *self._arguments))
            self._process = _process
        if sys.is_finalizing():
            self._reading.stopped.set()
        else:
            self._reading.stop()

    def __del__(self) -> None:
        if (reading := getattr(self, "_reading", None)) and self._process == _process:
            reading.stopped.set()


class _Reading:
    """A window, and the thread that fills it.

    Attributes:
        stopped: once this is set no object is begun, and those under way end at their next pause. It needs no lock.
    """

    def __init__(self, window: Window, max_in_flight: int, now: settings.Settings) -> None:
        self.stopped = _Flag()
        self._window = window
        self._lock = window.lock
        self._changed = window.changed
        self._max_in_flight = max_in_flight
        self._settings = now
        self._stores = Stores()
        self._part = now.get_part_mb * settings.MIB
        self._begun: Iterator[tuple[int, str]] = iter(())  # what is to be read, in order
        self._thread: threading.Thread | None = None
        self._signal: Signal | None = None

    # The caller's side...

    def take(self) -> Item:
        """The next object. Waits for it; raises its error, or StopIteration after the last."""
        if _is_exiting:
            _refuse()
        window = self._window
        with self._lock:
            if self._thread is None and not self.stopped.is_set():
                self._start()
            while (item := window.hand_out()) is None and not (window.is_ended or self.stopped.is_set()):
                self._changed.wait(TICK)
            if item is not None and isinstance(item[1], memoryview):
                self._wake_readers()
                return item  # type: ignore[return-value]  # of which the second is known by now
        if item is None:
            if _is_exiting:
                _refuse()
            raise StopIteration
        self.stop()
        _, error = item
        assert isinstance(error, BaseException)
        raise error

    def stop(self) -> None:
        """Begin no other object, end those under way at their next pause, and wait until they have ended."""
        self.stopped.set()
        with self._lock:
            self._window.arrived.clear()
            self._wake_readers()
        if self._thread is not None:
            join(self._thread)

    def wait(self, seconds: float) -> None:
        """Wait at most some seconds for the thread to end. Another thread may be starting it at this moment."""
        deadline = time.monotonic() + seconds
        while self in _reading and time.monotonic() < deadline:
            time.sleep(0.001)

    def in_child(self) -> _Reading:
        """This reading, continued in a forked child."""
        child = self.emptied(self._window.in_child())
        if self.stopped.is_set():
            child.stopped.set()
        return child

    def emptied(self, window: Window) -> _Reading:
        """A reading like this one that has not begun, with another window."""
        return _Reading(window, self._max_in_flight, self._settings)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="s3dlio-read-ahead", daemon=True)
        _reading.add(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            _reading.discard(self)
            raise S3dlioError(
                f"cannot start a thread to read ahead: {error}; raise the limit on threads (ulimit -u)"
            ) from None

    def _wake_readers(self) -> None:
        self._changed.notify_all()
        if self._signal is not None:
            self._signal.set()

    # The thread's side...

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            objects = self._window.admitted()
            if (first := next(objects, None)) is not None:
                self._begun = itertools.chain([first], objects)
                if _is_blocking(first[1]):
                    self._read_in_threads()
                else:
                    self._read_on_engine()
        except BaseException as error:  # the caller's own iterable failed
            failure = error
        with self._lock:
            if self.stopped.is_set():
                self._window.arrived.clear()
                failure = None
            self._window.end(failure)
        _reading.discard(self)

    def _read_in_threads(self) -> None:
        for_each(
            self._with_room(),
            lambda item: run(self._get(*item), self.stopped),
            min(self._max_in_flight, FILE_THREADS),
        )

    def _read_on_engine(self) -> None:
        self._signal = Signal()

        async def read() -> None:
            await Gather(self._operations(), self._max_in_flight)

        try:
            with settings.held(self._settings):
                run(read(), self.stopped, self._wake_caller)
        finally:
            with self._lock:
                self._signal.close()
                self._signal = None

    def _with_room(self) -> Iterator[tuple[int, str]]:
        """(index, URI) of each object to read. Waits until there is room for it."""
        for index, uri in self._begun:
            with self._lock:
                while not self.stopped.is_set() and not self._window.has_room(index):
                    self._changed.wait(TICK)
                if self.stopped.is_set():
                    return
            yield index, uri

    def _operations(self) -> Iterator[Operation[None] | BatchedRequest | Signal]:
        """The operations that read the objects, for an engine. The engine must not wait here: while there is no room
        for the next object it gets a signal to watch.
        """
        signal = self._signal
        assert signal is not None
        for index, uri in self._begun:
            while not self._may_begin(index, signal):
                yield signal
            if self.stopped.is_set():
                return
            yield self._read_one(index, uri)

    def _may_begin(self, index: int, signal: Signal) -> bool:
        """Whether there is room for an object, or the reading ends. Otherwise the signal is set when to ask again."""
        with self._lock:
            signal.awaited = not self._window.has_room(index) and not self.stopped.is_set()
            return not signal.awaited

    def _read_one(self, index: int, text: str) -> Operation[None] | BatchedRequest:
        """The operation that reads an object: a large one in parts, a small one as one request of a batch."""
        large = self._window.largest > self._part
        if not large:
            try:
                uri = parse(text)
                return self._stores[uri.scheme].batched_get(uri, self._take_in, (index, text))
            except S3dlioError:
                pass  # `_get` raises the same error, and hands it out
        return self._get(index, text)

    async def _get(self, index: int, text: str) -> None:
        try:
            uri = parse(text)
            result: memoryview | BaseException = await self._stores[uri.scheme].get(uri)
        except Exception as error:
            result = error
        self._take_in((index, text), result)

    def _take_in(self, item: tuple[int, str], result: memoryview | BaseException) -> None:
        """Add an object, or its error, to the window, and wake the caller unless it is better to wait for others."""
        index, uri = item
        window = self._window
        with self._lock:
            if self.stopped.is_set():
                return
            window.arrive(index, uri, result)
            half_full = 2 * len(window.arrived) >= self._max_in_flight
            if half_full or self._signal is None or window.largest > SMALL_OBJECT:
                self._changed.notify_all()

    def _wake_caller(self) -> None:
        """Wake the caller if an object has arrived: the engine is about to wait."""
        with self._lock:
            if self._window.arrived:
                self._changed.notify_all()


def _is_blocking(text: str) -> bool:
    """Whether threads read this object. They also read an invalid URI, which gives its error."""
    try:
        return parse(text).scheme in FILE_SCHEMES
    except Exception:
        return True


# The end of the program...

_reading: set[_Reading] = set()  # those with a thread
_is_exiting = False


def _end() -> None:
    """End the threads while the interpreter still works."""
    global _is_exiting
    _is_exiting = True
    deadline = time.monotonic() + _CLEANING
    reading = list(_reading)
    for one in reading:
        one.stopped.set()
    for one in reading:
        one.wait(max(0.0, deadline - time.monotonic()))


def _refuse() -> None:
    """Hand out no object while the program ends: StopIteration would look like the end of the objects."""
    if threading.current_thread() is threading.main_thread():
        raise S3dlioError("get_many_iter reads no more objects: the interpreter is exiting")
    while True:
        time.sleep(TICK)


atexit.register(_end)
