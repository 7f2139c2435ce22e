# SPDX-License-Identifier: Apache-2.0
# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality
"""Each failure raises one exact class of error, which is also a builtin one, and its message says what to check."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3dlio
from s3dlio import errors
from tests.filesystems import as_another_user, open_folder, tiny_file_system

Call = Callable[[str], object]

CALLS: dict[str, Call] = {
    "get": s3dlio.get,
    "get_range": lambda uri: s3dlio.get_range(uri, 0, 10),
    "get_many": lambda uri: s3dlio.get_many([uri]),
    "get_many_iter": lambda uri: list(s3dlio.get_many_iter([uri])),
    "put_bytes": lambda uri: s3dlio.put_bytes(uri, b"x"),
    "put_many": lambda uri: s3dlio.put_many([(uri, b"x")]),
    "list": s3dlio.list,
    "list_iter": lambda uri: list(s3dlio.list_iter(uri)),
    "stat": s3dlio.stat,
    "exists": s3dlio.exists,
    "is_prefix": s3dlio.is_prefix,
    "mkdir": s3dlio.mkdir,
    "delete": s3dlio.delete,
    "delete recursive": lambda uri: s3dlio.delete(uri, recursive=True),
    "upload": lambda uri: s3dlio.upload(__file__, uri),
    "download": lambda uri: s3dlio.download(uri, "/nonexistent/target"),
    "copy from": lambda uri: s3dlio.copy(uri, "file:///nonexistent/target"),
    "copy to": lambda uri: s3dlio.copy(f"file://{__file__}", uri),
    "writer": s3dlio.MultipartUploadWriter.from_uri,
}


@pytest.fixture(params=CALLS.values(), ids=list(CALLS))
def call(request: pytest.FixtureRequest) -> Call:
    chosen: Call = request.param
    return chosen


# URIs...


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("", "the URI is empty: expected s3://bucket/key"),
        ("/data/object", "has no scheme.*file:///data/object"),
        ("data/object", "has no scheme: expected s3://bucket/key"),
        ("file:/data/object", "has no scheme"),
        ("ftp://host/object", "unknown scheme 'ftp': expected s3://bucket/key"),
        ("https://bucket.example/object", "unknown scheme 'https'"),
        ("://bucket/key", "unknown scheme ''"),
        ("S3://bucket/key", "lower case, s3://"),
        ("FILE:///data/object", "lower case, file://"),
        ("File:///data/object", "lower case, file://"),
        ("file://", "is not an absolute path: expected file:///"),
        ("file://data/object", "is not an absolute path: expected file:///"),
        ("direct://data/object", "is not an absolute path: expected direct:///"),
        ("file:///data/\0/object", "NUL"),
        ("s3://bucket/\0", "NUL"),
        ("file:///..", r"leaves the root with '\.\.'"),
        ("file:///data/../../etc/passwd", r"leaves the root with '\.\.'"),
        ("direct:///./../etc/passwd", r"leaves the root with '\.\.'"),
        ("s3://", "names no bucket: expected s3://bucket/key"),
        ("s3:///key", "names no bucket"),
        ("gs:///key", "names no bucket"),
        ("az:///key", "names no container: expected az://container/key"),
        ("s3://\ud800/key", "surrogate"),
    ],
)
def test_every_call_refuses_a_malformed_uri(call: Call, uri: str, advice: str) -> None:
    with pytest.raises(s3dlio.InvalidURIError, match=advice) as caught:
        call(uri)
    assert type(caught.value) is s3dlio.InvalidURIError
    assert isinstance(caught.value, ValueError)
    assert caught.value.uri == uri
    assert repr(uri) in str(caught.value) or not uri


@pytest.mark.parametrize("uri", [b"file:///data/object", None, 5, Path("/data/object"), ["file:///data"]], ids=repr)
def test_a_uri_that_is_not_a_string_is_a_type_error(call: Call, uri: object) -> None:
    with pytest.raises(TypeError, match="must be a str"):
        call(uri)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/a/../b", "/a/b/../..", "/./a", "//a", "/a/..b", "/...", "/a/.."])
def test_dots_that_stay_below_the_root_are_allowed(path: str) -> None:
    assert s3dlio.exists(f"file:///nonexistent{path}") is False


# Objects: missing ones are in the table of behavior...


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder with an object, a closed object, a closed folder, and a folder that takes no new names."""
    with open_folder() as folder:
        for name in ("closed", "full"):
            (folder / name).mkdir()
        for name in ("object", "unreadable", "closed/object", "full/object"):
            (folder / name).write_bytes(b"x")
        os.chmod(folder / "unreadable", 0)
        os.chmod(folder / "full", 0o555)
        os.chmod(folder / "closed", 0)
        yield folder
        os.chmod(folder / "closed", 0o700)
        os.chmod(folder / "full", 0o700)


