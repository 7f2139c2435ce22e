# SPDX-License-Identifier: Apache-2.0
"""Answers that Amazon S3 documents or is known to send, and that emulators do not send, byte for byte.

Each case names the page that documents it, below https://docs.aws.amazon.com/AmazonS3/latest/.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import s3dlio
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.runtime.run import run
from s3dlio.transfer.stores import store_for
from tests.behavior.content import content
from tests.replay import Received, Replay, answer
from tests.stores.s3.replay import Aws, chunked, error, error_body, use, xml

URI = "s3://bucket/key"
ERRORS = "API/ErrorResponses.html"
OK = answer(200)
_CONTENT_MD5 = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
_CONTENT_CRC = crc32c_text(crc32c([memoryview(b"content")]))


def _get() -> bytes:
    return bytes(s3dlio.get(URI))


def _put() -> None:
    s3dlio.put_bytes(URI, b"content")


def _found(body: bytes, **headers: str) -> bytes:
    """GetObject, as documented."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(200, body, {"ETag": '"fba9dede5f27731c9771645a39863328"', **fields})


# Refusals...


class Refusal(NamedTuple):
    """An answer that ends a call: where it is documented, the answer, the call, and the error that the call raises."""

    page: str
    answer: bytes
    call: Callable[[], Any]
    kind: type[s3dlio.S3dlioError]
    says: str


_MARKER = {"x-amz-delete-marker": "true"}

REFUSALS = {
    "no such key": Refusal(ERRORS, error(404, "NoSuchKey"), _get, s3dlio.ObjectNotFoundError, "no such object"),
    "no such bucket": Refusal(ERRORS, error(404, "NoSuchBucket"), _get, s3dlio.ObjectNotFoundError, "no such bucket"),
    "a missing key, without s3:ListBucket": Refusal(
        "API/API_GetObject.html", error(403, "AccessDenied"), _get, s3dlio.PermissionDeniedError, "s3:ListBucket"
    ),
    "the same for HEAD, which has no body": Refusal(
        "API/API_HeadObject.html",
        answer(403),
        lambda: s3dlio.exists(URI),
        s3dlio.PermissionDeniedError,
        "s3:ListBucket",
    ),
    "an archived object": Refusal(
        "API/API_GetObject.html",
        error(403, "InvalidObjectState", "<StorageClass>GLACIER</StorageClass>"),
        _get,
        s3dlio.S3dlioError,
        "archived: restore it first",
    ),
    "a delete marker": Refusal(
        "userguide/DeleteMarker.html",
        error(404, "NoSuchKey", headers=_MARKER),
        _get,
        s3dlio.ObjectNotFoundError,
        "NoSuchKey",
    ),
    "a delete marker, named by its version": Refusal(
        "userguide/DeleteMarker.html",
        error(405, "MethodNotAllowed", "<Method>GET</Method><ResourceType>DeleteMarker</ResourceType>", _MARKER),
        _get,
        s3dlio.S3dlioError,
        "delete marker",
    ),
    "not modified, which was not asked": Refusal(
        "API/API_GetObject.html", answer(304, headers={"ETag": '"1"'}), _get, s3dlio.S3dlioError, "304"
    ),
    "an unknown access key": Refusal(
        ERRORS, error(403, "InvalidAccessKeyId"), _get, s3dlio.PermissionDeniedError, "AWS_ACCESS_KEY_ID"
    ),
    "a wrong secret": Refusal(
        ERRORS, error(403, "SignatureDoesNotMatch"), _get, s3dlio.PermissionDeniedError, "AWS_SECRET_ACCESS_KEY"
    ),
    "an expired session, with 400": Refusal(
        ERRORS, error(400, "ExpiredToken"), _get, s3dlio.PermissionDeniedError, "get new credentials"
    ),
    "a malformed session token, with 400": Refusal(
        ERRORS, error(400, "InvalidToken"), _get, s3dlio.PermissionDeniedError, "AWS_SESSION_TOKEN"
    ),
    "a clock that is wrong": Refusal(
        ERRORS, error(403, "RequestTimeTooSkewed"), _get, s3dlio.PermissionDeniedError, "clock"
    ),
    "a region that the answer does not name": Refusal(
        ERRORS, error(400, "AuthorizationHeaderMalformed"), _get, s3dlio.ConfigurationError, "AWS_REGION"
    ),
    "a key too long": Refusal(ERRORS, error(400, "KeyTooLongError"), _put, s3dlio.InvalidURIError, "1,024 bytes"),
    "no name for a bucket": Refusal(ERRORS, error(400, "InvalidBucketName"), _get, s3dlio.InvalidURIError, "name"),
    "a listing that is refused": Refusal(
        "API/API_ListObjectsV2.html",
        error(403, "AccessDenied"),
        lambda: s3dlio.list("s3://bucket/folder"),
        s3dlio.PermissionDeniedError,
        "AccessDenied",
    ),
    "a listing of no bucket": Refusal(
        "API/API_ListObjectsV2.html",
        error(404, "NoSuchBucket"),
        lambda: s3dlio.list("s3://bucket/folder"),
        s3dlio.ObjectNotFoundError,
        "no such bucket",
    ),
    "a listing that is none": Refusal(
        "API/API_ListObjectsV2.html",
        answer(200, "<html>a gateway's page"),
        lambda: s3dlio.list("s3://bucket/folder"),
        s3dlio.S3dlioError,
        "not XML",
    ),
}


@pytest.mark.parametrize("row", REFUSALS.values(), ids=REFUSALS.keys())
def test_the_error_for_a_refusal_says_what_to_check(row: Refusal) -> None:
    with Replay([row.answer]) as server:
        use(server)
        with pytest.raises(row.kind, match=re.escape(row.says)) as caught:
            row.call()
    assert type(caught.value) is row.kind
    assert caught.value.endpoint == server.url
    assert "s3://bucket" in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret key", "")


def test_a_delete_marker_does_not_exist() -> None:
    """userguide/DeleteMarker.html: a HEAD of the current version answers 404 with x-amz-delete-marker."""
    with Replay([answer(404, headers=_MARKER)]) as server:
        use(server)
        assert s3dlio.exists(URI) is False


# Refusals that may pass...


class Passing(NamedTuple):
    """An answer after which the same request succeeds, and the error of a call that gets no other answer."""

    page: str
    answer: bytes
    call: Callable[[], Any]
    kind: type[s3dlio.S3dlioError]


