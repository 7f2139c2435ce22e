# SPDX-License-Identifier: Apache-2.0
"""The progress bar on standard error: bytes, rate, remaining time and, for a tree, objects.

The bar shows only what fits the width of the terminal on one line: rich redraws one line, and prints a longer bar
again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from s3dlio.types import Progress

_WIDE, _MEDIUM = 72, 40  # columns


@contextmanager
def bar() -> Iterator[Callable[[Progress], None]]:
    """Show the bar while the block runs. Yields the function to call with each new state."""
    console = Console(stderr=True)
    with progress.Progress(*_columns(console.width), console=console, redirect_stdout=False) as display:
        task = display.add_task("", total=None)

        def show(state: Progress) -> None:
            objects = "" if state.objects_total == 1 else f"{state.objects_done}/{state.objects_total or '?'} objects"
            display.update(task, completed=state.bytes_done, total=state.bytes_total, description=objects)

        yield show


class _Rate(progress.TransferSpeedColumn):
    """The rate of the last seconds; at the end, and before there are any, the rate of the whole copy."""

    def render(self, task: progress.Task) -> Text:
        speed = task.speed
        if task.finished or not speed:
            speed = task.completed / task.elapsed if task.elapsed else 0
        return Text(decimal(int(speed)) + "/s", style="progress.data.speed")


def _columns(width: int) -> list[progress.ProgressColumn]:
    rate_and_time = [_Rate(), progress.TimeRemainingColumn(elapsed_when_finished=True)]
    if width < _MEDIUM:
        return rate_and_time
    sizes = progress.DownloadColumn()
    if width < _WIDE:
        return [sizes, *rate_and_time]
    return [progress.BarColumn(bar_width=None), sizes, *rate_and_time, progress.TextColumn("{task.description}")]
