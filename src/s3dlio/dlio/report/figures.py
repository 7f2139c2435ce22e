# SPDX-License-Identifier: Apache-2.0
"""The figures of a report: each plot with its caption and the table of its numbers.

A function here returns the HTML of one figure, or "" if the run has no numbers for it.
"""

from __future__ import annotations

from s3dlio.dlio.report import plots, units
from s3dlio.dlio.report.markup import figure, table
from s3dlio.dlio.report.numbers import Report


def figures(report: Report) -> str:
    """All figures of a report, in the order of the page."""
    makers = (_throughput, _latency, _percentiles, _endpoints, _utilization, _samples, _checkpoints)
    return "".join(make(report) for make in makers)


def _throughput(report: Report) -> str:
    series = report.recorded.series
    if not series.rate_bytes_per_second:
        return ""
    kinds = list(series.rate_bytes_per_second)
    columns = [[units.rate(rate) if rate else "" for rate in series.rate_bytes_per_second[kind]] for kind in kinds]
    columns.append([str(errors) if errors else "" for errors in series.errors])
    header = ["time", *(plots.label(kind) for kind in kinds), "failed"]
    caption = f"Bytes of all processes, in bins of {units.round_duration(series.width_seconds)}." + _shades(report)
    return figure("Throughput over time", caption, plots.throughput(report), _over_time(report, header, columns))


def _latency(report: Report) -> str:
    series = report.recorded.series
    if not series.p50_seconds:
        return ""
    named = [(kind, name) for kind in series.p50_seconds for name in ("p50", "p99")]
    columns = [
        ["" if value is None else units.duration(value) for value in getattr(series, f"{name}_seconds")[kind]]
        for kind, name in named
    ]
    header = ["time", *(f"{plots.label(kind)}, {name}" for kind, name in named)]
    width = units.round_duration(series.width_seconds)
    caption = f"Median and 99th percentile of the operations that began in each {width}." + _shades(report)
    return figure("Latency over time", caption, plots.latency(report), _over_time(report, header, columns))


def _percentiles(report: Report) -> str:
    kinds = report.recorded.kinds
    if all(kind.max_seconds is None for kind in kinds):
        return ""
    rows = [
        [
            plots.label(kind.kind),
            f"{kind.operations:,}",
            *(
                "" if value is None else units.duration(value)
                for value in (kind.p50_seconds, kind.p90_seconds, kind.p99_seconds, kind.max_seconds)
            ),
        ]
        for kind in kinds
    ]
    header = ["kind", "operations", "p50", "p90", "p99", "max"]
    caption = "Half of the operations took at most p50, 90 % at most p90, 99 % at most p99. Failed ones do not count."
    numbers = table("Latency percentiles by kind of operation", header, rows, numbers=5)
    return figure("Latency percentiles", caption, plots.percentiles(report), numbers)


def _endpoints(report: Report) -> str:
    shares = report.recorded.endpoints
    if not shares:
        return ""
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
    caption = "Requests include repeated ones. Bytes are those of bodies, in both directions."
    numbers = table("Requests and bytes by endpoint", header, rows, numbers=4)
    return figure("Shares of the endpoints", caption, plots.endpoints(report), numbers)


def _utilization(report: Report) -> str:
    epochs = report.results.epochs
    if all(epoch.utilisation_percent is None for epoch in epochs):
        return ""
    rows = [
        [str(epoch.epoch), units.percent(epoch.utilisation_percent)]
        for epoch in epochs[: plots.MOST_BARS]
        if epoch.utilisation_percent is not None
    ]
    caption = "The share of time in which the accelerators computed, as DLIO measured it." + _first_of(len(epochs))
    numbers = table("Accelerator utilization by epoch", ["epoch", "utilization"], rows, numbers=1)
    return figure("Utilization per epoch", caption, plots.utilization(report), numbers)


def _samples(report: Report) -> str:
    epochs = report.results.epochs
    if all(epoch.samples_per_second is None for epoch in epochs):
        return ""
    rows = [
        [str(epoch.epoch), f"{units.number(epoch.samples_per_second)} samples/s"]
        for epoch in epochs[: plots.MOST_BARS]
        if epoch.samples_per_second is not None
    ]
    caption = "Samples of all ranks, as DLIO measured them." + _first_of(len(epochs))
    numbers = table("Training throughput by epoch", ["epoch", "throughput"], rows, numbers=1)
    return figure("Training throughput per epoch", caption, plots.samples(report), numbers)


def _checkpoints(report: Report) -> str:
    checkpoints = report.recorded.checkpoints
    if not checkpoints:
        return ""
    rows = [
        [
            str(number),
            checkpoint.name,
            plots.label(checkpoint.kind),
            f"{checkpoint.files:,}",
            units.size(checkpoint.bytes),
            units.duration(checkpoint.seconds),
            units.rate(checkpoint.rate_bytes_per_second),
        ]
        for number, checkpoint in enumerate(checkpoints[: plots.MOST_BARS], 1)
    ]
    header = ["number", "checkpoint", "kind", "files", "bytes", "time", "rate"]
    caption = "The bytes of all ranks, divided by the time in which at least one file was being transferred."
    numbers = table("Checkpoints", header, rows, numbers=4)
    return figure("Checkpoint rates", caption + _first_of(len(checkpoints)), plots.checkpoints(report), numbers)


def _first_of(count: int) -> str:
    """A sentence that says how much of a long list is shown, "" if it is shown whole."""
    most = plots.MOST_BARS
    return f" The first {most} of {count:,}; all are in the JSON." if count > most else ""


def _shades(report: Report) -> str:
    return " Shaded: the epochs." if any(epoch.end is not None for epoch in report.results.epochs) else ""


def _over_time(report: Report, header: list[str], columns: list[list[str]]) -> str:
    """A table with a row for each bin of time in which anything happened."""
    starts = [units.round_duration(start) for start in report.recorded.series.start_seconds]
    rows = [[start, *cells] for start, *cells in zip(starts, *columns, strict=True) if any(cells)]
    return table("Each row is a bin of time, named by its begin", header, rows, numbers=len(header))