PASSING = {
    "503 SlowDown": Passing(ERRORS, error(503, "SlowDown"), _get, s3dlio.StoreUnavailableError),
    "503 ServiceUnavailable": Passing(ERRORS, error(503, "ServiceUnavailable"), _get, s3dlio.StoreUnavailableError),
    "500 InternalError": Passing(ERRORS, error(500, "InternalError"), _get, s3dlio.StoreUnavailableError),
    "400 RequestTimeout": Passing(ERRORS, error(400, "RequestTimeout"), _put, s3dlio.StoreTimeoutError),
    "400 BadDigest": Passing(ERRORS, error(400, "BadDigest"), _put, s3dlio.IntegrityError),
    "400 XAmzContentSHA256Mismatch": Passing(
        ERRORS, error(400, "XAmzContentSHA256Mismatch"), _put, s3dlio.IntegrityError
    ),
    "409 OperationAborted": Passing(ERRORS, error(409, "OperationAborted"), _put, s3dlio.S3dlioError),
    "429 without a body": Passing(ERRORS, answer(429), _get, s3dlio.StoreUnavailableError),
}


@pytest.mark.parametrize("row", PASSING.values(), ids=PASSING.keys())
def test_a_refusal_that_may_pass_is_tried_again(row: Passing) -> None:
    good = _found(b"content") if row.call is _get else OK
    with Replay([row.answer, row.answer, good]) as server:
        use(server)
        assert row.call() == (b"content" if row.call is _get else None)
    first, _, last = server.requests
    assert (first.method, first.target, first.body) == (last.method, last.target, last.body)


@pytest.mark.parametrize("row", PASSING.values(), ids=PASSING.keys())
def test_a_refusal_that_does_not_pass_is_an_error_after_the_tries(row: Passing) -> None:
    os.environ["S3DLIO_RETRIES"] = "1"
    with Replay([row.answer, row.answer]) as server:
        use(server)
        with pytest.raises(row.kind) as caught:
            row.call()
    assert type(caught.value) is row.kind


# Reading...


def test_an_empty_object_has_no_first_part() -> None:
    """API/API_GetObject.html: a range of an object without bytes is not satisfiable, InvalidRange."""
    more = "<RangeRequested>bytes=0-16777215</RangeRequested><ActualObjectSize>0</ActualObjectSize>"
    with Replay([error(416, "InvalidRange", more)] * 2) as server:
        use(server)
        assert s3dlio.get(URI) == b""
        assert s3dlio.get_range(URI, 0, 10) == b""


def test_an_object_that_is_replaced_while_its_parts_are_read_is_read_again() -> None:
    """API/API_GetObject.html: If-Match with another ETag answers 412 PreconditionFailed."""
    os.environ.update(S3DLIO_GET_PART_MB="1", S3DLIO_PARTS_IN_FLIGHT="1")
    old, new = content(3 << 20, seed=1), content(3 << 20, seed=2)

    def part(data: bytes, start: int, etag: str) -> bytes:
        stop = min(len(data), start + (1 << 20))
        where = f"bytes {start}-{stop - 1}/{len(data)}"
        return answer(206, data[start:stop], {"ETag": etag, "Content-Range": where})

    answers = [part(old, 0, '"old"'), part(old, 1 << 20, '"old"'), error(412, "PreconditionFailed")]
    answers += [part(new, start << 20, '"new"') for start in range(3)]
    with Replay(answers) as server:
        use(server)
        assert s3dlio.get(URI) == new
    conditions = [request.headers.get("if-match") for request in server.requests]
    assert conditions == [None, '"old"', '"old"', None, '"new"', '"new"']


@pytest.mark.parametrize("replaced", [False, True])
def test_a_body_that_is_cut_off_continues_where_it_stopped_in_the_same_version(replaced: bool) -> None:
    """API/API_GetObject.html: Range and If-Match together."""
    old, new = content(100_000, seed=1), content(100_000, seed=2)

    def cut(data: bytes, start: int, sent: int) -> bytes:
        headers = {"Content-Length": str(len(data) - start), "ETag": '"1"', "Connection": "close"}
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return answer(206, data[start : start + sent], headers)

    whole = answer(206, new, {"ETag": '"2"', "Content-Range": "bytes 0-99999/100000"})
    rest = [error(412, "PreconditionFailed"), whole] if replaced else [cut(old, 70_000, 30_000)]
    with Replay([cut(old, 0, 60_000), cut(old, 60_000, 10_000), *rest]) as server:
        use(server)
        assert s3dlio.get(URI) == (new if replaced else old)
    asked = [(request.headers["range"], request.headers.get("if-match")) for request in server.requests]
    assert asked[:3] == [
        ("bytes=0-16777215", None),
        ("bytes=60000-99999", '"1"'),
        ("bytes=70000-99999", '"1"'),
    ]
    assert asked[3:] == ([("bytes=0-16777215", None)] if replaced else [])


def test_a_weak_etag_is_not_sent_as_a_condition() -> None:
    """RFC 9110, section 13.1.1: If-Match compares strongly, so that a weak ETag (of a proxy) never matches."""
    os.environ["S3DLIO_GET_PART_MB"] = "1"
    data = content(2 << 20)
    first = answer(206, data[: 1 << 20], {"ETag": 'W/"1"', "Content-Range": f"bytes 0-{(1 << 20) - 1}/{2 << 20}"})
    with Replay([first, answer(200, data, {"ETag": 'W/"1"'})]) as server:
        use(server)
        assert s3dlio.get(URI) == data
    assert not any("if-match" in request.headers for request in server.requests)


_DATA = b"the content of the object"
_WRONG = b"the Content of the object"


def _crc64(data: bytes) -> int:
    """CRC-64/NVME, bit by bit, with the parameters that the catalog of CRCs gives."""
    value = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
    return value ^ 0xFFFFFFFFFFFFFFFF


assert _crc64(b"123456789") == 0xAE8B14860A799888  # the catalog's check value

CHECKSUMS = {
    "CRC32C": {"x-amz-checksum-crc32c": crc32c_text(crc32c([memoryview(_DATA)]))},
    "CRC32C of the object, said so": {
        "x-amz-checksum-crc32c": crc32c_text(crc32c([memoryview(_DATA)])),
        "x-amz-checksum-type": "FULL_OBJECT",
    },
    "CRC-32, as SDKs of the vendor write it": {
        "x-amz-checksum-crc32": base64.b64encode(zlib.crc32(_DATA).to_bytes(4, "big")).decode()
    },
    "CRC-64/NVME, as the service itself adds it": {
        "x-amz-checksum-crc64nvme": base64.b64encode(_crc64(_DATA).to_bytes(8, "big")).decode()
    },
}


