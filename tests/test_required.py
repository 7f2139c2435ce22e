# SPDX-License-Identifier: Apache-2.0
"""In CI a missing server or package fails the test that needs it, in whatever process the test runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("required", "outcome"), [("1", "1 failed"), ("0", "1 skipped"), ("", "1 skipped")])
def test_what_is_missing_is_a_failure_where_everything_is_required(
    tmp_path: Path, workers: str, required: str, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.conftest"]\n')
    (tmp_path / "test_one.py").write_text(
        "from tests.required import lacking\ndef test_one():\n    lacking('there is no such server')\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            workers,
            "-p",
            "no:cacheprovider",
            "--rootdir",
            tmp_path,
            tmp_path,
        ],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "S3DLIO_REQUIRE_SERVERS": required},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome in done.stdout, done.stdout + done.stderr
    assert ("there is no such server (S3DLIO_REQUIRE_SERVERS is set)" in done.stdout) == (required == "1")


def test_only_lacking_skips_a_test() -> None:
    """Any other skip would stay a skip where everything is required."""
    tests = Path(__file__).parent
    skips = re.compile(r"importorskip|skipif|skipunless|pytest\.skip\b|mark\.skip\b|unittest\.skip", re.IGNORECASE)
    files = {path.relative_to(tests).as_posix(): path.read_text(encoding="utf-8") for path in tests.rglob("*.py")}
    found = {name for name, text in files.items() if skips.search(text)}
    assert found - {"test_required.py"} == {"required.py"}
