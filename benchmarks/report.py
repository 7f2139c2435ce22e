# SPDX-License-Identifier: Apache-2.0
"""The report of a run: medians, spread and ratios, as Markdown and as SVG.

For each bar the report says which figures it compares, their ratio, and whether the bar is met. Nothing is asserted,
because the figures of a shared machine change from run to run.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Callable, Iterable
from html import escape
from typing import NamedTuple

from benchmarks.scenarios import PEERS, Bar, Scenario
from benchmarks.state import Figures, State


class Measure(NamedTuple):
    """A figure that is computed from the measurements of a round.

    Attributes:
        title: the heading of its column.
        more_is_better: whether the best value is the largest.
        of: computes the figure.
        form: how to format it.
    """

    title: str
    more_is_better: bool
    of: Callable[[Figures], float]
    form: str


def _cpu(figures: Figures) -> float:
    return float(figures["user"] + figures["system"]) or 1e-9


MEASURES = {
    "rate": Measure("GB/s", True, lambda one: one["bytes"] / one["seconds"] / 1e9, ".2f"),
    "per_cpu": Measure("GB per CPU-s", True, lambda one: one["bytes"] / _cpu(one) / 1e9, ".2f"),
    "objects": Measure("objects/s", True, lambda one: one["objects"] / one["seconds"], ",.0f"),
    "cpu_us": Measure("CPU per object, µs", False, lambda one: _cpu(one) / one["objects"] * 1e6, ",.1f"),
    "server": Measure("server CPU per object, µs", False, lambda one: one["server"] / one["objects"] * 1e6, ",.1f"),
    "peak": Measure("peak memory, MiB", False, lambda one: one["peak_mib"], ",.0f"),
    "best_us": Measure("best call, µs", False, lambda one: one["best_us"], ",.1f"),
}
_OF_BYTES = ("rate", "per_cpu", "objects", "cpu_us", "server", "peak")
_OF_OBJECTS = ("objects", "cpu_us", "server", "peak")
_OF_CALLS = ("best_us", "peak")


class Row(NamedTuple):
    """A client in a scenario.

    Attributes:
        client: its name.
        medians: measure -> median over the rounds.
        spread: the largest distance of a round from the median of the main measure, relative to it.
        failed: why there are no figures; "" if there are.
    """

    client: str
    medians: dict[str, float]
    spread: float
    failed: str


class Verdict(NamedTuple):
    """A bar and the figure or ratio that it limits, which is nan if a figure is missing."""

    bar: Bar
    value: float
    text: str

    @property
    def met(self) -> bool:
        if MEASURES[self.bar.measure].more_is_better:
            return self.value >= self.bar.limit
        return self.value <= self.bar.limit


def rows(scenario: Scenario, state: State) -> list[Row]:
    """The clients of a scenario, in its order."""
    found = []
    for client in scenario.clients:
        rounds = state.rounds(scenario.name, client)
        failed = next((one["failed"] for one in rounds if "failed" in one), "")
        if failed or not rounds:
            found.append(Row(client, {}, 0, failed or "was not run"))
            continue
        medians = {}
        for name in _measures(scenario):
            with contextlib.suppress(KeyError):  # fio and DLIO have fewer figures
                medians[name] = statistics.median([MEASURES[name].of(one) for one in rounds])
        main = MEASURES[_main(scenario)]
        values = [main.of(one) for one in rounds]
        middle = statistics.median(values)
        found.append(Row(client, medians, max(abs(value - middle) for value in values) / (middle or 1), ""))
    return found


def _measures(scenario: Scenario) -> tuple[str, ...]:
    if scenario.best_of:
        return _OF_CALLS
    return _OF_BYTES if max(scenario.sizes) else _OF_OBJECTS


def _main(scenario: Scenario) -> str:
    """The main measure of a scenario: the report shows its spread and a plot of it."""
    if scenario.best_of:
        return "best_us"
    return "per_cpu" if min(scenario.sizes) >= 1 << 20 else "cpu_us"


def verdicts(scenario: Scenario, state: State, others: Iterable[Scenario]) -> list[Verdict]:
    """The verdicts on the bars of a scenario."""
    mine = rows(scenario, state)
    there = {other.name: other for other in others}
    found = []
    for bar in scenario.bars:
        measure = MEASURES[bar.measure]
        ours = mine[0].medians.get(bar.measure, math.nan)
        best = max if measure.more_is_better else min
        if bar.scenario:
            values = [one.medians for one in rows(there[bar.scenario], state)[:1]] if bar.scenario in there else []
            beside = f"“{bar.scenario}”"
        elif bar.beside == "peers":
            values = [row.medians for row in mine if row.client in PEERS]
            beside = "the best peer"
        else:
            values = [row.medians for row in mine if row.client == bar.beside]
            beside = bar.beside
        known = [medians[bar.measure] for medians in values if bar.measure in medians]
        sign = "≥" if measure.more_is_better else "≤"
        if not bar.beside and not bar.scenario:
            text = f"{measure.title}: {ours:{measure.form}} ({sign} {bar.limit:g})"
            found.append(Verdict(bar, ours, text))
            continue
        value = ours / best(known) if known else math.nan
        text = f"{measure.title}: {value:.2f} of {beside} ({sign} {bar.limit:g})"
        found.append(Verdict(bar, value, text))
    return found


def table(scenario: Scenario, state: State, others: Iterable[Scenario]) -> str:
    """The table of a scenario, in Markdown."""
    names = _measures(scenario)
    lines = [
        f"### {scenario.name}",
        "",
        _how(scenario),
        "",
        "| client | " + " | ".join(MEASURES[name].title for name in names) + " | spread |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    for row in rows(scenario, state):
        if row.failed:
            words = row.failed.splitlines()[-1][:100].replace("|", "/")
            lines.append(f"| {row.client} | failed: {words} |" + " |" * len(names))
            continue
        shown = [f"{row.medians[name]:{MEASURES[name].form}}" if name in row.medians else "" for name in names]
        lines.append(f"| {row.client} | " + " | ".join(shown) + f" | ±{row.spread:.0%} |")
    judged = verdicts(scenario, state, others)
    if judged:
        lines += ["", *(f"- {_verdict(one)}" for one in judged)]
    return "\n".join(lines) + "\n"


def _how(scenario: Scenario) -> str:
    parts = [f"{scenario.objects:,} objects" if scenario.objects > 1 else "one object"]
    if scenario.operation == "range":
        parts.append(f"ranges of {scenario.range_size:,} bytes")
    parts.append(f"{scenario.in_flight} in flight")
    if scenario.processes > 1:
        parts.append(f"{scenario.processes} processes")
    if scenario.server != "none":
        parts.append({"throttled": "nginx behind a slow link"}.get(scenario.server, scenario.server))
    if scenario.tls:
        parts.append("TLS")
    if scenario.checked:
        parts.append("CRC32C")
    return ", ".join(parts) + "."


def _verdict(one: Verdict) -> str:
    if math.isnan(one.value):
        return f"{one.text.partition(':')[0]}: not measured"
    return f"{one.text}: {'met' if one.met else '**missed**'}"


def document(scenarios: list[Scenario], state: State) -> str:
    """The whole report, in Markdown."""
    what = state.data["what"]
    lines = [
        "# Benchmark",
        "",
        "Made by `python -m benchmarks`; see [the page on performance](../../docs/performance.md).",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in {**what["machine"], **what["versions"]}.items()]
    lines += [f"- rounds: {what['rounds']}, medians; spread is the largest distance of a round from the median", ""]
    lines += ["## Bars", "", "| scenario | bar | |", "|---|---|---|"]
    for scenario in scenarios:
        for one in verdicts(scenario, state, scenarios):
            mark = "not measured" if math.isnan(one.value) else "met" if one.met else "**missed**"
            lines.append(f"| {scenario.name} | {one.text} | {mark} |")
    lines += ["", "## Scenarios", ""]
    for scenario in scenarios:
        lines += [table(scenario, state, scenarios)]
    return "\n".join(lines)


# Plots...

_WIDTH, _LEFT, _LINE = 820, 250, 22


def plot(scenarios: list[Scenario], state: State, title: str) -> str:
    """A bar chart of the main measure of some scenarios, as SVG."""
    parts: list[str] = []
    top = 34
    for scenario in scenarios:
        measure = MEASURES[_main(scenario)]
        known = [row for row in rows(scenario, state) if not row.failed]
        if not known:
            continue
        better = "more" if measure.more_is_better else "less"
        parts.append(_text(8, top + 15, f"{scenario.name}: {measure.title} ({better} is better)", "bold"))
        top += _LINE
        largest = max(row.medians[_main(scenario)] for row in known)
        for row in known:
            value = row.medians[_main(scenario)]
            width = max(1.0, value / largest * (_WIDTH - _LEFT - 90))
            color = "#1f77b4" if row.client == scenario.clients[0] else "#999999" if row.client in PEERS else "#c5b0d5"
            parts.append(_text(_LEFT - 6, top + 13, row.client, anchor="end"))
            parts.append(f'<rect x="{_LEFT}" y="{top + 2}" width="{width:.1f}" height="14" fill="{color}"/>')
            parts.append(_text(_LEFT + width + 6, top + 13, f"{value:{measure.form}}"))
            top += 18
        top += 12
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}"'
        ' font-family="sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{top}" fill="white"/>'
    )
    return "\n".join([head, _text(8, 20, title, "bold"), *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
