# SPDX-License-Identifier: Apache-2.0
"""A listing that fails on a later page raises an error instead of returning a short list; a retried one is complete."""

from __future__ import annotations

import os
import re

import pytest

import s3dlio
from s3dlio.errors import (
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from tests.faults.conftest import SHORT_DEADLINES, Broken, ended, survived
from tests.faults.protocols import Protocol
from tests.faults.proxy import Asked, Fault

_COUNT = 1_010  # one more page than one

_LATER_PAGE = re.compile("continuation-token|marker=|pageToken")

_FAILURES = [
    (Fault("status", 403, "AccessDenied"), PermissionDeniedError),
    (Fault("status", 500, "InternalError"), StoreUnavailableError),
    (Fault("reset at once"), StoreUnavailableError),
    (Fault("stall at once"), StoreTimeoutError),
    (Fault("garbage head"), S3dlioError),
    (Fault("shorter length"), S3dlioError),
]


@pytest.fixture
def folder(broken: Broken) -> str:
    """A folder of more than one page, made once."""
    folder = f"{broken.root}/pages"
    if not s3dlio.exists(f"{folder}/{_COUNT - 1:05}"):
        s3dlio.put_many((f"{folder}/{number:05}", b"x") for number in range(_COUNT))
    return folder


def _faulty(broken: Broken, fault: Fault, times: int) -> None:
    left = iter(range(times))

    def choose(asked: Asked) -> Fault | None:
        wanted = _LATER_PAGE.search(asked.target) and next(left, None) is not None
        return fault if wanted else None

    broken.proxy.choose = choose
    broken.proxy.injected.clear()


@pytest.mark.parametrize(
    ("fault", "expected"), _FAILURES, ids=lambda of: f"{of.kind} {of.code}" if isinstance(of, Fault) else ""
)
def test_a_failure_on_the_second_page_is_an_error(
    broken: Broken,
    protocol: Protocol,
    folder: str,
    fault: Fault,
    expected: type[S3dlioError],
    request: pytest.FixtureRequest,
) -> None:
    if (reason := protocol.deviations.get(f"list: {fault.kind}")) is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    if expected is StoreTimeoutError:
        os.environ.update(SHORT_DEADLINES)
    _faulty(broken, fault, times=100)
    with pytest.raises(expected, match=folder) as failure:
        s3dlio.list(folder)
    assert broken.proxy.injected
    ended[type(failure.value).__name__] += len(broken.proxy.injected)


def test_a_streamed_listing_ends_in_the_error_too(broken: Broken, folder: str) -> None:
    _faulty(broken, _FAILURES[0][0], times=100)
    names = s3dlio.list_iter(folder)
    seen = [next(names) for _ in range(1_000)]
    assert len(set(seen)) == 1_000
    with pytest.raises(PermissionDeniedError):
        next(names)
    ended["PermissionDeniedError"] += len(broken.proxy.injected)


def test_nothing_is_deleted_from_a_page_that_could_not_be_listed(broken: Broken) -> None:
    s3dlio.put_bytes(f"{broken.root}/kept/object", b"x")
    broken.proxy.choose = lambda asked: Fault("status", 403, "AccessDenied") if asked.method == "GET" else None
    with pytest.raises(PermissionDeniedError):
        s3dlio.delete(f"{broken.root}/kept", recursive=True)
    broken.proxy.choose = lambda _: None
    assert s3dlio.exists(f"{broken.root}/kept/object")
    ended["PermissionDeniedError"] += 1


@pytest.mark.parametrize("kind", ["reset at once", "reset in body", "cut body", "lost answer", "trickle"])
def test_a_disturbed_second_page_is_listed_whole(broken: Broken, folder: str, kind: str) -> None:
    _faulty(broken, Fault(kind), times=2)
    found = s3dlio.list(folder)
    assert found == [f"{folder}/{number:05}" for number in range(_COUNT)]
    assert broken.proxy.injected
    survived[kind] += len(broken.proxy.injected)
