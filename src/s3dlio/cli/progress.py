# SPDX-License-Identifier: Apache-2.0
"""Whether a command shows a progress bar: only on a terminal that can move its cursor.

The bar itself, and with it rich, is loaded when the first bytes have moved. So a command that fails at once prints its
error and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from s3dlio.cli import output
from s3dlio.types import Progress


@contextmanager
def shown(*, output_in_use: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show a bar while the block runs, if there is a terminal for it. Yields the function to call with each new state.

    If the command writes content to standard output (`output_in_use`), no bar is shown if that is a terminal, too: bar
    and content would mix.
    """
    if not _has_terminal() or (output_in_use and output.is_terminal()):
        yield lambda _: None
        return
    show: Callable[[Progress], None] | None = None
    with ExitStack() as ending:

        def report(state: Progress) -> None:
            nonlocal show
            if show is None:
                from s3dlio.cli.bar import bar

                show = ending.enter_context(bar())
            show(state)

        yield report


def _has_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
