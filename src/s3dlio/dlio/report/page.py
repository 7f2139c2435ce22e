# SPDX-License-Identifier: Apache-2.0
"""The HTML page of a report: one file that asks for nothing else, not even a script.

Strategy: numbers come as a `Report`, plots as SVG; here they are put into words, tables and order. Each plot is a
figure with its caption and, folded away, the table of the numbers in it. A section without numbers says why instead of
showing an empty plot. The page forbids its browser to load anything (Content-Security-Policy), so that opening it
tells nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from importlib import resources

from s3dlio._version import __version__
from s3dlio.dlio.report import plots, units
from s3dlio.dlio.report.numbers import Report

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# A cell is a text, or a number with its unit as text: the latter are set flush right.
_Row = Sequence[str]


def page(report: Report) -> str:
    """The whole page."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    title = f"DLIO on s3dlio: {report.title}"
    body = "\n".join(
        [
            f"<header>\n<h1>{escape(title)}</h1>\n{_about(report)}\n{_tiles(report)}\n{_notes(report)}</header>",
            "<main>",
            _plots(report),
            _section("Operations", _operations(report)),
            _section("Epochs", _epochs(report)) if report.results.epochs else "",
            _section("Errors", _errors(report)),
            _section("Settings", _settings(report)),
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


# What the run was, and what it came to...


def _about(report: Report) -> str:
    results, operations = report.results, report.operations
    moment = operations.began if operations.began is not None else results.start
    said = []
    if moment is not None:
        zone = " UTC" if operations.began is not None else ""
        said.append(datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S") + zone)
    for number, one, many in ((results.ranks, "MPI rank", "MPI ranks"), (results.hosts, "host", "hosts")):
        if number is not None:
            said.append(f"{number} {one if number == 1 else many}")
    if operations.processes:
        said.append(f"{operations.processes} process{'es' if operations.processes > 1 else ''} recorded operations")
    if operations.schemes:
        said.append("on " + ", ".join(f"{scheme}://" for scheme in operations.schemes))
    return f'<p class="about">{escape(" · ".join(said))}</p>'


def _tiles(report: Report) -> str:
    results, operations = report.results, report.operations
    tiles = []
    utilisation, speed = results.mean_utilisation_percent, results.mean_samples_per_second
    if utilisation is not None:
        expected, mood = results.expected_utilisation_percent, ""
        if expected is not None:
            mood = "good" if utilisation >= expected else "bad"
        said = "" if expected is None else f"{'meets' if mood == 'good' else 'misses'} the expected {expected:g} %"
        tiles.append(("Utilisation", units.percent(utilisation), said, mood))
    if speed is not None:
        tiles.append(("Training", units.number(speed), "samples/s, mean of the epochs", ""))
    for name, title in (("read", "Reading"), ("generate", "Generating"), ("checkpoint_write", "Checkpoints")):
        kind = operations.kind(name)
        if kind is not None and kind.bytes:
            said = f"{units.size(kind.bytes)} in {units.duration(kind.busy_seconds)}"
            tiles.append((title, units.rate(kind.rate_bytes_per_second), said, ""))
    if operations.began is not None:
        total = sum(kind.operations + kind.errors for kind in operations.kinds)
        tiles.append(("Duration", units.duration(operations.seconds), f"{total:,} operations", ""))
        tiles.append(("Errors", f"{operations.errors:,}", "failed operations", "bad" if operations.errors else ""))
    return "".join(
        [
            '<dl class="tiles">\n',
            *(
                f'<div class="tile {mood}"><dt>{escape(title)}</dt><dd>{escape(value)}'
                f"<small>{escape(said)}</small></dd></div>\n"
                for title, value, said, mood in tiles
            ),
            "</dl>",
        ]
    )


def _notes(report: Report) -> str:
    items = "".join(f"<li>{escape(note)}</li>\n" for note in report.notes)
    return f'<ul class="notes" aria-label="Notes">\n{items}</ul>\n' if items else ""


# Plots...


def _plots(report: Report) -> str:
    operations, series = report.operations, report.operations.series
    figures = []
    if series.rate_bytes_per_second:
        said = f"Bytes of all processes in bins of {units.round_duration(series.width_seconds)}."
        figures.append(
            _figure("Throughput over time", said + _shades(report), plots.throughput(report), _over_time(report, True))
        )
    if series.p50_seconds:
        said = (
            f"Median and 99th percentile of the operations begun in each {units.round_duration(series.width_seconds)}."
        )
        figures.append(
            _figure("Latency over time", said + _shades(report), plots.latency(report), _over_time(report, False))
        )
    if any(kind.max_seconds is not None for kind in operations.kinds):
        said = "Half of the operations took at most p50, 90 % at most p90, 99 % at most p99. Failed ones do not count."
        figures.append(_figure("Latency percentiles", said, plots.percentiles(report), _percentiles(report)))
    if operations.endpoints:
        said = "Requests include those that were repeated; bytes are those of bodies in both directions."
        figures.append(_figure("Shares of the endpoints", said, plots.endpoints(report), _endpoints(report)))
    if any(epoch.utilisation_percent is not None for epoch in report.results.epochs):
        said = "The share of time in which the accelerators computed, as DLIO says."
        said += _first(len(report.results.epochs))
        figures.append(_figure("Utilisation per epoch", said, plots.utilisation(report), _utilisation(report)))
    if any(epoch.samples_per_second is not None for epoch in report.results.epochs):
        said = "Samples of all ranks, as DLIO says." + _first(len(report.results.epochs))
        figures.append(_figure("Training throughput per epoch", said, plots.samples(report), _samples(report)))
    if operations.checkpoints:
        said = "The bytes of all ranks by the time in which at least one file was under way."
        said += _first(len(operations.checkpoints))
        figures.append(_figure("Checkpoint rates", said, plots.checkpoints(report), _checkpoints(report)))
    lacking = ""
    if operations.began is not None and not operations.endpoints:
        places = ", ".join(f"{scheme}://" for scheme in operations.schemes)
        lacking = f"<p class=about>No request to an endpoint was recorded: the data went to {escape(places)}.</p>\n"
    if not figures:
        return "<h2>Plots</h2>\n<p>There are no numbers to draw.</p>"
    return f'<h2>Plots</h2>\n<div class="plots">\n{"".join(figures)}</div>\n{lacking}'


def _figure(title: str, said: str, svg: str, table: str) -> str:
    return (
        f"<figure>\n<figcaption><h3>{escape(title)}</h3><p>{escape(said)}</p></figcaption>\n{svg}\n"
        f"<details><summary>The numbers</summary>\n{table}</details>\n</figure>\n"
    )


def _shades(report: Report) -> str:
    return " Shaded: the epochs." if any(epoch.end is not None for epoch in report.results.epochs) else ""


def _first(count: int) -> str:
    most = plots.MOST_BARS
    return f" The first {most} of {count:,}; all are in the JSON." if count > most else ""


def _over_time(report: Report, rates: bool) -> str:
    """The numbers of the first two plots, without the bins in which nothing was under way."""
    series = report.operations.series
    if rates:
        kinds = list(series.rate_bytes_per_second)
        header = ["time", *(f"{plots.label(kind)}" for kind in kinds), "failed"]
        columns = [[units.rate(rate) if rate else "" for rate in series.rate_bytes_per_second[kind]] for kind in kinds]
        columns.append([str(errors) if errors else "" for errors in series.errors])
    else:
        named = [(kind, name) for kind in series.p50_seconds for name in ("p50", "p99")]
        header = ["time", *(f"{plots.label(kind)}, {name}" for kind, name in named)]
        columns = [
            ["" if value is None else units.duration(value) for value in getattr(series, f"{name}_seconds")[kind]]
            for kind, name in named
        ]
    begins = [units.round_duration(start) for start in series.start_seconds]
    rows = [[begin, *cells] for begin, *cells in zip(begins, *columns, strict=True) if any(cells)]
    return _table("Each row is a bin of time, by its begin", header, rows, numbers=len(header))


def _percentiles(report: Report) -> str:
    rows = [
        [
            plots.label(kind.kind),
            f"{kind.operations:,}",
            *(
                "" if value is None else units.duration(value)
                for value in (kind.p50_seconds, kind.p90_seconds, kind.p99_seconds, kind.max_seconds)
            ),
        ]
        for kind in report.operations.kinds
    ]
    header = ["kind", "operations", "p50", "p90", "p99", "max"]
    return _table("Latency percentiles by kind of operation", header, rows, numbers=5)


def _endpoints(report: Report) -> str:
    shares = report.operations.endpoints
    requests, size = (max(1, sum(getattr(share, name) for share in shares)) for name in ("requests", "bytes"))
    rows = [
        [
            share.url,
            f"{share.requests:,}",
            units.percent(100 * share.requests / requests),
            units.size(share.bytes),
            units.percent(100 * share.bytes / size),
        ]
        for share in shares
    ]
    header = ["endpoint", "requests", "of all", "bytes", "of all"]
    return _table("Requests and bytes by endpoint", header, rows, numbers=4)


def _utilisation(report: Report) -> str:
    rows = [
        [str(epoch.epoch), units.percent(epoch.utilisation_percent)]
        for epoch in report.results.epochs[: plots.MOST_BARS]
        if epoch.utilisation_percent is not None
    ]
    return _table("Accelerator utilisation by epoch", ["epoch", "utilisation"], rows, numbers=1)


def _samples(report: Report) -> str:
    rows = [
        [str(epoch.epoch), f"{units.number(epoch.samples_per_second)} samples/s"]
        for epoch in report.results.epochs[: plots.MOST_BARS]
        if epoch.samples_per_second is not None
    ]
    return _table("Training throughput by epoch", ["epoch", "throughput"], rows, numbers=1)


def _checkpoints(report: Report) -> str:
    rows = [
        [
            str(place),
            checkpoint.name,
            plots.label(checkpoint.kind),
            f"{checkpoint.files:,}",
            units.size(checkpoint.bytes),
            units.duration(checkpoint.seconds),
            units.rate(checkpoint.rate_bytes_per_second),
        ]
        for place, checkpoint in enumerate(report.operations.checkpoints[: plots.MOST_BARS], 1)
    ]
    header = ["number", "checkpoint", "kind", "files", "bytes", "time", "rate"]
    return _table("Checkpoints", header, rows, numbers=4)


# Tables...


def _operations(report: Report) -> str:
    if report.operations.began is None:
        return "<p>None was recorded.</p>"
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
        for kind in report.operations.kinds
    ]
    header = ["kind", "ended well", "failed", "bytes", "busy", "rate while busy", "p50", "p99"]
    return _table("Operations by kind", header, rows, numbers=7)


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
    header = ["epoch", "time", "steps", "utilisation", "waiting for data", "samples/s"]
    header += ["evaluation utilisation", "evaluation samples/s"]
    used = [column for column in range(len(header)) if column == 0 or any(row[column] for row in rows)]
    header, rows = [header[column] for column in used], [[row[column] for column in used] for row in rows]
    return _table("Epochs, as DLIO says", header, rows, numbers=len(header) - 1)


def _errors(report: Report) -> str:
    operations, messages = report.operations, report.results.messages
    parts = []
    if operations.failures:
        rows = [
            [f"{failure.start_seconds:.3f} s", plots.label(failure.kind), failure.uri, failure.error, failure.process]
            for failure in operations.failures
        ]
        shown = len(rows) if len(rows) == operations.errors else f"The first {len(rows)} of {operations.errors:,}"
        parts.append(f"<p>{shown} failed operation{'s' if operations.errors > 1 else ''}.</p>")
        parts.append(_table("Failed operations", ["time", "kind", "URI", "error", "process"], rows))
    elif operations.began is not None:
        parts.append("<p>No operation failed.</p>")
    if messages:
        parts.append("<h3>In DLIO's log</h3>")
        parts.append(_table("Warnings and errors in DLIO's log", ["level", "message"], messages))
    return "\n".join(parts) or "<p>None is known.</p>"


def _settings(report: Report) -> str:
    settings = report.results.settings
    if not settings:
        return "<p>They are not known.</p>"
    rows = list(settings.items())
    return _table("Settings of DLIO", ["setting", "value"], rows)


def _section(title: str, content: str) -> str:
    return f'<h2>{escape(title)}</h2>\n<div class="card">\n{content}\n</div>'


def _table(caption: str, header: _Row, rows: Sequence[_Row], numbers: int = 0) -> str:
    """A table whose last columns, so many of them, hold numbers."""
    texts = len(header) - numbers

    def cells(row: _Row, tag: str) -> str:
        written = []
        for column, cell in enumerate(row):
            name = "th" if tag == "th" or (column == 0 and texts) else "td"
            scope = ' scope="col"' if tag == "th" else ' scope="row"' if name == "th" else ""
            written.append(f'<{name}{scope} class="{"text" if column < texts else "number"}">{escape(cell)}</{name}>')
        return f"<tr>{''.join(written)}</tr>\n"

    body = "".join(cells(row, "td") for row in rows)
    long = " long" if len(rows) > 12 else ""
    return (
        f'<div class="scroll{long}" role="region" aria-label="{escape(caption)}" tabindex="0">\n'
        f"<table><caption>{escape(caption)}</caption>\n<thead>{cells(header, 'th')}</thead>\n"
        f"<tbody>\n{body}</tbody></table>\n</div>\n"
    )


def _footer(report: Report) -> str:
    places = [f"DLIO's output: {report.results.folder.resolve()}"]
    if report.metrics is not None:
        places.append(f"recorded operations: {report.metrics.resolve()}")
    return (
        f"<footer><p>{escape('; '.join(places))}.</p>\n"
        f"<p>Sizes and rates are in powers of 1000. A rate while busy is the bytes by the time in which at least one "
        f"operation of the kind was under way. Percentiles are values that occurred. s3dlio {escape(__version__)}.</p>"
        "</footer>"
    )
