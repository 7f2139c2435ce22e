# SPDX-License-Identifier: Apache-2.0
"""DLIO as the tests use it: the one installed, or the checkout that DLIO_SOURCE names.

Without any, the tests that need it are skipped with the reason, and fail where CI asks for everything.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import pytest

from tests.required import lacking

if source := os.environ.get("DLIO_SOURCE"):
    # Before the installed one, for this process and those it starts; behind this checkout, as DLIO's has a
    # folder `tests` too.
    sys.path.insert(1, source)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def dlio() -> None:
    """Asks for an importable DLIO."""
    if importlib.util.find_spec("dlio_benchmark") is None:
        lacking("DLIO is not installed: run `make dlio`")


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """Asks for TensorFlow, which nothing here installs."""
    if importlib.util.find_spec("tensorflow") is None:
        lacking("TensorFlow is not installed: pip install tensorflow-cpu")


@pytest.fixture
def checkpoints_are_read(dlio: None, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    """Expects the test to fail with a DLIO that never reads a checkpoint."""
    from dlio_benchmark.utils.config import ConfigArguments

    if not hasattr(ConfigArguments, "num_checkpoints_read"):
        request.applymarker(pytest.mark.xfail(reason="this DLIO (2.0.0) never reads a checkpoint", strict=True))


@pytest.fixture
def patch_program() -> str:
    """The program patch."""
    program = shutil.which("patch")
    if program is None:
        lacking("the program patch is not installed: run `make dlio` as root, or apt-get install patch")
    return program
