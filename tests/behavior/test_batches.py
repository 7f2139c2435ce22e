# SPDX-License-Identifier: Apache-2.0
"""Many objects: get_many, get_many_iter, get_each, put_many, delete_many."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import s3dlio
from tests.behavior.content import content
from tests.threads import side_by_side


def _names(root: str, count: int) -> list[str]:
    return [f"{root}/object-{number}" for number in range(count)]


def _data(uri: str) -> bytes:
    number = int(uri.rpartition("-")[2])
    return content(number * 37_000 % 300_001, seed=number)


@pytest.fixture
def uris(root: str) -> list[str]:
    names = _names(root, 40)
    s3dlio.put_many((uri, _data(uri)) for uri in names)
    return names


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


# get_many...


@pytest.mark.parametrize("max_in_flight", [1, 2, 7, 64, 1000])
def test_results_come_in_the_order_of_the_input(uris: list[str], max_in_flight: int) -> None:
    wanted = uris[::-1] + uris[5:9]  # some occur twice
    found = s3dlio.get_many(wanted, max_in_flight)
    assert [uri for uri, _ in found] == wanted
    assert all(data == _data(uri) for uri, data in found)
    assert all(type(pair) is tuple and isinstance(pair[1], memoryview) for pair in found)


def test_a_name_given_twice_gives_two_views(uris: list[str]) -> None:
    (_, first), (_, second) = s3dlio.get_many([uris[3], uris[3]])
    first[:] = bytes(len(first))
    assert second == _data(uris[3])


def test_schemes_may_be_mixed(uris: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    mixed: list[str] = []
    for number, uri in enumerate(uris):
        local = f"{('file', 'direct')[number % 2]}://{folder}/object-{number}"
        s3dlio.put_bytes(local, _data(local))
        mixed += [uri, local]
    for found in (s3dlio.get_many(mixed), list(s3dlio.get_many_iter(mixed))):
        assert [uri for uri, _ in found] == mixed
        assert all(data == _data(uri) for uri, data in found)


def test_no_uris_give_an_empty_result(root: str) -> None:
    assert root
    assert s3dlio.get_many([]) == []
    assert list(s3dlio.get_many_iter([])) == []
    s3dlio.put_many([])


def test_any_iterable_of_uris_is_accepted(uris: list[str]) -> None:
    assert s3dlio.get_many(uri for uri in uris) == s3dlio.get_many(tuple(uris)) == s3dlio.get_many(dict.fromkeys(uris))


def test_the_error_of_a_failed_object_is_raised_and_names_it(root: str, uris: list[str]) -> None:
    missing = f"{root}/missing"
    with pytest.raises(s3dlio.ObjectNotFoundError) as caught:
        s3dlio.get_many([*uris[:20], missing, *uris[20:]])
    assert missing in str(caught.value)
    assert caught.value.uri == missing


def test_errors_can_be_returned_instead_of_bytes(root: str, uris: list[str]) -> None:
    missing, nonsense = f"{root}/missing", "nonsense"
    found = s3dlio.get_many([missing, uris[1], nonsense, uris[2], missing], return_errors=True)
    assert [uri for uri, _ in found] == [missing, uris[1], nonsense, uris[2], missing]
    assert [type(result) for _, result in found] == [
        s3dlio.ObjectNotFoundError,
        memoryview,
        s3dlio.InvalidURIError,
        memoryview,
        s3dlio.ObjectNotFoundError,
    ]
    assert found[1][1] == _data(uris[1])
    assert found[3][1] == _data(uris[2])


def test_a_malformed_uri_fails_before_anything_is_read(root: str) -> None:
    with pytest.raises(s3dlio.InvalidURIError, match="nonsense"):
        s3dlio.get_many([f"{root}/missing", "nonsense"])


@pytest.mark.parametrize("call", [s3dlio.get_many, s3dlio.get_many_iter])
def test_a_single_uri_instead_of_many_is_a_type_error(root: str, call: Callable[[str], object]) -> None:
    with pytest.raises(TypeError, match="iterable of URIs"):
        call(f"{root}/object")


@pytest.mark.parametrize("max_in_flight", [0, -1])
def test_at_least_one_must_be_in_flight(root: str, max_in_flight: int) -> None:
    with pytest.raises(ValueError, match="max_in_flight"):
        s3dlio.get_many([f"{root}/object"], max_in_flight)
    with pytest.raises(ValueError, match="max_in_flight"):
        s3dlio.get_many_iter([f"{root}/object"], max_in_flight)
    with pytest.raises(ValueError, match="max_in_flight"):
        s3dlio.put_many([(f"{root}/object", b"")], max_in_flight)


# get_many_iter...


@pytest.mark.parametrize("max_in_flight", [1, 2, 64])
def test_an_ordered_iterator_keeps_the_order(uris: list[str], max_in_flight: int) -> None:
    found = list(s3dlio.get_many_iter(uris, max_in_flight))
    assert [uri for uri, _ in found] == uris
    assert all(data == _data(uri) for uri, data in found)


@pytest.mark.parametrize("max_in_flight", [1, 2, 64])
def test_an_unordered_iterator_gives_each_object_once(uris: list[str], max_in_flight: int) -> None:
    found = list(s3dlio.get_many_iter(uris, max_in_flight, ordered=False))
    assert sorted(uri for uri, _ in found) == sorted(uris)
    assert all(data == _data(uri) for uri, data in found)


class _Source(Iterator[str]):
    """An endless iterator of URIs that counts how many were taken."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.taken = 0

    def __next__(self) -> str:
        self.taken += 1
        return self.uri