@pytest.mark.parametrize("headers", CHECKSUMS.values(), ids=CHECKSUMS.keys())
@pytest.mark.parametrize("read", [s3dlio.get, lambda uri: s3dlio.get_many([uri], 1)[0][1]], ids=["get", "get_many"])
def test_a_body_is_checked_against_the_checksum_sent_with_it(
    headers: dict[str, str], read: Callable[[str], memoryview]
) -> None:
    """API/API_GetObject.html: the checksums of the object come if x-amz-checksum-mode asks for them."""
    with Replay([_found(_DATA, **headers), _found(_WRONG, **headers), _found(_WRONG, **headers)]) as server:
        use(server)
        assert read(URI) == _DATA
        with pytest.raises(s3dlio.IntegrityError, match=rf"s3://bucket/key at {server.url}: .*CRC-?(32|64)"):
            read(URI)
        os.environ["S3DLIO_VERIFY_GET"] = "0"
        assert read(URI) == _WRONG
    modes = [request.headers.get("x-amz-checksum-mode") for request in server.requests]
    assert modes == ["ENABLED", "ENABLED", None]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-crc32c": "AAAAAA==-2"},
        {"x-amz-checksum-crc32c": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-crc32": "AAAAAA==-10000"},
        {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA=-2"},
        {"x-amz-checksum-sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    ],
    ids=["crc32c-N", "COMPOSITE", "crc32-N", "crc64nvme-N", "sha256"],
)
def test_a_checksum_that_is_not_the_bodys_is_not_compared(headers: dict[str, str]) -> None:
    """userguide/checking-object-integrity.html: a composite checksum is one of the parts' checksums."""
    with Replay([_found(_DATA, **headers)]) as server:
        use(server)
        assert s3dlio.get(URI) == _DATA


def test_the_checksum_in_the_answer_to_a_range_may_be_that_of_a_part() -> None:
    """userguide/checking-object-integrity.html: a range that is a part of a multipart upload has its checksum."""
    headers = {"x-amz-checksum-crc32c": "AAAAAA==", "Content-Range": "bytes 0-24/50", "ETag": '"1"'}
    with Replay([answer(206, _DATA, headers)]) as server:
        use(server)
        assert s3dlio.get_range(URI, 0, 25) == _DATA


# Writing...


def test_every_upload_has_its_crc32c() -> None:
    """API/API_PutObject.html: the service compares x-amz-checksum-crc32c with what it has received."""
    with Replay([OK]) as server:
        use(server)
        s3dlio.put_bytes(URI, _DATA)
    (request,) = server.requests
    assert request.headers["x-amz-checksum-crc32c"] == crc32c_text(crc32c([memoryview(_DATA)]))
    assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert request.body == _DATA


def test_a_payload_is_signed_on_request() -> None:
    """API/sig-v4-header-based-auth.html: x-amz-content-sha256 is the payload's SHA-256."""
    os.environ["S3DLIO_SIGN_PAYLOAD"] = "1"
    with Replay([OK, _found(b"")]) as server:
        use(server)
        s3dlio.put_bytes(URI, _DATA)
        s3dlio.get(URI)
    hashes = [request.headers["x-amz-content-sha256"] for request in server.requests]
    assert hashes == [hashlib.sha256(_DATA).hexdigest(), hashlib.sha256(b"").hexdigest()]


_MD5 = hashlib.md5(_DATA).hexdigest()
_KMS = {"x-amz-server-side-encryption": "aws:kms"}


@pytest.mark.parametrize(
    ("headers", "settings", "is_right"),
    [
        ({"x-amz-checksum-crc32c": crc32c_text(crc32c([memoryview(_DATA)]))}, {}, True),
        ({"x-amz-checksum-crc32c": "AAAAAA==", "ETag": f'"{_MD5}"'}, {}, False),
        ({"ETag": f'"{_MD5}"'}, {}, True),
        ({"ETag": f'"{"0" * 32}"'}, {}, False),
        ({"ETag": f'"{"0" * 32}"'}, {"S3DLIO_PUT_ETAG": "0"}, True),
        ({"ETag": f'"{"0" * 32}"', **_KMS}, {}, True),
        ({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, {}, True),
        ({"ETag": '"an-etag-of-another-kind"'}, {}, True),
        ({}, {}, True),
    ],
    ids=[
        "confirmed",
        "another checksum",
        "the MD5",
        "another MD5",
        "another MD5, not compared",
        "encrypted by a service",
        "encrypted with a key of the customer",
        "no MD5",
        "nothing",
    ],
)
def test_the_checksum_that_the_service_stored_is_compared(
    headers: dict[str, str], settings: dict[str, str], is_right: bool
) -> None:
    """API/API_Object.html: an ETag is the MD5 unless the object is encrypted with KMS or customers' keys."""
    os.environ.update(settings)
    with Replay([answer(200, headers=headers)]) as server:
        use(server)
        if is_right:
            s3dlio.put_bytes(URI, _DATA)
        else:
            with pytest.raises(s3dlio.IntegrityError, match="stored other bytes"):
                s3dlio.put_bytes(URI, _DATA)


@pytest.mark.parametrize(
    ("stored", "is_right"),
    [
        ({"Content-Length": "25"}, True),
        ({"Content-Length": "25", "x-amz-checksum-crc32c": crc32c_text(crc32c([memoryview(_DATA)]))}, True),
        ({"Content-Length": "24"}, False),
        ({"Content-Length": "25", "x-amz-checksum-crc32c": "AAAAAA=="}, False),
        ({"Content-Length": "25", "ETag": '"2"'}, False),
    ],
    ids=["size", "checksum", "another size", "another checksum", "another ETag"],
)
def test_put_verify_asks_for_what_is_stored(stored: dict[str, str], is_right: bool) -> None:
    """API/API_HeadObject.html."""
    os.environ["S3DLIO_PUT_VERIFY"] = "1"
    with Replay([answer(200, headers={"ETag": '"1"'}), answer(200, headers=stored)]) as server:
        use(server)
        if is_right:
            s3dlio.put_bytes(URI, _DATA)
        else:
            with pytest.raises(s3dlio.IntegrityError, match="25 bytes were written"):
                s3dlio.put_bytes(URI, _DATA)
    assert [request.method for request in server.requests] == ["PUT", "HEAD"]


# Multipart uploads...

_PARTS = content(6 << 20)
_CREATED = answer(200, xml("InitiateMultipartUploadResult", "<UploadId>upload</UploadId>"))
_WHOLE = answer(
    200,
    xml("InitiateMultipartUploadResult", "<UploadId>upload</UploadId>"),
    {"x-amz-checksum-algorithm": "CRC32C", "x-amz-checksum-type": "FULL_OBJECT"},
)
_COMPLETED = xml("CompleteMultipartUploadResult", "<Key>key</Key><ETag>&quot;1-2&quot;</ETag>")
_ABORTED = answer(204)


def _in_parts() -> None:
    os.environ.update(S3DLIO_PUT_PART_MB="5", S3DLIO_MULTIPART_THRESHOLD_MB="5", S3DLIO_PARTS_IN_FLIGHT="1")
    s3dlio.put_bytes(URI, _PARTS)


def _part(request: Received) -> bytes:
    headers = {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'}
    return answer(200, headers={**headers, "x-amz-checksum-crc32c": request.headers["x-amz-checksum-crc32c"]})


def _multipart(completions: list[bytes], created: bytes = _CREATED) -> Callable[[Received], bytes]:
    """Answers of a multipart upload: the given ones to CompleteMultipartUpload and to what follows."""

    def choose(request: Received) -> bytes:
        if request.method == "POST" and request.target.endswith("?uploads="):
            return created
        return _part(request) if request.method == "PUT" else completions.pop(0)

    return choose


def test_a_completed_upload_names_its_parts_and_checksums() -> None:
    """API/API_CompleteMultipartUpload.html."""
    with Replay(_multipart([answer(200, _COMPLETED)])) as server:
        use(server)
        _in_parts()
    create, first, second, complete = server.requests
    assert create.headers["x-amz-checksum-algorithm"] == "CRC32C"
    assert [first.target, second.target] == [f"/bucket/key?partNumber={n}&uploadId=upload" for n in (1, 2)]
    assert first.body + second.body == _PARTS
    assert complete.headers["x-amz-mp-object-size"] == str(len(_PARTS))
    assert "x-amz-checksum-crc32c" not in complete.headers  # the service did not offer to keep one of the whole object
    for number, part in enumerate((first, second), 1):
        etag, checksum = hashlib.md5(part.body).hexdigest(), part.headers["x-amz-checksum-crc32c"]
        assert (
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag>'
            f"<ChecksumCRC32C>{checksum}</ChecksumCRC32C></Part>"
        ) in complete.body.decode()


def test_a_service_that_keeps_a_checksum_of_the_whole_object_gets_one() -> None:
    """userguide/checking-object-integrity.html: x-amz-checksum-type FULL_OBJECT."""
    checksum = crc32c_text(crc32c([memoryview(_PARTS)]))
    completed = _COMPLETED.replace("<Key>", f"<ChecksumCRC32C>{checksum}</ChecksumCRC32C><Key>")
    with Replay(_multipart([answer(200, completed)], _WHOLE)) as server:
        use(server)
        _in_parts()
    assert server.requests[0].headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert server.requests[-1].headers["x-amz-checksum-crc32c"] == checksum
    assert server.requests[-1].headers["x-amz-checksum-type"] == "FULL_OBJECT"


def test_another_checksum_of_the_whole_object_is_an_error() -> None:
    """API/API_CompleteMultipartUpload.html: ChecksumCRC32C in the answer."""
    completed = _COMPLETED.replace("<Key>", "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C><Key>")
    with Replay(_multipart([answer(200, completed), _ABORTED], _WHOLE)) as server:
        use(server)
        with pytest.raises(s3dlio.IntegrityError, match="stored other bytes"):
            _in_parts()


@pytest.mark.parametrize("blanks", ["", " ", "\n\n", " \n" * 1000])
def test_blanks_keep_the_connection_alive_while_parts_are_joined(blanks: str) -> None:
    """API/API_CompleteMultipartUpload.html: white space may come before the XML, which has been declared by then."""
    with Replay(_multipart([chunked(*blanks, _COMPLETED[:50], _COMPLETED[50:])])) as server:
        use(server)
        _in_parts()


@pytest.mark.parametrize("blanks", ["", " \n "])
def test_an_error_inside_a_200_is_an_error(blanks: str) -> None:
    """API/API_CompleteMultipartUpload.html: an error after the head has been sent comes inside the body."""
    with Replay(_multipart([chunked(blanks + " ", error_body("InvalidPart")), _ABORTED])) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="InvalidPart"):
            _in_parts()
    assert (server.requests[-1].method, server.requests[-1].target) == ("DELETE", "/bucket/key?uploadId=upload")


def test_an_error_inside_a_200_that_may_pass_is_tried_again() -> None:
    """API/API_CompleteMultipartUpload.html: "be prepared to retry the failed requests"."""
    with Replay(_multipart([chunked(" ", error_body("InternalError")), chunked(" ", _COMPLETED)])) as server:
        use(server)
        _in_parts()
    assert server.requests[-1] == server.requests[-2]._replace(headers=server.requests[-1].headers)


def _stored(etag: str, size: int = len(_PARTS), more: Mapping[str, str] | None = None) -> bytes:
    return answer(200, headers={"ETag": etag, "Content-Length": str(size), **(more or {})})


def _etag() -> str:
    digests = [hashlib.md5(_PARTS[: 5 << 20]).digest(), hashlib.md5(_PARTS[5 << 20 :]).digest()]
    return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-2"'


def _composite() -> str:
    values = [crc32c([memoryview(part)]) for part in (_PARTS[: 5 << 20], _PARTS[5 << 20 :])]
    joined = b"".join(value.to_bytes(4, "big") for value in values)
    return crc32c_text(crc32c([memoryview(joined)]))


def _checked(checksum: str, kind: str = "", etag: str = '"0-2"') -> bytes:
    more = {"x-amz-checksum-crc32c": checksum, **_KMS, **({"x-amz-checksum-type": kind} if kind else {})}
    return _stored(etag, more=more)


_WHOLE_CRC = crc32c_text(crc32c([memoryview(_PARTS)]))
_NOT_KNOWN = "outcome is not known"
_NO_UPLOAD = "NoSuchUpload"

# The object that is stored when the upload no longer exists, and the error of the call; None if it proves the upload.
GONE: dict[str, tuple[bytes, str | None]] = {
    "the ETag of the parts": (_stored(_etag()), None),
    "the ETag of the parts, encrypted": (_stored(_etag(), more=_KMS), None),
    "the composite checksum": (_checked(f"{_composite()}-2"), None),
    "the composite checksum, said so": (_checked(_composite(), "COMPOSITE"), None),
    "the checksum of the whole": (_checked(_WHOLE_CRC, "FULL_OBJECT"), None),
    "encrypted": (_stored('"0-2"', more=_KMS), _NOT_KNOWN),
    "encrypted with a customer's key": (
        _stored('"0-2"', more={"x-amz-server-side-encryption-customer-algorithm": "AES256"}),
        _NOT_KNOWN,
    ),
    "no ETag": (answer(200, headers={"Content-Length": str(len(_PARTS))}), _NOT_KNOWN),
    "another composite checksum": (_checked("AAAAAA==-2"), _NO_UPLOAD),
    "the composite checksum of more parts": (_checked(f"{_composite()}-3"), _NO_UPLOAD),
    "another checksum, the right ETag": (_checked("AAAAAA==", etag=_etag()), _NO_UPLOAD),
    "another size": (_stored(_etag(), size=5), _NO_UPLOAD),
    "another object": (_stored('"another"'), _NO_UPLOAD),
    "nothing": (answer(404), _NO_UPLOAD),
}


@pytest.mark.parametrize(("stored", "says"), GONE.values(), ids=GONE.keys())
def test_a_repeated_complete_that_finds_no_upload_succeeds_only_with_proof(stored: bytes, says: str | None) -> None:
    """API/API_CompleteMultipartUpload.html: NoSuchUpload, if the upload "might have been aborted or completed"."""
    lost = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\nConnection: close\r\n\r\n<?xml"
    completions = [lost, error(404, "NoSuchUpload"), stored, *([_ABORTED] if says else [])]
    with Replay(_multipart(completions)) as server:
        use(server)
        if says is None:
            _in_parts()
        else:
            kind = s3dlio.ObjectNotFoundError if says is _NO_UPLOAD else s3dlio.S3dlioError
            with pytest.raises(kind, match=says) as caught:
                _in_parts()
            assert type(caught.value) is kind
    assert not completions


def test_etags_of_parts_that_are_not_md5_sums_prove_nothing() -> None:
    """API/API_Object.html: an ETag "may or may not be an MD5 digest"."""
    completions = [error(404, "NoSuchUpload"), _stored('"0-2"'), _ABORTED]
    plain = _multipart(completions)

    def choose(request: Received) -> bytes:
        return answer(200, headers={"ETag": '"opaque"'}) if request.method == "PUT" else plain(request)

    with Replay(choose) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=_NOT_KNOWN):
            _in_parts()


def test_a_part_is_sent_again_alone() -> None:
    """API/API_UploadPart.html: a part of the same number overwrites the one before."""
    refusals = {"2": [error(503, "SlowDown"), error(400, "RequestTimeout"), error(500, "InternalError")]}
    plain = _multipart([answer(200, _COMPLETED)])

    def choose(request: Received) -> bytes:
        number = re.search(r"partNumber=(\d+)", request.target)
        pending = refusals.get(number[1]) if number else None
        return pending.pop(0) if pending else plain(request)

    with Replay(choose) as server:
        use(server)
        _in_parts()
    assert [request.method for request in server.requests] == ["POST", *["PUT"] * 5, "POST"]


def test_an_upload_is_aborted_when_a_part_is_refused() -> None:
    """API/API_AbortMultipartUpload.html."""

    def choose(request: Received) -> bytes:
        if "partNumber=2" in request.target:
            return error(403, "AccessDenied")
        return _ABORTED if request.method == "DELETE" else _multipart([])(request)

    with Replay(choose) as server:
        use(server)
        with pytest.raises(s3dlio.PermissionDeniedError, match="AccessDenied"):
            _in_parts()
    assert (server.requests[-1].method, server.requests[-1].target) == ("DELETE", "/bucket/key?uploadId=upload")


# Copies...

_HEAD = answer(200, headers={"Content-Length": "10", "ETag": '"1"'})
_COPIED = xml("CopyObjectResult", "<ETag>&quot;1&quot;</ETag>")


def test_a_copy_is_made_by_the_service() -> None:
    """API/API_CopyObject.html: the source is percent-encoded; the answer may begin with white space."""
    with Replay([_HEAD, chunked(" ", "\n", _COPIED)]) as server:
        use(server)
        s3dlio.copy("s3://bucket/a b+ü", "s3://other/c d")
    assert server.requests[1].target == "/other/c%20d"
    assert server.requests[1].headers["x-amz-copy-source"] == "/bucket/a%20b%2B%C3%BC"


def test_a_copy_that_fails_inside_a_200_is_tried_again() -> None:
    """API/API_CopyObject.html: "a 200 OK response can contain either a success or an error"."""
    with Replay(
        [_HEAD, chunked(error_body("SlowDown")), chunked(" ", error_body("InternalError")), chunked(_COPIED)]
    ) as server:
        use(server)
        s3dlio.copy(URI, "s3://other/key")


def test_a_copy_with_a_lasting_error_inside_a_200_is_an_error() -> None:
    """API/API_CopyObject.html."""
    with Replay([_HEAD, chunked(" ", error_body("AccessDenied"))]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="AccessDenied"):
            s3dlio.copy(URI, "s3://other/key")


def test_an_archived_source_is_named() -> None:
    """API/API_CopyObject.html: "the source object … is archived", InvalidObjectState."""
    with Replay([_HEAD, error(403, "InvalidObjectState")]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=r"s3://bucket/key .*restore it first"):
            s3dlio.copy(URI, "s3://other/key")


def test_if_the_service_does_not_copy_this_machine_reads_and_writes() -> None:
    """API/ErrorResponses.html: NotImplemented."""
    data = b"0123456789"
    first = answer(206, data, {"ETag": '"1"', "Content-Range": "bytes 0-9/10"})
    with Replay([_HEAD, error(501, "NotImplemented"), first, OK]) as server:
        use(server)
        s3dlio.copy(URI, "s3://other/key")
    assert (server.requests[-1].target, server.requests[-1].body) == ("/other/key", data)


# Deleting...


def _page(*keys: str, more: str = "") -> bytes:
    entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    more = more or "<IsTruncated>false</IsTruncated>"
    return answer(200, xml("ListBucketResult", f"<EncodingType>url</EncodingType>{more}{entries}"))


def _deleted(content: str = "") -> bytes:
    return answer(200, xml("DeleteResult", content))


def _failed(key: str, code: str) -> str:
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>As documented.</Message></Error>"


def test_deleteobjects_carries_a_digest() -> None:
    """API/API_DeleteObjects.html: Content-MD5 or a checksum is required; keys are XML."""
    with Replay([_page("a/%3C%26%3E", "a/tab%09"), chunked(" ", xml("DeleteResult", ""))]) as server:
        use(server)
        s3dlio.delete("s3://bucket/a", recursive=True)
    request = server.requests[1]
    assert (request.method, request.target) == ("POST", "/bucket?delete=")
    assert request.headers["content-md5"] == base64.b64encode(hashlib.md5(request.body).digest()).decode()
    assert b"<Object><Key>a/&lt;&amp;&gt;</Key></Object><Object><Key>a/tab&#9;</Key></Object>" in request.body


def test_an_error_of_one_key_is_an_error() -> None:
    """API/API_DeleteObjects.html: the answer is 200 and names the keys that could not be deleted."""
    with Replay([_page("a/1", "a/2"), _deleted(_failed("a/2", "AccessDenied"))]) as server:
        use(server)
        with pytest.raises(s3dlio.PermissionDeniedError, match=r"1 of 2 .* s3://bucket/a/2: AccessDenied"):
            s3dlio.delete("s3://bucket/a", recursive=True)


def test_an_error_of_a_key_counts_although_the_key_is_also_said_to_be_missing() -> None:
    """API/API_DeleteObjects.html: an error of a key that was not deleted."""
    twice = _failed("a/1", "AccessDenied") + _failed("a/1", "NoSuchKey")
    with Replay([_page("a/1"), _deleted(twice)]) as server:
        use(server)
        with pytest.raises(s3dlio.PermissionDeniedError, match=r"1 of 1 .* s3://bucket/a/1: AccessDenied"):
            s3dlio.delete("s3://bucket/a", recursive=True)


def test_an_error_of_one_key_that_may_pass_is_tried_again_for_that_key() -> None:
    """API/API_DeleteObjects.html: InternalError, key by key."""
    answers = [_page("a/1", "a/2", "a/3"), _deleted(_failed("a/2", "InternalError") + _failed("a/3", "NoSuchKey"))]
    with Replay([*answers, _deleted()]) as server:
        use(server)
        s3dlio.delete("s3://bucket/a", recursive=True)
    assert re.findall(rb"<Key>(.*?)</Key>", server.requests[2].body) == [b"a/2"]


def test_an_error_of_one_key_that_does_not_pass_is_an_error_after_the_tries() -> None:
    """API/API_DeleteObjects.html."""
    os.environ["S3DLIO_RETRIES"] = "2"
    with Replay([_page("a/1"), *[_deleted(_failed("a/1", "SlowDown"))] * 3]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="SlowDown"):
            s3dlio.delete("s3://bucket/a", recursive=True)


def test_deleting_a_missing_object_succeeds() -> None:
    """API/ErrorResponses.html: NoSuchKey, which S3 itself does not give to a DELETE, but others do."""
    with Replay([error(404, "NoSuchKey")]) as server:
        use(server)
        s3dlio.delete(URI)


# Answers of 200 to a write that prove nothing...

UNPROVEN = {
    "empty": "",
    "blanks": " \n ",
    "cut": '<?xml version="1.0"?><CopyObjectRes',
    "a page": "<!DOCTYPE html><html><body>Log in</body></html>",
    "JSON": '{"error": {"code": 500}}',
    "another result": xml("ListAllMyBucketsResult", "<ETag>1</ETag><UploadId>1</UploadId>"),
    "an error without a code": "<Error/>",
    "bytes": "\x00\x01",
    "an unknown encoding": '<?xml version="1.0" encoding="utf-7"?><A/>',
}


def _verbs(body: str) -> dict[str, tuple[list[bytes] | Callable[[Received], bytes], Callable[[], None]]]:
    """Each verb that answers with a document, with what is answered to it and to what follows."""
    foreign = answer(200, body)
    found = _stored('"1"', size=6 << 30)
    etag_missing = answer(200, xml("CopyPartResult", ""))

    def copying(request: Received) -> bytes:
        if request.method == "HEAD":
            return found
        if request.method == "PUT":
            return foreign if body else etag_missing
        return _ABORTED if request.method == "DELETE" else _CREATED

    def copy() -> None:
        s3dlio.copy(URI, "s3://other/key")

    def delete() -> None:
        s3dlio.delete("s3://bucket/a", recursive=True)

    return {
        "CreateMultipartUpload": ([foreign], _in_parts),
        "CompleteMultipartUpload": (_multipart([foreign] * 3 + [_ABORTED]), _in_parts),
        "CopyObject": ([_HEAD] + [foreign] * 3, copy),
        "UploadPartCopy": (copying, copy),
        "DeleteObjects": ([_page("a/1")] + [foreign] * 3, delete),
    }


@pytest.mark.parametrize("body", UNPROVEN.values(), ids=UNPROVEN.keys())
@pytest.mark.parametrize("verb", _verbs(""))
def test_an_answer_without_the_result_of_its_verb_is_an_error(verb: str, body: str) -> None:
    answers, call = _verbs(body)[verb]
    with Replay(answers) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=r"s3://\w+/\w+ at .*not known whether the request"):
            call()


@pytest.mark.parametrize("answers", [["", _COMPLETED], ["<html></html>", "cut", _COMPLETED]], ids=["once", "twice"])
def test_after_an_answer_without_a_result_the_request_is_sent_again(answers: list[str]) -> None:
    with Replay(_multipart([answer(200, text) for text in answers])) as server:
        use(server)
        _in_parts()


def test_a_completion_with_a_foreign_answer_succeeds_if_the_object_proves_it() -> None:
    with Replay(_multipart([answer(200, "<html></html>"), error(404, "NoSuchUpload"), _stored(_etag())])) as server:
        use(server)
        _in_parts()


@pytest.mark.parametrize("put", ["put_bytes", "put_many"])
@pytest.mark.parametrize(
    ("body", "etag"),
    [
        ("<html>Log in</html>", None),
        ("{}", None),
        (error_body("AccessDenied"), None),
        (xml("ListBucketResult", ""), None),
        ("\ufeff<?xml version='1.0'?><Stored/>", None),
        ("<!DOCTYPE html><title>Log in", '"5f-12ab"'),
        (" <HTML>Log in", 'W/"5f-12ab"'),
        ('{"error": "no"}', '"1"'),
        ("<?xml version='1.0'?>\n<error><code>no</code></error>", '"1"'),
        ("<soap:Fault/>", '"1"'),
        (error_body("AccessDenied"), '"1"'),
    ],
)
def test_a_document_does_not_prove_a_put(put: str, body: str, etag: str | None) -> None:
    def write() -> None:
        if put == "put_bytes":
            _put()
        else:
            s3dlio.put_many([(f"{URI}{number}", b"content") for number in range(3)], 1)

    with Replay(lambda _: answer(200, body, {"ETag": etag} if etag else {})) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=r"AccessDenied|has no ETag"):
            write()


