# SPDX-License-Identifier: Apache-2.0
"""`cat`, `get` and `put`: the content of objects, to and from files, pipes and the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Annotated, cast

import typer

import s3dlio
from s3dlio.cli import copying, output, progress
from s3dlio.cli.arguments import STANDARD, OneURI, URIs
from s3dlio.errors import S3dlioError
from s3dlio.runtime.run import iterate
from s3dlio.transfer.stores import store_for
from s3dlio.uri import of_path, parse

PIECE = 16 << 20


def cat(
    uris: URIs,
    offset: Annotated[int, typer.Option(min=0, metavar="BYTES", help="Begin at this byte, from 0.")] = 0,
    length: Annotated[
        int | None, typer.Option(min=0, metavar="BYTES", help="This many bytes; all that follow otherwise.")
    ] = None,
) -> None:
    """Write objects to standard output, one after the other."""
    for uri in uris:
        for piece in _pieces(uri, offset, length):
            output.write(piece)


def get(
    uri: OneURI,
    path: Annotated[
        str, typer.Argument(help='A file or a folder; "-" for standard output. By default the current folder.')
    ] = ".",
) -> None:
    """Copy an object to a local file, which appears when it is whole."""
    if path != STANDARD:
        copying.copy(uri, of_path(path), recursive=False)
        return
    size = s3dlio.stat(uri)["size"]
    with progress.shown(output_in_use=True) as report:
        done = 0
        for piece in _pieces(uri):
            output.write(piece)
            done += len(piece)
            report(s3dlio.Progress(uri, done, size, 0, 1))


def put(
    path: Annotated[str, typer.Argument(metavar="PATH", help='A local file; "-" for standard input.')],
    uri: OneURI,
) -> None:
    """Copy a local file to an object. Readers see the old object or the new one, whole."""
    if path != STANDARD:
        copying.copy(of_path(path), uri, recursive=False)
        return
    if sys.stdin is None:
        raise S3dlioError("standard input is closed")
    source = cast(BufferedIOBase, sys.stdin.buffer)
    buffer = memoryview(bytearray(PIECE))
    with progress.shown() as report, s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        while count := source.readinto(buffer):
            writer.write(buffer[:count])
            report(s3dlio.Progress(uri, writer.tell(), None, 0, 1))


def _pieces(uri: str, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
    """An object, or a part of it, all of one version of it, in pieces that are valid until the next.

    Raises:
        IntegrityError: the object was replaced between two pieces.
    """
    if length is not None and length <= PIECE:
        yield s3dlio.get_range(uri, offset, length)
        return
    target = parse(uri)
    yield from iterate(store_for(target.scheme).chunks(target, PIECE, offset, length))
