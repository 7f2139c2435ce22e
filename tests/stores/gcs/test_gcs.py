# SPDX-License-Identifier: Apache-2.0
"""gs:// on fake-gcs-server, with Google's own client as the oracle."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

import s3dlio
from s3dlio.memory.checksums import crc32c_text
from s3dlio.runtime.run import run
from s3dlio.stores.gcs.store import GcsStore
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.behavior.content import content
from tests.processes import in_forked_child
from tests.servers.base import GcsServer
from tests.threads import meanwhile, side_by_side

MIB = 1 << 20
_numbers = itertools.count()


@pytest.fixture
def bucket(fake_gcs: GcsServer) -> str:
    """The URI, without a final "/", of an empty bucket; parts are as small as settings allow."""
    os.environ.update(fake_gcs.environment())
    os.environ.update(S3DLIO_GET_PART_MB="1", S3DLIO_MULTIPART_THRESHOLD_MB="1", S3DLIO_PUT_PART_MB="5")
    uri = f"gs://bucket-{next(_numbers)}"
    s3dlio.make_bucket(uri)
    return uri


@pytest.fixture
def oracle(bucket: str, fake_gcs: GcsServer) -> Iterator[Any]:
    """The same bucket, as Google's client sees it."""
    client = storage.Client(
        project=fake_gcs.project, credentials=AnonymousCredentials(), client_options={"api_endpoint": fake_gcs.url}
    )
    yield client.bucket(bucket.removeprefix("gs://"))
    client.close()


def _store() -> GcsStore:
    store = store_for("gs")
    assert isinstance(store, GcsStore)
    return store


def _crc32c(data: bytes) -> str:
    return crc32c_text(google_crc32c.value(data))


# Google's client reads the objects that s3dlio writes...


@pytest.mark.parametrize("size", [0, 1, 70_000, MIB, MIB + 1, 5 * MIB, 10 * MIB, 11 * MIB + 3])
def test_the_client_reads_what_put_bytes_writes(bucket: str, oracle: Any, size: int) -> None:
    data = content(size)
    s3dlio.put_bytes(f"{bucket}/a folder/größe", data)
    assert oracle.blob("a folder/größe").download_as_bytes(checksum="crc32c") == data
    blob = oracle.get_blob("a folder/größe")
    assert (blob.size, blob.content_type, blob.crc32c) == (size, "application/octet-stream", _crc32c(data))
    assert blob.metadata is None
    info = s3dlio.stat(f"{bucket}/a folder/größe")
    assert info["checksums"]["crc32c"] == blob.crc32c
    assert info["version"] == str(blob.generation)
    assert info["etag"] == blob.etag
    assert info["storage_class"] == blob.storage_class == "STANDARD"
    assert info["last_modified"] == blob.time_created


@pytest.mark.parametrize("pieces", [[], [3], [5 * MIB], [5 * MIB, 5 * MIB], [MIB] * 12, [7, 11 * MIB, 1]], ids=str)
def test_the_client_reads_what_a_writer_writes(bucket: str, oracle: Any, pieces: list[int]) -> None:
    parts = [content(size, seed=number) for number, size in enumerate(pieces)]
    with s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/written") as writer:
        for part in parts:
            writer.write(part)
    blob = oracle.get_blob("written")
    assert blob.download_as_bytes(checksum="crc32c") == b"".join(parts)
    assert blob.crc32c == _crc32c(b"".join(parts))


def test_the_client_sees_what_s3dlio_writes_and_deletes(bucket: str, oracle: Any) -> None:
    names = ["a", "a/b", "a//b", "z/", "ü#?%2F"]
    s3dlio.put_many((f"{bucket}/{name}", name.encode()) for name in names)
    assert sorted(blob.name for blob in oracle.list_blobs()) == sorted(names)
    s3dlio.delete(f"{bucket}/a//b")
    assert oracle.get_blob("a//b") is None
    s3dlio.delete(f"{bucket}/", recursive=True)
    assert list(oracle.list_blobs()) == []


# s3dlio reads the objects that Google's client writes...


