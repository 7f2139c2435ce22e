# SPDX-License-Identifier: Apache-2.0
"""What a program learns about its use of s3dlio; calls with other settings leave the stores of the process alone."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio import diagnostics, settings
from s3dlio.settings import Settings
from s3dlio.stores.base import Store
from s3dlio.transfer.stores import store_for
from tests.servers.base import S3Server
from tests.threads import side_by_side


def test_held_settings_have_their_own_store_in_one_thread_only(tmp_path: Path) -> None:
    own = store_for("s3")
    held = Settings(retries=17)
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        seen.append((store_for("s3") is own, settings.current().retries))

    with settings.held(held):
        inside = store_for("s3")
        assert inside is not own
        assert settings.current().retries == 17
        with settings.held(Settings(retries=18)):
            assert store_for("s3") not in (own, inside)
        side_by_side([look])
        s3dlio.put_bytes(f"file://{tmp_path}/a", b"content")
    with settings.held(held):
        assert store_for("s3") is inside
    look()
    assert seen == [(True, settings.current().retries)] * 2
    assert bytes(s3dlio.get(f"file://{tmp_path}/a")) == b"content"


def _has_forgotten(before: Store) -> None:
    assert settings.current().retries == 17
    assert store_for("s3") is not before
    os._exit(0)


def test_a_child_that_is_forked_with_held_settings_makes_new_stores() -> None:
    with settings.held(Settings(retries=17)):
        child = multiprocessing.get_context("fork").Process(target=_has_forgotten, args=(store_for("s3"),))
        child.start()
        child.join()
    assert child.exitcode == 0


def test_held_settings_with_a_wrong_key_leave_the_process_its_credentials(seaweedfs: S3Server) -> None:
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://diagnostics")
    s3dlio.put_bytes("s3://diagnostics/key", b"content")
    before = diagnostics.traffic()[seaweedfs.url]
    wrong = dataclasses.replace(settings.current(), aws_secret_access_key="not-the-secret")
    with settings.held(wrong), pytest.raises(s3dlio.PermissionDeniedError):
        s3dlio.get("s3://diagnostics/key")
    assert bytes(s3dlio.get("s3://diagnostics/key")) == b"content"
    requests, size = diagnostics.traffic()[seaweedfs.url]
    assert requests == before[0] + 2
    assert size >= before[1] + len(b"content")


@pytest.mark.parametrize(
    ("endpoint", "given", "proxy"),
    [
        ("http://minio:9000", {}, None),
        ("http://minio:9000", {"http_proxy": "http://user:secret@proxy:3128"}, "proxy:3128"),
        ("http://minio:9000", {"http_proxy": "http://proxy:3128", "no_proxy": "minio"}, None),
        ("https://minio:9000", {"http_proxy": "http://proxy:3128"}, None),
        ("minio:9000", {"http_proxy": "http://proxy:3128"}, None),
        ("http://minio:9000", {"http_proxy": "socks://proxy"}, None),
    ],
)
def test_the_proxy_on_the_way_to_an_endpoint_is_named(endpoint: str, given: dict[str, Any], proxy: str | None) -> None:
    assert diagnostics.proxy_of(endpoint, Settings(**given)) == proxy


def test_endpoints_are_those_of_the_settings_one_by_one() -> None:
    assert diagnostics.s3_endpoints(Settings()) == []
    assert diagnostics.s3_endpoints(Settings(s3_endpoints="http://a:1, http://b:2")) == ["http://a:1", "http://b:2"]


@pytest.mark.parametrize(
    ("scheme", "own"), [("s3", "AWS_ROLE_ARN"), ("az", "AZURE_CLIENT_SECRET"), ("gs", "GOOGLE_CLOUD_PROJECT")]
)
def test_the_variables_of_a_scheme_are_named(scheme: str, own: str) -> None:
    names = diagnostics.environment_variables({scheme})
    assert {own, "S3DLIO_RETRIES", "SSL_CERT_FILE"} <= set(names)
    assert names == sorted(names)
    others = {diagnostics.environment_variables({other})[0] for other in {"s3", "az", "gs"} - {scheme}}
    assert not others & set(names)
    assert "HOME" not in names
    assert own not in diagnostics.environment_variables({"file"})