@pytest.mark.parametrize(
    "proof",
    [{"ETag": f'"{_CONTENT_MD5}"'}, {"ETag": f'"{_CONTENT_MD5.upper()}"'}, {"x-amz-checksum-crc32c": _CONTENT_CRC}],
)
def test_a_text_beside_a_proof_is_ignored(proof: dict[str, str]) -> None:
    with Replay([answer(200, "<html>Stored</html>", proof)]) as server:
        use(server)
        _put()


def test_an_etag_in_capitals_counts_as_an_md5() -> None:
    with Replay([answer(200, headers={"ETag": '"D41D8CD98F00B204E9800998ECF8427E"'})]) as server:
        use(server)
        with pytest.raises(s3dlio.IntegrityError, match="stored other bytes"):
            _put()


def test_a_head_without_a_length_does_not_disprove_an_upload() -> None:
    """The object may be the upload that an earlier try has completed, although its HEAD does not tell the length."""
    stored = f"HTTP/1.1 200 -\r\nETag: {_etag()}\r\nConnection: close\r\n\r\n".encode()
    size = answer(206, _PARTS[:1], {"ETag": _etag(), "Content-Range": f"bytes 0-0/{len(_PARTS)}"})
    with Replay(_multipart([error(404, "NoSuchUpload"), stored, size])) as server:
        use(server)
        _in_parts()


