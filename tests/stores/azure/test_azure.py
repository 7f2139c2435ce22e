# SPDX-License-Identifier: Apache-2.0
"""az:// on Azurite, with the vendor's own client as the oracle."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
)

import s3dlio
from s3dlio.memory.checksums import crc64_text
from s3dlio.runtime.run import run
from s3dlio.stores.azure.multipart import block_id
from s3dlio.stores.azure.store import AzureStore
from s3dlio.stores.azure.writing import put_checked
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.behavior.content import ODD_NAMES, content
from tests.processes import in_forked_child
from tests.servers.base import AzureServer
from tests.threads import meanwhile, side_by_side

MIB = 1 << 20
NAMES = [name for name in ODD_NAMES if "\\" not in name]  # Azure reads a backslash as a slash
_numbers = itertools.count()


@pytest.fixture
def container(azurite: AzureServer) -> str:
    """The URI, without a final "/", of an empty container; parts are as small as settings allow."""
    os.environ.update(azurite.environment())
    os.environ.update(S3DLIO_GET_PART_MB="1", S3DLIO_MULTIPART_THRESHOLD_MB="1", S3DLIO_PUT_PART_MB="5")
    uri = f"az://container-{next(_numbers)}"
    s3dlio.make_bucket(uri)
    return uri


@pytest.fixture
def oracle(container: str, azurite: AzureServer) -> Iterator[Any]:
    """The same container, as the vendor's client sees it."""
    with BlobServiceClient.from_connection_string(azurite.connection_string) as client:
        yield client.get_container_client(container.removeprefix("az://"))


def _store() -> AzureStore:
    store = store_for("az")
    assert isinstance(store, AzureStore)
    return store


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


# The vendor's client reads the blobs that s3dlio writes...


@pytest.mark.parametrize("checksum", ["crc64", "md5", "none"])
@pytest.mark.parametrize("size", [0, 1, 70_000, MIB])
def test_the_client_reads_what_is_put_in_one_piece(container: str, oracle: Any, size: int, checksum: str) -> None:
    os.environ["S3DLIO_AZURE_PUT_CHECKSUM"] = checksum
    data = content(size)
    s3dlio.put_bytes(f"{container}/a folder/größe", data)
    blob = oracle.get_blob_client("a folder/größe")
    assert blob.download_blob(validate_content=True).readall() == data
    facts = blob.get_blob_properties()
    assert (facts.size, facts.content_settings.content_type) == (size, "application/octet-stream")
    assert bytes(facts.content_settings.content_md5) == _md5(data)
    assert facts.blob_type == "BlockBlob"
    assert facts.metadata == {}
    info = s3dlio.stat(f"{container}/a folder/größe")
    assert base64.b64decode(info["checksums"]["md5"]) == _md5(data)
    assert f'"{info["etag"]}"' == facts.etag
    assert info["last_modified"] == facts.last_modified
    assert info["storage_class"] == facts.blob_tier == "Hot"


@pytest.mark.parametrize("checksum", ["crc64", "md5", "none"])
@pytest.mark.parametrize("size", [MIB + 1, 5 * MIB, 10 * MIB, 11 * MIB + 3])
def test_the_client_reads_what_is_put_in_blocks(container: str, oracle: Any, size: int, checksum: str) -> None:
    os.environ.update(S3DLIO_AZURE_PUT_CHECKSUM=checksum, S3DLIO_PUT_VERIFY="1")
    data = content(size)
    s3dlio.put_bytes(f"{container}/blocks", data)
    blob = oracle.get_blob_client("blocks")
    assert blob.download_blob().readall() == data
    assert blob.get_blob_properties().content_settings.content_type == "application/octet-stream"
    committed, uncommitted = blob.get_block_list("all")
    assert [block["size"] for block in committed] == [min(5 * MIB, size - at) for at in range(0, size, 5 * MIB)]
    assert uncommitted == []
    uploads = {block["id"].rpartition("-")[0] for block in committed}
    assert len(uploads) == 1
    assert {len(block["id"]) for block in committed} == {48}


