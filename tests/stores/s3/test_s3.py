# SPDX-License-Identifier: Apache-2.0
"""s3:// on SeaweedFS and on Ceph RGW, with botocore as the oracle: each reads the objects that the other writes."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config

import s3dlio
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.runtime.run import run
from s3dlio.settings import MIB
from s3dlio.stores.s3 import copying, multipart, writing
from s3dlio.stores.s3.store import S3Store
from s3dlio.transfer.stores import store_for
from s3dlio.uri import URI, parse
from tests.behavior.content import content
from tests.replay import Replay
from tests.servers.base import S3Server
from tests.stores.s3.replay import damaging
from tests.threads import side_by_side

_numbers = itertools.count()
_SMALL_PARTS = {"S3DLIO_GET_PART_MB": "1", "S3DLIO_PUT_PART_MB": "5", "S3DLIO_MULTIPART_THRESHOLD_MB": "5"}
_LARGE = (11 << 20) + 7


@pytest.fixture(params=["seaweedfs", "ceph"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    os.environ.update(found.environment())
    os.environ.update(_SMALL_PARTS)
    return found


def _store() -> S3Store:
    store = store_for("s3")
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def bucket(server: S3Server) -> str:
    """The URI, without a final "/", of an empty bucket."""
    uri = f"s3://{server.name}-{next(_numbers)}"
    run(_store().make_bucket(parse(uri)))
    return uri


@pytest.fixture
def oracle(server: S3Server) -> Any:
    return _client(server)


def _client(server: S3Server) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        region_name=server.region,
        endpoint_url=server.url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        # Ceph 16 refuses the trailers in which the newer botocore sends its checksums.
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


def _name(bucket: str) -> str:
    return bucket.removeprefix("s3://")


def _pending(oracle: Any, bucket: str) -> list[str]:
    """The keys of multipart uploads that were neither completed nor aborted."""
    return [upload["Key"] for upload in oracle.list_multipart_uploads(Bucket=_name(bucket)).get("Uploads", [])]


# Oracles...


@pytest.mark.parametrize("size", [0, 1, 100_000, 5 << 20, _LARGE])
def test_botocore_reads_what_s3dlio_writes(bucket: str, oracle: Any, server: S3Server, size: int) -> None:
    data = content(size)
    s3dlio.put_bytes(f"{bucket}/put", data)
    with s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/written") as writer:
        for start in range(0, size, 3_000_000):
            writer.write(data[start : start + 3_000_000])
    for key in ("put", "written"):
        found = oracle.get_object(Bucket=_name(bucket), Key=key, ChecksumMode="ENABLED")
        assert found["Body"].read() == data
        assert (found["ContentLength"], found["ContentType"]) == (size, "application/octet-stream")
        assert found["ETag"].strip('"') == s3dlio.stat(f"{bucket}/{key}")["etag"]
        assert ("-" in found["ETag"]) is (size > 5 << 20)
        if server.name == "seaweedfs":  # Ceph 16 keeps no checksums
            assert found["ChecksumCRC32C"] == crc32c_text(crc32c([memoryview(data)]))
    assert _pending(oracle, bucket) == []


def test_s3dlio_reads_what_botocore_writes(bucket: str, oracle: Any) -> None:
    data = content(3 * MIB + 1)
    oracle.put_object(
        Bucket=_name(bucket), Key="a", Body=data, ContentType="text/x-test", Metadata={"author": "someone", "n": "1"}
    )
    upload = oracle.create_multipart_upload(Bucket=_name(bucket), Key="b")["UploadId"]
    parts = []
    for number, part in enumerate([content(5 << 20, seed=1), content(5 << 20, seed=2), b"end"], 1):
        sent = oracle.upload_part(Bucket=_name(bucket), Key="b", UploadId=upload, PartNumber=number, Body=part)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    oracle.complete_multipart_upload(Bucket=_name(bucket), Key="b", UploadId=upload, MultipartUpload={"Parts": parts})
    both = content(5 << 20, seed=1) + content(5 << 20, seed=2) + b"end"
    assert s3dlio.get(f"{bucket}/a") == data
    assert s3dlio.get(f"{bucket}/b") == both
    assert s3dlio.get_range(f"{bucket}/b", (5 << 20) - 3, 6) == both[(5 << 20) - 3 : (5 << 20) + 3]
    assert [bytes(got) for _, got in s3dlio.get_many([f"{bucket}/a", f"{bucket}/b"], 1)] == [data, both]
    facts = s3dlio.stat(f"{bucket}/a")
    assert (facts["size"], facts["content_type"]) == (len(data), "text/x-test")
    assert facts["metadata"] == {"author": "someone", "n": "1"}
    head = oracle.head_object(Bucket=_name(bucket), Key="b")
    assert s3dlio.stat(f"{bucket}/b")["last_modified"] == head["LastModified"]


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)  # Ceph 16 refuses botocore's trailer
@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_objects_with_the_checksums_of_botocore_are_read(bucket: str, oracle: Any, algorithm: str) -> None:
    data = content(100_000)
    oracle.put_object(Bucket=_name(bucket), Key="a", Body=data, ChecksumAlgorithm=algorithm)
    assert algorithm.lower() in s3dlio.stat(f"{bucket}/a")["checksums"]
    assert s3dlio.get(f"{bucket}/a") == data
    assert s3dlio.get_many([f"{bucket}/a"], 1)[0][1] == data


def test_a_listing_has_the_names_that_botocore_lists(bucket: str, oracle: Any) -> None:
    names = [f"{folder}/{number:04}" for folder in ("a", "a/b", "a-b", "a+b c") for number in range(260)]
    s3dlio.put_many(((f"{bucket}/{name}", b"") for name in names), 32)
    paginator = oracle.get_paginator("list_objects_v2")
    everything = [item["Key"] for page in paginator.paginate(Bucket=_name(bucket)) for item in page.get("Contents", [])]
    assert [uri.removeprefix(f"{bucket}/") for uri in s3dlio.list_iter(bucket, recursive=True)] == everything
    assert sorted(everything) == sorted(names)
    children = set()
    for page in paginator.paginate(Bucket=_name(bucket), Prefix="a/", Delimiter="/"):
        children |= {item["Key"] for item in page.get("Contents", [])}
        children |= {item["Prefix"] for item in page.get("CommonPrefixes", [])}
    assert s3dlio.list(f"{bucket}/a") == sorted(f"{bucket}/{name}" for name in children)
    s3dlio.delete(f"{bucket}/a", recursive=True)
    left = [item["Key"] for page in paginator.paginate(Bucket=_name(bucket)) for item in page.get("Contents", [])]
    assert left == [name for name in everything if not name.startswith("a/")]


# Integrity...


def test_a_damaged_upload_is_an_integrity_error(bucket: str, server: S3Server) -> None:
    """SeaweedFS compares the CRC32C; Ceph 16 does not, but its ETag is the MD5 of what it has stored."""
    os.environ["S3DLIO_RETRIES"] = "1"
    with Replay(damaging(server.url, up=True)) as way:
        os.environ["AWS_ENDPOINT_URL"] = way.url
        for size in (1000, _LARGE):
            with pytest.raises(s3dlio.IntegrityError):
                s3dlio.put_bytes(f"{bucket}/object-{size}", content(size))
            with pytest.raises(s3dlio.IntegrityError), s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/x") as writer:
                writer.write(content(size))
    os.environ["AWS_ENDPOINT_URL"] = server.url
    assert not s3dlio.exists(f"{bucket}/object-{_LARGE}")
    assert _pending(_client(server), bucket) == []


@pytest.mark.parametrize("server", ["ceph"], indirect=True)  # SeaweedFS does not compare the payload's hash
def test_a_damaged_upload_does_not_match_its_signed_payload(bucket: str, server: S3Server) -> None:
    os.environ.update(S3DLIO_RETRIES="1", S3DLIO_SIGN_PAYLOAD="1", S3DLIO_PUT_ETAG="0")
    with Replay(damaging(server.url, up=True)) as way:
        os.environ["AWS_ENDPOINT_URL"] = way.url
        with pytest.raises(s3dlio.IntegrityError, match="SHA256Mismatch"):
            s3dlio.put_bytes(f"{bucket}/object", content(1000))


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)  # Ceph 16 keeps no checksums
def test_a_damaged_download_is_an_integrity_error(bucket: str, server: S3Server) -> None:
    for size in (1000, _LARGE):
        s3dlio.put_bytes(f"{bucket}/{size}", content(size))
    with Replay(damaging(server.url, down=True)) as way:
        os.environ["AWS_ENDPOINT_URL"] = way.url
        for size in (1000, _LARGE):
            with pytest.raises(s3dlio.IntegrityError, match="CRC32C"):
                s3dlio.get_many([f"{bucket}/{size}"], 1)


@pytest.mark.parametrize("variable", ["S3DLIO_PUT_VERIFY", "S3DLIO_SIGN_PAYLOAD"])
def test_optional_checks_pass_on_undamaged_objects(bucket: str, variable: str) -> None:
    os.environ[variable] = "1"
    for size in (0, 1000, _LARGE):
        s3dlio.put_bytes(f"{bucket}/object", content(size))
        assert s3dlio.get(f"{bucket}/object") == content(size)
    with s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/written") as writer:
        writer.write(content(_LARGE))
    assert s3dlio.get(f"{bucket}/written") == content(_LARGE)


def test_put_verify_notices_that_another_client_has_written(
    bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ["S3DLIO_PUT_VERIFY"] = "1"
    verify = writing.verify

    async def late(*arguments: Any) -> None:
        oracle.put_object(Bucket=_name(bucket), Key="object", Body=b"of somebody else")
        await verify(*arguments)

    for module in (writing, multipart):
        monkeypatch.setattr(module, "verify", late)
    for size in (16, _LARGE):
        with pytest.raises(s3dlio.IntegrityError, match="another client"):
            s3dlio.put_bytes(f"{bucket}/object", content(size))


# Multipart uploads...


def test_parts_of_a_writer_grow(bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3Store, "most_parts", 10)  # the second part is already twice the first
    data = content(31 << 20)
    with s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object") as writer:
        writer.write(data)
    assert s3dlio.get(f"{bucket}/object") == data
    assert str(s3dlio.stat(f"{bucket}/object")["etag"]).endswith("-3")  # 5, 10 and 16 of 20 MiB
    assert _pending(oracle, bucket) == []


def test_a_failed_upload_leaves_nothing(bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put_part = S3Store.put_part

    async def failing(self: S3Store, uri: URI, upload: Any, number: int, data: list[memoryview]) -> Any:
        if number == 2:
            raise raised
        return await put_part(self, uri, upload, number, data)

    monkeypatch.setattr(S3Store, "put_part", failing)
    for raised in (s3dlio.S3dlioError("of a part"), MemoryError("of a part")):
        with pytest.raises(type(raised), match="of a part"):
            s3dlio.put_bytes(f"{bucket}/object", content(_LARGE))
        with (
            pytest.raises(type(raised), match="of a part"),
            s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object") as writer,
        ):
            writer.write(content(_LARGE))
    assert s3dlio.list(bucket) == []
    assert _pending(oracle, bucket) == []


def test_a_complete_that_is_refused_leaves_nothing(bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = S3Store.finish_parts

    async def in_disorder(self: S3Store, uri: URI, upload: Any, parts: list[Any], size: int) -> None:
        await finish(self, uri, upload, [part._replace(etag='"' + "0" * 32 + '"') for part in parts], size)

    monkeypatch.setattr(S3Store, "finish_parts", in_disorder)
    with pytest.raises(s3dlio.S3dlioError, match="InvalidPart"):
        s3dlio.put_bytes(f"{bucket}/object", content(_LARGE))
    assert s3dlio.list(bucket) == []
    assert _pending(oracle, bucket) == []


def test_an_aborted_or_dropped_writer_leaves_nothing(bucket: str, oracle: Any) -> None:
    writer = s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object")
    writer.write(content(_LARGE))
    assert _pending(oracle, bucket) == ["object"]
    writer.abort()
    assert _pending(oracle, bucket) == []
    writer = s3dlio.MultipartUploadWriter.from_uri(f"{bucket}/object")
    writer.write(content(_LARGE))
    del writer
    assert _pending(oracle, bucket) == []
    assert s3dlio.list(bucket) == []


@pytest.mark.parametrize("begun", ["create", "part"])
def test_a_canceled_upload_leaves_no_parts(
    bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    method = {"create": "begin_parts", "part": "put_part"}[begun]
    original = getattr(S3Store, method)

    async def work() -> None:
        loop = asyncio.get_running_loop()

        async def observed(*arguments: Any) -> Any:
            done = await original(*arguments)
            loop.call_soon(task.cancel)
            return done

        monkeypatch.setattr(S3Store, method, observed)
        task = asyncio.create_task(s3dlio.put_bytes_async(f"{bucket}/object", content(_LARGE)))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    # If the last request was already on its way, the whole object exists.
    assert [s3dlio.get(uri) == content(_LARGE) for uri in s3dlio.list(bucket)] in ([], [True])
    assert _pending(oracle, bucket) == []


def test_ctrl_c_in_an_upload_leaves_nothing(bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put_part = S3Store.put_part

    async def interrupted(*arguments: Any) -> Any:
        done = await put_part(*arguments)
        signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(S3Store, "put_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        s3dlio.put_bytes(f"{bucket}/object", content(_LARGE))
    assert s3dlio.list(bucket) == []
    assert _pending(oracle, bucket) == []


# Copies...


def _described(oracle: Any, bucket: str, data: bytes) -> None:
    oracle.put_object(
        Bucket=_name(bucket), Key="f/a", Body=data, ContentType="text/x-test", Metadata={"author": "someone"}
    )


def _is_described(uri: str) -> bool:
    facts = s3dlio.stat(uri)
    return (facts["content_type"], facts["metadata"]) == ("text/x-test", {"author": "someone"})


def test_a_copy_keeps_content_type_and_metadata(bucket: str, oracle: Any) -> None:
    data = content(100_000)
    _described(oracle, bucket, data)
    s3dlio.copy(f"{bucket}/f/a", f"{bucket}/copy with ü+%")
    s3dlio.copy(f"{bucket}/f", f"{bucket}/tree", recursive=True)
    for uri in (f"{bucket}/copy with ü+%", f"{bucket}/tree/a"):
        assert s3dlio.get(uri) == data
        assert _is_described(uri)


def test_a_copy_transfers_no_content_to_this_machine(bucket: str, server: S3Server) -> None:
    s3dlio.put_bytes(f"{bucket}/a", content(3 << 20))
    with Replay(damaging(server.url)) as way:
        os.environ["AWS_ENDPOINT_URL"] = way.url
        s3dlio.copy(f"{bucket}/a", f"{bucket}/b")
    assert [(request.method, len(request.body)) for request in way.requests] == [("HEAD", 0), ("PUT", 0)]
    os.environ["AWS_ENDPOINT_URL"] = server.url
    assert s3dlio.get(f"{bucket}/b") == content(3 << 20)


def test_a_copy_onto_itself_changes_nothing(bucket: str, oracle: Any) -> None:
    _described(oracle, bucket, b"data")
    s3dlio.copy(f"{bucket}/f/a", f"{bucket}/f/a")
    assert s3dlio.get(f"{bucket}/f/a") == b"data"
    assert _is_described(f"{bucket}/f/a")


def test_a_large_copy_is_made_in_parts_by_the_service(
    bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_COPY_AT_ONCE", 5 << 20)
    monkeypatch.setattr(copying, "_COPY_PART", 5 << 20)
    data = content(_LARGE)
    _described(oracle, bucket, data)
    s3dlio.copy(f"{bucket}/f/a", f"{bucket}/copy")
    assert s3dlio.get(f"{bucket}/copy") == data
    assert _is_described(f"{bucket}/copy")
    assert str(s3dlio.stat(f"{bucket}/copy")["etag"]).endswith("-3")
    assert _pending(oracle, bucket) == []


def test_a_source_that_is_replaced_during_a_large_copy_is_an_error(
    bucket: str, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_COPY_AT_ONCE", 5 << 20)
    monkeypatch.setattr(copying, "_COPY_PART", 5 << 20)
    _described(oracle, bucket, content(_LARGE))
    copy_part = copying._copy_part

    async def replaced_after_the_first(*arguments: Any) -> Any:
        copied = await copy_part(*arguments)
        if arguments[4] == 1:
            _described(oracle, bucket, content(_LARGE, seed=2))
        return copied

    monkeypatch.setattr(copying, "_copy_part", replaced_after_the_first)
    with pytest.raises(s3dlio.IntegrityError, match="replaced while it was copied"):
        s3dlio.copy(f"{bucket}/f/a", f"{bucket}/copy")
    assert not s3dlio.exists(f"{bucket}/copy")
    assert _pending(oracle, bucket) == []


def test_the_marker_of_a_folder_is_not_downloaded_as_a_file(bucket: str, oracle: Any, tmp_path: Path) -> None:
    oracle.put_object(Bucket=_name(bucket), Key="data/", Body=b"")
    oracle.put_object(Bucket=_name(bucket), Key="data/sub/", Body=b"")
    s3dlio.put_bytes(f"{bucket}/data/sub/object", b"content")
    s3dlio.download(f"{bucket}/data", tmp_path / "with", recursive=True)
    s3dlio.download(f"{bucket}/data/", tmp_path / "without", recursive=True)
    for folder in (tmp_path / "with", tmp_path / "without"):
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {"sub", "sub/object"}


def test_a_whole_bucket_is_a_tree(bucket: str, tmp_path: Path) -> None:
    s3dlio.put_many((f"{bucket}/{name}", name.encode()) for name in ("a", "b/c"))
    for number, source in enumerate((bucket, f"{bucket}/")):
        s3dlio.download(source, tmp_path / str(number), recursive=True)
        assert (tmp_path / str(number) / "b" / "c").read_bytes() == b"b/c"
    s3dlio.upload(tmp_path / "0", f"{bucket}/again", recursive=True)
    assert s3dlio.list(bucket, recursive=True) == [f"{bucket}/{name}" for name in ("a", "again/a", "again/b/c", "b/c")]
    s3dlio.delete(bucket, recursive=True)
    assert s3dlio.list(bucket, recursive=True) == []  # without recursive=True SeaweedFS lists folders that are empty


# Presigned requests...


def _request(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body=body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("key", ["object", "folder/ü +%2F?&=#", "a b/c'd\"e"])
def test_a_presigned_url_allows_only_its_own_request(bucket: str, key: str) -> None:
    uri = f"{bucket}/{key}"
    assert _request(s3dlio.presign(uri, "PUT", 60), "PUT", b"by anyone")[0] == 200
    assert s3dlio.get(uri) == b"by anyone"
    assert _request(s3dlio.presign(uri)) == (200, b"by anyone")
    assert _request(s3dlio.presign(uri, "HEAD"), "HEAD") == (200, b"")
    assert _request(s3dlio.presign(uri), "PUT", b"by somebody")[0] == 403
    assert _request(s3dlio.presign(uri).replace(f"{_name(bucket)}/", f"{_name(bucket)}/x"))[0] == 403
    assert _request(s3dlio.presign(uri, "DELETE"), "DELETE")[0] == 204
    assert not s3dlio.exists(uri)


def test_a_presigned_url_expires(bucket: str) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"content")
    url = s3dlio.presign(f"{bucket}/object", expires=1)
    assert _request(url)[0] == 200
    deadline = time.monotonic() + 10
    while _request(url)[0] == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert _request(url)[0] == 403


def test_an_invalid_request_for_a_presigned_url_is_an_error() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    with pytest.raises(ValueError, match="GET, HEAD, PUT or DELETE"):
        s3dlio.presign("s3://bucket/key", "get")
    for expires in (0, 604_801):
        with pytest.raises(ValueError, match="604800"):
            s3dlio.presign("s3://bucket/key", expires=expires)
    with pytest.raises(s3dlio.InvalidURIError, match="cannot presign"):
        s3dlio.presign("file:///tmp/object")
    with pytest.raises(s3dlio.InvalidURIError, match="add its key"):
        s3dlio.presign("s3://bucket")
    os.environ["S3DLIO_NO_SIGN"] = "1"
    with pytest.raises(s3dlio.ConfigurationError, match="S3DLIO_NO_SIGN"):
        s3dlio.presign("s3://bucket/key")


# Buckets...


def test_a_bucket_is_made_listed_and_removed(server: S3Server) -> None:
    uri = parse(f"s3://{server.name}-made-{next(_numbers)}")
    store = _store()
    run(store.make_bucket(uri))
    run(store.make_bucket(uri))
    assert uri.container in run(store.buckets())
    assert s3dlio.list(uri.text) == []
    run(store.remove_bucket(uri))
    assert uri.container not in run(store.buckets())
    with pytest.raises(s3dlio.ObjectNotFoundError, match="no such bucket"):
        s3dlio.list(uri.text)
    with pytest.raises(s3dlio.ObjectNotFoundError, match="no such bucket"):
        run(store.remove_bucket(uri))


def test_a_bucket_is_not_an_object(bucket: str) -> None:
    for call in (s3dlio.get, s3dlio.stat, s3dlio.exists, s3dlio.delete, lambda uri: s3dlio.put_bytes(uri, b"")):
        with pytest.raises(s3dlio.InvalidURIError, match="add its key"):
            call(bucket)


# Credentials and TLS...


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "unknown"}, "AWS_ACCESS_KEY_ID"),
        ({"S3DLIO_NO_SIGN": "1"}, "403"),
    ],
)
def test_wrong_credentials_are_refused_everywhere(bucket: str, changes: dict[str, str], says: str) -> None:
    s3dlio.put_bytes(f"{bucket}/object", b"content")
    os.environ.update(changes)
    for call in (
        s3dlio.get,
        s3dlio.list,
        s3dlio.delete,
        lambda uri: s3dlio.put_bytes(uri, b"content"),
        lambda uri: s3dlio.put_bytes(uri, content(_LARGE)),
        lambda uri: s3dlio.delete(f"{uri}/", recursive=True),
    ):
        with pytest.raises(s3dlio.PermissionDeniedError, match=says):
            call(f"{bucket}/object")
    for asked in (s3dlio.exists, s3dlio.stat):  # the answer to a HEAD has no body with the reason
        with pytest.raises(s3dlio.PermissionDeniedError, match="check the credentials"):
            asked(f"{bucket}/object")


def test_threads_share_the_state_of_the_service(bucket: str) -> None:
    def work(number: int) -> None:
        for size in (10, 6 << 20):
            s3dlio.put_bytes(f"{bucket}/{number}", content(size, seed=number))
            assert s3dlio.get(f"{bucket}/{number}") == content(size, seed=number)

    side_by_side([partial(work, number) for number in range(8)])


@pytest.fixture
def tls_bucket(seaweedfs_tls: S3Server) -> str:
    os.environ.update(seaweedfs_tls.environment())
    os.environ.update(_SMALL_PARTS)
    uri = f"s3://tls-{next(_numbers)}"
    run(_store().make_bucket(parse(uri)))
    return uri


def test_every_verb_works_over_tls(tls_bucket: str) -> None:
    for size in (0, 1000, _LARGE):
        s3dlio.put_bytes(f"{tls_bucket}/object", content(size))
        assert s3dlio.get(f"{tls_bucket}/object") == content(size)
        assert s3dlio.get_many([f"{tls_bucket}/object"] * 3, 2)[2][1] == content(size)
    assert s3dlio.list(tls_bucket) == [f"{tls_bucket}/object"]
    assert s3dlio.presign(f"{tls_bucket}/object").startswith("https://")


def test_a_server_that_is_not_trusted_is_refused(tls_bucket: str) -> None:
    del os.environ["AWS_CA_BUNDLE"]
    with pytest.raises(s3dlio.StoreUnavailableError, match="AWS_CA_BUNDLE"):
        s3dlio.get(f"{tls_bucket}/object")
