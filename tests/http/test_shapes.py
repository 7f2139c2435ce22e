# SPDX-License-Identifier: Apache-2.0
"""A head that has the shape of others is taken for what the rules read from it, and what they would refuse has none."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s3dlio.http import head_patterns
from s3dlio.http.framing import FramingError, ResponseHead, find_head_end, parse_head
from s3dlio.http.head_patterns import Shape, shape_of

USUAL = {
    "Server": "nginx",
    "Date": "Mon, 30 Nov 2026 16:00:57 GMT",
    "x-amz-request-id": "the same at first",
    "Content-Length": "4096",
    "Connection": "keep-alive",
    "ETag": '"1"',
    "x-amz-checksum-crc32c": "yZRlqg==",
}
SOME = head_patterns._LEARNT_FROM


def head_of(fields: dict[str, str], status: str = "HTTP/1.1 200 OK") -> bytearray:
    return bytearray("".join(f"{line}\r\n" for line in (status, *map(": ".join, fields.items()), "")), "latin-1")


def learnt(*heads: bytearray, method: str = "GET") -> Shape | None:
    """The shape of the last one, after all of them."""
    shape = None
    for head in heads:
        shape = shape_of(head, parse_head(head, method))
    return shape


def usual() -> Shape:
    heads = [head_of({**USUAL, "Content-Length": str(number), "ETag": f'"{number}"'}) for number in range(SOME)]
    shape = learnt(*heads)
    assert shape is not None
    return shape


def taken(shape: Shape, data: bytearray) -> ResponseHead | None:
    """What a head is taken for, if it has the shape."""
    found = shape.match(data, 0, len(data))
    if found is None:
        return None
    head = shape.head(found)
    of_a_version = {"date", "etag", "last-modified", "content-length"}
    others = {name: value for name, value in head.headers.items() if name not in of_a_version}
    assert shape.brief_head(found) == head._replace(headers=others)
    assert (head.length, head.keep_alive) == (int(found["length"]), shape.keep_alive)
    assert found.end() == find_head_end(data)
    return head


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_patterns, "_seen", {})


def test_a_shape_is_learnt_from_many() -> None:
    assert learnt(*[head_of(USUAL)] * (SOME - 1)) is None
    assert learnt(head_of(USUAL)) is not None


def test_what_differs_where_others_did_is_taken_for_what_it_says() -> None:
    data = head_of({**USUAL, "Content-Length": "123456789", "ETag": '"odd: \\r\\n"'})
    assert taken(usual(), data) == parse_head(data, "GET")
    assert taken(usual(), data + b"body\r\n\r\n") == parse_head(data, "GET")


@pytest.mark.parametrize(
    "data",
    [
        head_of({**USUAL, "x-amz-request-id": "another"}),
        head_of({**USUAL, "Server": "another"}),
        head_of({**USUAL, "Connection": "close"}),
        head_of({**USUAL, "Transfer-Encoding": "chunked"}),
        head_of({**USUAL, "content-length": "5"}),
        head_of(dict(list(USUAL.items())[:-1])),
        head_of(dict(reversed(USUAL.items()))),
        head_of(USUAL, "HTTP/1.1 206 Partial Content"),
        head_of(USUAL, "HTTP/1.0 200 OK"),
        head_of({**USUAL, "Content-Length": "-1"}),
        head_of({**USUAL, "Content-Length": "+1"}),
        head_of({**USUAL, "Content-Length": "1, 1"}),
        head_of({**USUAL, "Content-Length": "\xb2"}),
        head_of({**USUAL, "Content-Length": "9" * 19}),
        head_of({**USUAL, "Content-Length": ""}),
        head_of({**USUAL, "ETag": "\xe9"}),
        head_of({**USUAL, "ETag": " a"}),
        head_of({**USUAL, "ETag": "a "}),
        head_of({**USUAL, "ETag": "a\nb"}),
        head_of({**USUAL, "ETag": "a\rb"}),
        head_of({**USUAL, "ETag": "a\0b"}),
        head_of({**USUAL, "ETag": "a\r\nTransfer-Encoding: chunked"}),
        head_of({**USUAL, "ETag": "a\r\n folded"}),
        head_of(USUAL)[:-2],
        head_of(USUAL)[1:],
        bytearray(b"\r\n") + head_of(USUAL),
        head_of(USUAL).replace(b"\r\n", b"\n"),
        head_of(USUAL).replace(b"ETag:", b"ETag :"),
        bytearray(),
    ],
    ids=repr,
)
def test_what_differs_elsewhere_is_left_to_the_rules(data: bytearray) -> None:
    assert taken(usual(), data) is None


ODD = st.one_of(st.binary(max_size=8), st.sampled_from([b"\r\n", b": ", b"\r\n\r\n", b"1", b"Content-Length: 7\r\n"]))


@settings(deadline=None)
@given(start=st.integers(0, 200), length=st.integers(0, 30), put_in=ODD)
@example(start=0, length=0, put_in=b"")
def test_however_a_head_is_changed_the_rules_read_what_its_shape_says(start: int, length: int, put_in: bytes) -> None:
    data = head_of(USUAL)
    data[start : start + length] = put_in
    head = taken(usual(), data)
    if head is not None:
        assert head == parse_head(data[: find_head_end(data)], "GET")


@settings(deadline=None)
@given(values=st.lists(st.text(st.characters(max_codepoint=255), max_size=20), min_size=2, max_size=4))
def test_whatever_a_field_has_said_its_shape_says_the_same(values: list[str]) -> None:
    heads = [head_of({**USUAL, "ETag": value}) for value in values]
    try:
        shape = learnt(*heads * SOME)
    except FramingError:
        return
    assert shape is not None
    for data in heads:
        head = taken(shape, data)
        assert head is None or head == parse_head(data, "GET")


def test_what_begins_to_differ_later_is_learnt_too() -> None:
    shape = usual()
    later = head_of({**USUAL, "x-amz-request-id": "another"})
    assert taken(shape, later) is None
    assert learnt(*[later] * (SOME - 1)) is shape
    newer = learnt(later)
    assert newer is not None
    for number in ("a third one", USUAL["x-amz-request-id"]):
        data = head_of({**USUAL, "x-amz-request-id": number, "ETag": "another"})
        assert taken(newer, data) == parse_head(data, "GET")


def test_two_kinds_of_heads_are_kept_apart() -> None:
    closing = [head_of({**USUAL, "Connection": "close", "ETag": str(number)}) for number in range(SOME)]
    first, second = usual(), learnt(*closing)
    assert second is not None
    assert (first.keep_alive, second.keep_alive) == (True, False)
    assert learnt(head_of(USUAL)) is first
    assert learnt(closing[0]) is second


def test_connection_is_the_same_in_all_heads_of_a_shape() -> None:
    data = head_of(USUAL)
    heads = [data, data.replace(b"Connection: ", b"Connection:"), data.replace(b"Connection: ", b"Connection:  ")]
    for shape in (learnt(*heads * SOME), *map(learnt, heads)):
        assert shape is not None
        assert taken(shape, head_of({**USUAL, "Connection": "close"})) is None


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (head_of({"Content-Length": "5"}, "HTTP/1.1 206 Partial Content"), "GET"),
        (head_of({"Content-Length": "5"}), "HEAD"),
        (head_of({"Transfer-Encoding": "chunked"}), "GET"),
        (head_of({"Connection": "close"}), "GET"),
        (head_of({"ETag": "1", "etag": "2", "Content-Length": "5"}), "GET"),
    ],
    ids=repr,
)
def test_other_answers_have_no_shape(data: bytearray, method: str) -> None:
    assert learnt(*[data] * SOME, method=method) is None


@pytest.mark.parametrize("line", [b"Content-Length:5", b"Content-Length:\t5", b"Content-Length: 5, 5"])
def test_a_length_written_in_another_way_is_left_to_the_rules(line: bytes) -> None:
    data = head_of({"ETag": "1", "Content-Length": "5"}).replace(b"Content-Length: 5", line)
    shape = learnt(*[data] * SOME)
    assert shape is not None
    assert taken(shape, data) is None


def test_what_no_shape_takes_is_compiled_for_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def noted(lines: list[str], head: ResponseHead, varying: set[str]) -> Shape:
        compiled.append(lines)
        return Shape(lines, head, varying)

    monkeypatch.setattr(head_patterns, "Shape", noted)
    learnt(*[head_of({**USUAL, "ETag": f"\xe9{number}"}) for number in range(20 * SOME)])
    assert len(compiled) == head_patterns._MOST_COMPILED


def test_a_server_that_makes_up_fields_fills_no_memory() -> None:
    for number in range(10 * head_patterns._MOST_KNOWN):
        learnt(head_of({**USUAL, f"x-{number}": "1"}))
    assert len(head_patterns._seen) <= head_patterns._MOST_KNOWN
