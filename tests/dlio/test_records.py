# SPDX-License-Identifier: Apache-2.0
"""Operations are recorded completely, even if the recording processes are killed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import s3dlio
from s3dlio.dlio.record import records
from s3dlio.dlio.record.totals import Totals, summarise
from s3dlio.http.pool import pool
from tests.servers.base import S3Server
from tests.threads import side_by_side


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A line in another folder accounts for the traffic of earlier tests in this process.
    monkeypatch.setenv(records.FOLDER_VARIABLE, str(tmp_path / "before"))
    record("read", 0)
    folder = tmp_path / "metrics"
    monkeypatch.setenv(records.FOLDER_VARIABLE, str(folder))
    return folder


def record(kind: str, size: int, uri: str = "file:///x") -> None:
    with records.Record(kind, uri) as operation:
        operation.bytes = size


def test_operations_are_added_up_by_kind(folder: Path) -> None:
    record("read", 10)
    record("read", 5)
    record("list", 0)
    totals = summarise(folder)
    assert list(totals) == ["list", "read"]
    assert (totals["read"].operations, totals["read"].bytes, totals["read"].errors) == (2, 15, 0)
    assert totals["read"].seconds > 0


def test_a_line_names_the_operation_and_its_uri(folder: Path) -> None:
    record("read", 10, "s3://bucket/key")
    (file,) = folder.iterdir()
    assert file.name.endswith(f"-{os.getpid()}.jsonl")
    line = json.loads(file.read_text())
    assert line.pop("start") > 1.6e9
    assert 0 <= line.pop("seconds") < 60
    assert line == {
        "kind": "read",
        "uri": "s3://bucket/key",
        "scheme": "s3",
        "bytes": 10,
        "ok": True,
        "error": None,
    }


def test_a_failed_operation_is_an_error_and_moves_no_bytes(folder: Path) -> None:
    def fail_half_way() -> None:
        with records.Record("read", "file:///x") as operation:
            operation.bytes = 10
            raise KeyError("gone")

    with pytest.raises(KeyError):
        fail_half_way()
    totals = summarise(folder)["read"]
    assert (totals.operations, totals.errors, totals.bytes) == (0, 1, 0)
    (file,) = folder.iterdir()
    assert json.loads(file.read_text())["error"] == "KeyError: 'gone'"


def test_an_error_of_s3dlio_names_its_origin(folder: Path) -> None:
    def fail_inside_another() -> None:
        with records.Record("read", "file:///x"), records.Record("stat", "file:///x"):
            raise s3dlio.ObjectNotFoundError("file:///x: no such object", uri="file:///x")

    with pytest.raises(s3dlio.ObjectNotFoundError) as raised:
        fail_inside_another()
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):
        assert str(error) == "[s3dlio] file:///x: no such object"
        assert (error.uri, error.errno) == ("file:///x", errno.ENOENT)
    recorded = [json.loads(line)["error"] for file in folder.iterdir() for line in file.read_text().splitlines()]
    assert recorded[0] == "ObjectNotFoundError: file:///x: no such object"


def test_nothing_is_recorded_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record("read", 10)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_folder_takes_effect_at_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record("read", 1)
    monkeypatch.setenv(records.FOLDER_VARIABLE, str(tmp_path / "other"))
    record("read", 2)
    assert summarise(folder)["read"].bytes == 1
    assert summarise(tmp_path / "other")["read"].bytes == 2


def _record_and_be_killed() -> None:
    record("read", 3)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_operations_of_killed_children_are_counted(folder: Path, start_method: str) -> None:
    record("read", 1)
    context = multiprocessing.get_context(start_method)
    children = [context.Process(target=_record_and_be_killed) for _ in range(2)]  # type: ignore[attr-defined]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == -signal.SIGKILL
    record("read", 1)
    totals = summarise(folder)["read"]
    assert (totals.operations, totals.bytes) == (4, 8)
    assert len(list(folder.iterdir())) == 3


def test_threads_do_not_mix_their_lines(folder: Path) -> None:
    def work() -> None:
        for _ in range(200):
            record("read", 1)

    side_by_side([work] * 4)
    assert summarise(folder)["read"].operations == 800


def test_a_line_that_is_being_written_is_left_out(folder: Path) -> None:
    record("read", 1)
    (file,) = folder.iterdir()
    with file.open("ab") as stream:
        stream.write(b'{"kind": "re')
    assert summarise(folder)["read"].operations == 1


@pytest.fixture
def bucket(folder: Path, seaweedfs: S3Server) -> Iterator[str]:
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://counters")
    # A line in another folder accounts for the traffic before the test.
    os.environ[records.FOLDER_VARIABLE] = f"{folder}-before"
    record("list", 0)
    os.environ[records.FOLDER_VARIABLE] = str(folder)
    yield "s3://counters"
    pool.clear()


def _endpoints(folder: Path) -> dict[str, tuple[int, int]]:
    """Requests and bytes by endpoint, over all lines."""
    sums: dict[str, tuple[int, int]] = {}
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            for url, share in json.loads(line).get("endpoints", {}).items():
                requests, size = sums.get(url, (0, 0))
                sums[url] = requests + share["requests"], size + share["bytes"]
    return sums


def _get(uri: str) -> None:
    with records.Record("get", uri) as operation:
        operation.bytes = len(s3dlio.get(uri))


def test_lines_have_the_traffic_of_each_endpoint(folder: Path, bucket: str, seaweedfs: S3Server) -> None:
    uris = [f"{bucket}/{number}" for number in range(40)]
    with records.Record("put", uris[0]):
        s3dlio.put_many((uri, b"x" * 100) for uri in uris)
    side_by_side([partial(_get, uri) for uri in uris])
    record("list", 0)
    assert _endpoints(folder) == {seaweedfs.url: (80, 8000)}


def test_a_forked_child_accounts_for_its_own_requests_only(folder: Path, bucket: str, seaweedfs: S3Server) -> None:
    uri = f"{bucket}/forked"
    s3dlio.put_bytes(uri, b"x" * 100)  # no line accounts for it before the fork
    child = multiprocessing.get_context("fork").Process(target=_get, args=(uri,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert _endpoints(folder) == {seaweedfs.url: (1, 100)}
    _get(uri)
    assert _endpoints(folder) == {seaweedfs.url: (3, 300)}


def test_busy_time_counts_overlapping_operations_once() -> None:
    totals = Totals()
    for start, seconds in [(10.0, 2.0), (11.0, 2.0), (20.0, 1.0), (10.5, 0.5)]:
        totals.add({"ok": True, "start": start, "seconds": seconds, "bytes": 1})
    assert totals.busy == 4.0
    assert totals.seconds == 5.5


def test_clearing_forgets_an_earlier_run(folder: Path) -> None:
    record("read", 1)
    records.clear(folder)
    assert summarise(folder) == {}
