# SPDX-License-Identifier: Apache-2.0
"""Keeps the tracer of DLIO 2.0.0, pydftracer 1.0.2, from corrupting memory in spawned workers.

Strategy: the tracer's native code keeps a stack of the functions that were entered, and pops from it without checking
whether it is empty. In a spawned worker the tracer starts inside a traced function. That function is left without
having been entered, so the stack leaves its memory, and the worker may or may not be killed for it. `balance_tracer`
counts the entered functions, and drops each exit that has no matching entry.
"""

from __future__ import annotations

from typing import Any


def balance_tracer() -> None:
    """Make the tracer of this process drop exits without an entry, if it is the version that needs this."""
    try:
        from dftracer.logger import dftracer as tracer
    except ImportError:  # a later version, or no tracer
        return
    if hasattr(tracer, "entered"):
        return
    enter, leave = tracer.enter_event, tracer.exit_event

    def enter_event(self: Any) -> None:
        if self.logger:
            tracer.entered += 1
        enter(self)

    def exit_event(self: Any) -> None:
        if self.logger and tracer.entered:
            tracer.entered -= 1
            leave(self)

    tracer.entered = 0
    tracer.enter_event, tracer.exit_event = enter_event, exit_event
