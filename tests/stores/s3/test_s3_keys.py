# SPDX-License-Identifier: Apache-2.0
"""Unusual keys on SeaweedFS and on Ceph are used verbatim or refused, and never name another object."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import suppress

import pytest

import s3dlio
from tests.behavior.content import ODD_NAMES
from tests.servers.base import S3Server

KEYS = [
    *(name for name in ODD_NAMES if name != "back\\slash"),
    *(" ", "+", "a b+c%20d", "%2F", "%", "%25", "?", "&", "=", "~", "*", "'", '"', "<>&amp;", "#"),
    *("a\u0301", "\u00e1", "\U0001f600", "é" * 100, "日本/語"),
    *("a/b c/d+e", "two/segments", "..a", "a..", "a/...b", "\x7f", "tab\t", "cr\rlf\n", "\x01\x1f", "\u2028", "\ufffe"),
    *("/".join(["k" * 100] * 10) + "/" + "k" * 14, "k" * 255),
]
"""Every one of them any server takes."""

SEAWEEDFS_DIFFERS = {
    "back\\slash": "takes a backslash for a slash",
    "a//b": "takes two slashes for one",
    "/leading": "takes away a slash at the beginning",
    "trailing/": "keeps a folder in its place, and no content",
    "//": "takes it for nothing",
    "..": "refuses the path",
    "../x": "refuses the path",
    "x/../y": "refuses the path",
    ".": "refuses the path",
    "a/./b": "refuses the path",
    "k" * 1024: "refuses what is no file's name",
    "é" * 512: "refuses what is no file's name",
}
"""Keys that S3 and Ceph take and SeaweedFS does not, with what it does instead."""

_numbers = itertools.count()


def _bucket(server: S3Server) -> str:
    os.environ.update(server.environment())
    uri = f"s3://keys-{next(_numbers)}"
    s3dlio.make_bucket(uri)
    return uri


def _all_go_there_and_back(bucket: str, keys: Sequence[str]) -> None:
    """Every verb takes these keys as they are."""
    uris = [f"{bucket}/{key}" for key in keys]
    s3dlio.put_many((uri, key.encode()) for uri, key in zip(uris, keys, strict=True))
    assert s3dlio.list(bucket, recursive=True) == sorted(uris)
    assert [got for _, got in s3dlio.get_many(uris)] == [key.encode() for key in keys]
    for uri, key in zip(uris, keys, strict=True):
        assert s3dlio.get_range(uri, 1) == key.encode()[1:]
        assert s3dlio.stat(uri)["size"] == len(key.encode())
    for uri in uris[::4]:
        s3dlio.delete(uri)
        assert not s3dlio.exists(uri)
    assert s3dlio.list(bucket, recursive=True) == sorted(set(uris) - set(uris[::4]))
    s3dlio.delete(f"{bucket}/", recursive=True)
    assert s3dlio.list(bucket, recursive=True) == []


@pytest.mark.parametrize("server", ["seaweedfs", "ceph"])
def test_every_verb_takes_a_key_verbatim(server: str, request: pytest.FixtureRequest) -> None:
    _all_go_there_and_back(_bucket(request.getfixturevalue(server)), KEYS)


def test_ceph_accepts_keys_that_seaweedfs_refuses(ceph: S3Server) -> None:
    _all_go_there_and_back(_bucket(ceph), list(SEAWEEDFS_DIFFERS))


@pytest.mark.parametrize("server", ["seaweedfs", "ceph"])
def test_a_tree_of_odd_keys_is_copied(server: str, request: pytest.FixtureRequest) -> None:
    bucket = _bucket(request.getfixturevalue(server))
    keys = [key for key in KEYS if len(key) < 200]
    s3dlio.put_many((f"{bucket}/from/{key}", key.encode()) for key in keys)
    s3dlio.copy(f"{bucket}/from", f"{bucket}/to", recursive=True)
    assert s3dlio.list(f"{bucket}/to", recursive=True) == sorted(f"{bucket}/to/{key}" for key in keys)
    assert [got for _, got in s3dlio.get_many(f"{bucket}/to/{key}" for key in keys)] == [key.encode() for key in keys]


@pytest.mark.parametrize("key", SEAWEEDFS_DIFFERS, ids=SEAWEEDFS_DIFFERS.values())
def test_seaweedfs_differs_and_loses_nothing_else(seaweedfs: S3Server, key: str) -> None:
    """A deviation that no longer occurs has to be removed from the table."""
    bucket = _bucket(seaweedfs)
    s3dlio.put_bytes(f"{bucket}/beside", b"beside")
    with suppress(s3dlio.S3dlioError):  # the service refuses the key
        s3dlio.put_bytes(f"{bucket}/{key}", b"content")
        whole = s3dlio.get(f"{bucket}/{key}") == b"content"
        assert not whole or s3dlio.list(bucket, recursive=True) != sorted([f"{bucket}/beside", f"{bucket}/{key}"])
    assert s3dlio.get(f"{bucket}/beside") == b"beside"


@pytest.mark.parametrize("server", ["seaweedfs", "ceph"])
def test_keys_that_look_alike_are_different_objects(server: str, request: pytest.FixtureRequest) -> None:
    bucket = _bucket(request.getfixturevalue(server))
    alike = ["a b", "a+b", "a%20b", "a%2Bb", "A b", "a\u0301", "á", "a", "a?", "a?x=y", "a#", "a%", "a%00"]
    s3dlio.put_many((f"{bucket}/{key}", key.encode()) for key in alike)
    uris = s3dlio.list(bucket)
    assert uris == sorted(f"{bucket}/{key}" for key in alike)
    assert all(got == uri.removeprefix(f"{bucket}/").encode() for uri, got in s3dlio.get_many(uris))
    s3dlio.delete(f"{bucket}/a+b")
    assert len(s3dlio.list(bucket)) == len(alike) - 1
    assert s3dlio.exists(f"{bucket}/a b")


@pytest.mark.parametrize("server", ["seaweedfs", "ceph"])
def test_a_key_that_is_too_long_is_refused(server: str, request: pytest.FixtureRequest) -> None:
    bucket = _bucket(request.getfixturevalue(server))
    with pytest.raises(s3dlio.S3dlioError):
        s3dlio.put_bytes(f"{bucket}/{'k' * 1025}", b"content")
    assert s3dlio.list(bucket) == []
