# SPDX-License-Identifier: Apache-2.0
"""Standard output: lines, JSON and content, as bytes.

Names of files need not be text: what Python carries as surrogates goes out as the bytes it came from. To a terminal
control characters are written as escapes, since a name must not be able to move the cursor; into a pipe or a file
everything goes as it is. A write that fails is an `OutputError`, so that `main` can tell a reader that went away
(`s3dlio ls … | head`) from a failure of a store, and so that click does not take it for its own.
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
    """Standard output cannot be written.

    Attributes:
        reader_gone: the other end of the pipe was closed, which is no fault.
    """

    def __init__(self, why: str, *, reader_gone: bool = False) -> None:
        super().__init__(f"cannot write to standard output: {why}")
        self.reader_gone = reader_gone


def write(data: bytes | memoryview) -> None:
    """Write bytes as they are."""
    with _told_apart():
        _stream().write(data)


def line(text: str) -> None:
    """Write one line; escaped on a terminal, where it is shown at once."""
    with _told_apart():
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
    """Write one JSON array, one element per line, as the elements come; nothing at all if getting the first fails."""
    opening = b"[\n"
    for value in values:
        write(opening + json.dumps(value, default=_as_json).encode())
        opening = b",\n"
    write(b"[]\n" if opening == b"[\n" else b"\n]\n")


def flush() -> None:
    """Bring out what is buffered."""
    if sys.stdout is not None:
        with _told_apart():
            sys.stdout.flush()


def give_up() -> None:
    """Throw away what is buffered, which Python would try to write once more at its end."""
    if sys.stdout is not None:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def encoded(text: str) -> bytes:
    """The bytes of a name: those it was decoded from, for a name from this machine."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # a locale that lacks the character
        return text.encode("utf-8", "surrogateescape")


def _stream() -> BinaryIO:
    if sys.stdout is None:
        raise OutputError("it is closed")
    return sys.stdout.buffer


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error.strerror or str(error), reader_gone=error.errno == errno.EPIPE) from error


_as_json: Callable[[Any], str] = lambda moment: moment.isoformat()  # noqa: E731
