# SPDX-License-Identifier: Apache-2.0
"""Connections are reused, limited in number and age, and replaced silently if the server has closed them."""

from __future__ import annotations

import os
import time

import pytest

import s3dlio
from s3dlio.errors import StoreUnavailableError
from s3dlio.http.pool import pool
from s3dlio.objects.request import Request, send
from s3dlio.runtime import engine, poller
from s3dlio.runtime.run import run
from s3dlio.settings import current
from s3dlio.stores.s3.service import S3Service
from tests.faults.proxy import Fault, FaultProxy
from tests.http.conftest import Answering
from tests.servers.base import S3Server
from tests.threads import side_by_side


def _wait_for(proxy: FaultProxy, connections: int) -> None:
    deadline = time.monotonic() + 5
    while proxy.open_connections() != connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert proxy.open_connections() == connections


def test_successive_calls_share_a_connection(proxy: FaultProxy, bucket: str) -> None:
    for number in range(20):
        s3dlio.put_bytes(f"{bucket}/shared", b"%d" % number)
        assert s3dlio.get(f"{bucket}/shared").tobytes() == b"%d" % number
    assert proxy.requests["GET"] == 20
    assert proxy.connections == 1


def test_the_connection_of_a_request_that_leaves_the_last_one_to_others_is_kept(proxy: FaultProxy, bucket: str) -> None:
    container = bucket.removeprefix("s3://")
    asked = Request(bucket, "GET", container, leave_last_connection=True)
    run(send(S3Service(current()), asked))
    assert proxy.connections == pool.count() == 1


def test_a_batch_opens_at_most_one_connection_for_each_request_in_flight(proxy: FaultProxy, bucket: str) -> None:
    uris = [f"{bucket}/batch/{number}" for number in range(100)]
    s3dlio.put_many(((uri, uri.encode()) for uri in uris), max_in_flight=7)
    assert [data.tobytes().decode() for _, data in s3dlio.get_many(uris, max_in_flight=7)] == uris
    assert proxy.requests["GET"] == 100
    assert proxy.connections <= 7


def test_the_setting_limits_the_number_of_idle_connections(proxy: FaultProxy, bucket: str) -> None:
    os.environ["S3DLIO_IDLE_CONNECTIONS"] = "3"
    s3dlio.put_many(((f"{bucket}/batch/{number}", b"x") for number in range(100)), max_in_flight=16)
    assert proxy.connections > 3
    assert pool.count() == 3
    _wait_for(proxy, 3)
    os.environ["S3DLIO_IDLE_CONNECTIONS"] = "0"
    s3dlio.get(f"{bucket}/batch/1")
    _wait_for(proxy, 2)


def test_a_connection_beyond_the_keep_alive_age_is_not_used(proxy: FaultProxy, bucket: str) -> None:
    os.environ["S3DLIO_KEEP_ALIVE"] = "0.2"
    s3dlio.put_many(((f"{bucket}/batch/{number}", b"x") for number in range(20)), max_in_flight=4)
    opened = proxy.connections
    time.sleep(0.3)
    s3dlio.get(f"{bucket}/batch/1")
    assert proxy.connections == opened + 1
    _wait_for(proxy, 1)  # the others were closed as well


def test_old_connections_to_a_server_that_is_no_longer_used_are_closed(
    proxy: FaultProxy, bucket: str, seaweedfs: S3Server
) -> None:
    os.environ["S3DLIO_KEEP_ALIVE"] = "0.2"
    s3dlio.put_many(((f"{bucket}/batch/{number}", b"x") for number in range(20)), max_in_flight=4)
    time.sleep(0.3)
    os.environ["AWS_ENDPOINT_URL"] = seaweedfs.url
    s3dlio.get(f"{bucket}/batch/1")
    _wait_for(proxy, 0)


def test_with_an_age_of_zero_each_call_opens_a_connection(proxy: FaultProxy, bucket: str) -> None:
    os.environ["S3DLIO_KEEP_ALIVE"] = "0"
    for _ in range(3):
        s3dlio.exists(f"{bucket}/object")
    assert proxy.connections == 3


