# SPDX-License-Identifier: Apache-2.0
"""The probe finds out whether folders can be used, in bounded time, and leaves no object."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3dlio
from s3dlio.dlio.check.findings import ADVICE, FAILURE, OK, WARNING, Finding
from s3dlio.dlio.check.probe import probe
from s3dlio.dlio.check.workload import Folder
from tests.behavior.protocols import PROTOCOLS, Protocol
from tests.faults.proxy import Asked, Fault, FaultProxy
from tests.filesystems import as_another_user, open_folder
from tests.http.conftest import Silent
from tests.servers.base import AzureServer, S3Server

PROBED = [protocol for protocol in PROTOCOLS if protocol.name != "s3 on Ceph"]
_PROBE = ".s3dlio-probe-"


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[FaultProxy]:
    """The S3 server behind a proxy that counts requests, with the bucket `probed`."""
    os.environ.update(seaweedfs.environment())
    with FaultProxy(seaweedfs.url) as faulty:
        os.environ["AWS_ENDPOINT_URL"] = faulty.url
        s3dlio.make_bucket("s3://probed")
        faulty.requests.clear()
        yield faulty


def refuse(method: str, status: int = 403, code: str = "AccessDenied") -> Callable[[Asked], Fault | None]:
    return lambda asked: Fault("status", status, code) if asked.method == method else None


def the_only(findings: list[Finding], level: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.level == level]
    return finding


@pytest.mark.parametrize("protocol", PROBED, ids=lambda protocol: protocol.name)
def test_the_check_of_a_writable_folder_leaves_no_trace(protocol: Protocol, request: pytest.FixtureRequest) -> None:
    root = protocol.root(request)
    s3dlio.put_bytes(f"{root}/data/train/1.npz", b"content")
    before = s3dlio.list(root, recursive=True)
    folders = [Folder(f"{root}/data/train", filled=True), Folder(f"{root}/data", written=True), Folder(f"{root}/new")]
    findings = probe(folders)
    assert [finding.level for finding in findings] == [OK] * 3, findings
    assert "listed and read (" in findings[0].message
    assert "listed, read, written and deleted (" in findings[1].message
    assert "it is empty" in findings[2].message
    assert s3dlio.list(root, recursive=True) == before == [f"{root}/data/train/1.npz"]
    assert s3dlio.list(root) == [f"{root}/data/"]


@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_a_missing_bucket_is_a_failure(scheme: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue({"s3": "seaweedfs", "az": "azurite", "gs": "fake_gcs"}[scheme])
    os.environ.update(server.environment())
    started = time.monotonic()
    (finding,) = probe([Folder(f"{scheme}://no-such-bucket/data", written=True)])
    assert time.monotonic() - started < 5
    assert finding.level == FAILURE
    assert f"{scheme}://no-such-bucket/data" in finding.message
    assert "404" in finding.message


def test_missing_data_is_a_failure(tmp_path: Path) -> None:
    (finding,) = probe([Folder(f"file://{tmp_path}/data/train", filled=True)])
    assert (finding.level, finding.about) == (FAILURE, f"file://{tmp_path}/data/train")
    assert "++workload.workflow.generate_data=True" in finding.advice
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_secret_is_a_failure_that_does_not_show_it(seaweedfs: S3Server, azurite: AzureServer) -> None:
    os.environ.update({**seaweedfs.environment(), **azurite.environment()})
    os.environ.update(AWS_SECRET_ACCESS_KEY="not-the-secret", AZURE_STORAGE_ACCOUNT_KEY="bm90LXRoZS1rZXk=")
    findings = probe([Folder("s3://probed/x"), Folder("az://probed/x")])
    assert [finding.level for finding in findings] == [FAILURE, FAILURE]
    assert "check AWS_SECRET_ACCESS_KEY" in findings[0].message
    assert "403" in findings[1].message
    assert "not-the-secret" not in str(findings)
    assert "bm90LXRoZS1rZXk=" not in str(findings)


def test_an_invalid_setting_is_a_failure() -> None:
    os.environ.update(AWS_ENDPOINT_URL="minio:9000", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    (finding,) = probe([Folder("s3://probed/x")])
    assert finding.level == FAILURE
    assert "'minio:9000' is not an endpoint" in finding.message


def test_an_endpoint_that_refuses_connections_is_a_failure_within_the_time_limit() -> None:
    os.environ.update(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    started = time.monotonic()
    (finding,) = probe([Folder("s3://probed/x"), Folder("s3://probed/y", written=True)])
    assert time.monotonic() - started < 5
    assert finding.level == FAILURE
    assert "http://127.0.0.1:9: cannot connect: Connection refused" in finding.message


def test_an_endpoint_that_never_answers_a_connection_is_a_failure() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", S3DLIO_CONNECT_TIMEOUT="0.3")
    with Silent() as silent:
        os.environ["AWS_ENDPOINT_URL"] = silent.url
        (finding,) = probe([Folder("s3://probed/x")])
    assert finding.level == FAILURE
    assert silent.url in finding.message


def test_a_slow_service_is_a_warning(proxy: FaultProxy) -> None:
    os.environ["S3DLIO_READ_TIMEOUT"] = "1"
    os.environ["S3DLIO_RETRIES"] = "0"
    proxy.choose = lambda _: Fault("stall at once")
    (finding,) = probe([Folder("s3://probed/x", written=True)])
    assert finding.level == WARNING
    proxy.choose = lambda asked: Fault("stall at once") if asked.method == "PUT" else None
    finding = the_only(probe([Folder("s3://probed/x", written=True)]), WARNING)
    assert "PUT" in finding.message


def test_an_answer_after_the_time_limit_is_not_awaited(proxy: FaultProxy) -> None:
    proxy.choose = lambda _: Fault("stall at once")
    started = time.monotonic()
    (finding,) = probe([Folder("s3://probed/x")], seconds=0.3)
    assert time.monotonic() - started < 3  # its request alone may take 3.5
    assert (finding.level, finding.about) == (WARNING, "s3://probed/x")
    assert "did not answer within the time limit" in finding.message
    proxy.kill()  # ends the request that is still running


# Several endpoints...


def test_each_endpoint_is_asked_and_one_that_is_down_is_a_warning(seaweedfs: S3Server, proxy: FaultProxy) -> None:
    s3dlio.put_bytes("s3://probed/endpoints/1", b"content")
    proxy.requests.clear()
    os.environ["S3_ENDPOINT_URIS"] = f"{seaweedfs.url},http://127.0.0.1:9,{proxy.url}"
    findings = probe([Folder("s3://probed/endpoints", written=True)])
    finding = the_only(findings, WARNING)
    assert finding.about == "http://127.0.0.1:9"
    assert "remove it from S3_ENDPOINT_URIS" in finding.advice
    assert "through each of 2 endpoints" in the_only(findings, OK).message
    assert len(findings) == 2
    assert proxy.requests["GET"] == 3  # the list, the object, the probe


def test_an_endpoint_that_refuses_access_is_a_failure(seaweedfs: S3Server, proxy: FaultProxy) -> None:
    os.environ["S3_ENDPOINT_URIS"] = f"{seaweedfs.url},{proxy.url}"
    proxy.choose = refuse("GET")
    finding = the_only(probe([Folder("s3://probed/x")]), FAILURE)
    assert proxy.url in finding.message
    assert "403" in finding.message


def test_endpoints_of_different_storages_are_a_failure(seaweedfs: S3Server, proxy: FaultProxy) -> None:
    os.environ["S3_ENDPOINT_URIS"] = f"{seaweedfs.url},{proxy.url}"
    proxy.choose = lambda asked: Fault("status", 404, "NoSuchKey") if _PROBE in asked.target else None
    finding = the_only(probe([Folder("s3://probed/different", written=True)]), FAILURE)
    assert f"is not found through {proxy.url}" in finding.message
    assert s3dlio.list("s3://probed/different", recursive=True) == []


# Permissions...


def test_a_folder_that_is_only_read_is_not_written_to(proxy: FaultProxy) -> None:
    s3dlio.put_bytes("s3://probed/read/1", b"content")
    proxy.requests.clear()
    proxy.choose = lambda asked: None if asked.method == "GET" else Fault("status", 403, "AccessDenied")
    (finding,) = probe([Folder("s3://probed/read", filled=True)])
    assert finding.level == OK
    assert dict(proxy.requests) == {"GET": 2}


def test_a_folder_that_refuses_writes_is_a_failure(proxy: FaultProxy) -> None:
    proxy.choose = refuse("PUT")
    finding = the_only(probe([Folder("s3://probed/written", written=True)]), FAILURE)
    assert "s3:PutObject" in finding.message


def test_an_object_that_cannot_be_deleted_is_named(proxy: FaultProxy) -> None:
    proxy.choose = refuse("DELETE")
    finding = the_only(probe([Folder("s3://probed/kept", written=True)]), WARNING)
    (left,) = s3dlio.list("s3://probed/kept")
    assert f"delete {left}" in finding.advice
    assert left.startswith(f"s3://probed/kept/{_PROBE}")


def test_a_folder_that_may_not_be_written_is_a_failure_and_can_be_read() -> None:
    with open_folder() as folder:
        (folder / "locked").mkdir(mode=0o755)
        (folder / "locked" / "1").write_bytes(b"content")

        def as_nobody() -> None:
            (read,) = probe([Folder(f"file://{folder}/locked", filled=True)])
            assert read.level == OK, read
            (written,) = probe([Folder(f"file://{folder}/locked/new", written=True)])
            assert written.level == FAILURE, written
            assert "check the permissions" in written.message

        as_another_user(as_nobody)


def test_a_file_system_without_o_direct_is_named() -> None:
    findings = probe([Folder("direct:///proc/tty", filled=True)])
    assert the_only(findings, OK).about == "direct:///proc/tty"
    assert "does not support O_DIRECT" in the_only(findings, ADVICE).message
    os.environ["S3DLIO_DIRECT_STRICT"] = "1"
    assert "S3DLIO_DIRECT_STRICT=1" in the_only(probe([Folder("direct:///proc/tty")]), FAILURE).message
