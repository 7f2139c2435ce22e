# SPDX-License-Identifier: Apache-2.0
"""Shared Key: every signature equals that of the vendor's library."""

from __future__ import annotations

import base64
import itertools
import random
from datetime import datetime, timezone
from email.utils import formatdate
from urllib.parse import parse_qs, quote

import pytest
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob import BlobSasPermissions, generate_blob_sas
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy

from s3dlio.auth.azure.shared_key import SharedKey

ACCOUNT = "anaccount"
KEY = random.Random(4).randbytes(64)
KEY_TEXT = base64.b64encode(KEY).decode()
NOW = 1_767_225_600.7
VERSION = ("x-ms-version", "2021-12-02")

Case = tuple[str, str, str, list[tuple[str, str]], int]

NAMES = [
    "plain", "a/b/c", "two words", " blanks ", "grüße-日本-🧪", "per%2Fcent%20", "a+b", "hash#mark", "what?=this&that",
    "quotes'\"`", "<tag>&amp;", "colon:semi;comma,", "[glob]*{x}", "$HOME~", ".hidden", "...", "-dash", "tab\there",
    "new\nline", "a//b", "/leading", "trailing/", "%", "%41", "~tilde~", "(round)", "!bang", "a=b", "pipe|^caret",
    "n" * 1000, "\x7f", "\u202e", "e\u0301", "\U0010ffff",
]  # fmt: skip

QUERIES: list[list[tuple[str, str]]] = [
    [("comp", "list"), ("restype", "container")],
    [("comp", "list"), ("delimiter", "/"), ("maxresults", "5000"), ("prefix", "a b/ü/%"), ("restype", "container")],
    [("comp", "list"), ("marker", "2!88!MDAwMDE4IWJsb2I-"), ("prefix", ""), ("restype", "container")],
    [("blockid", "QUJDRA=="), ("comp", "block")],
    [("blockid", "a+/="), ("comp", "block")],
    [("comp", "blocklist")],
    [("comp", "metadata"), ("timeout", "30")],
    [("prefix", "back\\slash\nline&amp=1")],
    [("snapshot", "2011-03-09T01:42:34.9360000Z")],
    [("a", "1"), ("b", ""), ("c", ":"), ("d", ",")],
]

HEADERS: list[list[tuple[str, str]]] = [
    [("Content-Type", "application/octet-stream"), ("x-ms-blob-type", "BlockBlob")],
    [("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="), ("x-ms-blob-type", "BlockBlob")],
    [("x-ms-content-crc64", "AAECAwQFBgc="), ("x-ms-blob-content-type", "text/plain; charset=utf-8")],
    [("If-Match", '"0x8D8B5BC5C6A2D2A"')],
    [
        ("If-None-Match", "*"),
        ("If-Modified-Since", formatdate(0, usegmt=True)),
        ("If-Unmodified-Since", formatdate(1, usegmt=True)),
    ],
    [("Content-Encoding", "gzip"), ("Content-Language", "de-AT")],
    [("x-ms-range", "bytes=0-16777215"), ("x-ms-range-get-content-md5", "true")],
    [("x-ms-meta-name", "value"), ("x-ms-meta-a_b", "1"), ("x-ms-meta-ab", "2"), ("x-ms-meta-a1", "3")],
    [("x-ms-meta-b", "x"), ("x-ms-meta-a-b", "y"), ("x-ms-meta-ab", "z"), ("x-ms-metaa", "w")],
    [("x-ms-copy-source", "https://other.blob.core.windows.net/c/k?sig=a%2Bb"), ("x-ms-requires-sync", "true")],
    [("X-Other", "not signed"), ("Accept", "*/*"), ("x-ms-client-request-id", "42")],
    [("x-ms-meta-two", "two  spaces inside"), ("x-ms-meta-colon", "a:b"), ("x-ms-meta-comma", "a,b")],
]

CASES: list[Case] = [
    *(("GET", f"/container/{quote(name, safe='/')}", "", [], 0) for name in NAMES),
    *(("PUT", f"/container/{quote(name, safe='/')}", "", HEADERS[0], 17) for name in NAMES),
    *(
        (method, "/container", "&".join(f"{name}={quote(value, safe='')}" for name, value in query), [], 0)
        for method, query in itertools.product(("GET", "DELETE"), QUERIES)
    ),
    *(
        (method, "/c/k", "", headers, length)
        for headers in HEADERS
        for method, length in (("GET", 0), ("PUT", 1 << 33))
    ),
    *(("PUT", "/devstoreaccount1/c/k", "comp=block&blockid=QQ%3D%3D", headers, 5) for headers in HEADERS),
    ("HEAD", "/c/k", "", [], 0),
    ("GET", "/", "comp=list", [], 0),
]


