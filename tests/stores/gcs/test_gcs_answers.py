# SPDX-License-Identifier: Apache-2.0
"""Answers of Cloud Storage that no emulator sends, byte for byte.

Each test names the page that documents the answer, below https://cloud.google.com/storage/docs/.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import signal
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest

import s3dlio
from s3dlio.memory.checksums import crc32c_text
from s3dlio.runtime.run import run
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.auth.google.key_files import service_account, written
from tests.behavior.content import content
from tests.processes import in_forked_child, start
from tests.replay import Received, Replay, answer

MIB = 1 << 20
URI = "gs://bucket/folder/object"
OBJECT = "/storage/v1/b/bucket/o/folder%2Fobject"
JSON = {"Content-Type": "application/json; charset=UTF-8"}
DATA = content(3 * MIB + 5)


@pytest.fixture(autouse=True)
def _settings() -> None:
    os.environ.update(
        S3DLIO_NO_SIGN="1",
        S3DLIO_GET_PART_MB="1",
        S3DLIO_MULTIPART_THRESHOLD_MB="1",
        S3DLIO_PUT_PART_MB="5",
        S3DLIO_RETRIES="3",
    )


def serving(answers: list[bytes] | Callable[[Received], bytes]) -> Replay:
    """Make a server the endpoint, as if it were the real service."""
    server = Replay(answers)
    os.environ["GCS_ENDPOINT_URL"] = server.url
    return server


def crc32c_of(data: bytes) -> str:
    return crc32c_text(google_crc32c.value(data))


def object_answer(request: Received, data: bytes, generation: int = 1, **fields: str) -> bytes:
    """The answer to a read of object data, with the headers that the service sends.

    xml-api/reference-headers: x-goog-hash, x-goog-generation, x-goog-stored-content-encoding.
    """
    headers = {
        "X-GUploader-UploadID": "opaque",
        "x-goog-generation": str(generation),
        "x-goog-metageneration": "1",
        "x-goog-hash": f"crc32c={crc32c_of(data)}",
        "x-goog-stored-content-encoding": "identity",
        "x-goog-stored-content-length": str(len(data)),
        "ETag": "CJDUgoC=",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if match is None:
        return answer(200, data, headers)
    start, stop = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
    if start >= len(data):
        return answer(416, "<Error><Code>InvalidRange</Code></Error>", {"Content-Range": f"bytes */{len(data)}"})
    return answer(206, data[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


def refusal(status: int, reason: str, message: str, **headers: str) -> bytes:
    """json_api/v1/status-codes: the form of every error of the JSON API."""
    errors = [{"domain": "global", "reason": reason, "message": message}]
    body = json.dumps({"error": {"errors": errors, "code": status, "message": message}})
    return answer(status, body, {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}})


def xml_refusal(status: int, code: str) -> bytes:
    """xml-api/reference-status: the form of every error of the XML API."""
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>Said so.</Message></Error>"
    return answer(status, body, {"Content-Type": "application/xml; charset=UTF-8"})


def stored(data: bytes, **more: object) -> bytes:
    """json_api/v1/objects: the resource, as much of it as was asked for."""
    return answer(200, json.dumps({"size": str(len(data)), "crc32c": crc32c_of(data), "generation": "7", **more}), JSON)


# Hashes (xml-api/reference-headers#xgooghash, data-validation)...


def test_the_hash_of_a_partial_answer_is_the_whole_objects() -> None:
    with serving(lambda request: object_answer(request, DATA)) as server:
        assert s3dlio.get_range(URI, 10, 20) == DATA[10:30]
        assert s3dlio.get(URI) == DATA
        assert s3dlio.get_range(URI, 0) == DATA
        assert s3dlio.get_many([URI])[0][1] == DATA
    assert urlsplit(server.requests[0].target).path == OBJECT


@pytest.mark.parametrize("place", [5, 2 * MIB, len(DATA) - 1])
@pytest.mark.parametrize("read", ["get", "get_many", "download"])
def test_bytes_that_changed_on_the_way_are_an_integrity_error(place: int, read: str, tmp_path: Path) -> None:
    changed = bytearray(DATA)
    changed[place] ^= 1

    def reply(request: Received) -> bytes:
        if "alt=media" not in request.target:
            return stored(DATA)
        return object_answer(request, bytes(changed), x_goog_hash=f"crc32c={crc32c_of(DATA)},md5=Zm9v")

    reads: dict[str, Callable[[], object]] = {
        "get": lambda: s3dlio.get(URI),
        "get_many": lambda: s3dlio.get_many([URI]),
        "download": lambda: s3dlio.download(URI, tmp_path / "copy"),
    }
    with serving(reply):
        with pytest.raises(s3dlio.IntegrityError, match="CRC32C"):
            reads[read]()
        assert list(tmp_path.iterdir()) == []
        os.environ["S3DLIO_VERIFY_GET"] = "0"
        assert s3dlio.get(URI) == changed


def test_two_hash_fields_are_one_field_with_two_values() -> None:
    head = f"x-goog-hash: crc32c={crc32c_of(b'abc')}\r\nx-goog-hash: md5=kAFQmDzST7DWlj99KOF/cg==\r\n"
    with serving([f"HTTP/1.1 200 OK\r\n{head}x-goog-generation: 1\r\nContent-Length: 3\r\n\r\nabc".encode()]):
        assert s3dlio.get(URI) == b"abc"


def test_an_empty_object_has_no_range() -> None:
    with serving(lambda request: object_answer(request, b"")):
        assert s3dlio.get(URI) == b""
        assert s3dlio.get_range(URI, 5) == b""


# Compressed objects (transcoding)...


def test_compressed_objects_are_asked_for_as_they_are_stored() -> None:
    packed = gzip.compress(DATA)

    def reply(request: Received) -> bytes:
        assert request.headers["accept-encoding"] == "gzip"
        return object_answer(request, packed, content_encoding="gzip", x_goog_stored_content_encoding="gzip")

    with serving(reply):
        assert s3dlio.get(URI) == packed
        assert s3dlio.get_range(URI, 100, 10) == packed[100:110]


def test_an_object_unpacked_on_the_way_is_read_without_length_and_hash() -> None:
    plain = b"unpacked by somebody"
    chunk = f"{len(plain):x}\r\n".encode() + plain + b"\r\n0\r\n\r\n"
    headers = {
        "Transfer-Encoding": "chunked",
        "x-goog-generation": "1",
        "x-goog-hash": f"crc32c={crc32c_of(gzip.compress(plain))}",
        "x-goog-stored-content-encoding": "gzip",
        "Warning": "214 UploadServer gunzipped",
    }
    with serving([answer(200, chunk, headers)]):
        assert s3dlio.get(URI) == plain


# Generations (request-preconditions, json_api/v1/objects/get)...


@pytest.mark.parametrize(
    "gone",
    [
        answer(404, "No such object: bucket/folder/object", {"Content-Type": "text/html; charset=UTF-8"}),
        refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."),
    ],
    ids=["404", "412"],
)
def test_a_generation_that_is_gone_is_read_again_from_the_start(gone: bytes) -> None:
    new = content(2 * MIB, seed=2)
    replaced = False

    def reply(request: Received) -> bytes:
        nonlocal replaced
        generation = parse_qs(urlsplit(request.target).query).get("generation")
        if generation == ["1"]:
            replaced = True
            return gone
        assert generation in (None, ["2"])
        return object_answer(request, new if replaced else DATA, 2 if replaced else 1)

    with serving(reply):
        assert s3dlio.get(URI) == new


def test_an_object_deleted_while_it_is_read_is_not_found() -> None:
    gone = answer(404, "No such object: bucket/folder/object")
    first = object_answer(Received("GET", "", {"range": f"bytes=0-{MIB - 1}"}, b""), DATA)
    answers = iter([first])
    missing = pytest.raises(s3dlio.ObjectNotFoundError, match="no such object in this bucket")
    with serving(lambda _: next(answers, gone)), missing:
        s3dlio.get(URI)


def test_a_body_that_was_cut_off_continues_in_the_same_generation() -> None:
    def reply(request: Received) -> bytes:
        if "generation" in request.target:
            return object_answer(request, DATA[:MIB], 5)
        return object_answer(request, DATA[:MIB], 5, Connection="close")[: -MIB // 2]

    with serving(reply) as server:
        assert s3dlio.get(URI) == DATA[:MIB]
    assert [request.target.partition("?")[2] for request in server.requests] == ["alt=media", "alt=media&generation=5"]
    assert server.requests[1].headers["range"] == f"bytes={MIB // 2}-{MIB - 1}"


# Tokens (json_api/v1/status-codes#401-unauthorized, authentication)...

EXPIRED = refusal(401, "authError", "Invalid Credentials", WWW_Authenticate='Bearer error="invalid_token"')


@pytest.fixture
def tokens() -> Callable[[Replay, Path], None]:
    def use(server: Replay, folder: Path) -> None:
        path = written(folder / "key.json", service_account(server.url + "/token"))
        os.environ.update(GOOGLE_APPLICATION_CREDENTIALS=path, GCS_ENDPOINT_URL=server.url)
        del os.environ["S3DLIO_NO_SIGN"]

    return use


def _issuing(accepted: list[str], data: bytes = b"content") -> Callable[[Received], bytes]:
    """Gives out "token-1", "token-2" … and accepts some of them."""
    count = 0

    def reply(request: Received) -> bytes:
        nonlocal count
        if request.path == "/token":
            count += 1
            return answer(200, json.dumps({"access_token": f"token-{count}", "expires_in": 3600}), JSON)
        if request.headers.get("authorization", "").removeprefix("Bearer ") in accepted:
            return object_answer(request, data)
        return EXPIRED

    return reply


def test_every_request_carries_the_token(tokens: Any, tmp_path: Path) -> None:
    with Replay(_issuing(["token-1"])) as server:
        tokens(server, tmp_path)
        assert s3dlio.get_many([f"{URI}/{number}" for number in range(50)])[49][1] == b"content"
    assert len([request for request in server.requests if request.path == "/token"]) == 1


def test_a_refused_token_is_renewed_once_and_the_request_sent_again(tokens: Any, tmp_path: Path) -> None:
    with Replay(_issuing(["token-2"])) as server:
        tokens(server, tmp_path)
        assert [data for _, data in s3dlio.get_many([f"{URI}/{number}" for number in range(50)])] == [b"content"] * 50
    assert len([request for request in server.requests if request.path == "/token"]) == 2


def test_tasks_and_threads_share_a_renewed_token(tokens: Any, tmp_path: Path) -> None:
    async def all_of_them() -> list[memoryview]:
        return await asyncio.gather(*(s3dlio.get_async(f"{URI}/{number}") for number in range(30)))

    with Replay(_issuing(["token-2"])) as server:
        tokens(server, tmp_path)
        assert asyncio.run(all_of_them()) == [b"content"] * 30
        with ThreadPoolExecutor(8) as executor:
            assert list(executor.map(s3dlio.get, [URI] * 30)) == [b"content"] * 30
    assert len([request for request in server.requests if request.path == "/token"]) == 2


def test_a_second_refused_token_is_an_error(tokens: Any, tmp_path: Path) -> None:
    with Replay(_issuing([])) as server:
        tokens(server, tmp_path)
        with pytest.raises(
            s3dlio.PermissionDeniedError, match=r"Invalid Credentials.*GOOGLE_APPLICATION_CREDENTIALS"
        ) as e:
            s3dlio.get(URI)
    assert "token-2" not in str(e.value)
    assert [request.path for request in server.requests] == ["/token", OBJECT, "/token", OBJECT]


def test_a_forked_child_gets_a_token_of_its_own(tokens: Any, tmp_path: Path) -> None:
    with Replay(_issuing(["token-1", "token-2"])) as server:
        tokens(server, tmp_path)
        assert s3dlio.get(URI) == b"content"

        def work() -> None:
            assert s3dlio.get(URI) == b"content"

        in_forked_child(work)
        assert s3dlio.get(URI) == b"content"
    assert [request.path for request in server.requests] == ["/token", OBJECT, "/token", OBJECT, OBJECT]


def test_ctrl_c_ends_the_wait_for_a_token(tokens: Any, tmp_path: Path) -> None:
    asked, never = threading.Event(), threading.Event()

    def hang(_: Received) -> bytes:
        asked.set()
        never.wait(20)
        return b""

    with Replay(hang) as server:
        tokens(server, tmp_path)
        child = start(f"import s3dlio; s3dlio.get('{URI}')")
        assert asked.wait(20)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
        assert time.monotonic() - began < 5  # the token endpoint would hang for 20 s
        never.set()
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_token_never_appears_in_messages_or_logs(
    tokens: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    with Replay(_issuing(["token-1"])) as server:
        tokens(server, tmp_path)
        assert s3dlio.get(URI) == b"content"
        server.requests.clear()
    assert "token-1" not in caplog.text


def test_every_request_names_the_project_that_pays(tokens: Any, tmp_path: Path) -> None:
    os.environ["GOOGLE_CLOUD_QUOTA_PROJECT"] = "payer"
    with Replay(_issuing(["token-1"])) as server:
        tokens(server, tmp_path)
        s3dlio.get(URI)
    assert server.requests[-1].headers["x-goog-user-project"] == "payer"


# Writing in one request (json_api/v1/objects/insert, data-validation)...


def _parts_of(request: Received) -> tuple[dict[str, Any], bytes]:
    """The two parts of a multipart upload's body (RFC 2046, section 5.1)."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    _, facts, data, end = request.body.split(b"--" + boundary)
    assert end == b"--\r\n"
    return json.loads(facts.partition(b"\r\n\r\n")[2]), data.partition(b"\r\n\r\n")[2][:-2]


