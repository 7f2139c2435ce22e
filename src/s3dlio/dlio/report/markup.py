# SPDX-License-Identifier: Apache-2.0
"""The building blocks of the page: section, figure and table, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_MANY_ROWS = 12  # with more rows, a table scrolls

# A cell is text, or a number with its unit as text.
Row = Sequence[str]


def section(title: str, content: str) -> str:
    """A heading and a card with the content, which is HTML."""
    return f'<h2>{escape(title)}</h2>\n<div class="card">\n{content}\n</div>'


def figure(title: str, caption: str, svg: str, numbers: str) -> str:
    """A plot with its caption and, folded away, the table of the numbers in it."""
    return (
        f"<figure>\n<figcaption><h3>{escape(title)}</h3><p>{escape(caption)}</p></figcaption>\n{svg}\n"
        f"<details><summary>The numbers</summary>\n{numbers}</details>\n</figure>\n"
    )


def table(caption: str, header: Row, rows: Sequence[Row], numbers: int = 0) -> str:
    """A table.

    Args:
        caption: what the table shows, for readers who cannot see it.
        header: the names of the columns.
        rows: the cells of each row, as text.
        numbers: how many columns, counted from the right, hold numbers; they are set flush right.
    """
    texts = len(header) - numbers

    def cells(row: Row, tag: str) -> str:
        written = []
        for column, cell in enumerate(row):
            name = "th" if tag == "th" or (column == 0 and texts) else "td"
            scope = ' scope="col"' if tag == "th" else ' scope="row"' if name == "th" else ""
            written.append(f'<{name}{scope} class="{"text" if column < texts else "number"}">{escape(cell)}</{name}>')
        return f"<tr>{''.join(written)}</tr>\n"

    body = "".join(cells(row, "td") for row in rows)
    long = " long" if len(rows) > _MANY_ROWS else ""
    return (
        f'<div class="scroll{long}" role="region" aria-label="{escape(caption)}" tabindex="0">\n'
        f"<table><caption>{escape(caption)}</caption>\n<thead>{cells(header, 'th')}</thead>\n"
        f"<tbody>\n{body}</tbody></table>\n</div>\n"
    )
