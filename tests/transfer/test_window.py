# SPDX-License-Identifier: Apache-2.0
"""The window of `get_many_iter`: how many objects it admits, their order, and forks at any moment."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import pytest

from s3dlio.errors import S3dlioError
from s3dlio.transfer import window as module
from s3dlio.transfer.window import Source, Window

URIS = [f"file:///{number}" for number in range(12)]


def _window(uris: Iterable[str] = URIS, most: int = 4, most_bytes: int = 1000, ordered: bool = True) -> Window:
    return Window(Source(uris), most, most_bytes, ordered)


def _returned(window: Window) -> list[str]:
    """The URIs of all objects that can be returned now."""
    found = []
    while (item := window.hand_out()) is not None:
        found.append(item[0])
    return found


def _admitted_together(window: Window, objects: Iterator[tuple[int, str]]) -> list[int]:
    """The objects that the window admits before another arrives."""
    found = []
    for index, _ in objects:
        if not window.has_room(index):
            break
        found.append(index)
    return found


def test_the_first_object_is_read_alone_and_then_as_many_as_may_be_in_flight() -> None:
    window = _window()
    objects = window.admitted()
    assert _admitted_together(window, objects) == [0]
    window.arrive(0, URIS[0], memoryview(bytes(10)))
    assert window.has_room(1)
    assert _admitted_together(window, objects) == [2, 3]  # four with those that arrived or were admitted before
    assert not window.has_room(4)
    assert _returned(window) == [URIS[0]]
    assert window.has_room(4)


@pytest.mark.parametrize(("size", "count"), [(100, 10), (250, 4), (999, 1), (5000, 1)])
def test_the_largest_object_that_arrived_lately_limits_how_many_are_read(size: int, count: int) -> None:
    window = _window(most=64)
    objects = window.admitted()
    window.arrive(next(objects)[0], URIS[0], memoryview(bytes(size)))
    assert _returned(window) == [URIS[0]]
    assert len(_admitted_together(window, objects)) == count


def test_the_size_of_an_object_is_forgotten_after_some_smaller_ones() -> None:
    window = _window([*URIS * 4])
    for number, (index, uri) in enumerate(window.admitted()):
        window.arrive(index, uri, memoryview(bytes(900 if number == 0 else 10)))
        assert window.largest == (900 if number < 32 else 10)


@pytest.mark.parametrize("ordered", [True, False])
def test_objects_are_returned_in_order_or_as_they_arrive(ordered: bool) -> None:
    window = _window(ordered=ordered)
    begun = [next(objects) for objects in [window.admitted()] for _ in range(4)]
    for index, uri in reversed(begun):
        window.arrive(index, uri, memoryview(b"x"))
    expected = [uri for _, uri in begun]
    assert _returned(window) == (expected if ordered else expected[::-1])


@pytest.mark.parametrize("begun", [0, 3])
def test_a_failure_is_returned_after_the_objects_that_arrived(begun: int) -> None:
    window = _window()
    objects = window.admitted()
    for _ in range(begun):
        window.arrive(*next(objects), memoryview(b"x"))
    failure = LookupError("no further URI")
    with window.lock:
        window.end(failure)
    assert [window.hand_out() for _ in range(begun)] == [(uri, memoryview(b"x")) for uri in URIS[:begun]]
    assert window.hand_out() == ("", failure)
    assert window.is_ended


# Forks...


def _rest(child: Window) -> list[str]:
    """What a child of a fork returns when it reads everything that is left."""
    for index, uri in child.admitted():
        child.arrive(index, uri, memoryview(b"x"))
    return _returned(child)


def _use(window: Window, returned: list[str]) -> None:
    """Read all objects, three at a time; the one begun first arrives last."""
    objects = window.admitted()
    while begun := list(itertools.islice(objects, 3)):
        for index, uri in reversed(begun):
            window.has_room(index)
            window.arrive(index, uri, memoryview(b"x"))
        while (item := window.hand_out()) is not None:
            returned.append(item[0])
    with window.lock:
        window.end(None)


@pytest.mark.parametrize("uris", [list(URIS), tuple(URIS)], ids=["list", "tuple"])
def test_a_fork_between_any_two_lines_loses_no_object(uris: Iterable[str]) -> None:
    returned: list[str] = []
    window = _window(uris)
    forks = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal forks
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            before = sys.gettrace()
            sys.settrace(None)
            rest = _rest(window.in_child())
            sys.settrace(before)
            being_returned = frame.f_code.co_name == "hand_out"
            assert rest in (URIS[len(returned) :], URIS[len(returned) + 1 :] if being_returned else None)
            forks += 1
        return trace

    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        _use(window, returned)
    finally:
        sys.settrace(outer)
    assert returned == URIS
    assert forks > 300


def test_a_child_inherits_what_was_under_way_in_a_child() -> None:
    window = _window()
    objects = window.admitted()
    for _ in range(3):
        next(objects)
    window.arrive(1, URIS[1], memoryview(b"x"))
    child = window.in_child()
    next(child.admitted())
    assert _rest(child.in_child()) == URIS


def test_an_iterable_that_another_thread_was_inside_of_cannot_be_continued() -> None:
    children: list[Window] = []

    def uris() -> Iterator[str]:
        yield URIS[0]
        children.append(window.in_child())  # as by a fork in another thread at this moment
        yield URIS[1]

    window = _window(uris())
    objects = window.admitted()
    next(objects)
    next(objects)
    (child,) = children
    again = child.admitted()
    assert next(again) == (0, URIS[0])
    with pytest.raises(S3dlioError, match="forked while another thread"):
        next(again)