@pytest.mark.parametrize("pieces", [[], [3], [5 * MIB], [5 * MIB, 5 * MIB], [MIB] * 12, [7, 11 * MIB, 1]], ids=str)
def test_the_client_reads_what_a_writer_writes(container: str, oracle: Any, pieces: list[int]) -> None:
    parts = [content(size, seed=number) for number, size in enumerate(pieces)]
    with s3dlio.MultipartUploadWriter.from_uri(f"{container}/written") as writer:
        for part in parts:
            writer.write(part)
    assert oracle.get_blob_client("written").download_blob().readall() == b"".join(parts)


def test_the_client_finds_names_listings_and_deletions_of_s3dlio(container: str, oracle: Any) -> None:
    names = [*NAMES, "a//b", "folder/", "new\nline", "return\r", *(f"deep/{name}/{name}" for name in NAMES)]
    s3dlio.put_many((f"{container}/{name}", name.encode()) for name in names)
    assert sorted(blob.name for blob in oracle.list_blobs()) == sorted(names)
    for name in names:
        assert oracle.get_blob_client(name).download_blob().readall() == name.encode()
    assert s3dlio.list(container, recursive=True) == sorted(f"{container}/{name}" for name in names)
    folders = {f"{name.partition('/')[0]}/" for name in names if "/" in name}
    children = {name for name in names if "/" not in name} | folders
    assert s3dlio.list(container) == sorted(f"{container}/{name}" for name in children)
    assert s3dlio.list(f"{container}/deep") == sorted(f"{container}/deep/{name}/" for name in NAMES)
    s3dlio.delete(f"{container}/deep", recursive=True)
    s3dlio.delete(f"{container}/a//b")
    left = sorted(name for name in names if not name.startswith("deep/") and name != "a//b")
    assert sorted(blob.name for blob in oracle.list_blobs()) == left


@pytest.mark.parametrize("name", ["a/../b", "../other/x", "..", "./a", "a/.", "back\\slash"])
def test_names_that_the_service_would_change_are_refused(container: str, oracle: Any, name: str) -> None:
    for verb in _VERBS:
        with pytest.raises(s3dlio.InvalidURIError) as caught:
            verb(f"{container}/{name}")
        assert repr(f"{container}/{name}") in str(caught.value)
    assert list(oracle.list_blobs()) == []


# s3dlio reads the blobs that the vendor's client writes...


def test_s3dlio_reads_what_the_client_writes(container: str, oracle: Any) -> None:
    data = content(3 * MIB + 17)
    oracle.upload_blob(
        "from/the client",
        data,
        metadata={"Epoch": "7", "note": "plain"},
        content_settings=ContentSettings("image/png", content_md5=bytearray(_md5(data))),
    )
    uri = f"{container}/from/the client"
    assert s3dlio.get(uri) == data
    assert s3dlio.get_range(uri, MIB - 5, 10) == data[MIB - 5 : MIB + 5]
    assert s3dlio.get_range(uri, 5) == data[5:]
    assert s3dlio.get_range(uri, len(data), 5) == b""
    info = s3dlio.stat(uri)
    assert (info["size"], info["content_type"]) == (len(data), "image/png")
    assert info["metadata"] == {"epoch": "7", "note": "plain"}
    assert info["checksums"] == {"md5": base64.b64encode(_md5(data)).decode()}
    assert s3dlio.list(container) == [f"{container}/from/"]


def test_s3dlio_reads_a_list_of_blocks_that_the_client_commits(container: str, oracle: Any) -> None:
    blob = oracle.get_blob_client("blocks")
    pieces = {f"{number:04}": content(MIB + number, seed=number) for number in range(5)}
    for name, piece in pieces.items():
        blob.stage_block(name, piece)
    assert not s3dlio.exists(f"{container}/blocks")
    assert s3dlio.list(container, recursive=True) == []
    blob.commit_block_list(["0003", "0001", "0004"])
    assert s3dlio.get(f"{container}/blocks") == pieces["0003"] + pieces["0001"] + pieces["0004"]


