# SPDX-License-Identifier: Apache-2.0
"""The grammar: how a correct answer is damaged.

An answer is built from a `Reply`, in four phases, each of which may change it: what it means (status, document, range),
its fields, its framing, and how it is sent. A change is a function that changes the reply and returns a note, or None
where it does not apply. All draws come from one generator, so a seed and the order of requests decide.

The grammar composes only what a client can notice. It leaves out a server that answers 200 for a write that it did not
make, omits names from a listing, or sends another object without a trace of that. If a server states something wrong
that a client must believe (404 for an object that exists), the grammar notes that, and the oracle expects it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.chaos.server import End, Later, Script, Step, Unasked
from tests.chaos.stores import Answer, Asked, Model, content_of

WRITES = frozenset({"put", "part", "begin", "complete", "abort", "delete", "deletes", "copy", "chunk"})
LISTS = frozenset({"list"})
READS = frozenset({"get"})
# Verbs whose answer says in its body what the client has to know.
_DOCUMENTS = {
    "s3": frozenset({"list", "begin", "complete", "copy", "deletes"}),
    "az": frozenset({"list"}),
    "gs": frozenset({"list", "begin", "complete", "copy", "head", "put", "chunk"}),
}
_SUCCESS = {
    ("s3", "abort"): 204,
    ("s3", "delete"): 204,
    ("az", "put"): 201,
    ("az", "part"): 201,
    ("az", "complete"): 201,
    ("az", "copy"): 202,
    ("az", "delete"): 202,
    ("gs", "delete"): 204,
    ("gs", "abort"): 204,
}
_REFUSALS = (400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 416, 418, 429, 499, 500, 501, 502, 503, 504, 505, 507)
_ODD_REFUSALS = (520, 521, 522, 523, 524, 525, 526, 529, 530, 599, 600, 799, 999)
_REDIRECTIONS = (300, 301, 302, 303, 304, 305, 307, 308)
_CODES = {
    "s3": ("InternalError", "SlowDown", "AccessDenied", "NoSuchBucket", "NoSuchUpload", "InvalidArgument", "Strange"),
    "az": ("InternalError", "ServerBusy", "AuthenticationFailed", "ContainerNotFound", "InvalidBlockList", "Strange"),
    "gs": ("backendError", "rateLimitExceeded", "forbidden", "invalid", "notFound", "Strange"),
}
_XHTML = b'<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Sorry</title></head><body/></html>'
_NOT_MINE = "foreign object"


@dataclass
class Reply:
    """An answer that is being composed.

    Attributes:
        performed: whether the model carries out the request.
        told: what the server says about the state, which the client has to believe: "missing", "gone", "replaced".
        notes: what was changed, for people.
        framing: "length", "chunked", "close" or "none".
        length: instead of the right Content-Length.
    """

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    method: str
    framing: str = "length"
    length: str | None = None
    reason: str = "-"
    version: str = "HTTP/1.1"
    before: bytes = b""
    ending: bytes = b"\r\n"
    chunk: int = 1 << 30
    extension: bytes = b""
    trailer: bytes = b""
    damage: Callable[[bytes], bytes] | None = None
    headless: bool = False
    ranged: bool = False
    pause: float = 0.0
    pieces: int = 1
    cut: float | None = None
    end: End | None = None
    stalls: bool = False
    unasked: bytes = b""
    later: float | None = None
    told: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """The value of a field."""
        return next((value for known, value in self.fields if known.lower() == name.lower()), None)

    def drop(self, name: str) -> None:
        """Leave a field out."""
        self.fields = [(known, value) for known, value in self.fields if known.lower() != name.lower()]

    def set(self, name: str, value: str) -> None:
        """Give a field another value, in its place."""
        self.drop(name)
        self.fields.append((name, value))


class Scene:
    """What a change may look at: the request, the model, and the draws."""

    def __init__(self, model: Model, asked: Asked, random: Random) -> None:
        self.model = model
        self.asked = asked
        self.random = random
        self.performed = False
        self.answer: Answer | None = None

    def perform(self) -> Answer:
        """The model's own answer; the model carries out a request once."""
        if self.answer is None:
            self.performed = True
            self.answer = self.model.perform(self.asked)
        return self.answer

    @property
    def verb(self) -> str:
        """What is asked."""
        return self.asked.verb

    @property
    def is_document(self) -> bool:
        """Whether the body of the answer matters to the client."""
        return self.verb in _DOCUMENTS[self.model.scheme] and not self.is_session

    @property
    def is_session(self) -> bool:
        """Whether the answer's Location is what matters."""
        return self.model.scheme == "gs" and self.verb == "begin" and "uploads" not in self.asked.query


def reply_of(scene: Scene) -> Reply:
    """The answer as it should be."""
    answer = scene.perform()
    reply = Reply(answer.status, list(answer.fields), answer.body, scene.asked.method)
    if scene.model.profile.filler:
        reply.fields.insert(0, ("x-filler", "f" * scene.model.profile.filler))
    if scene.asked.method == "HEAD":
        reply.framing = "none" if answer.size is None else "length"
        reply.length = None if answer.size is None else str(answer.size)
    elif answer.status in (204, 304):
        reply.framing = "none"
    return reply


# Phase 1: what the answer means...


