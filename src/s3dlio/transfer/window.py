# SPDX-License-Identifier: Apache-2.0
"""The window of `get_many_iter`: which objects are under way, which have arrived, and whether another has room.

A window admits a number of objects and a number of bytes. The size of an object is unknown until it has arrived, so
the largest of those that arrived lately stands for it, and the first object goes alone.

Nothing here reads an object, starts a thread or waits.

A process may fork between any two steps, in any thread. The child takes no lock, since another thread may have held
it at the fork. `in_child` makes a new window from whatever the old one contains: what has arrived is handed out, what
was under way is read again, and then the source is continued. For that an object is always in at least one of three
sets: not yet taken from the source, under way, or arrived. So each step that moves an object adds it to the next set
before it removes it from the last one.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from s3dlio.errors import S3dlioError

_SIZES_REMEMBERED = 32


class Source:
    """The URIs that the caller gave, numbered from 0. Used by one thread at a time.

    Attributes:
        index: the number of the next URI.
        is_inside: whether a thread may be inside the caller's iterable, or holds a URI that is not noted yet.
    """

    def __init__(self, uris: Iterable[str], index: int = 0) -> None:
        """
        Args:
            uris: any iterable. After a fork a list or tuple is continued by index, and any other by its iterator.
            index: the number of the first URI to read.
        """
        self._list: Sequence[str] | None = uris if isinstance(uris, list | tuple) else None
        self._uris = iter(uris)
        self.index = index
        self.is_inside = False
        self._is_broken = False

    def next_into(self, under_way: dict[int, str]) -> int | None:
        """Note the next URI in `under_way` and return its index; None after the last.

        Raises:
            S3dlioError: the source cannot be continued after a fork.
            BaseException: what the caller's iterable raises. `is_inside` then stays true until it is reset: the child
                of a fork before that could not know of the error.
        """
        if self._is_broken:
            raise S3dlioError(
                "the process was forked while another thread was taking the next URI from the iterable that"
                " get_many_iter was given, so the child cannot continue; give it a list, or call it in the child"
            )
        index = self.index
        if self._list is not None:
            if index >= len(self._list):
                return None
            uri = self._list[index]
        else:
            self.is_inside = True
            try:
                uri = next(self._uris)
            except StopIteration:
                self.is_inside = False
                return None
        under_way[index] = uri
        self.index = index + 1
        self.is_inside = False
        return index

    def in_child(self) -> Source:
        """This source, continued in a forked child. A thread of the parent may have been anywhere in it."""
        child = Source(self._uris if self._list is None else self._list, self.index)
        child._is_broken = self.is_inside or self._is_broken
        return child


class Window:
    """The objects between the source and the caller. Every method needs `lock`, except `admitted` and `in_child`.

    Attributes:
        lock: guards the window. Use it rather than `changed` in a with statement: that is faster.
        changed: notified when the caller or the readers may continue.
        is_ended: whether no other object arrives.
        arrived: (URI, bytes or error) by index of the objects that wait for the caller.
        largest: bytes of the largest object that has arrived lately; infinite before the first.
    """

    def __init__(self, source: Source, max_in_flight: int, most_bytes: int, ordered: bool) -> None:
        """
        Args:
            source: the URIs.
            max_in_flight: objects under way or arrived, at most.
            most_bytes: bytes under way or arrived, at most; a single object may exceed that.
            ordered: hand objects out in the order of the source; otherwise as they arrive.
        """
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.is_ended = False
        self.arrived: dict[int, tuple[str, memoryview | BaseException]] = {}
        self.largest: float = math.inf
        self._source = source
        self._max_in_flight = max_in_flight
        self._most_bytes = most_bytes
        self._ordered = ordered
        self._under_way: dict[int, str] = {}
        self._arrived_bytes = 0
        self._sizes: deque[int] = deque(maxlen=_SIZES_REMEMBERED)
        self._inherited: dict[int, str] = {}  # in a forked child: what the parent had under way
        self._first_new = source.index  # objects before this one had their room in the parent already
        self._next = 0  # index of the object to hand out next, if in order

    # From the source...

    def admitted(self) -> Iterator[tuple[int, str]]:
        """(index, URI) of every object to read; each is under way from then on. Used by one thread at a time.

        Raises:
            BaseException: what the caller's iterable raises.
        """
        while self._inherited:
            index = next(iter(self._inherited))
            self._under_way[index] = self._inherited[index]
            yield index, self._inherited.pop(index)
        while (begun := self._source.next_into(self._under_way)) is not None:
            yield begun, self._under_way[begun]

    def has_room(self, index: int) -> bool:
        """Whether the object of this index, which counts as under way already, may be read now."""
        count = len(self._under_way) + len(self.arrived)
        if count == 1 or index < self._first_new:
            return True
        expected = self._arrived_bytes + len(self._under_way) * self.largest
        return count <= self._max_in_flight and expected <= self._most_bytes

    # From a reader...

    def arrive(self, index: int, uri: str, result: memoryview | BaseException) -> None:
        """Take in an object, or its error."""
        self.arrived[index] = uri, result
        del self._under_way[index]  # after the line above, for a fork in between
        if isinstance(result, memoryview):
            self._arrived_bytes += len(result)
            self._remember(len(result))

    def end(self, failure: BaseException | None) -> None:
        """Note that no other object arrives.

        Args:
            failure: an error of the caller's iterable or of the readers. The caller gets it instead of the first object
                that is missing.
        """
        if failure is not None:
            self.arrived[min(self._under_way, default=self._source.index)] = ("", failure)
        self.is_ended = True
        self._source.is_inside = False  # last: until now the failure was not noted
        self.changed.notify_all()

    # To the caller...

    def hand_out(self) -> tuple[str, memoryview | BaseException] | None:
        """(URI, bytes or error) of the next object, which leaves the window; None if it has not arrived."""
        index = self._next if self._ordered else next(iter(self.arrived), -1)
        if index not in self.arrived:
            return None
        self._next = index + 1  # before the line below: the child of a fork in between must not wait for this object
        item = self.arrived.pop(index)
        if isinstance(item[1], memoryview):
            self._arrived_bytes -= len(item[1])
        return item

    # After a fork...

    def in_child(self) -> Window:
        """A window for a forked child, with everything that this one has not handed out.

        No lock is taken: in the child no other thread uses this window.
        """
        source = self._source.in_child()
        first = self._next if self._ordered else 0
        begun = self._inherited | self._under_way
        for index in begun.keys() | self.arrived.keys():
            source.index = max(source.index, index + 1)
        child = Window(source, self._max_in_flight, self._most_bytes, self._ordered)
        child._next = self._next
        child.arrived = {index: item for index, item in self.arrived.items() if index >= first}
        missing = sorted(begun.keys() - self.arrived.keys())
        child._inherited = {index: begun[index] for index in missing if index >= first}
        for _, result in child.arrived.values():
            if isinstance(result, memoryview):
                child._arrived_bytes += len(result)
                child._remember(len(result))
        return child

    def _remember(self, size: int) -> None:
        sizes = self._sizes
        forgotten = sizes[0] if len(sizes) == _SIZES_REMEMBERED else None
        sizes.append(size)
        if size >= self.largest or self.largest == math.inf:
            self.largest = size
        elif forgotten == self.largest:
            self.largest = max(sizes)
