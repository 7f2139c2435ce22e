# SPDX-License-Identifier: Apache-2.0
"""Standard output: lines, JSON and content, as bytes.

Names of files need not be text: surrogates, by which Python represents bytes that cannot be decoded, are written as
those bytes. On a terminal, control characters are written as escapes, so that a name cannot move the cursor; pipes and
files receive names unchanged. A write that fails raises `OutputError`. `main` needs this class to tell a closed pipe
(`s3dlio ls … | head`) from a failure of a store, and click would handle an OSError itself.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from s3dlio.redaction import printable


class OutputError(Exception):
    """Writing to standard output failed.

    Attributes:
        pipe_closed: the program that reads the pipe has closed it. This is not an error of the command.
    """

    def __init__(self, why: str, *, pipe_closed: bool = False) -> None:
        super().__init__(f"cannot write to standard output: {why}")
        self.pipe_closed = pipe_closed


def write(data: bytes | memoryview) -> None:
    """Write bytes unchanged."""
    with _as_output_error():
        _stream().write(data)


def line(text: str) -> None:
    """Write one line. On a terminal, control characters are escaped, and the line appears immediately."""
    with _as_output_error():
        stream = _stream()
        if is_terminal():
            stream.write(encoded(printable(text)) + b"\n")
            stream.flush()
        else:
            stream.write(encoded(text) + b"\n")


def document(value: Any) -> None:
    """Write one JSON document over several lines."""
    write(json.dumps(value, indent=2, default=_as_json).encode() + b"\n")


def array(values: Iterable[Any]) -> None:
    """Write one JSON array, one element per line, as the elements come. Nothing is written if the first one fails."""
    opening = b"[\n"
    for value in values:
        write(opening + json.dumps(value, default=_as_json).encode())
        opening = b",\n"
    write(b"[]\n" if opening == b"[\n" else b"\n]\n")


def flush() -> None:
    """Write out the buffer of standard output."""
    if sys.stdout is not None:
        with _as_output_error():
            sys.stdout.flush()


def give_up() -> None:
    """Discard the buffer of standard output, which Python would otherwise try to write when it exits."""
    if sys.stdout is not None:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def encoded(text: str) -> bytes:
    """The bytes of a name. For a file's name, these are the bytes that it was decoded from."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # the encoding of the locale lacks the character
        return text.encode("utf-8", "surrogateescape")


def _stream() -> BinaryIO:
    if sys.stdout is None:
        raise OutputError("it is closed")
    return sys.stdout.buffer


@contextmanager
def _as_output_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error.strerror or str(error), pipe_closed=error.errno == errno.EPIPE) from error


_as_json: Callable[[Any], str] = lambda moment: moment.isoformat()  # noqa: E731
