# SPDX-License-Identifier: Apache-2.0
"""Other processes for tests: a forked child, and a fresh interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Mapping

SECONDS = 60.0


def in_forked_child(work: Callable[[], object]) -> None:
    """Run `work` in a forked child, to its end.

    Raises:
        AssertionError: it raised, with its traceback, or it did not end.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work()
            status = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(status)
    os.close(writing)
    status = ended(child)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read().decode()
    assert status == 0, f"the child ended with {status}: {report}"


def ended(child: int) -> int:
    """Wait for the end of a child, whose wait status is returned; one that does not end is killed."""
    deadline = time.monotonic() + SECONDS
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"the child did not end within {SECONDS:g} s")
        time.sleep(0.002)


def start(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a fresh interpreter with a program; its output and errors are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def without_coverage(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for processes whose coverage is not measured, because the test sees what the measurement does."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def output(program: str, *arguments: str, **environment: str) -> str:
    """What a program, run in a fresh interpreter, prints.

    Raises:
        AssertionError: it failed, with what it wrote to standard error, or it did not end.
    """
    with start(program, *arguments, **environment) as process:
        try:
            printed, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, errors = process.communicate()
            raise AssertionError(f"the program did not end within {SECONDS:g} s: {errors}") from None
    assert process.returncode == 0, errors
    return printed
