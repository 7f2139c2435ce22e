# SPDX-License-Identifier: Apache-2.0
"""Whatever a server answers, a read returns exactly the bytes of one version of the object, or raises an error.

Each row of the table is a list of answers, one script for each request for an object. Each verb reads the object after
the buffers of the pool have been filled with the bytes of another object, so that memory that was never received shows.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3dlio
from s3dlio.http.exchange import Exchange
from s3dlio.http.pool import pool
from s3dlio.memory.buffers import lease
from s3dlio.memory.target import Buffer
from s3dlio.runtime.run import iterate
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.behavior.content import content
from tests.http.scripted import CLOSE, RESET, Script, scripted
from tests.replay import Received, Replay, answer

SIZE = 200_000
CUT = 70_000
DATA = content(SIZE, 1)
OTHER = content(SIZE, 2)
SECRET = b"another object's bytes " * 12_000  # the former content of the buffers
STRONG = {"s3": {"ETag": '"1"'}, "az": {"ETag": '"1"'}, "gs": {"x-goog-generation": "1"}}
WEAK = {"s3": {"ETag": 'W/"1"'}, "az": {"ETag": 'W/"1"'}, "gs": {}}


def cut(whole: bytes, body_bytes: int = CUT) -> Script:
    head, _, body = whole.partition(b"\r\n\r\n")
    return [head + b"\r\n\r\n" + body[:body_bytes], 0.02, CLOSE]


def chunked(body: bytes, fields: dict[str, str] | None = None, status: int = 200) -> bytes:
    framed = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    return answer(status, framed, {"Transfer-Encoding": "chunked", **(fields or {})})


def until_close(body: bytes, fields: dict[str, str] | None = None) -> Script:
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items())
    return [f"HTTP/1.1 200 -\r\n{lines}\r\n".encode() + body, CLOSE]


def part(
    start: int, stop: int, fields: dict[str, str], *, data: bytes = DATA, named: str = "", status: int = 206
) -> bytes:
    """An answer with bytes [start, stop) of an object, and their Content-Range, or `named` instead of that."""
    return answer(
        status, data[start:stop], {**fields, "Content-Range": named or f"bytes {start}-{stop - 1}/{len(data)}"}
    )


LATER = [answer(503, "later, " * 1000)]
LATER_CUT = cut(LATER[0], 500)


def rows(scheme: str) -> dict[str, list[Script]]:
    """The answers to the requests for an object, by what is wrong with them."""
    strong, weak = STRONG[scheme], WEAK[scheme]
    whole, plain = answer(200, DATA, strong), answer(200, DATA, weak)
    rest = part(CUT, SIZE, strong)
    return {
        "cut, then in chunks": [cut(plain), [chunked(DATA)]],
        "cut, then shorter in chunks": [cut(plain), [chunked(DATA[:CUT])]],
        "cut, then until close": [cut(plain), until_close(DATA)],
        "cut, then shorter until close": [cut(plain), until_close(DATA[: CUT + 5])],
        "cut, then shorter": [cut(plain), [answer(200, DATA[:CUT], weak)]],
        "cut, then longer": [cut(plain), [answer(200, OTHER + DATA, weak)]],
        "cut, then another version without a name": [cut(plain), [answer(200, OTHER, weak)]],
        "of a version, cut, then in chunks": [cut(whole), [chunked(DATA, strong)]],
        "of a version, cut, then the rest in chunks": [
            cut(whole),
            [chunked(DATA[CUT:], {**strong, "Content-Range": f"bytes {CUT}-{SIZE - 1}/{SIZE}"}, 206)],
        ],
        "of a version, cut, then too little of the rest in chunks": [
            cut(whole),
            [chunked(DATA[CUT:-1], {**strong, "Content-Range": f"bytes {CUT}-{SIZE - 1}/{SIZE}"}, 206)],
        ],
        "of a version, cut, then all without one": [cut(whole), [answer(200, OTHER)]],
        "of a version, cut, then the rest without one": [cut(whole), *[[part(CUT, SIZE, weak, data=OTHER)]] * 25],
        "of a version, cut, then the rest of another size": [
            cut(whole),
            *[[part(CUT, SIZE, strong, named=f"bytes {CUT}-{SIZE - 1}/{SIZE + 1}")]] * 25,
        ],
        "cut, then a 503 that is cut, then the rest": [cut(whole), LATER_CUT, [rest]],
        "cut, then a 503 that is cut, then all": [cut(whole), LATER_CUT, [whole]],
        "cut without a version, then a 503 that is cut, then all": [cut(plain), LATER_CUT, [plain]],
        "cut, then a 503, cut again, then the rest": [
            cut(whole),
            LATER,
            cut(rest, 10_000),
            LATER_CUT,
            [part(CUT + 10_000, SIZE, strong)],
        ],
        "the rest in chunks, cut, then all in chunks, cut, then all": [
            cut(whole),
            cut(chunked(DATA[CUT:], {**strong, "Content-Range": f"bytes {CUT}-{SIZE - 1}/{SIZE}"}, 206)),
            cut(chunked(DATA, strong)),
            [whole],
        ],
        "206 with the beginning": [[part(0, CUT, strong)]],
        "206 with the end": [[part(CUT, SIZE, strong)]],
        "206 without Content-Range": [[answer(206, DATA[:CUT], strong)]],
        "206 with a malformed Content-Range": [[part(0, CUT, strong, named="bytes 0-69999")]],
        "206 of unknown size": [[part(0, CUT, strong, named=f"bytes 0-{CUT - 1}/*")]],
        "206 with fewer bytes than its Content-Range": [[part(0, CUT, strong, named=f"bytes 0-{SIZE - 1}/{SIZE}")]],
        "206 with more bytes than the object has": [[part(0, SIZE, strong, named=f"bytes 0-{SIZE - 1}/{CUT}")]],
        "206 with several ranges": [
            [
                answer(
                    206,
                    b"--x\r\nContent-Range: bytes 0-3/9\r\n\r\nabcd\r\n--x--\r\n",
                    {**strong, "Content-Type": "multipart/byteranges; boundary=x"},
                )
            ]
        ],
        "200 with a Content-Range": [[part(0, CUT, strong, status=200)]],
        "200 in chunks with a Content-Range": [[chunked(DATA[:CUT], {"Content-Range": f"bytes 0-{CUT - 1}/{SIZE}"})]],
        "416": [[answer(416, "no")], [whole]],
        "416 with a malformed Content-Range": [[answer(416, "no", {"Content-Range": "bytes */all"})], [whole]],
        "416 that tells the size": [[answer(416, "no", {"Content-Range": f"bytes */{SIZE}"})], [whole]],
        "416 each time": [[answer(416, "no")]] * 25,
        "204": [[b"HTTP/1.1 204 -\r\n\r\n"]],
    }


def _downloaded(uri: str, folder: Path) -> bytes:
    s3dlio.download(uri, str(folder / "target"))
    return (folder / "target").read_bytes()


Verb = Callable[[str, Path], object]
# Each verb, with the part of the object that it has to return.
VERBS: dict[str, tuple[Verb, slice]] = {
    "get": (lambda uri, _: s3dlio.get(uri), slice(None)),
    "get_async": (lambda uri, _: asyncio.run(s3dlio.get_async(uri)), slice(None)),
    "get_range of the beginning": (lambda uri, _: s3dlio.get_range(uri, 0, CUT), slice(0, CUT)),
    "get_range of the end": (lambda uri, _: s3dlio.get_range(uri, CUT), slice(CUT, None)),
    "get_range_async": (lambda uri, _: asyncio.run(s3dlio.get_range_async(uri, 10, CUT)), slice(10, CUT + 10)),
    "get_many": (lambda uri, _: s3dlio.get_many([uri], 1)[0][1], slice(None)),
    "get_many, of few": (lambda uri, _: s3dlio.get_many([uri])[0][1], slice(None)),
    "get_many_iter": (lambda uri, _: dict(s3dlio.get_many_iter([f"{uri}-before", uri]))[uri], slice(None)),
    "get_many_async": (lambda uri, _: asyncio.run(s3dlio.get_many_async([uri], 1))[0][1], slice(None)),
    "download": (_downloaded, slice(None)),
}


# Rows that contain the whole object: `get` and `get_many` return it.
GOOD = {
    "cut, then in chunks",
    "of a version, cut, then in chunks",
    "of a version, cut, then the rest in chunks",
    "cut, then a 503 that is cut, then the rest",
    "cut, then a 503 that is cut, then all",
    "cut without a version, then a 503 that is cut, then all",
    "cut, then a 503, cut again, then the rest",
    "the rest in chunks, cut, then all in chunks, cut, then all",
}
# Rows in which a later answer is a whole other object.
OTHERS = {
    "cut, then shorter in chunks": DATA[:CUT],
    "cut, then shorter": DATA[:CUT],
    "cut, then longer": OTHER + DATA,
    "cut, then another version without a name": OTHER,
    "of a version, cut, then all without one": OTHER,
}
# Every verb on one protocol; two verbs on the others, which share the code.
CALLS = [("s3", verb) for verb in VERBS] + [(scheme, verb) for scheme in ("az", "gs") for verb in ("get", "get_many")]


def _use(url: str) -> None:
    os.environ.update(
        AWS_ENDPOINT_URL=url,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AZURE_STORAGE_ENDPOINT=f"{url}/account",
        AZURE_STORAGE_KEY="a2V5",
        STORAGE_EMULATOR_HOST=url.removeprefix("http://"),
    )


def _stain_buffers() -> None:
    """Fill the memory that the next reads of these sizes lease."""
    views = [lease(size) for size in (CUT, SIZE, SIZE, 2 * SIZE) for _ in range(4)]
    for view in views:
        view[:] = (SECRET * 2)[: len(view)]


@pytest.fixture(autouse=True)
def few_tries() -> Iterator[None]:
    os.environ.update(S3DLIO_RETRIES="3")
    yield
    pool.clear()


@pytest.mark.parametrize(("scheme", "verb"), CALLS)
@pytest.mark.parametrize("row", rows("s3"))
def test_the_result_is_one_whole_object_or_an_error(scheme: str, row: str, verb: str, tmp_path: Path) -> None:
    call, wanted = VERBS[verb]
    with scripted(rows(scheme)[row]) as server:
        _use(server.url)
        s3dlio.get_many([f"{scheme}://bucket/first"] * 3, 1)  # opens the connection
        _stain_buffers()
        if row in GOOD and verb in ("get", "get_many"):
            assert call(f"{scheme}://bucket/case", tmp_path) == DATA
            return
        with contextlib.suppress(s3dlio.S3dlioError):
            found = call(f"{scheme}://bucket/case", tmp_path)
            assert bytes(found) in (DATA[wanted], OTHERS.get(row, DATA)[wanted])  # type: ignore[call-overload]


@pytest.mark.parametrize("verb", ["get", "get_async", "get_range_async", "get_many", "get_many_iter"])
@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
@pytest.mark.parametrize("rest", [DATA[CUT:], b"", DATA[:CUT]], ids=["the rest", "nothing", "what came before"])
@pytest.mark.parametrize("framed", [answer, lambda _, body, fields: chunked(body, fields)], ids=["sized", "in chunks"])
def test_a_version_has_one_size(
    scheme: str, verb: str, rest: bytes, framed: Callable[..., bytes], tmp_path: Path
) -> None:
    strong = STRONG[scheme]
    call, _ = VERBS[verb]
    with scripted([cut(answer(200, DATA, strong)), *[[framed(200, rest, strong)]] * 25]) as server:
        _use(server.url)
        s3dlio.get_many([f"{scheme}://bucket/first"] * 3, 1)  # opens the connection
        with pytest.raises(s3dlio.S3dlioError, match=f"case at {server.url}") as caught:
            call(f"{scheme}://bucket/case", tmp_path)
        assert caught.value.endpoint == server.url


def test_answers_with_large_heads_do_not_mix() -> None:
    """Heads longer than one receive takes, of about that length, and short ones in between."""
    objects = {}
    for number in range(400):
        filling = (100, 9_000, 8_150, 8_192, 12_000)[number // 40 % 5] if number % 50 else 300
        fields = {f"X-Filling-{place}": "x" * 1000 for place in range(filling // 1000)}
        objects[f"s3://bucket/{number}"] = content(40_000, number), {**fields, "X-Rest": "x" * (filling % 1000)}

    def reply(request: Received) -> bytes:
        body, fields = objects[f"s3:/{request.path}"]
        return answer(200, body, fields)

    os.environ.update(S3DLIO_READ_TIMEOUT="5", S3DLIO_RETRIES="0")  # a wrong answer may leave a read waiting
    with Replay(reply) as server:
        _use(server.url)
        found = s3dlio.get_many(list(objects), 16)
    assert [uri for uri, data in found if data != objects[uri][0]] == []


# Large objects, read in pieces...

LARGE = (16 << 20) + 12_345


def _versions(scheme: str, strong: bool, replaced_after: int) -> Callable[[Received], bytes]:
    """A server with ranges that replaces its object after `replaced_after` answers."""
    old, new = content(LARGE, 3), content(LARGE, 4)
    asked = 0

    def reply(request: Received) -> bytes:
        nonlocal asked
        data, number = (old, 1) if asked < replaced_after else (new, 2)
        fields = {name: value.replace("1", str(number)) for name, value in (STRONG if strong else WEAK)[scheme].items()}
        if request.method == "HEAD" or "fields=" in request.target:
            facts = b"" if request.method == "HEAD" else b'{"size": "%d"}' % LARGE
            return answer(200, facts, {**fields, "Content-Length": str(len(facts) or LARGE)})
        condition = request.headers.get("if-match", fields.get("ETag"))
        if condition != fields.get("ETag") or ("generation=" in request.target and number == 2):
            return answer(412, "replaced")
        asked += 1
        if span := request.headers.get("range"):
            first, last = span.removeprefix("bytes=").split("-")
            return part(int(first), min(int(last or LARGE) + 1, LARGE), fields, data=data)
        return answer(200, data, fields)

    return reply


@pytest.mark.parametrize("strong", [True, False], ids=["strong", "weak"])
@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
@pytest.mark.parametrize("verb", ["download", "cat", "cat of a range"])
def test_pieces_are_of_one_version(scheme: str, strong: bool, verb: str, tmp_path: Path) -> None:
    old, new = content(LARGE, 3), content(LARGE, 4)
    uri = parse(f"{scheme}://bucket/case")
    offset = 5 if verb == "cat of a range" else 0
    with Replay(_versions(scheme, strong, 1)) as server:
        _use(server.url)
        with contextlib.suppress(s3dlio.IntegrityError):
            if verb == "download":
                found = _downloaded(uri.text, tmp_path)
            else:
                found = b"".join(map(bytes, iterate(store_for(scheme).chunks(uri, 1 << 20, offset))))
            assert found in (old[offset:], new[offset:])
            assert not strong  # pieces of the old object were handed out already


@pytest.mark.parametrize("size", [10**13, 2**63 - 1, 10**19 - 1])
@pytest.mark.parametrize("framed", ["sized", "in chunks"])
@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_a_size_beyond_all_memory_is_an_error(scheme: str, framed: str, size: int) -> None:
    os.environ["S3DLIO_GET_PART_MB"] = "1"
    body = bytes(1 << 20)
    fields = {**STRONG[scheme], "Content-Range": f"bytes 0-{len(body) - 1}/{size}"}
    with scripted([[answer(206, body, fields) if framed == "sized" else chunked(body, fields, 206)]] * 4) as server:
        _use(server.url)
        with pytest.raises(s3dlio.S3dlioError, match=r"case.*memory"):
            s3dlio.get(f"{scheme}://bucket/case")


# Sizes that an answer does not tell...


@pytest.mark.parametrize("body", [DATA[:10], b""], ids=["ten bytes", "empty"])
@pytest.mark.parametrize("fields", [{}, {"Transfer-Encoding": "chunked"}], ids=["no length", "chunked"])
@pytest.mark.parametrize("knows_ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("scheme", ["s3", "az"])
def test_a_head_without_a_size_is_followed_by_a_request_for_the_size(
    scheme: str, body: bytes, fields: dict[str, str], knows_ranges: bool
) -> None:
    def reply(request: Received) -> bytes:
        if request.method == "HEAD":
            lines = "".join(f"{name}: {value}\r\n" for name, value in {**STRONG[scheme], **fields}.items())
            return f"HTTP/1.1 200 -\r\n{lines}Connection: close\r\n\r\n".encode()
        if "range" in request.headers and knows_ranges:
            return part(0, 1, STRONG[scheme], data=body) if body else answer(416, "no")
        return answer(200, body, STRONG[scheme])

    with Replay(reply) as server:
        _use(server.url)
        facts = s3dlio.stat(f"{scheme}://bucket/case")
    assert facts["size"] == len(body)
    assert facts["last_modified"] is None


@pytest.mark.parametrize("body", [DATA[:10], b""], ids=["ten bytes", "empty"])
@pytest.mark.parametrize("scheme", ["s3", "az"])
def test_a_write_is_verified_although_a_head_has_no_size(scheme: str, body: bytes) -> None:
    def reply(request: Received) -> bytes:
        if request.method == "PUT":
            return answer(200 if scheme == "s3" else 201, headers=STRONG[scheme])
        if request.method == "HEAD":
            lines = "".join(f"{name}: {value}\r\n" for name, value in STRONG[scheme].items())
            return f"HTTP/1.1 200 -\r\n{lines}Connection: close\r\n\r\n".encode()
        return part(0, 1, STRONG[scheme], data=body) if body else answer(416, "no", {"Content-Range": "bytes */0"})

    os.environ["S3DLIO_PUT_VERIFY"] = "1"
    with Replay(reply) as server:
        _use(server.url)
        s3dlio.put_bytes(f"{scheme}://bucket/case", body)
        with pytest.raises(s3dlio.IntegrityError, match=f"3 bytes were written, and {len(body)} bytes"):
            s3dlio.put_bytes(f"{scheme}://bucket/case", b"abc")


def test_facts_without_a_size_are_followed_by_a_request_for_the_size() -> None:
    def reply(request: Received) -> bytes:
        if "alt=media" in request.target:
            return part(0, 1, STRONG["gs"], data=DATA[:10])
        return answer(200, b'{"generation": "1"}', {"Content-Type": "application/json"})

    with Replay(reply) as server:
        _use(server.url)
        facts = s3dlio.stat("gs://bucket/case")
    assert facts["size"] == 10
    assert facts["last_modified"] is None


@pytest.mark.parametrize("told", [{}, {"Content-Range": "bytes */-1"}, {"Content-Range": "bytes 0-9/10"}])
@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_a_refused_range_does_not_count_as_an_empty_object(scheme: str, told: dict[str, str]) -> None:
    body = DATA[:10]

    def reply(request: Received) -> bytes:
        if request.method == "HEAD":
            return answer(200, b"", {"Content-Length": "10"})
        if "fields=" in request.target:
            return answer(200, b'{"size": "10"}')
        return answer(416, "no", told) if "range" in request.headers else answer(200, body, STRONG[scheme])

    uri = f"{scheme}://bucket/case"
    with Replay(reply) as server:
        _use(server.url)
        assert s3dlio.get(uri) == body
        assert s3dlio.get_range(uri, 0, 3) == body[:3]
        assert s3dlio.get_range(uri, 10) == b""
        with pytest.raises(s3dlio.IntegrityError, match=f"case at {server.url}"):
            s3dlio.get_range(uri, 5)


# Versions...


@pytest.mark.parametrize("version", ["caf\xe9", "a b", "a\tb", "\x7f", "1, 1", "x" * 5000])
@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_a_version_that_cannot_be_sent_back_is_not_used(scheme: str, version: str) -> None:
    """Either one request reads the object, or the version in the next request is one that can be sent."""
    fields = {"x-goog-generation": version} if scheme == "gs" else {"ETag": f'"{version}"'}
    uri = parse(f"{scheme}://bucket/case")

    def reply(request: Received) -> bytes:
        if span := request.headers.get("range"):
            first, last = span.removeprefix("bytes=").split("-")
            return part(int(first), min(int(last or SIZE) + 1, SIZE), fields)
        return answer(200, DATA, fields)

    with Replay(reply) as server:
        _use(server.url)
        assert b"".join(map(bytes, iterate(store_for(scheme).chunks(uri, CUT)))) == DATA


# Each is a first answer that is lost, and what becomes of the next try.
_LOST = {
    "broken, then the rest": [RESET, [part(CUT, SIZE, STRONG["s3"])]],
    "cut, then the rest": [CLOSE, [part(CUT, SIZE, STRONG["s3"])]],
    "cut, then replaced": [
        CLOSE,
        [part(CUT, SIZE, {"ETag": '"2"'}, data=OTHER)],
        [answer(200, OTHER, {"ETag": '"2"'})],
    ],
}


def _alive() -> int:
    """How many objects exist that refer to the memory of a read."""
    return sum(type(one) in (Buffer, Exchange) for one in gc.get_objects())


@pytest.mark.parametrize(("end", "scripts"), [(first, rest) for first, *rest in _LOST.values()], ids=_LOST)
def test_the_memory_of_a_read_that_is_tried_again_needs_no_garbage_collector(end: str, scripts: list[Script]) -> None:
    head, _, body = answer(200, DATA, STRONG["s3"]).partition(b"\r\n\r\n")
    begun: Script = [head + b"\r\n\r\n" + body[:CUT], 0.05, end]
    gc.collect()
    gc.disable()
    before = _alive()
    try:
        with scripted([begun, *scripts]):
            assert len(s3dlio.get("s3://bucket/case")) == SIZE
        assert _alive() == before
    finally:
        gc.enable()