def test_append_and_page_blobs_are_read_and_replaced(container: str, oracle: Any) -> None:
    blob = oracle.get_blob_client("appended")
    blob.create_append_blob()
    for piece in (b"one", b"two"):
        blob.append_block(piece)
    page = oracle.get_blob_client("pages")
    page.create_page_blob(1024)
    page.upload_page(b"x" * 512, 512, 512)
    assert s3dlio.get(f"{container}/appended") == b"onetwo"
    assert s3dlio.get(f"{container}/pages") == bytes(512) + b"x" * 512
    s3dlio.put_bytes(f"{container}/pages", b"block blob")
    assert s3dlio.get(f"{container}/pages") == b"block blob"
    with pytest.raises(s3dlio.S3dlioError, match="delete it first"):
        s3dlio.put_bytes(f"{container}/appended", bytes(2 * MIB))
    assert s3dlio.get(f"{container}/appended") == b"onetwo"


# Checksums...


def _in_a_batch(uri: str) -> memoryview:
    return s3dlio.get_many([uri])[0][1]


def _copied(uri: str) -> bytes:
    target = Path(f"/dev/shm/s3dlio-{os.getpid()}")
    try:
        s3dlio.download(uri, target)
        return target.read_bytes()
    finally:
        target.unlink(missing_ok=True)


@pytest.mark.parametrize("size", [100, MIB, 3 * MIB + 1])
@pytest.mark.parametrize("read", [s3dlio.get, _in_a_batch, _copied], ids=["get", "batch", "copy"])
def test_a_body_with_another_md5_than_the_stored_one_is_an_error(
    container: str, oracle: Any, read: Callable[[str], Any], size: int
) -> None:
    data = content(size)
    uri = f"{container}/object"
    oracle.upload_blob("object", data)
    oracle.get_blob_client("object").set_http_headers(ContentSettings(content_md5=bytearray(_md5(data))))
    assert read(uri) == data
    oracle.get_blob_client("object").set_http_headers(ContentSettings(content_md5=bytearray(_md5(b"another"))))
    with pytest.raises(s3dlio.IntegrityError, match="MD5"):
        read(uri)
    assert s3dlio.get_range(uri, 1) == data[1:]
    for setting in ({"S3DLIO_AZURE_GET_MD5": "0"}, {"S3DLIO_AZURE_GET_MD5": "1", "S3DLIO_VERIFY_GET": "0"}):
        os.environ.update(setting)
        assert read(uri) == data


@pytest.mark.parametrize(
    ("setting", "scheme", "checked"),
    [("auto", "http", True), ("auto", "https", False), ("1", "https", True), ("0", "http", False)],
)
def test_by_default_the_md5_is_checked_without_tls(setting: str, scheme: str, checked: bool) -> None:
    os.environ.update(
        S3DLIO_AZURE_GET_MD5=setting,
        AZURE_STORAGE_ENDPOINT=f"{scheme}://127.0.0.1:1/account",
        AZURE_STORAGE_ACCOUNT_KEY="a2V5",
    )
    assert _store().service().checks_md5 is checked


