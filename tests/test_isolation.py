# SPDX-License-Identifier: Apache-2.0
"""The tests themselves see nothing of the machine's cloud settings and cannot reach beyond loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

# The addresses are reserved for documentation (RFC 5737, RFC 3849): should the guard fail, no one is bothered.
_BEYOND = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]


@pytest.mark.parametrize(("family", "host"), _BEYOND)
def test_connecting_beyond_the_machine_is_refused(family: socket.AddressFamily, host: str) -> None:
    with (
        socket.socket(family, socket.SOCK_STREAM) as connection,
        pytest.raises(RuntimeError, match="a test tried to leave the machine"),
    ):
        connection.connect_ex((host, 80))


@pytest.mark.parametrize(("family", "host"), _BEYOND)
def test_datagrams_beyond_the_machine_are_refused(family: socket.AddressFamily, host: str) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as connection,
        pytest.raises(RuntimeError, match="a test tried to leave the machine"),
    ):
        connection.sendto(b"?", (host, 53))


def test_looking_up_a_name_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a test tried to leave the machine"):
        socket.getaddrinfo("s3.example.com", 443)


def test_a_name_that_cannot_exist_is_not_found_without_asking() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nowhere.invalid", 443)


def test_loopback_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_a_program_run_by_a_test_leaves_no_settings(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.conftest"]\n')
    (tmp_path / "test_two.py").write_text(
        "import os\n"
        "def names():\n"
        "    return {name for name in os.environ if name in ('AWS_ACCESS_KEY_ID', 'HTTPS_PROXY', 'SSL_CERT_FILE')}\n"
        "def test_first():\n"
        "    assert names() == set()\n"
        "    os.environ['AWS_ACCESS_KEY_ID'] = 'left behind'\n"
        "def test_second():\n"
        "    assert names() == set()\n"
    )
    machine = {"AWS_ACCESS_KEY_ID": "a", "HTTPS_PROXY": "http://192.0.2.1:1", "SSL_CERT_FILE": os.devnull}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, **machine, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout
