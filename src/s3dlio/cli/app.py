# SPDX-License-Identifier: Apache-2.0
"""The list of commands. Each is a function in the module of its name; a new command needs one line here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import s3dlio
from s3dlio.cli import bench, cat, cp, dlio, get, ls, mb, mkdir, output, presign, put, rb, rm, stat

# The base class of all usage errors. Typer exports only one of its subclasses, and newer releases of typer do not use
# the classes of click any more.
UsageError: Any = typer.BadParameter.__bases__[0]
Abort = typer.Abort

_app = typer.Typer(
    name="s3dlio",
    help="Work with objects on S3, Azure Blob, GCS, local files and O_DIRECT: s3://bucket/key, az://container/key, "
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


_app.command("ls")(ls.ls)
_app.command("stat")(stat.stat)
_app.command("cat")(cat.cat)
_app.command("get")(get.get)
_app.command("put")(put.put)
_app.command("cp")(cp.cp)
_app.command("rm")(rm.rm)
_app.command("mkdir")(mkdir.mkdir)
_app.command("mb")(mb.mb)
_app.command("rb")(rb.rb)
_app.command("presign")(presign.presign)
_app.command("bench")(bench.bench)
_app.command("version")(_version)
_app.add_typer(dlio.app, name="dlio")


def command() -> Any:
    """The whole command line, as a click command."""
    return typer.main.get_command(_app)
