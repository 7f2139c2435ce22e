# SPDX-License-Identifier: Apache-2.0
"""The clients that s3dlio is compared with, each in its own virtual environment below .bench/."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"

DLIO_MAIN = "dlio-main"

# Environment -> the packages installed in it, step by step. torch is the first step, which installs its CPU build.
ENVIRONMENTS = {
    "obstore": [["obstore==0.12.*"]],
    "opendal": [["opendal==0.47.*"]],
    "boto3": [["boto3==1.44.*"]],
    "s3dlio-0.10": [["s3dlio==0.10.*"]],
    "s3torchconnector": [["torch==2.13.0"], ["s3torchconnector==1.5.*", "obstore==0.12.*"]],
    # The packages that DLIO's main branch imports, and s3dlio from this checkout. DLIO itself is run from
    # --dlio-source.
    DLIO_MAIN: [
        ["torch==2.13.0"],
        ["s3torchconnector==1.5.*", "pydftracer>=2.0.2", "dftracer>=2.0.1", "hydra-core>=1.3.2", "openmpi>=5.0"],
        ["numpy", "pandas", "psutil", "PyYAML", "omegaconf", "mpi4py", "Pillow", "h5py", "--editable", str(ROOT)],
    ],
}

# Client, by its name in `client/` -> its environment. The other clients run in the environment of s3dlio.
HOMES = {
    "obstore, threads": "obstore",
    "obstore, asyncio": "obstore",
    "obstore, DataLoader": "s3torchconnector",
    "opendal, threads": "opendal",
    "boto3, threads": "boto3",
    "s3torchconnector, threads": "s3torchconnector",
    "s3torchconnector, DataLoader": "s3torchconnector",
    "s3dlio 0.10 get_many": "s3dlio-0.10",
    "s3dlio 0.10, threads": "s3dlio-0.10",
}


def interpreter(client: str) -> Path:
    """The Python that runs a client. Its environment is created on first use, and again when its packages change."""
    name = HOMES.get(client)
    return environment(name) if name else Path(sys.executable)


def environment(name: str) -> Path:
    """The Python of an environment, which is created on first use, and again when its packages change."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    stamp = folder / ".complete"
    wanted = json.dumps(ENVIRONMENTS[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {name} into {folder} …", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        for step in ENVIRONMENTS[name]:
            subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *step], check=True)
        stamp.write_text(wanted)
    return python


def versions(clients: set[str]) -> dict[str, str]:
    """Package -> version, of the packages of these clients."""
    found: dict[str, str] = {}
    for name in sorted({HOMES[client] for client in clients if client in HOMES}):
        for package in (wanted.partition("==")[0] for step in ENVIRONMENTS[name] for wanted in step):
            code = f"import importlib.metadata as m; print(m.version({package!r}))"
            python = FOLDER / name / "bin" / "python"
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
            found[f"{package} (environment {name})"] = done.stdout.strip()
    return found
