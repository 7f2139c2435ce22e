# SPDX-License-Identifier: Apache-2.0
"""DLIO's own output is read, of 2.0.0 and of the main branch, complete and in part."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3dlio.dlio.report.results import read_results
from tests.dlio.report.runs import BEGAN, write_dlio, write_json, write_log


@pytest.mark.parametrize("main", [False, True], ids=["2.0.0", "main"])
def test_the_epochs_are_those_of_the_summary(tmp_path: Path, main: bool) -> None:
    write_dlio(tmp_path, main=main)
    results = read_results(tmp_path)
    assert (results.workload, results.ranks, results.hosts) == ("unet3d_h100", 2, 1)
    assert results.expected_utilisation_percent == 90
    first, second = results.epochs
    assert (first.start, first.end, second.start, second.end) == (BEGAN + 2, BEGAN + 12, BEGAN + 12, BEGAN + 20)
    assert (first.utilisation_percent, second.utilisation_percent) == (89.5, 99.5)
    assert (first.samples_per_second, second.samples_per_second) == (20, 40)
    assert (first.steps, first.waiting_percent) == (4, 50)
    assert (second.steps, second.waiting_percent) == (4, 25)
    assert results.messages == [("warning", "The amount of dataset is smaller than the host memory")]
    assert results.notes == []


def test_without_a_summary_the_epochs_are_those_of_all_ranks(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=True)
    (tmp_path / "summary.json").unlink()
    results = read_results(tmp_path)
    first, second = results.epochs
    assert (first.utilisation_percent, second.utilisation_percent) == (89.5, 99.5)
    assert (first.samples_per_second, second.samples_per_second) == (20, 40)
    assert any("from the steps of all ranks" in note for note in results.notes)


@pytest.mark.parametrize("main", [False, True], ids=["2.0.0", "main"])
def test_a_killed_run_has_the_epochs_of_its_log(tmp_path: Path, main: bool) -> None:
    write_log(tmp_path, main=main, epochs=1)
    with (tmp_path / "dlio.log").open("a") as file:
        file.write("[INFO] 2024-01-01T08:00:12.100000 Starting epoch 2: 2 steps expected\n[INFO] 2027-01-")
    results = read_results(tmp_path)
    first, second = results.epochs
    assert (first.start, first.end) == (BEGAN + 2, BEGAN + 12)
    assert (first.utilisation_percent, first.samples_per_second, first.steps) == (81.25, 15.5, None)
    assert second.start == pytest.approx(BEGAN + 12.1)
    assert (second.end, second.utilisation_percent) == (None, None)
    assert any("no summary.json" in note for note in results.notes)


@pytest.mark.parametrize("hours", [0, -7, 9])
def test_times_of_any_zone_are_corrected_by_the_clock_of_the_operations(tmp_path: Path, hours: int) -> None:
    write_dlio(tmp_path, main=False, hours_from_utc=hours)
    results = read_results(tmp_path).shifted(BEGAN)
    assert (results.start, results.epochs[0].start, results.epochs[1].end) == (BEGAN + 0.5, BEGAN + 2, BEGAN + 20)


@pytest.mark.parametrize("name", ["summary.json", "0_output.json", "per_epoch_stats.json", ".hydra/config.yaml"])
@pytest.mark.parametrize("content", [b"", b'{"1": ', b"\xff\xfe\x00", b"[1, 2]", b'{"1": 5, "metric": [], "start": 7}'])
def test_a_damaged_file_loses_only_its_own_numbers(tmp_path: Path, name: str, content: bytes) -> None:
    write_dlio(tmp_path, main=False)
    (tmp_path / name).write_bytes(content)
    results = read_results(tmp_path)
    assert len(results.epochs) == 2
    assert all(epoch.utilisation_percent and epoch.start for epoch in results.epochs)
    assert name in results.files


def test_a_log_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    (tmp_path / "dlio.log").unlink()
    (tmp_path / "dlio.log").mkdir()
    results = read_results(tmp_path)
    assert results.notes == ["dlio.log cannot be read: Is a directory."]
    assert [epoch.utilisation_percent for epoch in results.epochs] == [89.5, 99.5]


def test_an_epoch_without_training_steps_counts_as_unknown(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=False)
    (tmp_path / "summary.json").unlink()
    for rank in range(2):
        write_json(tmp_path, f"{rank}_output.json", {"1": {"proc": {"block1": [], "eval": [1.0]}}})
    first, second = read_results(tmp_path).epochs
    assert (first.steps, first.waiting_percent, first.utilisation_percent) == (None, None, 81.25)  # as the log says
    assert (second.steps, second.utilisation_percent) == (None, 82.25)


def test_mappings_in_a_list_of_settings_are_numbered_and_their_secrets_hidden(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=True)
    places = "[{endpoint: 'http://a', secret_access_key: wJalr}, {endpoint: 'http://b'}]"
    (tmp_path / ".hydra" / "config.yaml").write_text(f"workload:\n  storage: {{places: {places}, ports: [1, 2]}}\n")
    (tmp_path / ".hydra" / "overrides.yaml").unlink()
    results = read_results(tmp_path)
    assert results.settings == {
        "storage.places.0.endpoint": "http://a",
        "storage.places.0.secret_access_key": "(hidden)",
        "storage.places.1.endpoint": "http://b",
        "storage.ports": "[1, 2]",
    }
    assert (results.workload, results.notes) == ("", [])


def test_secrets_among_the_settings_are_hidden(tmp_path: Path) -> None:
    write_dlio(tmp_path, main=True)
    settings = read_results(tmp_path).settings
    assert settings["storage.storage_root"] == "s3://bucket/run"
    assert settings["dataset.num_files_train"] == "8"
    assert settings["storage.storage_options.access_key_id"] == "(hidden)"
    assert settings["storage.storage_options.secret_access_key"] == "(hidden)"
    assert settings["storage.storage_options.endpoint_url"] == "http://(hidden)@host:9000"


def test_an_empty_folder_has_empty_results(tmp_path: Path) -> None:
    results = read_results(tmp_path)
    assert (results.files, results.epochs, results.settings, results.notes) == ([], [], {}, [])
