# SPDX-License-Identifier: Apache-2.0
"""`s3dlio dlio …`: DLIO on s3dlio."""

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

app = typer.Typer(help="The DLIO benchmark on s3dlio.", rich_markup_mode=None)

# How a finding is marked, by its level.
_MARKS = {
    "ok": ("ok", "green"),
    "advice": ("slow", "cyan"),
    "warning": ("warning", "yellow"),
    "failure": ("FAIL", "red"),
}


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


@app.command(context_settings={"ignore_unknown_options": True})
def doctor(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT...", help="What dlio_benchmark takes, or the URIs of folders."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write, read and delete a small object in the folders given as URIs.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
) -> None:
    """Say what of a workload will fail or be slow, without running it: DLIO, storage, credentials, settings."""
    from s3dlio.dlio.check.doctor import examine
    from s3dlio.dlio.run.composition import ArgumentError, compose

    given = arguments or []
    uris = [checked_uri(text) for text in given if "://" in text and "=" not in text.partition("://")[0]]
    if uris and len(uris) < len(given):
        raise WrongArgument("either the arguments of a workload, or URIs: not both")
    if write and not uris:
        raise WrongArgument("--write goes with URIs: of a workload it is known whether it writes")
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
    """Print the findings, one below the other, each with its advice."""
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
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="DLIO's output folder (hydra.run.dir).")],
    metrics: Annotated[
        Path | None,
        typer.Option(help="The folder of recorded operations, if S3DLIO_METRICS_DIR named another one than DLIO's."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The page to write; RESULTS/report.html if not given.")] = None,
    json: Annotated[Path | None, typer.Option(help="The numbers to write; beside the page if not given.")] = None,
) -> None:
    """Write an HTML page with plots about a run, and the same numbers as JSON; print the paths of both."""
    from s3dlio.dlio.report import write_report

    for path in write_report(results, metrics=metrics, html=html, json_file=json):
        output.line(str(path))


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
    from s3dlio.dlio.install.edits import EditedError

    try:
        yield
    except EditedError as error:
        sys.stderr.write("".join(f"{printable(line)}\n" for line in error.difference.splitlines()))
        raise ConfigurationError(error.summary) from None


@app.callback()
def _group() -> None:
    """The DLIO benchmark on s3dlio."""