def test_a_small_object_goes_with_its_checksum_in_one_request() -> None:
    data = b"one\r\n--two"
    with serving([stored(data)]) as server:
        s3dlio.put_bytes("gs://bucket/grüße #1", data)
    request = server.requests[0]
    assert request.target == "/upload/storage/v1/b/bucket/o?uploadType=multipart&fields=size%2Ccrc32c%2Cgeneration"
    facts, sent = _parts_of(request)
    assert facts == {"name": "grüße #1", "contentType": "application/octet-stream", "crc32c": crc32c_of(data)}
    assert sent == data


def test_an_upload_refused_for_its_checksum_is_an_integrity_error() -> None:
    said = 'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "mnG7TA==".'
    with serving([refusal(400, "invalid", said)]), pytest.raises(s3dlio.IntegrityError, match="doesn't match"):
        s3dlio.put_bytes(URI, b"hello")


@pytest.mark.parametrize("wrong", [{"crc32c": "AAAAAA=="}, {"size": "4"}], ids=str)
def test_an_object_stored_otherwise_than_sent_is_deleted(wrong: dict[str, str]) -> None:
    refused = pytest.raises(s3dlio.IntegrityError, match="stored other bytes")
    with serving([stored(b"hello", **wrong), answer(204)]) as server, refused:
        s3dlio.put_bytes(URI, b"hello")
    assert (server.requests[1].method, server.requests[1].target) == ("DELETE", f"{OBJECT}?generation=7")


