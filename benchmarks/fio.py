# SPDX-License-Identifier: Apache-2.0
"""fio, the yardstick of direct://: reads a file past the page cache with the same block size and depth."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.servers import install

# The defaults of direct://: segments of 4 MiB, four at a time.
BLOCK, DEPTH = 4 << 20, 4


def read(file: Path, seconds: float) -> dict[str, float]:
    """Read a file repeatedly for a number of seconds, and return the figures."""
    folder = install.locate("fio")
    libraries = sorted({str(path.parent) for path in folder.rglob("*.so*")})
    command: list[str | Path] = [
        *(folder / "usr" / "bin" / "fio", "--name=read", f"--filename={file}", "--rw=read", "--direct=1"),
        *(f"--bs={BLOCK}", f"--iodepth={DEPTH}", "--ioengine=libaio", "--output-format=json"),
        *("--time_based", f"--runtime={seconds}s"),
    ]
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    job = json.loads(done.stdout)["jobs"][0]
    took = job["read"]["runtime"] / 1000
    return {
        "seconds": took,
        "user": job["usr_cpu"] / 100 * took,
        "system": job["sys_cpu"] / 100 * took,
        "bytes": job["read"]["io_bytes"],
        "objects": job["read"]["io_bytes"] / file.stat().st_size,
        "calls": job["read"]["total_ios"],
    }
