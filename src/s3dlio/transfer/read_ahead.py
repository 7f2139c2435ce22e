# SPDX-License-Identifier: Apache-2.0
"""Reading ahead: `get_many_iter`.

A thread that lives as long as the iterator keeps objects coming while the caller computes. It stays inside a window:
at most so many objects, and so many bytes, are under way or waiting to be taken. What an object will weigh is not
known before it has come, so the largest of those seen lately stands for it; the first goes alone.

The thread drives an engine where the first object is in a cloud store, and works with other threads where it is a file.

Small objects cost less than it costs to wake a thread, so they are handed over several at a time: a caller that waits
is woken when half a window has come or the engine has nothing else to do. With 64 KiB, sixteen in flight, that takes
66 µs of CPU time an object instead of 100.

The front, which the caller holds, and the state, which the thread holds, are two objects: dropping the front ends
the thread. Three rules keep every end of an iterator from hanging:

- Collection. `__del__` runs at any allocation, in any thread, also inside a locked section of this module. It sets a
  flag and takes no lock; the thread sees the flag within 0.1 s.
- Exit. The interpreter stops daemon threads wherever they are, and a lock that one of them held stays locked. So an
  atexit handler ends the threads before that happens, and no lock is taken later. It waits at most 1 s: a thread may be
  inside the caller's own iterable, or in a system call that never returns. An iterator that is used afterwards, by
  another atexit handler, raises an error; a daemon thread that uses one stops there, as it soon would anywhere.
- Fork. The thread does not exist in a child, and its lock may be held for ever. The front makes a new state from the
  old one, without a lock: what has arrived is handed out, what was under way is read again, and then the source is
  continued. Every change of the state is made in an order in which a fork between two steps loses nothing. A list or a
  tuple continues at the next place. Any other iterable that another thread was inside of at the fork cannot be
  continued: after what was taken from it the child gets an error.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from s3dlio import forks, settings
from s3dlio.errors import S3dlioError
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import TICK, Operation
from s3dlio.runtime.run import run
from s3dlio.runtime.threads import for_each, join
from s3dlio.runtime.wakeup import Signal
from s3dlio.stores import store_for
from s3dlio.transfer.batch import THREADS
from s3dlio.uri import parse

if TYPE_CHECKING:
    from s3dlio.objects.batched import BatchedRequest

_SIZES_REMEMBERED = 32
_SMALL = 1 << 20  # bytes
_CLEANING = 1.0  # seconds that the threads have at the end of the program

Item = tuple[str, memoryview]

_process = os.getpid()  # which each call of the function would ask the kernel for


@forks.in_child
def _note_fork() -> None:
    global _process
    _process = os.getpid()
    _reading.clear()


class _Flag(threading.Event):
    """An event that nobody waits for. Setting it takes no lock, so a finalizer may do that."""

    def __init__(self) -> None:
        super().__init__()
        self._raised = False

    def set(self) -> None:
        self._raised = True

    def is_set(self) -> bool:
        return self._raised


class ReadAhead(Iterator[Item]):
    """An iterator of (URI, bytes). `close` ends the reading; so does dropping the iterator."""

    def __init__(self, uris: Iterable[str], max_in_flight: int, window: int, ordered: bool) -> None:
        """
        Args:
            uris: the objects; consumed as the reading goes on.
            max_in_flight: objects under way or waiting, at most.
            window: bytes under way or waiting, at most; one object may exceed it.
            ordered: hand out in the order of `uris`; otherwise as they come.
        """
        self._arguments = (max_in_flight, window, ordered)
        self._state = _State(_Source(uris), *self._arguments)
        self._process = _process

    def __next__(self) -> Item:
        if self._process != _process:
            self._state = self._state.in_child(_State(self._state.source.in_child(), *self._arguments))
            self._process = _process
        return self._state.take()

    def close(self) -> None:
        """End the reading and wait until nothing is under way. Nothing more is handed out."""
        if self._process != _process:  # the thread, and who held its lock, stayed behind in the parent
            self._state = _State(_Source(()), *self._arguments)
            self._process = _process
        if sys.is_finalizing():
            self._state.stopped.set()
        else:
            self._state.stop()

    def __del__(self) -> None:
        if (state := getattr(self, "_state", None)) and self._process == _process:
            state.stopped.set()


class _Source:
    """The URIs that were given, each with its place. Used by one thread at a time.

    Attributes:
        place: the place of the next one.
        is_inside: whether a thread may be inside the caller's iterable, or hold what that has just given.
    """

    def __init__(self, uris: Iterable[str], place: int = 0) -> None:
        self._list: Sequence[str] | None = uris if isinstance(uris, list | tuple) else None
        self._uris = iter(uris)
        self.place = place
        self.is_inside = False
        self._is_broken = False

    def next_into(self, under_way: dict[int, str]) -> int | None:
        """Note the next one in `under_way` and return its place; None after the last. Raises what the iterable raises.

        An iterable that raised counts as being inside of it until `is_inside` is reset: its error is not noted yet.
        """
        if self._is_broken:
            raise S3dlioError(
                "the process was forked while another thread was taking the next URI from the iterable that"
                " get_many_iter was given, so the child cannot continue: give it a list, or call it in the child"
            )
        place = self.place
        if self._list is not None:
            if place >= len(self._list):
                return None
            uri = self._list[place]
        else:
            self.is_inside = True
            try:
                uri = next(self._uris)
            except StopIteration:
                self.is_inside = False
                return None
        under_way[place] = uri
        self.place = place + 1
        self.is_inside = False
        return place

    def in_child(self) -> _Source:
        """The same for a forked child, whose parent may have been anywhere in it."""
        child = _Source(self._uris if self._list is None else self._list, self.place)
        child._is_broken = self.is_inside or self._is_broken
        return child


class _State:
    """What the iterator and its thread share; every field but `stopped` is guarded by `_lock`."""

    def __init__(self, source: _Source, max_in_flight: int, window: int, ordered: bool) -> None:
        self.source = source
        self.stopped = _Flag()
        self._max_in_flight = max_in_flight
        self._window = window
        self._ordered = ordered
        # Used by itself: the condition's own methods around it are slow.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._under_way: dict[int, str] = {}
        self._waiting: dict[int, tuple[str, memoryview | BaseException]] = {}
        self._waiting_bytes = 0
        self._sizes: deque[int] = deque(maxlen=_SIZES_REMEMBERED)
        self._largest = 0  # of those; 0 as long as none has come
        self._again: dict[int, str] = {}  # what the parent of a forked child had under way
        self._first = source.place  # what comes before it had its room in the parent of a forked child
        self._started: Iterator[tuple[int, str]] = iter(())
        self._next = 0  # the place of what is handed out next, if in order
        self._ended = False
        self._thread: threading.Thread | None = None
        self._signal: Signal | None = None

    # The caller's side...

    def take(self) -> Item:
        """The next object. Waits for it; raises its error, or StopIteration after the last."""
        if _is_exiting:
            _refuse()
        with self._lock:
            if self._thread is None and not self.stopped.is_set():
                self._start()
            while (place := self._next_place()) is None and not (self._ended or self.stopped.is_set()):
                self._changed.wait(TICK)
            if place is not None:
                self._next = place + 1  # first: after a fork between the two lines the child must not wait for it
                uri, result = self._waiting.pop(place)
                if isinstance(result, memoryview):
                    self._waiting_bytes -= len(result)
                    self._room_made()
                    return uri, result
        if place is None:
            if _is_exiting:
                _refuse()
            raise StopIteration
        self.stop()
        assert isinstance(result, BaseException)
        raise result

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._read, name="s3dlio-read-ahead", daemon=True)
        _reading.add(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            _reading.discard(self)
            raise S3dlioError(f"no thread could be started to read ahead: {error}") from None

    def stop(self) -> None:
        """Start nothing more, end what is under way at its next pause, and wait until that has ended."""
        self.stopped.set()
        with self._lock:
            self._waiting.clear()
            self._room_made()
        if self._thread is not None:
            join(self._thread)

    def wait(self, seconds: float) -> None:
        """Wait for the thread to end, at most so long; another thread may be starting it just now."""
        deadline = time.monotonic() + seconds
        while self in _reading and time.monotonic() < deadline:
            time.sleep(0.001)

    def in_child(self, child: _State) -> _State:
        """Give a new state, in a forked child, what this one has not handed out. Takes no lock: nothing else runs."""
        first = self._next if self._ordered else 0
        child._waiting = {place: item for place, item in self._waiting.items() if place >= first}
        begun = self._again | self._under_way
        child._again = {place: begun[place] for place in sorted(begun.keys() - self._waiting.keys()) if place >= first}
        for place in begun.keys() | self._waiting.keys():
            child.source.place = max(child.source.place, place + 1)
        child._first = child.source.place
        child._next = self._next
        for _, result in child._waiting.values():
            if isinstance(result, memoryview):
                child._waiting_bytes += len(result)
                child._remember(len(result))
        if self.stopped.is_set():
            child.stopped.set()
        return child

    def _next_place(self) -> int | None:
        if not self._ordered:
            return next(iter(self._waiting), None)
        return self._next if self._next in self._waiting else None

    def _is_small(self) -> bool:
        """Whether objects are such that waking the other thread for a single one would not pay."""
        return self._largest <= _SMALL

    def _room_made(self) -> None:
        self._changed.notify_all()
        if self._signal is not None:
            self._signal.set()

    # The thread's side...

    def _read(self) -> None:
        failure: BaseException | None = None
        try:
            places = self._places()
            if (first := next(places, None)) is not None:
                self._started = itertools.chain([first], places)
                if self._is_blocking(first):
                    self._read_in_threads()
                else:
                    self._read_on_engine()
        except BaseException as error:  # the caller's own iterable failed
            failure = error
        with self._lock:
            if self.stopped.is_set():
                self._waiting.clear()
            elif failure is not None:
                # In the place of the first object that does not come: the caller must meet it, not an end.
                self._waiting[min(self._under_way, default=self.source.place)] = ("", failure)
            self._ended = True
            self.source.is_inside = False  # last: until now its failure was not noted
            self._changed.notify_all()
        _reading.discard(self)

    def _is_blocking(self, first: tuple[int, str]) -> bool:
        """Whether the first object is read by threads. So is a URI that is none: reading it gives its error."""
        try:
            return store_for(parse(first[1]).scheme).blocking
        except Exception:
            return True

    def _places(self) -> Iterator[tuple[int, str]]:
        """What is to be read: first, in a forked child, what its parent had under way."""
        while self._again:
            place = next(iter(self._again))
            self._under_way[place] = self._again[place]
            uri = self._again.pop(place)
            yield place, uri
        while (begun := self.source.next_into(self._under_way)) is not None:
            yield begun, self._under_way[begun]

    def _read_in_threads(self) -> None:
        for_each(
            self._admitted(),
            lambda item: run(self._get(*item), self.stopped),
            min(self._max_in_flight, THREADS),
        )

    def _read_on_engine(self) -> None:
        self._signal = Signal()

        async def read() -> None:
            await Gather(self._operations(), self._max_in_flight)

        try:
            with settings.held():
                run(read(), self.stopped, self._tell)
        finally:
            with self._lock:
                self._signal.close()
                self._signal = None

    def _admitted(self) -> Iterator[tuple[int, str]]:
        """The next object each time, when there is room for it."""
        for place, uri in self._started:
            with self._lock:
                while not self.stopped.is_set() and not self._has_room(place):
                    self._changed.wait(TICK)
                if self.stopped.is_set():
                    return
            yield place, uri

    def _operations(self) -> Iterator[Operation[None] | BatchedRequest | Signal]:
        """The same for the engine, which must not be kept waiting: it gets a signal to listen to."""
        signal = self._signal
        assert signal is not None
        for place, uri in self._started:
            while not self._may_begin(place, signal):
                yield signal
            if self.stopped.is_set():
                return
            yield self._read_one(place, uri)

    def _may_begin(self, place: int, signal: Signal) -> bool:
        """Whether there is room for an object, or all is to end; otherwise the signal tells when to ask again."""
        with self._lock:
            signal.awaited = not self._has_room(place) and not self.stopped.is_set()
            return not signal.awaited

    def _has_room(self, place: int) -> bool:
        """Whether one more object, the last of those under way, fits into the window."""
        count = len(self._under_way) + len(self._waiting)
        if count == 1 or place < self._first:
            return True
        if not self._sizes:
            return False
        expected = self._waiting_bytes + len(self._under_way) * self._largest
        return count <= self._max_in_flight and expected <= self._window

    def _read_one(self, place: int, text: str) -> Operation[None] | BatchedRequest:
        """What reads an object: of large ones each is split, of others many are read side by side."""
        large = not self._sizes or self._largest > settings.current().get_part_mb * settings.MIB
        if not large:
            try:
                uri = parse(text)
                return store_for(uri.scheme).batched_get(uri, partial(self._take_in, place, text))
            except S3dlioError:
                pass  # to be met again where it can be handed out
        return self._get(place, text)

    async def _get(self, place: int, text: str) -> None:
        try:
            uri = parse(text)
            result: memoryview | BaseException = await store_for(uri.scheme).get(uri)
        except Exception as error:
            result = error
        self._take_in(place, text, result)

    def _take_in(self, place: int, text: str, result: memoryview | BaseException) -> None:
        """An object has come, or failed."""
        with self._lock:
            if self.stopped.is_set():
                return
            self._waiting[place] = (text, result)
            del self._under_way[place]  # last: a fork between the two lines must not lose it for the child
            if isinstance(result, memoryview):
                self._waiting_bytes += len(result)
                self._remember(len(result))
            if self._signal is None or not self._is_small() or 2 * len(self._waiting) >= self._max_in_flight:
                self._changed.notify_all()

    def _remember(self, size: int) -> None:
        sizes = self._sizes
        forgotten = sizes[0] if len(sizes) == _SIZES_REMEMBERED else 0
        sizes.append(size)
        if size >= self._largest:
            self._largest = size
        elif forgotten == self._largest:
            self._largest = max(sizes)

    def _tell(self) -> None:
        """The engine is about to wait: so that the caller does not, hand over what there is."""
        with self._lock:
            if self._waiting:
                self._changed.notify_all()


# The end of the program...

_reading: set[_State] = set()  # those with a thread
_is_exiting = False


def _end() -> None:
    """Ends the threads while the interpreter still works."""
    global _is_exiting
    _is_exiting = True
    deadline = time.monotonic() + _CLEANING
    reading = list(_reading)
    for state in reading:
        state.stopped.set()
    for state in reading:
        state.wait(max(0.0, deadline - time.monotonic()))


def _refuse() -> None:
    """No object is handed out any more: the end of the iteration would look like the end of the objects."""
    if threading.current_thread() is threading.main_thread():
        raise S3dlioError("get_many_iter reads nothing more: the interpreter is exiting")
    while True:
        time.sleep(TICK)


atexit.register(_end)