@pytest.mark.parametrize("generation", [[[]], {}, True, -1, 1.5, "abc", "1&x=2", None], ids=str)
def test_an_object_stored_otherwise_is_deleted_only_by_its_generation(generation: object) -> None:
    refused = pytest.raises(s3dlio.IntegrityError, match="stored other bytes")
    with serving([stored(b"hello", crc32c="AAAAAA==", generation=generation)]) as server, refused:
        s3dlio.put_bytes(URI, b"hello")
    assert len(server.requests) == 1


def test_a_write_can_be_verified_by_asking_again() -> None:
    os.environ["S3DLIO_PUT_VERIFY"] = "1"
    with serving([stored(b"hello"), stored(b"hello")]) as server:
        s3dlio.put_bytes(URI, b"hello")
    assert server.requests[1].path == OBJECT
    with serving([stored(b"hello"), stored(b"other")]), pytest.raises(s3dlio.IntegrityError, match="another client"):
        s3dlio.put_bytes(URI, b"hello")


UNPROVEN = {
    "nothing": "",
    "no resource": "{}",
    "no checksum": json.dumps({"size": "5", "generation": "7"}),
    "no size": json.dumps({"crc32c": crc32c_of(b"hello")}),
    "a size that is no number": json.dumps({"size": "many", "crc32c": crc32c_of(b"hello")}),
    "another object": json.dumps({"name": "other", "size": "5", "crc32c": crc32c_of(b"hello")}),
    "another bucket": json.dumps({"bucket": "other", "size": "5", "crc32c": crc32c_of(b"hello")}),
    "a list": "[]",
    "an error": json.dumps({"error": {"code": 503, "message": "Backend Error"}}),
    "a page": "<!doctype html><html></html>",
    "cut": '{"size": "5", "crc3',
}


