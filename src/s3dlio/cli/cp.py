# SPDX-License-Identifier: Apache-2.0
"""`s3dlio cp`, and the copy with a progress bar that `get` and `put` make, too."""

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
        typer.Option(
            "-r",
            "--recursive",
            help="Copy everything below the folder SOURCE to the same names below the folder TARGET.",
        ),
    ] = False,
) -> None:
    """Copy an object, or a tree of objects, between any two protocols. A TARGET that ends in "/" is a folder."""
    copy(source, target, recursive)


def copy(source: str, target: str, recursive: bool) -> None:
    """Copy with a progress bar.

    Raises:
        ObjectNotFoundError: the source does not exist, or is a folder and `recursive` is false; then the message names
            the command that copies folders.
    """
    try:
        with progress.shown() as report:
            s3dlio.copy(source, target, recursive=recursive, progress=report)
    except ObjectNotFoundError as error:
        if not recursive and s3dlio.is_prefix(source):
            raise ObjectNotFoundError(
                f"{source} is a folder, not an object; use 's3dlio cp -r' to copy everything below it", uri=source
            ) from error
        raise