def _refuse(scene: Scene, statuses: Sequence[int], done: bool) -> Reply:
    """A refusal, of a request that was done all the same or not."""
    random, scheme = scene.random, scene.model.scheme
    if done:
        scene.perform()
    status = random.choice(statuses)
    code = random.choice(_CODES[scheme])
    answer = scene.model.error(status, code, scene.asked.method)
    reply = Reply(status, list(answer.fields), answer.body, scene.asked.method)
    form = random.choice(("as usual", "as usual", "empty", "html", "cut", "other"))
    if form == "empty":
        reply.body = b""
    elif form == "html":
        reply.body = _XHTML
    elif form == "cut":
        reply.body = reply.body[: random.randrange(len(reply.body) + 1)]
    elif form == "other":
        reply.body = b'{"error": {"code": 7, "errors": []}}' if scheme != "gs" else b"<Error><Code>Other</Code></Error>"
    if form != "as usual" and random.random() < 0.5:
        reply.drop("x-ms-error-code")
    if scene.asked.method == "HEAD":
        reply.body = b""
    if status in (204, 304):
        reply.framing, reply.body = "none", b""
    if status == 404:
        reply.told.add("missing")
    if random.random() < 0.3:
        reply.fields.append(
            ("Retry-After", random.choice(("0", "1", "120", "-1", "soon", "Tue, 01 Dec 2026 06:00:00 GMT")))
        )
    reply.notes.append(f"{status} {code} ({form}), {'done' if scene.performed else 'not done'}")
    return reply


def _refused(scene: Scene) -> Reply | None:
    done = scene.random.random() < 0.3
    return _refuse(scene, _REFUSALS if scene.random.random() < 0.7 else _ODD_REFUSALS, done)


def _unavailable(scene: Scene) -> Reply | None:
    return _refuse(scene, (500, 503, 503, 429, 502, 504), scene.random.random() < 0.3)


def _not_found(scene: Scene) -> Reply | None:
    return _refuse(scene, (404,), scene.random.random() < 0.2)


def _redirected(scene: Scene) -> Reply | None:
    if scene.verb == "chunk":
        return None  # there 308 means something
    reply = _refuse(scene, _REDIRECTIONS, scene.random.random() < 0.2)
    if scene.random.random() < 0.6:
        reply.fields.append(("Location", scene.random.choice(("/", "http://127.0.0.1:9/", "http://:x/", "", "//"))))
    if scene.random.random() < 0.3:
        reply.fields.append(("x-amz-bucket-region", scene.random.choice(("eu-west-1", "a b", "", "x" * 99))))
    return reply


def _other_success(scene: Scene) -> Reply | None:
    """A success of another kind: the work is done, so it may be taken for what it is."""
    reply = reply_of(scene)
    if reply.status >= 300 or scene.verb == "get":
        return None
    status = scene.random.choice((200, 201, 202, 203, 204, 205, 206, 207, 226, 299))
    if status == reply.status:
        return None
    reply.status = status
    if status == 204:
        reply.framing, reply.body = "none", b""
    if scene.asked.method == "HEAD":
        reply.framing = "length" if reply.length is not None else "none"
    reply.notes.append(f"{status} where {_SUCCESS.get((scene.model.scheme, scene.verb), 200)} belongs")
    return reply


