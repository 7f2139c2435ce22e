"""`cp`, and the copy that `get` and `put` make of a file."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

import s3dlio
from s3dlio.cli import progress
from s3dlio.cli.arguments import Source, Target
from s3dlio.errors import ObjectNotFoundError


def cp(
    source: Source,
    target: Target,
    recursive: Annotated[
        bool,
        typer.Option("-r", "--recursive", help="Copy what is below the folder SOURCE to below the folder TARGET."),
    ] = False,
) -> None:
    """Copy an object or a tree, from any protocol to any. A TARGET that ends in "/" is a folder."""
    copy(source, target, recursive)


def copy(source: str, target: str, recursive: bool) -> None:
    """Copy with a progress bar; Ctrl-C ends it between two pieces, in every thread.

    Raises:
        ObjectNotFoundError: no such source, or a folder without `recursive`: the message says what to do.
    """
    try:
        with _interruptible() as check, progress.shown() as report:

            def follow(state: s3dlio.Progress) -> None:
                check()
                report(state)

            s3dlio.copy(source, target, recursive=recursive, progress=follow)
    except ObjectNotFoundError as error:
        if not recursive and s3dlio.is_prefix(source):
            raise ObjectNotFoundError(
                f"{source} is a folder: use 's3dlio cp -r' to copy what is below it", uri=source
            ) from error
        raise


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt once Ctrl-C was pressed, in whatever thread calls it.

    Python raises it in the main thread only, which then waits for the copies that other threads are making: those
    must hear of it too. Where the interrupt is ignored (nohup), it stays ignored.
    """
    interrupted = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        yield check
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
