# SPDX-License-Identifier: Apache-2.0
"""Folders like those of runs, small enough to compute every number of their reports by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

BEGAN = 1_704_096_000.0  # 2024-01-01 08:00:00 UTC


def operation(
    kind: str,
    start: float,
    seconds: float,
    size: int = 0,
    *,
    uri: str = "s3://bucket/x",
    error: str | None = None,
    endpoints: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """A recorded operation; `start` is counted from `BEGAN`, `endpoints` are requests and bytes by URL."""
    record = {
        "kind": kind,
        "uri": uri,
        "scheme": uri.partition("://")[0],
        "bytes": size,
        "start": BEGAN + start,
        "seconds": seconds,
        "ok": error is None,
        "error": error,
    }
    if endpoints:
        record["endpoints"] = {url: {"requests": count, "bytes": moved} for url, (count, moved) in endpoints.items()}
    return record


def write_operations(folder: Path, operations: Iterable[dict[str, Any]], process: str = "host-1") -> None:
    """Append the records of one process to its file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{process}.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(record)}\n" for record in operations)


def moment(seconds: float, hours_from_utc: int = 0) -> str:
    """A time as DLIO writes it on a machine in this time zone; `seconds` is counted from `BEGAN`."""
    assert 0 <= seconds < 60
    return f"2024-01-01T{8 + hours_from_utc:02}:00:{seconds:09.6f}"


def write_json(folder: Path, name: str, value: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


CONFIG = """\
workload:
  model: {name: unet3d}
  dataset: {num_files_train: 8, data_folder: data/unet3d/}
  metric: {au: 0.9}
  storage:
    storage_type: s3dlio
    storage_root: s3://bucket/run
    storage_options: {access_key_id: AKIDEXAMPLE, secret_access_key: wJalrXUtn, endpoint_url: 'http://u:pw@host:9000'}
"""


def write_dlio(folder: Path, *, main: bool, hours_from_utc: int = 0) -> None:
    """Write what DLIO 2.0.0 or its main branch leaves after two epochs on two ranks.

    Epoch 1 lasts from second 2 to 12, epoch 2 from 12 to 20. Each rank makes 2 steps of 1 s per epoch and waits for
    half of this time in the first epoch, and for a quarter in the second.
    """

    def at(seconds: float) -> str:
        return moment(seconds, hours_from_utc)

    stats = {
        "1": {"start": at(2), "end": at(12), "duration": "10.00", "block1": {"start": at(2), "end": at(9)}},
        "2": {"start": at(12), "end": at(20), "duration": "8.00", "block1": {"start": at(12), "end": at(19)}},
    }
    checkpoint = "save_ckpt1" if main else "ckpt1"
    for epoch in stats.values():
        epoch[checkpoint] = {"start": epoch["start"], "end": epoch["end"], "duration": "1.00"}
    for rank in range(2):
        if main or rank == 0:
            write_json(folder, f"{rank}_per_epoch_stats.json" if main else "per_epoch_stats.json", stats)
        output: dict[str, Any] = {"hostname": "host", "host_cpu_count": 2}
        for number, waiting in ((1, 0.5), (2, 0.25)):
            output[str(number)] = {
                "load": {"block1": [waiting, waiting]},
                "proc": {"block1": [1.0, 1.0]},
                "compute": {"block1": [1 - waiting, 1 - waiting]},
                "throughput": {"block1": 10.0 * number},
                "au": {"block1": 80.0 + 10 * number - rank},
            }
        write_json(folder, f"{rank}_output.json", output)
    metric = {
        "train_au_percentage": [89.5, 99.5],
        "train_au_mean_percentage": 94.5,
        "train_au_meet_expectation": "success",
        "train_throughput_samples_per_second": [20.0, 40.0],
        "train_throughput_mean_samples_per_second": 30.0,
    }
    summary = {"start": at(0.5), "end": at(21), "num_accelerators": 2, "num_hosts": 1, "metric": metric}
    write_json(folder, "summary.json", summary)
    write_log(folder, main=main, hours_from_utc=hours_from_utc)
    hydra = folder / ".hydra"
    hydra.mkdir()
    (hydra / "config.yaml").write_text(CONFIG)
    (hydra / "overrides.yaml").write_text("- workload=unet3d_h100\n- ++workload.storage.storage_type=s3dlio\n")


def write_log(folder: Path, *, main: bool, hours_from_utc: int = 0, epochs: int = 2) -> None:
    """Write DLIO's log up to the end of the last of `epochs` epochs."""
    level, where = ("[OUTPUT]", "") if main else ("[INFO]", " [/lib/dlio_benchmark/utils/statscounter.py:192]")
    lines = [
        f"[WARNING] The amount of dataset is smaller than the host memory{where}",
        f"{level} {moment(0.6, hours_from_utc)} Starting data generation{where}",
    ]
    for number, (start, end) in enumerate([(2, 12), (12, 20)][:epochs], 1):
        name = f"Epoch {number} - Block 1 [Training]"
        start_time, end_time = moment(start, hours_from_utc), moment(end, hours_from_utc)
        lines += [
            f"{level} {start_time} Starting epoch {number}: 2 steps expected{where}",
            f"{level} {end_time} {name} Accelerator Utilization [AU] (%): {80 + number}.2500{where}",
            f"{level} {end_time} {name} Throughput (samples/second): {number}5.5000{where}",
            f"{level} {end_time} Ending epoch {number} - 2 steps completed in {end - start}.00 s{where}",
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dlio.log").write_text("\n".join(lines) + "\n")
