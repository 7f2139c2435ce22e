# SPDX-License-Identifier: Apache-2.0
"""The HTML page of a report: one file that loads nothing, not even a script.

Strategy: the numbers come as a `Report`, the plots as SVG; this module puts them into words, tables and order. A
section without numbers says why, instead of showing an empty plot. The page forbids its browser to load anything
(Content-Security-Policy), so that no server learns that it was opened.
"""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from importlib import resources

from s3dlio._version import __version__
from s3dlio.dlio.report import plots, units
from s3dlio.dlio.report.figures import figures
from s3dlio.dlio.report.markup import section, table
from s3dlio.dlio.report.numbers import Report

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The whole page."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    title = f"DLIO on s3dlio: {report.title}"
    body = "\n".join(
        [
            f"<header>\n<h1>{escape(title)}</h1>\n{_about(report)}\n{_tiles(report)}\n{_notes(report)}</header>",
            "<main>",
            _plots(report),
            section("Operations", _operations(report)),
            section("Epochs", _epochs(report)) if report.results.epochs else "",
            section("Errors", _errors(report)),
            section("Settings", _settings(report)),
            "</main>",
            _footer(report),
        ]
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


# The header...


def _about(report: Report) -> str:
    """When and where the run was made."""
    results, recorded = report.results, report.recorded
    moment = recorded.began if recorded.began is not None else results.start
    facts = []
    if moment is not None:
        zone = " UTC" if recorded.began is not None else ""
        facts.append(datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S") + zone)
    for number, one, many in ((results.ranks, "MPI rank", "MPI ranks"), (results.hosts, "host", "hosts")):
        if number is not None:
            facts.append(f"{number} {one if number == 1 else many}")
    if recorded.processes:
        facts.append(f"{recorded.processes} process{'es' if recorded.processes > 1 else ''} recorded operations")
    if recorded.schemes:
        facts.append("on " + ", ".join(f"{scheme}://" for scheme in recorded.schemes))
    return f'<p class="about">{escape(" · ".join(facts))}</p>'


# A tile: its title, the number, what the number means, and "good", "bad" or "".
_Tile = tuple[str, str, str, str]


def _tiles(report: Report) -> str:
    tiles = [*_training_tiles(report), *_storage_tiles(report)]
    return "".join(
        [
            '<dl class="tiles">\n',
            *(
                f'<div class="tile {mood}"><dt>{escape(title)}</dt><dd>{escape(value)}'
                f"<small>{escape(meaning)}</small></dd></div>\n"
                for title, value, meaning, mood in tiles
            ),
            "</dl>",
        ]
    )


def _training_tiles(report: Report) -> list[_Tile]:
    results = report.results
    tiles = []
    utilization, speed = results.mean_utilisation_percent, results.mean_samples_per_second
    if utilization is not None:
        expected, meaning, mood = results.expected_utilisation_percent, "", ""
        if expected is not None:
            verb, mood = ("meets", "good") if utilization >= expected else ("misses", "bad")
            meaning = f"{verb} the expected {expected:g} %"
        tiles.append(("Utilization", units.percent(utilization), meaning, mood))
    if speed is not None:
        tiles.append(("Training", units.number(speed), "samples/s, mean of the epochs", ""))
    return tiles


def _storage_tiles(report: Report) -> list[_Tile]:
    recorded = report.recorded
    tiles = []
    for name, title in (("read", "Reading"), ("generate", "Generating"), ("checkpoint_write", "Checkpoints")):
        kind = recorded.kind(name)
        if kind is not None and kind.bytes:
            meaning = f"{units.size(kind.bytes)} in {units.duration(kind.busy_seconds)}"
            tiles.append((title, units.rate(kind.rate_bytes_per_second), meaning, ""))
    if recorded.began is not None:
        total = sum(kind.operations + kind.errors for kind in recorded.kinds)
        tiles.append(("Duration", units.duration(recorded.seconds), f"{total:,} operations", ""))
        tiles.append(("Errors", f"{recorded.errors:,}", "failed operations", "bad" if recorded.errors else ""))
    return tiles


def _notes(report: Report) -> str:
    items = "".join(f"<li>{escape(note)}</li>\n" for note in report.notes)
    return f'<ul class="notes" aria-label="Notes">\n{items}</ul>\n' if items else ""


# The sections...


def _plots(report: Report) -> str:
    drawn = figures(report)
    if not drawn:
        return "<h2>Plots</h2>\n<p>There are no numbers to plot.</p>"
    recorded, missing = report.recorded, ""
    if recorded.began is not None and not recorded.endpoints:
        schemes = ", ".join(f"{scheme}://" for scheme in recorded.schemes)
        missing = f"<p class=about>No request to an endpoint was recorded: the run used {escape(schemes)}.</p>\n"
    return f'<h2>Plots</h2>\n<div class="plots">\n{drawn}</div>\n{missing}'


def _operations(report: Report) -> str:
    if report.recorded.began is None:
        return "<p>No operation was recorded.</p>"
    rows = [
        [
            plots.label(kind.kind),
            f"{kind.operations:,}",
            f"{kind.errors:,}",
            units.size(kind.bytes) if kind.bytes else "",
            units.duration(kind.busy_seconds),
            units.rate(kind.rate_bytes_per_second) if kind.bytes else "",
            *("" if value is None else units.duration(value) for value in (kind.p50_seconds, kind.p99_seconds)),
        ]
        for kind in report.recorded.kinds
    ]
    header = ["kind", "succeeded", "failed", "bytes", "busy", "rate while busy", "p50", "p99"]
    return table("Operations by kind", header, rows, numbers=7)


def _epochs(report: Report) -> str:
    rows = []
    for epoch in report.results.epochs[: plots.MOST_BARS]:
        length = epoch.end - epoch.start if epoch.start is not None and epoch.end is not None else None
        cells = (
            (length, units.duration),
            (epoch.steps, "{:,}".format),
            (epoch.utilisation_percent, units.percent),
            (epoch.waiting_percent, units.percent),
            (epoch.samples_per_second, units.number),
            (epoch.evaluation_utilisation_percent, units.percent),
            (epoch.evaluation_samples_per_second, units.number),
        )
        rows.append([str(epoch.epoch), *("" if value is None else written(value) for value, written in cells)])
    header = ["epoch", "time", "steps", "utilization", "waiting for data", "samples/s"]
    header += ["evaluation utilization", "evaluation samples/s"]
    used = [column for column in range(len(header)) if column == 0 or any(row[column] for row in rows)]
    header, rows = [header[column] for column in used], [[row[column] for column in used] for row in rows]
    return table("Epochs, as DLIO measured them", header, rows, numbers=len(header) - 1)


def _errors(report: Report) -> str:
    recorded, messages = report.recorded, report.results.messages
    parts = []
    if recorded.failures:
        rows = [
            [f"{failure.start_seconds:.3f} s", plots.label(failure.kind), failure.uri, failure.error, failure.process]
            for failure in recorded.failures
        ]
        shown = len(rows) if len(rows) == recorded.errors else f"The first {len(rows)} of {recorded.errors:,}"
        parts.append(f"<p>{shown} failed operation{'s' if recorded.errors > 1 else ''}.</p>")
        parts.append(table("Failed operations", ["time", "kind", "URI", "error", "process"], rows))
    elif recorded.began is not None:
        parts.append("<p>No operation failed.</p>")
    if messages:
        parts.append("<h3>In DLIO's log</h3>")
        parts.append(table("Warnings and errors in DLIO's log", ["level", "message"], messages))
    return "\n".join(parts) or "<p>No operation was recorded, and DLIO's log has no warning or error.</p>"


def _settings(report: Report) -> str:
    settings = report.results.settings
    if not settings:
        return "<p>The settings are not known.</p>"
    return table("Settings of DLIO", ["setting", "value"], list(settings.items()))


def _footer(report: Report) -> str:
    sources = [f"DLIO's output: {report.results.folder.resolve()}"]
    if report.metrics is not None:
        sources.append(f"recorded operations: {report.metrics.resolve()}")
    return (
        f"<footer><p>{escape('; '.join(sources))}.</p>\n"
        "<p>Sizes and rates are in powers of 1000. A rate while busy is the bytes of a kind, divided by the time in "
        "which at least one operation of the kind was running. A percentile is the latency of one of the operations. "
        f"s3dlio {escape(__version__)}.</p></footer>"
    )
