# SPDX-License-Identifier: Apache-2.0
"""The machine, the versions of what is measured, and the CPU time of processes."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import peers
from tests.servers import install

_TICK = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, Any]:
    """Facts about the machine."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / (1 << 20), 1) if memory else None,
        "kernel": platform.release(),
        "huge_pages": huge.read_text().strip() if huge.exists() else "none",
    }


def versions(clients: set[str]) -> dict[str, str]:
    """The versions of Python, OpenSSL, s3dlio (its commit), the servers, and the peers that take part."""
    return {
        "s3dlio": commit(),
        "Python": platform.python_version(),
        "TLS": ssl.OPENSSL_VERSION,
        "SeaweedFS": install.SEAWEEDFS,
        "nginx": _nginx(),
        **peers.versions(clients),
    }


def commit(root: Path = peers.ROOT) -> str:
    """The commit of a checkout, with "-dirty" if a file has changed; the results, which a run writes, do not count."""
    try:
        name = _git(root, "describe", "--always", "--tags", "--long")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return "not from a clone"
    return f"{name}-dirty" if changed else name


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def _nginx() -> str:
    program = install.locate("nginx") / "usr" / "sbin" / "nginx"
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("/")[2]


def cpu(pids: tuple[int, ...]) -> float:
    """The CPU time of some processes and their children so far, in seconds."""
    ticks = 0
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for number in (str(pid), *children):
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK
