# SPDX-License-Identifier: Apache-2.0
"""A head that matches a pattern means what parsing it returns, and no head matches that parsing would refuse."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s3dlio.http import head_patterns
from s3dlio.http.framing import FramingError, ResponseHead, find_head_end, parse_head
from s3dlio.http.head_patterns import HeadPattern, pattern_of
from s3dlio.tuning import HEADS_BEFORE_PATTERN

USUAL = {
    "Server": "nginx",
    "Date": "Mon, 30 Nov 2026 16:00:57 GMT",
    "x-amz-request-id": "the same at first",
    "Content-Length": "4096",
    "Connection": "keep-alive",
    "ETag": '"1"',
    "x-amz-checksum-crc32c": "yZRlqg==",
}
SOME = HEADS_BEFORE_PATTERN


def head_of(fields: dict[str, str], status: str = "HTTP/1.1 200 OK") -> bytearray:
    return bytearray("".join(f"{line}\r\n" for line in (status, *map(": ".join, fields.items()), "")), "latin-1")


def learned(*heads: bytearray, method: str = "GET") -> HeadPattern | None:
    """The pattern of the last head, after all of them have been parsed."""
    pattern = None
    for head in heads:
        pattern = pattern_of(head, parse_head(head, method))
    return pattern


def usual() -> HeadPattern:
    heads = [head_of({**USUAL, "Content-Length": str(number), "ETag": f'"{number}"'}) for number in range(SOME)]
    pattern = learned(*heads)
    assert pattern is not None
    return pattern


def recognized(pattern: HeadPattern, data: bytearray) -> ResponseHead | None:
    """The head that a pattern reads from bytes that match it."""
    found = pattern.match(data, 0, len(data))
    if found is None:
        return None
    head = pattern.head(found)
    of_a_version = {"date", "etag", "last-modified", "content-length"}
    others = {name: value for name, value in head.headers.items() if name not in of_a_version}
    assert pattern.brief_head(found) == head._replace(headers=others)
    assert (head.length, head.keep_alive) == (int(found["length"]), pattern.keep_alive)
    assert found.end() == find_head_end(data)
    return head


@pytest.fixture(autouse=True)
def _no_kind_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_patterns, "_kinds", {})


def test_a_pattern_is_learned_from_many_heads() -> None:
    assert learned(*[head_of(USUAL)] * (SOME - 1)) is None
    assert learned(head_of(USUAL)) is not None


def test_a_value_that_differs_in_a_varying_field_is_read() -> None:
    data = head_of({**USUAL, "Content-Length": "123456789", "ETag": '"odd: \\r\\n"'})
    assert recognized(usual(), data) == parse_head(data, "GET")
    assert recognized(usual(), data + b"body\r\n\r\n") == parse_head(data, "GET")


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
def test_a_head_that_differs_elsewhere_does_not_match(data: bytearray) -> None:
    assert recognized(usual(), data) is None


ODD = st.one_of(st.binary(max_size=8), st.sampled_from([b"\r\n", b": ", b"\r\n\r\n", b"1", b"Content-Length: 7\r\n"]))


@settings(deadline=None)
@given(start=st.integers(0, 200), length=st.integers(0, 30), put_in=ODD)
@example(start=0, length=0, put_in=b"")
def test_parsing_a_changed_head_that_matches_returns_the_same(start: int, length: int, put_in: bytes) -> None:
    data = head_of(USUAL)
    data[start : start + length] = put_in
    head = recognized(usual(), data)
    if head is not None:
        assert head == parse_head(data[: find_head_end(data)], "GET")


@settings(deadline=None)
@given(values=st.lists(st.text(st.characters(max_codepoint=255), max_size=20), min_size=2, max_size=4))
def test_parsing_a_head_with_any_values_returns_the_same_as_its_pattern(values: list[str]) -> None:
    heads = [head_of({**USUAL, "ETag": value}) for value in values]
    try:
        pattern = learned(*heads * SOME)
    except FramingError:
        return
    assert pattern is not None
    for data in heads:
        head = recognized(pattern, data)
        assert head is None or head == parse_head(data, "GET")


def test_a_field_that_begins_to_vary_later_is_learned() -> None:
    pattern = usual()
    later = head_of({**USUAL, "x-amz-request-id": "another"})
    assert recognized(pattern, later) is None
    assert learned(*[later] * (SOME - 1)) is pattern
    newer = learned(later)
    assert newer is not None
    for number in ("a third one", USUAL["x-amz-request-id"]):
        data = head_of({**USUAL, "x-amz-request-id": number, "ETag": "another"})
        assert recognized(newer, data) == parse_head(data, "GET")


def test_two_kinds_of_heads_have_two_patterns() -> None:
    closing = [head_of({**USUAL, "Connection": "close", "ETag": str(number)}) for number in range(SOME)]
    first, second = usual(), learned(*closing)
    assert second is not None
    assert (first.keep_alive, second.keep_alive) == (True, False)
    assert learned(head_of(USUAL)) is first
    assert learned(closing[0]) is second


def test_all_heads_of_a_pattern_have_the_same_connection_field() -> None:
    data = head_of(USUAL)
    heads = [data, data.replace(b"Connection: ", b"Connection:"), data.replace(b"Connection: ", b"Connection:  ")]
    for pattern in (learned(*heads * SOME), *map(learned, heads)):
        assert pattern is not None
        assert recognized(pattern, head_of({**USUAL, "Connection": "close"})) is None


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
def test_unusual_answers_have_no_pattern(data: bytearray, method: str) -> None:
    assert learned(*[data] * SOME, method=method) is None


@pytest.mark.parametrize("line", [b"Content-Length:5", b"Content-Length:\t5", b"Content-Length: 5, 5"])
def test_a_length_in_another_notation_does_not_match(line: bytes) -> None:
    data = head_of({"ETag": "1", "Content-Length": "5"}).replace(b"Content-Length: 5", line)
    pattern = learned(*[data] * SOME)
    assert pattern is not None
    assert recognized(pattern, data) is None


def test_heads_that_no_pattern_matches_are_compiled_for_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def noted(lines: list[str], head: ResponseHead, varying: set[str]) -> HeadPattern:
        compiled.append(lines)
        return HeadPattern(lines, head, varying)

    monkeypatch.setattr(head_patterns, "HeadPattern", noted)
    learned(*[head_of({**USUAL, "ETag": f"\xe9{number}"}) for number in range(20 * SOME)])
    assert len(compiled) == head_patterns._MOST_COMPILED


def test_a_server_that_invents_fields_does_not_fill_the_memory() -> None:
    for number in range(10 * head_patterns._MOST_KNOWN):
        learned(head_of({**USUAL, f"x-{number}": "1"}))
    assert len(head_patterns._kinds) <= head_patterns._MOST_KNOWN
