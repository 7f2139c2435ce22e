# SPDX-License-Identifier: Apache-2.0
"""Batched reads and writes have the heads of ordinary requests, also after a credential has been renewed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.objects.request import Request
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.s3.service import CHECKSUM, STORED_AS
from s3dlio.stores.s3.store import S3Store
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.auth.google.key_files import service_account, written
from tests.replay import Received, Replay, answer

KEYS = ["key", "a/b/c.npz", "with space", "a+b&c=d?e#f", "päth/ünïcode", "percent%20sign", "tilde~dash-dot.under_"]

S3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}
AZURE = {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:9/account", "AZURE_STORAGE_KEY": "a2V5"}
PROXY = {"HTTP_PROXY": "http://user:word@127.0.0.1:10", "NO_PROXY": ""}
SETTINGS: dict[str, tuple[str, Mapping[str, str]]] = {
    "signed": ("s3://bucket", S3),
    "with a session": ("s3://bucket", {**S3, "AWS_SESSION_TOKEN": "token"}),
    "not signed": ("s3://bucket", {**S3, "S3DLIO_NO_SIGN": "1"}),
    "payloads signed": ("s3://bucket", {**S3, "S3DLIO_SIGN_PAYLOAD": "1"}),
    "not verified": ("s3://bucket", {**S3, "S3DLIO_VERIFY_GET": "0"}),
    "a folder before the bucket": ("s3://bucket", {**S3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9/folder"}),
    "the bucket in the host": ("s3://bucket", {**S3, "S3_ADDRESSING_STYLE": "virtual"}),
    "AWS": ("s3://bucket", {**S3, "AWS_ENDPOINT_URL": ""}),
    "through a proxy": ("s3://bucket", {**S3, **PROXY, "AWS_ENDPOINT_URL": "http://store.invalid"}),
    "Shared Key": ("az://container", AZURE),
    "a container to be encoded": ("az://$web", AZURE),
    "a shared access signature": (
        "az://container",
        {**AZURE, "AZURE_STORAGE_KEY": "", "AZURE_STORAGE_SAS_TOKEN": "sig=a"},
    ),
    "a public container": ("az://container", {**AZURE, "AZURE_STORAGE_KEY": "", "S3DLIO_NO_SIGN": "1"}),
    "an emulator": ("gs://bucket", {"STORAGE_EMULATOR_HOST": "127.0.0.1:9"}),
    "a public bucket": ("gs://bucket", {"GCS_ENDPOINT_URL": "http://127.0.0.1:9", "S3DLIO_NO_SIGN": "1"}),
}


@pytest.mark.parametrize(("root", "environment"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_batched_read_has_the_head_of_an_ordinary_request(
    root: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ.update(environment)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for key in KEYS:
        uri = parse(f"{root}/{key}")
        store = store_for(uri.scheme)
        assert isinstance(store, CloudStore)
        service = store.service()
        endpoint = service.endpoints.choose()
        heads = service.reads(uri.container, endpoint)
        address, head = service.prepare(store.read_request(uri, None), endpoint)
        assert heads.address == address
        assert _fields(heads.head(store.path_of(uri))) == _fields(head)


@pytest.mark.parametrize(
    ("root", "environment"),
    [of for name, of in SETTINGS.items() if of[0].startswith("s3:") and name != "payloads signed"],
    ids=[name for name, of in SETTINGS.items() if of[0].startswith("s3:") and name != "payloads signed"],
)
def test_a_batched_write_has_the_head_of_an_ordinary_request(
    root: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ.update(environment)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for number, key in enumerate(KEYS):
        uri = parse(f"{root}/{key}")
        data = memoryview(bytes(number))
        store = store_for("s3")
        assert isinstance(store, S3Store)
        service, checksum, path = store.service(), store.checksum_of(data), store.path_of(uri)
        endpoint = service.endpoints.choose()
        fields = (STORED_AS, (CHECKSUM, checksum))
        request = Request(uri.text, "PUT", uri.container, path, headers=fields, body=[data])
        _, head = service.prepare(request, endpoint)
        common = service.writes(uri.container, endpoint)
        assert _fields(common.head(path, f"Content-Length: {number}\r\n", checksum)) == _fields(head)


def _fields(head: bytes) -> tuple[str, list[str]]:
    """The first line, and the other lines in alphabetical order, because their order in a head has no meaning."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return first, sorted(lines)


# Tokens that are refused in the middle of a batch...

TIMES = 40


def _accepting(content: Callable[[], bytes], refused: bytes) -> tuple[list[str], Callable[[Received], bytes]]:
    """The answers of a service that refuses the first token after half of the requests; before them, the list of the
    tokens that it has refused.
    """
    accepted: list[str] = []
    refusals: list[str] = []

    def reply(request: Received) -> bytes:
        token = request.headers["authorization"]
        if len(accepted) < TIMES // 2 or token != accepted[0]:
            accepted.append(token)
            return answer(200, content())
        refusals.append(token)
        return refused

    return refusals, reply


def test_a_refused_token_of_google_is_renewed_once(tmp_path: Path) -> None:
    given: list[str] = []
    refusals, objects = _accepting(lambda: b"content", answer(401, "{}"))

    def reply(request: Received) -> bytes:
        if request.path != "/token":
            return objects(request)
        given.append(f"token {len(given)}")
        body = {"access_token": given[-1], "expires_in": 3600}
        return answer(200, json.dumps(body), {"Content-Type": "application/json"})

    with Replay(reply) as server:
        path = written(tmp_path / "key.json", service_account(server.url + "/token"))
        os.environ.update(GOOGLE_APPLICATION_CREDENTIALS=path, GCS_ENDPOINT_URL=server.url)
        found = s3dlio.get_many([f"gs://bucket/{number}" for number in range(TIMES)], 1)
    assert [data.tobytes() for _, data in found] == [b"content"] * TIMES
    assert len(given) == 2
    assert len(refusals) == 1


def test_a_refused_token_of_entra_is_renewed_once() -> None:
    given: list[str] = []

    def identity(_: Received) -> bytes:
        given.append(f"token-{len(given)}")
        body = {"access_token": given[-1], "expires_on": str(int(time.time() + 3600)), "token_type": "Bearer"}
        return answer(200, json.dumps(body), {"Content-Type": "application/json"})

    def age() -> bytes:
        """Age the token by a minute, because a refused token that is new is not renewed."""
        credential: Any = store_for("az").service().account.credential  # type: ignore[attr-defined]
        credential._tokens._held.since -= 60
        return b"content"

    refusals, objects = _accepting(age, answer(401, "", {"WWW-Authenticate": "Bearer authorization_uri=https://x/y"}))
    with Replay(identity) as identities, Replay(objects) as server:
        os.environ.update(IDENTITY_ENDPOINT=identities.url, IDENTITY_HEADER="secret")
        os.environ["AZURE_STORAGE_ENDPOINT"] = f"{server.url}/account"
        found = s3dlio.get_many([f"az://container/{number}" for number in range(TIMES)], 1)
    assert [data.tobytes() for _, data in found] == [b"content"] * TIMES
    assert len(given) == 2
    assert len(refusals) == 1
