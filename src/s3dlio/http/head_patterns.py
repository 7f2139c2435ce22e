# SPDX-License-Identifier: Apache-2.0
"""Recognizes the usual answers of a server by pattern, so that their heads need not be parsed.

Strategy. The answers in a batch have the same fields in the same order, most of them with the same values. After a
number of heads have been parsed by the rules (`framing.parse_head`), a regular expression is compiled from what they
have in common, and following heads are compared with it:

- the status line, the names of the fields, and every value that was the same in all of them must match byte by byte;
- a value that differed may be any printable text;
- the value of Content-Length must be digits.

The framing of a body depends only on the parts that must match, and on the length. So a head that matches means what
the heads before it meant. A head that does not match is parsed by the rules.

Recognizing takes 0.5 µs, up to 1.8 with the fields that may hold a checksum; parsing takes 2.4 to 4. Compiling a
pattern takes as long as parsing a hundred heads, so it is done after that many heads, and again after that many that
did not match.
"""

from __future__ import annotations

import re

from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.tuning import HEADS_BEFORE_PATTERN

_MOST_COMPILED = 8  # times for one kind of head: a value that no pattern matches may differ again and again
_MOST_KNOWN = 64  # kinds of heads

_LENGTH = "content-length"
_OF_A_VERSION = frozenset({"date", "etag", "last-modified", _LENGTH})  # fields that count as differing from the start
_VALUE = r"(?! )([\x20-\x7e]*)(?<! )"

_new = tuple.__new__  # half the time of the generated constructor


class HeadPattern:
    """What some answers with status 200 and a body of known length have in common.

    Attributes:
        match: called with a buffer, 0, and the number of its bytes to look at, at most `framing.MAX_LINE_BYTES`.
            Returns a match if these begin with such a head, otherwise None. The match ends where the head ends. Its
            group "length" holds the length of the body in digits.
        keep_alive: as in `ResponseHead`.
    """

    __slots__ = ("_brief", "_head", "_names", "_own", "keep_alive", "match")

    def __init__(self, lines: list[str], head: ResponseHead, varying: set[str]) -> None:
        """
        Args:
            lines: the lines of one such head, without their ends, and without the empty line.
            head: the result of parsing them.
            varying: lower-case names of the fields whose values differ.
        """
        patterns = [re.escape(lines[0])]
        self._names = []  # of the fields whose values differ, in the order of the groups
        for line, name in zip(lines[1:], head.headers, strict=True):
            if name in varying:
                value = "(?P<length>[0-9]{1,18})" if name == _LENGTH else _VALUE
                patterns.append(f"{re.escape(line.partition(':')[0])}: {value}")
                self._names.append(name)
            else:
                patterns.append(re.escape(line))
        self.match = re.compile("\r\n".join([*patterns, "", ""]).encode("latin-1")).match
        self.keep_alive = head.keep_alive
        self._head = head
        self._brief = {name: value for name, value in head.headers.items() if name not in _OF_A_VERSION}
        self._own = [(group, name) for group, name in enumerate(self._names, 1) if name not in _OF_A_VERSION]

    def head(self, found: re.Match[bytes]) -> ResponseHead:
        """The head that `parse_head` would return for the matched bytes, which must not have changed since."""
        headers = self._head.headers.copy()
        headers.update(zip(self._names, str(b"\n".join(found.groups()), "latin-1").split("\n"), strict=True))
        return self._with(headers, found)

    def brief_head(self, found: re.Match[bytes]) -> ResponseHead:
        """The head without the fields Date, ETag, Last-Modified and Content-Length. Takes less time than `head`."""
        headers = self._brief
        if self._own:
            headers = headers.copy()
            for group, name in self._own:
                headers[name] = str(found[group], "latin-1")
        return self._with(headers, found)

    def _with(self, headers: dict[str, str], found: re.Match[bytes]) -> ResponseHead:
        status, reason, _, body, _, keep_alive = self._head
        return _new(ResponseHead, (status, reason, headers, body, int(found["length"]), keep_alive))


class _Kind:
    """Heads with the same status line, names of fields, and Connection line.

    Attributes:
        lines: the lines of the first head.
        varying: lower-case names of the fields whose values differ.
        count: heads that have been parsed since the pattern was compiled.
        compiled: how often a pattern has been compiled.
        pattern: the newest one.
    """

    __slots__ = ("compiled", "count", "lines", "pattern", "varying")

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.varying = set(_OF_A_VERSION)
        self.count = 0
        self.compiled = 0
        self.pattern: HeadPattern | None = None


_kinds: dict[tuple[str, ...], _Kind] = {}


def pattern_of(data: bytearray, head: ResponseHead) -> HeadPattern | None:
    """The pattern that matches a head which has been parsed. Without one, None, and the next pattern learns from it."""
    if head.status != 200 or head.body is not BodyKind.LENGTH or "content-range" in head.headers:
        return None  # not the usual answer
    lines = str(data, "latin-1").split("\r\n")[:-2]
    if len(lines) - 1 != len(head.headers):  # a field is repeated
        return None
    # All heads of a pattern have the same Connection line, which is a part of the framing.
    named = zip(head.headers, lines[1:], strict=True)
    key = (lines[0], *[line if name == "connection" else line.partition(":")[0] for name, line in named])
    kind = _kinds.get(key)
    if kind is None:
        if len(_kinds) >= _MOST_KNOWN:
            _kinds.clear()
        kind = _kinds[key] = _Kind(lines)
    elif kind.pattern is not None and kind.pattern.match(data, 0, len(data)):
        return kind.pattern  # compiled since the caller's connection asked last
    both = zip(head.headers, lines[1:], kind.lines[1:], strict=True)
    kind.varying.update([name for name, line, first in both if line != first])
    kind.count += 1
    if kind.count >= HEADS_BEFORE_PATTERN and kind.compiled < _MOST_COMPILED:
        kind.count, kind.compiled = 0, kind.compiled + 1
        kind.pattern = HeadPattern(lines, head, kind.varying)
    return kind.pattern
