# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""Keys of object stores that cannot be names of files, and names of files that cannot be keys, in copies of trees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

import s3dlio
from s3dlio.stores.files.names import RESERVED
from tests.replay import Received, Replay, answer

BAD_KEYS = [
    "../escaped",
    "a/../../escaped",
    "a/../b",
    "a/..",
    "./a",
    "a/./b",
    "a/.",
    "a//b",
    "/a",
    "//",
    "a/",  # with content; without content it would mark a folder
    "..",
    ".",
    "a\0b",
    f"{RESERVED}a",
    f"a/{RESERVED}b",
    f"{RESERVED}a/b",
    "a/" + 256 * "b",
    128 * "\xe4" + "/b",
]
GOOD_KEYS = [
    "...",
    "a...",
    "..a/b..",
    " ",
    "a/ /b",
    "a\nb",
    "\\",
    "C:\\x",
    "-rf",
    "~",
    "ä",
    "\U0001f600",
    127 * "\xe4" + "b",
]


def _s3(keys: list[str], monkeypatch: pytest.MonkeyPatch) -> Replay:
    """A service that has objects of one byte below "p/"."""

    def answers(request: Received) -> bytes:
        if request.method == "HEAD":
            return answer(404 if request.path == "/bucket/p" else 200, b"", {"ETag": '"1"', "Content-Length": "1"})
        if "list-type=2" not in request.target:
            return answer(200, b"x", {"ETag": '"1"'})
        found = "".join(f"<Contents><Key>{quote('p/' + key)}</Key><Size>1</Size></Contents>" for key in keys)
        return answer(
            200,
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
            f"{found}</ListBucketResult>",
        )

    server = Replay(answers)
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(params=["file", "direct"])
def scheme(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.mark.parametrize("key", BAD_KEYS, ids=[repr(key) for key in BAD_KEYS])
def test_a_key_that_cannot_be_a_file_name_is_an_error_that_names_it(
    tmp_path: Path, scheme: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _s3([key], monkeypatch), pytest.raises(s3dlio.InvalidURIError) as caught:
        s3dlio.copy("s3://bucket/p", f"{scheme}://{tmp_path}/target", recursive=True)
    assert repr(f"s3://bucket/p/{key}") in str(caught.value)
    assert caught.value.uri == f"s3://bucket/p/{key}"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", GOOD_KEYS, ids=[repr(key) for key in GOOD_KEYS])
def test_every_other_key_becomes_a_file_of_that_name(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with _s3([key], monkeypatch):
        s3dlio.copy("s3://bucket/p", f"file://{tmp_path}", recursive=True)
    assert (tmp_path / key).read_bytes() == b"x"
    assert s3dlio.list(f"file://{tmp_path}", recursive=True) == [f"file://{tmp_path}/{key}"]


def test_a_key_that_is_too_long_for_a_file_is_an_error_that_names_it(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("n" * 256, "ä" * 128, f"{'n' * 256}/a"):
        with _s3([key], monkeypatch), pytest.raises(s3dlio.InvalidURIError, match=key):
            s3dlio.copy("s3://bucket/p", f"{scheme}://{tmp_path}", recursive=True)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", ["a/..", "a/.", "a/", f"a/{RESERVED}b", "a/b\0c"], ids=repr)
def test_an_object_whose_name_cannot_be_a_file_name_cannot_be_copied_into_a_folder(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\0" not in key:
        with _s3([key], monkeypatch), pytest.raises(s3dlio.InvalidURIError, match=key):
            s3dlio.download(f"s3://bucket/p/{key}", f"{tmp_path}/")
    assert os.listdir(tmp_path) == []


def test_an_object_is_copied_to_a_name_of_the_callers_choice_whatever_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _s3([], monkeypatch):
        s3dlio.download("s3://bucket/p/a/../..", tmp_path / "object")
    assert (tmp_path / "object").read_bytes() == b"x"


def test_the_command_names_the_key_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _s3(["good", "a/../../es\ncaped"], monkeypatch):
        done = subprocess.run(
            [sys.executable, "-m", "s3dlio", "cp", "-r", "s3://bucket/p", f"file://{tmp_path}/target"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "s3://bucket/p/a/../../es\\ncaped" in done.stderr
    assert os.listdir(tmp_path) in ([], ["target"])


@pytest.mark.parametrize("order", [["a", "a/b"], ["a/b", "a"], ["a/b/c", "a/b"]])
def test_an_object_and_a_folder_of_one_name_are_an_error_that_names_one(
    tmp_path: Path, scheme: str, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        _s3(order, monkeypatch),
        pytest.raises(s3dlio.S3dlioError, match=f"cannot write {scheme}://{tmp_path}/a.*(is a file|is a folder)"),
    ):
        s3dlio.copy("s3://bucket/p", f"{scheme}://{tmp_path}", recursive=True)
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith(RESERVED)]


def test_links_that_exist_below_the_target_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "target" / "link").symlink_to(tmp_path / "elsewhere")
    with _s3(["link/a"], monkeypatch):
        s3dlio.copy("s3://bucket/p", f"file://{tmp_path}/target", recursive=True)
    assert (tmp_path / "elsewhere" / "a").read_bytes() == b"x"


# File names that are not UTF-8...

_ODD = "odd\udcff\udcfe"


def test_a_file_whose_name_is_not_utf8_works_with_every_verb(tmp_path: Path, scheme: str) -> None:
    base = f"{scheme}://{tmp_path}"
    s3dlio.put_bytes(f"{base}/in/{_ODD}", b"x")
    assert os.listdir(os.fsencode(tmp_path / "in")) == [b"odd\xff\xfe"]
    assert s3dlio.list(f"{base}/in") == [f"{base}/in/{_ODD}"]
    assert s3dlio.get(f"{base}/in/{_ODD}") == b"x"
    assert s3dlio.stat(f"{base}/in/{_ODD}")["size"] == 1
    s3dlio.copy(f"{base}/in", f"{base}/copy{_ODD}", recursive=True)
    s3dlio.put_many([(f"{base}/in/{_ODD}", b"y")])
    assert s3dlio.get_many([f"{base}/copy{_ODD}/{_ODD}", f"{base}/in/{_ODD}"])[1][1] == b"y"
    s3dlio.delete(f"{base}/in/{_ODD}")
    assert not s3dlio.exists(f"{base}/in/{_ODD}")
    s3dlio.delete(f"{base}/copy{_ODD}", recursive=True)
    assert s3dlio.list(base, recursive=True) == []
    with pytest.raises(s3dlio.ObjectNotFoundError, match="odd"):
        s3dlio.get(f"{base}/in/{_ODD}")


def test_a_file_whose_name_is_not_utf8_cannot_become_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3dlio.put_bytes(f"file://{tmp_path}/{_ODD}", b"x")
    with _s3([], monkeypatch) as server:
        for source, recursive in ((tmp_path, True), (tmp_path / _ODD, False)):
            with pytest.raises(s3dlio.InvalidURIError, match="not valid UTF-8") as caught:
                s3dlio.upload(source, "s3://bucket/p/", recursive=recursive)
            assert caught.value.uri == f"file://{tmp_path}/{_ODD}"
        assert server.requests == []


def test_the_command_works_with_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"odd\xff"
    uri = b"file://" + os.fsencode(tmp_path) + b"/" + name
    (Path(tmp_path) / "source").write_bytes(b"x")

    def command(*arguments: bytes | str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "s3dlio", *arguments], capture_output=True, timeout=60, check=False
        )

    assert command("put", str(tmp_path / "source"), uri).returncode == 0
    assert uri + b"\n" in command("ls", f"file://{tmp_path}").stdout
    assert json.loads(command("ls", "--json", f"file://{tmp_path}", "--pattern", "odd").stdout) == [
        {"uri": os.fsdecode(uri)}
    ]
    assert command("cat", uri).stdout == b"x"
    assert command("cp", uri, uri + b"2").returncode == 0
    assert command("rm", uri).returncode == 0
    gone = command("cat", uri)
    assert (gone.returncode, gone.stdout) == (1, b"")
    assert gone.stderr.startswith(b"s3dlio: cannot read file://")
    assert b"Traceback" not in gone.stderr
    assert sorted(os.listdir(os.fsencode(tmp_path))) == [b"odd\xff2", b"source"]