def test_the_service_computes_the_same_crc64(container: str) -> None:
    """Put Block answers with the service's own CRC64 where the request had no checksum."""
    os.environ["S3DLIO_AZURE_PUT_CHECKSUM"] = "none"
    data = memoryview(content(100_003))
    store = _store()
    for size in (0, 1, 7, 8, 4096, 100_003):
        views = [data[: size // 3], data[size // 3 : size]]
        query = [("comp", "block"), ("blockid", block_id("0" * 32, size))]
        if size:
            response = run(put_checked(store, parse(f"{container}/crc"), query, (), views))
            assert response.head.headers["x-ms-content-crc64"] == crc64_text(views)
    # CRC-64/NVME in the catalogue of parametrised CRC algorithms: its check value.
    assert crc64_text([memoryview(b"123456789")]) == base64.b64encode(0xAE8B14860A799888.to_bytes(8, "little")).decode()


@pytest.mark.parametrize("size", [10, 2 * MIB])
@pytest.mark.parametrize("checksum", ["crc64", "md5"])
def test_a_body_that_changes_while_it_is_sent_is_an_error_and_the_old_object_stays(
    container: str, oracle: Any, monkeypatch: pytest.MonkeyPatch, checksum: str, size: int
) -> None:
    os.environ.update(S3DLIO_AZURE_PUT_CHECKSUM=checksum, S3DLIO_RETRIES="1")
    s3dlio.put_bytes(f"{container}/object", b"old")
    service = _store().service()
    honest = service.checksum
    monkeypatch.setattr(service, "checksum", lambda data: honest([memoryview(b"what it was before"), *data[1:]]))
    with pytest.raises(s3dlio.IntegrityError, match="changed on the way"):
        s3dlio.put_bytes(f"{container}/object", content(size))
    assert oracle.get_blob_client("object").download_blob().readall() == b"old"


# Atomicity...


def test_two_writers_of_one_blob_never_mix_their_blocks(container: str, oracle: Any) -> None:
    uri = f"{container}/object"
    first, second = (s3dlio.MultipartUploadWriter.from_uri(uri) for _ in range(2))
    for _ in range(10):
        first.write(b"1" * (2 * MIB))
        second.write(b"2" * (2 * MIB))
    assert len(oracle.get_blob_client("object").get_block_list("uncommitted")[1]) > 4
    first.close()
    with pytest.raises(s3dlio.S3dlioError, match="another client wrote the object at the same time") as caught:
        second.close()
    assert type(caught.value) is s3dlio.S3dlioError
    assert s3dlio.get(uri) == b"1" * (20 * MIB)


def test_many_writers_of_one_blob_leave_one_whole_object(container: str) -> None:
    uri = f"{container}/object"
    contents = [bytes([number]) * (6 * MIB + number) for number in range(4)]
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            if s3dlio.exists(uri):
                seen.add(bytes(s3dlio.get(uri)))

    with meanwhile(read):
        try:
            side_by_side([partial(s3dlio.put_bytes, uri, data) for data in contents])
        finally:
            done.set()
    assert {*seen, bytes(s3dlio.get(uri))} <= set(contents)


def test_a_writer_that_is_not_closed_or_is_aborted_leaves_nothing_visible(container: str, oracle: Any) -> None:
    s3dlio.put_bytes(f"{container}/object", b"old")
    writers = [s3dlio.MultipartUploadWriter.from_uri(f"{container}/{name}") for name in ("object", "new")]
    for writer in writers:
        writer.write(content(11 * MIB))
    assert not s3dlio.exists(f"{container}/new")
    assert s3dlio.list(container) == [f"{container}/object"]
    for writer in writers:
        writer.abort()
    assert s3dlio.list(container) == [f"{container}/object"]
    assert oracle.get_blob_client("object").download_blob().readall() == b"old"


def test_a_leased_blob_stays_as_it_is(container: str, oracle: Any) -> None:
    s3dlio.put_bytes(f"{container}/object", b"old")
    lease: Any = oracle.get_blob_client("object").acquire_lease(-1)
    writes: list[Callable[[], None]] = [
        lambda: s3dlio.put_bytes(f"{container}/object", b"new"),
        lambda: s3dlio.put_bytes(f"{container}/object", bytes(2 * MIB)),
        lambda: s3dlio.delete(f"{container}/object"),
        lambda: s3dlio.delete(f"{container}/", recursive=True),
    ]
    for write in writes:
        with pytest.raises(s3dlio.S3dlioError, match="holds a lease") as caught:
            write()
        assert caught.value.status == 412
    assert s3dlio.get(f"{container}/object") == b"old"
    lease.release()
    s3dlio.put_bytes(f"{container}/object", b"new")
    assert s3dlio.get(f"{container}/object") == b"new"


def test_snapshots_are_never_deleted(container: str, oracle: Any) -> None:
    s3dlio.put_bytes(f"{container}/object", b"old")
    oracle.get_blob_client("object").create_snapshot()
    for recursive in (False, True):
        with pytest.raises(s3dlio.S3dlioError, match="delete them first"):
            s3dlio.delete(f"{container}/{'' if recursive else 'object'}", recursive=recursive)
    assert len(list(oracle.list_blobs(include=["snapshots"]))) == 2


def test_the_error_names_blocks_of_another_program_with_names_of_another_length(container: str, oracle: Any) -> None:
    oracle.get_blob_client("object").stage_block("short", b"x")
    with pytest.raises(s3dlio.S3dlioError, match="in one piece once"):
        s3dlio.put_bytes(f"{container}/object", bytes(2 * MIB))
    s3dlio.put_bytes(f"{container}/object", b"in one piece")
    s3dlio.delete(f"{container}/object")  # only then does Azurite drop the blocks
    s3dlio.put_bytes(f"{container}/object", bytes(2 * MIB))
    assert s3dlio.stat(f"{container}/object")["size"] == 2 * MIB


def test_uncommitted_blocks_of_the_client_do_not_prevent_a_write(container: str, azurite: AzureServer) -> None:
    """The vendor's tools and this library name blocks by 64 letters, so that either can follow the other."""
    name = container.removeprefix("az://")
    with BlobServiceClient.from_connection_string(
        azurite.connection_string, max_block_size=MIB, max_single_put_size=MIB
    ) as client:
        blob = client.get_blob_client(name, "object")
        blob.upload_blob(content(9 * MIB))
        blob.stage_block(_staged_name(blob), b"broken off")
        s3dlio.put_bytes(f"{container}/object", content(11 * MIB))
        blob.upload_blob(content(9 * MIB), overwrite=True)
    assert s3dlio.get(f"{container}/object") == content(9 * MIB)


def _staged_name(blob: Any) -> str:
    """A name like those of the blocks that the client has committed, but another."""
    committed, _ = blob.get_block_list("committed")
    name: str = committed[-1]["id"]
    return name[:-4] + "AAAA"


# Copies...


def test_the_service_copies_within_the_account(container: str, oracle: Any) -> None:
    oracle.upload_blob(
        "from/ü #?", b"content", metadata={"kept": "yes"}, content_settings=ContentSettings("text/plain")
    )
    assert run(_store().copy(parse(f"{container}/from/ü #?"), parse(f"{container}/to/ü %2F"), 7))
    copied = oracle.get_blob_client("to/ü %2F")
    assert copied.download_blob().readall() == b"content"
    facts = copied.get_blob_properties()
    assert (facts.content_settings.content_type, facts.metadata) == ("text/plain", {"kept": "yes"})
    with pytest.raises(s3dlio.ObjectNotFoundError):
        run(_store().copy(parse(f"{container}/missing"), parse(f"{container}/to"), 7))
    assert not run(_store().copy(parse(f"{container}/from/ü #?"), parse(f"{container}/to"), (256 << 20) + 1))


def test_a_tree_is_copied_to_another_container(container: str) -> None:
    other = f"{container}-copy"
    run(_store().make_bucket(parse(other)))
    names = [f"data/{name}" for name in NAMES]
    s3dlio.put_many((f"{container}/{name}", name.encode()) for name in names)
    s3dlio.copy(f"{container}/data", f"{other}/below", recursive=True)
    assert s3dlio.list(f"{other}/below", recursive=True) == sorted(f"{other}/below/{name}" for name in NAMES)
    assert s3dlio.get(f"{other}/below/{NAMES[2]}") == f"data/{NAMES[2]}".encode()


def test_anyone_can_use_a_presigned_url(container: str, azurite: AzureServer) -> None:
    uri = f"{container}/a folder/größe?&#"
    put = urllib.request.Request(s3dlio.presign(uri, "PUT"), b"content", {"x-ms-blob-type": "BlockBlob"}, method="PUT")
    with urllib.request.urlopen(put) as response:
        assert response.status == 201
    with urllib.request.urlopen(s3dlio.presign(uri, expires=60)) as response:
        assert response.read() == b"content"
    assert azurite.key not in s3dlio.presign(uri)
    with pytest.raises(ValueError, match="1 to 604800"):
        s3dlio.presign(uri, expires=0)
    del os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    with pytest.raises(s3dlio.ConfigurationError, match="AZURE_STORAGE_ACCOUNT_KEY"):
        s3dlio.presign(uri)


def test_containers_are_made_listed_and_removed_when_empty(container: str) -> None:
    store, uri, name = _store(), parse(container), container.removeprefix("az://")
    run(store.make_bucket(uri))  # again
    assert name in run(store.buckets())
    s3dlio.put_bytes(f"{container}/object", b"x")
    with pytest.raises(s3dlio.S3dlioError, match="is not empty"):
        s3dlio.remove_bucket(container)
    assert s3dlio.get(f"{container}/object") == b"x"
    s3dlio.delete(f"{container}/object")
    run(store.remove_bucket(uri))
    assert name not in run(store.buckets())
    with pytest.raises(s3dlio.ObjectNotFoundError, match="no such container"):
        run(store.remove_bucket(uri))


# Credentials...


def _sas(azurite: AzureServer, permissions: str = "rwdlac", lives: float = 3600, types: str = "sco") -> str:
    sas: str = generate_account_sas(
        azurite.account,
        azurite.key,
        ResourceTypes.from_string(types),
        AccountSasPermissions.from_string(permissions),
        datetime.now(timezone.utc) + timedelta(seconds=lives),
    )
    return sas


def _use_sas(sas: str) -> None:
    del os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    os.environ["AZURE_STORAGE_SAS_TOKEN"] = sas


def test_a_shared_access_signature_is_enough_for_everything(container: str, azurite: AzureServer) -> None:
    _use_sas(f"?{_sas(azurite)}")
    data = content(11 * MIB)
    s3dlio.put_bytes(f"{container}/ü/large", data)
    s3dlio.put_bytes(f"{container}/ü/small", b"x")
    assert s3dlio.get(f"{container}/ü/large") == data
    s3dlio.copy(f"{container}/ü/small", f"{container}/ü/copy")
    assert s3dlio.list(f"{container}/ü") == [f"{container}/ü/{name}" for name in ("copy", "large", "small")]
    s3dlio.delete(f"{container}/ü", recursive=True)
    assert s3dlio.list(container, recursive=True) == []


def test_a_connection_string_is_enough(container: str, azurite: AzureServer) -> None:
    for name in azurite.environment():
        del os.environ[name]
    os.environ["AZURE_STORAGE_CONNECTION_STRING"] = azurite.connection_string
    s3dlio.put_bytes(f"{container}/object", b"x")
    assert s3dlio.get(f"{container}/object") == b"x"
    os.environ["AZURE_STORAGE_CONNECTION_STRING"] = f"BlobEndpoint={azurite.url};SharedAccessSignature={_sas(azurite)}"
    assert s3dlio.get(f"{container}/object") == b"x"


def test_a_public_container_needs_no_credentials(container: str, oracle: Any) -> None:
    s3dlio.put_bytes(f"{container}/object", b"x")
    oracle.set_container_access_policy({}, public_access="container")
    del os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    os.environ["S3DLIO_NO_SIGN"] = "1"
    assert s3dlio.get(f"{container}/object") == b"x"
    assert s3dlio.list(container) == [f"{container}/object"]


_VERBS: list[Callable[[str], Any]] = [
    s3dlio.get,
    s3dlio.stat,
    s3dlio.exists,
    s3dlio.delete,
    lambda uri: s3dlio.put_bytes(uri, b"x"),
    lambda uri: s3dlio.put_bytes(uri, bytes(2 * MIB)),
    lambda uri: s3dlio.get_many([uri, uri]),
]
_FOLDER_VERBS: list[Callable[[str], Any]] = [
    s3dlio.list,
    s3dlio.is_prefix,
    lambda uri: s3dlio.delete(uri, recursive=True),
]
_NAMES = ["get", "stat", "exists", "delete", "put", "put-blocks", "get_many", "list", "is_prefix", "delete-recursive"]
_SOME_VERBS = pytest.mark.parametrize("verb", [_VERBS[0], _VERBS[5], s3dlio.list], ids=["get", "put-blocks", "list"])
_EVERY_VERB = pytest.mark.parametrize("verb", _VERBS + _FOLDER_VERBS, ids=_NAMES)


def _error(verb: Callable[[str], Any], uri: str, kind: type[s3dlio.S3dlioError]) -> str:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        verb(uri)
    assert time.monotonic() - began < 3
    assert type(caught.value) is kind
    for secret in ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        assert os.environ.get(secret, "?" * 9) not in str(caught.value)
    assert "sig=" not in str(caught.value)
    return str(caught.value)


@_EVERY_VERB
def test_the_error_names_a_wrong_key(container: str, verb: Callable[[str], Any]) -> None:
    os.environ["AZURE_STORAGE_ACCOUNT_KEY"] = base64.b64encode(b"wrong" * 12).decode()
    said = _error(verb, f"{container}/object", s3dlio.PermissionDeniedError)
    assert "the account key is not that of 'devstoreaccount1': check AZURE_STORAGE_ACCOUNT_KEY" in said


@_EVERY_VERB
def test_the_error_names_a_malformed_key_without_showing_it(container: str, verb: Callable[[str], Any]) -> None:
    os.environ["AZURE_STORAGE_ACCOUNT_KEY"] = "a key cut in the mid"
    said = _error(verb, f"{container}/object", s3dlio.ConfigurationError)
    assert "AZURE_STORAGE_ACCOUNT_KEY is not base64" in said


@_EVERY_VERB
def test_the_error_lists_missing_credentials(container: str, verb: Callable[[str], Any]) -> None:
    del os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    said = _error(verb, f"{container}/object", s3dlio.ConfigurationError)
    assert "no credentials for az://: none of AZURE_STORAGE_ACCOUNT_KEY" in said


@_EVERY_VERB
def test_the_error_names_an_account_that_does_not_exist(
    container: str, azurite: AzureServer, verb: Callable[[str], Any]
) -> None:
    url = azurite.url.replace(azurite.account, "nobody")
    os.environ.update(AZURE_STORAGE_ACCOUNT_NAME="nobody", AZURE_STORAGE_ENDPOINT=url)
    said = _error(verb, f"{container}/object", s3dlio.ConfigurationError)
    assert "there is no account 'nobody' at this endpoint" in said


@_SOME_VERBS
def test_the_error_names_an_account_whose_host_does_not_exist(verb: Callable[[str], Any]) -> None:
    os.environ.update(
        AZURE_STORAGE_ACCOUNT_KEY="a2V5", AZURE_STORAGE_ENDPOINT="https://nobody.blob.core.windows.invalid"
    )
    said = _error(verb, "az://container/object", s3dlio.StoreUnavailableError)
    assert "cannot resolve the name 'nobody.blob.core.windows.invalid'" in said


@_SOME_VERBS
def test_the_error_names_an_endpoint_that_refuses_connections(verb: Callable[[str], Any]) -> None:
    os.environ.update(AZURE_STORAGE_ACCOUNT_KEY="a2V5", AZURE_STORAGE_ENDPOINT="http://127.0.0.1:9/account")
    assert "http://127.0.0.1:9" in _error(verb, "az://container/object", s3dlio.StoreUnavailableError)


@_EVERY_VERB
def test_the_error_tells_when_a_signature_expired(
    container: str, azurite: AzureServer, verb: Callable[[str], Any]
) -> None:
    _use_sas(_sas(azurite, lives=-600))
    said = _error(verb, f"{container}/object", s3dlio.PermissionDeniedError)
    assert "the shared access signature expired at 20" in said


@pytest.mark.parametrize(
    ("permissions", "types", "verb"),
    [
        ("r", "sco", lambda uri: s3dlio.put_bytes(uri, b"x")),
        ("rl", "sco", s3dlio.delete),
        ("wl", "sco", s3dlio.get),
        ("rw", "sco", s3dlio.list),
        ("rl", "o", s3dlio.list),
        ("rl", "c", s3dlio.get),
    ],
)
def test_the_error_tells_what_a_signature_allows(
    container: str, azurite: AzureServer, permissions: str, types: str, verb: Callable[[str], Any]
) -> None:
    s3dlio.put_bytes(f"{container}/object", b"x")
    _use_sas(_sas(azurite, permissions, types=types))
    assert "signature" in _error(verb, f"{container}/object", s3dlio.PermissionDeniedError)


@pytest.mark.parametrize("verb", [_VERBS[0], _VERBS[1], _VERBS[3], _VERBS[4], _VERBS[5], *_FOLDER_VERBS])
def test_the_error_names_a_missing_container(container: str, verb: Callable[[str], Any]) -> None:
    said = _error(verb, f"{container}-missing/object", s3dlio.ObjectNotFoundError)
    assert "no such container: check its name and the account" in said


@pytest.mark.parametrize("name", ["Capitals", "a", "under_score", "x" * 70])
@pytest.mark.usefixtures("container")
def test_the_error_names_a_malformed_container_name(name: str) -> None:
    _error(lambda uri: s3dlio.put_bytes(uri, b"x"), f"az://{name}/object", s3dlio.InvalidURIError)


@pytest.mark.parametrize("verb", [s3dlio.get, s3dlio.stat, s3dlio.exists, lambda uri: s3dlio.put_bytes(uri, b"")])
def test_a_container_is_not_an_object(container: str, verb: Callable[[str], Any]) -> None:
    for uri in (container, container + "/"):
        assert "add its key" in _error(verb, uri, s3dlio.InvalidURIError)


@pytest.mark.parametrize("value", ["ftp://host", "http://", "http://user:pa55phrase@host", "http://host:port"])
def test_the_error_names_a_malformed_endpoint(value: str) -> None:
    os.environ.update(
        AZURE_STORAGE_ENDPOINT=value, AZURE_STORAGE_ACCOUNT_KEY="a2V5", AZURE_STORAGE_ACCOUNT_NAME="account"
    )
    said = _error(s3dlio.get, "az://container/object", s3dlio.ConfigurationError)
    assert "AZURE_STORAGE_ENDPOINT" in said
    assert "pa55phrase" not in said


# Concurrency and processes...


def test_one_batch_mixes_schemes(container: str, tmp_path: Path) -> None:
    roots = [container, f"file://{tmp_path}", f"direct://{tmp_path}/d"]
    pairs = [(f"{root}/{number}", content(1000, seed=number)) for number in range(20) for root in roots]
    s3dlio.put_many(pairs)
    assert s3dlio.get_many([uri for uri, _ in pairs]) == pairs


def test_threads_do_not_mix(container: str) -> None:
    def work(number: int) -> bool:
        data = content(200_000 + number, seed=number)
        for turn in range(3):
            uri = f"{container}/thread {number}/{turn}"
            s3dlio.put_bytes(uri, data)
            if s3dlio.get(uri) != data or s3dlio.list(f"{container}/thread {number}")[-1] != uri:
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))


