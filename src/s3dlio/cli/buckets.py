# SPDX-License-Identifier: Apache-2.0
"""`mb`, `rb`, the listing of buckets, and `presign`: what there is beside the objects of a service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

import s3dlio
from s3dlio.cli import output
from s3dlio.cli.arguments import BucketURIs, OneURI
from s3dlio.errors import S3dlioError
from s3dlio.runtime.run import run
from s3dlio.transfer.listing import compiled
from s3dlio.transfer.stores import store_for
from s3dlio.uri import CLOUD_SCHEMES, parse

SERVICES = tuple(f"{scheme}://" for scheme in CLOUD_SCHEMES)


def mb(uris: BucketURIs) -> None:
    """Make buckets. One that is yours already is no error."""
    for uri in map(parse, uris):
        run(store_for(uri.scheme).make_bucket(uri))


def rb(uris: BucketURIs) -> None:
    """Remove buckets, empty ones only."""
    for uri in map(parse, uris):
        # Asked here, because not every service refuses: some remove all that is in it.
        if s3dlio.is_prefix(uri.root):
            raise S3dlioError(f"{uri.text} is not empty: 's3dlio rm -r {uri.root}' deletes what is in it", uri=uri.text)
        run(store_for(uri.scheme).remove_bucket(uri))


def presign(
    uri: OneURI,
    method: Annotated[str, typer.Option(help="GET, HEAD, PUT or DELETE.")] = "GET",
    expires: Annotated[int, typer.Option(help="Seconds that the URL is good for, at most 604800.")] = 3600,
) -> None:
    """Print a URL with which anyone can make one request for an object."""
    try:
        output.line(s3dlio.presign(uri, method, expires))
    except S3dlioError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def of_service(service: str, pattern: str | None) -> Iterator[str]:
    """The URIs of the buckets of "s3://" and its like, sorted, each as the folder that it is."""
    matching = compiled(pattern)
    for name in sorted(run(store_for(service.removesuffix("://")).buckets())):
        if matching is None or matching.search(name):
            yield f"{service}{name}/"
