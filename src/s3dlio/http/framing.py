# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 framing (RFC 9112) for a client, without I/O: bytes in, facts out.

Strategy. `request_head` turns a method, a target and header fields into bytes. `find_head_end` says where
the head of an answer stops in a receive buffer, `parse_head` reads that head and tells how the body is
delimited, and `ChunkedDecoder` takes a chunked body apart as it arrives. Nothing here owns a buffer or
waits: the caller keeps what it received and asks again when there is more.

A head is read in one pass over its lines. What repeats from answer to answer (status lines, field names) is
checked once and remembered, which makes a usual S3 head of 12 fields cost about 4.5 µs.

Two readers that disagree about where an answer ends are how answers get mixed up (request smuggling), so
where RFC 9112 leaves a choice the strict one is taken: a line ends with CR LF and never with LF alone
(section 2.2); a folded field line, a space before the colon, Transfer-Encoding beside Content-Length and any
transfer coding but `chunked` are refused. An error message quotes an answer cut short; it names request
fields, which may be secrets, and never quotes them.
"""

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from s3dlio import redaction

MAX_HEAD_BYTES = 65536
"""The longest head (or trailer section) accepted, in bytes."""

MAX_LINE_BYTES = 16384
"""The longest status or field line accepted, in bytes."""

MAX_FIELDS = 256
"""The most field lines accepted in one head or trailer section."""

MAX_CHUNK_LINE_BYTES = 4096
"""The longest chunk-size line, extensions included, in bytes."""

MAX_CHUNK_OVERHEAD_BYTES = 16384
"""The most bytes by which the framing of a chunked body may exceed 16 a chunk and twice the content (as in Go)."""

_MAX_LENGTH = 2**63 - 1
_QUOTED_CHARACTERS = 60
_REMEMBERED_NAMES = 1024
_REMEMBERED_LINES = 512
_REMEMBERED_LENGTH = 120  # characters

_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (.*))?")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r]*)?\r\n")


class FramingError(ValueError):
    """The peer's answer is not HTTP/1.1 as this client accepts it; the connection cannot be used any more."""


class FirstLineError(FramingError):
    """What was received begins with no status line: on a reused connection it may belong to an earlier answer."""


class BodyKind(Enum):
    """How the body of an answer is delimited (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


class ResponseHead(NamedTuple):
    """The head of one answer.

    Attributes:
        status: The status code, 100 to 999.
        reason: The reason phrase, often empty.
        headers: Field values by lower-case field name, repeated fields joined by ``", "``.
        body: How the body that follows is delimited; NONE if none follows, whatever the fields say.
        length: The Content-Length field in bytes, None if absent. For HEAD, the size that GET would send.
        keep_alive: Whether the connection may carry another request once this answer has been read. False for an
            answer that announces a body (chunks, or for other methods than HEAD a length) and must not have one:
            the body may follow all the same.
    """

    status: int
    reason: str
    headers: dict[str, str]
    body: BodyKind
    length: int | None
    keep_alive: bool

    @property
    def is_informational(self) -> bool:
        """Whether this is a 1xx answer: the real one is still to come on the same connection."""
        return self.status < 200


_new = tuple.__new__  # half the time of the generated constructor


# Sending the request...


def request_head(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of a request's head, from the request line to the empty line (RFC 9112 sections 3 and 5).

    Args:
        method: The method, a token such as ``GET``.
        target: The request target, already percent-encoded; ASCII without spaces.
        headers: Field names and values in the order to send. Values are sent as Latin-1.

    Raises:
        ValueError: A part that would break the framing (CR, LF, NUL, another control character, a character
            beyond Latin-1). It names the field and never quotes its value, which may be a secret.
    """
    if method not in _METHODS and _TOKEN.fullmatch(method) is None:
        raise ValueError(f"the request method {_quote(method)} is not a token")
    # isprintable() is false of CR and LF, and isascii() of all beyond 0x7e but DEL, which isprintable() leaves out.
    if not (target and target.isascii() and target.isprintable()) or " " in target:
        raise ValueError("the request target is empty or has a space, a control or a non-ASCII character")
    return f"{method} {target} HTTP/1.1\r\n{field_lines(headers)}\r\n".encode("latin-1")