def test_tasks_do_not_mix(container: str) -> None:
    async def work(number: int) -> bool:
        uri, data = f"{container}/task {number}", content(50_000 + number, seed=number)
        await s3dlio.put_bytes_async(uri, data)
        return bool(await s3dlio.get_async(uri) == data and (await s3dlio.stat_async(uri))["size"] == len(data))

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*map(work, range(100)))

    assert all(asyncio.run(all_of_them()))


def test_a_forked_child_works_and_so_does_its_parent(container: str) -> None:
    data = content(3 * MIB)
    s3dlio.put_bytes(f"{container}/parent", data)
    assert s3dlio.get(f"{container}/parent") == data

    def work() -> None:
        assert s3dlio.get(f"{container}/parent") == data
        s3dlio.put_bytes(f"{container}/child", data[:-1])

    in_forked_child(work)
    assert s3dlio.get(f"{container}/parent") == data
    assert s3dlio.get(f"{container}/child") == data[:-1]


def test_a_key_needs_none_of_the_vendors_modules_and_no_thread(container: str) -> None:
    program = f"""
import sys, threading, s3dlio
s3dlio.put_bytes("{container}/object", b"content")
assert s3dlio.get("{container}/object") == b"content"
assert threading.active_count() == 1
print([name for name in sys.modules if name.startswith(("azure", "msal", "requests", "asyncio", "botocore"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
