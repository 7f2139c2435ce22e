# SPDX-License-Identifier: Apache-2.0
"""`rm` and `mkdir`."""

from __future__ import annotations

from typing import Annotated

import typer

import s3dlio
from s3dlio.cli.arguments import URIs
from s3dlio.errors import ObjectNotFoundError
from s3dlio.uri import parse


def rm(
    uris: URIs,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Everything below a folder, and nothing beside it.")
    ] = False,
) -> None:
    """Delete objects, or with -r folders. What is not there is no error."""
    for uri in uris:
        target = parse(uri)
        if recursive and target.key == target.folder_key:  # a bucket, or a folder by its last "/"
            s3dlio.delete(uri, recursive=True)
        elif s3dlio.exists(uri):
            s3dlio.delete(uri)
        elif recursive:
            s3dlio.delete(uri, recursive=True)
        elif s3dlio.is_prefix(uri):
            raise ObjectNotFoundError(f"{uri} is a folder: use 's3dlio rm -r' to delete what is below it", uri=uri)


def mkdir(uris: URIs) -> None:
    """Make folders, with their parents. Nothing is done where a store has no folders."""
    for uri in uris:
        s3dlio.mkdir(uri)