@pytest.mark.parametrize("body", UNPROVEN.values(), ids=UNPROVEN.keys())
def test_an_answer_that_does_not_say_what_is_stored_is_an_error(body: str) -> None:
    foreign = answer(200, body, JSON)
    with serving([foreign] * 3), pytest.raises(s3dlio.S3dlioError, match=f"{URI} at .*not known whether") as caught:
        s3dlio.put_bytes(URI, b"hello")
    assert type(caught.value) is s3dlio.S3dlioError
    with serving([foreign, foreign, stored(b"hello")]):
        s3dlio.put_bytes(URI, b"hello")


# XML multipart uploads (xml-api/post-object-multipart, put-object-multipart, post-object-complete)...

BEGUN = answer(
    200,
    "<?xml version='1.0' encoding='UTF-8'?><InitiateMultipartUploadResult xmlns='http://s3.amazonaws.com/doc/"
    "2006-03-01/'><Bucket>bucket</Bucket><Key>folder/object</Key><UploadId>ABC/+=</UploadId>"
    "</InitiateMultipartUploadResult>",
)
COMPLETED = answer(
    200,
    "<?xml version='1.0' encoding='UTF-8'?><CompleteMultipartUploadResult xmlns='http://s3.amazonaws.com/doc/"
    '2006-03-01/\'><Bucket>bucket</Bucket><Key>folder/object</Key><ETag>"7fc8"</ETag></CompleteMultipartUploadResult>',
)
LARGE = content(11 * MIB)


class Multipart:
    """A service with multipart uploads, whose last answers are given."""

    def __init__(self, *ends: bytes) -> None:
        self.parts: dict[int, bytes] = {}
        self.dropped = False
        self.completed: list[bytes] = []
        self.ends = list(ends)

    def __call__(self, request: Received) -> bytes:
        query = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
        if request.path == OBJECT:
            return self.ends.pop(0)
        assert unquote(request.path) == "/bucket/folder/object"
        if "uploads" in query:
            assert (request.method, request.headers["content-length"]) == ("POST", "0")
            return BEGUN
        assert query["uploadId"] == ["ABC/+="]
        if request.method == "DELETE":
            self.dropped = True
            return answer(204)
        if request.method == "PUT":
            assert request.headers["x-goog-hash"] == f"crc32c={crc32c_of(request.body)}"
            self.parts[int(query["partNumber"][0])] = request.body
            etag = f'"{zlib.crc32(request.body):x}"'
            return answer(200, "", {"ETag": etag, "x-goog-hash": f"crc32c={crc32c_of(request.body)}"})
        self.completed.append(request.body)
        return self.ends.pop(0)


