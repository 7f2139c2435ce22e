# SPDX-License-Identifier: Apache-2.0
"""A guard for the tracer of DLIO 2.0.0, pydftracer 1.0.2, in spawned workers.

Strategy: its native code keeps a stack of the functions that have been entered, without looking whether it is empty.
In a spawned worker the tracer starts inside a function that is traced, which is then left without having been
entered: from there on the stack lies outside its memory, and whether the worker is killed for it is up to chance. So
here the functions are counted, and one that was not entered is not left.
"""

from __future__ import annotations

from typing import Any


def balance_tracer() -> None:
    """Make the tracer of this process leave only what was entered, if it is one that needs that."""
    try:
        from dftracer.logger import dftracer as tracer
    except ImportError:  # a later one, or none
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
