"""The clients that s3dlio is compared with, each in a virtual environment of its own below .bench/."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"

# Environment -> what is installed in it, in this order. torch comes first: by itself it is the CPU build.
ENVIRONMENTS = {
    "rust": [["obstore==0.12.*", "opendal==0.47.*"]],
    "s3torchconnector": [["torch==2.13.0"], ["s3torchconnector==1.5.*"]],
    "s3dlio-0.10": [["s3dlio==0.10.*"]],
}

# Client, as `client.py` calls it -> the environment it needs.
HOMES = {
    "s3dlio 0.10 get_many": "s3dlio-0.10",
    "s3dlio 0.10 get, threads": "s3dlio-0.10",
    "obstore, threads": "rust",
    "obstore, asyncio": "rust",
    "opendal, threads": "rust",
    "s3torchconnector, threads": "s3torchconnector",
}


def interpreter(client: str) -> Path:
    """The Python that runs a client; this one for s3dlio itself. The environment is made on first use."""
    name = HOMES.get(client)
    if name is None:
        return Path(sys.executable)
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        print(f"installing the peers of {name} …", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        for wanted in ENVIRONMENTS[name]:
            subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
        (folder / ".complete").touch()
    return python


def versions() -> dict[str, str]:
    """Package -> version of every peer that is installed."""
    found: dict[str, str] = {}
    for name, steps in ENVIRONMENTS.items():
        python = FOLDER / name / "bin" / "python"
        for package in (wanted.partition("==")[0] for step in steps for wanted in step):
            code = f"import importlib.metadata as m; print(m.version({package!r}))"
            if python.exists():
                done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
                found[f"{package} ({name})"] = done.stdout.strip() or "not installed"
    return found
