# SPDX-License-Identifier: Apache-2.0
"""Formats numbers with their units; sizes and rates are in powers of 1000."""

from __future__ import annotations

_PREFIXES = ("", "k", "M", "G", "T", "P")


def scale(largest: float) -> tuple[float, str]:
    """The divisor and the unit for byte counts of which `largest` is the largest."""
    power = 0
    while abs(largest) >= 999.5 and power < len(_PREFIXES) - 1:  # 999.5 would be written as 1,000
        largest /= 1000
        power += 1
    return 1000.0**power, f"{_PREFIXES[power]}B"


def time_scale(span: float) -> tuple[float, str]:
    """The divisor and the unit for a span of time in seconds: "s", "min" or "h"."""
    if span <= 180:
        return 1.0, "s"
    return (60.0, "min") if span <= 3 * 3600 else (3600.0, "h")


def number(value: float) -> str:
    """A number with three significant digits, or with more if they are before the decimal point."""
    if abs(value) >= 99.95 or not value:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def size(count: float) -> str:
    """A number of bytes, as in "12.3 MB"."""
    divisor, unit = scale(count)
    return f"{count:.0f} B" if divisor == 1 else f"{number(count / divisor)} {unit}"


def rate(bytes_per_second: float) -> str:
    """A number of bytes per second, as in "12.3 MB/s"."""
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """A number of seconds in a unit between microseconds and hours, as in "35.8 ms"."""
    value, unit = _time(seconds)
    return f"{number(value)} {unit}"


def round_duration(seconds: float) -> str:
    """A round number of seconds, without zeros after the decimal point, as in "2.5 s" or "3 min"."""
    value, unit = _time(seconds)
    return f"{value:.4g} {unit}"


def percent(value: float) -> str:
    """A number of percent, with one decimal."""
    return f"{value:.1f} %"


def _time(seconds: float) -> tuple[float, str]:
    if not seconds or 0.9995 <= seconds < 180:
        return seconds, "s"
    if seconds < 0.9995e-3:
        return seconds * 1e6, "µs"
    if seconds < 1:
        return seconds * 1e3, "ms"
    return (seconds / 60, "min") if seconds < 3 * 3600 else (seconds / 3600, "h")