def test_s3dlio_reads_what_the_client_writes(bucket: str, oracle: Any) -> None:
    data = content(3 * MIB + 17)
    blob = oracle.blob("from/the client", chunk_size=MIB)  # a resumable upload
    blob.metadata = {"Epoch": "7", "note": "größe"}
    blob.upload_from_string(data, content_type="image/png")
    uri = f"{bucket}/from/the client"
    assert s3dlio.get(uri) == data
    assert s3dlio.get_range(uri, MIB - 5, 10) == data[MIB - 5 : MIB + 5]
    assert s3dlio.get_range(uri, 5) == data[5:]
    assert s3dlio.get_range(uri, len(data), 5) == b""
    info = s3dlio.stat(uri)
    assert (info["size"], info["content_type"]) == (len(data), "image/png")
    assert info["metadata"] == {"epoch": "7", "note": "größe"}
    assert info["checksums"]["crc32c"] == _crc32c(data)


@pytest.mark.parametrize("size", [10, 2 * MIB])
def test_composed_objects_are_read(bucket: str, oracle: Any, size: int) -> None:
    pieces = [content(size, seed=number) for number in range(3)]
    blobs = [oracle.blob(f"piece {number}") for number in range(3)]
    for blob, piece in zip(blobs, pieces, strict=True):
        blob.upload_from_string(piece)
    oracle.blob("composed").compose(blobs)
    assert s3dlio.get(f"{bucket}/composed") == b"".join(pieces)
    assert s3dlio.stat(f"{bucket}/composed")["size"] == 3 * size


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_an_object_stored_compressed_is_read_as_it_is_stored(bucket: str, oracle: Any, size: int) -> None:
    packed = gzip.compress(content(size))
    blob = oracle.blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    uri = f"{bucket}/packed"
    assert s3dlio.get(uri) == packed
    assert s3dlio.stat(uri)["size"] == len(packed)
    assert s3dlio.get_range(uri, 10, 20) == packed[10:30]
    assert s3dlio.get_many([uri])[0][1] == packed


# One version...


def test_an_object_replaced_while_it_is_read_is_returned_whole_in_one_version(bucket: str) -> None:
    uri = f"{bucket}/replaced"
    versions = [content(size, seed=size) for size in (3 * MIB, 3 * MIB + 1, 2 * MIB + 9, 5 * MIB)]
    s3dlio.put_bytes(uri, versions[0])
    stopped = threading.Event()

    def replace() -> None:
        for data in itertools.cycle(versions):
            if stopped.is_set():
                return
            s3dlio.put_bytes(uri, data)
            time.sleep(0.02)

    with meanwhile(replace):
        try:
            seen = {versions.index(bytes(s3dlio.get(uri))) for _ in range(60)}
        finally:
            stopped.set()
    assert len(seen) > 1


def test_a_copy_of_an_object_that_is_replaced_meanwhile_is_an_error(bucket: str, tmp_path: Path) -> None:
    uri = f"{bucket}/replaced"
    s3dlio.put_bytes(uri, content(40 * MIB))

    def replace(_: s3dlio.Progress) -> None:
        s3dlio.put_bytes(uri, b"another")

    with pytest.raises(s3dlio.IntegrityError, match="was replaced while it was read"):
        s3dlio.download(uri, tmp_path / "copy", progress=replace)
    assert list(tmp_path.iterdir()) == []


# Atomicity...


def test_an_upload_is_invisible_before_it_is_complete(bucket: str, oracle: Any) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"old")
    writer = s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object")
    writer.write(content(11 * MIB))
    assert oracle.blob("object").download_as_bytes() == b"old"
    assert [blob.name for blob in oracle.list_blobs()] == ["object"]
    writer.abort()
    assert oracle.blob("object").download_as_bytes() == b"old"


def test_a_copy_that_fails_leaves_the_old_object(bucket: str, oracle: Any, tmp_path: Path) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"old")
    (tmp_path / "source").write_bytes(content(40 * MIB))

    def fail(_: s3dlio.Progress) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        s3dlio.upload(tmp_path / "source", f"{bucket}/object", progress=fail)
    assert oracle.blob("object").download_as_bytes() == b"old"


# Listings and copies...


