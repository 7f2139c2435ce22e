# SPDX-License-Identifier: Apache-2.0
"""HTTP framing: the meaning of well-formed answers, the refusal of malformed ones, and that neither depends on
how the bytes were cut on their way."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3dlio.http.framing import (
    MAX_CHUNK_LINE_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    BodyKind,
    ChunkedDecoder,
    FramingError,
    ResponseHead,
    find_head_end,
    parse_head,
    request_head,
)

S3_HEAD = (
    b"HTTP/1.1 206 Partial Content\r\n"
    b"x-amz-request-id: 0A49CE4060975EAC\r\n"
    b"Last-Modified: Wed, 12 Oct 2009 17:50:00 GMT\r\n"
    b'ETag: "fba9dede5f27731c9771645a39863328"\r\n'
    b"Content-Range: bytes 0-65535/8388608\r\n"
    b"Content-Length: 65536\r\n"
    b"Server: AmazonS3\r\n\r\n"
)


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "".join(f"{line}\r\n" for line in (status, *lines, "")).encode("latin-1")


# Sending the request


def test_a_request_head_is_the_request_line_the_fields_in_order_and_an_empty_line() -> None:
    assert request_head("GET", "/bucket/a%20key?versionId=1", [("Host", "h:9000"), ("Range", "bytes=0-1")]) == (
        b"GET /bucket/a%20key?versionId=1 HTTP/1.1\r\nHost: h:9000\r\nRange: bytes=0-1\r\n\r\n"
    )


def test_request_values_are_sent_as_latin_1_and_may_hold_tabs() -> None:
    assert request_head("PUT", "/k", [("x-amz-meta-city", "M\xfcnchen\tx")]) == (
        b"PUT /k HTTP/1.1\r\nx-amz-meta-city: M\xfcnchen\tx\r\n\r\n"
    )


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\rb", "a\nb", "a\0b", "a\x1bb", "a\x7fb", "\u20ac"])
def test_a_value_that_would_break_the_framing_is_refused_by_name_and_never_quoted(value: str) -> None:
    with pytest.raises(ValueError, match="x-amz-security-token") as caught:
        request_head("GET", "/k", [("Host", "h"), ("x-amz-security-token", "SECRET" + value)])
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "\u20ac", "x-m\xe9ta"])
def test_a_field_name_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="request field name"):
        request_head("GET", "/k", [(name, "1")])


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nHost: x", "/\xe9", "/a\0", "/a\x7f"])
def test_a_target_that_is_not_encoded_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="request target"):
        request_head("GET", target, [])


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "G\xcbT"])
def test_a_method_that_is_not_a_token_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="request method"):
        request_head(method, "/", [])


# Receiving the head


def test_an_s3_head_is_read_whole() -> None:
    assert parse_head(S3_HEAD, "GET") == ResponseHead(
        status=206,
        reason="Partial Content",
        headers={
            "x-amz-request-id": "0A49CE4060975EAC",
            "last-modified": "Wed, 12 Oct 2009 17:50:00 GMT",
            "etag": '"fba9dede5f27731c9771645a39863328"',
            "content-range": "bytes 0-65535/8388608",
            "content-length": "65536",
            "server": "AmazonS3",
        },
        body=BodyKind.LENGTH,
        length=65536,
        keep_alive=True,
    )


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_head_is_read_from_any_kind_of_buffer(
    kind: Callable[[bytes], bytes | bytearray | memoryview],
) -> None:
    assert parse_head(kind(S3_HEAD), "GET").length == 65536


NONE, LENGTH, CHUNKED, UNTIL_CLOSE = BodyKind.NONE, BodyKind.LENGTH, BodyKind.CHUNKED, BodyKind.UNTIL_CLOSE
OK = "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("method", "status", "fields", "body", "length", "keep_alive"),
    [
        ("GET", OK, ["Content-Length: 5"], LENGTH, 5, True),
        ("GET", OK, ["Content-Length: 0"], LENGTH, 0, True),
        ("GET", OK, ["CONTENT-LENGTH:\t 05 "], LENGTH, 5, True),
        ("GET", OK, ["Content-Length: 5", "Content-Length: 5"], LENGTH, 5, True),
        ("GET", OK, ["Content-Length: 5 , 5"], LENGTH, 5, True),
        ("GET", OK, ["Content-Length: 9223372036854775807"], LENGTH, 2**63 - 1, True),
        ("GET", OK, ["Transfer-Encoding: chunked"], CHUNKED, None, True),
        ("GET", OK, ["transfer-encoding:Chunked"], CHUNKED, None, True),
        ("GET", OK, [], UNTIL_CLOSE, None, False),
        ("PUT", OK, ["Connection: close", "Content-Length: 0"], LENGTH, 0, False),
        ("GET", OK, ["Connection: Close", "Content-Length: 1"], LENGTH, 1, False),
        ("GET", OK, ["Connection: x, close", "Content-Length: 1"], LENGTH, 1, False),
        ("GET", OK, ["Connection: keep-alive", "Connection: close", "Content-Length: 1"], LENGTH, 1, False),
        ("GET", OK, ["Connection: closed", "Content-Length: 1"], LENGTH, 1, True),
        ("GET", "HTTP/1.0 200 OK", ["Content-Length: 1"], LENGTH, 1, False),
        ("GET", "HTTP/1.0 200 OK", ["Content-Length: 1", "Connection: Keep-Alive"], LENGTH, 1, True),
        ("GET", "HTTP/1.0 200 OK", ["Content-Length: 1", "Connection: keep-alive, close"], LENGTH, 1, False),
        ("GET", "HTTP/1.0 200 OK", ["Connection: keep-alive"], UNTIL_CLOSE, None, False),
        ("HEAD", OK, ["Content-Length: 5"], NONE, 5, True),
        ("HEAD", OK, [], NONE, None, True),
        ("HEAD", OK, ["Transfer-Encoding: chunked"], NONE, None, False),
        ("HEAD", "HTTP/1.1 404 Not Found", ["Content-Length: 5"], NONE, 5, True),
        ("DELETE", "HTTP/1.1 204 No Content", [], NONE, None, True),
        ("DELETE", "HTTP/1.1 204 No Content", ["Content-Length: 9"], NONE, 9, False),
        ("DELETE", "HTTP/1.1 204 No Content", ["Content-Length: 0"], NONE, 0, True),
        ("DELETE", "HTTP/1.1 204 No Content", ["Transfer-Encoding: chunked"], NONE, None, False),
        ("GET", "HTTP/1.1 304 Not Modified", ["Content-Length: 9"], NONE, 9, False),
        ("GET", "HTTP/1.1 304 Not Modified", [], NONE, None, True),
        ("GET", "HTTP/1.1 103 Early Hints", ["Transfer-Encoding: chunked"], NONE, None, False),
        ("PUT", "HTTP/1.1 100 Continue", [], NONE, None, True),
        ("GET", "HTTP/1.1 103 Early Hints", ["Link: </x>"], NONE, None, True),
        ("CONNECT", "HTTP/1.1 200 Connection established", [], NONE, None, True),
        ("CONNECT", "HTTP/1.1 407 Proxy Authentication Required", ["Content-Length: 3"], LENGTH, 3, True),
        ("GET", "HTTP/1.1 200", ["Content-Length: 5"], LENGTH, 5, True),
        ("GET", "HTTP/1.1 200 ", ["Content-Length: 5"], LENGTH, 5, True),
        ("GET", "HTTP/1.7 200 OK", ["Content-Length: 5"], LENGTH, 5, True),
        ("GET", "HTTP/1.1 999 Unheard-of", ["Content-Length: 5"], LENGTH, 5, True),
    ],
)
def test_how_the_body_is_delimited_and_whether_the_connection_stays_open(
    method: str, status: str, fields: list[str], body: BodyKind, length: int | None, keep_alive: bool
) -> None:
    answer = parse_head(head(*fields, status=status), method)
    assert (answer.body, answer.length, answer.keep_alive) == (body, length, keep_alive)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_field_names_are_lower_case_values_are_trimmed_and_repeated_fields_joined(method: str) -> None:
    answer = parse_head(head("X-Amz-Meta-A: \t one two \t", "x-amz-META-a:2", "empty:", "Empty-Too: "), method)
    assert answer.headers == {"x-amz-meta-a": "one two, 2", "empty": "", "empty-too": ""}


def test_bytes_beyond_ascii_in_a_value_are_read_as_latin_1() -> None:
    assert parse_head(head("x-amz-meta-city: M\xfcnchen"), "HEAD").headers["x-amz-meta-city"] == "M\xfcnchen"


MALFORMED_HEADS = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "an HTTP request": b"GET / HTTP/1.1\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "a version without its number": b"HTTP/1. 200 OK\r\n\r\n",
    "a version of two digits": b"HTTP/1.11 200 OK\r\n\r\n",
    "a lower-case version": b"http/1.1 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status with a sign": b"HTTP/1.1 +20 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "a superscript status": b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\n\r\n",
    "a space before the version": b" HTTP/1.1 200 OK\r\n\r\n",
    "an empty first line": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "a NUL in the reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "a CR in the reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "nothing": b"",
    "an empty line alone": b"\r\n\r\n",
    "a status line alone": b"HTTP/1.1 200 OK\r\n",
    "no empty line": b"HTTP/1.1 200 OK\r\nA: 1\r\n",
    "bytes after the empty line": b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\nx",
    "an empty line in the middle": b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\nB: 2\r\n\r\n",
    "LF line ends": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "one LF line end": b"HTTP/1.1 200 OK\r\nA: 1\nContent-Length: 0\r\n\r\n",
    "a CR in a value": b"HTTP/1.1 200 OK\r\nA: 1\rContent-Length: 0\r\n\r\n",
    "a CR before the CR LF": b"HTTP/1.1 200 OK\r\nA: 1\r\r\n\r\n",
    "a NUL in a value": b"HTTP/1.1 200 OK\r\nA: 1\0\r\n\r\n",
    "a field line without a colon": b"HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n",
    "an empty field name": b"HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "a field name beyond ASCII": b"HTTP/1.1 200 OK\r\nM\xe9ta: 0\r\n\r\n",
    "a folded field line": b"HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n\r\n",
    "a folded field line with a colon": b"HTTP/1.1 200 OK\r\nA: 1\r\n\tB: 2\r\n\r\n",
    "a space before the first field": b"HTTP/1.1 200 OK\r\n A: 1\r\n\r\n",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
    "a hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n",
    "a fractional length": b"HTTP/1.1 200 OK\r\nContent-Length: 1.0\r\n\r\n",
    "a length with an underscore": b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
    "a superscript length": b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
    "two lengths in a row": b"HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n",
    "a length beyond 2**63": b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
    "a length of 5,000 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"\r\n\r\n",
    "conflicting lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "conflicting lengths in one field": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
    "a length and an empty one": b"HTTP/1.1 200 OK\r\nContent-Length: 1,\r\n\r\n",
    "a malformed length where no body follows": b"HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n",
    "chunked and a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    "an empty coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * (MAX_FIELDS + 1) + b"\r\n",
    "a long field line": b"HTTP/1.1 200 OK\r\nA: " + b"1" * MAX_LINE_BYTES + b"\r\n\r\n",
    "a long status line": b"HTTP/1.1 200 " + b"O" * MAX_LINE_BYTES + b"\r\n\r\n",
    "a long head": b"HTTP/1.1 200 OK\r\n" + b"A: %s\r\n" % (b"1" * 16000) * 5 + b"\r\n",
}


@pytest.mark.parametrize("data", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS.keys())
def test_a_malformed_head_is_an_error_of_a_bounded_length(data: bytes) -> None:
    with pytest.raises(FramingError) as caught:
        parse_head(data, "GET")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_heads_at_the_limits_are_accepted() -> None:
    assert len(parse_head(head(*(f"n{number}: 1" for number in range(MAX_FIELDS))), "GET").headers) == MAX_FIELDS
    longest = "A: " + "1" * (MAX_LINE_BYTES - 3)
    assert len(parse_head(head(longest), "GET").headers["a"]) == MAX_LINE_BYTES - 3
    room = MAX_HEAD_BYTES - len(head("A: ", "B: ", "C: ", "D: ", "E: "))
    fields = [f"{name}: {'1' * (room // 5 + (room % 5 if name == 'E' else 0))}" for name in "ABCDE"]
    assert len(head(*fields)) == MAX_HEAD_BYTES
    assert parse_head(head(*fields), "GET").status == 200


def test_field_names_that_a_server_invents_are_accepted_and_not_all_remembered() -> None:
    from s3dlio.http import framing

    for number in range(5000):
        assert parse_head(head(f"X-Name-{number}: {number}"), "HEAD").headers == {f"x-name-{number}": str(number)}
    assert len(framing._names) <= 1024


# Finding the end of the head


def test_the_head_ends_after_its_first_empty_line_within_the_window() -> None:
    buffer = bytearray(b"junk" + S3_HEAD + b"body\r\n\r\n")
    end = 4 + len(S3_HEAD)
    assert find_head_end(buffer, 4) == end
    assert find_head_end(buffer, 4, end) == end
    assert find_head_end(buffer, 4, end - 1) == -1
    assert find_head_end(S3_HEAD) == len(S3_HEAD)
    assert find_head_end(buffer, 4, 4) == -1


@pytest.mark.parametrize("cut", range(len(S3_HEAD)))
def test_every_beginning_of_a_head_needs_more_bytes(cut: int) -> None:
    assert find_head_end(S3_HEAD[:cut]) == -1


@pytest.mark.parametrize(
    "data",
    [
        b"\x15\x03\x03\x00\x02\x02\x28",  # a TLS alert
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0\0\x12\x04\0\0\0\0\0",  # HTTP/2 settings
        b"HTTP/2",
        b"h",
        b"\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"1" * MAX_HEAD_BYTES,
    ],
)
def test_bytes_that_can_never_become_a_head_fail_at_once(data: bytes) -> None:
    with pytest.raises(FramingError):
        find_head_end(data)


def test_interim_answers_precede_the_final_one() -> None:
    stream = head(status="HTTP/1.1 100 Continue") + head("Link: </a>", status="HTTP/1.1 103 Early Hints") + S3_HEAD
    position, statuses = 0, []
    while True:
        end = find_head_end(stream, position)
        answer = parse_head(stream[position:end], "PUT")
        statuses.append(answer.status)
        position = end
        if not answer.is_informational:
            break
    assert statuses == [100, 103, 206]
    assert position == len(stream)


# Receiving a chunked body


def decode(pieces: list[bytes]) -> tuple[bytes, dict[str, str], bytes]:
    """Payload, trailers, and the bytes after the body, which must be whole."""
    decoder, payload, rest = ChunkedDecoder(), bytearray(), b""
    for piece in pieces:
        for part in decoder.feed(piece):
            payload += part
        if not decoder.done:
            assert decoder.consumed == len(piece)
        rest += piece[decoder.consumed :]
    assert decoder.done
    return bytes(payload), decoder.trailers, rest


@pytest.mark.parametrize(
    ("body", "payload", "trailers"),
    [
        (b"0\r\n\r\n", b"", {}),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", {}),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", {}),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, {}),
        (b"000000000000000a\r\n0123456789\r\n00\r\n\r\n", b"0123456789", {}),
        (b'5;a=b;c="d;e"\r\nhello\r\n0;last\r\n\r\n', b"hello", {}),
        (b"5 \t\r\nhello\r\n0 ; x\r\n\r\n", b"hello", {}),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", {}),
        (
            b"1\r\nx\r\n0\r\nX-Amz-Checksum-Crc32c: AA==\r\nb:\r\n\r\n",
            b"x",
            {"x-amz-checksum-crc32c": "AA==", "b": ""},
        ),
        (b"1;" + b"x" * (MAX_CHUNK_LINE_BYTES - 4) + b"\r\nx\r\n0\r\n\r\n", b"x", {}),
    ],
)
@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_chunked_body_is_its_chunks_and_bytes_after_it_are_left(
    body: bytes, payload: bytes, trailers: dict[str, str], after: bytes
) -> None:
    assert decode([body + after]) == (payload, trailers, after)
    assert decode([bytes([byte]) for byte in body + after]) == (payload, trailers, after)


MALFORMED_BODIES = {
    "no size": b"\r\nhello",
    "a negative size": b"-5\r\nhello\r\n",
    "a size with a sign": b"+5\r\nhello\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n",
    "a size with an underscore": b"1_0\r\nhello\r\n",
    "a space before the size": b" 5\r\nhello\r\n",
    "a size in words": b"five\r\nhello\r\n",
    "a size of 17 digits": b"00000000000000005\r\nhello\r\n",
    "a size beyond 2**63": b"8000000000000000\r\nhello\r\n",
    "an extension without its semicolon": b"5 a=b\r\nhello\r\n",
    "a size line ended by LF": b"5\nhello\r\n0\r\n\r\n",
    "a CR in the size line": b"5;a\rb\r\nhello\r\n",
    "a chunk ended by LF": b"5\r\nhello\n0\r\n\r\n",
    "a chunk longer than its size": b"5\r\nhello world\r\n0\r\n\r\n",
    "a chunk shorter than its size": b"5\r\nhell\r\n0\r\n\r\n",
    "an endless size line": b"5;" + b"x" * MAX_CHUNK_LINE_BYTES,
    "a trailer without a colon": b"0\r\nchecksum\r\n\r\n",
    "a trailer with a space before the colon": b"0\r\na : 1\r\n\r\n",
    "a folded trailer": b"0\r\na: 1\r\n 2\r\n\r\n",
    "a trailer ended by LF": b"0\r\na: 1\n\r\n",
    "a trailer section ended by LF": b"0\r\n\n",
    "a NUL in a trailer": b"0\r\na: \0\r\n\r\n",
    "an endless trailer": b"0\r\na: " + b"x" * MAX_LINE_BYTES,
    "endless trailers": b"0\r\n" + b"a: 1\r\n" * (MAX_HEAD_BYTES // 6 + 1),
    "too many trailers": b"0\r\n" + b"a: 1\r\n" * (MAX_FIELDS + 1) + b"\r\n",
}


@pytest.mark.parametrize("body", MALFORMED_BODIES.values(), ids=MALFORMED_BODIES.keys())
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_malformed_chunked_body_is_an_error_however_it_arrives(body: bytes, step: int) -> None:
    decoder = ChunkedDecoder()

    def feed_all() -> None:
        for position in range(0, len(body), step):
            decoder.feed(body[position : position + step])

    with pytest.raises(FramingError) as caught:
        feed_all()
    assert not decoder.done
    assert len(str(caught.value)) < 400


def test_payload_slices_share_the_memory_that_was_fed() -> None:
    buffer = bytearray(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    decoder = ChunkedDecoder()
    first, second = decoder.feed(memoryview(buffer))
    buffer[3:8] = b"HELLO"
    assert bytes(first) == b"HELLO"
    assert second.obj is buffer


def test_a_decoder_that_is_done_takes_no_more_bytes() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"0\r\n\r\nrest") == []
    assert (decoder.done, decoder.consumed) == (True, 5)
    assert decoder.feed(b"5\r\nhello\r\n") == []
    assert decoder.consumed == 0


# However the bytes are cut

tokens = st.text(st.sampled_from("!#$%&'*+-.^_`|~0123456789abcXYZ"), min_size=1, max_size=20)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40).map(
    lambda value: value.strip(" \t")
)
FRAMING_FIELDS = {"content-length", "transfer-encoding", "connection"}
fields_lists = st.lists(st.tuples(tokens, values).filter(lambda field: field[0].lower() not in FRAMING_FIELDS))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at the places that lie within it."""
    bounds = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(bounds)]


