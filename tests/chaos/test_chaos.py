# SPDX-License-Identifier: Apache-2.0
"""Whatever a server answers, s3dlio gives the right bytes and facts or an S3dlioError, in bounded time.

S3DLIO_TEST_CHAOS is the number of compositions, S3DLIO_TEST_CHAOS_SEED the first seed. By default, every run
plays the same 2,000 compositions and 100 new ones. A failure prints its composition; `python -m tests.chaos SEED`
repeats it.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.play import playing

AT_ONCE = 100  # compositions of one test
COUNT = int(os.environ.get("S3DLIO_TEST_CHAOS") or 2000)
FIRST = int(os.environ.get("S3DLIO_TEST_CHAOS_SEED") or 1_000_000)


def play(first: int, count: int) -> None:
    with playing() as player:
        for seed in range(first, first + count):
            verdict = player.play(seed)
            assert not verdict.findings, "\n".join([f"seed {seed}:", *verdict.text, *verdict.findings])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, AT_ONCE))
def test_results_are_right_or_errors_whatever_the_server_answers(first: int) -> None:
    play(first, min(AT_ONCE, FIRST + COUNT - first))


@pytest.mark.timeout(400)
def test_new_compositions_in_every_run() -> None:
    play(random.SystemRandom().randrange(1 << 40), AT_ONCE)
