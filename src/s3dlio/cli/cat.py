# SPDX-License-Identifier: Apache-2.0
"""`s3dlio cat`: the content of objects on standard output."""

from __future__ import annotations

from typing import Annotated

import typer

import s3dlio
from s3dlio.cli import output
from s3dlio.cli.arguments import URIs


def cat(
    uris: URIs,
    offset: Annotated[
        int, typer.Option(min=0, metavar="BYTES", help="Start each object at this byte, counted from 0.")
    ] = 0,
    length: Annotated[
        int | None,
        typer.Option(min=0, metavar="BYTES", help="Write this many bytes of each object. By default up to its end."),
    ] = None,
) -> None:
    """Write objects to standard output, one after the other."""
    for uri in uris:
        for chunk in s3dlio.get_chunks(uri, offset=offset, length=length):
            output.write(chunk)
