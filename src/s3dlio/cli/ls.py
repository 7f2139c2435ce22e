# SPDX-License-Identifier: Apache-2.0
"""`s3dlio ls`: the names in a folder, or the buckets of a service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Annotated, Any

import typer

import s3dlio
from s3dlio.cli import output
from s3dlio.cli.arguments import SERVICES, Folder
from s3dlio.errors import ObjectNotFoundError, UnreadableDateError
from s3dlio.uri import parse


def _pattern(text: str | None) -> str | None:
    try:
        re.compile(text or "")
    except re.error as error:
        raise typer.BadParameter(f"{text!r} is not a regular expression: {error}") from None
    return text


def ls(
    uri: Folder,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="List every object below the folder, and no folders.")
    ] = False,
    pattern: Annotated[
        str | None,
        typer.Option(
            callback=_pattern,
            metavar="REGEX",
            help="List only names that this regular expression matches somewhere below the folder.",
        ),
    ] = None,
    long: Annotated[
        bool,
        typer.Option(
            "-l", "--long", help="Add the size in bytes and the time of last change; sends a request for each object."
        ),
    ] = False,
    sort: Annotated[
        bool, typer.Option("--sort", help="Sort by name. By default names are printed in the order of the store.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one element per line.")] = False,
) -> None:
    """List a folder, one URI per line.

    Child folders end in "/". Given an object, print that object. Given s3://, az:// or gs://, list your buckets.
    """
    if uri in SERVICES:
        if recursive:
            raise typer.BadParameter(f"{uri} stands for all buckets; with -r, name one of them, as in {uri}bucket")
        found = _buckets(uri, pattern)
    else:
        names = s3dlio.list(uri, recursive, pattern) if sort else s3dlio.list_iter(uri, recursive, pattern)
        found = _or_itself(uri, names)
    if json:
        output.array(_facts(found) if long else ({"uri": name} for name in found))
    elif long:
        for facts in _facts(found):
            size, changed = facts.get("size", "-"), facts.get("last_modified")
            output.line(f"{size:>14}  {_to_the_second(changed) if changed else '-':20}  {facts['uri']}")
    else:
        for name in found:
            output.line(name)


def _buckets(service: str, pattern: str | None) -> Iterator[str]:
    """The URIs of the buckets of "s3://", "az://" or "gs://" whose names match, sorted."""
    for uri in s3dlio.list_buckets(service):
        if re.search(pattern or "", uri.removeprefix(service).removesuffix("/")):
            yield uri


def _or_itself(uri: str, names: Iterable[str]) -> Iterator[str]:
    """The names; if there are none and the URI names an object, the URI itself.

    Raises:
        ObjectNotFoundError: the URI names neither a folder nor an object. The API returns an empty listing then, but on
            a command line this is usually a mistyped name.
    """
    empty = True
    for name in names:
        empty = False
        yield name
    if empty and parse(uri).key and not s3dlio.is_prefix(uri):
        if not s3dlio.exists(uri):
            raise ObjectNotFoundError(f"{uri} is neither an object nor a folder; check its name", uri=uri)
        yield uri


def _facts(names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The URI and the facts of each name; only the URI for a folder. Objects deleted since the listing are left out."""
    for name in names:
        if name.endswith("/"):
            yield {"uri": name}
            continue
        try:
            facts = s3dlio.stat(name)
        except UnreadableDateError as error:
            facts = error.facts
        except ObjectNotFoundError:
            continue
        yield {"uri": name, **facts}


def _to_the_second(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
