# SPDX-License-Identifier: Apache-2.0
"""Before DLIO starts: imports, a missing DLIO, help and mistaken arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def test_importing_the_integration_imports_neither_dlio_nor_torch() -> None:
    program = (
        "import sys, s3dlio.integrations.dlio; print({'dlio_benchmark', 'torch', 'numpy', 'rich'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert answer.strip() == "set()"


def test_without_dlio_it_says_what_to_install() -> None:
    # Without the site module nothing that is installed can be imported.
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from s3dlio.integrations.dlio import run; sys.exit(run([]))"
    )
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "pip install --no-deps dlio-benchmark==2.0.0" in ended.stderr


@pytest.mark.usefixtures("dlio")
def test_help_is_dlios_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "s3dlio.integrations.dlio", "--cfg", "job", "workload=unet3d_h100"]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "model: unet3d" in ended.stdout or "name: unet3d" in ended.stdout


@pytest.mark.usefixtures("dlio")
def test_a_mistaken_argument_is_dlios_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "s3dlio.integrations.dlio", "workload=no_such_workload"]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "no_such_workload" in ended.stderr
