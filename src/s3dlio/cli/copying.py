# SPDX-License-Identifier: Apache-2.0
"""`cp`, and the copy that `get` and `put` make of a file."""

from __future__ import annotations

from typing import Annotated

import typer

import s3dlio
from s3dlio.cli import progress
from s3dlio.cli.arguments import Source, Target
from s3dlio.errors import ObjectNotFoundError


def cp(
    source: Source,
    target: Target,
    recursive: Annotated[
        bool,
        typer.Option("-r", "--recursive", help="Copy what is below the folder SOURCE to below the folder TARGET."),
    ] = False,
) -> None:
    """Copy an object or a tree, from any protocol to any. A TARGET that ends in "/" is a folder."""
    copy(source, target, recursive)


def copy(source: str, target: str, recursive: bool) -> None:
    """Copy with a progress bar.

    Raises:
        ObjectNotFoundError: no such source, or a folder without `recursive`: the message says what to do.
    """
    try:
        with progress.shown() as report:
            s3dlio.copy(source, target, recursive=recursive, progress=report)
    except ObjectNotFoundError as error:
        if not recursive and s3dlio.is_prefix(source):
            raise ObjectNotFoundError(
                f"{source} is a folder: use 's3dlio cp -r' to copy what is below it", uri=source
            ) from error
        raise
