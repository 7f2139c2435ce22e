# SPDX-License-Identifier: Apache-2.0
"""A run of DLIO on each object store: generate, train with two forked workers, write checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

import s3dlio
from tests.behavior.protocols import PROTOCOLS, Protocol
from tests.dlio.runs import FILES, MODEL_BYTES, run_dlio

CLOUDS = [protocol for protocol in PROTOCOLS if protocol.name not in ("file", "direct", "s3 on Ceph")]


def size_below(folder: str) -> int:
    return sum(s3dlio.stat(uri)["size"] for uri in s3dlio.list(folder, recursive=True))


@pytest.mark.usefixtures("dlio")
@pytest.mark.parametrize("protocol", CLOUDS, ids=lambda protocol: protocol.name)
def test_forked_workers_read_what_was_generated(
    protocol: Protocol, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = protocol.root(request)
    settings = {"storage.storage_type": "s3dlio", "storage.storage_root": root, "reader.read_threads": 2}
    run = run_dlio(tmp_path, {**settings, "train.epochs": 2})
    assert run.status == 0, run.log
    totals = run.totals
    assert all(operation["ok"] for operation in run.operations)
    scheme = root.partition("://")[0]
    assert {operation["scheme"] for operation in run.operations} == {scheme}

    generated = {str(operation["uri"]) for operation in run.operations if operation["kind"] == "generate"}
    assert generated == set(s3dlio.list(f"{root}/data", recursive=True))
    assert len(generated) == totals["generate"].operations == FILES
    assert totals["generate"].bytes == size_below(f"{root}/data")

    assert totals["read"].operations == FILES * 2 == run.samples
    assert totals["read"].bytes == totals["generate"].bytes * 2

    assert run.checkpoints == 2
    assert totals["checkpoint_write"].bytes == size_below(f"{root}/checkpoints") > 2 * MODEL_BYTES
