# SPDX-License-Identifier: Apache-2.0
"""pytest fixtures: each server is started when a test first asks for it and ended with the session.

A server that is not installed skips its tests with the reason; with S3DLIO_REQUIRE_SERVERS=1, as in CI, it fails
them. When any test failed, the logs of the servers stay, and the summary says where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.required import lacking
from tests.servers import azurite as _azurite
from tests.servers import ceph as _ceph
from tests.servers import fake_gcs as _fake_gcs
from tests.servers import nginx as _nginx
from tests.servers import seaweedfs as _seaweedfs
from tests.servers.base import AzureServer, GcsServer, Processes, S3Server, StaticServer, running
from tests.servers.install import ServerMissing, locate, strace_command

_kept_logs: list[Path] = []
_Address = TypeVar("_Address")


@pytest.fixture(scope="session")
def _seaweedfs_endpoints(request: pytest.FixtureRequest) -> Iterator[_seaweedfs.Endpoints]:
    yield from _served(request, "seaweedfs", _seaweedfs.start)


@pytest.fixture(scope="session")
def seaweedfs(_seaweedfs_endpoints: _seaweedfs.Endpoints) -> S3Server:
    """SeaweedFS, the S3 server to use by default."""
    return _seaweedfs_endpoints.plain


@pytest.fixture(scope="session")
def seaweedfs_tls(_seaweedfs_endpoints: _seaweedfs.Endpoints) -> S3Server:
    """SeaweedFS by https, with a private certificate authority."""
    return _seaweedfs_endpoints.tls


@pytest.fixture(scope="session")
def ceph(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """Ceph RGW, the strict second S3 server."""
    yield from _served(request, "ceph", _ceph.start)


@pytest.fixture(scope="session")
def azurite(request: pytest.FixtureRequest) -> Iterator[AzureServer]:
    """Azurite, with one account."""
    yield from _served(request, "azurite", _azurite.start)


@pytest.fixture(scope="session")
def fake_gcs(request: pytest.FixtureRequest) -> Iterator[GcsServer]:
    """fake-gcs-server, empty."""
    yield from _served(request, "fake_gcs", _fake_gcs.start)


@pytest.fixture(scope="session")
def nginx(request: pytest.FixtureRequest) -> Iterator[StaticServer]:
    """nginx over an empty folder."""
    yield from _served(request, "nginx", _nginx.start)


@pytest.fixture(scope="session")
def chromium() -> None:
    """Asks for an installed Chromium, which `tests.servers.chromium` opens pages with."""
    require("chromium")


@pytest.fixture(scope="session")
def strace() -> list[str]:
    """The command that begins with strace."""
    require("strace")
    return strace_command()


def require(name: str) -> None:
    """Ask for a server or a tool of the tests to be installed."""
    try:
        locate(name)
    except ServerMissing as error:
        lacking(str(error))


def _served(request: pytest.FixtureRequest, name: str, start: Callable[[Processes], _Address]) -> Iterator[_Address]:
    require(name)
    session = request.session
    folder: list[Path] = []

    def start_and_note(processes: Processes) -> _Address:
        folder[:] = [processes.logs]
        return start(processes)

    def keep_logs() -> bool:
        if session.testsfailed:
            _kept_logs.extend(folder)
        return bool(session.testsfailed)

    with running(name, start_and_note, keep_logs) as address:
        yield address


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says where the logs of the servers are, if they were kept."""
    if _kept_logs:
        terminalreporter.section("logs of the servers")
        for folder in _kept_logs:
            terminalreporter.line(str(folder))
