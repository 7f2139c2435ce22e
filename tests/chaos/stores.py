# SPDX-License-Identifier: Apache-2.0
"""Model object stores: one state for each protocol, and the answers that the protocol prescribes.

A model performs a request as a whole or not at all, and keeps what happened: every content that a key ever had, and
every upload. The oracle compares results and reports with that. Nothing is signed or authorized here.

The content of an object follows from its key and a serial number, so bytes of another object, of another version, or
of another place are recognized.
"""

from __future__ import annotations

import abc
import base64
import hashlib
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from s3dlio.memory.checksums import crc32c, crc32c_text, crc64_text

BUCKET = "bucket"
_DATE = "Tue, 01 Dec 2026 06:00:00 GMT"
_ISO_DATE = "2026-12-01T06:00:00.000Z"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@lru_cache(maxsize=256)
def content_of(key: str, number: int, size: int) -> bytes:
    """The content of the given version of an object."""
    return random.Random(f"{key} {number}").randbytes(size)


@lru_cache(maxsize=256)
def _crc32c_of(content: bytes) -> str:
    return crc32c_text(crc32c([memoryview(content)]))


@lru_cache(maxsize=256)
def _md5_of(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


class Asked(NamedTuple):
    """A request as it arrived, and what the model takes it for.

    Attributes:
        method, path: as sent; the path is percent-encoded.
        query: decoded.
        fields: by lower-case names.
        verb: the kind of request, such as "get" or "complete".
        key: of the object, or "".
        body: of the request.
    """

    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    verb: str
    key: str
    body: bytes = b""


@dataclass
class Answer:
    """A correct answer: status, fields other than those of the framing, and body.

    Attributes:
        size: for a HEAD, what Content-Length says.
        version: for a read, the whole content that the body is taken from.
    """

    status: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    size: int | None = None
    version: bytes | None = None


@dataclass
class Stored:
    """An object as the model holds it."""

    content: bytes
    number: int
    etag: str
    content_type: str = "application/octet-stream"


@dataclass
class Profile:
    """The habits of an implementation, which all of its answers follow.

    Attributes:
        etag: "strong", "weak" or "none".
        checksums: whether reads and writes carry checksums.
        conditions: whether a condition on the version is heeded.
        ranges: whether ranges are.
        page: entries on a page of a listing.
        encrypted: ETags are not MD5 sums, and the fields say so.
        encoding: how the element that announces encoded keys is named; "" for keys as they are.
        filler: bytes of an additional field of every answer.
    """

    etag: str = "strong"
    checksums: bool = True
    conditions: bool = True
    ranges: bool = True
    page: int = 1000
    encrypted: bool = False
    encoding: str = "EncodingType"
    filler: int = 0


class Page(NamedTuple):
    """One page of a listing."""

    keys: list[str]
    prefixes: list[str]
    token: str


class Model(abc.ABC):
    """A store of one bucket.

    Attributes:
        objects: what there is now.
        past: for each key all that it ever held, None while it did not exist.
        uploads: parts by number, for each upload that is neither complete nor aborted.
        begun: the key of every upload that ever began.
        others: what another client wrote, for each key.
    """

    scheme: str

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.objects: dict[str, Stored] = {}
        self.past: dict[str, list[bytes | None]] = {}
        self.uploads: dict[str, dict[str, bytes]] = {}
        self.begun: dict[str, str] = {}
        self.others: dict[str, list[bytes]] = {}
        self._numbers = 0
        self._tokens = {"": ""}

    # State...

    def put(self, key: str, content: bytes, etag: str = "") -> Stored:
        """Store an object."""
        self._numbers += 1
        plain = _md5_of(content).hex()
        if not etag:
            etag = hashlib.md5(f"{self._numbers}".encode()).hexdigest() if self.profile.encrypted else plain
        self.objects[key] = stored = Stored(content, self._numbers, etag)
        self.past.setdefault(key, [None]).append(content)
        return stored

    def remove(self, key: str) -> bool:
        """Remove an object; whether there was one."""
        if self.objects.pop(key, None) is None:
            return False
        self.past[key].append(None)
        return True

    def content(self, key: str) -> bytes | None:
        """What a key holds now."""
        stored = self.objects.get(key)
        return None if stored is None else stored.content

    def begin(self, key: str) -> str:
        """Begin an upload."""
        upload = f"upload-{len(self.begun) + 1}"
        self.uploads[upload] = {}
        self.begun[upload] = key
        return upload

    def page(self, prefix: str, delimiter: str, after: str, most: int) -> Page:
        """What comes after a name in a listing."""
        keys: list[str] = []
        prefixes: list[str] = []
        last = ""
        for key in sorted(self.objects, key=str.encode):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            folder = prefix + rest[: rest.index(delimiter) + 1] if delimiter and delimiter in rest else ""
            name = folder or key
            if name <= after or (folder and folder in prefixes):
                continue
            if len(keys) + len(prefixes) >= max(1, min(most, self.profile.page)):
                token = f"t{last.encode().hex()}"
                self._tokens[token] = last
                return Page(keys, prefixes, token)
            (prefixes if folder else keys).append(name)
            last = name
        return Page(keys, prefixes, "")

    def after(self, token: str) -> str | None:
        """The name after which a page begins; None for a token that was never given."""
        return self._tokens.get(token)

    # Answers...

    @abc.abstractmethod
    def asked(self, method: str, path: str, query: dict[str, str], fields: dict[str, str]) -> Asked:
        """What a request asks."""

    @abc.abstractmethod
    def perform(self, asked: Asked) -> Answer:
        """Do it, and answer."""

    @abc.abstractmethod
    def error(self, status: int, code: str, method: str = "GET") -> Answer:
        """A refusal in the form of the protocol."""

    def tag(self, stored: Stored) -> str:
        """An ETag as it stands in a field; "" for none."""
        if self.profile.etag == "none":
            return ""
        return f'W/"{stored.etag}"' if self.profile.etag == "weak" else f'"{stored.etag}"'

    def read(self, asked: Asked, stored: Stored, fields: Sequence[tuple[str, str]]) -> Answer:
        """The answer to a read of an object, or of a range of it."""
        content = stored.content
        match = _RANGE.fullmatch(asked.fields.get("range", "")) if self.profile.ranges else None
        if match is None:
            return Answer(200, list(fields), content, version=content)
        start = int(match[1])
        stop = min(len(content), int(match[2]) + 1) if match[2] else len(content)
        if start >= len(content):
            refused = self.error(416, "InvalidRange")
            refused.fields.append(("Content-Range", f"bytes */{len(content)}"))
            return refused
        place = ("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        return Answer(206, [*fields, place], content[start:stop], version=content)


def _xml(root: str, inner: str, namespace: str = "http://s3.amazonaws.com/doc/2006-03-01/") -> bytes:
    space = f' xmlns="{namespace}"' if namespace else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{space}>{inner}</{root}>'.encode()


def _texts(body: bytes, name: str) -> list[str]:
    """The texts of all elements of a name in a request."""
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        return []
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == name]


def _escaped(text: str) -> str:
    return escape(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


_XML_FIELD = ("Content-Type", "application/xml")
_JSON_FIELD = ("Content-Type", "application/json; charset=UTF-8")


class S3(Model):
    """s3://, path style."""

    scheme = "s3"

    def asked(self, method: str, path: str, query: dict[str, str], fields: dict[str, str]) -> Asked:
        key = unquote(path.removeprefix(f"/{BUCKET}").removeprefix("/"))
        verb = "other"
        if not key:
            verb = {"GET": "list", "HEAD": "bucket", "POST": "deletes"}.get(method, "other")
        elif method == "GET":
            verb = "get"
        elif method == "HEAD":
            verb = "head"
        elif method == "PUT":
            verb = "part" if "partNumber" in query else "copy" if "x-amz-copy-source" in fields else "put"
        elif method == "POST":
            verb = "begin" if "uploads" in query else "complete"
        elif method == "DELETE":
            verb = "abort" if "uploadId" in query else "delete"
        return Asked(method, path, query, fields, verb, key)

    def error(self, status: int, code: str, method: str = "GET") -> Answer:
        body = b"" if method == "HEAD" else _xml("Error", f"<Code>{code}</Code><Message>So it is.</Message>", "")
        return Answer(status, [_XML_FIELD], body)

    def perform(self, asked: Asked) -> Answer:
        answer: Answer = getattr(self, f"_{asked.verb}")(asked)
        return answer

    def _bucket(self, _: Asked) -> Answer:
        return Answer(200)

    def _other(self, asked: Asked) -> Answer:
        return self.error(405, "MethodNotAllowed", asked.method)

    def _facts(self, asked: Asked, stored: Stored) -> list[tuple[str, str]]:
        fields = [("Last-Modified", _DATE), ("Content-Type", stored.content_type)]
        if tag := self.tag(stored):
            fields.append(("ETag", tag))
        whole = "range" not in asked.fields or not self.profile.ranges
        if self.profile.checksums and whole and asked.fields.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            fields.append(("x-amz-checksum-crc32c", _crc32c_of(stored.content)))
        return [*fields, *self._encryption()]

    def _encryption(self) -> list[tuple[str, str]]:
        return [("x-amz-server-side-encryption", "aws:kms")] if self.profile.encrypted else []

    def _found(self, asked: Asked) -> Stored | Answer:
        stored = self.objects.get(asked.key)
        if stored is None:
            return self.error(404, "NoSuchKey", asked.method)
        condition = asked.fields.get("if-match")
        if condition and self.profile.conditions and condition != self.tag(stored):
            return self.error(412, "PreconditionFailed", asked.method)
        return stored

    def _get(self, asked: Asked) -> Answer:
        found = self._found(asked)
        return found if isinstance(found, Answer) else self.read(asked, found, self._facts(asked, found))

    def _head(self, asked: Asked) -> Answer:
        found = self._found(asked)
        if isinstance(found, Answer):
            return found
        return Answer(200, self._facts(asked, found), size=len(found.content))

    def _stored_fields(self, asked: Asked, etag: str, content: bytes) -> list[tuple[str, str]]:
        fields = [("ETag", f'"{etag}"')]
        if self.profile.checksums and "x-amz-checksum-crc32c" in asked.fields:
            fields.append(("x-amz-checksum-crc32c", _crc32c_of(content)))
        return [*fields, *self._encryption()]

    def _put(self, asked: Asked) -> Answer:
        stated = asked.fields.get("x-amz-checksum-crc32c")
        if stated is not None and stated != _crc32c_of(asked.body):
            return self.error(400, "XAmzContentChecksumMismatch")
        stored = self.put(asked.key, asked.body)
        return Answer(200, self._stored_fields(asked, stored.etag, asked.body))

    def _begin(self, asked: Asked) -> Answer:
        upload = self.begin(asked.key)
        fields = [_XML_FIELD]
        if self.profile.checksums:
            fields.append(("x-amz-checksum-type", "FULL_OBJECT"))
        inner = f"<Bucket>{BUCKET}</Bucket><Key>{escape(asked.key)}</Key><UploadId>{upload}</UploadId>"
        return Answer(200, fields, _xml("InitiateMultipartUploadResult", inner))

    def _part(self, asked: Asked) -> Answer:
        parts = self.uploads.get(asked.query.get("uploadId", ""))
        if parts is None:
            return self.error(404, "NoSuchUpload")
        stated = asked.fields.get("x-amz-checksum-crc32c")
        if stated is not None and stated != _crc32c_of(asked.body):
            return self.error(400, "XAmzContentChecksumMismatch")
        parts[asked.query["partNumber"]] = asked.body
        return Answer(200, self._stored_fields(asked, self._etag_of_part(asked.body), asked.body))

    def _etag_of_part(self, content: bytes) -> str:
        digest = _md5_of(content)
        return hashlib.md5(digest, usedforsecurity=False).hexdigest() if self.profile.encrypted else digest.hex()

    def _complete(self, asked: Asked) -> Answer:
        upload = asked.query.get("uploadId", "")
        parts = self.uploads.get(upload)
        if parts is None:
            return self.error(404, "NoSuchUpload")
        numbers, etags = _texts(asked.body, "PartNumber"), _texts(asked.body, "ETag")
        if not numbers or any(number not in parts for number in numbers):
            return self.error(400, "InvalidPart")
        wanted = [self._etag_of_part(parts[number]) for number in numbers]
        if [etag.strip('"') for etag in etags] != wanted:
            return self.error(400, "InvalidPart")
        content = b"".join(parts[number] for number in numbers)
        stated = asked.fields.get("x-amz-checksum-crc32c")
        if stated is not None and stated != _crc32c_of(content):
            return self.error(400, "BadDigest")
        del self.uploads[upload]
        digests = b"".join(map(bytes.fromhex, wanted))
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(wanted)}"
        self.put(asked.key, content, etag)
        inner = f"<Key>{escape(asked.key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
        if self.profile.checksums:
            inner += f"<ChecksumCRC32C>{_crc32c_of(content)}</ChecksumCRC32C>"
        return Answer(200, [_XML_FIELD, *self._encryption()], _xml("CompleteMultipartUploadResult", inner))

    def _abort(self, asked: Asked) -> Answer:
        if self.uploads.pop(asked.query.get("uploadId", ""), None) is None:
            return self.error(404, "NoSuchUpload")
        return Answer(204)

    def _copy(self, asked: Asked) -> Answer:
        source = unquote(asked.fields["x-amz-copy-source"]).removeprefix(f"/{BUCKET}/")
        found = self.objects.get(source)
        if found is None:
            return self.error(404, "NoSuchKey")
        stored = self.put(asked.key, found.content)
        inner = f"<LastModified>{_ISO_DATE}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>"
        return Answer(200, [_XML_FIELD], _xml("CopyObjectResult", inner))

    def _delete(self, asked: Asked) -> Answer:
        self.remove(asked.key)
        return Answer(204)

    def _deletes(self, asked: Asked) -> Answer:
        for key in _texts(asked.body, "Key"):
            self.remove(key)
        return Answer(200, [_XML_FIELD], _xml("DeleteResult", ""))

    def _list(self, asked: Asked) -> Answer:
        query = asked.query
        after = self.after(query.get("continuation-token", ""))
        if after is None:
            return self.error(400, "InvalidArgument")
        page = self.page(query.get("prefix", ""), query.get("delimiter", ""), after, int(query.get("max-keys", "1000")))
        encoded = bool(self.profile.encoding) and query.get("encoding-type") == "url"

        def shown(key: str) -> str:
            return quote(key) if encoded else _escaped(key)

        inner = f"<Name>{BUCKET}</Name><Prefix>{shown(query.get('prefix', ''))}</Prefix><KeyCount>{len(page.keys)}"
        inner += f"</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{'true' if page.token else 'false'}</IsTruncated>"
        if encoded:
            inner += f"<{self.profile.encoding}>url</{self.profile.encoding}>"
        if page.token:
            inner += f"<NextContinuationToken>{page.token}</NextContinuationToken>"
        for key in page.keys:
            size = len(self.objects[key].content)
            inner += (
                f"<Contents><Key>{shown(key)}</Key><LastModified>{_ISO_DATE}</LastModified>"
                f"<ETag>&quot;{self.objects[key].etag}&quot;</ETag><Size>{size}</Size></Contents>"
            )
        for prefix in page.prefixes:
            inner += f"<CommonPrefixes><Prefix>{shown(prefix)}</Prefix></CommonPrefixes>"
        return Answer(200, [_XML_FIELD], _xml("ListBucketResult", inner))


class Azure(Model):
    """az://, with the account in the path. Uploads are the blocks of a key that are not committed."""

    scheme = "az"
    _PREFIX = f"/account/{BUCKET}"

    def asked(self, method: str, path: str, query: dict[str, str], fields: dict[str, str]) -> Asked:
        key = unquote(path.removeprefix(self._PREFIX).removeprefix("/"))
        verb = "other"
        if not key:
            verb = "list" if query.get("comp") == "list" else "other"
        elif method in ("GET", "HEAD", "DELETE"):
            verb = method.lower()
        elif method == "PUT":
            verb = {"block": "part", "blocklist": "complete"}.get(query.get("comp", ""), "put")
            if "x-ms-copy-source" in fields:
                verb = "copy"
        return Asked(method, path, query, fields, verb, key)

    def error(self, status: int, code: str, method: str = "GET") -> Answer:
        fields = [_XML_FIELD, ("x-ms-error-code", code)]
        body = b"" if method == "HEAD" else _xml("Error", f"<Code>{code}</Code><Message>So it is.</Message>", "")
        return Answer(status, fields, body)

    def perform(self, asked: Asked) -> Answer:
        answer: Answer = getattr(self, f"_{asked.verb}")(asked)
        return answer

    def _other(self, asked: Asked) -> Answer:
        return self.error(405, "UnsupportedHttpVerb", asked.method)

    def tag(self, stored: Stored) -> str:
        shown = Stored(stored.content, stored.number, f"0x{stored.number:X}")
        return super().tag(shown)

    def _facts(self, stored: Stored) -> list[tuple[str, str]]:
        fields = [("Last-Modified", _DATE), ("Content-Type", stored.content_type), ("x-ms-blob-type", "BlockBlob")]
        if tag := self.tag(stored):
            fields.append(("ETag", tag))
        return fields

    def _found(self, asked: Asked) -> Stored | Answer:
        stored = self.objects.get(asked.key)
        if stored is None:
            return self.error(404, "BlobNotFound", asked.method)
        condition = asked.fields.get("if-match")
        if condition and self.profile.conditions and condition != self.tag(stored):
            return self.error(412, "ConditionNotMet", asked.method)
        return stored

    def _get(self, asked: Asked) -> Answer:
        found = self._found(asked)
        if isinstance(found, Answer):
            return found
        fields = self._facts(found)
        if self.profile.checksums:
            name = "x-ms-blob-content-md5" if "range" in asked.fields and self.profile.ranges else "Content-MD5"
            fields.append((name, base64.b64encode(_md5_of(found.content)).decode()))
        return self.read(asked, found, fields)

    def _head(self, asked: Asked) -> Answer:
        found = self._found(asked)
        if isinstance(found, Answer):
            return found
        return Answer(200, self._facts(found), size=len(found.content))

    def _damaged(self, asked: Asked) -> Answer | None:
        stated = asked.fields.get("x-ms-content-crc64")
        if stated is not None and stated != crc64_text([memoryview(asked.body)]):
            return self.error(400, "Crc64Mismatch")
        return None

    def _stored_fields(self, asked: Asked, stored: Stored | None) -> list[tuple[str, str]]:
        fields = [] if stored is None else [("ETag", f'"0x{stored.number:X}"')]
        if self.profile.checksums and "x-ms-content-crc64" in asked.fields:
            fields.append(("x-ms-content-crc64", asked.fields["x-ms-content-crc64"]))
        return fields

    def _put(self, asked: Asked) -> Answer:
        return self._damaged(asked) or Answer(201, self._stored_fields(asked, self.put(asked.key, asked.body)))

    def _part(self, asked: Asked) -> Answer:
        refused = self._damaged(asked)
        if refused is None:
            self.uploads.setdefault(asked.key, {})[asked.query["blockid"]] = asked.body
        return refused or Answer(201, self._stored_fields(asked, None))

    def _complete(self, asked: Asked) -> Answer:
        if refused := self._damaged(asked):
            return refused
        blocks = self.uploads.get(asked.key, {})
        committed = self._committed.get(asked.key, {})
        names = _texts(asked.body, "Latest")
        if any(name not in blocks and name not in committed for name in names):
            return self.error(400, "InvalidBlockList")
        chosen = {name: blocks.get(name, committed.get(name, b"")) for name in names}
        stored = self.put(asked.key, b"".join(chosen[name] for name in names))
        self._committed[asked.key] = chosen
        self.uploads.pop(asked.key, None)
        return Answer(201, self._stored_fields(asked, stored))

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self._committed: dict[str, dict[str, bytes]] = {}

    def put(self, key: str, content: bytes, etag: str = "") -> Stored:
        self._committed.pop(key, None)
        self.uploads.pop(key, None)
        return super().put(key, content, etag)

    def _delete(self, asked: Asked) -> Answer:
        if not self.remove(asked.key):
            return self.error(404, "BlobNotFound")
        return Answer(202)

    def _copy(self, asked: Asked) -> Answer:
        source = asked.fields["x-ms-copy-source"].partition(f"{self._PREFIX}/")[2].partition("?")[0]
        found = self.objects.get(unquote(source))
        if found is None:
            return self.error(404, "CannotVerifyCopySource")
        self.put(asked.key, found.content)
        return Answer(202, [("x-ms-copy-status", "success"), ("x-ms-copy-id", "1")])

    def _list(self, asked: Asked) -> Answer:
        query = asked.query
        after = self.after(query.get("marker", ""))
        if after is None:
            return self.error(400, "InvalidQueryParameterValue")
        most = int(query.get("maxresults", "5000"))
        page = self.page(query.get("prefix", ""), query.get("delimiter", ""), after, most)
        inner = "<Blobs>"
        for key in page.keys:
            size = len(self.objects[key].content)
            properties = (
                f"<Properties><Content-Length>{size}</Content-Length><BlobType>BlockBlob</BlobType></Properties>"
            )
            inner += f"<Blob><Name>{_escaped(key)}</Name>{properties}</Blob>"
        for prefix in page.prefixes:
            inner += f"<BlobPrefix><Name>{escape(prefix)}</Name></BlobPrefix>"
        inner += f"</Blobs><NextMarker>{page.token}</NextMarker>"
        return Answer(200, [_XML_FIELD], _xml("EnumerationResults", inner, ""))


class Gcs(Model):
    """gs://: the JSON API, the XML API's multipart uploads, and resumable uploads."""

    scheme = "gs"
    _OBJECTS = f"/storage/v1/b/{BUCKET}/o"
    _UPLOADS = f"/upload/storage/v1/b/{BUCKET}/o"

    def asked(self, method: str, path: str, query: dict[str, str], fields: dict[str, str]) -> Asked:
        verb, key = "other", ""
        if path == self._UPLOADS:
            key = query.get("name", "")
            if method == "POST":
                verb = "put" if query.get("uploadType") == "multipart" else "begin"
            elif "upload_id" in query:
                verb = "abort" if method == "DELETE" else "chunk"
                key = self.begun.get(query["upload_id"], "")
        elif path == self._OBJECTS:
            verb = "list"
        elif path.startswith(self._OBJECTS):
            key = unquote(path.removeprefix(self._OBJECTS).partition("/rewriteTo/")[0][1:])
            verb = {"GET": "get" if query.get("alt") == "media" else "head", "DELETE": "delete", "POST": "copy"}[method]
        elif path.startswith(f"/{BUCKET}/"):
            key = unquote(path[len(BUCKET) + 2 :])
            verb = {"PUT": "part", "DELETE": "abort", "POST": "begin" if "uploads" in query else "complete"}[method]
        return Asked(method, path, query, fields, verb, key)

    def error(self, status: int, code: str, method: str = "GET") -> Answer:  # noqa: ARG002
        message = "No such object: bucket/key" if status == 404 else "So it is."
        reason = {"errors": [{"reason": code, "message": message}], "code": status, "message": message}
        return Answer(status, [_JSON_FIELD], json.dumps({"error": reason}).encode())

    def _xml_error(self, status: int, code: str) -> Answer:
        return Answer(status, [_XML_FIELD], _xml("Error", f"<Code>{code}</Code><Message>So it is.</Message>", ""))

    def perform(self, asked: Asked) -> Answer:
        answer: Answer = getattr(self, f"_{asked.verb}")(asked)
        return answer

    def _other(self, _: Asked) -> Answer:
        return self.error(404, "notFound")

    def _resource(self, stored: Stored, fields: Iterable[str] | None = None) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "size": str(len(stored.content)),
            "generation": str(stored.number),
            "etag": stored.etag,
            "contentType": stored.content_type,
            "timeCreated": _ISO_DATE,
            "updated": _ISO_DATE,
            "crc32c": _crc32c_of(stored.content),
        }
        return facts if fields is None else {name: value for name, value in facts.items() if name in fields}

    def _json(self, content: dict[str, Any]) -> Answer:
        return Answer(200, [_JSON_FIELD], json.dumps(content).encode())

    def _get(self, asked: Asked) -> Answer:
        stored = self.objects.get(asked.key)
        wanted = asked.query.get("generation")
        if stored is None or (wanted and self.profile.conditions and wanted != str(stored.number)):
            return self.error(404, "notFound")
        fields = [("Content-Type", stored.content_type), ("Last-Modified", _DATE)]
        if self.profile.etag == "strong":
            fields.append(("x-goog-generation", str(stored.number)))
        if tag := self.tag(stored):
            fields.append(("ETag", tag))
        if self.profile.checksums:
            fields.append(("x-goog-hash", f"crc32c={_crc32c_of(stored.content)}"))
        return self.read(asked, stored, fields)

    def _head(self, asked: Asked) -> Answer:
        stored = self.objects.get(asked.key)
        if stored is None:
            return self.error(404, "notFound")
        return self._json(self._resource(stored, asked.query.get("fields", "").split(",")))

    def _put(self, asked: Asked) -> Answer:
        boundary = asked.fields["content-type"].partition("boundary=")[2]
        pieces = asked.body.split(f"--{boundary}".encode())
        facts = json.loads(pieces[1].partition(b"\r\n\r\n")[2])
        content = pieces[2].partition(b"\r\n\r\n")[2][:-2]
        if facts.get("crc32c", _crc32c_of(content)) != _crc32c_of(content):
            return self.error(400, "invalid")
        return self._json(self._resource(self.put(facts["name"], content), ("size", "crc32c", "generation")))

    def _begin(self, asked: Asked) -> Answer:
        upload = self.begin(asked.key)
        if "uploads" in asked.query:
            return Answer(200, [_XML_FIELD], _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>"))
        host = asked.fields.get("host", "")
        return Answer(200, [("Location", f"http://{host}{self._UPLOADS}?uploadType=resumable&upload_id={upload}")])

    def _part(self, asked: Asked) -> Answer:
        parts = self.uploads.get(asked.query.get("uploadId", ""))
        if parts is None:
            return self._xml_error(404, "NoSuchUpload")
        if asked.fields.get("x-goog-hash") not in (None, f"crc32c={_crc32c_of(asked.body)}"):
            return self._xml_error(400, "BadDigest")
        parts[asked.query["partNumber"]] = asked.body
        sums = ("x-goog-hash", f"crc32c={_crc32c_of(asked.body)}")
        return Answer(200, [("ETag", f'"{_md5_of(asked.body).hex()}"'), sums])

    def _complete(self, asked: Asked) -> Answer:
        upload = asked.query.get("uploadId", "")
        parts = self.uploads.get(upload)
        if parts is None:
            return self._xml_error(404, "NoSuchUpload")
        numbers, etags = _texts(asked.body, "PartNumber"), _texts(asked.body, "ETag")
        if any(number not in parts for number in numbers) or [etag.strip('"') for etag in etags] != [
            _md5_of(parts[number]).hex() for number in numbers
        ]:
            return self._xml_error(400, "InvalidPart")
        content = b"".join(parts[number] for number in numbers)
        del self.uploads[upload]
        stored = self.put(asked.key, content)
        fields = [_XML_FIELD, ("x-goog-hash", f"crc32c={_crc32c_of(content)}")]
        inner = f"<Bucket>{BUCKET}</Bucket><Key>{escape(asked.key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag>"
        return Answer(200, fields, _xml("CompleteMultipartUploadResult", inner))

    def _abort(self, asked: Asked) -> Answer:
        if "upload_id" in asked.query:
            found = self.uploads.pop(asked.query["upload_id"], None)
            return Answer(499) if found is not None else self.error(404, "notFound")
        if self.uploads.pop(asked.query.get("uploadId", ""), None) is None:
            return self._xml_error(404, "NoSuchUpload")
        return Answer(204)

    def _chunk(self, asked: Asked) -> Answer:
        upload = asked.query["upload_id"]
        parts = self.uploads.get(upload)
        if parts is None:
            return self.error(404, "notFound")
        place, _, total = asked.fields.get("content-range", "").removeprefix("bytes ").partition("/")
        have = parts.get("", b"")
        start = len(have) if place == "*" else int(place.partition("-")[0])
        if start > len(have):
            return self.error(400, "invalid")
        have += asked.body[len(have) - start :]
        parts[""] = have
        if total == "*" or int(total) != len(have):
            return Answer(308, [("Range", f"bytes=0-{len(have) - 1}")] if have else [])
        if asked.fields.get("x-goog-hash") not in (None, f"crc32c={_crc32c_of(have)}"):
            return self.error(400, "invalid")
        del self.uploads[upload]
        return self._json(self._resource(self.put(asked.key, have), ("size", "crc32c", "generation")))

    def _copy(self, asked: Asked) -> Answer:
        target = unquote(asked.path.partition("/rewriteTo/")[2].partition("/o/")[2])
        found = self.objects.get(asked.key)
        if found is None:
            return self.error(404, "notFound")
        if "rewriteToken" not in asked.query and len(found.content) > 100_000:
            return self._json({"done": False, "rewriteToken": "more"})
        self.put(target, found.content)
        return self._json({"done": True})

    def _delete(self, asked: Asked) -> Answer:
        stored = self.objects.get(asked.key)
        if stored is None or asked.query.get("generation", str(stored.number)) != str(stored.number):
            return self.error(404, "notFound")
        self.remove(asked.key)
        return Answer(204)

    def _list(self, asked: Asked) -> Answer:
        query = asked.query
        after = self.after(query.get("pageToken", ""))
        if after is None:
            return self.error(400, "invalid")
        most = int(query.get("maxResults", "1000"))
        page = self.page(query.get("prefix", ""), query.get("delimiter", ""), after, most)
        content: dict[str, Any] = {}
        if page.keys:
            content["items"] = [{"name": key, "size": str(len(self.objects[key].content))} for key in page.keys]
        if page.prefixes:
            content["prefixes"] = page.prefixes
        if page.token:
            content["nextPageToken"] = page.token
        return self._json(content)


MODELS: dict[str, type[Model]] = {model.scheme: model for model in (S3, Azure, Gcs)}