@given(fields_lists, st.binary(max_size=200), st.lists(st.integers(0, 2000), max_size=8))
def test_a_head_is_the_same_however_it_was_cut(fields: list[tuple[str, str]], after: bytes, places: list[int]) -> None:
    block = request_head("GET", "/", [*fields, ("Content-Length", str(len(after)))])
    stream = block.replace(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK", 1) + after
    received, end = bytearray(), -1
    for piece in cut(stream, places):
        received += piece
        if end < 0:
            end = find_head_end(received)
    assert end == len(stream) - len(after)
    answer = parse_head(bytes(received[:end]), "GET")
    expected: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        expected[name] = f"{expected[name]}, {value}" if name in expected else value
    assert answer.headers == expected | {"content-length": str(len(after))}
    assert (answer.body, answer.length) == (BodyKind.LENGTH, len(after))


@given(
    st.lists(st.binary(min_size=1, max_size=60)),
    fields_lists,
    st.binary(max_size=20),
    st.lists(st.integers(0, 4000), max_size=12),
)
def test_a_chunked_body_is_the_same_however_it_was_cut(
    chunks: list[bytes], trailers: list[tuple[str, str]], after: bytes, places: list[int]
) -> None:
    trailer_section = request_head("GET", "/", trailers).partition(b"\r\n")[2]
    body = b"".join(b"%x;e\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer_section
    payload, read_trailers, rest = decode(cut(body + after, places))
    assert payload == b"".join(chunks)
    assert read_trailers == decode([body])[1]
    assert set(read_trailers) == {name.lower() for name, _ in trailers}
    assert rest == after


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.booleans())
def test_any_bytes_are_a_body_or_an_error_whichever_way_they_are_cut(
    noise: bytes, places: list[int], plausible: bool
) -> None:
    data = b"3\r\nabc\r\n" + noise if plausible else noise

    def outcome(pieces: list[bytes]) -> tuple[str, bytes, int]:
        decoder, payload, consumed = ChunkedDecoder(), bytearray(), 0
        try:
            for piece in pieces:
                for part in decoder.feed(piece):
                    payload += part
                consumed += decoder.consumed
        except FramingError:
            return "error", b"", 0
        return ("done" if decoder.done else "more"), bytes(payload), consumed

    whole = outcome([data])
    assert outcome(cut(data, places)) == whole
    assert whole[2] <= len(data)


@given(st.binary(max_size=300), st.sampled_from(["GET", "HEAD", "CONNECT"]))
def test_any_bytes_are_a_head_or_a_framing_error(noise: bytes, method: str) -> None:
    for data in (noise, b"HTTP/1.1 200 OK\r\n" + noise + b"\r\n\r\n"):
        try:
            end = find_head_end(data)
            if end >= 0:
                answer = parse_head(data[:end], method)
        except FramingError:
            continue
        if end >= 0:
            assert data[:end].endswith(b"\r\n\r\n")
            assert b"\r\n\r\n" not in data[: end - 1]
            assert not set("\r\n\0") & set("".join(answer.headers.values()))
