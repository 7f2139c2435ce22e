# SPDX-License-Identifier: Apache-2.0
"""`mb`, `rb`, `ls s3://` and `presign`, against a real server."""

from __future__ import annotations

import itertools
import json
import urllib.request

import pytest

from tests.cli.command import run
from tests.servers.base import S3Server

_numbers = itertools.count()


@pytest.fixture
def bucket(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a bucket that does not exist."""
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://cli-{next(_numbers)}"


def test_a_bucket_is_created_listed_and_removed(bucket: str) -> None:
    assert run("mb", bucket, bucket) == (0, b"", "")
    assert f"{bucket}/" in run("ls", "s3://").lines
    assert run("ls", "s3://", "--pattern", f"^{bucket.removeprefix('s3://')}$").lines == [f"{bucket}/"]
    assert {"uri": f"{bucket}/"} in json.loads(run("ls", "--json", "s3://").out)
    assert run("ls", bucket).lines == []
    assert run("rb", f"{bucket}/") == (0, b"", "")
    assert f"{bucket}/" not in run("ls", "s3://").lines


def test_rb_refuses_a_bucket_that_is_not_empty(bucket: str) -> None:
    """SeaweedFS itself would remove the bucket and everything in it."""
    run("mb", bucket)
    run("put", "-", f"{bucket}/folder/object", stdin=b"content")
    result = run("rb", bucket)
    assert (result.status, result.out) == (1, b"")
    assert f"cannot remove {bucket}: the bucket is not empty" in result.err
    assert f"'s3dlio rm -r {bucket}/'" in result.err
    assert run("cat", f"{bucket}/folder/object").out == b"content"
    run("rm", "-r", f"{bucket}/")
    assert run("rb", bucket).status == 0


def test_a_missing_bucket_is_an_error(bucket: str) -> None:
    for command in ("rb", "ls"):
        result = run(command, bucket)
        assert result.status == 1
        assert "no such bucket" in result.err


def test_a_presigned_url_needs_no_credentials(bucket: str) -> None:
    run("mb", bucket)
    run("put", "-", f"{bucket}/an object", stdin=b"content")
    (url,) = run("presign", "--expires", "60", f"{bucket}/an object").lines
    with urllib.request.urlopen(url) as reply:
        assert reply.read() == b"content"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("mb", "s3://bucket/key"), "names more than a bucket"),
        (("mb", "s3://"), "names no bucket"),
        (("rb", "bucket"), "has no scheme"),
        (("ls", "-r", "s3://"), "with -r, name one of them"),
        (("ls", "ftp://"), "unknown scheme"),
        (("presign", "--method", "POST", "s3://bucket/key"), "GET, HEAD, PUT or DELETE"),
        (("presign", "--expires", "0", "s3://bucket/key"), "604800"),
    ],
)
def test_a_malformed_argument_is_a_usage_error(bucket: str, arguments: tuple[str, ...], part: str) -> None:
    assert bucket
    result = run(*arguments)
    assert (result.status, result.out) == (2, b"")
    assert part in result.err


@pytest.mark.parametrize("command", ["mb", "presign"])
def test_files_have_no_buckets_and_no_urls(command: str) -> None:
    result = run(command, "file:///")
    assert (result.status, result.out) == (2 if command == "mb" else 1, b"")
