# SPDX-License-Identifier: Apache-2.0
"""The hot paths cost no more than they did when this table was written.

Instructions and system calls of one object are counted, not timed, so that a busy machine changes nothing. A change
that makes a path dearer fails here; one that makes it cheaper should lower its line:
`python -m tests.guard.counting` prints the table as it is now.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.guard import counting, program
from tests.required import lacking
from tests.servers.install import ServerMissing


class Cost(NamedTuple):
    """The cost of one object, or of one listed key; None if it differs from run to run.

    The thread of `get_many_iter` and its caller find each other asleep more or less often.
    """

    instructions: float
    system_calls: float | None


# As counted, with CPython 3.11.
COSTS = {
    "get": Cost(322_500, 2.00),
    "get_many": Cost(114_500, 2.00),
    "get_many_iter": Cost(146_000, None),
    "get_range": Cost(319_700, 2.00),
    "put_bytes": Cost(312_600, 2.00),
    "put_many": Cost(122_900, 2.00),
    "list": Cost(10_400, 0.02),
    "file get": Cost(33_900, 4.00),
    "file stat": Cost(29_300, 1.00),
    "file put": Cost(97_400, 11.00),
}
# What a count may be above the table: instructions repeat to 1 or 2 %, and an answer may come in two pieces.
SLACK = 1.05
MORE_CALLS = 0.3
# With several objects in flight, the cost rises if the server gets no CPU time in the pauses that it is given. If only
# such paths are above their bounds, everything is counted again, at most COUNTS times: a path that has really become
# more expensive is above its bound each time.
COUNTS = 3


def counted(count: Callable[[counting.Place], dict[str, float]]) -> dict[str, float]:
    try:
        with counting.place() as where:
            return count(where)
    except ServerMissing as error:
        lacking(str(error))


@pytest.mark.timeout(300)
def test_no_hot_path_takes_more_instructions_than_before() -> None:
    if platform.python_version_tuple()[:2] != ("3", "11"):
        lacking("the instructions in the table are those of CPython 3.11: run the tests with it")
    bounds = {name: round(cost.instructions * SLACK) for name, cost in COSTS.items()}
    above: dict[str, tuple[int, int]] = {}
    for _ in range(COUNTS):
        now = counted(counting.instructions)
        above = {name: (round(now[name]), bound) for name, bound in bounds.items() if now[name] > bound}
        if not above or above.keys() - program.SEVERAL:
            break
    assert above == {}


def test_no_hot_path_makes_more_system_calls_than_before() -> None:
    now = counted(counting.system_calls)
    bounds = {name: cost.system_calls + MORE_CALLS for name, cost in COSTS.items() if cost.system_calls is not None}
    assert {name: (now[name], bound) for name, bound in bounds.items() if now[name] > bound} == {}
