# SPDX-License-Identifier: Apache-2.0
"""A type checker sees what the public functions take and return, as a program that uses the installed package does."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import s3dlio
from tests.required import lacking

PREPARED = """
import array, asyncio, ctypes, mmap
from collections.abc import Iterator
import numpy
import s3dlio
from s3dlio import Entry, MultipartUploadWriter, ObjectInfo, Progress, ReadAhead
uri = "file:///tmp/object"
"""

BUFFERS = [
    'b"bytes"',
    'bytearray(b"bytes")',
    'memoryview(b"bytes")',
    'array.array("d", [1.0])',
    "mmap.mmap(-1, 4096)",
    "(ctypes.c_char * 10)()",
    "(ctypes.c_double * 10)()",
    "numpy.zeros(3)",
    'numpy.zeros((3, 4), "uint8")',
]
NO_BUFFERS = ["5", '"text"', "None", "[1, 2]", "1.5", "object()"]
TAKERS = [
    "s3dlio.put_bytes(uri, {})",
    "s3dlio.put_many([(uri, {})])",
    "asyncio.run(s3dlio.put_bytes_async(uri, {}))",
    "asyncio.run(s3dlio.put_many_async([(uri, {})]))",
    "MultipartUploadWriter.from_uri(uri).write({})",
]
RETURNED = [
    ("s3dlio.get(uri)", "memoryview"),
    ("s3dlio.stat(uri)", "ObjectInfo"),
    ("s3dlio.list(uri)", "list[str]"),
    ("s3dlio.list_iter(uri)", "Iterator[str]"),
    ("s3dlio.get_chunks(uri)", "Iterator[memoryview]"),
    ("s3dlio.entries(uri)", "Iterator[Entry]"),
    ("[entry.uri for entry in s3dlio.entries(uri)]", "list[str]"),
    ("s3dlio.list_buckets(uri)", "list[str]"),
    ("s3dlio.get_many([uri])", "list[tuple[str, memoryview]]"),
    ("s3dlio.get_many([uri], return_errors=True)", "list[tuple[str, memoryview | Exception]]"),
    ("s3dlio.get_many_iter([uri])", "ReadAhead"),
    ("next(s3dlio.get_many_iter([uri]))", "tuple[str, memoryview]"),
    ("MultipartUploadWriter.from_uri(uri)", "MultipartUploadWriter"),
]


def faulty_lines(folder: Path, lines: list[str], version: str) -> list[str]:
    """The lines of a program, after what is prepared for it, in which mypy finds an error for a version of Python."""
    if importlib.util.find_spec("mypy") is None:
        lacking("mypy is not installed: run `make venv`")
    program = folder / "program.py"
    program.write_text("\n".join([PREPARED, *lines]))
    options = ["--strict", "--no-incremental", "--no-error-summary", "--config-file=", f"--python-version={version}"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, program.name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode in (0, 1), ran.stderr
    errors = [line.split(":")[1] for line in ran.stdout.splitlines() if ": error:" in line]
    return [program.read_text().splitlines()[int(number) - 1] for number in errors]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_a_type_checker_accepts_buffers_and_refuses_everything_else(tmp_path: Path, version: str) -> None:
    right = [taker.format(value) for taker in TAKERS for value in BUFFERS]
    wrong = [taker.format(value) for taker in TAKERS for value in NO_BUFFERS]
    assert faulty_lines(tmp_path, [*right, *wrong], version) == wrong


@pytest.mark.parametrize("value", BUFFERS)
def test_each_accepted_buffer_can_be_written(tmp_path: Path, value: str) -> None:
    names: dict[str, object] = {}
    exec(PREPARED, names)
    data = eval(value, names)
    s3dlio.put_bytes(f"file://{tmp_path}/object", data)
    assert s3dlio.get(f"file://{tmp_path}/object") == memoryview(data).tobytes()


def test_a_type_checker_knows_what_each_function_returns(tmp_path: Path) -> None:
    right = [f"known_{number}: {type_} = {call}" for number, (call, type_) in enumerate(RETURNED)]
    wrong = [f"wrong_{number}: complex = {call}" for number, (call, _) in enumerate(RETURNED)]
    assert faulty_lines(tmp_path, [*right, *wrong], "3.10") == wrong


def test_a_type_checker_knows_every_public_name(tmp_path: Path) -> None:
    wrong = "reveal_type(s3dlio.no_such_name)"
    assert faulty_lines(tmp_path, [*(f"reveal_type(s3dlio.{name})" for name in s3dlio.__all__), wrong], "3.10") == [
        wrong
    ]


@pytest.mark.parametrize("name", sorted(name for name in s3dlio.__all__ if inspect.isfunction(getattr(s3dlio, name))))
def test_annotations_can_be_evaluated_at_run_time(name: str) -> None:
    assert "return" in typing.get_type_hints(getattr(s3dlio, name))