@pytest.mark.parametrize("idle", [0.0, 0.6], ids=["in this moment", "some time ago"])
def test_replacing_a_connection_that_the_server_closed_costs_no_retry(
    proxy: FaultProxy, bucket: str, idle: float
) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    proxy.choose = lambda _: Fault("close after")
    for number in range(2):
        s3dlio.put_bytes(f"{bucket}/closed", b"%d" % number)
        time.sleep(idle)
        assert s3dlio.get(f"{bucket}/closed").tobytes() == b"%d" % number
    assert proxy.connections == 4


def test_many_connections_that_the_server_closed_are_all_replaced(proxy: FaultProxy, bucket: str) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    uris = [f"{bucket}/batch/{number}" for number in range(60)]
    s3dlio.put_many(((uri, uri.encode()) for uri in uris), max_in_flight=30)
    proxy.kill()
    proxy.revive()
    assert [data.tobytes().decode() for _, data in s3dlio.get_many(uris, max_in_flight=30)] == uris


def test_a_request_is_sent_again_on_a_new_connection_only_once(proxy: FaultProxy, bucket: str) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    s3dlio.put_bytes(f"{bucket}/object", b"x")
    proxy.choose = lambda _: Fault("close at once")
    with pytest.raises(StoreUnavailableError, match="before an answer"):
        s3dlio.get(f"{bucket}/object")
    assert proxy.requests["GET"] == 2


def test_unexpected_bytes_end_an_idle_connection(proxy: FaultProxy, bucket: str) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"x" * 1000)
    proxy.choose = lambda _: Fault("shorter length")
    with pytest.raises(s3dlio.S3dlioError):
        s3dlio.get(f"{bucket}/object")
    proxy.choose = lambda _: None
    assert s3dlio.get(f"{bucket}/object").tobytes() == b"x" * 1000


def test_the_error_of_an_upload_that_is_refused_early_is_the_refusal(proxy: FaultProxy, bucket: str) -> None:
    proxy.choose = lambda _: Fault("refuse early", 403, "AccessDenied")
    for _ in range(20):
        with pytest.raises(s3dlio.PermissionDeniedError, match="403 AccessDenied"):
            s3dlio.put_bytes(f"{bucket}/refused", bytes(8 << 20))
    assert proxy.requests["PUT"] == 20


@pytest.mark.usefixtures("bucket")
def test_a_connection_is_not_reused_after_an_upload_that_was_cut_short() -> None:
    # The server keeps the connection open, and would take the next request for the rest of the body.
    answers = [
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n',
    ]
    os.environ.update(S3DLIO_READ_TIMEOUT="2", S3DLIO_RETRIES="0")
    with Answering(answers) as os.environ["AWS_ENDPOINT_URL"]:
        with pytest.raises(s3dlio.S3dlioError, match="409 Conflict"):
            s3dlio.put_bytes("s3://bucket/refused", bytes(30 << 20))
        s3dlio.put_bytes("s3://bucket/accepted", b"x")


@pytest.mark.usefixtures("bucket")
def test_a_partial_answer_whose_length_and_range_differ_is_refused() -> None:
    half = b'HTTP/1.1 206 Partial\r\nETag: "e"\r\nContent-Range: bytes 0-99/100\r\nContent-Length: 50\r\n\r\n' + bytes(
        50
    )
    with (
        Answering([half]) as os.environ["AWS_ENDPOINT_URL"],
        pytest.raises(s3dlio.IntegrityError, match="Content-Range"),
    ):
        s3dlio.get("s3://bucket/object")


def test_threads_share_the_idle_connections(proxy: FaultProxy, bucket: str) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"x" * 5_000)

    def read() -> None:
        for _ in range(20):
            assert len(s3dlio.get(f"{bucket}/object")) == 5_000

    for _ in range(3):
        side_by_side([read] * 6)
    assert proxy.connections <= 7


def test_batches_work_with_the_poller_of_other_systems(
    proxy: FaultProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "Poller", poller._Selectors)
    uris = [f"{bucket}/poller/{number}" for number in range(40)]
    s3dlio.put_many(((uri, uri.encode() * 3_000) for uri in uris), max_in_flight=8)
    assert [data.tobytes() for _, data in s3dlio.get_many(uris)] == [uri.encode() * 3_000 for uri in uris]
    proxy.kill()
    with pytest.raises(s3dlio.StoreUnavailableError):
        s3dlio.get(uris[0])