def test_a_put_with_an_error_inside_a_200_that_may_pass_is_tried_again() -> None:
    with Replay([answer(200, error_body("SlowDown")), OK]) as server:
        use(server)
        _put()


def test_a_part_without_an_etag_counts_as_not_stored() -> None:
    """API/API_UploadPart.html: the ETag, which CompleteMultipartUpload needs."""

    def choose(request: Received) -> bytes:
        return OK if request.method == "PUT" else _ABORTED if request.method == "DELETE" else _multipart([])(request)

    with Replay(choose) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="has no ETag"):
            _in_parts()
    assert server.requests[-1].method == "DELETE"


# Listing...


def _truncated(token: str) -> str:
    return f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"


def test_names_in_a_listing_are_encoded_as_in_forms() -> None:
    """API/API_ListObjectsV2.html: encoding-type=url; a blank is sent as a plus, a plus as %2B."""
    with Replay([_page("f/a+b", "f/a%2Bb", "f/%25", "f/%C3%BC%0A%01", "f/%F0%9F%98%80")]) as server:
        use(server)
        found = s3dlio.list("s3://bucket/f")
    assert found == sorted(f"s3://bucket/f/{name}" for name in ("a b", "a+b", "%", "ü\n\x01", "😀"))
    assert "encoding-type=url" in server.requests[0].target


