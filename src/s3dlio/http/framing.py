# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 framing (RFC 9112) for a client, without I/O: bytes in, facts out.

Strategy. `request_head` turns a method, a target and header fields into bytes. `find_head_end` finds the end of an
answer's head in a receive buffer, `parse_head` parses that head and decides how the body is delimited, and
`ChunkedDecoder` decodes a chunked body as it arrives. Nothing here owns a buffer or waits: the caller keeps what it
received, and calls again when there is more.

A head is parsed in one pass over its lines. Status lines and field names, which repeat from answer to answer, are
checked once and remembered. So a usual S3 head of 12 fields takes about 4.5 µs.

Answers get mixed up when two readers disagree about where one ends (request smuggling). So where RFC 9112 leaves a
choice, the strict one is taken: a line ends with CR LF and never with LF alone (section 2.2); a folded field line, a
space before the colon, Transfer-Encoding together with Content-Length, and transfer codings other than `chunked` are
refused. Error messages quote the beginning of an answer. They name request fields, which may be secrets, but never
quote them.
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
"""The most bytes of framing in a chunked body, beyond 16 for each chunk and twice the content (as in Go)."""

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
    """The answer is not HTTP/1.1 as this client accepts it. The connection cannot be used any more."""


class FirstLineError(FramingError):
    """The received bytes begin with no status line. On a reused connection they may belong to an earlier answer."""


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
        body: How the body is delimited; NONE if the answer must not have one, even if its fields announce one.
        length: The Content-Length field in bytes, None if absent. For HEAD, the size that GET would send.
        keep_alive: Whether the connection may carry another request after this answer. False for an answer that
            must not have a body but announces one (by chunks or, except for HEAD, a length): it may still follow.
    """

    status: int
    reason: str
    headers: dict[str, str]
    body: BodyKind
    length: int | None
    keep_alive: bool

    @property
    def is_informational(self) -> bool:
        """Whether this is an interim answer (1xx): the final one follows on the same connection."""
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
        ValueError: A part contains a character that would break the framing (CR, LF, NUL, another control
            character, a character beyond Latin-1). The message names the field and never quotes its value, which may
            be a secret.
    """
    if method not in _METHODS and _TOKEN.fullmatch(method) is None:
        raise ValueError(f"the request method {_quote(method)} is not a token")
    # isprintable() refuses CR, LF and DEL; isascii() refuses everything above 0x7f.
    if not (target and target.isascii() and target.isprintable()) or " " in target:
        raise ValueError("the request target is empty or has a space, a control or a non-ASCII character")
    return f"{method} {target} HTTP/1.1\r\n{field_lines(headers)}\r\n".encode("latin-1")


def field_lines(headers: Iterable[tuple[str, str]]) -> str:
    """The field lines of a head, each with its CR LF. Arguments and errors are those of `request_head`."""
    lines = []
    for name, value in headers:
        try:
            _names[name]
        except FramingError:
            raise ValueError(f"the request field name {_quote(name)} is not a token") from None
        # isprintable() first: it is faster than the pattern and accepts nearly every value.
        if not (value.isascii() and value.isprintable()) and _FIELD_VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of the request field {name} has a character that HTTP forbids")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


# Receiving the head of the answer...


def find_head_end(buffer: bytes | bytearray, start: int = 0, stop: int | None = None) -> int:
    """The index after the head that begins at `start`, its empty line included; -1 while the head is not whole.

    Args:
        buffer: The bytes received.
        start: Index of the head's first byte.
        stop: Index after the last byte received; None for the end of `buffer`.

    Raises:
        FramingError: More bytes cannot make this a head: it does not begin as HTTP/1, it has an empty line that
            ends with LF alone, or it is too long. So a peer that speaks another protocol fails at once, not at a
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
    """Parse the head of an answer.

    Args:
        data: The head, from its first byte to the empty line, which is included (see `find_head_end`).
        request_method: The method of the request. Answers to HEAD, and some answers to CONNECT, have no body.

    Raises:
        FramingError: The head breaks a rule, which the message names.
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
            keep_alive = False  # the body may follow although it must not
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
    """Minor version, status code and reason phrase. Cached, because answers repeat a handful of status lines."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None or len(line) > MAX_LINE_BYTES or _FIELD_VALUE.fullmatch(line) is None:
        raise FirstLineError(f"the answer's status line is malformed: {_quote(line)}")
    return int(match[1]), int(match[2]), match[3] or ""


@lru_cache(maxsize=32)
def _is_kept_alive(connection: str, minor_version: int) -> bool:
    """Whether the connection stays open, by the Connection field (RFC 9112 section 9.3)."""
    options = [option.strip(" \t") for option in connection.lower().split(",")]
    return "close" not in options and (minor_version > 0 or "keep-alive" in options)


class _FieldNames(dict[str, str]):
    """Maps each field name as written to its lower-case form. Raises FramingError for a name that is not a token.

    Names are added when they are first looked up. Their number is bounded, so that a server which invents names cannot
    fill the memory; further names are checked each time.
    """

    def __missing__(self, name: str) -> str:
        if _TOKEN.fullmatch(name) is None:
            raise FramingError(f"a field name is not a token: {_quote(name)}")
        lower = name.lower()
        if len(self) < _REMEMBERED_NAMES and len(name) <= _QUOTED_CHARACTERS:
            self[name] = lower
        return lower


class _FieldLines(dict[str, tuple[str, str]]):
    """Maps each field line to its lower-case name and value. Most lines of an answer were in the one before.

    Lines are added when they are first looked up. When the mapping is full it is emptied, because some lines (ETag,
    Date) are always new.
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
    """The fields of a head or trailer section, given its lines without their ends. Changes `lines`."""
    if lines.pop() or not lines or lines.pop():
        raise FramingError("the answer's fields do not end with an empty line")
    if len(lines) > MAX_FIELDS:
        raise FramingError(f"the answer has more than {MAX_FIELDS} fields")
    fields = dict(map(_lines.__getitem__, lines))
    if len(fields) < len(lines):  # a field is repeated
        fields = {}
        for name, value in map(_lines.__getitem__, lines):
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


