"""A body that is cut off goes on from where it stopped, however often, and is not fetched again from the start."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import s3dlio
from tests.faults.conftest import Broken, survived
from tests.faults.proxy import Asked, Fault

_CUTS = 8


def _next(faults: Iterator[Fault], _: Asked) -> Fault | None:
    return next(faults, None)


@pytest.mark.parametrize("kind", ["cut body", "reset in body"])
def test_a_body_that_is_cut_off_every_time_arrives_all_the_same(
    broken: Broken, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3DLIO_RETRIES", "2")  # from the start again this would be hopeless
    monkeypatch.setenv("S3DLIO_REQUEST_TIMEOUT", "30")
    data = random.Random(kind).randbytes(900_000)
    s3dlio.put_bytes(f"{broken.root}/resumed", data)
    broken.proxy.injected.clear()
    calls: list[Callable[[str], memoryview]] = [
        s3dlio.get,
        lambda uri: s3dlio.get_many([uri], max_in_flight=1)[0][1],
    ]
    for call in calls:
        faults = iter([Fault(kind)] * _CUTS)
        broken.proxy.choose = partial(_next, faults)
        assert call(f"{broken.root}/resumed").tobytes() == data
    assert len(broken.proxy.injected) == 2 * _CUTS
    survived[kind] += len(broken.proxy.injected)
