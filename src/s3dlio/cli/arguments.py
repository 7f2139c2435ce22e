# SPDX-License-Identifier: Apache-2.0
"""The kinds of arguments that several commands take. Each is checked before a command does anything.

A malformed URI is a usage error, with the message of the URI parser.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from s3dlio.errors import InvalidURIError
from s3dlio.uri import CLOUD_SCHEMES, of_path, parse

STANDARD = "-"  # instead of a path: standard input or output
SERVICES = tuple(f"{scheme}://" for scheme in CLOUD_SCHEMES)
_SUCH_AS = "such as s3://bucket/key"


class WrongArgument(typer.BadParameter):
    """A usage error whose message is complete: click does not put "Invalid value for …" before it."""

    def format_message(self) -> str:
        return self.message


def checked_uri(text: str) -> str:
    """Return the text if it is a URI.

    Raises:
        WrongArgument: the text is not a URI.
    """
    try:
        parse(text)
    except InvalidURIError as error:
        raise WrongArgument(str(error)) from None
    return text


# On Python 3.10 typer fails on a callback whose parameter is annotated with a generic type, such as `list[str]`.
def _uris(texts: Any) -> list[str]:
    return [checked_uri(text) for text in texts]


def _folder(text: str) -> str:
    return text if text in SERVICES else checked_uri(text)


def _buckets(texts: Any) -> list[str]:
    for text in texts:
        uri = parse(checked_uri(text))
        if uri.key:
            raise WrongArgument(f"{text!r} names more than a bucket: expected {uri.scheme}://{uri.container}")
    return list(texts)


def _uri_or_path(text: str) -> str:
    return checked_uri(text) if "://" in text else of_path(text)


OneURI = Annotated[str, typer.Argument(metavar="URI", callback=checked_uri, help=f"A URI, {_SUCH_AS}.")]
URIs = Annotated[list[str], typer.Argument(metavar="URI...", callback=_uris, help=f"URIs, {_SUCH_AS}.")]
# A folder, or a service such as "s3://", which stands for all buckets.
Folder = Annotated[
    str, typer.Argument(metavar="URI", callback=_folder, help="The URI of a folder, or of a service, such as s3://.")
]
BucketURIs = Annotated[
    list[str], typer.Argument(metavar="URI...", callback=_buckets, help="Buckets or containers, such as s3://bucket.")
]
# A local path becomes a file:// URI.
Source = Annotated[str, typer.Argument(metavar="SOURCE", callback=_uri_or_path, help="A URI or a local path.")]
Target = Annotated[str, typer.Argument(metavar="TARGET", callback=_uri_or_path, help="A URI or a local path.")]