def test_names_are_taken_as_they_are_where_the_page_does_not_say_that_they_are_encoded() -> None:
    """API/API_ListObjectsV2.html: EncodingType in the answer."""
    page = "<IsTruncated>false</IsTruncated><Contents><Key>f/a+b%20&amp;</Key><Size>1</Size></Contents>"
    with Replay([answer(200, f"<ListBucketResult>{page}</ListBucketResult>")]) as server:
        use(server)
        assert s3dlio.list("s3://bucket/f") == ["s3://bucket/f/a+b%20&"]


def test_a_listing_continues_after_an_empty_page() -> None:
    """API/API_ListObjectsV2.html: fewer keys than max-keys, or none, may come with a token for the next page."""
    answers = [
        _page(more=_truncated("1/=+")),
        _page("f/a", more=_truncated("2")),
        _page(more=_truncated("3")),
        _page("f/b"),
    ]
    for call, expected, asked in (
        (lambda: s3dlio.list("s3://bucket/f"), ["s3://bucket/f/a", "s3://bucket/f/b"], 4),
        (lambda: s3dlio.is_prefix("s3://bucket/f"), True, 2),
    ):
        with Replay(answers[:asked]) as server:
            use(server)
            assert call() == expected
        assert "continuation-token=1%2F%3D%2B&" in server.requests[1].target