def test_a_large_object_goes_in_parts_side_by_side() -> None:
    service = Multipart(COMPLETED)
    with serving(service):
        s3dlio.put_bytes(URI, LARGE)
    assert b"".join(service.parts[number] for number in (1, 2, 3)) == LARGE
    numbers = re.findall(rb"<Part><PartNumber>(\d)</PartNumber><ETag>\"(\w+)\"</ETag></Part>", service.completed[0])
    assert numbers == [(b"%d" % number, b"%x" % zlib.crc32(service.parts[number])) for number in (1, 2, 3)]
    assert not service.dropped


def test_a_writer_goes_in_parts_too() -> None:
    service = Multipart(COMPLETED)
    with serving(service), s3dlio.MultipartUploadWriter.from_uri(URI) as writer:
        for start in range(0, len(LARGE), 3 * MIB):
            writer.write(LARGE[start : start + 3 * MIB])
    assert b"".join(service.parts[number] for number in (1, 2, 3)) == LARGE


def test_completing_may_answer_200_with_an_error_that_passes() -> None:
    inside = answer(200, "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>Again.</Message></Error>")
    service = Multipart(inside, COMPLETED)
    with serving(service):
        s3dlio.put_bytes(URI, LARGE)
    assert len(service.completed) == 2


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (xml_refusal(400, "InvalidPart"), s3dlio.S3dlioError),
        (xml_refusal(400, "InvalidPartOrder"), s3dlio.S3dlioError),
        (xml_refusal(400, "EntityTooSmall"), s3dlio.S3dlioError),
        (xml_refusal(200, "InvalidPart"), s3dlio.S3dlioError),
        (xml_refusal(403, "AccessDenied"), s3dlio.PermissionDeniedError),
        (xml_refusal(503, "ServiceUnavailable"), s3dlio.StoreUnavailableError),
    ],
    ids=lambda value: value.split()[1].decode() if isinstance(value, bytes) else "",
)
def test_completing_that_fails_drops_the_parts(end: bytes, kind: type[Exception]) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    service = Multipart(end)
    with serving(service), pytest.raises(kind) as caught:
        s3dlio.put_bytes(URI, LARGE)
    assert type(caught.value) is kind
    assert re.search(r"<Code>(\w+)", end.decode())[1] in str(caught.value)  # type: ignore[index]
    assert service.dropped


def test_an_upload_that_is_gone_may_have_been_completed() -> None:
    service = Multipart(xml_refusal(404, "NoSuchUpload"), stored(LARGE))
    with serving(service):
        s3dlio.put_bytes(URI, LARGE)
    assert not service.dropped


@pytest.mark.parametrize("body", ["", "<html></html>", "{}", COMPLETED.partition(b"\r\n\r\n")[2][:90].decode()])
def test_a_completion_without_a_result_is_an_error(body: str) -> None:
    foreign = answer(200, body)
    service = Multipart(foreign, foreign, foreign)
    with serving(service), pytest.raises(s3dlio.S3dlioError, match="has no <CompleteMultipartUploadResult>"):
        s3dlio.put_bytes(URI, LARGE)
    assert service.dropped
    service = Multipart(foreign, xml_refusal(404, "NoSuchUpload"), stored(LARGE))
    with serving(service):
        s3dlio.put_bytes(URI, LARGE)


def test_an_object_of_the_same_size_proves_nothing() -> None:
    same_size = answer(200, json.dumps({"size": str(len(LARGE)), "generation": "7"}), JSON)
    service = Multipart(xml_refusal(404, "NoSuchUpload"), same_size)
    with serving(service), pytest.raises(s3dlio.ObjectNotFoundError, match="the upload has been dropped"):
        s3dlio.put_bytes(URI, LARGE)


@pytest.mark.parametrize("there", [stored(b"another"), refusal(404, "notFound", "No such object: bucket/x")])
def test_an_upload_that_is_gone_and_was_not_completed_is_an_error(there: bytes) -> None:
    service = Multipart(xml_refusal(404, "NoSuchUpload"), there)
    with serving(service), pytest.raises(s3dlio.ObjectNotFoundError, match="the upload has been dropped"):
        s3dlio.put_bytes(URI, LARGE)


def test_a_part_refused_for_its_checksum_is_an_integrity_error_and_drops_the_others() -> None:
    class Refusing(Multipart):
        def __call__(self, request: Received) -> bytes:
            if "partNumber=2" in request.target:
                return xml_refusal(400, "BadDigest")
            return super().__call__(request)

    service = Refusing()
    with serving(service), pytest.raises(s3dlio.IntegrityError, match="BadDigest"):
        s3dlio.put_bytes(URI, LARGE)
    assert service.dropped


def test_a_part_that_fails_is_sent_again_alone() -> None:
    class Busy(Multipart):
        refused = False

        def __call__(self, request: Received) -> bytes:
            if "partNumber=2" in request.target and not self.refused:
                self.refused = True
                return xml_refusal(503, "ServiceUnavailable")
            return super().__call__(request)

    service = Busy(COMPLETED)
    with serving(service) as server:
        s3dlio.put_bytes(URI, LARGE)
    assert sorted(request.target.partition("&")[0][-1] for request in server.requests if request.method == "PUT") == [
        "1", "2", "2", "3",
    ]  # fmt: skip
    assert b"".join(service.parts[number] for number in (1, 2, 3)) == LARGE


