# SPDX-License-Identifier: Apache-2.0
"""make_bucket, remove_bucket and list_buckets, and their async twins."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

import s3dlio

_numbers = itertools.count()
_FILES = ("file", "direct")


def _awaited(verb: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda uri: asyncio.run(verb(uri))


Verbs = tuple[Callable[[str], None], Callable[[str], None], Callable[[str], list[str]]]


@pytest.fixture(params=["calls", "async twins"])
def verbs(request: pytest.FixtureRequest) -> Verbs:
    """make_bucket, remove_bucket and list_buckets."""
    if request.param == "calls":
        return s3dlio.make_bucket, s3dlio.remove_bucket, s3dlio.list_buckets
    twins = s3dlio.make_bucket_async, s3dlio.remove_bucket_async, s3dlio.list_buckets_async
    make, remove, listed = map(_awaited, twins)
    return make, remove, listed


@pytest.fixture
def service(root: str) -> str:
    """The URI of the service, as in "s3://"."""
    return root[: root.index("://") + 3]


@pytest.fixture
def bucket(service: str) -> str:
    """The URI of a bucket that does not exist."""
    return f"{service}made-{os.getpid()}-{next(_numbers)}"


def test_a_bucket_is_made_listed_and_removed(service: str, bucket: str, verbs: Verbs) -> None:
    make, remove, listed = verbs
    make(bucket)
    make(f"{bucket}/")  # a bucket that these credentials own already
    make(f"{bucket}-copy")  # its URI comes before that of the other: "-" sorts before "/"
    found = listed(service)
    assert f"{bucket}/" in found
    assert found == sorted(found)
    remove(f"{bucket}-copy")
    remove(f"{bucket}/")
    assert f"{bucket}/" not in listed(service)


def test_a_bucket_that_holds_an_object_is_not_removed(bucket: str, verbs: Verbs) -> None:
    make, remove, _ = verbs
    make(bucket)
    s3dlio.put_bytes(f"{bucket}/folder/object", b"content")
    with pytest.raises(s3dlio.S3dlioError, match="not empty") as caught:
        remove(bucket)
    assert caught.value.uri == bucket
    assert bytes(s3dlio.get(f"{bucket}/folder/object")) == b"content"
    s3dlio.delete(f"{bucket}/", recursive=True)
    remove(bucket)


def test_removing_a_missing_bucket_is_not_found(bucket: str, verbs: Verbs) -> None:
    with pytest.raises(s3dlio.ObjectNotFoundError):
        verbs[1](bucket)


def test_only_a_bucket_can_be_made_or_removed(root: str, verbs: Verbs) -> None:
    for verb in verbs[:2]:
        with pytest.raises(s3dlio.InvalidURIError, match=r"more than a bucket|has no buckets"):
            verb(f"{root}/object")


def test_only_a_service_has_a_list_of_buckets(root: str, service: str, verbs: Verbs) -> None:
    wrong = [root, "s3", "s3:/", "ftp://", "", *([service] if service.startswith(_FILES) else [])]
    for uri in wrong:
        with pytest.raises(s3dlio.InvalidURIError, match="names no service"):
            verbs[2](uri)
