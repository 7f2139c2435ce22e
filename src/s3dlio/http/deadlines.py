# SPDX-License-Identifier: Apache-2.0
"""The bounds of an exchange: how long it may take, how slowly a body may move, how long an unsized body may be.

The time limit of a whole exchange leaves out the time in which a body moves, in either direction. A moving body is
bounded by silence (`Limits.idle`) and by a least average rate (`Limits.rate`, measured by a `Pace`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

# Seconds between two measurements. A longer gap means that this process, not the server, stood still.
_LONGEST_GAP = 1.0


class Limits(NamedTuple):
    """The bounds of an exchange. Times are in seconds.

    Attributes:
        connect: until a new connection is open, TLS handshake included.
        idle: between two bytes that move in either direction.
        total: for the whole exchange, without the time in which a body moves.
        keep_alive: how long an idle connection may be reused.
        idle_connections: the most idle connections to one address that are kept for the next call.
        rate: bytes per second that a body must move at on average; 0 for no bound, infinite for a body that must be
            whole after `span`.
        span: the time over which the rate is averaged.
        unsized_max: the most bytes of an object whose answer does not state its length.
    """

    connect: float
    idle: float
    total: float
    keep_alive: float
    idle_connections: int
    rate: float
    span: float
    unsized_max: float

    def why_too_slow(self) -> str:
        """The message for a body that moves too slowly."""
        if self.rate == math.inf:
            return f"the answer took longer than {self.span:g} s"
        return f"less than S3DLIO_MIN_RATE ({self.rate:g} bytes/s) moved over {self.span:g} s"


class Pace:
    """Measures whether a body moves fast enough. The checks of deadlines call `is_too_slow` regularly."""

    __slots__ = ("_count", "_measured_at", "_since")

    def __init__(self, now: float, count: int, since: float | None = None) -> None:
        """`count` is how many bytes have moved by `since`, when the first average starts: by default `now`."""
        self._measured_at = now
        self._since = now if since is None else since
        self._count = count

    def is_too_slow(self, now: float, count: int, limits: Limits) -> bool:
        """Whether the average over the last span is below the rate. False until a whole span has passed."""
        gap = now - self._measured_at
        if gap > _LONGEST_GAP:  # the event loop or the process stood still: do not blame the server
            self._since += gap
        self._measured_at = now
        if now - self._since < limits.span:
            return False
        slow = count - self._count < limits.rate * (now - self._since)
        self._since, self._count = now, count
        return slow
