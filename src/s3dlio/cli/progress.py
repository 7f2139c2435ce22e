# SPDX-License-Identifier: Apache-2.0
"""Whether a progress bar is shown: only where somebody watches it, on a terminal which can move its cursor.

The bar itself, and with it rich, is loaded when the first bytes have moved; so a command that fails at once shows its
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
    """Show a bar as long as the block runs. Gives the function to call with each new state.

    Args:
        output_in_use: content goes to standard output; when that is a terminal, there is no room for a bar.
    """
    if not _watched() or (output_in_use and output.is_terminal()):
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


def _watched() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
