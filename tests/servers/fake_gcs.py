# SPDX-License-Identifier: Apache-2.0
"""fake-gcs-server, an emulator of Google Cloud Storage, in memory.

It checks no credentials. A `bytes */*` status query finishes a resumable upload, and `ifGenerationMatch=0`
is obeyed with `uploadType=multipart` only.
"""

from __future__ import annotations

from tests.servers import install
from tests.servers.base import GcsServer, Processes, accepts, free_ports


def start(processes: Processes) -> GcsServer:
    """Starts it and waits until it listens."""
    program = install.locate("fake_gcs") / "fake-gcs-server"
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    processes.start(
        [
            program,
            "-scheme", "http",
            "-host", "127.0.0.1",
            "-port", str(port),
            "-external-url", url,
            "-public-host", f"127.0.0.1:{port}",
            "-backend", "memory",
            "-log-level", "warn",
        ]
    )  # fmt: skip
    processes.wait_until(lambda: accepts(port))
    return GcsServer("fake_gcs", url, "tests", processes.pids, processes.logs)
