"""`s3dlio dlio …`: DLIO on s3dlio."""

from __future__ import annotations

from typing import Annotated

import typer

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


@app.callback()
def _group() -> None:
    """The DLIO benchmark on s3dlio."""
