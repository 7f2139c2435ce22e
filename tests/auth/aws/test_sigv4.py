# SPDX-License-Identifier: Apache-2.0
"""Signature V4: equal to the worked examples of the S3 documentation and to botocore's for odd requests."""

import calendar
import hashlib
import hmac
import itertools
import random
import time
from typing import NamedTuple
from urllib.parse import parse_qsl

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from s3dlio.auth.aws.sigv4 import UNSIGNED_PAYLOAD, AwsCredentials, Signer
from s3dlio.auth.encoding import canonical_query, uri_encode
from s3dlio.http.framing import request_head

# The examples of the S3 API Reference, "Signature Calculations for the Authorization Header" and
# "Authenticating Requests: Using Query Parameters".
DOCUMENTED = AwsCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DOCUMENTED_HOST = "examplebucket.s3.amazonaws.com"
DOCUMENTED_TIME = calendar.timegm((2013, 5, 24, 0, 0, 0))
EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload_hash", "signature"),
    [
        (
            "GET",
            "/test.txt",
            [],
            [("Range", "bytes=0-9")],
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/" + uri_encode("test$file.text"),
            [],
            [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            [("lifecycle", "")],
            [],
            EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            [("prefix", "J"), ("max-keys", "2")],
            [],
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_documented_examples_have_the_documented_signatures(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    payload_hash: str,
    signature: str,
) -> None:
    signer = Signer(DOCUMENTED, "us-east-1", DOCUMENTED_HOST)
    added = dict(signer.sign(method, path, canonical_query(query), headers, payload_hash, DOCUMENTED_TIME))
    assert added["Authorization"].endswith(f"Signature={signature}")
    assert added["x-amz-date"] == "20130524T000000Z"


def test_the_documented_presigned_request_has_the_documented_signature() -> None:
    target = Signer(DOCUMENTED, "us-east-1", DOCUMENTED_HOST).presign(
        "GET", "/test.txt", expires=86400, now=DOCUMENTED_TIME
    )
    assert target == (
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


# botocore as the oracle

KEYS = [
    "object",
    "train/img_0000001.npz",
    "with space",
    " leading and trailing ",
    "a+b",
    "a%20b",
    "%",
    "%zz%2F%2f",
    "100%",
    "double//slash",
    "/leading/slash",
    "trailing/slash/",
    "//",
    ".",
    "..",
    "a/./b",
    "a/../b",
    "../escape",
    "~tilde",
    "star*",
    "paren(s)",
    "quote'",
    'double"quote',
    "bang!",
    "dollar$",
    "amper&sand",
    "equals=sign",
    "comma,semi;colon:",
    "at@sign",
    "question?mark",
    "hash#tag",
    "back\\slash",
    "curly{brace}",
    "square[bracket]",
    "caret^",
    "back`tick",
    "pipe|",
    "less<more>",
    "tab\tnewline\ncr\r",
    "control\x01\x1f\x7f",
    "umlaut \xfc\xf6\xe4",
    "combining e\u0301",
    "\u65e5\u672c\u8a9e/\u30c6\u30b9\u30c8",
    "emoji \U0001f980",
    "arabic \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\u00a0nbsp\u2028separator",
    "x" * 1000,
    "year=2026/month=11/day=22/part-00000-of-00064.parquet",
]
QUERIES: list[list[tuple[str, str]]] = [
    [],
    [("uploads", "")],
    [("partNumber", "17"), ("uploadId", "VXBsb2FkIElE+/=~*")],
    [("list-type", "2"), ("prefix", "a b/\xfc+"), ("delimiter", "/"), ("encoding-type", "url")],
    [("list-type", "2"), ("continuation-token", "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=")],
    [("versionId", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo")],
    [("B", "1"), ("a", "2"), ("A", "3"), ("b", "4")],
    [("prefix", "100%"), ("start-after", "\u65e5\u672c"), ("max-keys", "1000")],
    [("a", "tab\t"), ("a b", "\n"), ("~", "~"), ("*", "'()!")],
]
HEADERS: list[list[tuple[str, str]]] = [
    [],
    [("Range", "bytes=0-65535")],
    [("Range", "bytes=8388608-"), ("If-Match", '"fba9dede5f27731c9771645a39863328-17"')],
    [("Content-Type", "application/octet-stream"), ("x-amz-checksum-crc32c", "AAAAAA==")],
    [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("x-amz-sdk-checksum-algorithm", "CRC32C")],
    [("x-amz-meta-spaces", "  a   b \t c  "), ("X-Amz-Meta-Case", "MiXed")],
    [("x-amz-meta-empty", ""), ("x-amz-meta-colon", "a:b;c,d")],
    [("x-amz-copy-source", "/bucket/a%20key?versionId=1")],
    [("x-amz-meta-a", "2"), ("x-amz-meta-a", "1"), ("x-amz-meta-A", "3")],
    [("x-amz-checksum-mode", "ENABLED"), ("If-None-Match", "*"), ("Accept-Encoding", "identity")],
    [("x-amz-server-side-encryption-customer-key", "c2VjcmV0"), ("x-amz-acl", "bucket-owner-full-control")],
]
SCOPES = [
    (DOCUMENTED, "us-east-1", "bucket.s3.amazonaws.com"),
    (AwsCredentials("ASIA1", "s", "FwoGZXIvYXdzEBYaD+/token=="), "eu-central-1", "127.0.0.1:9000"),
    (AwsCredentials("minioadmin", "minioadmin"), "", "localhost:9000"),
    (AwsCredentials("\u00e9", "p\u00e4ss w\u00f6rd/+\u20ac"), "cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
    (AwsCredentials("GOOG1E", "x" * 200, "t" * 1500), "auto", "[::1]:8333"),
]
METHODS = ["GET", "PUT", "HEAD", "DELETE", "POST"]
BODIES = [None, b"", b"payload \0\xff"]


class Row(NamedTuple):
    key: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    credentials: AwsCredentials
    region: str
    host: str
    method: str
    body: bytes | None


def table() -> list[Row]:
    """600 requests, equal in every run: each key with a dozen variations of the other parts."""
    choose = random.Random(4).choice
    return [
        Row(key, choose(QUERIES), choose(HEADERS), *choose(SCOPES), choose(METHODS), choose(BODIES))
        for key in itertools.islice(itertools.cycle(KEYS), 600)
    ]


def botocore_credentials(credentials: AwsCredentials) -> Credentials:
    return Credentials(credentials.access_key, credentials.secret_key, credentials.session_token)


def botocore_request(
    method: str, host: str, key: str, query: list[tuple[str, str]], headers: list[tuple[str, str]]
) -> AWSRequest:
    url = f"http://{host}/{uri_encode(key)}"
    request = AWSRequest(method, url + (f"?{canonical_query(query)}" if query else ""))
    for name, value in headers:
        request.headers[name] = value  # appends, as in email.message
    return request


def epoch(timestamp: str) -> int:
    return calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))


def test_odd_requests_have_the_signatures_of_botocore() -> None:
    for row in table():
        oracle = botocore_request(row.method, row.host, row.key, row.query, row.headers)
        oracle.data = row.body
        oracle.context["client_config"] = Config(s3={"payload_signing_enabled": row.body is not None})
        S3SigV4Auth(botocore_credentials(row.credentials), "s3", row.region).add_auth(oracle)

        ours = Signer(row.credentials, row.region, row.host).sign(
            row.method,
            "/" + uri_encode(row.key),
            canonical_query(row.query),
            row.headers,
            UNSIGNED_PAYLOAD if row.body is None else hashlib.sha256(row.body).hexdigest(),
            epoch(oracle.headers["X-Amz-Date"]),
        )
        for name, value in ours:
            assert value == oracle.headers[name], (name, row)
        added = {name.lower() for name, _ in [*ours, *row.headers]}
        assert added == {name.lower() for name in oracle.headers}


def test_odd_requests_are_presigned_as_by_botocore() -> None:
    for index, row in enumerate(table()):
        expires = 1 + index * 1000
        oracle = botocore_request(row.method, row.host, row.key, row.query, row.headers)
        credentials = botocore_credentials(row.credentials)
        S3SigV4QueryAuth(credentials, "s3", row.region, expires=expires).add_auth(oracle)
        path, _, query = oracle.url.removeprefix(f"http://{row.host}").partition("?")
        expected = parse_qsl(query, keep_blank_values=True)

        now = epoch(dict(expected)["X-Amz-Date"])
        signer = Signer(row.credentials, row.region, row.host)
        target = signer.presign(row.method, "/" + uri_encode(row.key), row.query, row.headers, expires, now)
        ours_path, _, ours_query = target.partition("?")
        assert ours_path == path
        assert sorted(parse_qsl(ours_query, keep_blank_values=True)) == sorted(expected), row


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(max_size=20).filter(str.isascii))
def test_any_key_and_query_have_the_signature_of_botocore(key: str, value: str) -> None:
    query = [("prefix", value)]
    oracle = botocore_request("GET", "h:1", key, query, [])
    oracle.data = b""
    S3SigV4Auth(Credentials("a", "b"), "s3", "r").add_auth(oracle)
    ours = Signer(AwsCredentials("a", "b"), "r", "h:1").sign(
        "GET", "/" + uri_encode(key), canonical_query(query), (), EMPTY, epoch(oracle.headers["X-Amz-Date"])
    )
    assert dict(ours)["Authorization"] == oracle.headers["Authorization"]


# What a server sees


def signature_of(head: bytes, secret: str) -> tuple[bytes, bytes]:
    """The signature that a request carries, and the one a server computes from its bytes alone."""
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = request_line.split(b" ")
    path, _, query = target.partition(b"?")
    fields = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
    authorization = fields[b"authorization"]
    names = authorization.partition(b"SignedHeaders=")[2].partition(b",")[0]
    scope = authorization.partition(b"Credential=")[2].partition(b",")[0].partition(b"/")[2]
    canonical = b"".join(name + b":" + b" ".join(fields[name].split()) + b"\n" for name in names.split(b";"))
    request = b"\n".join([method, path, query, canonical, names, fields[b"x-amz-content-sha256"]])
    to_sign = b"\n".join(
        [b"AWS4-HMAC-SHA256", fields[b"x-amz-date"], scope, hashlib.sha256(request).hexdigest().encode()]
    )
    key = b"AWS4" + secret.encode()
    for part in scope.split(b"/"):
        key = hmac.digest(key, part, "sha256")
    return authorization.rpartition(b"=")[2], hmac.digest(key, to_sign, "sha256").hex().encode()


@pytest.mark.parametrize("value", ["plain", "  spaces   inside ", "M\xfcnchen \xa0 x\x85y"])
def test_the_signature_covers_the_bytes_that_are_sent(value: str) -> None:
    signer = Signer(AwsCredentials("AKIA", "secret", "token"), "us-east-1", "127.0.0.1:9000")
    headers = [("x-amz-meta-city", value), ("Range", "bytes=0-9")]
    query = canonical_query([("versionId", "a/b"), ("attributes", "")])
    signed = signer.sign("GET", "/b/" + uri_encode("k \xfc"), query, headers)
    head = request_head("GET", f"/b/k%20%C3%BC?{query}", [("Host", signer.host), *headers, *signed])
    sent, computed = signature_of(head, "secret")
    assert sent == computed


def test_a_signer_follows_the_clock_over_midnight_and_back() -> None:
    signer = Signer(DOCUMENTED, "us-east-1", DOCUMENTED_HOST)
    times = [
        DOCUMENTED_TIME,
        DOCUMENTED_TIME + 0.9,
        DOCUMENTED_TIME + 1,
        DOCUMENTED_TIME + 86400,
        DOCUMENTED_TIME,
    ]
    seen = [dict(signer.sign("GET", "/test.txt", now=now)) for now in times]
    fresh = [dict(Signer(DOCUMENTED, "us-east-1", DOCUMENTED_HOST).sign("GET", "/test.txt", now=now)) for now in times]
    assert seen == fresh
    assert [fields["x-amz-date"] for fields in seen] == [
        "20130524T000000Z",
        "20130524T000000Z",
        "20130524T000001Z",
        "20130525T000000Z",
        "20130524T000000Z",
    ]
    assert "/20130525/us-east-1/s3/aws4_request" in seen[3]["Authorization"]


def test_changing_the_returned_fields_does_not_change_the_next_signature() -> None:
    signer = Signer(DOCUMENTED, "us-east-1", DOCUMENTED_HOST)
    first = signer.sign("GET", "/k", now=DOCUMENTED_TIME)
    kept = list(first)
    first.clear()
    assert signer.sign("GET", "/k", now=DOCUMENTED_TIME) == kept


@pytest.mark.parametrize("expires", [-1, 0, 604_801])
def test_a_presigned_request_is_valid_for_1_second_to_7_days(expires: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        Signer(DOCUMENTED, "us-east-1", DOCUMENTED_HOST).presign("GET", "/k", expires=expires)


def test_the_error_for_a_field_that_cannot_be_sent_shows_no_secret() -> None:
    signer = Signer(AwsCredentials("AKIA", "secret", "TOKEN"), "us-east-1", "h")
    with pytest.raises(ValueError, match="Latin-1") as caught:
        signer.sign("GET", "/k", headers=[("x-amz-meta-price", "5 \u20ac")])
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "TOKEN" not in str(caught.value)


def test_no_secret_is_in_the_repr_of_credentials() -> None:
    text = repr(AwsCredentials("AKIA", "SECRET", "TOKEN"))
    assert "AKIA" in text
    assert "SECRET" not in text
    assert "TOKEN" not in text


def test_a_key_that_is_not_unicode_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        uri_encode("file-\udcff")