def field_lines(headers: Iterable[tuple[str, str]]) -> str:
    """The field lines of a head, each with its CR LF; arguments and errors as for `request_head`."""
    lines = []
    for name, value in headers:
        try:
            _names[name]
        except FramingError:
            raise ValueError(f"the request field name {_quote(name)} is not a token") from None
        # isprintable() first: it is faster than the pattern, and true of nearly every value.
        if not (value.isascii() and value.isprintable()) and _FIELD_VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of the request field {name} has a character that HTTP forbids")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


# Receiving the head of the answer...


def find_head_end(buffer: bytes | bytearray, start: int = 0, stop: int | None = None) -> int:
    """Where the head that begins at `start` ends: the index after its empty line, -1 if not yet there.

    Args:
        buffer: What was received.
        start: Index of the head's first byte.
        stop: Index after the last byte received; None for the end of `buffer`.

    Raises:
        FramingError: More bytes cannot make it a head: it does not begin as HTTP/1, it has an empty line
            ended by LF alone, or it is too long. A peer that speaks something else fails at once, not at a
            timeout.
    """
    if stop is None:
        stop = len(buffer)
    end = buffer.find(b"\r\n\r\n", start, stop)
    if end >= 0:
        return end + 4
    beginning = buffer[start : min(stop, start + 7)]
    if beginning != b"HTTP/1."[: len(beginning)]:
        raise FirstLineError(f"the answer does not begin as HTTP/1: {_quote_bytes(buffer, start, stop)}")
    if buffer.find(b"\n\n", start, stop) >= 0 or buffer.find(b"\n\r\n", start, stop) >= 0:
        raise FramingError("the answer's head has a line that ends with LF alone")
    if stop - start >= MAX_HEAD_BYTES:
        raise FramingError(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
    return -1


def parse_head(data: bytes | bytearray | memoryview, request_method: str) -> ResponseHead:
    """Read the head of an answer.

    Args:
        data: The head, from its first byte to the empty line included (see `find_head_end`).
        request_method: The method of the request that it answers; HEAD and CONNECT change what follows.

    Raises:
        FramingError: The head breaks a rule, quoted or named in the message.
    """
    if len(data) > MAX_HEAD_BYTES:
        raise FramingError(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
    lines = str(data, "latin-1").split("\r\n")
    minor_version, status, reason = _parse_status_line(lines.pop(0))
    headers = _parse_fields(lines)

    connection = headers.get("connection")
    keep_alive = minor_version > 0 if connection is None else _is_kept_alive(connection, minor_version)

    length_field = headers.get("content-length")
    length = None if length_field is None else _parse_length(length_field)

    if request_method == "HEAD" or status < 200 or status == 204 or status == 304:
        if status == 101:
            raise FramingError("the answer switches protocols (101), which no request asks for")
        body = BodyKind.NONE
        if "transfer-encoding" in headers or (length and request_method != "HEAD"):
            keep_alive = False  # a body that must not be there may follow
    elif request_method == "CONNECT" and status < 300:
        body = BodyKind.NONE
    elif (coding := headers.get("transfer-encoding")) is not None:
        if coding.lower() != "chunked":
            raise FramingError(f"the answer's Transfer-Encoding is not chunked: {_quote(coding)}")
        if length is not None:
            raise FramingError("the answer has both Transfer-Encoding and Content-Length")
        if minor_version == 0:
            raise FramingError("the answer is HTTP/1.0 and has Transfer-Encoding")
        body = BodyKind.CHUNKED
    elif length is not None:
        body = BodyKind.LENGTH
    else:
        body = BodyKind.UNTIL_CLOSE
        keep_alive = False
    return _new(ResponseHead, (status, reason, headers, body, length, keep_alive))


@lru_cache(maxsize=128)
def _parse_status_line(line: str) -> tuple[int, int, str]:
    """Minor version, status code and reason phrase. Remembered: answers repeat a handful of status lines."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None or len(line) > MAX_LINE_BYTES or _FIELD_VALUE.fullmatch(line) is None:
        raise FirstLineError(f"the answer's status line is malformed: {_quote(line)}")
    return int(match[1]), int(match[2]), match[3] or ""


@lru_cache(maxsize=32)
def _is_kept_alive(connection: str, minor_version: int) -> bool:
    """What the Connection field says of the connection (RFC 9112 section 9.3)."""
    options = [option.strip(" \t") for option in connection.lower().split(",")]
    return "close" not in options and (minor_version > 0 or "keep-alive" in options)


class _FieldNames(dict[str, str]):
    """Field name as written -> lower-case name, learnt on first sight; not a token: FramingError.

    Bounded, so that a server which invents names cannot fill the memory; past the bound each is checked anew.
    """

    def __missing__(self, name: str) -> str:
        if _TOKEN.fullmatch(name) is None:
            raise FramingError(f"a field name is not a token: {_quote(name)}")
        lower = name.lower()
        if len(self) < _REMEMBERED_NAMES and len(name) <= _QUOTED_CHARACTERS:
            self[name] = lower
        return lower


class _FieldLines(dict[str, tuple[str, str]]):
    """Field line -> lower-case name and value, learnt on first sight: most lines of an answer were in the last one.

    Bounded, and begun anew when full, for some lines (ETag, Date) are always new.
    """

    def __missing__(self, line: str) -> tuple[str, str]:
        name, colon, value = line.partition(":")
        if not (colon and line.isprintable()) or len(line) > MAX_LINE_BYTES:
            _check_line(line)
        field = _names[name], value.strip(" \t")
        if len(line) <= _REMEMBERED_LENGTH:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[line] = field
        return field


def _check_line(line: str) -> None:
    """Refuse a field line. Control characters other than CR, LF and NUL are not dangerous (RFC 9110 section 5.5)."""
    if "\n" in line or "\r" in line or "\0" in line:
        raise FramingError("the answer has a field line with CR, LF or NUL in it")
    if len(line) > MAX_LINE_BYTES:
        raise FramingError(f"the answer has a field line longer than {MAX_LINE_BYTES} bytes")
    if ":" not in line:
        raise FramingError(f"a field line has no colon: {_quote(line)}")


_names = _FieldNames()
_lines = _FieldLines()


def _parse_fields(lines: list[str]) -> dict[str, str]:
    """The fields of a head or trailer section, which has been split where lines end. `lines` is used up."""
    if lines.pop() or not lines or lines.pop():
        raise FramingError("the answer's fields do not end with an empty line")
    if len(lines) > MAX_FIELDS:
        raise FramingError(f"the answer has more than {MAX_FIELDS} fields")
    fields = dict(map(_lines.__getitem__, lines))
    if len(fields) < len(lines):  # some are repeated
        fields = {}
        for name, value in map(_lines.__getitem__, lines):
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


@lru_cache(maxsize=256)
def _parse_length(value: str) -> int:
    """The Content-Length field; the same number several times over counts once (RFC 9112 section 6.3).

    Remembered: the objects of a data set have few sizes, or are so large that it does not matter.
    """
    if "," in value:
        numbers = {number.strip(" \t") for number in value.split(",")}
        if len(numbers) > 1:
            raise FramingError(f"the answer has conflicting Content-Length values: {_quote(value)}")
        value = numbers.pop()
    # isdecimal() is true of nothing but 0-9 in Latin-1 text; isdigit() would let superscripts pass.
    if not value.isdecimal() or len(value) > 19 or (length := int(value)) > _MAX_LENGTH:
        raise FramingError(f"the answer's Content-Length is not a length: {_quote(value)}")
    return length


# Receiving a chunked body...


class _Chunk(Enum):
    """Which line of a chunked body comes next, and the most bytes it may have."""

    SIZE = MAX_CHUNK_LINE_BYTES
    END = 2  # the CR LF after a chunk's payload
    TRAILER = MAX_LINE_BYTES  # a trailer field, or the empty line at the end


class ChunkedDecoder:
    """Takes a chunked body (RFC 9112 section 7.1) apart as it arrives, without copying its payload.

    Feed it each piece received until `done`; a connection that closes before that cut the body short.

    Attributes:
        done: Whether the body, trailers included, is complete.
        consumed: How many bytes of the piece fed last belong to the body. Less than its length only once
            `done`: the rest came after the body.
        trailers: The trailer fields, as in `ResponseHead.headers`; empty until `done`.
    """

    __slots__ = ("_line", "_overhead", "_remaining", "_state", "_trailer_section", "consumed", "done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.consumed = 0
        self.trailers: dict[str, str] = {}
        self._state = _Chunk.SIZE
        self._remaining = 0  # payload bytes of the current chunk still to come
        self._line = b""  # the beginning of a line whose end has not arrived
        self._trailer_section = bytearray()
        self._overhead = 0  # bytes of framing beyond what its content explains

    def feed(self, data: bytes | bytearray | memoryview) -> list[memoryview]:
        """The payload in `data`, as slices of `data` in order: valid as long as `data` is.

        Args:
            data: The next bytes received, any number of them.

        Raises:
            FramingError: The bytes are not a chunked body; the connection cannot be used any more.
        """
        view = memoryview(data)
        size = len(view)
        position = 0
        payload: list[memoryview] = []
        while position < size and not self.done:
            if self._remaining:
                taken = min(self._remaining, size - position)
                payload.append(view[position : position + taken])
                position += taken
                self._remaining -= taken
            else:
                line, position = self._take_line(view, position)
                if line:
                    self._take(line)
        self.consumed = position
        return payload

    def _take_line(self, view: memoryview, position: int) -> tuple[bytes, int]:
        """The line at `position` with its CR LF (empty if `view` ends before it does) and the index after."""
        limit = self._state.value
        # A few bytes at first: a size line is short, and a memoryview cannot be searched without a copy.
        for span in (32, limit + 1):
            piece = bytes(view[position : position + span])
            newline = piece.find(b"\n")
            if newline >= 0:
                piece = piece[: newline + 1]
                break
        line = self._line + piece
        if len(line) > limit:
            if self._state is _Chunk.END:
                raise FramingError(f"a chunk is longer than its size said, by: {_quote_bytes(line)}")
            raise FramingError(f"a line of the chunked body is longer than {limit} bytes")
        if newline < 0:
            self._line = line
            return b"", position + len(piece)
        if line[-2:] != b"\r\n":
            raise FramingError(f"a line of the chunked body ends with LF alone: {_quote_bytes(line)}")
        self._line = b""
        return line, position + len(piece)

    def _take(self, line: bytes) -> None:
        """Act on one whole line."""
        if self._state is _Chunk.SIZE:
            match = _CHUNK_LINE.fullmatch(line)
            if match is None or (size := int(match[1], 16)) > _MAX_LENGTH:
                raise FramingError(f"a chunk's size line is malformed: {_quote_bytes(line)}")
            self._overhead = max(0, self._overhead + len(line) - 16 - 2 * size)
            if self._overhead > MAX_CHUNK_OVERHEAD_BYTES:
                raise FramingError(
                    f"the chunked body has {MAX_CHUNK_OVERHEAD_BYTES} bytes of framing more than its content explains"
                )
            self._remaining = size
            self._state = _Chunk.END if size else _Chunk.TRAILER
        elif self._state is _Chunk.END:
            self._state = _Chunk.SIZE
        else:
            self._trailer_section += line
            if len(self._trailer_section) > MAX_HEAD_BYTES:
                raise FramingError(f"the trailer section of the answer is longer than {MAX_HEAD_BYTES} bytes")
            if line == b"\r\n":
                self.trailers = _parse_fields(str(self._trailer_section, "latin-1").split("\r\n"))
                self.done = True


# Quoting a malformed answer...


def _quote(text: str) -> str:
    """The text for an error message: escaped, and cut so that it can neither flood a log nor tell all.

    Secrets are hidden before, for one that is cut in two is no longer recognized.
    """
    text = redaction.without_secrets(text)
    return repr(text) if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]!r}..."


def _quote_bytes(data: bytes | bytearray, start: int = 0, stop: int | None = None) -> str:
    """Like `_quote`, for bytes as received."""
    stop = len(data) if stop is None else stop
    return _quote(str(data[start : min(stop, start + MAX_LINE_BYTES)], "latin-1"))
