# SPDX-License-Identifier: Apache-2.0
"""Runs every fenced block of a page of the documentation, in order, as a reader would.

The word after its fence says how a block is run:

    python    executed; all Python blocks of a page share one namespace
    bash      executed by `bash -euo pipefail`; later blocks see the variables that it exports
    console   each line after "$ " is run like bash, and the lines below it are compared with its output
    output    compared with the output of the block before it; "..." stands for anything
    yaml      must parse
    text      not run: a figure or a tree of files, in which nothing may look like a command

Any other word, or none, is an error, so every block is run. Each page runs in a separate process (this module as a
program), with an empty folder as its home and current folder. Text that cannot work on the machine of a test is
replaced before anything is run, according to the table below.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).parents[2]

# What a page says -> what is run. "{folder}" is the page's folder, "{checkout}" the one with the Makefile.
SUBSTITUTIONS = {
    # Places.
    "/tmp/": "{folder}/",
    "/mnt/nvme/": "{folder}/nvme/",
    # Commands that take minutes or fetch things: whether the target exists, and whether pip does, is checked.
    "make bench": "make -C {checkout} -n bench",
    "make demo": "make -C {checkout} -n demo",
    "make test": "make -C {checkout} -n test",
    "make venv": "make -C {checkout} -n venv",
    "make lint": "make -C {checkout} -n lint",
    "pip install pre-commit && pre-commit install": "pip --version",
    "pip install .": "pip --version",
    # Writes into the shell's start-up file, which the process that calls decides about.
    "s3dlio --install-completion": "_S3DLIO_COMPLETE=source_bash s3dlio",
}

KINDS = ("python", "bash", "console", "output", "yaml", "text")
_COMMAND = re.compile(r"^\s*(\$|>>>|import|from|export|pip|make|s3dlio|python3?)\s", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its kind, its text, and the line of the page on which its text begins."""

    kind: str
    text: str
    line: int


class PageError(Exception):
    """A page that cannot be run, or whose blocks do not do what it says."""


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page.

    Raises:
        PageError: a fence of an unknown kind, one that is not closed, a "text" that looks like a command, or a block
            that is made by indenting it.
    """
    found: list[Block] = []
    opened: tuple[str, str, int] | None = None
    lines: list[str] = []
    before, in_list = "", False
    for number, line in enumerate(page.splitlines(), 1):
        fence = re.match(r"^\s*(`{3,}|~{3,})\s*(.*?)\s*$", line)
        if opened is None:
            # Four spaces make a block too, unless they continue the item of a list.
            if re.match(r" {4}\S", line) and not before.strip() and not in_list:
                raise PageError(f"line {number}: an indented block: use a fence")
            if line.strip():
                in_list = bool(re.match(r"\s*([-*+]|\d+\.)\s", line)) or (in_list and line.startswith(" "))
            before = line
            if fence:
                if fence[2] not in KINDS:
                    raise PageError(f"line {number}: a block of the kind {fence[2]!r}: known are {', '.join(KINDS)}")
                opened, lines = (fence[1], fence[2], number + 1), []
        elif fence and fence[1] == opened[0] and not fence[2]:
            block = Block(opened[1], textwrap.dedent("\n".join(lines)) + "\n", opened[2])
            if block.kind == "text" and _COMMAND.search(block.text):
                raise PageError(f"line {block.line}: this text looks like a command: let it be run")
            found.append(block)
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise PageError(f"line {opened[2] - 1}: the block is not closed")
    return found


def substituted(text: str, substitutions: Mapping[str, str]) -> str:
    """The text with every key of the table replaced by its value, the longest first, in one pass."""
    keys = sorted(substitutions, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, keys)), lambda found: substitutions[found[0]], text)


def run_page(page: Path, folder: Path, more: Mapping[str, str] | None = None) -> None:
    """Run a page in a separate process.

    Args:
        page: the Markdown file.
        folder: an empty folder.
        more: further substitutions, such as the endpoint of a server that a fixture has started.

    Raises:
        PageError: with what the process wrote.
    """
    table = {**SUBSTITUTIONS, **(more or {})}
    table = {key: value.format(folder=folder, checkout=CHECKOUT) for key, value in table.items()}
    environment = {
        **os.environ,
        "HOME": str(folder),
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
        "PYTHONPATH": str(CHECKOUT),
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(page), json.dumps(table)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PageError(f"{page.name}, {done.stdout}{done.stderr}")


class _Run:
    """The state that the blocks of one page share."""

    def __init__(self, page: Path, substitutions: Mapping[str, str]) -> None:
        self._page = page
        self._substitutions = substitutions
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._written: str | None = None

    def run(self, block: Block) -> None:
        text = substituted(block.text, self._substitutions)
        written = None
        if block.kind == "python":
            written = self._python(text, block.line)
        elif block.kind == "bash":
            written = _bash(text)
        elif block.kind == "console":
            for command, expected in _dialogue(text):
                _compare(_bash(command), expected)
        elif block.kind == "output":
            if self._written is None:
                raise PageError("no block before this output writes any")
            _compare(self._written, text)
        elif block.kind == "yaml":
            importlib.import_module("yaml").safe_load(text)  # by name, as it has no type information
        self._written = written

    def _python(self, text: str, line: int) -> str:
        # Empty lines before it give the lines of a traceback the numbers they have in the page.
        code = compile("\n" * (line - 1) + text, str(self._page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as written:
            exec(code, self._namespace)
        return written.getvalue()


def _bash(text: str) -> str:
    variables = Path(".variables")
    script = f"trap 'env -0 >{variables}' EXIT\n{text}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PageError(f"exit status {done.returncode}:\n{text}{done.stdout}{done.stderr}")
    for variable in variables.read_text().split("\0"):
        name, mark, value = variable.partition("=")
        if mark and name != "_":
            os.environ[name] = value
    variables.unlink()
    return done.stdout


def _dialogue(text: str) -> list[tuple[str, str]]:
    """(command, expected output) of a console block."""
    before, *turns = re.split(r"^\$ ", text, flags=re.MULTILINE)
    if before.strip() or not turns:
        raise PageError('a console block begins with a command, after "$ "')
    return [(command + "\n", expected) for command, _, expected in (turn.partition("\n") for turn in turns)]


def _compare(written: str, expected: str) -> None:
    if written and not written.endswith("\n"):
        written += "\n"
    if not doctest.OutputChecker().check_output(expected, written, doctest.ELLIPSIS):
        raise PageError(f"the page says\n{expected}but what was written is\n{written}")


def _main(page: str, substitutions: str) -> None:
    from tests.conftest import pytest_configure

    pytest_configure()  # no setting of this machine, and no way to another one
    run = _Run(Path(page), json.loads(substitutions))
    for block in blocks(Path(page).read_text(encoding="utf-8")):
        try:
            run.run(block)
        except BaseException:
            print(f"the block at line {block.line}:", flush=True)  # noqa: T201
            raise


if __name__ == "__main__":
    _main(*sys.argv[1:])