_REFUSED: list[tuple[str, str, Call]] = [
    *((name, "unreadable", CALLS[name]) for name in ("get", "get_range", "get_many", "get_many_iter", "copy from")),
    *(
        (name, "closed/object", CALLS[name])
        for name in ("get", "stat", "exists", "is_prefix", "put_bytes", "put_many", "delete", "upload", "copy to")
    ),
    *((name, "closed", CALLS[name]) for name in ("list", "list_iter", "delete recursive")),
    ("list -r", "", lambda uri: s3dlio.list(uri, recursive=True)),
    *((name, "full/new", CALLS[name]) for name in ("put_bytes", "mkdir")),
    *((name, "full/object", CALLS[name]) for name in ("put_bytes", "delete")),
    ("writer", "full/object", lambda uri: s3dlio.MultipartUploadWriter.from_uri(uri).close()),
]


@pytest.mark.parametrize("scheme", ["file", "direct"])
@pytest.mark.parametrize(("name", "where", "refused"), _REFUSED, ids=[f"{name} {where}" for name, where, _ in _REFUSED])
def test_missing_permissions_are_permission_denied(
    closed: Path, scheme: str, name: str, where: str, refused: Call
) -> None:
    uri = f"{scheme}://{closed}/{where}".rstrip("/")

    def work() -> None:
        with pytest.raises(s3dlio.PermissionDeniedError, match="check the permissions") as caught:
            refused(uri)
        assert type(caught.value) is s3dlio.PermissionDeniedError
        assert isinstance(caught.value, PermissionError)
        assert caught.value.uri is not None
        assert caught.value.uri.startswith(uri)
        assert uri in str(caught.value)

    s3dlio.list(f"{scheme}://{closed}/full")  # import all modules, which the other user may not be able to read
    s3dlio.copy(f"file://{closed}/object", f"{scheme}://{closed}/copy")
    list(s3dlio.get_many_iter([f"{scheme}://{closed}/copy"]))
    assert name
    as_another_user(work)
    assert (closed / "object").read_bytes() == b"x"
    assert not [found for found in os.listdir(closed) if found.startswith(".")]


def test_the_error_for_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with tiny_file_system(tmp_path / "tiny", 1) as folder:
        uri = f"file://{folder}/object"
        with pytest.raises(
            s3dlio.S3dlioError, match="No space left on device; nothing was changed, free some"
        ) as caught:
            s3dlio.put_bytes(uri, bytes(2 << 20))
        assert type(caught.value) is s3dlio.S3dlioError
        assert uri in str(caught.value)


def test_a_read_only_file_system_is_permission_denied() -> None:
    with pytest.raises(s3dlio.S3dlioError, match="/proc/object"):
        s3dlio.put_bytes("file:///proc/object", b"x")


# Settings...


def test_an_unknown_setting_is_named_with_the_nearest_known() -> None:
    with pytest.raises(s3dlio.ConfigurationError, match="'file_snyc': did you mean 'file_sync'") as caught:
        s3dlio.configure(file_snyc=True)
    assert type(caught.value) is s3dlio.ConfigurationError
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("S3DLIO_BUFFER_IDLE_MB", "many"),
        ("S3DLIO_BUFFER_IDLE_MB", "-1"),
        ("S3DLIO_BUFFER_IDLE_MB", "nan"),
        ("S3DLIO_WINDOW_MB", "0"),
        ("S3DLIO_WINDOW_MB", "inf"),
        ("S3DLIO_FILE_SYNC", "perhaps"),
        ("S3DLIO_DIRECT_STRICT", "2"),
        ("S3DLIO_DIRECT_IN_FLIGHT", "0"),
        ("S3DLIO_DIRECT_IN_FLIGHT", "1.5"),
    ],
)
def test_a_bad_value_in_the_environment_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    uri = f"direct://{tmp_path}/object"
    s3dlio.put_bytes(uri, bytes(9 << 20))
    monkeypatch.setenv(variable, value)
    for call in (lambda: s3dlio.get(uri), lambda: s3dlio.get_many_iter([uri]), lambda: s3dlio.put_bytes(uri, b"")):
        with pytest.raises(s3dlio.ConfigurationError, match="; meaning: ") as caught:
            call()
        assert f"{variable}={value!r}" in str(caught.value)
    assert os.listdir(tmp_path) == ["object"]
    monkeypatch.delenv(variable)
    assert len(s3dlio.get(uri)) == 9 << 20


