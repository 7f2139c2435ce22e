# SPDX-License-Identifier: Apache-2.0
"""The format of numbers in a report."""

from __future__ import annotations

import pytest

from s3dlio.dlio.report import units


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0 B"),
        (7, "7 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_999, "1.00 MB"),
        (12_345_678, "12.3 MB"),
        (1.5e18, "1,500 PB"),
    ],
)
def test_bytes(count: float, written: str) -> None:
    assert units.size(count) == written
    assert units.rate(count) == f"{written}/s"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0 s"),
        (2.34e-7, "0.23 µs"),
        (0.000_999_9, "1.00 ms"),
        (0.0358, "35.8 ms"),
        (0.999_99, "1.00 s"),
        (100, "100 s"),
        (600, "10.0 min"),
        (36_000, "10.0 h"),
    ],
)
def test_times(seconds: float, written: str) -> None:
    assert units.duration(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0 s"), (0.5, "500 ms"), (1, "1 s"), (2.5, "2.5 s"), (1e-5, "10 µs"), (180, "3 min")]
)
def test_round_times(seconds: float, written: str) -> None:
    assert units.round_duration(seconds) == written
