# SPDX-License-Identifier: Apache-2.0
"""Tests run in random order, which a seed repeats."""

from __future__ import annotations

import itertools
import re

import pytest

pytest_plugins = ["pytester"]


def _order(pytester: pytest.Pytester, *arguments: str) -> tuple[list[str], str]:
    """The tests in the order of a run, and the seed that it names."""
    printed = pytester.runpytest_inprocess("-p", "tests.order", "-v", *arguments).stdout.str()
    seed = re.search(r"--order-seed=(\d+)$", printed, re.MULTILINE)
    assert seed is not None, printed
    return re.findall(r"^(\S+::\S+) PASSED", printed, re.MULTILINE), seed[1]


@pytest.fixture(autouse=True)
def _tests(pytester: pytest.Pytester) -> None:
    text = "".join(f"def test_{number}():\n    pass\n" for number in range(5))
    pytester.makepyfile(**{f"test_{name}": text for name in "abcde"})


def test_the_order_differs_from_run_to_run_and_the_seed_repeats_it(pytester: pytest.Pytester) -> None:
    found, seed = _order(pytester)
    assert len(found) == 25
    assert found != sorted(found)
    assert _order(pytester, f"--order-seed={seed}") == (found, seed)
    assert _order(pytester)[0] != found


def test_modules_stay_together(pytester: pytest.Pytester) -> None:
    modules = [name.partition("::")[0] for name in _order(pytester)[0]]
    assert sum(one != other for one, other in itertools.pairwise(modules)) == 4


def test_seed_0_keeps_the_order_of_the_files(pytester: pytest.Pytester) -> None:
    found, _ = _order(pytester, "--order-seed=0")
    assert found == sorted(found)
