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
    """The URI of a bucket that is not there yet."""
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://cli-{next(_numbers)}"


def test_a_bucket_is_made_listed_and_removed(bucket: str) -> None:
    assert run("mb", bucket, bucket) == (0, b"", "")
    assert f"{bucket}/" in run("ls", "s3://").lines
    assert run("ls", "s3://", "--pattern", f"^{bucket.removeprefix('s3://')}$").lines == [f"{bucket}/"]
    assert {"uri": f"{bucket}/"} in json.loads(run("ls", "--json", "s3://").out)
    assert run("ls", bucket).lines == []
    assert run("rb", f"{bucket}/") == (0, b"", "")
    assert f"{bucket}/" not in run("ls", "s3://").lines


def test_a_bucket_with_something_in_it_is_not_removed(bucket: str) -> None:
    """SeaweedFS itself would remove it, and all that is in it."""
    run("mb", bucket)
    run("put", "-", f"{bucket}/folder/object", stdin=b"content")
    result = run("rb", bucket)
    assert (result.status, result.out) == (1, b"")
    assert f"{bucket} is not empty: 's3dlio rm -r {bucket}/' deletes what is in it" in result.err
    assert run("cat", f"{bucket}/folder/object").out == b"content"
    run("rm", "-r", f"{bucket}/")
    assert run("rb", bucket).status == 0


def test_a_bucket_that_is_not_there_is_an_error(bucket: str) -> None:
    for command in ("rb", "ls"):
        result = run(command, bucket)
        assert result.status == 1
        assert "no such bucket" in result.err


def test_a_presigned_url_serves_anyone(bucket: str) -> None:
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
        (("ls", "-r", "s3://"), "-r needs the name of one"),
        (("ls", "ftp://"), "unknown scheme"),
        (("presign", "--method", "POST", "s3://bucket/key"), "GET, HEAD, PUT or DELETE"),
        (("presign", "--expires", "0", "s3://bucket/key"), "604800"),
    ],
)
def test_a_wrong_command_line_is_said_so(bucket: str, arguments: tuple[str, ...], part: str) -> None:
    assert bucket
    result = run(*arguments)
    assert (result.status, result.out) == (2, b"")
    assert part in result.err


@pytest.mark.parametrize("command", ["mb", "presign"])
def test_files_have_neither_buckets_nor_urls(command: str) -> None:
    result = run(command, "file:///")
    assert (result.status, result.out) == (2 if command == "mb" else 1, b"")
