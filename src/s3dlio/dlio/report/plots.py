# SPDX-License-Identifier: Apache-2.0
"""The plots of a report, as SVG for its page.

Strategy: matplotlib draws each plot without a window or global state, at about the size of a phone's screen, so that
the page scales plots up and never far down. Text stays text, so that it can be read aloud, searched and copied. Each
color is a placeholder, which becomes a variable of the page's style sheet in the finished SVG: one drawing serves the
light and the dark page. Curves and bars also differ by marker, dash or hatch, not by color alone.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from s3dlio.dlio.report import units
from s3dlio.dlio.report.numbers import Report
from s3dlio.dlio.report.statistics import CHECKPOINT_KINDS, DATA_KINDS, EndpointShare

MOST_ENDPOINTS = 12
MOST_BARS = 200

_INK, _MUTED, _LINES, _BAND, _CARD = "#010101", "#020202", "#030303", "#040404", "#050505"
_SERIES = tuple(f"#0a0b{number:02x}" for number in range(1, 9))
_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _LINES: "--lines",
    _BAND: "--band",
    _CARD: "--card",
    **{color: f"--series-{number}" for number, color in enumerate(_SERIES, 1)},
}

_WIDTH = 4.9  # inches; an inch is 72 units of the SVG
_HEIGHT = 2.75
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": _LINES,
    "axes.grid": True,
    "axes.labelcolor": _MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that text has the same width everywhere
    "font.size": 10,
    "grid.color": _LINES,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,  # a "$" in a name does not start a formula
    "xtick.color": _LINES,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _LINES,
    "ytick.labelcolor": _MUTED,
    "ytick.major.size": 0,
}
_MARKERS = "osD^vPX*"
_PERCENTILES = (("p50", "o"), ("p90", "^"), ("p99", "D"), ("max", "s"))


def label(kind: str) -> str:
    """The name of a kind of operation for readers."""
    return kind.replace("_", " ")


def throughput(report: Report) -> str:
    """Bytes per second over time, by kind."""
    series = report.recorded.series
    largest = max((max(rates) for rates in series.rate_bytes_per_second.values()), default=0.0)
    divisor, unit = units.scale(largest)

    def draw(axes: Any) -> None:
        time, edges = _time_axis(axes, report)
        for kind, rates in series.rate_bytes_per_second.items():
            values = [rate / divisor for rate in rates]
            color = _color(report, kind)
            axes.stairs(values, edges, fill=True, color=color, alpha=0.18)
            axes.stairs(values, edges, color=color, linewidth=1.4, label=label(kind))
        axes.set_ylim(0, max(largest / divisor, 1e-9) * 1.18)  # room for the names of the epochs
        axes.set_ylabel(f"{unit}/s")
        _epochs(axes, report, time)
        _legend(axes, 3)

    return _svg("Throughput over time, by kind of operation", draw)


def latency(report: Report) -> str:
    """Median and 99th percentile over time, by kind, on a logarithmic axis."""
    series = report.recorded.series

    def draw(axes: Any) -> None:
        time, edges = _time_axis(axes, report)
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        for number, kind in enumerate(series.p50_seconds):
            style = {"color": _color(report, kind), "marker": _MARKERS[number % len(_MARKERS)]}
            axes.plot(*_known(middles, series.p50_seconds[kind]), **style, ms=3, lw=1.4, label=f"{label(kind)}, p50")
            high = _known(middles, series.p99_seconds[kind])
            axes.plot(*high, **style, ms=2.4, lw=0.8, ls=(0, (3, 2)), alpha=0.75, label=f"{label(kind)}, p99")
        values = [*series.p50_seconds.values(), *series.p99_seconds.values()]
        _log_axis(axes, "y", [value for line in values for value in line])
        _epochs(axes, report, time)
        _legend(axes)

    return _svg("Latency over time, by kind of operation", draw)


def percentiles(report: Report) -> str:
    """The latency of each kind on a logarithmic axis: p50, p90, p99 and the longest."""
    kinds = [kind for kind in reversed(report.recorded.kinds) if kind.max_seconds is not None]

    def draw(axes: Any) -> None:
        for row, kind in enumerate(kinds):
            axes.plot([kind.p50_seconds, kind.max_seconds], [row, row], color=_MUTED, lw=0.8, alpha=0.5)
        for number, (name, marker) in enumerate(_PERCENTILES):
            values = [getattr(kind, f"{name}_seconds") for kind in kinds]
            rows = [row + 0.18 - 0.12 * number for row in range(len(kinds))]  # equal values do not hide each other
            axes.plot(values, rows, marker, color=_SERIES[number], ms=5, label=name)
        axes.set_yticks(range(len(kinds)), [label(kind.kind) for kind in kinds])
        axes.set_ylim(-0.6, len(kinds) - 0.4)
        _log_axis(axes, "x", [value for kind in kinds for value in (kind.p50_seconds, kind.max_seconds)])
        _legend(axes, 4)

    return _svg("Latency percentiles of each kind of operation", draw, 1.1 + 0.27 * len(kinds))


def endpoints(report: Report) -> str:
    """The share of each endpoint in requests and in bytes; beyond `MOST_ENDPOINTS` the rest is drawn as one bar."""
    shares = report.recorded.endpoints
    if len(shares) > MOST_ENDPOINTS:
        shown, rest = shares[: MOST_ENDPOINTS - 1], shares[MOST_ENDPOINTS - 1 :]
        requests, size = (sum(getattr(share, name) for share in rest) for name in ("requests", "bytes"))
        shares = [*shown, EndpointShare(f"{len(rest)} others", requests, size)]
    rows = range(len(shares), 0, -1)  # the first one at the top

    def draw(axes: Any) -> None:
        for offset, name, color, hatch in ((0.2, "requests", _SERIES[0], ""), (-0.2, "bytes", _SERIES[1], "///")):
            numbers = [getattr(share, name) for share in shares]
            values = [100 * number / max(1, sum(numbers)) for number in numbers]
            bars = axes.barh([row + offset for row in rows], values, 0.36, color=color, label=name)
            _hatch(bars, hatch)
            axes.bar_label(bars, [units.percent(value) for value in values], padding=3, color=_MUTED, fontsize=9)
        axes.set_yticks(rows, [_shortened(share.url) for share in shares])
        axes.set_xlim(0, 118)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("% of all")
        axes.grid(axis="y", visible=False)
        _legend(axes)

    return _svg("Shares of the endpoints in requests and bytes", draw, 1.25 + 0.42 * len(shares))


def utilization(report: Report) -> str:
    """Accelerator utilization of each epoch, and the utilization that the workload requires."""
    epochs = [epoch for epoch in report.results.epochs[:MOST_BARS] if epoch.utilisation_percent is not None]
    expected = report.results.expected_utilisation_percent

    def draw(axes: Any) -> None:
        values = {epoch.epoch: epoch.utilisation_percent or 0.0 for epoch in epochs}
        _bars(axes, values, len(values), _SERIES[0], "utilization")
        if expected is not None:
            axes.axhline(expected, color=_SERIES[1], lw=1.3, ls=(0, (4, 2)), label=f"expected, {expected:g} %")
        axes.set_ylim(0, max(108.0, *values.values()))
        axes.set_ylabel("%")
        _whole_numbers(axes, "epoch")
        _legend(axes)

    return _svg("Accelerator utilization of each epoch", draw)


def samples(report: Report) -> str:
    """Samples per second of each epoch."""
    epochs = [epoch for epoch in report.results.epochs[:MOST_BARS] if epoch.samples_per_second is not None]

    def draw(axes: Any) -> None:
        values = {epoch.epoch: epoch.samples_per_second or 0.0 for epoch in epochs}
        _bars(axes, values, len(values), _SERIES[2], "samples")
        axes.set_ylabel("samples/s")
        _whole_numbers(axes, "epoch")

    return _svg("Training throughput of each epoch", draw)


def checkpoints(report: Report) -> str:
    """The rate of each checkpoint, in the order in which they began."""
    found = report.recorded.checkpoints[:MOST_BARS]
    divisor, unit = units.scale(max(checkpoint.rate_bytes_per_second for checkpoint in found))

    def draw(axes: Any) -> None:
        for kind, hatch in zip(CHECKPOINT_KINDS, ("", "///"), strict=True):
            rates = {
                number: checkpoint.rate_bytes_per_second / divisor
                for number, checkpoint in enumerate(found, 1)
                if checkpoint.kind == kind
            }
            if rates:
                _bars(axes, rates, len(found), _color(report, kind), label(kind), hatch)
        axes.set_ylabel(f"{unit}/s")
        _whole_numbers(axes, "checkpoint")
        _legend(axes)

    return _svg("Rate of each checkpoint", draw)


# Parts that the plots share...


def _color(report: Report, kind: str) -> str:
    """The color of a kind: the same in all plots, and for kinds that move data the same in all reports."""
    others = [found.kind for found in report.recorded.kinds if found.kind not in DATA_KINDS]
    return _SERIES[[*DATA_KINDS, *others].index(kind) % len(_SERIES)]


def _time_axis(axes: Any, report: Report) -> tuple[float, list[float]]:
    """Label the axis of time; returns the seconds in its unit, and the edges of the bins in that unit."""
    series = report.recorded.series
    unit, name = units.time_scale(report.recorded.seconds)
    edges = [start / unit for start in (*series.start_seconds, len(series.start_seconds) * series.width_seconds)]
    axes.set_xlabel(f"time since the first operation ({name})")
    axes.set_xlim(0, edges[-1])
    axes.grid(axis="x", visible=False)
    return unit, edges


def _epochs(axes: Any, report: Report, unit: float) -> None:
    """Shade the epochs, darker and lighter in turn, and name those that are wide enough."""
    _, right = axes.get_xlim()
    for epoch in report.results.epochs[:MOST_BARS]:
        start, end = (report.since_began(moment) for moment in (epoch.start, epoch.end))
        if start is None or end is None:
            continue
        low, high = max(0.0, start / unit), min(right, end / unit)
        if low < high:
            axes.axvspan(low, high, color=_BAND, alpha=0.6 if epoch.epoch % 2 else 0.25, lw=0, zorder=0)
        if high - low > 0.16 * right:
            axes.text(
                (low + high) / 2,
                0.985,
                f"epoch {epoch.epoch}",
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                color=_MUTED,
                fontsize=9,
            )


def _log_axis(axes: Any, name: str, values: Iterable[float | None]) -> None:
    """Make an axis of times logarithmic, over whole decades, so that it has at least two labels."""
    positive = [value for value in values if value]
    if not positive:
        return
    axis = getattr(axes, f"{name}axis")
    low = math.floor(math.log10(min(positive)))
    high = max(low + 1, math.ceil(math.log10(max(positive))))
    getattr(axes, f"set_{name}scale")("log")
    room = 2.5 if name == "y" else 1.1  # the names of the epochs stand above the curves
    getattr(axes, f"set_{name}lim")(10.0**low * 0.9, 10.0**high * room)
    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: units.round_duration(value)))


def _bars(axes: Any, values: dict[int, float], count: int, color: str, name: str, hatch: str = "") -> None:
    """Draw bars over whole numbers, each with its value if there is room: `count` bars, with those of other calls."""
    bars = axes.bar(values.keys(), values.values(), min(0.6, 0.05 + 0.15 * count), color=color, label=name)
    _hatch(bars, hatch)
    axes.margins(y=0.12)
    if count <= 8:
        written = [units.number(value) for value in values.values()]
        beneath = {"facecolor": _CARD, "edgecolor": "none", "pad": 0.6}  # for a line that crosses the number
        axes.bar_label(bars, written, padding=3, color=_MUTED, fontsize=9, bbox=beneath)


def _whole_numbers(axes: Any, name: str) -> None:
    axes.set_xlabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    low, high = axes.get_xlim()
    axes.set_xlim(math.floor(low) + 0.5, math.ceil(high) - 0.5)
    axes.grid(axis="x", visible=False)


def _legend(axes: Any, columns: int = 2) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.3, handlelength=1.6, columnspacing=1.4
    )


def _hatch(bars: Any, hatch: str) -> None:
    for bar in bars if hatch else ():
        bar.set(hatch=hatch, edgecolor=_BAND, linewidth=0)


def _known(times: Sequence[float], values: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """The points of a curve, without those that have no value."""
    points = [(time, value) for time, value in zip(times, values, strict=True) if value is not None]
    return [time for time, _ in points], [value for _, value in points]


def _shortened(url: str) -> str:
    name = url.partition("://")[2] or url
    return name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}"


# From matplotlib's figure to SVG for the page...


def _svg(title: str, draw: Callable[[Any], None], height: float = _HEIGHT) -> str:
    """Draw on one pair of axes, and return an <svg> element, as wide as the element around it.

    The title says what the plot shows, for readers who cannot see it, and is unique in the page. Heights are in inches.
    """
    prefix = re.sub(r"\W+", "-", f"{title} ").lower()
    written = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": prefix}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(written.getvalue(), title, prefix)


def _for_page(svg: str, title: str, prefix: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)  # would apply to the whole page
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    # Several plots share the page, and so the namespace of identifiers.
    rest = re.sub(r'(\bid="|\burl\(#|href="#)', rf"\g<1>{prefix}", rest)
    for placeholder, variable in _VARIABLES.items():
        rest = rest.replace(placeholder, f"var({variable})")
    return f'<svg {box[0]} role="img" aria-label="{escape(title)}">{rest}'
