# SPDX-License-Identifier: Apache-2.0
"""The demo shows what went through s3dlio, and fails if one of its runs does less than it should."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tools import demo

pytestmark = pytest.mark.usefixtures("dlio")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FILE_BYTES", 1 << 16)
    monkeypatch.setattr(demo, "MODEL_BYTES", 1 << 20)
    monkeypatch.setattr(demo, "COMPUTATION_TIME", 0.01)


def test_the_table_shows_every_phase(tmp_path: Path) -> None:
    # Each of these characters has a meaning in Hydra's grammar.
    root = tmp_path / "it's = {a}, [b] (c)"
    output = io.StringIO()
    target = demo.Target("file", f"file://{root}/storage")
    assert demo.run(target, root / "file", Console(file=output, width=120))
    rows = [" ".join(line.replace("│", " ").split()) for line in output.getvalue().splitlines()]
    assert any(row.startswith(f"generate {demo.FILES} ") for row in rows)
    assert any(row.startswith(f"read {demo.FILES * demo.EPOCHS} ") for row in rows)
    assert any(row.startswith(f"checkpoint write {demo.EPOCHS} ") for row in rows)
    assert any(row.startswith("accelerator utilization ") and row.endswith(" %") for row in rows)
    assert f"results: {root / 'file'}" in rows
    assert f"report: {root / 'file' / 'report.html'}" in rows
    numbers = json.loads((root / "file" / "report.json").read_text())
    assert numbers["notes"] == []
    assert numbers["operations"][0]["bytes"] > demo.FILES * demo.EPOCHS * demo.FILE_BYTES
    assert len(list((root / "storage").rglob("*.npz"))) == demo.FILES


def test_a_run_that_fails_shows_why(tmp_path: Path) -> None:
    output = io.StringIO()
    target = demo.Target("nowhere", "bogus://bucket")
    assert not demo.run(target, tmp_path / "nowhere", Console(file=output, width=120))
    assert "ended with status 1" in output.getvalue()
    assert "bogus" in output.getvalue()
    assert "generate: 0 operations, 48 expected" in output.getvalue()


def test_a_demo_with_a_failed_run_fails_and_replaces_earlier_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "old").write_text("of an earlier demo")
    assert demo.demonstrate([demo.Target("nowhere", "bogus://bucket")], results) == 1
    assert [entry.name for entry in results.iterdir()] == ["nowhere"]
    assert "DLIO on nowhere ended with status 1" in capsys.readouterr().out


def test_the_demo_on_files_stays_in_its_folder_of_results(tmp_path: Path) -> None:
    target = demo.on_files(tmp_path)
    assert (target.title, target.storage_root, target.environment) == ("file", f"file://{tmp_path}/file/storage", {})