def _document(scene: Scene) -> Reply | None:
    """A success whose body is damaged, of a request that was done or not."""
    if not scene.is_document:
        return None
    random, scheme = scene.random, scene.model.scheme
    harmless = ("blanks before", "comment", "mark before")
    kinds = [
        "empty",
        "cut",
        "error",
        "html",
        "buckets",
        "json error",
        "array",
        "text",
        "root",
        "doubled",
        "bytes",
        "null",
        "deep",
    ]
    if scheme != "gs" or scene.verb in ("complete", "begin"):
        kinds.extend(harmless)
    if scheme != "gs" or scene.verb != "list":
        kinds.append("object")
    kind = random.choice(kinds)
    was = scene.model.scheme, scene.verb
    done = kind in harmless or random.random() < 0.5 or scene.verb in ("list", "head")
    if not done:
        reply = Reply(_SUCCESS.get(was, 200), [("Content-Type", "application/xml")], b"", scene.asked.method)
        right = b'<?xml version="1.0"?>\n<Something><UploadId>no</UploadId></Something>'
    else:
        reply = reply_of(scene)
        right = reply.body
        if reply.status >= 300:
            return None
    code = random.choice(_CODES[scheme])
    if kind == "empty":
        reply.body = b""
    elif kind == "cut":
        reply.body = right[: random.randrange(len(right))]
    elif kind == "error":
        reply.body = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>m</Message></Error>' % code.encode()
    elif kind == "html":
        reply.body = _XHTML
    elif kind == "buckets":
        reply.body = b'<?xml version="1.0"?><ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>'
    elif kind == "json error":
        reply.body = json.dumps({"error": {"code": 503, "message": "m", "errors": [{"reason": code}]}}).encode()
    elif kind == "array":
        reply.body = b"[]"
    elif kind == "null":
        reply.body = b"null"
    elif kind == "object":
        reply.body = b"{}"
    elif kind == "deep":
        reply.body = (b"[" if scheme == "gs" else b"<a>") * 50_000
    elif kind == "text":
        reply.body = b"upstream connect error"
    elif kind == "root":
        reply.body = re.sub(rb"(</?)(\w+Results?)\b", rb"\1Foreign", right) if b"Result" in right else b"<Foreign/>"
    elif kind == "doubled":
        reply.body = right + right
    elif kind == "bytes":
        place = right.rfind(b">", 0, len(right) // 2) + 1 if b">" in right else len(right) // 2
        reply.body = right[:place] + b"\xff\xfe" + right[place:]
    elif kind == "blanks before":
        reply.body = b"\n  \n" + right
    elif kind == "comment":
        place = right.find(b">", right.find(b"?>") + 2) + 1
        reply.body = right[:place] + b"<!-- <Contents><Key>x</Key></Contents> -->" + right[place:]
    elif kind == "mark before":
        reply.body = b"\xef\xbb\xbf" + right
    reply.notes.append(f"document: {kind}, {'done' if scene.performed else 'not done'}")
    return reply


def _json_types(scene: Scene) -> Reply | None:
    """JSON whose values have other types."""
    if scene.model.scheme != "gs" or not scene.is_document or scene.verb in ("begin", "complete"):
        return None
    reply = reply_of(scene)
    try:
        content = json.loads(reply.body)
    except ValueError:
        return None
    odd: Any = scene.random.choice((None, "abc", {}, [[]], -1, 1.5, [None], [{}], True, "9" * 5000, float("inf")))
    names = [*content, "items", "nextPageToken", "size", "done", "rewriteToken", "generation"]
    if scene.verb == "list":
        if "items" in content or "prefixes" in content or "nextPageToken" in content:
            name = scene.random.choice(names)
            if name in content and odd in (None, {}, ""):
                return None  # an absent page, or its absent end, cannot be noticed
        else:
            return None
        if name == "items" and odd in ({}, None):
            return None
    else:
        name = scene.random.choice(names)
    if scene.verb == "copy" and name == "done":
        odd = scene.random.choice((False, None))
    if scene.verb == "head" and name == "size" and odd in (True, -1, 1.5):
        odd = "abc"
    content[name] = odd
    if scene.verb in ("put", "chunk"):
        reply.told.add("gone")
    reply.body = json.dumps(content).encode()
    reply.notes.append(f"JSON: {name}={odd!r}")
    return reply


def _listing(scene: Scene) -> Reply | None:
    """A listing that contradicts itself, or the question."""
    if scene.verb != "list":
        return None
    reply = reply_of(scene)
    random, body = scene.random, reply.body
    if reply.status != 200:
        return None
    kind = random.choice(("truncated", "token", "no token", "foreign", "foreign", "nameless", "size", "count", "bytes"))
    outside = b"outside/victim"
    scheme = scene.model.scheme
    if kind == "truncated" and scheme == "s3":
        more = b"<IsTruncated>true<" in body
        texts = (b" true ", b"True", b"TRUE", b"true\n") if more else (b" false ", b"False", b"FALSE", b"false\n")
        if more and random.random() < 0.4:
            body = body.replace(b"<IsTruncated>true</IsTruncated>", b"")
        else:
            body = re.sub(rb"(<IsTruncated>)\w+", lambda found: found[1] + random.choice(texts), body)
    elif kind == "token":
        again = scene.asked.query.get({"s3": "continuation-token", "az": "marker", "gs": "pageToken"}[scheme], "")
        text = again.encode()
        if not text:
            return None
        body = re.sub(
            rb'(<NextContinuationToken>|<NextMarker>|"nextPageToken": ")\w+', lambda found: found[1] + text, body
        )
    elif kind == "no token" and scheme == "s3":
        body = re.sub(rb"<NextContinuationToken>\w+</NextContinuationToken>", b"", body)
    elif kind == "foreign" and scene.asked.query.get("prefix"):
        if scheme == "s3":
            entry = b"<Contents><Key>%s</Key><Size>1</Size></Contents>" % outside
            body = body.replace(b"</ListBucketResult>", entry + b"</ListBucketResult>")
        elif scheme == "az":
            entry = b"<Blob><Name>%s</Name><Properties/></Blob>" % outside
            body = body.replace(b"</Blobs>", entry + b"</Blobs>")
        else:
            content = json.loads(body)
            content.setdefault("items", []).append({"name": outside.decode(), "size": "1"})
            body = json.dumps(content).encode()
    elif kind == "nameless":
        body = body.replace(b"<Key>", b"<Kee>", 1).replace(b"</Key>", b"</Kee>", 1)
        body = (
            body.replace(b"<Name>d", b"<Nome>d", 1).replace(b"</Name><P", b"</Nome><P", 1) if scheme == "az" else body
        )
        body = body.replace(b'"name"', b'"nome"', 1)
    elif kind == "size":
        body = re.sub(rb"(<Size>|<Content-Length>|\"size\": \")\d+", lambda found: found[1] + b"many", body)
    elif kind == "bytes" and scheme == "gs":
        body = body.replace(b'"name": "d/', b'"name": "d/\\ud800', 1)
    elif kind == "bytes" and (b"EncodingType>url" in body or scheme == "az"):
        body = body.replace(b"<Key>d/", b"<Key>d/%FF", 1).replace(b"<Name>d/", b'<Name Encoded="true">d/%FF', 1)
    elif kind == "count":
        body = re.sub(rb"(<KeyCount>)\d+", rb"\g<1>77", body)
    if body == reply.body:
        return None
    reply.body = body
    reply.notes.append(f"listing: {kind}")
    return reply


def _range(scene: Scene) -> Reply | None:
    """A range other than the requested one, stated truthfully; or fields that contradict each other."""
    if scene.verb != "get":
        return None
    reply = reply_of(scene)
    answer = scene.answer
    assert answer is not None
    content = answer.version
    random = scene.random
    if reply.status >= 300 or content is None:
        return None
    reply.ranged = True
    asked = "range" in scene.asked.fields
    size = len(content)
    kinds = ["malformed", "no place", "other part", "416", "200 with place", "unknown size", "fewer", "no body"]
    kind = random.choice([*kinds, "whole"] if asked else [*kinds, "206 whole", "206 part"])
    start = random.randrange(size) if size else 0
    stop = random.randrange(start, size) + 1 if size else 0
    place = f"bytes {start}-{max(stop, 1) - 1}/{size}"
    if kind == "whole":
        reply.status, reply.body = 200, content
        reply.drop("Content-Range")
    elif kind == "206 whole" and size:
        reply.status = 206
        reply.set("Content-Range", f"bytes 0-{size - 1}/{size}")
    elif kind in ("206 part", "other part") and size:
        reply.status, reply.body = 206, content[start:stop]
        reply.set("Content-Range", place)
    elif kind == "200 with place" and size:
        reply.status, reply.body = 200, content[start:stop]
        reply.set("Content-Range", place)
    elif kind == "malformed":
        forms = ("bytes 0-", "0-9/10", "bytes=0-9/10", "items 0-9/10", "bytes 5-3/10", "bytes */*", "bytes 0-9", "")
        reply.status = 206
        reply.set("Content-Range", random.choice(forms))
    elif kind == "no place":
        reply.status = 206
        reply.drop("Content-Range")
    elif kind == "unknown size" and size:
        reply.status = 206
        part = reply.body
        begins = content.find(part)
        reply.set("Content-Range", f"bytes {begins}-{begins + len(part) - 1}/*")
    elif kind == "fewer" and asked and len(reply.body) > 1 and reply.status == 206:
        begins = int((reply.get("Content-Range") or "bytes 0-").partition(" ")[2].partition("-")[0])
        reply.body = reply.body[: random.randrange(1, len(reply.body))]
        reply.set("Content-Range", f"bytes {begins}-{begins + len(reply.body) - 1}/{size}")
    elif kind == "416" and size:
        reply.status, reply.body = 416, b""
        reply.drop("Content-Range")
        if asked and random.random() < 0.3:
            reply.fields.append(("Content-Range", f"bytes */{size}"))
        if asked and int(scene.asked.fields["range"].removeprefix("bytes=").partition("-")[0]) >= size:
            return None
    elif kind == "no body" and size:
        reply.status, reply.body = random.choice((203, 204, 205)), b""
        if reply.status == 204:
            reply.framing = "none"
    else:
        return None
    reply.notes.append(f"range: {kind} {reply.status} {reply.get('Content-Range') or ''} of {size}")
    return reply


def _replaced(scene: Scene) -> Reply | None:
    """The object is replaced before the request is answered."""
    if scene.verb not in ("get", "head") or scene.asked.key not in scene.model.objects:
        return None
    old = scene.model.objects[scene.asked.key]
    size = len(old.content) if scene.random.random() < 0.5 else scene.random.choice((0, 1, 500, 70_000, 150_000))
    content = content_of(scene.asked.key, 1000 + old.number, size)
    scene.model.put(scene.asked.key, content)
    scene.model.others.setdefault(scene.asked.key, []).append(content)
    reply = reply_of(scene)
    reply.notes.append(f"replaced by {size} bytes")
    return reply


def _upload_gone(scene: Scene) -> Reply | None:
    """The upload is unknown, because it was dropped; or because it has just been completed."""
    if scene.verb not in ("complete", "part", "chunk") or scene.model.scheme == "az":
        return None
    if scene.random.random() < 0.4:
        scene.perform()
        note = "done"
    else:
        upload = scene.asked.query.get("uploadId") or scene.asked.query.get("upload_id", "")
        scene.model.uploads.pop(upload, None)
        note = "dropped"
    if scene.model.scheme == "s3":
        answer = scene.model.error(404, "NoSuchUpload")
    else:
        body = b"<?xml version='1.0'?><Error><Code>NoSuchUpload</Code><Message>m</Message></Error>"
        answer = Answer(404, [("Content-Type", "application/xml")], body)
    reply = Reply(404, answer.fields, answer.body, scene.asked.method)
    reply.notes.append(f"no such upload ({note})")
    return reply


def _session(scene: Scene) -> Reply | None:
    """The place of a resumable upload is missing, or another."""
    if not scene.is_session:
        return None
    reply = reply_of(scene)
    place = reply.get("Location") or ""
    kind = scene.random.choice(("absent", "empty", "garbage", "path", "elsewhere", "odd", "blank", "twice"))
    if kind == "absent":
        reply.drop("Location")
    elif kind == "twice":
        reply.fields.append(("Location", place))
    else:
        forms = {
            "empty": "",
            "garbage": "http://[",
            "path": "/" + place.partition("//")[2].partition("/")[2],
            "elsewhere": place.replace("//", "//other.example:1"),
            "odd": place + "&x=caf\xe9",
            "blank": place + " x",
        }
        reply.set("Location", forms[kind])
    reply.notes.append(f"Location {kind}")
    return reply


def _unfinished_copy(scene: Scene) -> Reply | None:
    """A copy that has not been made, and the answer says so."""
    if scene.verb != "copy":
        return None
    if scene.model.scheme == "az":
        status = scene.random.choice(("pending", "failed", "aborted", ""))
        reply = Reply(202, [("x-ms-copy-status", status)], b"", scene.asked.method)
    elif scene.model.scheme == "gs":
        answer = scene.random.choice(
            ({"done": False, "rewriteToken": "more"}, {"done": False}, {}, {"rewriteToken": 5})
        )
        reply = Reply(200, [("Content-Type", "application/json")], json.dumps(answer).encode(), scene.asked.method)
    else:
        return None
    reply.notes.append(f"copy not done: {reply.fields} {reply.body!r}")
    return reply


def _some_not_deleted(scene: Scene) -> Reply | None:
    """DeleteObjects that fails for a key."""
    if scene.verb != "deletes":
        return None
    found = re.findall(rb"<Key>([^<]*)</Key>", scene.asked.body)
    if not found:
        return None
    kept = scene.random.choice(found)
    code = scene.random.choice((b"AccessDenied", b"InternalError", b"SlowDown", b""))
    rest = scene.asked.body.replace(b"<Object><Key>%s</Key></Object>" % kept, b"")
    scene.performed = True
    answer = scene.model.perform(scene.asked._replace(body=rest))
    error = b"<Error><Key>%s</Key><Code>%s</Code><Message>m</Message></Error></DeleteResult>" % (kept, code)
    reply = Reply(200, answer.fields, answer.body.replace(b"</DeleteResult>", error), scene.asked.method)
    reply.notes.append(f"one key not deleted: {code.decode()}")
    return reply


_MEANINGS: tuple[tuple[int, Callable[[Scene], Reply | None]], ...] = (
    (6, _refused),
    (4, _unavailable),
    (2, _not_found),
    (2, _redirected),
    (3, _other_success),
    (8, _document),
    (4, _json_types),
    (8, _listing),
    (8, _range),
    (5, _replaced),
    (6, _upload_gone),
    (5, _session),
    (5, _unfinished_copy),
    (3, _some_not_deleted),
)


# Phase 2: its fields...


def _etag(scene: Scene, reply: Reply) -> str | None:
    name = "x-goog-generation" if reply.get("x-goog-generation") and scene.random.random() < 0.5 else "ETag"
    if reply.get(name) is None:
        return None
    kind = scene.random.choice(("absent", "weak", "other", "empty", "twice", "bare", "odd"))
    value = reply.get(name) or ""
    if kind == "absent":
        reply.drop(name)
    elif kind == "weak":
        reply.set(name, f"W/{value}")
    elif kind == "other":
        reply.set(
            name, f'"{scene.random.getrandbits(128):032x}"' if name == "ETag" else str(scene.random.getrandbits(40))
        )
    elif kind == "empty":
        reply.set(name, "")
    elif kind == "bare":
        reply.set(name, value.strip('"'))
    elif kind == "odd":
        reply.set(name, scene.random.choice(('"caf\xe9"', "a b", "1&2=3", '"', "x" * 5000, "\t", '"\x7f"', "-1")))
    else:
        reply.fields.append((name, value))
    return f"{name} {kind}"


_SUMS = ("x-amz-checksum-crc32c", "x-goog-hash", "Content-MD5", "x-ms-blob-content-md5", "x-ms-content-crc64")


def _checksum(scene: Scene, reply: Reply) -> str | None:
    name = next((name for name in _SUMS if reply.get(name) is not None), None)
    if name is None:
        return None
    kind = scene.random.choice(("absent", "other", "garbage", "empty", "twice"))
    value = reply.get(name) or ""
    if kind == "absent":
        reply.drop(name)
    elif kind == "other":
        other = base64.b64encode(
            scene.random.randbytes(16 if "md5" in name.lower() else 8 if "crc64" in name else 4)
        ).decode()
        reply.set(name, f"crc32c={other}" if name == "x-goog-hash" else other)
    elif kind == "garbage":
        reply.set(name, scene.random.choice(("?", "crc32c", "=====", "a" * 300)))
    elif kind == "empty":
        reply.set(name, "")
    else:
        reply.fields.append((name, value))
    if kind != "absent" and scene.verb in ("put", "chunk"):
        reply.told.add("gone")  # what was stored wrong may be deleted again
    return f"{name} {kind}"


def _stored_wrong(scene: Scene, reply: Reply) -> str | None:
    """A JSON resource with the checksum of other bytes."""
    if scene.model.scheme != "gs" or scene.verb not in ("put", "chunk") or b'"crc32c"' not in reply.body:
        return None
    reply.body = re.sub(rb'("crc32c": ")[^"]*', rb"\1AAAAAA==", reply.body)
    reply.told.add("gone")
    return "the checksum of other bytes"


def _no_length(scene: Scene, reply: Reply) -> str | None:  # noqa: ARG001
    if reply.framing == "length":
        if reply.method == "HEAD":
            reply.framing, reply.length = "none", None
        else:
            reply.framing = "close"
        return "no length"
    return None


def _length(scene: Scene, reply: Reply) -> str | None:
    if reply.framing != "length":
        return None
    size = reply.length if reply.length is not None else str(len(reply.body))
    other = str(int(size) + scene.random.randrange(1, 100))
    kinds = (
        "-1",
        "abc",
        "1e3",
        f"+{size}",
        "0x10",
        "",
        f"{size}, {other}",
        f"{size}, {size}",
        "9" * 30,
        f"{size};",
        "٣",
    )
    reply.length = scene.random.choice(kinds)
    return f"Content-Length {reply.length!r}"


def _length_longer(scene: Scene, reply: Reply) -> str | None:
    """More is announced than comes."""
    if reply.framing != "length" or reply.method == "HEAD":
        return None
    reply.length = str(len(reply.body) + scene.random.choice((1, 7, 1000, 100_000, 1 << 45)))
    if scene.random.random() < 0.8:
        reply.end = scene.random.choice((End.CLOSE, End.RESET, End.SILENT))
    else:
        reply.stalls = True
    return f"Content-Length {reply.length} where {len(reply.body)} come"


def _length_shorter(scene: Scene, reply: Reply) -> str | None:
    """More comes than is announced, where that can be noticed: the place or the checksum says otherwise."""
    if reply.framing != "length" or reply.method == "HEAD" or len(reply.body) < 2:
        return None
    if scene.verb == "get" and reply.status < 300 and (reply.status != 206 or reply.ranged):
        return None
    if scene.verb in ("put", "chunk") and reply.status < 300:
        return None
    count = scene.random.randrange(1, len(reply.body))
    reply.length, reply.unasked, reply.body = str(count), reply.body[count:], reply.body[:count]
    return f"Content-Length {count} where {count + len(reply.unasked)} come"


def _coding(scene: Scene, reply: Reply) -> str | None:
    if reply.framing == "none" and reply.method != "HEAD":
        return None
    value = scene.random.choice(("gzip", "identity", "chunked", "gzip, chunked", "Chunked", "", "chunked, chunked"))
    reply.fields.append(("Transfer-Encoding", value))
    if value.lower() == "chunked" and reply.method == "HEAD" and scene.random.random() < 0.5:
        reply.length, reply.framing = None, "none"
    return f"Transfer-Encoding {value!r} beside the rest"


def _large_head(scene: Scene, reply: Reply) -> str | None:
    kind = scene.random.choice(("one", "many", "one", "flood", "huge"))
    if kind == "one":
        reply.fields.insert(0, ("x-filler", "f" * scene.random.choice((4000, 8000, 9000, 20_000))))
    elif kind == "many":
        reply.fields[:0] = [(f"x-filler-{number}", "f" * 100) for number in range(90)]
    elif kind == "flood":
        reply.fields[:0] = [(f"x-{number}", "f") for number in range(600)]
    else:
        reply.fields[:0] = [(f"x-filler-{number}", "f" * 1000) for number in range(200)]
    return f"large head ({kind})"


def _place_again(scene: Scene, reply: Reply) -> str | None:
    place = reply.get("Content-Range")
    if place is None or reply.ranged:
        return None
    reply.fields.append(("Content-Range", scene.random.choice((place, "bytes 0-0/1", "bytes */5"))))
    return "Content-Range twice"


def _dates(scene: Scene, reply: Reply) -> str | None:
    if reply.get("Last-Modified") is None:
        return None
    texts = (
        "yesterday",
        "",
        "0",
        "Tue, 99 Dec 2026 06:00:00 GMT",
        "2026-12-01T06:00:00+02:00",
        "Tue, 01 Dec 99999 06:00:00 GMT",
    )
    reply.set("Last-Modified", scene.random.choice(texts))
    return f"Last-Modified {reply.get('Last-Modified')!r}"


def _connection(scene: Scene, reply: Reply) -> str | None:
    value = scene.random.choice(("close", "keep-alive", "Close, x", "upgrade", "", "close"))
    reply.fields.append(("Connection", value))
    if "close" in value.lower() and scene.random.random() < 0.7:
        reply.end = scene.random.choice((End.CLOSE, End.SILENT, End.RESET))
    return f"Connection {value!r}"


def _odd_fields(scene: Scene, reply: Reply) -> str | None:
    extra = scene.random.choice(
        (("", "no name"), ("x y", "blank in the name"), ("x-nul", "a\0b"), ("x-latin", "caf\xe9"), ("x-cr", "a\rb"),
         ("Content-Encoding", "identity"), ("Keep-Alive", "timeout=0"), ("Content-Type", "text/html"), ("x-a", ""))
    )  # fmt: skip
    reply.fields.insert(scene.random.randrange(len(reply.fields) + 1), extra)
    return f"field {extra}"


_FIELDS: tuple[tuple[int, Callable[[Scene, Reply], str | None]], ...] = (
    (8, _etag),
    (8, _checksum),
    (3, _stored_wrong),
    (4, _no_length),
    (4, _length),
    (4, _length_longer),
    (4, _length_shorter),
    (3, _coding),
    (4, _large_head),
    (3, _place_again),
    (2, _dates),
    (3, _connection),
    (3, _odd_fields),
)


# Phase 3: its framing...


def _chunked(scene: Scene, reply: Reply) -> str | None:
    if reply.framing != "length" or reply.method == "HEAD":
        return None
    if reply.length is not None or reply.unasked:
        return None
    random = scene.random
    reply.framing = "chunked"
    reply.chunk = (
        random.choice((1, 7, 100, 4096, 1 << 30)) if len(reply.body) < 2000 else random.choice((4096, 65_536, 1 << 30))
    )
    reply.extension = random.choice((b"", b"", b";a=b", b' ; name="x;y"', b";" + b"e" * 5000))
    reply.trailer = random.choice((b"", b"", b"x-sum: 1\r\n", b"no colon\r\n", b"Content-Length: 5\r\n"))
    spoilt = random.choice(("", "", "", "size", "end", "no last", "LF", "negative"))
    if spoilt:
        edits: dict[str, Callable[[bytes], bytes]] = {
            "size": lambda sent: sent.replace(b"\r\n", b"0\r\n", 1),
            "end": lambda sent: sent[:-7] + b"xx" + sent[-7:],
            "no last": lambda sent: sent.removesuffix(b"0\r\n" + reply.trailer + b"\r\n"),
            "LF": lambda sent: sent.replace(b"\r\n", b"\n", 1),
            "negative": lambda sent: b"-" + sent,
        }
        reply.damage = edits[spoilt]
        reply.end = random.choice((End.CLOSE, End.RESET, End.SILENT))
    return f"chunks of {reply.chunk}{reply.extension[:9]!r}{reply.trailer!r} {spoilt}"


def _until_close(scene: Scene, reply: Reply) -> str | None:  # noqa: ARG001
    if reply.framing != "length" or reply.method == "HEAD" or reply.length is not None or reply.unasked:
        return None
    reply.framing = "close"
    return "until close"


def _old_version(scene: Scene, reply: Reply) -> str | None:
    reply.version = scene.random.choice(("HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2", "HTTP/0.9", "ICY", "http/1.1"))
    if reply.version == "HTTP/1.0" and scene.random.random() < 0.5:
        reply.end = reply.end or End.CLOSE
    return reply.version


def _line_ends(scene: Scene, reply: Reply) -> str | None:
    reply.ending = scene.random.choice((b"\n", b"\r\r\n", b"\n"))
    return f"lines end with {reply.ending!r}"


def _status_line(scene: Scene, reply: Reply) -> str | None:
    kinds = ["no reason", "blank before", "garbage before", "no status", "long reason"]
    if reply.body and reply.method != "HEAD" and not reply.unasked:
        kinds.append("no head")
    kind = scene.random.choice(kinds)
    if kind == "no reason":
        reply.reason = ""
    elif kind == "blank before":
        reply.before = b"\r\n"
    elif kind == "garbage before":
        reply.before = scene.random.randbytes(9)
    elif kind == "no status":
        reply.reason = "OK"
        reply.version = "HTTP/1.1 OK"
    elif kind == "long reason":
        reply.reason = "r" * scene.random.choice((200, 9000, 70_000))
    else:
        reply.headless = True
    return f"status line: {kind}"


_FRAMINGS: tuple[tuple[int, Callable[[Scene, Reply], str | None]], ...] = (
    (8, _chunked),
    (5, _until_close),
    (2, _old_version),
    (1, _line_ends),
    (2, _status_line),
)


# Phase 4: how it is sent...


def _cut(scene: Scene, reply: Reply) -> str | None:
    reply.cut = scene.random.choice((0.0, scene.random.random(), scene.random.random(), 0.999))
    if scene.random.random() < 0.9:
        reply.end = scene.random.choice((End.CLOSE, End.RESET, End.SILENT))
        return f"cut at {reply.cut:.3f}, {reply.end.value}"
    reply.stalls = True
    return f"cut at {reply.cut:.3f}, silent"


def _slow(scene: Scene, reply: Reply) -> str | None:
    reply.pause = scene.random.choice((0.0, 0.001, 0.01))
    reply.pieces = scene.random.choice((1, 2, 3, 8))
    return f"{reply.pieces} pieces after {reply.pause}"


def _interim(scene: Scene, reply: Reply) -> str | None:
    count = scene.random.choice((1, 1, 2, 31, 40))
    status = scene.random.choice((100, 102, 103, 199, 101))
    reply.before = f"HTTP/1.1 {status} Wait\r\nx-interim: 1\r\nContent-Length: 5\r\n\r\n".encode() * count
    return f"{count} times {status} before"


def _followed(scene: Scene, reply: Reply) -> str | None:
    foreign = content_of(_NOT_MINE, 0, scene.random.choice((len(reply.body), 10, 500)))
    whole = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % len(foreign) + foreign
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    kind, reply.unasked = scene.random.choice(
        (
            ("answer", whole),
            ("answer", whole),
            ("408", late),
            ("line", b"\r\n"),
            ("garbage", b"garbage\n"),
            ("NUL", b"\0"),
        )
    )
    announced = reply.length or ""
    if reply.framing == "close" or reply.headless or (announced.isdecimal() and int(announced) > len(reply.body)):
        reply.unasked = b""
        return None
    if scene.random.random() < 0.4:
        reply.later = scene.random.choice((0.0, 0.002, 0.02))
    return f"followed by {kind}{'' if reply.later is None else f' after {reply.later}'}"


def _body_where_none(scene: Scene, reply: Reply) -> str | None:
    if reply.framing != "none" and reply.method != "HEAD":
        return None
    reply.unasked = content_of(_NOT_MINE, 0, scene.random.choice((1, 10, 500, 5000)))
    return f"{len(reply.unasked)} bytes of body where none belongs"


def _ended(scene: Scene, reply: Reply) -> str | None:
    reply.end = scene.random.choice((End.CLOSE, End.RESET, End.SILENT))
    return f"then {reply.end.value}"


_SENDINGS: tuple[tuple[int, Callable[[Scene, Reply], str | None]], ...] = (
    (10, _cut),
    (5, _slow),
    (4, _interim),
    (8, _followed),
    (6, _body_where_none),
    (4, _ended),
)


# Composing...


def compose(model: Model, asked: Asked, random: Random) -> tuple[Reply, bool]:
    """A damaged answer, and whether the request was performed."""
    scene = Scene(model, asked, random)
    reply: Reply | None = None
    if random.random() < 0.55:
        weights, changes = zip(*_MEANINGS, strict=True)
        for _ in range(6):
            reply = random.choices(changes, weights)[0](scene)
            if reply is not None:
                break
    if reply is None:
        reply = reply_of(scene)
    for share, table in ((0.3, _FIELDS), (0.25, _FRAMINGS), (0.4, _SENDINGS)):
        if random.random() < share or (table is _SENDINGS and not reply.notes):
            weights, edits = zip(*table, strict=True)
            for _ in range(4):
                note = random.choices(edits, weights)[0](scene, reply)
                if note is not None:
                    reply.notes.append(note)
                    break
    return reply, scene.performed


def correct(model: Model, asked: Asked) -> Reply:
    """The right answer."""
    return reply_of(Scene(model, asked, Random(0)))


def early(model: Model, asked: Asked, random: Random) -> Reply:
    """An answer before the body of the request has been read: a success, or a refusal."""
    if random.random() < 0.5:
        status = _SUCCESS.get((model.scheme, asked.verb), 200)
        reply = Reply(status, [], b"", asked.method)
        if model.scheme == "gs" and asked.verb == "put":
            reply.body = b'{"size": "0"}'
        reply.notes.append(f"{status} before the body")
    else:
        reply = _refuse(Scene(model, asked, random), (400, 403, 413, 429, 500, 503), done=False)
        reply.notes.append("before the body")
        if random.random() < 0.5:
            reply.end = random.choice((End.CLOSE, End.RESET))
    if random.random() < 0.3:
        reply.fields.append(("Connection", "close"))
    return reply


def script_of(reply: Reply, random: Random, is_early: bool = False) -> Script:
    """What is sent for a reply."""
    fields = list(reply.fields)
    body = reply.body
    sent = body
    if reply.framing == "length":
        length = str(len(body)) if reply.length is None else reply.length
        fields.insert(random.randrange(len(fields) + 1), ("Content-Length", length))
    elif reply.framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
        pieces = [body[at : at + reply.chunk] for at in range(0, len(body), reply.chunk)]
        sent = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), reply.extension, piece) for piece in pieces)
        sent += b"0\r\n" + reply.trailer + b"\r\n"
        if reply.damage is not None:
            sent = reply.damage(sent)
    if reply.method == "HEAD":
        sent = b""
    end = reply.ending
    lines = [f"{reply.version} {reply.status} {reply.reason}".rstrip().encode("latin-1")]
    lines += [f"{name}: {value}".encode("latin-1", "replace") for name, value in fields]
    head = b"" if reply.headless else end.join([*lines, b"", b""])
    whole = reply.before + head + sent
    steps: list[Step] = []
    closes = reply.end or (End.CLOSE if reply.framing == "close" and reply.method != "HEAD" else None)
    if reply.pause:
        steps.append(reply.pause)
    if reply.cut is not None:
        whole = whole[: int(reply.cut * len(whole))]
        steps.append(whole)
    elif reply.pieces > 1 and len(whole) > reply.pieces:
        places = sorted(random.sample(range(1, len(whole)), reply.pieces - 1))
        for begin, stop in zip([0, *places], [*places, len(whole)], strict=True):
            steps += [whole[begin:stop], 0.001]
        if reply.unasked:
            steps += [reply.unasked, Unasked(together=False)]
    elif reply.unasked and reply.later is not None:
        steps += [whole, Later(reply.later, reply.unasked)]
    elif reply.unasked:
        steps += [whole + reply.unasked, Unasked(together=True)]
    else:
        steps.append(whole)
    if reply.stalls:
        steps.append(20.0)
        closes = End.RESET
    if closes is not None:
        steps.append(closes)
    return Script(steps, is_early)
