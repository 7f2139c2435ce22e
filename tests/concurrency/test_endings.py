# SPDX-License-Identifier: Apache-2.0
"""Processes that exit, fork or drop iterators at any moment while reading ahead end promptly, correctly and quietly.

`endings.py` is the program. If a process fails, the message contains its seed; to repeat it with the environment of
`_run`: `python tests/concurrency/endings.py KIND FOLDER SEED`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.concurrency import endings
from tests.concurrency.objects_server import serving
from tests.threads import side_by_side

_AT_A_TIME = 4


def _run(kind: str, folder: Path, endpoint: str, seeds: range) -> str:
    """The findings about the processes of these seeds; empty if there are none."""
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, endings.__file__, kind, str(folder), *map(str, seeds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + (done.stderr or f"status {done.returncode}" if done.returncode or done.stderr else "")


def _end(kind: str, folder: Path, count: int) -> None:
    first = secrets.randbelow(10**9)
    endings.fill(str(folder))
    share = count // _AT_A_TIME
    with serving(str(folder)) as endpoint:
        wrong = side_by_side(
            [
                partial(_run, kind, folder, endpoint, range(start, start + share))
                for start in range(first, first + count, share)
            ]
        )
    if found := "".join(wrong):
        pytest.fail(found, pytrace=False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", endings.KINDS)
def test_100_processes_end_well(kind: str, tmp_path: Path) -> None:
    _end(kind, tmp_path, 100)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", endings.KINDS)
def test_1000_processes_end_well(kind: str, tmp_path: Path) -> None:
    _end(kind, tmp_path, 1000)
