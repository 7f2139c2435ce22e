# SPDX-License-Identifier: Apache-2.0
"""The oracle finds deliberate bugs, and finds nothing if all answers are correct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from s3dlio.memory.buffers import lease
from s3dlio.stores.azure.store import AzureStore
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.gcs.store import GcsStore
from s3dlio.stores.s3.store import S3Store
from tests.chaos.play import playing

STORES: list[type[CloudStore[Any]]] = [S3Store, AzureStore, GcsStore]


async def nothing(*_: object) -> None:
    """Reports a success, and does nothing."""


async def other_bytes(*_: object) -> memoryview:
    return lease(500)


async def other_fact(*_: object) -> bool:
    return True


async def foreign(*_: object) -> None:
    raise KeyError("size")


@pytest.mark.parametrize(
    ("verb", "broken", "finding"),
    [
        ("get", other_bytes, "wrong bytes"),
        ("get_range", other_bytes, "wrong bytes"),
        ("exists", other_fact, "wrong fact"),
        ("stat", foreign, "foreign exception"),
        ("put_whole", nothing, "lost write"),
        ("delete", nothing, "not deleted"),
        ("drop_parts", nothing, "uploads left behind"),
    ],
)
def test_deliberate_bugs_are_found(
    verb: str, broken: Callable[..., Any], finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for store in STORES:
        monkeypatch.setattr(store, verb, broken)
    with playing() as player:
        assert any(one.startswith(finding) for seed in range(400) for one in player.play(seed).findings)


def test_correct_answers_give_no_findings() -> None:
    with playing() as player:
        for seed in range(100):
            verdict = player.play(seed, damaged=False)
            assert not verdict.findings, "\n".join([*verdict.text, *verdict.findings])
            assert verdict.answers == 0