@pytest.fixture
def source(root: str) -> _Source:
    s3dlio.put_bytes(f"{root}/object", content(1 << 20))
    return _Source(f"{root}/object")


def test_the_iterator_reads_ahead_while_the_caller_works(source: _Source) -> None:
    objects = s3dlio.get_many_iter(source, max_in_flight=8)
    next(objects)
    _wait_until(lambda: source.taken >= 8)
    objects.close()


def test_the_iterator_reads_no_further_ahead_than_the_window_of_objects(source: _Source) -> None:
    objects = s3dlio.get_many_iter(source, max_in_flight=4)
    for taken in range(1, 20):
        next(objects)
        _wait_until(lambda: source.taken >= taken + 4)  # noqa: B023  # called before the next turn
        time.sleep(0.005)
        assert source.taken <= taken + 4 + 1  # the one that waits for room
    objects.close()


def test_the_iterator_reads_no_further_ahead_than_the_window_of_bytes(
    source: _Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3DLIO_WINDOW_MB", "3")
    objects = s3dlio.get_many_iter(source, max_in_flight=64)
    for taken in range(1, 20):
        next(objects)
        _wait_until(lambda: source.taken >= taken + 2)  # noqa: B023  # called before the next turn
        time.sleep(0.005)
        assert source.taken <= taken + 3 + 1
    objects.close()


def test_an_object_larger_than_the_window_is_read(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3DLIO_WINDOW_MB", "1")
    uris = [f"{root}/{number}" for number in range(5)]
    s3dlio.put_many((uri, content(2_500_000, seed=number)) for number, uri in enumerate(uris))
    found = list(s3dlio.get_many_iter(uris))
    assert [data == content(2_500_000, seed=number) for number, (_, data) in enumerate(found)] == [True] * 5


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_is_raised_at_the_turn_of_its_object_and_ends_the_iteration(
    root: str, uris: list[str], ordered: bool
) -> None:
    missing = f"{root}/missing"
    objects = s3dlio.get_many_iter([*uris[:10], missing, *uris[10:]], 1 if not ordered else 16, ordered)
    assert [next(objects)[0] for _ in range(10)] == uris[:10]
    with pytest.raises(s3dlio.ObjectNotFoundError, match="missing"):
        next(objects)
    with pytest.raises(StopIteration):
        next(objects)


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_of_the_iterable_is_raised_after_the_objects_that_it_gave(uris: list[str], ordered: bool) -> None:
    def source() -> Iterator[str]:
        yield from uris[:5]
        raise LookupError("the source failed")

    objects = s3dlio.get_many_iter(source(), ordered=ordered)
    assert sorted(next(objects)[0] for _ in range(5)) == sorted(uris[:5])
    with pytest.raises(LookupError, match="the source failed"):
        next(objects)
    with pytest.raises(StopIteration):
        next(objects)


def test_a_malformed_uri_fails_at_its_turn(uris: list[str]) -> None:
    objects = s3dlio.get_many_iter([uris[0], "nonsense"])
    assert next(objects)[0] == uris[0]
    with pytest.raises(s3dlio.InvalidURIError, match="nonsense"):
        next(objects)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("s3dlio")]


def test_close_ends_the_reading_and_its_thread(source: _Source) -> None:
    objects = s3dlio.get_many_iter(source)
    next(objects)
    objects.close()
    _wait_until(lambda: not _threads())
    taken = source.taken
    with pytest.raises(StopIteration):
        next(objects)
    objects.close()
    assert source.taken == taken


def test_dropping_the_iterator_ends_its_thread(source: _Source) -> None:
    objects = s3dlio.get_many_iter(source)
    next(objects)
    gone = weakref.ref(objects)
    del objects
    assert gone() is None
    _wait_until(lambda: not _threads())


def test_leaving_the_loop_ends_the_thread(source: _Source) -> None:
    for count, (_, data) in enumerate(s3dlio.get_many_iter(source)):
        assert len(data) == 1 << 20
        if count == 5:
            break
    gc.collect()
    _wait_until(lambda: not _threads())


def test_an_iterator_that_is_never_used_reads_nothing(source: _Source) -> None:
    objects = s3dlio.get_many_iter(source)
    del objects
    assert source.taken == 0
    assert not _threads()


# get_each...


@pytest.mark.parametrize("max_in_flight", [1, 7, 64])
def test_get_each_gives_each_object_once_and_keeps_none(uris: list[str], max_in_flight: int) -> None:
    given: list[str] = []
    kept: list[weakref.ref[memoryview]] = []

    def receive(uri: str, data: memoryview) -> None:
        assert data == _data(uri)
        given.append(uri)
        kept.append(weakref.ref(data))

    wanted = [*uris, uris[3]]
    s3dlio.get_each(iter(wanted), receive, max_in_flight)
    assert sorted(given) == sorted(wanted)
    assert not any(view() is not None for view in kept)
    s3dlio.get_each([], receive)


def test_get_each_takes_a_mix_of_schemes(uris: list[str], tmp_path: Path) -> None:
    other = f"direct://{tmp_path}/object-5"
    s3dlio.put_bytes(other, _data(other))
    given: dict[str, bytes] = {}
    s3dlio.get_each([uris[0], other, uris[1]], lambda uri, data: given.update({uri: bytes(data)}))
    assert given == {uri: _data(uri) for uri in (uris[0], other, uris[1])}


@pytest.mark.parametrize("max_in_flight", [1, 64])
def test_an_error_of_an_object_or_of_the_receiver_ends_get_each(root: str, uris: list[str], max_in_flight: int) -> None:
    with pytest.raises(s3dlio.ObjectNotFoundError) as caught:
        s3dlio.get_each([*uris[:3], f"{root}/missing"], lambda _, __: None, max_in_flight)
    assert caught.value.uri == f"{root}/missing"

    def refuse(uri: str, _: memoryview) -> None:
        raise RuntimeError(uri)

    source = itertools.cycle(uris)  # endless
    with pytest.raises(RuntimeError, match=root):
        s3dlio.get_each(source, refuse, max_in_flight)
    for wrong, in_flight, kind in ((uris[0], 1, TypeError), (uris, 0, ValueError)):
        with pytest.raises(kind):
            s3dlio.get_each(wrong, refuse, in_flight)


# put_many...


@pytest.mark.parametrize("max_in_flight", [1, 3, 64])
def test_put_many_writes_each_object(root: str, max_in_flight: int) -> None:
    names = _names(root, 30)
    s3dlio.put_many(((uri, _data(uri)) for uri in names), max_in_flight)
    assert all(data == _data(uri) for uri, data in s3dlio.get_many(names))
    assert s3dlio.list(root) == sorted(names)


def test_the_error_of_a_failed_put_names_it_and_the_other_objects_are_complete(root: str) -> None:
    names = _names(root, 20)
    wrong = "nonsense://there/is/no/such/scheme"
    with pytest.raises(s3dlio.InvalidURIError, match="nonsense"):
        s3dlio.put_many(
            [(uri, _data(uri)) for uri in names[:10]] + [(wrong, b"x")] + [(uri, b"") for uri in names[10:]]
        )
    assert all(s3dlio.get(uri) == _data(uri) for uri in s3dlio.list(root))


def test_put_many_refuses_what_put_bytes_refuses(root: str) -> None:
    with pytest.raises(TypeError, match="encode"):
        s3dlio.put_many([(f"{root}/object", "text")])  # type: ignore[list-item]
    assert not s3dlio.exists(f"{root}/object")


def test_an_error_of_the_pairs_is_raised(root: str) -> None:
    def pairs() -> Iterator[tuple[str, bytes]]:
        yield f"{root}/first", b"1"
        raise LookupError("the pairs failed")

    with pytest.raises(LookupError, match="the pairs failed"):
        s3dlio.put_many(pairs())
    assert s3dlio.get(f"{root}/first") == b"1"


def test_put_many_reports_each_object_when_it_is_written(root: str) -> None:
    steps: list[s3dlio.Progress] = []
    written: list[bool] = []

    def report(step: s3dlio.Progress) -> None:
        steps.append(step)
        if len(steps) % 10 == 1:
            written.append(s3dlio.get(step.uri) == _data(step.uri))

    names = _names(root, 40)
    s3dlio.put_many(((uri, _data(uri)) for uri in names), 8, progress=report)
    assert sorted(step.uri for step in steps) == sorted(names)
    assert [step.objects_done for step in steps] == list(range(1, 41))
    sizes = {uri: len(_data(uri)) for uri in names}
    assert [step.bytes_done for step in steps] == list(itertools.accumulate(sizes[step.uri] for step in steps))
    assert {(step.bytes_total, step.objects_total) for step in steps} == {(None, None)}
    assert written == [True] * 4


def test_an_exception_of_the_callback_ends_the_batch(root: str, uris: list[str]) -> None:
    def report(step: s3dlio.Progress) -> None:
        raise RuntimeError(step.uri)

    new = (f"{root}/new-{number}" for number in range(1000))
    old = iter(uris)
    with pytest.raises(RuntimeError, match=root):
        s3dlio.put_many(((uri, b"x") for uri in new), 4, progress=report)
    with pytest.raises(RuntimeError, match=root):
        s3dlio.delete_many(old, 4, progress=report)
    assert next(new, None) is not None
    assert next(old, None) is not None


# delete_many...


@pytest.mark.parametrize("max_in_flight", [1, 7, 64])
def test_delete_many_deletes_each_object_and_accepts_missing_ones(uris: list[str], max_in_flight: int) -> None:
    steps: list[s3dlio.Progress] = []
    s3dlio.delete_many(iter([*uris[3:], uris[5], f"{uris[0]}-missing"]), max_in_flight, progress=steps.append)
    assert s3dlio.list(uris[0].rpartition("/")[0]) == sorted(uris[:3])
    assert sorted(step.uri for step in steps) == sorted([*uris[3:], uris[5], f"{uris[0]}-missing"])
    assert [(step.bytes_done, step.objects_done) for step in steps] == [(0, number + 1) for number in range(len(steps))]


def test_delete_many_accepts_a_mix_of_schemes_and_no_uris(uris: list[str], tmp_path: Path) -> None:
    s3dlio.put_bytes(f"direct://{tmp_path}/object", b"x")
    s3dlio.delete_many([uris[0], f"direct://{tmp_path}/object", uris[1]])
    assert not any(map(s3dlio.exists, [*uris[:2], f"direct://{tmp_path}/object"]))
    s3dlio.delete_many([])


def test_the_error_of_a_failed_delete_names_it(root: str, uris: list[str]) -> None:
    s3dlio.put_bytes(f"{root}/folder/object", b"x")
    wrong = root.replace("://", ":/")
    with pytest.raises(s3dlio.InvalidURIError) as caught:
        s3dlio.delete_many([uris[0], wrong, uris[1]], 1)
    assert caught.value.uri == wrong
    assert s3dlio.exists(uris[1])
    with pytest.raises(TypeError, match="iterable of URIs"):
        s3dlio.delete_many(uris[1])
    with pytest.raises(ValueError, match="max_in_flight"):
        s3dlio.delete_many([uris[1]], 0)
    assert s3dlio.exists(uris[1])


# Threads...


def test_calls_from_many_threads_do_not_mix(uris: list[str]) -> None:
    def work(seed: int) -> None:
        for turn in range(10):
            uri = uris[(seed * 7 + turn) % len(uris)]
            assert s3dlio.get(uri) == _data(uri)
            assert [data == _data(uri) for uri, data in s3dlio.get_many(uris[seed : seed + 5])] == [True] * 5

    side_by_side([partial(work, seed) for seed in range(6)])