def test_each_folder_is_listed_once_however_many_pages_there_are(bucket: str) -> None:
    names = [f"f/{number:04}" for number in range(1010)] + ["f/0500-folder/a", "f/0999-folder/b", "f/z/c"]
    s3dlio.put_many((f"{bucket}/{name}", b"") for name in names)
    listed = s3dlio.list(f"{bucket}/f")
    expected = [f"{bucket}/f/{number:04}" for number in range(1010)]
    assert listed == sorted([*expected, f"{bucket}/f/0500-folder/", f"{bucket}/f/0999-folder/", f"{bucket}/f/z/"])
    s3dlio.delete(f"{bucket}/f", recursive=True)
    assert s3dlio.list(bucket, recursive=True) == []


def test_the_service_copies_within_itself(bucket: str, oracle: Any) -> None:
    blob = oracle.blob("from/ü")
    blob.metadata = {"kept": "yes"}
    blob.upload_from_string(b"content", content_type="text/plain")
    s3dlio.copy(f"{bucket}/from/ü", f"{bucket}/to/ü #2")
    copied = oracle.get_blob("to/ü #2")
    assert copied.download_as_bytes() == b"content"
    assert (copied.content_type, copied.metadata) == ("text/plain", {"kept": "yes"})
    with pytest.raises(s3dlio.ObjectNotFoundError):  # deleted after it was looked at
        run(_store().copy(parse(f"{bucket}/missing"), parse(f"{bucket}/to"), 7))


def test_buckets_are_made_listed_and_removed(bucket: str) -> None:
    store = _store()
    run(store.make_bucket(parse(bucket)))  # again
    assert bucket.removeprefix("gs://") in run(store.buckets())
    run(store.remove_bucket(parse(bucket)))
    assert bucket.removeprefix("gs://") not in run(store.buckets())
    with pytest.raises(s3dlio.ObjectNotFoundError, match="no such bucket"):
        run(store.remove_bucket(parse(bucket)))


def test_buckets_need_a_project(bucket: str) -> None:
    del os.environ["GOOGLE_CLOUD_PROJECT"]
    for operation in (_store().make_bucket(parse(bucket)), _store().buckets()):
        with pytest.raises(s3dlio.ConfigurationError, match="GOOGLE_CLOUD_PROJECT"):
            run(operation)


# Concurrency and processes...


def test_one_batch_mixes_schemes(bucket: str, tmp_path: Path) -> None:
    roots = [bucket, f"file://{tmp_path}", f"direct://{tmp_path}/d"]
    pairs = [(f"{root}/{number}", content(1000, seed=number)) for number in range(20) for root in roots]
    s3dlio.put_many(pairs)
    assert s3dlio.get_many([uri for uri, _ in pairs]) == pairs


def test_threads_do_not_mix(bucket: str) -> None:
    def work(number: int) -> None:
        data = content(200_000 + number, seed=number)
        for turn in range(5):
            uri = f"{bucket}/thread {number}/{turn}"
            s3dlio.put_bytes(uri, data)
            assert s3dlio.get(uri) == data
            assert s3dlio.list(f"{bucket}/thread {number}")[-1] == uri

    side_by_side([partial(work, number) for number in range(16)])


def test_tasks_do_not_mix(bucket: str) -> None:
    async def work(number: int) -> bool:
        uri, data = f"{bucket}/task {number}", content(50_000 + number, seed=number)
        await s3dlio.put_bytes_async(uri, data)
        return bool(await s3dlio.get_async(uri) == data and (await s3dlio.stat_async(uri))["size"] == len(data))

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*map(work, range(100)))

    assert all(asyncio.run(all_of_them()))


def test_a_forked_child_works_and_so_does_its_parent(bucket: str) -> None:
    data = content(3 * MIB)
    s3dlio.put_bytes(f"{bucket}/parent", data)
    assert s3dlio.get(f"{bucket}/parent") == data

    def work() -> None:
        assert s3dlio.get(f"{bucket}/parent") == data
        s3dlio.put_bytes(f"{bucket}/child", data[:-1])

    in_forked_child(work)
    assert s3dlio.get(f"{bucket}/parent") == data
    assert s3dlio.get(f"{bucket}/child") == data[:-1]