# The classes...


CLASSES = {
    errors.S3dlioError: RuntimeError,
    errors.ObjectNotFoundError: FileNotFoundError,
    errors.PermissionDeniedError: PermissionError,
    errors.InvalidURIError: ValueError,
    errors.ConfigurationError: ValueError,
    errors.StoreTimeoutError: TimeoutError,
    errors.IntegrityError: RuntimeError,
    errors.StoreUnavailableError: ConnectionError,
}


@pytest.mark.parametrize(("kind", "builtin"), CLASSES.items(), ids=lambda kind: kind.__name__)
def test_every_error_is_also_the_builtin_one_would_catch_and_travels(
    kind: type[errors.S3dlioError], builtin: type[Exception]
) -> None:
    error = kind("what happened to s3://bucket/key", uri="s3://bucket/key", endpoint="http://127.0.0.1:1", status=403)
    assert isinstance(error, builtin)
    assert isinstance(error, errors.S3dlioError)
    assert getattr(s3dlio, kind.__name__) is kind
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error) == "what happened to s3://bucket/key"
        assert (again.uri, again.endpoint, again.status) == ("s3://bucket/key", "http://127.0.0.1:1", 403)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (s3dlio.ObjectNotFoundError, errno.ENOENT),
        (s3dlio.PermissionDeniedError, errno.EACCES),
        (s3dlio.StoreTimeoutError, errno.ETIMEDOUT),
        (s3dlio.StoreUnavailableError, errno.EHOSTUNREACH),
    ],
)
def test_an_error_that_is_an_os_error_keeps_its_number_when_pickled(
    kind: type[s3dlio.S3dlioError], number: int
) -> None:
    error = pickle.loads(pickle.dumps(kind("why", uri="file:///x")))
    assert (type(error), error.errno, str(error), error.uri) == (kind, number, "why", "file:///x")
    assert issubclass(kind, OSError)


@pytest.mark.parametrize("doing", ["read", "write"])
@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOENT, s3dlio.ObjectNotFoundError, "no such object"),
        (errno.ELOOP, s3dlio.ObjectNotFoundError, "no such object"),
        (errno.EISDIR, s3dlio.ObjectNotFoundError, "it is a folder, not an object"),
        (errno.EROFS, s3dlio.PermissionDeniedError, "check the permissions"),
        (errno.ENOSPC, s3dlio.S3dlioError, "free some space"),
        (errno.EDQUOT, s3dlio.S3dlioError, "free some space"),
        (errno.ENAMETOOLONG, s3dlio.InvalidURIError, "choose a shorter name"),
        (errno.ETIMEDOUT, s3dlio.StoreTimeoutError, "check the server of the file system"),
        (errno.ESTALE, s3dlio.StoreUnavailableError, "check the server of the file system"),
        (errno.ENETUNREACH, s3dlio.StoreUnavailableError, "check the server of the file system"),
        (errno.EIO, s3dlio.S3dlioError, os.strerror(errno.EIO)),
    ],
)
def test_a_failed_system_call_becomes_an_error_with_advice(
    number: int, kind: type[s3dlio.S3dlioError], advice: str, doing: str
) -> None:
    error = errors.from_os_error(OSError(number, os.strerror(number)), "file:///data/x", doing)
    assert type(error) is kind
    assert error.uri == "file:///data/x"
    assert str(error).startswith(f"cannot {doing} file:///data/x: ")
    assert advice in str(error)
    assert ("nothing was changed" in str(error)) == (doing == "write" and number in (errno.ENOSPC, errno.EDQUOT))


def test_a_file_in_the_path_is_named_only_if_a_folder_has_to_be_made() -> None:
    refused = OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    assert "a folder in its path is a file" in str(errors.from_os_error(refused, "file:///data/x/y", "write"))
    assert "no such object" in str(errors.from_os_error(refused, "file:///data/x/y", "read"))
