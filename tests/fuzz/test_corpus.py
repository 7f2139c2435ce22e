# SPDX-License-Identifier: Apache-2.0
"""Every input the fuzzer is started from, replayed: whole and in pieces, it ends in the same way."""

from pathlib import Path

import pytest

from tests.fuzz.fuzz_framing import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_framing_reads_each_stream_of_the_corpus_the_same_however_it_is_cut(path: Path) -> None:
    check(path.read_bytes())


def test_the_corpus_reaches_every_end_a_stream_can_have() -> None:
    assert {check(path.read_bytes()) for path in CORPUS} == {"answer", "more", "error"}