def test_a_completed_object_with_another_checksum_is_an_integrity_error() -> None:
    head, _, body = COMPLETED.partition(b"\r\n")
    service = Multipart(head + b"\r\nx-goog-hash: crc32c=AAAAAA==\r\n" + body, stored(b"another"))
    with serving(service), pytest.raises(s3dlio.IntegrityError):
        s3dlio.put_bytes(URI, LARGE)


# Resumable uploads (performing-resumable-uploads, resumable-uploads)...


class Resumable:
    """A service without multipart uploads, which keeps a given part of each chunk."""

    def __init__(self, *keeps: int | bytes) -> None:
        self.keeps = list(keeps)
        self.content = bytearray()
        self.ranges: list[str] = []
        self.cancelled = False

    def __call__(self, request: Received) -> bytes:
        if request.path == "/bucket/folder%2Fobject":
            return answer(501, "<html>Not here.</html>")
        assert request.path == "/upload/storage/v1/b/bucket/o"
        if request.method == "POST":
            assert json.loads(request.body)["name"] == "folder/object"
            place = f"{server_url()}{request.path}?uploadType=resumable&upload_id=XYZ"
            return answer(200, "", {"Location": place})
        assert "upload_id=XYZ" in request.target
        if request.method == "DELETE":
            self.cancelled = True
            return answer(499, "", reason="Client Closed Request")
        return self._chunk(request)

    def _chunk(self, request: Received) -> bytes:
        self.ranges.append(request.headers["content-range"])
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", request.headers["content-range"])
        assert match is not None
        start = int(match[1]) if match[1] else len(self.content)
        keep = self.keeps.pop(0) if self.keeps else len(request.body)
        if isinstance(keep, bytes):
            return keep
        assert start <= len(self.content)
        self.content[start:] = request.body[:keep] if keep >= 0 else b""
        if match[3] == str(len(self.content)):
            assert request.headers["x-goog-hash"] == f"crc32c={crc32c_of(bytes(self.content))}"
            return stored(bytes(self.content))
        kept = {"Range": f"bytes=0-{len(self.content) - 1}"} if self.content else {}
        return answer(308, "", kept, reason="Resume Incomplete")


def _write(data: bytes) -> None:
    with s3dlio.MultipartUploadWriter.from_uri(URI) as writer:
        writer.write(data)


def server_url() -> str:
    return os.environ["GCS_ENDPOINT_URL"]


def test_without_multipart_uploads_parts_go_one_after_the_other() -> None:
    service = Resumable()
    with serving(service) as server:
        _write(LARGE)
        _write(LARGE)
    assert service.content == LARGE
    ranges = [f"bytes 0-{5 * MIB - 1}/*", f"bytes {5 * MIB}-{10 * MIB - 1}/*", f"bytes {10 * MIB}-{11 * MIB - 1}/*"]
    assert service.ranges[:4] == [*ranges, f"bytes */{11 * MIB}"]
    assert len([request for request in server.requests if request.path == "/bucket/folder%2Fobject"]) == 1


def test_a_last_part_that_is_no_multiple_tells_the_size_of_the_whole() -> None:
    service = Resumable()
    with serving(service):
        _write(LARGE[:-7])
    assert service.content == LARGE[:-7]
    assert service.ranges[-1] == f"bytes {10 * MIB}-{11 * MIB - 8}/{11 * MIB - 7}"


@pytest.mark.parametrize(
    "keeps",
    [
        (256 * 1024,),
        (0,),
        (-1, 5 * MIB, 1 * MIB, 2 * MIB),
        (5 * MIB, 0, 0, 3 * MIB),
        (refusal(503, "backendError", "Backend Error"), 5 * MIB, refusal(500, "internalError", "Internal Error")),
    ],
    ids=["a part of it", "nothing", "several times", "twice nothing", "errors between"],
)
def test_the_bytes_of_a_chunk_that_the_service_did_not_keep_are_sent_again(keeps: tuple[Any, ...]) -> None:
    service = Resumable(*keeps)
    with serving(service):
        _write(LARGE[:-3])
    assert service.content == LARGE[:-3]


@pytest.mark.parametrize("place", ["", "http://[", "/o", "/o?upload_id=", "/o?upload_id=x y", "/o?upload_id=\xe9", "x"])
def test_a_malformed_location_of_an_upload_is_an_error(place: str) -> None:
    def reply(request: Received) -> bytes:
        if request.path == "/bucket/folder%2Fobject":
            return answer(501, "<html>Not here.</html>")
        return answer(200, "", {"Location": place})

    with serving(reply), pytest.raises(s3dlio.S3dlioError, match="names no upload"):
        _write(LARGE)


