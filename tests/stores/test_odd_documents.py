# SPDX-License-Identifier: Apache-2.0
"""Every call returns a result or raises an S3dlioError, whatever bytes a server sends, on every cloud."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import s3dlio
from s3dlio.http.pool import pool
from tests.replay import Received, Replay, answer

DEEP = 50_000
XML_KINDS = {
    "s3": b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k/a</Key><Size>%s</Size></Contents>"
    b"</ListBucketResult>",
    "az": b"<EnumerationResults><Blobs><Blob><Name>k/a</Name><Properties><Content-Length>%s</Content-Length>"
    b"</Properties></Blob></Blobs></EnumerationResults>",
}
NUMBERS = [b"-1", b"9" * 5000, b"1e400", b"\xc2\xb2", b"0x10", b"", b"NaN", b" 1 ", b"1_0"]
DOCUMENTS: dict[str, bytes] = {
    "nothing": b"",
    "a NUL": b"\0",
    "no text": bytes(range(256)),
    "half of UTF-8": b"<Error><Code>\xe2\x82</Code></Error>",
    "UTF-16": "<Error><Code>Gone</Code></Error>".encode("utf-16"),
    "an unknown encoding": b'<?xml version="1.0" encoding="nonsense"?><Error/>',
    "an encoding of many bytes": b'<?xml version="1.0" encoding="utf-7"?><Error/>',
    "an encoding that is none": b'<?xml version="1.0" encoding="base64"?><Error/>',
    "deep XML": b"<a>" * DEEP + b"</a>" * DEEP,
    "XML that does not end": b"<Error>" * DEEP,
    "entities": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Error>&b;&b;</Error>',
    "an entity that is none": b"<Error><Code>&nothing;</Code></Error>",
    "deep JSON": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"error":' * DEEP + b"1" + b"}" * DEEP,
    "a large number": b'{"size": ' + b"9" * 5000 + b"}",
    "a number that is none": b'{"size": "%s", "timeCreated": "x"}' % (b"9" * 5000),
    "infinity": b'{"size": 1e999, "items": [{"name": "k/a", "size": 1e999}]}',
    "a negative size": b'{"size": "-1", "items": [{"name": "k/a", "size": "-1"}]}',
    "other types": b'{"size": [], "metadata": 1, "timeCreated": 1, "error": 1, "items": {"a": 1}, "prefixes": 1}',
    "null": b'{"size": null, "metadata": null, "timeCreated": null, "items": null, "error": null, "prefixes": null}',
    "errors of other types": b'{"error": {"errors": {"reason": 1}, "message": ["x"], "code": {}}}',
    "lone surrogates": b'{"items": [{"name": "k/\\ud800"}], "error": {"message": "\\ud800"}}',
    "JSON in UTF-16": '{"size": 1}'.encode("utf-16"),
    "HTML": b"<!DOCTYPE html><html><body>Sign in</body></html>",
}
for number in NUMBERS:
    for kind, document in XML_KINDS.items():
        DOCUMENTS[f"a size of {kind}: {number[:8]!r}"] = document % number

FIELDS: list[dict[str, str]] = [
    {},
    {"ETag": '"1"', "Last-Modified": "yesterday", "x-amz-checksum-crc32c": "%", "Content-MD5": "x"},
    {"Date": "Mon, 99 Foo 99999 99:99:99 +9999", "Last-Modified": "Mon, 01 Jan 99999 00:00:00 GMT", "ETag": ""},
    {"Content-Range": "bytes 9" + "9" * 5000 + "-1/x", "x-goog-hash": "=,=,crc32c=\xff", "Retry-After": "9" * 4000},
    {"x-amz-bucket-region": "\xff", "x-ms-error-code": "\xe9", "WWW-Authenticate": "=" * 100, "Location": "//["},
]
STATUSES = [200, 201, 204, 206, 301, 307, 308, 400, 403, 404, 409, 412, 416, 500, 503, 999]

PROTOCOLS = ("s3", "az", "gs")


def use(url: str) -> None:
    """Make a server the endpoint of every protocol."""
    os.environ.update(
        AWS_ENDPOINT_URL=url,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AZURE_STORAGE_ENDPOINT=f"{url}/account",
        AZURE_STORAGE_ACCOUNT_KEY=base64.b64encode(b"key").decode(),
        STORAGE_EMULATOR_HOST=url,
        S3DLIO_RETRIES="0",
        S3DLIO_MULTIPART_THRESHOLD_MB="0.001",
    )


VERBS: dict[str, Callable[[str], object]] = {
    "get": lambda root: s3dlio.get(f"{root}/k"),
    "get_range": lambda root: s3dlio.get_range(f"{root}/k", 5, 10),
    "get_many": lambda root: s3dlio.get_many([f"{root}/k", f"{root}/l"], 2),
    "put": lambda root: s3dlio.put_bytes(f"{root}/k", b"x"),
    "put in parts": lambda root: s3dlio.put_bytes(f"{root}/k", bytes(5000)),
    "put_many": lambda root: s3dlio.put_many([(f"{root}/k", b"x")] * 3, 2),
    "stat": lambda root: s3dlio.stat(f"{root}/k"),
    "exists": lambda root: s3dlio.exists(f"{root}/k"),
    "is_prefix": lambda root: s3dlio.is_prefix(f"{root}/k/"),
    "list": lambda root: s3dlio.list(f"{root}/k/"),
    "list, not recursive": lambda root: s3dlio.list(f"{root}/k/", recursive=False),
    "delete": lambda root: s3dlio.delete(f"{root}/k"),
    "delete a folder": lambda root: s3dlio.delete(f"{root}/k/", recursive=True),
    "download a folder": lambda root: s3dlio.download(f"{root}/k/", Path(tempfile.mkdtemp()), recursive=True),
    "copy": lambda root: s3dlio.copy(f"{root}/k", f"{root}/l"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_odd_documents_raise_only_errors_of_s3dlio(verb: Callable[[str], object], protocol: str) -> None:
    draw = random.Random(1)
    document, status, fields = b"", 200, FIELDS[0]

    def reply(_: Received) -> bytes:
        return answer(status, b"" if status == 204 else document, fields)

    wrong: list[str] = []
    with Replay(reply) as server:
        use(server.url)
        for name, document in DOCUMENTS.items():  # noqa: B007  # read by `reply`
            for status in (200, 206, *draw.sample(STATUSES, 3)):
                fields = draw.choice(FIELDS)
                try:
                    with contextlib.suppress(s3dlio.S3dlioError):
                        verb(f"{protocol}://bucket")
                except Exception as error:
                    wrong.append(f"{name}, {status}, {fields}: {error!r:.200}")
        pool.clear()
    assert not wrong, "\n".join(wrong)
