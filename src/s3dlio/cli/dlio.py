"""`s3dlio dlio …`: DLIO on s3dlio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from s3dlio.cli import output

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


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="DLIO's output folder (hydra.run.dir).")],
    metrics: Annotated[
        Path | None,
        typer.Option(help="The folder of recorded operations, if S3DLIO_METRICS_DIR named another one than DLIO's."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The page to write; RESULTS/report.html if not given.")] = None,
    json: Annotated[Path | None, typer.Option(help="The numbers to write; beside the page if not given.")] = None,
) -> None:
    """Write an HTML page with plots about a run, and the same numbers as JSON; print the paths of both."""
    from s3dlio.integrations.dlio.report import write_report

    for path in write_report(results, metrics=metrics, html=html, json_file=json):
        output.line(str(path))


@app.callback()
def _group() -> None:
    """The DLIO benchmark on s3dlio."""