@lru_cache(maxsize=256)
def _parse_length(value: str) -> int:
    """The value of Content-Length. A number that is repeated counts once (RFC 9112 section 6.3).

    Cached, because the objects of a data set have few sizes, or are so large that parsing does not matter.
    """
    if "," in value:
        numbers = {number.strip(" \t") for number in value.split(",")}
        if len(numbers) > 1:
            raise FramingError(f"the answer has conflicting Content-Length values: {_quote(value)}")
        value = numbers.pop()
    # In Latin-1 text isdecimal() accepts only 0-9, while isdigit() accepts superscripts.
    if not value.isdecimal() or len(value) > 19 or (length := int(value)) > _MAX_LENGTH:
        raise FramingError(f"the answer's Content-Length is not a length: {_quote(value)}")
    return length


# Receiving a chunked body...


class _Chunk(Enum):
    """The line of a chunked body that comes next. The value is the most bytes that the line may have."""

    SIZE = MAX_CHUNK_LINE_BYTES
    END = 2  # the CR LF after a chunk's payload
    TRAILER = MAX_LINE_BYTES  # a trailer field, or the empty line at the end


class ChunkedDecoder:
    """Decodes a chunked body (RFC 9112 section 7.1) as it arrives, without copying its payload.

    Feed each received piece until `done`. If the connection closes before that, the body was cut short.

    Attributes:
        done: Whether the body is complete, trailers included.
        consumed: How many bytes of the last piece belong to the body. When `done`, further bytes came after it.
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
        """The payload in `data`, as slices of `data` in order.

        Args:
            data: The next bytes received, any number.

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
        """The line at `position` with its CR LF, empty if `view` ends before it, and the index after it."""
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
                raise FramingError(f"a chunk is longer than its size line says, by: {_quote_bytes(line)}")
            raise FramingError(f"a line of the chunked body is longer than {limit} bytes")
        if newline < 0:
            self._line = line
            return b"", position + len(piece)
        if line[-2:] != b"\r\n":
            raise FramingError(f"a line of the chunked body ends with LF alone: {_quote_bytes(line)}")
        self._line = b""
        return line, position + len(piece)

    def _take(self, line: bytes) -> None:
        """Handle a whole line."""
        if self._state is _Chunk.SIZE:
            match = _CHUNK_LINE.fullmatch(line)
            if match is None or (size := int(match[1], 16)) > _MAX_LENGTH:
                raise FramingError(f"a chunk's size line is malformed: {_quote_bytes(line)}")
            self._overhead = max(0, self._overhead + len(line) - 16 - 2 * size)
            if self._overhead > MAX_CHUNK_OVERHEAD_BYTES:
                raise FramingError(
                    f"the framing of the chunked body is more than {MAX_CHUNK_OVERHEAD_BYTES} bytes longer than its"
                    " content explains"
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
    """The text for an error message: escaped, and cut so that it neither floods a log nor discloses much.

    Secrets are hidden first, because a secret that is cut in two is no longer recognized.
    """
    text = redaction.without_secrets(text)
    return repr(text) if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]!r}..."


def _quote_bytes(data: bytes | bytearray, start: int = 0, stop: int | None = None) -> str:
    """Received bytes for an error message, as `_quote` quotes text."""
    stop = len(data) if stop is None else stop
    return _quote(str(data[start : min(stop, start + MAX_LINE_BYTES)], "latin-1"))