def test_an_upload_without_progress_is_an_error() -> None:
    service = Resumable(*[0] * 10)
    with serving(service), pytest.raises(s3dlio.StoreUnavailableError, match="keeps 0 bytes"):
        _write(LARGE)
    assert service.cancelled


def test_an_upload_that_has_expired_is_an_error() -> None:
    service = Resumable(5 * MIB, answer(410, "", reason="Gone"))
    with serving(service), pytest.raises(s3dlio.StoreUnavailableError, match="expired"):
        _write(LARGE)


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_whose_last_answer_was_lost_is_looked_for(status: int) -> None:
    gone = answer(status, "", reason="Gone")
    service = Resumable(5 * MIB, 5 * MIB, gone)

    def reply(request: Received) -> bytes:
        return stored(there) if request.path == OBJECT else service(request)

    there = LARGE[:-3]
    with serving(reply):
        _write(LARGE[:-3])
    service = Resumable(5 * MIB, 5 * MIB, gone)
    there = b"another"
    with serving(reply), pytest.raises(s3dlio.S3dlioError, match=str(status)):
        _write(LARGE[:-3])


def test_an_upload_whose_end_does_not_say_what_is_stored_is_an_error() -> None:
    service = Resumable(5 * MIB, 5 * MIB, *[answer(200, "{}", JSON)] * 3)
    with serving(service), pytest.raises(s3dlio.S3dlioError, match="has no size"):
        _write(LARGE[:-3])


def test_an_upload_that_the_service_ends_early_is_an_error() -> None:
    service = Resumable(stored(LARGE))
    with serving(service), pytest.raises(s3dlio.S3dlioError, match="has no proof that the upload is complete"):
        _write(LARGE)


def test_without_multipart_uploads_put_bytes_sends_one_request() -> None:
    with Replay([stored(LARGE)]) as server:
        os.environ["STORAGE_EMULATOR_HOST"] = server.url
        s3dlio.put_bytes(URI, LARGE)
    assert _parts_of(server.requests[0])[1] == LARGE


def test_an_aborted_upload_is_canceled() -> None:
    service = Resumable()
    with serving(service):
        writer = s3dlio.MultipartUploadWriter.from_uri(URI)
        writer.write(LARGE)
        writer.abort()
    assert service.cancelled


# Refusals (json_api/v1/status-codes, troubleshooting)...


