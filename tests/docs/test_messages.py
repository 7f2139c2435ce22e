# SPDX-License-Identifier: Apache-2.0
"""A quote that is not a message of the source is found, and one that is passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.messages import is_quoted_right, messages, quotes

SOURCE = '''
"""A docstring is not a message."""
NAME = "S3DLIO_KEY"
DETAIL = f"not XML ({error})"
raise Error(f"the key in {name} is not base64: copy all of it" " from the portal")
raise Error(f"cannot connect: {error.strerror}, tried {times} times")
raise Error(f"the answer is {detail}")
REPLACED = f"{uri} was replaced"
raise Error(f"{replaced}, in each of {tries} tries")
'''

QUOTES = [
    ("the key in", True),
    ("the key in S3DLIO_KEY is not base64", True),
    ("the key in S3DLIO_KEY is not base", True),
    ("copy all of it from the portal", True),
    ("the key in … is not base64", True),
    ("cannot connect: Connection refused, tried 9 times", True),
    ("the answer is not XML", True),
    ("was replaced, in each of 20 tries", True),
    ("was removed, in each of 20 tries", False),
    ("the key in S3DLIO_KEY is no base64", False),
    ("the key in OTHER is not base64", False),
    ("the key in … is malformed", False),
    ("cannot connect: Connection denied", False),
    ("the answer is not JSON", False),
    ("a docstring is not a message", False),
    ("A docstring is not a message.", False),
    ("NoSuchBucket", True),
    ("AADSTS7000215", True),
    ("403 … Anonymous caller", True),
    ("Anonymous caller", False),
]


@pytest.mark.parametrize(("quote", "right"), QUOTES)
def test_a_quote_is_right_if_the_source_has_the_message(quote: str, right: bool, tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(SOURCE)
    assert is_quoted_right(quote, messages([source])) == right


def test_quotes_are_the_messages_with_which_a_symptom_begins() -> None:
    page = """
| `before` | x |

## Troubleshooting

| message | cause |
|---|---|
| `one`, `two` | `not a quote` |
| `403` for a `folder/` | x |
| a listing shows `folder/` | x |

- **`three`, then
  `four`.** Text with `code`.
- **A run fails with `five`.** Text.

## Next

| `after` | x |
"""
    assert quotes(page) == ["one", "two", "403", "three", "four"]
