# SPDX-License-Identifier: Apache-2.0
"""Runs the real command in a process of its own, with pipes or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

COMMAND = (sys.executable, "-m", "s3dlio")


class Result(NamedTuple):
    """How a command ended.

    Attributes:
        status: the exit status; negative for a signal.
        out: standard output; of a terminal, what both streams showed.
        err: standard error, decoded.
    """

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return os.fsdecode(self.out).splitlines()


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment of this process with changes; None takes a variable away."""
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def run(
    *arguments: str | bytes | Path, stdin: bytes = b"", folder: Path | None = None, **changes: str | None
) -> Result:
    """Run `s3dlio` with pipes.

    Args:
        arguments: of the command line.
        stdin: what it reads.
        folder: the current folder.
        changes: to the environment.
    """
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, cwd=folder, env=environment(changes), check=False
    )
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="backslashreplace"))


def run_on_terminal(
    *arguments: str | Path, columns: int = 80, only_stderr: bool = False, **changes: str | None
) -> Result:
    """Run `s3dlio` with standard output and error on a terminal.

    Args:
        arguments: of the command line.
        columns: width of the terminal; 0 for one that does not know its size.
        only_stderr: standard output goes into a pipe.
        changes: to the environment.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if only_stderr else theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm-256color", "COLUMNS": None, **changes}),
    )
    os.close(theirs)
    shown = bytearray()
    with suppress(OSError):  # EIO: the last process has closed the terminal
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return Result(process.wait(), bytes(shown), "")
