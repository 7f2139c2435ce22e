"""Reading ahead: `get_many_iter`.

A thread that lives as long as the iterator keeps objects coming while the caller computes. It stays inside a window:
at most so many objects, and so many bytes, are under way or waiting to be taken. What an object will weigh is not
known before it has come, so the largest of those seen lately stands for it; the first goes alone.

The thread drives an engine where the first object is in a cloud store, and works with other threads where it is a file.

Small objects cost less than it costs to wake a thread, so they are handed over several at a time: a caller that waits
is woken when half a window has come or the engine has nothing else to do. With 64 KiB, sixteen in flight, that takes
66 µs of CPU time an object instead of 100.

The front, which the caller holds, and the state, which the thread holds, are two objects: dropping the front ends
the thread. In a forked child, where the thread does not exist, the front starts again with what it has not yet
handed out.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from s3dlio import settings
from s3dlio.errors import S3dlioError
from s3dlio.operations import TICK, Gather, Operation, Signal, run
from s3dlio.stores import store_for
from s3dlio.transfer.batch import THREADS
from s3dlio.uri import parse
from s3dlio.workers import for_each, join

if TYPE_CHECKING:
    from s3dlio.http.plain import Begun
    from s3dlio.http.read import Read

_SIZES_REMEMBERED = 32
_SMALL = 1 << 20  # bytes

Item = tuple[str, memoryview]

_process = os.getpid()  # which each call of the function would ask the kernel for


def _note_fork() -> None:
    global _process
    _process = os.getpid()


os.register_at_fork(after_in_child=_note_fork)


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
        self._state = _State(iter(uris), *self._arguments)
        self._process = _process

    def __next__(self) -> Item:
        if self._process != _process:
            self._state = _State(self._state.remaining(), *self._arguments)
            self._process = _process
        return self._state.take()

    def close(self) -> None:
        """End the reading and wait until nothing is under way. Nothing more is handed out."""
        if self._process != _process:  # the thread, and who held its lock, stayed behind in the parent
            self._state = _State(iter(()), *self._arguments)
            self._process = _process
        self._state.stop(wait=True)

    def __del__(self) -> None:
        if (state := getattr(self, "_state", None)) and self._process == _process:
            state.stop(wait=False)


class _State:
    """What the iterator and its thread share; every field is guarded by `_lock`."""

    def __init__(self, uris: Iterator[str], max_in_flight: int, window: int, ordered: bool) -> None:
        self._uris = uris
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
        self._handed_out = 0
        self._stopped = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._signal: Signal | None = None

    # The caller's side...

    def take(self) -> Item:
        """The next object. Waits for it; raises its error, or StopIteration after the last."""
        with self._lock:
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._read, name="s3dlio-read-ahead", daemon=True)
                self._thread.start()
            while (place := self._next_place()) is None:
                if self._ended or self._stopped.is_set():
                    raise StopIteration
                self._changed.wait(TICK)
            uri, result = self._waiting.pop(place)
            self._handed_out += 1
            if isinstance(result, memoryview):
                self._waiting_bytes -= len(result)
                self._room_made()
                return uri, result
        self.stop(wait=True)
        raise result

    def stop(self, *, wait: bool) -> None:
        """Start nothing more, and end what is under way at its next pause; with `wait`, return when it has ended."""
        with self._lock:
            self._stopped.set()
            self._waiting.clear()
            self._room_made()
        if wait and self._thread is not None:
            join(self._thread)

    def remaining(self) -> Iterator[str]:
        """What has not been handed out, in order; for a forked child, where nothing else uses this object."""
        begun = {place: uri for place, (uri, _) in self._waiting.items()} | self._under_way
        return itertools.chain((begun[place] for place in sorted(begun)), self._uris)

    def _next_place(self) -> int | None:
        if not self._ordered:
            return next(iter(self._waiting), None)
        return self._handed_out if self._handed_out in self._waiting else None

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
            for first in self._uris:
                self._uris = itertools.chain([first], self._uris)
                if store_for(parse(first).scheme).blocking:
                    self._read_in_threads()
                else:
                    self._read_on_engine()
                break
        except BaseException as error:  # the caller's own iterable failed, or its first URI is none
            failure = error
        with self._lock:
            if failure is not None and not self._stopped.is_set():
                place = self._handed_out + len(self._waiting)
                self._waiting[place] = ("", failure)
            self._ended = True
            self._changed.notify_all()

    def _read_in_threads(self) -> None:
        for_each(
            self._admitted(),
            lambda item: run(self._get(*item, split=True), self._stopped),
            min(self._max_in_flight, THREADS),
        )

    def _read_on_engine(self) -> None:
        self._signal = Signal()

        async def read() -> None:
            await Gather(self._operations(), self._max_in_flight)

        try:
            with settings.held():
                run(read(), self._stopped, self._tell)
        finally:
            with self._lock:
                self._signal.close()
                self._signal = None

    def _admitted(self) -> Iterator[tuple[int, str]]:
        """The next object each time, when there is room for it."""
        for place, uri in enumerate(self._uris):
            with self._lock:
                self._under_way[place] = uri
                while not self._stopped.is_set() and not self._has_room():
                    self._changed.wait()
                if self._stopped.is_set():
                    return
            yield place, uri

    def _operations(self) -> Iterator[Operation[None] | Read | Signal]:
        """The same for the engine, which must not be kept waiting: it gets a signal to listen to."""
        signal = self._signal
        assert signal is not None
        for place, uri in enumerate(self._uris):
            while not self._may_begin(place, uri, signal):
                yield signal
            if self._stopped.is_set():
                return
            yield self._read_one(place, uri)

    def _may_begin(self, place: int, uri: str, signal: Signal) -> bool:
        """Whether there is room for an object, or all is to end; otherwise the signal tells when to ask again."""
        with self._lock:
            self._under_way[place] = uri
            signal.awaited = not self._has_room() and not self._stopped.is_set()
            return not signal.awaited

    def _has_room(self) -> bool:
        """Whether one more object, the last of those under way, fits into the window."""
        count = len(self._under_way) + len(self._waiting)
        if count == 1:
            return True
        if not self._sizes:
            return False
        expected = self._waiting_bytes + len(self._under_way) * self._largest
        return count <= self._max_in_flight and expected <= self._window

    def _read_one(self, place: int, text: str) -> Operation[None] | Read:
        """What reads an object: of large ones each is split, of others many are read side by side."""
        large = not self._sizes or self._largest > settings.current().get_part_mb * settings.MIB
        if not large:
            try:
                uri = parse(text)
                return store_for(uri.scheme).read_one_of_many(uri, (place, text), self._take_in, self._go_on)
            except S3dlioError:
                pass  # to be met again where it can be handed out
        return self._get(place, text, split=large)

    def _go_on(self, item: tuple[int, str], begun: Begun | None) -> Operation[None]:
        return self._get(*item, begun=begun)

    async def _get(self, place: int, text: str, *, split: bool = False, begun: Begun | None = None) -> None:
        result: memoryview | BaseException
        try:
            uri = parse(text)
            store = store_for(uri.scheme)
            result = await (store.get(uri) if split else store.get_one_of_many(uri, begun))
        except Exception as error:
            result = error
        self._take_in((place, text), result)

    def _take_in(self, item: tuple[int, str], result: memoryview | BaseException) -> None:
        """An object has come, or failed."""
        place, text = item
        with self._lock:
            if self._stopped.is_set():
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
