# SPDX-License-Identifier: Apache-2.0
"""The DLIO that the tests use: the installed one, or the checkout that DLIO_SOURCE names.

Without DLIO, the tests that need it are skipped with the reason; in CI, which requires everything, they fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import pytest

from tests.required import lacking

if source := os.environ.get("DLIO_SOURCE"):
    # Ahead of the installed DLIO, for this process and its children; but after this checkout, since DLIO's also has a
    # folder `tests`.
    sys.path.insert(1, source)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def dlio() -> None:
    """Requires DLIO."""
    if importlib.util.find_spec("dlio_benchmark") is None:
        lacking("DLIO is not installed: run `make dlio`")


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """Requires TensorFlow, which no target of the Makefile installs."""
    if importlib.util.find_spec("tensorflow") is None:
        lacking("TensorFlow is not installed: pip install tensorflow-cpu")


@pytest.fixture
def checkpoints_are_read(dlio: None, request: pytest.FixtureRequest) -> None:  # noqa: ARG001
    """Marks the test as an expected failure for a DLIO that never reads a checkpoint."""
    from dlio_benchmark.utils.config import ConfigArguments

    if not hasattr(ConfigArguments, "num_checkpoints_read"):
        request.applymarker(pytest.mark.xfail(reason="this DLIO (2.0.0) never reads a checkpoint", strict=True))


@pytest.fixture
def patch_program() -> str:
    """The path of the program patch."""
    program = shutil.which("patch")
    if program is None:
        lacking("the program patch is not installed: run `make dlio` as root, or apt-get install patch")
    return program
