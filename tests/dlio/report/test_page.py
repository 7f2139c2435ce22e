# SPDX-License-Identifier: Apache-2.0
"""The page in a browser is complete, legible in light and dark and on a phone, and loads nothing."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from s3dlio.dlio.report import write_report
from tests.dlio.report.runs import operation, write_dlio, write_operations
from tests.servers.chromium import open_page

FIGURES = [
    "Throughput over time",
    "Latency over time",
    "Latency percentiles",
    "Shares of the endpoints",
    "Utilization per epoch",
    "Training throughput per epoch",
    "Checkpoint rates",
]

# A script for a copy of the page. It writes its results into the DOM, which the browser prints.
_PROBE = """
<script>
const shown = [...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect());
const style = element => getComputedStyle(element);
const texts = [...document.querySelectorAll("svg text")];
const sizes = texts.map(text => parseFloat(style(text).fontSize) * text.closest("svg").getScreenCTM().a);
const curves = [...document.querySelectorAll("svg path")].filter(path => path.style.stroke.includes("series"));
document.body.dataset.probe = JSON.stringify({
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  plots: shown.filter(box => box.width > 200 && box.height > 80).length,
  card: style(document.querySelector("figure")).backgroundColor, smallest: Math.min(...sizes),
  inks: [...texts.map(text => style(text).fill), style(document.querySelector("figcaption p")).color],
  curves: curves.map(curve => style(curve).stroke),
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run on two endpoints, with a failed operation whose URI and error look like HTML."""
    folder = tmp_path_factory.mktemp("report") / "results"
    write_dlio(folder, main=True)
    write_operations(
        folder / "s3dlio-metrics",
        [
            *(operation("generate", 0.1 * number, 0.1, 1_000_000) for number in range(10)),
            *(operation("read", 2 + 0.1 * number, 0.05, 1_000_000) for number in range(100)),
            operation("checkpoint_write", 18, 2, 500_000_000, uri="s3://b/c/model-1-4-0.pt"),
            operation("stat", 1.5, 0.01, endpoints={"http://a.example:9000": (75, 750), "http://b.example": (25, 250)}),
            operation("read", 5, 1, uri="s3://b/<script>alert(1)</script>", error="E: </td><img src=http://c.example>"),
        ],
    )
    return write_report(folder)[0]


def _probed(page: Path, folder: Path, **options: Any) -> dict[str, Any]:
    copy = folder / "probed.html"
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text())
    copy.write_text(text.replace("</body>", f"{_PROBE}</body>"))
    opened = open_page(copy, **options)
    assert opened.console == []
    found = re.search(r'data-probe="([^"]*)"', opened.dom)
    assert found is not None
    probe: dict[str, Any] = json.loads(html.unescape(found[1]))
    return probe


def _contrast(one: str, other: str) -> float:
    """The ratio of two colors as WCAG 2 defines it."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.usefixtures("chromium")
def test_a_browser_shows_everything_and_loads_nothing(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    opened = open_page(page, width=1200, height=1600, screenshot=picture)
    assert opened.console == []
    assert opened.requested == []
    assert re.findall(r"<figure>\s*<figcaption><h3>(.*?)</h3>", opened.dom) == FIGURES
    assert opened.dom.count("<svg") == len(FIGURES)
    for text in (
        "94.5 %",
        "20.0 MB/s",
        "1 failed operation",
        "75.0 %",
        "a.example:9000",
        "250 MB/s",
        "epoch 1, step 4",
    ):
        assert text in opened.dom, text
    with Image.open(picture) as image:
        assert image.size == (1200, 1600)
        colors = image.convert("RGB").getcolors(1 << 24)
        assert colors is not None
        assert len(colors) > 200  # an empty page has one


@pytest.mark.usefixtures("chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_curves_stand_out_from_their_ground(page: Path, tmp_path: Path, dark: bool) -> None:
    probe = _probed(page, tmp_path, dark=dark)
    card = re.findall(r"\d+", probe["card"])[:3]
    assert all((int(part) < 64) == dark for part in card)
    assert len(set(probe["inks"])) > 1
    assert min(_contrast(ink, probe["card"]) for ink in set(probe["inks"])) > 4.5
    assert len(set(probe["curves"])) > 2
    assert min(_contrast(curve, probe["card"]) for curve in set(probe["curves"])) > 3


@pytest.mark.usefixtures("chromium")
def test_on_a_phone_nothing_is_cut_off_and_text_is_legible(page: Path, tmp_path: Path) -> None:
    probe = _probed(page, tmp_path, width=360, height=640)
    assert probe["overflow"] <= 0
    assert probe["plots"] == len(FIGURES)
    assert probe["smallest"] > 7.5  # pixels


def test_every_plot_has_a_description_and_the_numbers_in_it(page: Path) -> None:
    figures = re.findall(r"<figure>.*?</figure>", page.read_text(), re.DOTALL)
    assert len(figures) == len(FIGURES)
    for figure in figures:
        assert re.search(r'<svg [^>]*role="img" aria-label="[^"]+"', figure)
        assert re.search(r"<caption>[^<]+</caption>", figure)
        assert figure.count("<tr>") > 1


def test_nothing_in_the_page_leads_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert not re.search(r'(?:href|src)="(?!#)', text)
    assert not re.search(r"url\((?!#)|@import", text)
    identities = re.findall(r'\bid="([^"]*)"', text)
    assert len(identities) == len(set(identities))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(identities)


def test_no_secret_of_the_settings_is_shown(page: Path) -> None:
    for file in (page, page.with_suffix(".json")):
        text = file.read_text()
        assert "secret_access_key" in text
        for secret in ("AKIDEXAMPLE", "wJalrXUtn", "u:pw"):
            assert secret not in text


def test_the_json_has_the_same_numbers(page: Path) -> None:
    numbers = json.loads(page.with_suffix(".json").read_text())
    assert numbers["workload"] == "unet3d_h100"
    assert [epoch["utilisation_percent"] for epoch in numbers["epochs"]] == [89.5, 99.5]
    assert [epoch["start_seconds"] for epoch in numbers["epochs"]] == [2, 12]
    read = numbers["operations"][0]
    assert (read["kind"], read["operations"], read["errors"], read["bytes"]) == ("read", 100, 1, 100_000_000)
    assert read["p50_seconds"] == 0.05
    assert read["rate_bytes_per_second"] == pytest.approx(20e6)
    assert numbers["endpoints"] == [
        {"url": "http://a.example:9000", "requests": 75, "bytes": 750},
        {"url": "http://b.example", "requests": 25, "bytes": 250},
    ]
    assert numbers["checkpoints"][0]["rate_bytes_per_second"] == 250e6
    assert numbers["errors"]["count"] == 1
    assert numbers["errors"]["first"][0]["uri"] == "s3://b/<script>alert(1)</script>"
    assert numbers["series"]["width_seconds"] == 0.5
    assert numbers["notes"] == []
