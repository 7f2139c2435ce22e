# SPDX-License-Identifier: Apache-2.0
"""`s3dlio dlio …`: the DLIO benchmark on s3dlio."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s3dlio.cli import output
from s3dlio.cli.arguments import WrongArgument, checked_uri
from s3dlio.errors import ConfigurationError
from s3dlio.redaction import printable

if TYPE_CHECKING:
    from s3dlio.dlio.check.doctor import Report

app = typer.Typer(help="Run the DLIO benchmark on s3dlio.", rich_markup_mode=None)

# The level of a finding -> the word before it, and its color.
_MARKS = {
    "ok": ("ok", "green"),
    "advice": ("slow", "cyan"),
    "warning": ("warning", "yellow"),
    "failure": ("FAIL", "red"),
}


# All options belong to DLIO, including -h and --help.
@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT...", help="Arguments of dlio_benchmark, such as workload=unet3d_h100."),
    ] = None,
) -> None:
    """Run DLIO with an additional storage type, s3dlio. All arguments go to DLIO unchanged."""
    from s3dlio.integrations.dlio import run as run_dlio

    raise typer.Exit(run_dlio(arguments or []))


@app.command(context_settings={"ignore_unknown_options": True})
def doctor(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT...", help="Arguments of dlio_benchmark, or URIs of folders."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Also write, read and delete a small object in each folder.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Report what in a workload will fail or be slow, without running it: DLIO, storage, credentials, settings.

    Without arguments, check only the installation. Given URIs, check these folders.
    """
    from s3dlio.dlio.check.doctor import examine
    from s3dlio.dlio.run.composition import ArgumentError, compose

    given = arguments or []
    uris = [checked_uri(text) for text in given if "://" in text and "=" not in text.partition("://")[0]]
    if uris and len(uris) < len(given):
        raise WrongArgument("give either the arguments of a workload or URIs of folders, not both")
    if write and not uris:
        raise WrongArgument("--write needs the URIs of folders; for a workload, doctor knows whether it writes")
    try:
        report = examine(None if uris else compose(given), uris, write)
    except ArgumentError as error:
        raise WrongArgument(str(error)) from None
    if json:
        output.document(report.as_dict())
    else:
        _show(report)
    raise typer.Exit(int(report.failed))


def _show(report: Report) -> None:
    """Print each finding on a line, followed by its advice."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as shown:
        for finding in report.findings:
            mark, style = _MARKS[finding.level]
            line = Text.assemble((f"{mark:8}", style), printable(f"{finding.about}: {finding.message}"))
            console.print(line)
            if finding.advice:
                console.print(Text(f"{'':8}→ " + printable(finding.advice), style="dim"))
    output.write(output.encoded(shown.get()))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="The output folder of DLIO (hydra.run.dir).")],
    metrics: Annotated[
        Path | None,
        typer.Option(
            help="The folder of recorded operations, if S3DLIO_METRICS_DIR named another folder than RESULTS.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The page to write.", show_default="RESULTS/report.html")] = None,
    json: Annotated[
        Path | None, typer.Option(help="The JSON file to write.", show_default="the path of the page, ending in .json")
    ] = None,
) -> None:
    """Write an HTML page with plots about a run, and the same numbers as JSON. Print the paths of both."""
    from s3dlio.dlio.report import write_report

    for path in write_report(results, metrics=metrics, html=html, json_file=json):
        output.line(str(path))


_Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        help="A checkout of DLIO or its folder dlio_benchmark.",
        show_default="the installed DLIO",
    ),
]


@app.command()
def install(
    path: _Folder = None,
    drop_in: Annotated[
        bool,
        typer.Option(
            "--drop-in", help="Serve DLIO's storage type s3 by s3dlio (with PyTorch), instead of adding a type."
        ),
    ] = False,
) -> None:
    """Install s3dlio in DLIO, so that dlio_benchmark itself has the storage type s3dlio."""
    from s3dlio.integrations.dlio import install_dropin_replacement, install_s3dlio_storage

    with _differences_shown():
        if drop_in:
            install_dropin_replacement(path)
        else:
            install_s3dlio_storage(path, patch=True)


@app.command()
def uninstall(path: _Folder = None) -> None:
    """Remove s3dlio from DLIO, and restore every file byte for byte."""
    from s3dlio.integrations.dlio import uninstall as uninstall_from

    with _differences_shown():
        uninstall_from(path)


@contextmanager
def _differences_shown() -> Iterator[None]:
    """If a file of DLIO was edited, write the difference to standard error, before the one line of the error."""
    from s3dlio.dlio.install.edits import EditedError

    try:
        yield
    except EditedError as error:
        sys.stderr.write("".join(f"{printable(line)}\n" for line in error.difference.splitlines()))
        raise ConfigurationError(error.summary) from None


@app.callback()
def _group() -> None:
    """Run the DLIO benchmark on s3dlio."""
