# SPDX-License-Identifier: Apache-2.0
"""`s3dlio rm`: objects and trees of objects deleted."""

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
        bool, typer.Option("-r", "--recursive", help="Delete everything below each URI that names a folder.")
    ] = False,
) -> None:
    """Delete objects. Deleting a missing object succeeds. Deleting a folder needs -r."""
    for uri in uris:
        target = parse(uri)
        if recursive and target.key == target.folder_key:  # a bucket, or a folder by its final "/"
            s3dlio.delete(uri, recursive=True)
        elif s3dlio.exists(uri):
            s3dlio.delete(uri)
        elif recursive:
            s3dlio.delete(uri, recursive=True)
        elif s3dlio.is_prefix(uri):
            raise ObjectNotFoundError(
                f"{uri} is a folder, not an object; use 's3dlio rm -r' to delete everything below it", uri=uri
            )
