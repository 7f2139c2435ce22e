# SPDX-License-Identifier: Apache-2.0
"""Targets give access to their memory only when a read has filled it, with bytes of one version."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import pytest

import s3dlio
from s3dlio.memory.buffers import lease
from s3dlio.memory.target import Buffer, Parts


def test_a_target_with_a_gap_has_no_result() -> None:
    buffer = Buffer(lease(3))
    buffer.take(memoryview(b"ab"))
    with pytest.raises(s3dlio.IntegrityError):
        buffer.result()
    buffer.take(memoryview(b"c"))
    assert buffer.result() == b"abc"
    buffer.begin("")
    with pytest.raises(s3dlio.IntegrityError):
        buffer.result()


@pytest.mark.parametrize("versions", ["11", "12", "1-", "--"])
def test_parts_are_of_one_version_and_leave_no_gap(versions: str) -> None:
    parts = Parts(6)
    for version in versions:
        buffer = parts.part(3)
        buffer.begin(version.strip("-"))
        with pytest.raises(s3dlio.IntegrityError):
            parts.result()
        buffer.take(memoryview(b"abc"))
    if versions == "11":
        assert parts.result() == b"abcabc"
    else:
        with pytest.raises(s3dlio.IntegrityError, match="version"):
            parts.result()