@pytest.mark.parametrize(
    ("call", "reply", "kind", "message"),
    [
        (
            s3dlio.get,
            answer(404, "No such object: bucket/folder/object", {"Content-Type": "text/html; charset=UTF-8"}),
            s3dlio.ObjectNotFoundError,
            "no such object in this bucket",
        ),
        (
            s3dlio.get,
            answer(404, "The specified bucket does not exist.", {"Content-Type": "text/html; charset=UTF-8"}),
            s3dlio.ObjectNotFoundError,
            "no such bucket",
        ),
        (
            s3dlio.stat,
            refusal(404, "notFound", "No such object: bucket/folder/object"),
            s3dlio.ObjectNotFoundError,
            "no such object in this bucket",
        ),
        (
            s3dlio.delete,
            refusal(404, "notFound", "The specified bucket does not exist."),
            s3dlio.ObjectNotFoundError,
            "no such bucket",
        ),
        (
            s3dlio.list,
            refusal(404, "notFound", "The specified bucket does not exist."),
            s3dlio.ObjectNotFoundError,
            "no such bucket",
        ),
        (
            lambda uri: s3dlio.put_bytes(uri, b""),
            refusal(404, "notFound", "The specified bucket does not exist."),
            s3dlio.ObjectNotFoundError,
            "no such bucket",
        ),
        (
            s3dlio.get,
            answer(403, "x@y does not have storage.objects.get access to the Google Cloud Storage object."),
            s3dlio.PermissionDeniedError,
            "storage.objects.get.*roles/storage.objectViewer",
        ),
        (
            s3dlio.exists,
            refusal(403, "forbidden", "Permission 'storage.objects.get' denied on resource (or it may not exist)."),
            s3dlio.PermissionDeniedError,
            "storage.objects.get",
        ),
        (
            s3dlio.get,
            answer(401, "Anonymous caller does not have storage.objects.get access"),
            s3dlio.PermissionDeniedError,
            "no credentials were sent",
        ),
        (
            s3dlio.stat,
            refusal(400, "required", "Bucket is a requester pays bucket but no user project provided."),
            s3dlio.ConfigurationError,
            "GOOGLE_CLOUD_QUOTA_PROJECT",
        ),
        (s3dlio.stat, refusal(504, "gatewayTimeout", "Timeout"), s3dlio.StoreTimeoutError, "gatewayTimeout"),
        (s3dlio.stat, refusal(429, "rateLimitExceeded", "Slow"), s3dlio.StoreUnavailableError, "rateLimitExceeded"),
        (s3dlio.stat, refusal(403, "rateLimitExceeded", "Slow"), s3dlio.StoreUnavailableError, "rateLimitExceeded"),
        (s3dlio.stat, refusal(503, "NoSuchBucket", "Busy"), s3dlio.StoreUnavailableError, "again later"),
        (s3dlio.stat, answer(200, "<html>a portal</html>"), s3dlio.S3dlioError, "not JSON"),
        (s3dlio.list, answer(200, "[]", JSON), s3dlio.S3dlioError, "not JSON"),
        (s3dlio.stat, answer(418, '{"error": "teapot"}', JSON), s3dlio.S3dlioError, "418"),
        (s3dlio.stat, answer(418, '{"error": {"errors": 5}}', JSON), s3dlio.S3dlioError, "418"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_the_error_for_a_refusal_says_what_it_means(
    call: Callable[[str], Any], reply: bytes, kind: type[s3dlio.S3dlioError], message: str
) -> None:
    os.environ["S3DLIO_RETRIES"] = "0"
    with serving([reply]) as server, pytest.raises(kind, match=message) as caught:
        call(URI)
    assert type(caught.value) is kind
    assert URI in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(status: int) -> None:
    busy = refusal(status, "rateLimitExceeded", "Slow down.", Retry_After="1")
    with serving([busy, answer(200, "{}", JSON)]):
        began = time.monotonic()
        assert s3dlio.list("gs://bucket") == []
        assert 1 <= time.monotonic() - began < 3


def test_exists_is_false_for_a_missing_object_and_an_error_for_a_refusal() -> None:
    with serving([refusal(404, "notFound", "No such object: bucket/folder/object")]):
        assert s3dlio.exists(URI) is False
    with serving([answer(204), refusal(404, "notFound", "No such object: bucket/folder/object")]):
        s3dlio.delete(URI)
        s3dlio.delete(URI)


# Listing (json_api/v1/objects/list)...


def test_a_page_may_be_empty_and_others_follow() -> None:
    pages = [
        {"nextPageToken": "one+/="},
        {"nextPageToken": "two", "items": [{"name": "folder/object/a"}], "prefixes": ["folder/object/b/"]},
        {"items": [{"name": "folder/object/"}, {"name": "folder/object/c\n"}]},
    ]
    with serving([answer(200, json.dumps(page), JSON) for page in pages]) as server:
        assert s3dlio.list(URI) == [f"{URI}/a", f"{URI}/b/", f"{URI}/c\n"]
    queries = [parse_qs(urlsplit(request.target).query) for request in server.requests]
    assert [query.get("pageToken") for query in queries] == [None, ["one+/="], ["two"]]
    assert queries[0]["prefix"] == ["folder/object/"]
    assert queries[0]["delimiter"] == ["/"]


def test_a_refusal_of_a_later_page_is_an_error() -> None:
    first = answer(200, json.dumps({"nextPageToken": "more", "items": [{"name": "folder/object/a"}]}), JSON)
    with serving([first, refusal(403, "forbidden", "Forbidden")]), pytest.raises(s3dlio.PermissionDeniedError):
        s3dlio.list(URI)
    with serving([first, first]), pytest.raises(s3dlio.S3dlioError, match="does not say where the listing continues"):
        s3dlio.list(URI)


# Copies and buckets (json_api/v1/objects/rewrite, json_api/v1/buckets/insert)...


def test_a_large_copy_takes_several_steps() -> None:
    steps = [{"done": False, "rewriteToken": "t+1"}, {"done": False, "rewriteToken": "t2"}, {"done": True}]
    with serving([answer(200, json.dumps(step), JSON) for step in steps]) as server:
        assert run(store_for("gs").copy(parse(URI), parse("gs://other/to#1"), 1))
    assert server.requests[0].path == f"{OBJECT}/rewriteTo/b/other/o/to%231"
    tokens = [parse_qs(urlsplit(request.target).query).get("rewriteToken") for request in server.requests]
    assert tokens == [None, ["t+1"], ["t2"]]


@pytest.mark.parametrize("step", ["{}", "", '{"done": false}', '{"done": "true"}', "[]", '{"kind": "storage#object"}'])
def test_a_copy_that_is_neither_done_nor_continues_is_an_error(step: str) -> None:
    with serving([answer(200, step, JSON)] * 3), pytest.raises(s3dlio.S3dlioError, match=f"{URI} at .*not known"):
        run(store_for("gs").copy(parse(URI), parse("gs://other/key"), 1))


def test_making_an_existing_bucket_succeeds_only_if_the_account_has_it() -> None:
    os.environ["GOOGLE_CLOUD_PROJECT"] = "mine"
    taken = refusal(409, "conflict", "The requested bucket name is not available.")
    with serving([taken, answer(200, '{"name": "bucket"}', JSON)]):
        s3dlio.make_bucket("gs://bucket")
    others = refusal(403, "forbidden", "no storage.buckets.get access")
    with serving([taken, others]), pytest.raises(s3dlio.PermissionDeniedError):
        s3dlio.make_bucket("gs://bucket")
