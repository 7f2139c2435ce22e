"""`s3dlio dlio …`: DLIO on s3dlio."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from s3dlio.cli.output import printable
from s3dlio.errors import ConfigurationError

app = typer.Typer(help="The DLIO benchmark on s3dlio.", rich_markup_mode=None)


# Every option is DLIO's, -h and --help included.
@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT...", help="What dlio_benchmark takes, such as workload=unet3d_h100."),
    ] = None,
) -> None:
    """Run DLIO with the storage type s3dlio; all arguments go to DLIO as they are."""
    from s3dlio.integrations.dlio import run as run_dlio

    raise typer.Exit(run_dlio(arguments or []))


_Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        help="A checkout of DLIO, or its folder dlio_benchmark; the DLIO that is installed if none is given.",
        show_default=False,
    ),
]


@app.command()
def install(
    path: _Folder = None,
    drop_in: Annotated[
        bool,
        typer.Option("--drop-in", help="Let the storage type s3 with PyTorch use s3dlio, instead of adding a type."),
    ] = False,
) -> None:
    """Put s3dlio into DLIO, so that dlio_benchmark itself knows the storage type s3dlio."""
    from s3dlio.integrations.dlio import install_dropin_replacement, install_s3dlio_storage

    with _differences_shown():
        if drop_in:
            install_dropin_replacement(path)
        else:
            install_s3dlio_storage(path, patch=True)


@app.command()
def uninstall(path: _Folder = None) -> None:
    """Take s3dlio out of DLIO again: every file is as it was."""
    from s3dlio.integrations.dlio import uninstall as uninstall_from

    with _differences_shown():
        uninstall_from(path)


@contextmanager
def _differences_shown() -> Iterator[None]:
    """Write the difference on lines of their own, before the one line that an error has."""
    from s3dlio.integrations.dlio.edits import EditedError

    try:
        yield
    except EditedError as error:
        sys.stderr.write("".join(f"{printable(line)}\n" for line in error.difference.splitlines()))
        raise ConfigurationError(error.summary) from None


@app.callback()
def _group() -> None:
    """The DLIO benchmark on s3dlio."""
