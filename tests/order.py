# SPDX-License-Identifier: Apache-2.0
"""Runs modules, and the tests of each module, in random order: no test may depend on another one.

The last lines of a run name the seed. `--order-seed=SEED` repeats that order; `--order-seed=0` keeps the order of
the files.
"""

from __future__ import annotations

import random
import secrets
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption("--order-seed", type=int, help="order of the tests: a seed, 0 for the order of the files")


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the seed; the workers of xdist, which must all have the same order, take the one of the first process."""
    if config.option.order_seed is None:
        chosen: int = getattr(config, "workerinput", {}).get("order_seed") or secrets.randbelow(10**6) + 1
        config.option.order_seed = chosen


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Passes the seed to a worker."""
    node.workerinput["order_seed"] = node.config.option.order_seed


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffles the modules, and the tests of each."""
    if not config.option.order_seed:
        return
    chance = random.Random(config.option.order_seed)
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    shuffled = list(modules.values())
    chance.shuffle(shuffled)
    for tests in shuffled:
        chance.shuffle(tests)
    items[:] = [item for tests in shuffled for item in tests]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Names the seed where it is seen, whatever the verbosity."""
    terminalreporter.write_line(f"order of the tests: --order-seed={config.option.order_seed}")
