# SPDX-License-Identifier: Apache-2.0
"""`s3dlio put`: a local file or standard input copied to an object."""

from __future__ import annotations

import sys
from io import BufferedIOBase
from typing import Annotated, cast

import typer

import s3dlio
from s3dlio.cli import progress
from s3dlio.cli.arguments import STANDARD, OneURI
from s3dlio.cli.cp import copy
from s3dlio.errors import S3dlioError
from s3dlio.uri import of_path

_READ_AT_ONCE = 16 << 20  # bytes


def put(
    path: Annotated[str, typer.Argument(metavar="PATH", help='A local file, or "-" for standard input.')],
    uri: OneURI,
) -> None:
    """Copy a local file to an object. Readers see the old object or the complete new one."""
    if path != STANDARD:
        copy(of_path(path), uri, recursive=False)
        return
    if sys.stdin is None:
        raise S3dlioError("cannot read standard input: it is closed")
    source = cast(BufferedIOBase, sys.stdin.buffer)
    buffer = memoryview(bytearray(_READ_AT_ONCE))
    with progress.shown() as report, s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        while count := source.readinto(buffer):
            writer.write(buffer[:count])
            report(s3dlio.Progress(uri, writer.tell(), None, 0, 1))
