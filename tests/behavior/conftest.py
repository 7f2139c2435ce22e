# SPDX-License-Identifier: Apache-2.0
"""Runs every case of this folder against every protocol, and checks that no call leaves a thread running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.behavior.protocols import PROTOCOLS, Protocol


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: protocol.name)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    name = request.function.__name__
    parameters = request.node.name.removeprefix(name)[1:-1].replace(chosen.name, "", 1).strip("-")
    reason = chosen.deviations.get(name) or chosen.deviations.get(f"{name}[{parameters}]")
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return chosen


@pytest.fixture
def root(protocol: Protocol, request: pytest.FixtureRequest) -> str:
    """The URI, without a final "/", of an empty folder."""
    return protocol.root(request)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_call() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5  # a thread that has done its work may still be ending
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("s3dlio")]:
        assert time.monotonic() < deadline, f"threads still running: {left}"
        time.sleep(0.01)
