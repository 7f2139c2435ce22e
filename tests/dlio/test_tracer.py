# SPDX-License-Identifier: Apache-2.0
"""The tracer of DLIO 2.0.0 drops exits without an entry."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys, types

module = types.ModuleType("dftracer.logger")
sys.modules["dftracer"] = types.ModuleType("dftracer")
sys.modules["dftracer.logger"] = module
events = []

class dftracer:
    logger = None
    def enter_event(self):
        events.append("enter")
    def exit_event(self):
        events.append("leave")

module.dftracer = dftracer
from s3dlio.dlio.run.tracer import balance_tracer

balance_tracer()
balance_tracer()
tracer = dftracer()
tracer.enter_event()  # without effect in pydftracer too: it has not started
tracer.logger = object()
tracer.exit_event()
assert events == ["enter"], events
tracer.enter_event()
tracer.enter_event()
tracer.exit_event()
tracer.exit_event()
tracer.exit_event()
assert events == ["enter"] + ["enter"] * 2 + ["leave"] * 2, events
"""


def test_an_exit_without_an_entry_is_dropped() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)


def test_a_dlio_with_another_tracer_needs_nothing() -> None:
    program = (
        "import sys; sys.modules['dftracer'] = None;from s3dlio.dlio.run.tracer import balance_tracer; balance_tracer()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
