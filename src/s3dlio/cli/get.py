# SPDX-License-Identifier: Apache-2.0
"""`s3dlio get`: an object copied to a local file or to standard output."""

from __future__ import annotations

from typing import Annotated

import typer

import s3dlio
from s3dlio.cli import output, progress
from s3dlio.cli.arguments import STANDARD, OneURI
from s3dlio.cli.cp import copy
from s3dlio.uri import of_path


def get(
    uri: OneURI,
    path: Annotated[
        str,
        typer.Argument(
            metavar="[PATH]", help='A local file or folder, or "-" for standard output.', show_default="current folder"
        ),
    ] = ".",
) -> None:
    """Copy an object to a local file. The file appears when it is complete."""
    if path != STANDARD:
        copy(uri, of_path(path), recursive=False)
        return
    size = s3dlio.stat(uri)["size"]
    with progress.shown(output_in_use=True) as report:
        done = 0
        for chunk in s3dlio.get_chunks(uri):
            output.write(chunk)
            done += len(chunk)
            report(s3dlio.Progress(uri, done, size, 0, 1))