@pytest.mark.parametrize("more", ["<IsTruncated>true</IsTruncated>", _truncated("same")])
def test_a_truncated_page_that_does_not_say_where_the_next_begins_is_an_error(more: str) -> None:
    """API/API_ListObjectsV2.html: NextContinuationToken "is sent when isTruncated is true"."""
    with Replay([_page("f/a", more=_truncated("same")), _page("f/b", more=more)]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="does not say where"):
            s3dlio.list("s3://bucket/f")


def test_a_refusal_in_the_middle_of_a_listing_is_an_error() -> None:
    """API/API_ListObjectsV2.html."""
    with Replay([_page("f/a", more=_truncated("1")), error(403, "AccessDenied")]) as server:
        use(server)
        with pytest.raises(s3dlio.PermissionDeniedError):
            s3dlio.list("s3://bucket/f")


# Regions...


def _signed_for(request: Received) -> str:
    return request.headers["authorization"].split("/")[2]


def test_the_region_that_a_refusal_names_is_tried_and_remembered() -> None:
    """API/ErrorResponses.html: AuthorizationHeaderMalformed names the region that was expected."""
    refused = error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    with Replay([refused, _found(b"1"), _found(b"2")]) as server:
        use(server)
        assert (_get(), _get()) == (b"1", b"2")
    assert [_signed_for(request) for request in server.requests] == ["us-east-1", "eu-west-1", "eu-west-1"]


_EU = {"x-amz-bucket-region": "eu-west-1"}
_TO_ENDPOINT = "<Endpoint>{}</Endpoint><Bucket>bucket</Bucket>"

REDIRECTIONS = {
    "301, in the head": error(301, "PermanentRedirect", headers=_EU),
    "307, in the head": error(307, "TemporaryRedirect", headers=_EU),
    "307, as an endpoint": error(307, "TemporaryRedirect", _TO_ENDPOINT.format("bucket.s3-eu-west-1.amazonaws.com")),
    "301, as an endpoint": error(301, "PermanentRedirect", _TO_ENDPOINT.format("s3.eu-west-1.amazonaws.com")),
    "400, in the body": error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
    "400 with another code": error(400, "IllegalLocationConstraintException", headers=_EU),
}


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS.keys())
def test_a_bucket_of_another_region_is_found_there_from_then_on(redirection: bytes, tmp_path: Path) -> None:
    """userguide/Redirects.html, API/ErrorResponses.html."""
    with Aws([redirection, _found(b"1"), _found(b"2"), OK], tmp_path) as server:
        assert (_get(), _get()) == (b"1", b"2")
        _put()
    assert server.hosts == ["bucket.s3.us-east-1.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com"]
    assert [request.headers["host"] for request in server.requests] == [server.hosts[0], *[server.hosts[1]] * 3]
    assert [_signed_for(request) for request in server.requests] == ["us-east-1", *["eu-west-1"] * 3]


def test_a_head_is_redirected_without_a_body(tmp_path: Path) -> None:
    """API/API_HeadObject.html: errors have no body; x-amz-bucket-region tells the region."""
    with Aws([answer(301, headers=_EU), _HEAD], tmp_path) as server:
        assert s3dlio.exists(URI)
    assert server.requests[1].headers["host"] == "bucket.s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("status", [301, 400])
def test_a_head_that_does_not_tell_the_region_is_followed_by_one_of_the_bucket(status: int, tmp_path: Path) -> None:
    """API/API_HeadBucket.html: x-amz-bucket-region, whatever the status."""
    with Aws([answer(status), answer(status, headers=_EU), answer(200, headers=_EU), _HEAD], tmp_path) as server:
        assert s3dlio.exists(URI)
    assert [request.target for request in server.requests] == ["/key", "/", "/", "/key"]
    assert server.requests[-1].headers["host"] == "bucket.s3.eu-west-1.amazonaws.com"


