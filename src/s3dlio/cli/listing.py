# SPDX-License-Identifier: Apache-2.0
"""`ls` and `stat`: what there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Annotated, Any

import typer

import s3dlio
from s3dlio.cli import buckets, output
from s3dlio.cli.arguments import Folder, OneURI
from s3dlio.errors import ObjectNotFoundError
from s3dlio.runtime.run import run
from s3dlio.transfer.listing import compiled
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse


def _pattern(text: str | None) -> str | None:
    try:
        compiled(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def ls(
    uri: Folder,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Every object below the folder.")] = False,
    pattern: Annotated[
        str | None,
        typer.Option(
            callback=_pattern,
            metavar="REGEX",
            help="Only names, below the folder, in which this regular expression is found.",
        ),
    ] = None,
    long: Annotated[
        bool, typer.Option("-l", "--long", help="Size in bytes and time of last change too; one request per object.")
    ] = False,
    sort: Annotated[
        bool, typer.Option("--sort", help="Sorted by name; otherwise streamed in the order of the store.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON array, one element per line.")] = False,
) -> None:
    """List a folder, one URI per line, folders with a final "/". Of an object, the object itself; of s3://, buckets."""
    if uri in buckets.SERVICES:
        if recursive:
            raise typer.BadParameter(f"{uri} lists buckets: -r needs the name of one")
        found = buckets.of_service(uri, pattern)
    else:
        names = s3dlio.list(uri, recursive, pattern) if sort else s3dlio.list_iter(uri, recursive, pattern)
        found = _or_itself(uri, iter(names))
    if json:
        output.array(_facts(found) if long else ({"uri": name} for name in found))
    elif long:
        for entry in _facts(found):
            size, changed = entry.get("size", "-"), entry.get("last_modified")
            output.line(f"{size:>14}  {_to_the_second(changed) if changed else '-':20}  {entry['uri']}")
    else:
        for name in found:
            output.line(name)


def stat(
    uri: OneURI,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the facts about an object."""
    facts: dict[str, Any] = {"uri": uri, **s3dlio.stat(uri)}
    if json:
        output.document(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for key, entry in value.items():
                output.line(f"{name + '.' + key + ':':<15} {entry}")
        elif value is not None:
            output.line(f"{name + ':':<15} {value}")


def _or_itself(uri: str, names: Iterator[str]) -> Iterator[str]:
    """The names; if there are none, the URI itself when it is an object.

    Raises:
        ObjectNotFoundError: there is neither a folder nor an object. The API calls that an empty folder, which a
            mistyped name on a command line rarely is.
    """
    none = True
    for name in names:
        none = False
        yield name
    if none and parse(uri).key and not s3dlio.is_prefix(uri):
        if not s3dlio.exists(uri):
            raise ObjectNotFoundError(f"there is neither an object nor a folder {uri}: check its name", uri=uri)
        yield uri


def _facts(names: Iterator[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        if name.endswith("/"):
            yield {"uri": name}
            continue
        try:
            object_ = parse(name)
            facts = run(store_for(object_.scheme).facts(object_))  # `s3dlio.stat` refuses an unreadable date
        except ObjectNotFoundError:
            continue  # deleted since it was listed
        yield {"uri": name, **facts}


def _to_the_second(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
