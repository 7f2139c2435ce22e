# SPDX-License-Identifier: Apache-2.0
"""The list of commands. A new one is a function in a module of its own and one line here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import s3dlio
from s3dlio.cli import (
    bench,
    buckets,
    content,
    copying,
    dlio,
    folders,
    listing,
    output,
)

# The base of all usage errors. Typer exports one of its subclasses only, and newer releases no longer use click's own.
UsageError: Any = typer.BadParameter.__bases__[0]
Abort = typer.Abort

_app = typer.Typer(
    name="s3dlio",
    help="Objects on S3, Azure Blob, GCS, local files and O_DIRECT: s3://bucket/key, az://container/key, "
    "gs://bucket/key, file:///path, direct:///path.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version() -> None:
    """Print the version."""
    output.line(s3dlio.version())


def _print_and_exit(asked: bool) -> None:
    if asked:
        _version()
        raise typer.Exit


@_app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_and_exit, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


_app.command("ls")(listing.ls)
_app.command("stat")(listing.stat)
_app.command("cat")(content.cat)
_app.command("get")(content.get)
_app.command("put")(content.put)
_app.command("cp")(copying.cp)
_app.command("rm")(folders.rm)
_app.command("mkdir")(folders.mkdir)
_app.command("mb")(buckets.mb)
_app.command("rb")(buckets.rb)
_app.command("presign")(buckets.presign)
_app.command("bench")(bench.bench)
_app.command("version")(_version)
_app.add_typer(dlio.app, name="dlio")


def command() -> Any:
    """The whole command line, as a click command."""
    return typer.main.get_command(_app)