def test_a_redirection_in_circles_ends() -> None:
    """No service documents this; but a call has to end, whatever is answered."""
    regions = iter(f"region-{number}" for number in range(100))
    with Replay(lambda _: error(400, "AuthorizationHeaderMalformed", f"<Region>{next(regions)}</Region>")) as server:
        use(server)
        with pytest.raises(s3dlio.ConfigurationError, match="AWS_REGION"):
            _get()
    assert len(server.requests) < 10


def test_a_malformed_region_is_ignored() -> None:
    """The region would become a part of a host name."""
    with Replay([error(301, "PermanentRedirect", "<Region>evil.example/</Region>")]) as server:
        use(server)
        with pytest.raises(s3dlio.ConfigurationError, match="another region"):
            _get()


# Addresses...

_AWS_ADDRESSES = [
    ({}, "s3://bucket/a/b", "bucket.s3.us-east-1.amazonaws.com", "/a/b"),
    ({"AWS_REGION": "us-west-2"}, "s3://bucket/a", "bucket.s3.us-west-2.amazonaws.com", "/a"),
    ({"AWS_DEFAULT_REGION": "eu-west-1"}, "s3://bucket/a", "bucket.s3.eu-west-1.amazonaws.com", "/a"),
    ({"AWS_REGION": "cn-north-1"}, "s3://bucket/a", "bucket.s3.cn-north-1.amazonaws.com.cn", "/a"),
    # No wildcard certificate covers a name with a dot, and no host name holds a capital or an underscore.
    ({}, "s3://my.bucket/a", "s3.us-east-1.amazonaws.com", "/my.bucket/a"),
    ({}, "s3://My_Bucket/a", "s3.us-east-1.amazonaws.com", "/My_Bucket/a"),
    ({"S3_ADDRESSING_STYLE": "path"}, "s3://bucket/a", "s3.us-east-1.amazonaws.com", "/bucket/a"),
    ({"S3_ADDRESSING_STYLE": "virtual"}, "s3://bucket/a", "bucket.s3.us-east-1.amazonaws.com", "/a"),
    ({"S3_ADDRESSING_STYLE": "virtual"}, "s3://My_Bucket/a", "s3.us-east-1.amazonaws.com", "/My_Bucket/a"),
]


@pytest.mark.parametrize(("settings", "uri", "host", "path"), _AWS_ADDRESSES)
def test_the_address_of_an_object_on_aws(
    settings: dict[str, str], uri: str, host: str, path: str, tmp_path: Path
) -> None:
    """userguide/VirtualHosting.html, userguide/bucketnamingrules.html."""
    os.environ.update(settings)
    with Aws([_found(b"")], tmp_path) as server:
        s3dlio.get(uri)
    assert (server.hosts, server.requests[0].headers["host"], server.requests[0].path) == ([host], host, path)


@pytest.mark.parametrize(
    ("settings", "base", "uri", "host", "target"),
    [
        ({}, "", "s3://bucket/a", "{host}", "/bucket/a"),
        ({}, "/s3/", "s3://bucket/a", "{host}", "/s3/bucket/a"),
        ({}, "", "s3://tenant:bucket/a", "{host}", "/tenant%3Abucket/a"),
        ({}, "", "s3://a b/c", "{host}", "/a%20b/c"),
        ({"S3_ADDRESSING_STYLE": "path"}, "", "s3://bucket/a", "{host}", "/bucket/a"),
        ({"S3_ADDRESSING_STYLE": "virtual"}, "", "s3://my.bucket/a", "my.bucket.{host}", "/a"),
        ({"S3_ADDRESSING_STYLE": "virtual"}, "/s3", "s3://bucket/a", "bucket.{host}", "/s3/a"),
    ],
)
def test_the_address_of_an_object_on_an_endpoint_of_the_settings(
    settings: dict[str, str], base: str, uri: str, host: str, target: str
) -> None:
    """userguide/VirtualHosting.html. The server is its own proxy here, so that no name has to be resolved."""
    os.environ.update(settings)
    with Replay([_found(b"")]) as server:
        use(server)
        os.environ.update(HTTP_PROXY=server.url, AWS_ENDPOINT_URL=server.url.replace("127.0.0.1", "store.test") + base)
        s3dlio.get(uri)
    host = host.format(host=server.url.removeprefix("http://").replace("127.0.0.1", "store.test"))
    (request,) = server.requests
    assert (request.headers["host"], request.target) == (host, f"http://{host}{target}")


# Credentials...


def test_without_signing_nothing_is_signed_and_no_credentials_are_needed() -> None:
    """API/RESTAuthentication.html: anonymous requests have no Authorization field."""
    with Replay([_found(b"public"), _page("f/a")]) as server:
        os.environ.update(AWS_ENDPOINT_URL=server.url, S3DLIO_NO_SIGN="1")
        assert s3dlio.get(URI) == b"public"
        assert s3dlio.list("s3://bucket/f") == ["s3://bucket/f/a"]
    for request in server.requests:
        assert not {"authorization", "x-amz-date", "x-amz-content-sha256"} & set(request.headers)


def test_a_session_token_is_sent_and_signed() -> None:
    """API/sig-v4-header-based-auth.html."""
    with Replay([_found(b"")]) as server:
        use(server)
        os.environ["AWS_SESSION_TOKEN"] = "token"
        s3dlio.get(URI)
    (request,) = server.requests
    assert request.headers["x-amz-security-token"] == "token"
    assert ";x-amz-security-token" in request.headers["authorization"]


# Buckets...


def test_a_list_of_buckets_may_have_pages() -> None:
    """API/API_ListBuckets.html: ContinuationToken."""

    def buckets(names: str, token: str = "") -> bytes:
        entries = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in names)
        more = f"<ContinuationToken>{token}</ContinuationToken>" if token else ""
        return answer(200, xml("ListAllMyBucketsResult", f"<Buckets>{entries}</Buckets>{more}"))

    with Replay([buckets("ab", "1="), buckets("c")]) as server:
        use(server)
        assert run(store_for("s3").buckets()) == ["a", "b", "c"]
    assert [request.target for request in server.requests] == ["/", "/?continuation-token=1%3D"]


def test_a_bucket_is_made_in_the_region_of_the_settings(tmp_path: Path) -> None:
    """API/API_CreateBucket.html: LocationConstraint, which us-east-1 does not have."""
    for region in ("us-east-1", "eu-west-1"):
        os.environ["AWS_REGION"] = region
        with Aws([error(409, "BucketAlreadyOwnedByYou")], tmp_path) as server:
            s3dlio.make_bucket("s3://bucket")
        place = b"<LocationConstraint>eu-west-1</LocationConstraint>" in server.requests[0].body
        assert place is (region == "eu-west-1")


def test_making_a_bucket_that_another_account_has_is_an_error() -> None:
    """API/API_CreateBucket.html: BucketAlreadyExists."""
    with Replay([error(409, "BucketAlreadyExists")]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="another account"):
            s3dlio.make_bucket("s3://bucket")
