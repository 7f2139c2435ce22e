# SPDX-License-Identifier: Apache-2.0
"""Every verb meets every fault, once and always: it gives the right bytes, or the right error in limited time.

All verbs run side by side, in threads, each on a separate folder, by whose name the proxy recognizes their
requests. "Once" breaks one request of the verb, drawn at random with a seed; "always" breaks all of them.
Afterward, without faults, the test checks that a failed write has left the complete old or new object.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import s3dlio
from s3dlio.errors import (
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from tests.faults.conftest import SHORT_DEADLINES, Broken, ended, survived
from tests.faults.protocols import PROTOCOLS, Protocol
from tests.faults.proxy import KINDS, Asked, Fault

_BOUND = 30  # seconds that a call may take at most, on a machine that runs all verbs concurrently
_SEED = 7
_THREADS = 48


@functools.cache
def _bytes(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


_SMALL = _bytes(10_000, 1)
_LARGE = _bytes((5 << 19) + 11, 2)  # three parts to read
_UPLOAD = _bytes(300_000, 3)
_PARTS = _bytes((5 << 20) + 70_000, 4)  # two parts to write
_OLD = _bytes(2_000, 5)
_MANY = 4


class Verb(NamedTuple):
    """A call that meets a fault.

    Attributes:
        name: of the call.
        requests: how many it makes.
        prepare: given the folder, puts there what the call needs.
        call: makes it, and fails if its result is not the right one.
        check: looks, after the call has failed, that nothing half is left.
    """

    name: str
    requests: int
    prepare: Callable[[str], object]
    call: Callable[[str, Path], object]
    check: Callable[[str, Path], object]


def _nothing(*_: object) -> None:
    """Reads change nothing."""


def _put(name: str, data: bytes) -> Callable[[str], None]:
    return lambda root: s3dlio.put_bytes(f"{root}/{name}", data)


def _put_many(root: str) -> None:
    s3dlio.put_many((uri, _bytes(5_000, number)) for number, uri in enumerate(_uris(root)))


def _uris(root: str) -> list[str]:
    return [f"{root}/many/{number}" for number in range(_MANY)]


def _equal(got: object, expected: object) -> None:
    assert got == expected, "wrong bytes" if isinstance(expected, bytes) else (got, expected)


def _get_many(root: str) -> None:
    pairs = s3dlio.get_many(_uris(root), max_in_flight=3)
    _equal([bytes(data) for _, data in pairs], [_bytes(5_000, number) for number in range(_MANY)])


def _get_many_async(root: str) -> None:
    pairs = asyncio.run(s3dlio.get_many_async(_uris(root), max_in_flight=3))
    _equal([bytes(data) for _, data in pairs], [_bytes(5_000, number) for number in range(_MANY)])


def _get_many_iter(root: str) -> None:
    for number, (uri, data) in enumerate(s3dlio.get_many_iter(_uris(root), max_in_flight=3)):
        _equal((uri, bytes(data)), (_uris(root)[number], _bytes(5_000, number)))


def _write(root: str) -> None:
    with s3dlio.MultipartUploadWriter.from_uri(f"{root}/target") as writer:
        for start in range(0, len(_PARTS), 2_000_000):
            writer.write(_PARTS[start : start + 2_000_000])


def _upload(root: str, scratch: Path) -> None:
    source = scratch / "source"
    source.write_bytes(_UPLOAD)
    s3dlio.upload(source, f"{root}/target")


def _download(root: str, scratch: Path) -> None:
    s3dlio.download(f"{root}/small", scratch / "copy")
    _equal((scratch / "copy").read_bytes(), _SMALL)


def _no_half_file(_: str, scratch: Path) -> None:
    assert [entry.read_bytes() == _SMALL for entry in scratch.iterdir()] in ([], [True])


def _replace(call: Callable[[str, Path], object], new: bytes) -> tuple[Callable[[str, Path], object], ...]:
    """A call that replaces `target`, and what looks that it did, or did not, but nothing between."""

    def call_and_look(root: str, scratch: Path) -> None:
        call(root, scratch)
        _afterwards(root)
        _equal(s3dlio.get(f"{root}/target"), new)

    def check(root: str, _: Path) -> None:
        assert bytes(s3dlio.get(f"{root}/target")) in (_OLD, new), "half an object"

    return call_and_look, check


def _remove(root: str, *, recursive: bool) -> None:
    s3dlio.delete(f"{root}/many" if recursive else f"{root}/many/0", recursive=recursive)
    _afterwards(root)
    _equal(s3dlio.list(f"{root}/many"), [] if recursive else sorted(_uris(root)[1:]))


def _list_is_right(list_folder: Callable[[str], list[str]]) -> Callable[[str, Path], None]:
    return lambda root, _: _equal(sorted(list_folder(f"{root}/many")), sorted(_uris(root)))


def _replace_many(root: str, _: Path) -> None:
    s3dlio.put_many(((uri, _bytes(20_000, number)) for number, uri in enumerate(_uris(root))), max_in_flight=2)
    _afterwards(root)
    _get_all(root, [_bytes(20_000, number) for number in range(_MANY)])


def _get_all(root: str, expected: list[bytes]) -> None:
    _equal([s3dlio.get(uri).tobytes() for uri in _uris(root)], expected)


def _none_half(root: str, _: Path) -> None:
    for number, uri in enumerate(_uris(root)):
        assert bytes(s3dlio.get(uri)) in (_bytes(5_000, number), _bytes(20_000, number)), "half an object"


_target = _put("target", _OLD)
_small = _put("small", _SMALL)

VERBS = [
    Verb("get", 1, _small, lambda root, _: _equal(s3dlio.get(f"{root}/small"), _SMALL), _nothing),
    Verb("get of parts", 3, _put("l", _LARGE), lambda root, _: _equal(s3dlio.get(f"{root}/l"), _LARGE), _nothing),
    Verb(
        "get_range",
        1,
        _small,
        lambda root, _: _equal(s3dlio.get_range(f"{root}/small", 100, 5_000), _SMALL[100:5_100]),
        _nothing,
    ),
    Verb("get_many", _MANY, _put_many, lambda root, _: _get_many(root), _nothing),
    Verb("get_many_async", _MANY, _put_many, lambda root, _: _get_many_async(root), _nothing),
    Verb("get_many_iter", _MANY, _put_many, lambda root, _: _get_many_iter(root), _nothing),
    Verb("list", 1, _put_many, _list_is_right(s3dlio.list), _nothing),
    Verb("list_iter", 1, _put_many, _list_is_right(lambda uri: list(s3dlio.list_iter(uri, recursive=True))), _nothing),
    Verb("stat", 1, _small, lambda root, _: _equal(s3dlio.stat(f"{root}/small")["size"], len(_SMALL)), _nothing),
    Verb("exists", 1, _small, lambda root, _: _equal(s3dlio.exists(f"{root}/small"), True), _nothing),
    Verb("download", 3, _small, _download, _no_half_file),
    Verb("put_bytes", 1, _target, *_replace(lambda root, _: s3dlio.put_bytes(f"{root}/target", _UPLOAD), _UPLOAD)),
    Verb(
        "put_bytes_async",
        1,
        _target,
        *_replace(lambda root, _: asyncio.run(s3dlio.put_bytes_async(f"{root}/target", _UPLOAD)), _UPLOAD),
    ),
    Verb("put of parts", 4, _target, *_replace(lambda root, _: s3dlio.put_bytes(f"{root}/target", _PARTS), _PARTS)),
    Verb("writer", 4, _target, *_replace(lambda root, _: _write(root), _PARTS)),
    Verb("put_many", 1, _target, *_replace(lambda root, _: s3dlio.put_many([(f"{root}/target", _UPLOAD)]), _UPLOAD)),
    Verb("put_many of many", _MANY, _put_many, _replace_many, _none_half),
    Verb("upload", 1, _target, *_replace(_upload, _UPLOAD)),
    Verb("delete", 1, _put_many, lambda root, _: _remove(root, recursive=False), _nothing),
    Verb("delete recursive", 2, _put_many, lambda root, _: _remove(root, recursive=True), _nothing),
]


class Row(NamedTuple):
    """A fault, and how a call may end that meets it: with the right bytes (None) or in an error of exactly that class.

    S3dlioError stands for all classes: what a wrong length breaks depends on what it is the length of.
    """

    fault: Fault
    once: type[S3dlioError] | None
    always: type[S3dlioError] | None


_FAULTS = [
    Row(Fault("reset at once"), None, StoreUnavailableError),
    Row(Fault("close at once"), None, StoreUnavailableError),
    Row(Fault("stall at once"), None, StoreTimeoutError),
    Row(Fault("reset in head"), None, StoreUnavailableError),
    Row(Fault("reset after head"), None, StoreUnavailableError),
    Row(Fault("reset in body"), None, StoreUnavailableError),
    Row(Fault("cut body"), None, StoreUnavailableError),
    Row(Fault("stall in body"), None, StoreTimeoutError),
    Row(Fault("reset in upload"), None, StoreUnavailableError),
    Row(Fault("stall in upload"), None, StoreTimeoutError),
    Row(Fault("lost answer"), None, StoreUnavailableError),
    Row(Fault("status", 500, "InternalError"), None, StoreUnavailableError),
    Row(Fault("status", 503, "SlowDown"), None, StoreUnavailableError),
    Row(Fault("status", 429, "TooManyRequests", "Retry-After: 1\r\n"), None, StoreUnavailableError),
    Row(Fault("status", 403, "AccessDenied"), PermissionDeniedError, PermissionDeniedError),
    Row(Fault("refuse early", 403, "AccessDenied"), PermissionDeniedError, PermissionDeniedError),
    Row(Fault("garbage head"), S3dlioError, S3dlioError),
    Row(Fault("endless 1xx"), S3dlioError, S3dlioError),
    Row(Fault("longer length"), S3dlioError, S3dlioError),
    Row(Fault("shorter length"), S3dlioError, S3dlioError),
    Row(Fault("1xx"), None, None),
    Row(Fault("delay"), None, None),
    Row(Fault("trickle"), None, None),
    Row(Fault("close after"), None, None),
]

_RESUMED = {"reset in body", "cut body", "stall in body"}  # a read continues where it was cut, as often as necessary

_numbers = itertools.count()
_plans: dict[str, _Plan] = {}


class _Plan:
    """Which requests of one case meet the fault."""

    def __init__(self, fault: Fault, only: int | None) -> None:
        self._fault = fault
        self._only = only
        self._seen = 0
        self.lifted = False

    def next(self) -> Fault | None:
        place, self._seen = self._seen, self._seen + 1
        return self._fault if not self.lifted and self._only in (None, place) else None


def _choose(asked: Asked) -> Fault | None:
    for text in (asked.target, asked.body.decode("latin-1")):
        if (match := re.search(r"case\d+x", text)) is not None:
            plan = _plans.get(match[0])
            return plan.next() if plan is not None else None
    return None


def _afterwards(root: str) -> None:
    """End the faults after the call, and check what the call did."""
    _plans[root.rpartition("/")[2]].lifted = True


class _Case:
    """A verb that meets a fault."""

    def __init__(self, verb: Verb, row: Row, always: bool, broken: Broken, scratch: Path) -> None:
        self._verb = verb
        self._row = row
        self._always = always
        self._proxy = broken.proxy
        self._name = f"case{next(_numbers)}x"
        self._root = f"{broken.root}/{self._name}"
        self._scratch = scratch / self._name
        drawn = random.Random(f"{_SEED}{verb.name}{row.fault}").randrange(verb.requests)
        self._plan = _Plan(row.fault, None if always else drawn)

    def prepare(self) -> None:
        """Without the fault."""
        self._scratch.mkdir()
        self._verb.prepare(self._root)
        _plans[self._name] = self._plan

    def run(self) -> str:
        """Make the call; "" if it did what it must, else what it did instead."""
        fault, always = self._row.fault, self._always
        allowed = self._row.always if always else self._row.once
        problem = ""
        failure: S3dlioError | None = None
        began = time.monotonic()
        try:
            self._verb.call(self._root, self._scratch)
        except S3dlioError as error:
            failure = error
        except AssertionError as error:
            problem = str(error)
        took = time.monotonic() - began
        self._plan.lifted = True
        injected = sum(
            self._name in asked.target or self._name.encode() in asked.body for asked, _ in list(self._proxy.injected)
        )
        if failure is None:
            if always and injected and fault.kind not in _RESUMED and allowed not in (None, S3dlioError):
                problem = problem or "no error"
            survived[fault.kind] += injected
        else:
            ended[type(failure).__name__] += injected
            if allowed is None or not isinstance(failure, allowed) or not injected:
                problem = f"{type(failure).__name__}: {failure}"
            elif self._root not in str(failure):
                problem = f"the message names no URI: {failure}"
            self._verb.check(self._root, self._scratch)
        if took > _BOUND:
            problem += f" after {took:.1f} s"
        return problem and f"{self._verb.name}, {fault.kind} {'always' if always else 'once'}: {problem}"


# Most of the time is spent waiting: several concurrent faults take hardly longer than one.
_STALLS = [row for row in _FAULTS if row.fault.kind.startswith("stall")]
_OTHERS = [row for row in _FAULTS if row not in _STALLS]
_TOGETHER = [_STALLS, *(_OTHERS[start::5] for start in range(5))]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("rows", _TOGETHER, ids=lambda rows: ", ".join(row.fault.kind for row in rows))
def test_every_verb_gives_the_right_bytes_or_the_right_error(
    rows: list[Row], broken: Broken, protocol: Protocol, tmp_path: Path
) -> None:
    threads = threading.active_count()
    broken.proxy.choose = _choose
    cases = [
        _Case(verb, row, always, broken, tmp_path)
        for verb, row, always in itertools.product(VERBS, rows, (False, True))
        if f"{verb.name}: {row.fault.kind}" not in protocol.deviations
    ]
    with ThreadPoolExecutor(_THREADS) as executor:
        list(executor.map(_Case.prepare, cases))
        if rows is _STALLS:
            os.environ.update(SHORT_DEADLINES)
        assert [problem for problem in executor.map(_Case.run, cases) if problem] == []
    assert threading.active_count() == threads


def test_every_fault_of_the_proxy_is_in_the_table() -> None:
    assert {row.fault.kind for row in _FAULTS} == KINDS
    assert PROTOCOLS
