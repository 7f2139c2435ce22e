# SPDX-License-Identifier: Apache-2.0
"""`s3dlio presign`: a URL for one request without credentials."""

from __future__ import annotations

from typing import Annotated

import typer

import s3dlio
from s3dlio.cli import output
from s3dlio.cli.arguments import OneURI
from s3dlio.errors import S3dlioError


def presign(
    uri: OneURI,
    method: Annotated[str, typer.Option(help="The method of the request: GET, HEAD, PUT or DELETE.")] = "GET",
    expires: Annotated[
        int, typer.Option(metavar="SECONDS", help="How long the URL is valid, at most 604800 seconds.")
    ] = 3600,
) -> None:
    """Print a URL for requests without credentials.

    Anyone can use the URL to make one kind of request for the object. The command itself sends no request.
    """
    try:
        output.line(s3dlio.presign(uri, method, expires))
    except S3dlioError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
