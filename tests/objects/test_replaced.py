# SPDX-License-Identifier: Apache-2.0
"""Reads of an object that is replaced meanwhile return one whole version, on SeaweedFS and on Ceph.

Another process writes versions of different and of equal lengths, without a pause, while this one reads in parts. The
tests count the replacements during a read and fail without any, since they would show nothing.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
from hashlib import blake2b
from typing import Any

import pytest

import s3dlio
from s3dlio.objects.one_range import Replaced
from s3dlio.uri import URI
from tests.behavior.content import content
from tests.servers.base import S3Server

_READS = {"seaweedfs": 500, "ceph": 100}  # Ceph needs five times as long
# Longer, shorter, of the same length, in one part, and with a last part of one byte.
_SIZES = [3 << 20, 2 << 20, 3 << 20, (2 << 20) + 1, 1 << 20, (3 << 20) - 1, 1000, 2 << 20]

_numbers = itertools.count()
_spawning = multiprocessing.get_context("spawn")


def _versions() -> list[bytes]:
    return [content(size, seed=number) for number, size in enumerate(_SIZES)]


def _write_for_ever(uri: str) -> None:
    versions = _versions()
    choose = random.Random(1).choice  # in a fixed order, versions could always change between the same two reads
    while True:
        s3dlio.put_bytes(uri, choose(versions))


def _write(uri: str, numbers: Any, written: Any) -> None:
    versions = _versions()
    for number in iter(numbers.get, None):
        s3dlio.put_bytes(uri, versions[number])
        written.put(number)


def _digest(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=16).digest()


@pytest.fixture(params=["seaweedfs", "ceph"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def uri(server: S3Server) -> str:
    os.environ.update(server.environment())
    os.environ.update(S3DLIO_GET_PART_MB="1")
    bucket = f"s3://replaced-{next(_numbers)}"
    s3dlio.make_bucket(bucket)
    s3dlio.put_bytes(f"{bucket}/object", _versions()[0])
    return f"{bucket}/object"


@pytest.fixture
def replacements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The replacements that were noticed, as they come."""
    seen: list[str] = []

    made = Replaced.__init__

    def counted(self: Replaced, uri: URI) -> None:
        made(self, uri)
        seen.append(str(self))

    monkeypatch.setattr(Replaced, "__init__", counted)
    return seen


def test_every_read_is_of_one_version(uri: str, server: S3Server, replacements: list[str]) -> None:
    reads = _READS[server.name]
    known = {_digest(data) for data in _versions()}
    writer = _spawning.Process(target=_write_for_ever, args=(uri,), daemon=True)
    writer.start()
    read: set[bytes] = set()
    try:
        while len(read) < 2:  # until the other process has begun
            read.add(_digest(s3dlio.get(uri)))
        for number in range(reads):
            got = _digest(s3dlio.get(uri))
            assert got in known, f"read {number} is none of the versions"
            read.add(got)
    finally:
        writer.kill()
        writer.join()
    assert read == known
    assert len(replacements) >= reads // 50, "hardly any replacement fell into a read"


def test_an_object_that_another_process_overwrites_is_never_cut(uri: str) -> None:
    versions = _versions()
    numbers, written = _spawning.Queue(), _spawning.Queue()
    writer = _spawning.Process(target=_write, args=(uri, numbers, written), daemon=True)
    writer.start()
    try:
        for number in [*range(len(versions)), *reversed(range(len(versions)))]:
            numbers.put(number)
            assert written.get(timeout=30) == number
            assert s3dlio.get(uri) == versions[number]
            assert s3dlio.get_many([uri], 1)[0][1] == versions[number]
            assert s3dlio.get_range(uri, 500) == versions[number][500:]
            assert s3dlio.stat(uri)["size"] == len(versions[number])
    finally:
        numbers.put(None)
        writer.join(30)