def theirs(case: Case, date: str) -> str:
    method, path, query, headers, length = case
    request = HttpRequest(method, f"https://{ACCOUNT}.example{path}{'?' if query else ''}{query}")
    request.headers.update({"x-ms-date": date, VERSION[0]: VERSION[1], **dict(headers)})
    if length or method == "PUT":
        request.headers["Content-Length"] = str(length)
    SharedKeyCredentialPolicy(ACCOUNT, KEY_TEXT).on_request(PipelineRequest(request, PipelineContext(None)))
    return str(request.headers["Authorization"])


def test_the_table_of_cases_is_complete() -> None:
    assert len({repr(case) for case in CASES}) >= 100


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1][:20]!a} {case[2][:20]}")
def test_the_signature_is_that_of_the_vendors_library(case: Case) -> None:
    method, path, query, headers, length = case
    sent, fields = SharedKey(ACCOUNT, KEY).authorize(method, path, query, [VERSION, *headers], length, NOW)
    assert sent == query
    assert dict(fields) == {
        "x-ms-date": "Thu, 01 Jan 2026 00:00:00 GMT",
        "Authorization": theirs(case, formatdate(NOW, usegmt=True)),
    }


def test_random_names_of_fields_are_signed_in_the_services_order() -> None:
    random_ = random.Random(7)
    for _ in range(300):
        names = {"x-ms-" + "".join(random_.choices("ab1-_'.+~!", k=random_.randrange(1, 7))) for _ in range(6)}
        case: Case = ("GET", "/c/k", "", [(name, str(number)) for number, name in enumerate(names)], 0)
        _, fields = SharedKey(ACCOUNT, KEY).authorize(*case[:3], [VERSION, *case[3]], 0, NOW)
        assert fields[1][1] == theirs(case, formatdate(NOW, usegmt=True)), names


def test_a_range_is_signed() -> None:
    """The vendor's library never sends Range; according to the documentation, Range has its own line."""
    signer = SharedKey(ACCOUNT, KEY)
    _, plain = signer.authorize("GET", "/c/k", "", [VERSION], 0, NOW)
    _, ranged = signer.authorize("GET", "/c/k", "", [VERSION, ("Range", "bytes=0-1")], 0, NOW)
    _, again = signer.authorize("GET", "/c/k", "", [VERSION, ("range", "bytes=0-1")], 0, NOW)
    assert plain != ranged
    assert ranged == again


def test_white_space_around_a_value_is_not_signed_because_http_drops_it() -> None:
    signer = SharedKey(ACCOUNT, KEY)
    bare = [VERSION, ("x-ms-meta-a", "b c"), ("Content-Type", "text/plain")]
    padded = [(name, f" \t{value} ") for name, value in bare]
    assert signer.authorize("PUT", "/c/k", "", bare, 1, NOW) == signer.authorize("PUT", "/c/k", "", padded, 1, NOW)


def test_values_of_a_repeated_parameter_are_signed_sorted_and_joined() -> None:
    signer = SharedKey(ACCOUNT, KEY)
    joined = signer.authorize("GET", "/c", "x=a%2Cb", [VERSION], 0, NOW)[1]
    assert signer.authorize("GET", "/c", "x=b&x=a", [VERSION], 0, NOW)[1] == joined


def test_each_second_has_its_own_date() -> None:
    signer = SharedKey(ACCOUNT, KEY)
    dates = [signer.authorize("GET", "/c/k", now=now)[1][0][1] for now in (NOW, NOW + 0.2, NOW + 1, NOW)]
    assert dates == [f"Thu, 01 Jan 2026 00:00:{second} GMT" for second in ("00", "00", "01", "00")]


@pytest.mark.parametrize(
    ("second", "date"),
    [
        (1, "Thu, 01 Jan 1970 00:00:01 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
        (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
    ],
)
def test_dates_are_those_of_http(second: int, date: str) -> None:
    """RFC 9110, section 5.6.7."""
    assert dict(SharedKey(ACCOUNT, KEY).authorize("GET", "/c/k", now=second)[1])["x-ms-date"] == date


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("only_https", [True, False])
def test_a_link_to_a_blob_is_signed_as_by_the_vendors_library(name: str, only_https: bool) -> None:
    end = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    theirs = generate_blob_sas(
        ACCOUNT,
        "container",
        name,
        account_key=KEY_TEXT,
        permission=BlobSasPermissions(read=True, create=True, write=True),
        expiry=end,
        protocol="https" if only_https else "https,http",
    )
    version = parse_qs(theirs)["sv"][0]  # the library knows no other than its own
    ours = SharedKey(ACCOUNT, KEY).blob_sas(
        "container", name, "rcw", version, int(end.timestamp()), only_https=only_https
    )
    assert parse_qs(ours) == parse_qs(theirs)


def test_the_key_is_in_no_repr() -> None:
    signer = SharedKey(ACCOUNT, KEY)
    assert repr(signer) == f"SharedKey({ACCOUNT!r})"
    assert KEY_TEXT not in repr(signer)
