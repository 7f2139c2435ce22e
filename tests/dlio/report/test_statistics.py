# SPDX-License-Identifier: Apache-2.0
"""The statistics of recorded operations, compared with values computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s3dlio.dlio.report.statistics import (
    MOST_BINS,
    MOST_FAILURES,
    Checkpoint,
    EndpointShare,
    bin_width,
    percentile,
    read_records,
)
from tests.dlio.report.runs import BEGAN, operation, write_operations


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 5), (90, 9), (91, 10), (99, 10), (100, 10), (10, 1), (1, 1), (0, 1)]
)
def test_percentiles_are_values_by_nearest_rank(percent: int, expected: int) -> None:
    assert percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], percent) == expected
    assert percentile([7], percent) == 7


@pytest.mark.parametrize(
    ("span", "width"), [(80, 1), (80.5, 2), (161, 5), (401, 10), (0.08, 0.001), (0, 0.00002), (36_000, 500)]
)
def test_bins_have_a_round_width_and_are_few(span: float, width: float) -> None:
    assert bin_width(span) == pytest.approx(width)
    assert span / bin_width(span) <= MOST_BINS * (1 + 1e-9)


def test_operations_are_added_up_by_kind(tmp_path: Path) -> None:
    reads = [operation("read", start, seconds, 100) for start, seconds in ((0, 1), (0.5, 1), (4, 0.5), (4, 2))]
    write_operations(tmp_path, [*reads[:2], operation("list", 1, 0.25), operation("read", 7, 9, error="E: no")])
    write_operations(tmp_path, reads[2:], process="host-2")
    found = read_records(tmp_path)
    assert (found.began, found.seconds, found.processes, found.errors) == (BEGAN, 16, 2, 1)
    read, listed = found.kinds  # data first, the others after it
    assert (read.kind, read.operations, read.errors, read.bytes) == ("read", 4, 1, 400)
    # 0 to 1.5 and 4 to 6
    assert read.busy_seconds == 3.5
    assert read.rate_bytes_per_second == pytest.approx(400 / 3.5)
    assert (read.p50_seconds, read.p90_seconds, read.p99_seconds, read.max_seconds) == (1, 2, 2, 2)
    assert (listed.kind, listed.bytes, listed.rate_bytes_per_second, listed.max_seconds) == ("list", 0, 0, 0.25)


def test_bytes_are_spread_over_the_time_that_they_took(tmp_path: Path) -> None:
    write_operations(
        tmp_path,
        [
            operation("read", 0.0, 0.5, 500),  # within the first bin of one second
            operation("read", 1.5, 3.0, 3000),  # half of the second, all of two, half of the fifth
            operation("generate", 79.0, 1.0, 10),  # the last one, up to its end
        ],
    )
    series = read_records(tmp_path).series
    assert series.width_seconds == 1
    assert series.start_seconds == list(range(80))
    rates = series.rate_bytes_per_second
    assert rates["read"][:6] == pytest.approx([500, 500, 1000, 1000, 500, 0])
    assert sum(rates["read"]) == pytest.approx(3500)
    assert rates["generate"][79] == pytest.approx(10)


def test_latencies_belong_to_the_bin_in_which_an_operation_began(tmp_path: Path) -> None:
    fast = [operation("read", 0.1, seconds / 100, 1) for seconds in range(1, 101)]
    write_operations(
        tmp_path, [*fast, operation("read", 2.5, 5, 1), operation("stat", 70, 10), operation("read", 2.5, 1, error="E")]
    )
    series = read_records(tmp_path).series
    assert list(series.p50_seconds) == ["read"]  # it moved bytes, stat did not
    assert series.p50_seconds["read"][:4] == [0.5, None, 5, None]
    assert series.p99_seconds["read"][:4] == [0.99, None, 5, None]
    assert series.errors[:4] == [0, 0, 1, 0]


def test_calls_without_bytes_are_timed_if_there_are_no_others(tmp_path: Path) -> None:
    write_operations(tmp_path, [operation("stat", 0, 0.5), operation("list", 1, 0.25)])
    series = read_records(tmp_path).series
    assert series.rate_bytes_per_second == {}
    assert list(series.p50_seconds) == ["list", "stat"]


def test_traffic_is_added_up_by_endpoint(tmp_path: Path) -> None:
    a, b = "http://a:9000", "https://b"
    write_operations(tmp_path, [operation("read", 0, 1, 9, endpoints={a: (1, 5), b: (2, 4)})])
    write_operations(tmp_path, [operation("read", 0, 1, 9, error="E", endpoints={b: (3, 40)})], process="host-2")
    assert read_records(tmp_path).endpoints == [EndpointShare(b, 5, 44), EndpointShare(a, 1, 5)]


def test_files_of_one_checkpoint_are_added_up(tmp_path: Path) -> None:
    folder = "s3://bucket/checkpoints/unet3d"
    write_operations(
        tmp_path,
        [
            operation("checkpoint_write", 0, 2, 100, uri=f"{folder}/model-1-4-0.pt"),
            operation("checkpoint_write", 1, 2, 100, uri=f"{folder}/layer-0-1-4-0.pt"),
            operation("checkpoint_write", 5, 1, 50, uri=f"{folder}/global_epoch2_step8/model_states-0.pt"),
            operation("checkpoint_read", 7, 1, 50, uri=f"{folder}/global_epoch2_step8/model_states-0.pt"),
            operation("checkpoint_write", 9, 1, 7, uri=f"{folder}/other.pt"),
        ],
    )
    assert read_records(tmp_path).checkpoints == [
        Checkpoint("epoch 1, step 4", "checkpoint_write", 0, 2, 200, 3, 200 / 3),
        Checkpoint("epoch 2, step 8", "checkpoint_write", 5, 1, 50, 1, 50),
        Checkpoint("epoch 2, step 8", "checkpoint_read", 7, 1, 50, 1, 50),
        Checkpoint("other.pt", "checkpoint_write", 9, 1, 7, 1, 7),
    ]


def test_the_earliest_failures_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    for process in range(3):
        failed = [operation("read", start, 1, error=f"E: {start}") for start in range(99, -1, -1)]
        write_operations(tmp_path, failed, process=f"host-{process}")
    found = read_records(tmp_path)
    assert found.errors == 300
    assert len(found.failures) == MOST_FAILURES
    assert [failure.start_seconds for failure in found.failures[:7]] == [0, 0, 0, 1, 1, 1, 2]
    assert (found.failures[0].error, found.failures[0].process) == ("E: 0", "host-0")


def test_damaged_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    write_operations(tmp_path, [operation("read", 0, 1, 5)])
    with (tmp_path / "host-1.jsonl").open("a") as file:
        file.write("[]\n{}\n\x00\n")
        for change in ({"start": "NaN"}, {"seconds": -1}, {"bytes": 1 << 70}, {"endpoints": {"a": 1}}, {"uri": None}):
            line = {**operation("read", 0, 1, 5), **change}
            if change == {"uri": None}:
                del line["uri"]
            file.write(f"{json.dumps(line)}\n")
        file.write('{"kind": "rea')
    found = read_records(tmp_path)
    assert found.unreadable_lines == 9
    assert [(kind.kind, kind.operations, kind.errors) for kind in found.kinds] == [("read", 1, 0)]


def test_without_any_operation_there_are_no_numbers(tmp_path: Path) -> None:
    for found in (read_records(None), read_records(tmp_path)):
        assert (found.began, found.seconds, found.kinds, found.endpoints, found.errors) == (None, 0, [], [], 0)
        assert found.series.start_seconds == []
