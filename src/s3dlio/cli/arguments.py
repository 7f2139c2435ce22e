# SPDX-License-Identifier: Apache-2.0
"""The kinds of arguments that several commands take, checked before a command begins.

What is no URI is a wrong command line, and is said in the words of the parser of URIs.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from s3dlio.errors import InvalidURIError
from s3dlio.uri import CLOUD_SCHEMES, of_path, parse

STANDARD = "-"  # in the place of a path: standard input or output


class WrongArgument(typer.BadParameter):
    """An argument whose message says all, without "Invalid value for …"."""

    def format_message(self) -> str:
        return self.message


def checked_uri(text: str) -> str:
    """The text, if it is a URI; otherwise the command line is wrong."""
    try:
        parse(text)
    except InvalidURIError as error:
        raise WrongArgument(str(error)) from None
    return text


# On Python 3.10 typer fails on a callback whose parameter is annotated with a generic type, such as `list[str]`.
def _uris(texts: Any) -> list[str]:
    return [checked_uri(text) for text in texts]


def _folder(text: str) -> str:
    return text if text.partition("://")[0] in CLOUD_SCHEMES and text.endswith("://") else checked_uri(text)


def _buckets(texts: Any) -> list[str]:
    for text in texts:
        if parse(checked_uri(text)).key:
            raise WrongArgument(f"{text!r} names more than a bucket: expected s3://bucket")
    return list(texts)


def _place(text: str) -> str:
    return checked_uri(text) if "://" in text else of_path(text)


OneURI = Annotated[str, typer.Argument(metavar="URI", callback=checked_uri)]
URIs = Annotated[list[str], typer.Argument(metavar="URI...", callback=_uris)]
# A folder, or "s3://" and its like for all buckets.
Folder = Annotated[str, typer.Argument(metavar="URI", callback=_folder)]
BucketURIs = Annotated[list[str], typer.Argument(metavar="URI...", callback=_buckets)]
# A local path is made a file:// URI.
Source = Annotated[str, typer.Argument(metavar="SOURCE", callback=_place, help="A URI or a local path.")]
Target = Annotated[str, typer.Argument(metavar="TARGET", callback=_place, help="A URI or a local path.")]
