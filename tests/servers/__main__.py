# SPDX-License-Identifier: Apache-2.0
"""Installs the servers, or runs one by hand: `python -m tests.servers install [NAME…]`, `… run NAME`."""

from __future__ import annotations

import importlib
import os
import signal
import sys

from tests.servers.install import FOR_TESTS, INSTALLABLE, SERVERS, ServerMissing, install


def main(arguments: list[str]) -> int:
    """Does what the command line says and returns the exit status."""
    match arguments:
        case ["install", *names] if set(names) <= INSTALLABLE.keys():
            return _install(names or FOR_TESTS)
        case ["run", name] if name in SERVERS:
            return _run(name)
    print("usage: python -m tests.servers install [NAME…]\n       python -m tests.servers run NAME")
    print(f"NAME is one of {', '.join(SERVERS)}; chromium can be installed, too")
    return 2


def _install(names: list[str]) -> int:
    reasons = install(names)
    for name, why in reasons.items():
        print(f"servers: {name} COULD NOT BE INSTALLED: {why}", file=sys.stderr)
    if reasons and os.environ.get("S3DLIO_REQUIRE_SERVERS", "0") in ("", "0"):
        print("servers: tests that need one of these will be skipped", file=sys.stderr)
        return 0
    return 1 if reasons else 0


def _run(name: str) -> int:
    # these need more than the standard library, and `install` must not
    base = importlib.import_module("tests.servers.base")
    module = importlib.import_module(f"tests.servers.{name}")
    try:
        with base.running(name, module.start) as address:
            for server in address if isinstance(address, tuple) else (address,):
                print(f"# {server.name}: {server.url}, logs in {server.logs}")
                for variable, value in server.environment().items():
                    print(f"export {variable}={value}")
            sys.stdout.flush()
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (ServerMissing, base.ServerFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
