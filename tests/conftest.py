# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: the servers' fixtures, an environment without cloud settings, and no way out.

A test never sees the credentials, endpoints, proxies and certificate authorities of the machine that it runs on,
and every place where an SDK would look for some beyond the machine points to a port of 127.0.0.1 that nothing
listens on. Should something try all the same to reach another address or to look up a name, an audit hook stops it.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.order", "tests.required", "tests.servers.fixtures"]

_TRUST = {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
_CLOUD_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCE_", "GCS_", "CLOUDSDK_", "S3_", "S3DLIO_", "STORAGE_EMULATOR_")
_NOWHERE = "127.0.0.1:9"  # the discard port
_SHUT = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{_NOWHERE}",
    "CLOUDSDK_CONFIG": os.devnull,
    "GCE_METADATA_HOST": _NOWHERE,
    "GCE_METADATA_IP": _NOWHERE,
    "GCE_METADATA_ROOT": _NOWHERE,
}


def _without_cloud(environment: dict[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environment.items()
        if name.startswith("S3DLIO_TEST_")  # variables for the tests themselves
        or (name not in _TRUST and not name.upper().startswith(_CLOUD_PREFIXES) and not name.upper().endswith("_PROXY"))
    }
    return {**kept, **_SHUT}


def _stop_at_the_border(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        # otherwise a Unix socket, or one that is connected
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if str(host).endswith(".invalid"):  # RFC 6761: no such name exists, and no server need be asked
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if not _is_loopback(host):
        raise RuntimeError(f"a test tried to leave the machine: {event} of {host!r}")


def _is_loopback(host: object) -> bool:
    if host in (None, "", "localhost", "localhost.localdomain"):
        return True
    try:
        address = ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def pytest_configure() -> None:
    """Clears the environment before anything is imported or started, and closes the border."""
    _replace_environment(_without_cloud(dict(os.environ)))
    _heed_signals()
    sys.addaudithook(_stop_at_the_border)


@pytest.fixture(autouse=True)
def _environment_without_cloud() -> Iterator[None]:
    """Undoes what a test, or a program run in it, has set."""
    before = _without_cloud(dict(os.environ))
    _replace_environment(before)
    yield
    _replace_environment(before)


@pytest.fixture(autouse=True)
def _signals_as_usual() -> None:
    """Undoes what a package that an earlier test imported has set: dftracer, with DLIO, makes Ctrl-C a SystemExit."""
    _heed_signals()


def _heed_signals() -> None:
    # A shell starts what it puts into the background deaf to Ctrl-C, and so would be every program of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _replace_environment(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)
