# SPDX-License-Identifier: Apache-2.0
"""The proxy in front of each server, and how many faults it injected."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.faults.protocols import PROTOCOLS, Protocol
from tests.faults.proxy import FaultProxy

# Few tries, and sizes at which the smallest split and multipart transfers are made.
SETTINGS = {
    "S3DLIO_RETRIES": "3",
    "S3DLIO_GET_PART_MB": "1",
    "S3DLIO_PUT_PART_MB": "5",
    "S3DLIO_MULTIPART_THRESHOLD_MB": "5",
}

# For faults that are noticed by nothing else; otherwise a busy machine would be taken for one of them.
SHORT_DEADLINES = {"S3DLIO_READ_TIMEOUT": "2", "S3DLIO_REQUEST_TIMEOUT": "10"}

survived: Counter[str] = Counter()
ended: Counter[str] = Counter()


class Broken(NamedTuple):
    """A server with a faulty proxy before it."""

    proxy: FaultProxy
    root: str


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: protocol.name, scope="session")
def protocol(request: pytest.FixtureRequest) -> Protocol:
    """Each protocol in turn."""
    chosen: Protocol = request.param
    return chosen


@pytest.fixture(scope="session")
def _proxy(protocol: Protocol, request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    with FaultProxy(request.getfixturevalue(protocol.fixture).url, seed=1) as proxy:
        yield proxy


@pytest.fixture
def broken(protocol: Protocol, _proxy: FaultProxy, request: pytest.FixtureRequest) -> Iterator[Broken]:
    """The server through the proxy, as yet without any fault."""
    os.environ.update(SETTINGS)
    _proxy.choose = lambda _: None
    yield Broken(_proxy, protocol.root(request.getfixturevalue(protocol.fixture), _proxy.url))
    _proxy.choose = lambda _: None
    _proxy.kill()  # what still stalls
    _proxy.revive()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many faults there were, and what became of them."""
    total = sum(survived.values()) + sum(ended.values())
    if total:
        terminalreporter.section("faults")
        terminalreporter.line(f"{total} injected; {sum(survived.values())} survived with the right bytes")
        for name, count in sorted(ended.items()):
            terminalreporter.line(f"{count} ended in {name}")
