# SPDX-License-Identifier: Apache-2.0
"""`s3dlio dlio report` on the output of complete, incomplete and long runs, and on folders without any."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.dlio.report import write_report
from tests.cli.command import run
from tests.dlio.report.runs import BEGAN, operation, write_dlio, write_json, write_log, write_operations
from tests.dlio.runs import FILES, run_dlio
from tests.servers.base import S3Server

SOURCE = Path(__file__).parents[3] / "src"


def _numbers(page: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(page.with_suffix(".json").read_text())
    return numbers


@pytest.mark.usefixtures("dlio")
def test_the_report_of_a_real_run_agrees_with_both_accounts_of_it(tmp_path: Path, seaweedfs: S3Server) -> None:
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://reports")
    root = f"s3://reports/{tmp_path.name}"
    settings = {"storage.storage_type": "s3dlio", "storage.storage_root": root, "reader.read_threads": 2}
    done = run_dlio(tmp_path, {**settings, "train.epochs": 2})
    assert done.status == 0, done.log
    result = run("dlio", "report", done.output)
    assert (result.status, result.err) == (0, "")
    page, numbers_file = map(Path, result.lines)
    assert (page, numbers_file) == (done.output / "report.html", done.output / "report.json")

    numbers = _numbers(page)
    assert numbers["notes"] == []
    assert (numbers["ranks"], numbers["schemes"]) == (1, ["s3"])
    totals = done.totals
    assert {kind["kind"]: (kind["operations"], kind["errors"], kind["bytes"]) for kind in numbers["operations"]} == {
        kind: (total.operations, total.errors, total.bytes) for kind, total in totals.items()
    }
    for kind, rates in numbers["series"]["rate_bytes_per_second"].items():
        assert sum(rates) * numbers["series"]["width_seconds"] == pytest.approx(totals[kind].bytes)

    summary = json.loads((done.output / "summary.json").read_text())["metric"]
    assert [epoch["utilisation_percent"] for epoch in numbers["epochs"]] == summary["train_au_percentage"]
    assert sum(epoch["steps"] for epoch in numbers["epochs"]) * done.batch_size == done.samples == FILES * 2
    for epoch in numbers["epochs"]:
        assert 0 < epoch["start_seconds"] < epoch["end_seconds"] < numbers["seconds"] + 5
    assert len([each for each in numbers["checkpoints"] if each["kind"] == "checkpoint_write"]) == done.checkpoints

    (endpoint,) = numbers["endpoints"]
    assert endpoint["url"] == seaweedfs.url
    assert endpoint["requests"] >= sum(total.operations for total in totals.values()) - totals["mkdir"].operations
    assert endpoint["bytes"] >= sum(total.bytes for total in totals.values())


def test_an_existing_report_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    (tmp_path / "report.html").write_text("old")
    before = set(tmp_path.iterdir())
    assert write_report(tmp_path)[0].read_text().startswith("<!DOCTYPE html>")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "report.json"}


def test_options_choose_where_both_files_go(tmp_path: Path) -> None:
    write_dlio(tmp_path / "results", main=True)
    write_operations(tmp_path / "elsewhere", [operation("read", 0, 1, 5)])
    places = ("--metrics", "elsewhere", "--html", "out/a page.html", "--json", "numbers")
    result = run("dlio", "report", "results", *places, folder=tmp_path)
    assert result.lines == [str(tmp_path / "out" / "a page.html"), str(tmp_path / "numbers")]
    assert json.loads((tmp_path / "numbers").read_text())["operations"][0]["bytes"] == 5
    assert not (tmp_path / "results" / "report.html").exists()


def test_a_run_that_was_killed_has_a_report_that_says_so(tmp_path: Path) -> None:
    write_log(tmp_path, main=False, epochs=1)
    write_operations(tmp_path / "s3dlio-metrics", [operation("read", 2, 1, 100)])
    with (tmp_path / "s3dlio-metrics" / "host-1.jsonl").open("a") as file:
        file.write('{"kind": "re')
    page = write_report(tmp_path)[0]
    numbers = _numbers(page)
    assert numbers["epochs"][0]["utilisation_percent"] == 81.25
    notes = "\n".join(numbers["notes"])
    assert "There is no summary.json: the run ended before" in notes
    assert "1 lines" not in notes
    assert "1 line of" in notes
    assert all(note.split("'")[0][:40] in page.read_text() for note in numbers["notes"])


def test_a_summary_of_an_earlier_run_is_noted(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    os.utime(tmp_path / "summary.json", (BEGAN - 1, BEGAN - 1))
    write_operations(tmp_path / "s3dlio-metrics", [operation("read", 0, 1, 100)])
    (note,) = _numbers(write_report(tmp_path)[0])["notes"]
    assert note.startswith("summary.json is older than the recorded operations")


def test_a_report_without_recorded_operations_has_dlios_numbers(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    page = write_report(tmp_path)[0]
    assert any("S3DLIO_METRICS_DIR" in note for note in _numbers(page)["notes"])
    text = page.read_text()
    assert "<h3>Utilization per epoch</h3>" in text
    assert "<h3>Throughput over time</h3>" not in text


@pytest.mark.parametrize("name", ["s3dlio-metrics", ""], ids=["below", "itself"])
def test_a_report_without_output_of_dlio_has_the_recorded_operations(tmp_path: Path, name: str) -> None:
    write_operations(tmp_path / name, [operation("read", 0, 1, 100)])
    page = write_report(tmp_path)[0]
    assert any("no output of DLIO" in note for note in _numbers(page)["notes"])
    assert "<h3>Throughput over time</h3>" in page.read_text()


def test_a_run_that_read_nothing_has_a_report_that_says_so(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    write_operations(tmp_path / "s3dlio-metrics", [operation("list", 0, 0.0), operation("mkdir", 0, 0.0)])
    assert _numbers(write_report(tmp_path)[0])["notes"] == ["No sample was read."]


def test_means_over_no_samples_are_unknown(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    metric = {"train_au_mean_percentage": math.nan, "train_au_percentage": [math.nan, 50.0]}
    write_json(tmp_path, "summary.json", {"metric": metric})
    page = write_report(tmp_path)[0]
    numbers = _numbers(page)
    assert [epoch["utilisation_percent"] for epoch in numbers["epochs"]] == [None, 50]
    assert numbers["dlio"]["train_au_mean_percentage"] is None
    assert "nan" not in page.read_text().lower()


def test_many_checkpoints_are_all_in_the_json_and_the_first_in_the_page(tmp_path: Path) -> None:
    folder = "s3://b/checkpoints"
    write_operations(
        tmp_path,
        [operation("checkpoint_write", n, 1, 5, uri=f"{folder}/global_epoch{n}_step1/m.pt") for n in range(3000)],
    )
    page = write_report(tmp_path)[0]
    assert len(_numbers(page)["checkpoints"]) == 3000
    assert "The first 200 of 3,000; all are in the JSON." in page.read_text()
    assert page.stat().st_size < 500_000


def test_endpoints_beyond_the_limit_are_drawn_as_one(tmp_path: Path) -> None:
    names = [f"http://node{number:02}:9000" for number in range(30)]
    write_operations(
        tmp_path,
        [operation("read", n, 1, 100, endpoints={name: (30 - n, 100)}) for n, name in enumerate(names)],
    )
    page = write_report(tmp_path)[0]
    assert {endpoint["url"] for endpoint in _numbers(page)["endpoints"]} == set(names)
    drawing = page.read_text().split("<h3>Shares of the endpoints</h3>")[1].split("</svg>")[0]
    assert [n for n in range(30) if f">node{n:02}:9000<" in drawing] == [*range(11)]
    assert "19 others" in drawing


def test_records_that_cannot_be_read_are_a_note(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    metrics = tmp_path / "s3dlio-metrics"
    metrics.mkdir()
    (metrics / "host-1.jsonl").write_text('{"kind": "re')
    notes = _numbers(write_report(tmp_path)[0])["notes"]
    assert f"No operation could be read from {metrics}." in notes
    assert any(note.startswith("1 line of") for note in notes)


def test_an_epoch_that_did_not_end_is_in_the_report(tmp_path: Path) -> None:
    write_log(tmp_path, main=False, epochs=1)
    with (tmp_path / "dlio.log").open("a") as file:
        file.write("[INFO] 2024-01-01T08:00:12.000000 Starting epoch 2: 2 steps expected\n")
    write_operations(tmp_path / "s3dlio-metrics", [operation("read", second, 1, 100) for second in range(14)])
    first, second = _numbers(write_report(tmp_path)[0])["epochs"]
    assert (first["start_seconds"], first["end_seconds"]) == (2, 12)
    assert (second["start_seconds"], second["end_seconds"]) == (12, None)


def test_errors_alone_have_a_report_that_lists_them(tmp_path: Path) -> None:
    failed = [operation("read", number, 1, error=f"StoreTimeoutError: {number}") for number in range(150)]
    write_operations(tmp_path / "s3dlio-metrics", failed)
    page = write_report(tmp_path)[0]
    assert _numbers(page)["errors"]["count"] == 150
    assert "The first 100 of 150 failed operations" in page.read_text()


def test_a_long_run_takes_seconds_and_makes_no_larger_page(tmp_path: Path) -> None:
    names = [f"http://node{number}:9000" for number in range(4)]
    lines = [
        operation(
            ("read", "generate", "stat")[number % 3],
            number * 0.01,
            0.02,
            4096,
            endpoints={names[number % 4]: (1, 4096)},
        )
        for number in range(1000)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    for process in range(10):
        (tmp_path / f"host-{process}.jsonl").write_text(text * 20)
    began = time.process_time()  # not wall-clock time: other programs may run
    page = write_report(tmp_path)[0]
    assert time.process_time() - began < 10  # it takes 2.5
    assert sum(kind["operations"] for kind in _numbers(page)["operations"]) == 200_000
    assert page.stat().st_size < 500_000


def test_a_folder_without_results_is_refused_with_what_was_searched_for(tmp_path: Path) -> None:
    result = run("dlio", "report", tmp_path)
    assert result.status == 1
    assert f"{tmp_path} holds no results of DLIO: searched for summary.json, dlio.log" in result.err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(s3dlio.ObjectNotFoundError, match="missing is not a folder"):
        write_report(tmp_path / "missing")
    write_dlio(tmp_path / "hydra_log" / "unet3d" / "now", main=True)
    with pytest.raises(s3dlio.ObjectNotFoundError, match=r"folders with results are .*/hydra_log/unet3d/now"):
        write_report(tmp_path)
    with pytest.raises(s3dlio.ObjectNotFoundError, match="holds no recorded operations"):
        write_report(tmp_path / "hydra_log" / "unet3d" / "now", metrics=tmp_path)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    # Without the site module nothing that is installed can be imported.
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        "from s3dlio.dlio.report import write_report\n"
        f"write_report({str(tmp_path)!r})"
    )
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=False, capture_output=True, text=True)
    assert (
        "ConfigurationError: a report needs matplotlib, which is not installed; run pip install 's3dlio[report]'"
        in (ended.stderr)
    )


def test_only_a_report_imports_what_draws_it() -> None:
    program = "import sys, s3dlio.dlio.report, s3dlio.cli.app; print({'matplotlib', 'numpy'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert answer.strip() == "set()"
