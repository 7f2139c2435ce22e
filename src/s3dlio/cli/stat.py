# SPDX-License-Identifier: Apache-2.0
"""`s3dlio stat`: the facts about an object."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import s3dlio
from s3dlio.cli import output
from s3dlio.cli.arguments import OneURI


def stat(
    uri: OneURI,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with null for what is not known.")
    ] = False,
) -> None:
    """Print the facts about an object.

    The facts are the size, the time of last change, the ETag and others, as far as the store has them.
    """
    facts: dict[str, Any] = {"uri": uri, **s3dlio.stat(uri)}
    if json:
        output.document(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for key, entry in value.items():
                output.line(f"{name + '.' + key + ':':<15} {entry}")
        elif value is not None:
            output.line(f"{name + ':':<15} {value}")
