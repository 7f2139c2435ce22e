# SPDX-License-Identifier: Apache-2.0
"""All protocols in one program: batches of every scheme, trees between each two, and the guide's sections on clouds."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.runtime.run import run
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.auth.google.key_files import service_account, written
from tests.replay import Received, Replay, answer
from tests.servers.base import AzureServer, GcsServer, S3Server
from tests.test_integration_snippet import SNIPPET as TESTING

SCHEMES = ("file", "direct", "s3", "az", "gs")
_numbers = itertools.count()


@pytest.fixture
def roots(seaweedfs: S3Server, azurite: AzureServer, fake_gcs: GcsServer, tmp_path: Path) -> dict[str, str]:
    """Scheme -> URI of an empty folder; the environment serves all of them together."""
    for server in (seaweedfs, azurite, fake_gcs):
        os.environ.update(server.environment())
    number = next(_numbers)
    for scheme in ("s3", "az", "gs"):
        run(store_for(scheme).make_bucket(parse(f"{scheme}://together")))
    local = {scheme: f"{scheme}://{tmp_path}/{scheme}" for scheme in ("file", "direct")}
    return {**local, **{scheme: f"{scheme}://together/{number}" for scheme in ("s3", "az", "gs")}}


def contents(roots: dict[str, str]) -> list[tuple[str, bytes]]:
    """Objects of every scheme, in turns: small ones, an empty one, and one of 3 MiB."""
    sizes = (0, 1, 1000, 70_000, 3 << 20)
    return [(f"{roots[scheme]}/{size}", f"{scheme} {size} ".encode() * size) for size in sizes for scheme in SCHEMES]


def as_bytes(found: Iterable[tuple[str, Any]]) -> list[tuple[str, bytes]]:
    return [(uri, bytes(data)) for uri, data in found]


def test_one_batch_writes_and_reads_every_scheme(roots: dict[str, str]) -> None:
    pairs = contents(roots)
    s3dlio.put_many(pairs, max_in_flight=8)
    uris = [uri for uri, _ in pairs]
    assert as_bytes(s3dlio.get_many(uris, max_in_flight=8)) == pairs
    assert as_bytes(s3dlio.get_many_iter(uris)) == pairs
    assert sorted(as_bytes(s3dlio.get_many_iter(uris, ordered=False))) == sorted(pairs)


def test_one_batch_on_an_event_loop_writes_and_reads_every_scheme(roots: dict[str, str]) -> None:
    pairs = contents(roots)

    async def there_and_back() -> list[tuple[str, memoryview]]:
        await s3dlio.put_many_async(pairs)
        return await s3dlio.get_many_async([uri for uri, _ in pairs])

    assert as_bytes(asyncio.run(there_and_back())) == pairs


def test_one_missing_object_of_any_scheme_is_named(roots: dict[str, str]) -> None:
    pairs = contents(roots)
    s3dlio.put_many(pairs)
    for scheme in SCHEMES:
        missing = f"{roots[scheme]}/missing"
        uris = [*(uri for uri, _ in pairs), missing]
        with pytest.raises(s3dlio.ObjectNotFoundError) as raised:
            s3dlio.get_many(uris)
        assert missing in str(raised.value)
        *found, (uri, error) = s3dlio.get_many(uris, return_errors=True)
        assert (as_bytes(found), uri) == (pairs, missing)
        assert isinstance(error, s3dlio.ObjectNotFoundError)


@pytest.mark.parametrize("source", SCHEMES)
def test_trees_are_copied_to_every_scheme(roots: dict[str, str], source: str) -> None:
    objects = {"a": b"x" * 100, "deep/er/b": b"", "deep/c d": b"y" * (2 << 20)}
    s3dlio.put_many((f"{roots[source]}/tree/{name}", data) for name, data in objects.items())
    for target in SCHEMES:
        copied = f"{roots[target]}/copied from {source}"
        command = [sys.executable, "-m", "s3dlio", "cp", "-r", f"{roots[source]}/tree", copied]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        found = s3dlio.get_many(s3dlio.list(copied, recursive=True))
        assert {uri.removeprefix(copied + "/"): bytes(data) for uri, data in found} == objects


# The guide's sections on Azure and Google Cloud...

AZURE = """
export AZURE_STORAGE_ACCOUNT_NAME=your_account
export AZURE_STORAGE_ACCOUNT_KEY=your_key
"""

GOOGLE = """
export GOOGLE_APPLICATION_CREDENTIALS=/path/to/service-account.json
"""


def _guided(environment: str, here: dict[str, str], scheme: str, bucket: str, **beside: str) -> list[str]:
    """What the guide's script prints with its environment for a cloud, and the substitutions that this needs."""
    program = TESTING.replace("s3://my-bucket/", f"{scheme}://{bucket}/")
    for printed, instead in here.items():
        assert printed in environment
        environment = environment.replace(printed, instead)
    done = subprocess.run(
        ["bash", "-euc", f'{environment}exec "$0" -c "$1"', sys.executable, program],
        env={**os.environ, **beside},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()


def _expected(scheme: str, bucket: str) -> list[str]:
    return ["Data shape: (100, 100)", f"Files: ['{scheme}://{bucket}/test.npy']", "Exists: True", "Size: 80128 bytes"]


def test_the_guides_environment_for_azure(azurite: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"your_account": azurite.account, "your_key": azurite.key}
    with monkeypatch.context() as patched:
        for name, value in azurite.environment().items():
            patched.setenv(name, value)
        run(store_for("az").make_bucket(parse("az://guide")))
    # The account's own host is on the internet: the endpoint is the one thing more.
    printed = _guided(AZURE, here, "az", "guide", AZURE_STORAGE_ENDPOINT=azurite.url)
    assert printed == _expected("az", "guide")


@pytest.fixture
def token_endpoint() -> Iterator[tuple[str, list[Received]]]:
    """The URL of a server that gives out tokens, and the requests it got."""
    token = json.dumps({"access_token": "a token", "expires_in": 3600, "token_type": "Bearer"})
    with Replay(lambda _: answer(200, token, {"Content-Type": "application/json"})) as server:
        yield server.url + "/token", server.requests


def test_the_guides_environment_for_google(
    fake_gcs: GcsServer,
    token_endpoint: tuple[str, list[Received]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        for name, value in fake_gcs.environment().items():
            patched.setenv(name, value)
        run(store_for("gs").make_bucket(parse("gs://guide")))
    url, asked = token_endpoint
    key_file = written(tmp_path / "key.json", service_account(url))
    here = {"/path/to/service-account.json": key_file}
    printed = _guided(GOOGLE, here, "gs", "guide", GCS_ENDPOINT_URL=fake_gcs.url)
    assert printed == _expected("gs", "guide")
    assert [request.path for request in asked] == ["/token"]
