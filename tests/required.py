# SPDX-License-Identifier: Apache-2.0
"""What a test needs and the machine does not give: a reason to skip it, or to fail in CI, where all has to be there.

CI sets S3DLIO_REQUIRE_SERVERS=1. The tests see an environment without any variable of s3dlio, and so do the
processes that xdist starts for them: the first process reads it on import, and tells the others.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

import pytest

_required = os.environ.get("S3DLIO_REQUIRE_SERVERS", "0") not in ("", "0")


def lacking(what: str) -> NoReturn:
    """Skip the test for want of something that the machine does not give; fail where everything must be there."""
    if _required:
        pytest.fail(f"{what} (S3DLIO_REQUIRE_SERVERS is set)", pytrace=False)
    pytest.skip(what)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a process that is about to be started."""
    node.workerinput["everything_is_required"] = _required


def pytest_configure(config: pytest.Config) -> None:
    """Takes it in there."""
    global _required
    _required = getattr(config, "workerinput", {}).get("everything_is_required", _required)
