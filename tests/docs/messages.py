# SPDX-License-Identifier: Apache-2.0
"""Tells whether a message that a page quotes is a message of the source.

The messages of the source are its string constants, without docstrings. An f-string is a list of constants with a value
between each two. A quote is right if it is a piece of such a list, and each value in it is one of these:

- another constant of the source ("the account key in AZURE_STORAGE_ACCOUNT_KEY is not base64");
- at the end of the quote, the beginning of another message, two words or more ("the answer is not XML");
- at its beginning, the end of another message, two words or more ("was replaced while it was read, in each of 9");
- a number, or an error of the operating system ("cannot connect: Connection refused").

"…" in a quote stands for anything. Texts of the services are not in the source, so these quotes are exempt: those that
begin with a status ("401 … Anonymous caller"), and a single word in camel case, which is a code ("NoSuchBucket").
"""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_OF_A_SERVICE = re.compile(r"[1-5]\d\d\b.*|(?:[A-Z]+[a-z0-9]+){2,}|[A-Z]+\d+")
_FIRST_QUOTES = re.compile(r"(?:`[^`]+`(?:, then |, | and similar)?)+")
_OF_THE_SYSTEM = frozenset(os.strerror(number) for number in errno.errorcode)

Message = tuple[str, ...]
"""The constants of a message, with a value between each two."""


def quotes(page: str) -> list[str]:
    """The messages that the section "Troubleshooting" of a page quotes.

    A message stands in backticks at the beginning of a row's first cell, or of a bold symptom in a list.
    """
    _, _, section = page.partition("\n## Troubleshooting\n")
    section = section.partition("\n## ")[0]
    symptoms = re.findall(r"^\| (.*?[^\\]) \|", section, re.MULTILINE)
    symptoms += re.findall(r"^- \*\*(.*?)\*\*", section, re.MULTILINE | re.DOTALL)
    begins = [found[0] for symptom in symptoms if (found := _FIRST_QUOTES.match(" ".join(symptom.split())))]
    return [quote for begin in begins for quote in re.findall("`([^`]+)`", begin)]


def messages(files: Iterable[Path]) -> set[Message]:
    """Every string constant and f-string of Python files."""
    return {found for file in files for found in _of_tree(ast.parse(file.read_text(encoding="utf-8")))}


def _of_tree(tree: ast.AST) -> Iterator[Message]:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield (node.value,)
        elif isinstance(node, ast.JoinedStr):
            parts = [""]
            for value in node.values:
                if isinstance(value, ast.Constant):
                    parts[-1] += str(value.value)
                else:
                    parts.append("")
            yield tuple(parts)


def is_quoted_right(quote: str, source: set[Message]) -> bool:
    """Whether each piece of a quote, between two "…", is in a message of the source."""
    if _OF_A_SERVICE.fullmatch(quote):
        return True
    pieces = [piece.strip() for piece in quote.split("…")]
    return all(
        any(piece in part for message in source for part in message)
        or any(_says(message, piece, source) for message in source if len(message) > 1)
        for piece in pieces
        if piece.strip(":;,. ")
    )


def _says(message: Message, piece: str, source: set[Message]) -> bool:
    """Whether a piece of a quote is a piece of an f-string, with at least one of its values."""
    return any(
        (part.endswith(piece[:cut]) and _continues(message[number + 1 :], piece[cut:], source))
        or (number > 0 and _follow(message[number:], piece[cut:], source) and _is_end(piece[:cut], source))
        for number, part in enumerate(message)
        for cut in range(1, len(piece))
    )


def _continues(parts: Message, rest: str, source: set[Message]) -> bool:
    """Whether the rest of a quote is a value, followed by the parts of a message."""
    if not parts:
        return False
    if _is_value(rest, source) or _is_beginning(rest, source):
        return True
    return any(_is_value(rest[:cut], source) and _follow(parts, rest[cut:], source) for cut in range(1, len(rest)))


def _follow(parts: Message, rest: str, source: set[Message]) -> bool:
    """Whether the rest of a quote is the parts of a message, with values between them."""
    if parts[0].startswith(rest):
        return True
    return bool(parts[0]) and rest.startswith(parts[0]) and _continues(parts[1:], rest.removeprefix(parts[0]), source)


def _is_value(text: str, source: set[Message]) -> bool:
    return text.isdigit() or text in _OF_THE_SYSTEM or (text,) in source


def _is_beginning(text: str, source: set[Message]) -> bool:
    return " " in text and any(message[0].startswith(text) for message in source)


def _is_end(text: str, source: set[Message]) -> bool:
    return " " in text and any(message[-1].endswith(text) for message in source)
