# SPDX-License-Identifier: Apache-2.0
"""The parts of a large object: of equal size if the size of the object is known, and copies of the data written."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import s3dlio
from s3dlio import settings
from s3dlio.cli.put import put
from s3dlio.objects.upload import CloudWriter, part_size
from s3dlio.runtime.run import run
from s3dlio.settings import MIB
from s3dlio.stores.azure.store import AzureStore
from s3dlio.stores.gcs.store import GcsStore
from s3dlio.stores.s3.store import S3Store
from s3dlio.uri import parse
from tests.behavior.content import content
from tests.replay import Received, Replay, answer
from tests.servers.base import S3Server

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _small_parts() -> None:
    os.environ.update(S3DLIO_PUT_PART_MB="5", S3DLIO_MULTIPART_THRESHOLD_MB="5")


@pytest.fixture(params=["seaweedfs", "ceph"])
def bucket(request: pytest.FixtureRequest) -> str:
    """The URI of an empty bucket."""
    server: S3Server = request.getfixturevalue(request.param)
    os.environ.update(server.environment())
    uri = f"s3://parts-{next(_numbers)}"
    s3dlio.make_bucket(uri)
    return uri


class Parts(NamedTuple):
    """A service that takes parts.

    Attributes:
        scheme: of its URIs.
        variables: given a URL, the variables that make it the endpoint.
    """

    scheme: str
    variables: Callable[[str], dict[str, str]]


_SERVICES = [
    Parts("s3", lambda url: {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}),
    Parts("gs", lambda url: {"GCS_ENDPOINT_URL": url, "S3DLIO_NO_SIGN": "1"}),
    Parts("az", lambda url: {"AZURE_STORAGE_ENDPOINT": f"{url}/account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}),
]


def _taking_parts(sizes: dict[str, int]) -> Callable[[Received], bytes]:
    """The answers of a service that takes parts; notes the sizes of the parts by their queries."""

    def choose(request: Received) -> bytes:
        if request.method == "POST":
            name = "Initiate" if "uploads" in request.target else "Complete"
            return answer(200, f"<{name}MultipartUploadResult><UploadId>u</UploadId></{name}MultipartUploadResult>")
        if "blocklist" in request.target:
            return answer(201, headers={"ETag": '"1"'})
        sizes[request.target] = len(request.body)
        return answer(201 if "comp=block" in request.target else 200, headers={"ETag": '"1"'})

    return choose


def test_an_object_has_at_most_ten_thousand_parts() -> None:
    os.environ["S3DLIO_PUT_PART_MB"] = "5"
    for total in (1, 5 << 20, (5 << 20) * 10_000, (5 << 20) * 10_000 + 1, 5 << 40, 50 * 10**12):
        size = part_size(total, S3Store.most_parts, settings.current())
        assert -(-total // size) <= 10_000
        assert 5 << 20 <= size <= 5 << 30
    assert part_size((5 << 20) * 10_000, S3Store.most_parts, settings.current()) == 5 << 20


@pytest.mark.parametrize(("megabytes", "at_least"), [("5", 5 * 10**12), ("16", 12 * 10**12)])
def test_a_writer_of_unknown_length_makes_at_most_ten_thousand_parts(megabytes: str, at_least: int) -> None:
    os.environ["S3DLIO_PUT_PART_MB"] = megabytes
    writer = CloudWriter(S3Store(settings.current), parse("s3://bucket/key"))
    sizes = [writer._next_part_size(number) for number in range(S3Store.most_parts)]
    assert sizes == sorted(sizes)
    assert sizes[0] == int(megabytes) * MIB
    assert max(sizes) <= 5 << 30
    assert sum(sizes) >= at_least


@pytest.mark.parametrize("service", _SERVICES, ids=lambda service: service.scheme)
@pytest.mark.parametrize("verb", ["upload", "copy", "put", "put_bytes"])
@pytest.mark.parametrize("megabytes", [5, 6])
def test_parts_of_an_object_of_known_size_are_equal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: Parts, verb: str, megabytes: int
) -> None:
    """R2 accepts no others: "all parts except the last must be the same size"."""
    for store in (S3Store, GcsStore, AzureStore):
        monkeypatch.setattr(store, "most_parts", 20)  # if the size were unknown, parts would grow from the third on
    path = tmp_path / "file"
    path.write_bytes(content(41 << 20))
    sizes: dict[str, int] = {}
    with Replay(_taking_parts(sizes)) as server:
        os.environ.update(service.variables(server.url), S3DLIO_PUT_PART_MB=str(megabytes))
        uri = f"{service.scheme}://bucket/key"
        calls: dict[str, Callable[[], None]] = {
            "upload": lambda: s3dlio.upload(path, uri),
            "copy": lambda: s3dlio.copy(f"file://{path}", uri),
            "put": lambda: put(str(path), uri),
            "put_bytes": lambda: s3dlio.put_bytes(uri, path.read_bytes()),
        }
        calls[verb]()
    *full, last = sorted(sizes.values(), reverse=True)
    assert set(full) == {megabytes << 20}
    assert sum(full) + last == 41 << 20
    assert last <= megabytes << 20


def test_more_bytes_than_the_known_size_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3Store, "most_parts", 10)
    sizes: dict[str, int] = {}
    with Replay(_taking_parts(sizes)) as server:
        os.environ.update(_SERVICES[0].variables(server.url), S3DLIO_PUT_PART_MB="5")
        writer = CloudWriter(S3Store(settings.current), parse("s3://bucket/key"), 8 << 20)
        run(writer.write(memoryview(content(40 << 20))))
        run(writer.close())
    assert sum(sizes.values()) == 40 << 20
    assert len(sizes) <= 10


def test_a_writer_keeps_the_settings_that_it_began_with() -> None:
    sizes: dict[str, int] = {}
    with Replay(_taking_parts(sizes)) as server:
        os.environ.update(_SERVICES[0].variables(server.url))
        with s3dlio.MultipartUploadWriter.from_uri("s3://bucket/key") as writer:
            writer.write(content(10 << 20))
            os.environ["S3DLIO_PUT_PART_MB"] = "7"
            writer.write(content(10 << 20))
    assert list(sizes.values()) == [5 << 20] * 4


@pytest.mark.parametrize("piece", [100_000, 5 << 20, 12 << 20, 40 << 20])
def test_a_buffer_may_be_refilled_while_it_is_written(bucket: str, piece: int) -> None:
    """Another process may do so in shared memory. The bytes sent always have the checksum that is sent with them."""
    buffer = bytearray(piece)
    ended = threading.Event()

    def refill() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            buffer[:] = bytes([number % 256]) * piece

    with ThreadPoolExecutor(1) as executor:
        refilling = executor.submit(refill)
        try:
            with s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object") as writer:
                for _ in range(-(-(40 << 20) // piece)):
                    writer.write(buffer)
        finally:
            ended.set()
        refilling.result()
    assert s3dlio.stat(f"{bucket}/object")["size"] == writer.tell()


def test_a_buffer_may_be_refilled_after_each_write(bucket: str) -> None:
    buffer = bytearray(5 << 20)
    expected = bytearray()
    with s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object") as writer:
        for seed in range(9):
            buffer[:] = content(len(buffer), seed=seed)
            expected += buffer
            writer.write(buffer)
            buffer[:] = bytes(len(buffer))
    assert s3dlio.get(f"{bucket}/object") == expected