def test_an_emulator_needs_no_google_auth_and_no_thread(bucket: str) -> None:
    program = f"""
import sys, threading, s3dlio
s3dlio.put_bytes("{bucket}/object", b"content")
assert s3dlio.get("{bucket}/object") == b"content"
assert threading.active_count() == 1
print([name for name in sys.modules if name.startswith(("google.auth", "google.oauth2", "requests", "asyncio"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# Endpoints and errors...


def test_the_emulator_is_named_with_or_without_its_scheme(bucket: str, fake_gcs: GcsServer) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"x")
    os.environ["STORAGE_EMULATOR_HOST"] = fake_gcs.url.removeprefix("http://")
    assert s3dlio.exists(f"{bucket}/object")


def test_another_endpoint_without_credentials(bucket: str, fake_gcs: GcsServer) -> None:
    del os.environ["STORAGE_EMULATOR_HOST"]
    os.environ.update(GCS_ENDPOINT_URL=fake_gcs.url, S3DLIO_NO_SIGN="1")
    data = content(11 * MIB)
    s3dlio.put_bytes(f"{bucket}/object", data)  # the endpoint has no multipart uploads, which s3dlio notices
    assert s3dlio.get(f"{bucket}/object") == data


_VERBS: list[Callable[[str], Any]] = [
    s3dlio.get,
    s3dlio.stat,
    s3dlio.exists,
    s3dlio.delete,
    s3dlio.list,
    s3dlio.is_prefix,
    lambda uri: s3dlio.put_bytes(uri, b"x"),
    lambda uri: s3dlio.put_bytes(uri, bytes(2 * MIB)),
    lambda uri: s3dlio.delete(uri, recursive=True),
    lambda uri: s3dlio.get_many([uri, uri]),
]
_NAMES = ["get", "stat", "exists", "delete", "list", "is_prefix", "put", "put-parts", "delete-recursive", "get_many"]


def _error(verb: Callable[[str], Any], uri: str, kind: type[s3dlio.S3dlioError]) -> str:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        verb(uri)
    assert time.monotonic() - began < 3
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize(
    "verb", [s3dlio.get, s3dlio.list, _VERBS[7], _VERBS[9]], ids=["get", "list", "put", "get_many"]
)
def test_a_refused_connection_is_an_error_within_three_seconds(verb: Callable[[str], Any]) -> None:
    os.environ.update(STORAGE_EMULATOR_HOST="127.0.0.1:9", S3DLIO_MULTIPART_THRESHOLD_MB="1")
    assert "http://127.0.0.1:9" in _error(verb, "gs://bucket/object", s3dlio.StoreUnavailableError)


@pytest.mark.parametrize("verb", _VERBS, ids=_NAMES)
def test_missing_credentials_are_an_error_within_three_seconds(verb: Callable[[str], Any], tmp_path: Path) -> None:
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "missing.json")
    said = _error(verb, "gs://bucket/object", s3dlio.ConfigurationError)
    assert "missing.json" in said
    assert "no such file" in said


@pytest.mark.parametrize("name", ["STORAGE_EMULATOR_HOST", "GCS_ENDPOINT_URL"])
@pytest.mark.parametrize("value", ["ftp://host", "http://", "http://user:pa55phrase@host", "http://host:port"])
def test_the_error_names_a_malformed_endpoint(name: str, value: str) -> None:
    os.environ[name] = value
    said = _error(s3dlio.get, "gs://bucket/object", s3dlio.ConfigurationError)
    assert name in said
    assert "pa55phrase" not in said


@pytest.mark.parametrize(
    "verb",
    [s3dlio.list, s3dlio.is_prefix, lambda uri: s3dlio.put_bytes(uri, b""), lambda uri: s3dlio.delete(uri, True)],
)
def test_a_missing_bucket_is_an_error_unlike_an_empty_one(bucket: str, verb: Callable[[str], Any]) -> None:
    assert "no such bucket" in _error(verb, f"{bucket}-missing/object", s3dlio.ObjectNotFoundError)


def test_gcs_objects_cannot_be_presigned() -> None:
    assert "gcloud storage sign-url" in _error(s3dlio.presign, "gs://bucket/object", s3dlio.InvalidURIError)


@pytest.mark.parametrize("verb", [s3dlio.get, s3dlio.stat, lambda uri: s3dlio.put_bytes(uri, b"")])
def test_a_bucket_is_not_an_object(bucket: str, verb: Callable[[str], Any]) -> None:
    for uri in (bucket, bucket + "/"):
        assert "add its key" in _error(verb, uri, s3dlio.InvalidURIError)
