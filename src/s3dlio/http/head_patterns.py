# SPDX-License-Identifier: Apache-2.0
"""The shapes of answers' heads: what those of a server have in common, so that a usual one need not be read anew.

The answers in a batch have the same fields in the same order, most of them with the same values. Once so many have been
read by the rules (`framing.parse_head`) that this is known, those that follow are compared with them, by one regular
expression: the status line, the names of the fields, and every value that was the same in all of them have to come byte
by byte; in the place of a value that was seen to differ any printable text may stand, and digits in that of
Content-Length. How a body is framed depends on nothing but what has to be the same, and on its length. So what has the
shape of heads that were read before means what they meant, and whatever has not is read by the rules.

That takes 0.5 µs, and up to 1.8 with the fields that may have a checksum, where reading takes 2.4 to 4. To compile a
shape takes as long as to read a hundred heads, so it is done after as many, and again after as many that differ.
"""

from __future__ import annotations

import re

from s3dlio.http.framing import BodyKind, ResponseHead

_LEARNT_FROM = 100  # heads
_MOST_COMPILED = 8  # times: a field whose value no shape takes may differ again and again
_MOST_KNOWN = 64  # kinds of heads

_LENGTH = "content-length"
_OF_A_VERSION = frozenset({"date", "etag", "last-modified", _LENGTH})  # differ even where they have not been seen to
_VALUE = r"(?! )([\x20-\x7e]*)(?<! )"

_new = tuple.__new__  # half the time of the generated constructor


class Shape:
    """What answers with status 200 and a body of known length have in common.

    Attributes:
        match: given a buffer, 0, and a number of bytes, at most `framing.MAX_LINE_BYTES`: a match if they begin with a
            head of this shape, else None. It ends where the head ends; its group "length" is the body's, in digits.
        keep_alive: as in `ResponseHead`.
    """

    __slots__ = ("_brief", "_head", "_names", "_own", "keep_alive", "match")

    def __init__(self, lines: list[str], head: ResponseHead, varying: set[str]) -> None:
        """
        Args:
            lines: of one such head, without their ends, and without the empty one.
            head: what was read from them.
            varying: lower-case names of fields whose values differ.
        """
        patterns = [re.escape(lines[0])]
        self._names = []  # of the fields whose values differ
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
        """What `parse_head` reads from the bytes that a match was found in. They must not have changed since."""
        headers = self._head.headers.copy()
        headers.update(zip(self._names, str(b"\n".join(found.groups()), "latin-1").split("\n"), strict=True))
        return self._with(headers, found)

    def brief_head(self, found: re.Match[bytes]) -> ResponseHead:
        """The same in less time, without Date, ETag, Last-Modified, and Content-Length among its headers."""
        headers = self._brief
        if self._own:
            headers = headers.copy()
            for group, name in self._own:
                headers[name] = str(found[group], "latin-1")
        return self._with(headers, found)

    def _with(self, headers: dict[str, str], found: re.Match[bytes]) -> ResponseHead:
        status, reason, _, body, _, keep_alive = self._head
        return _new(ResponseHead, (status, reason, headers, body, int(found["length"]), keep_alive))


class _Seen:
    """Heads with the same status line, names of fields, and line of Connection."""

    __slots__ = ("compiled", "count", "lines", "shape", "varying")

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines  # of the first
        self.varying = set(_OF_A_VERSION)  # names of fields; those that had another value in a later one come to it
        self.count = 0  # of those that were read by the rules since the shape was compiled
        self.compiled = 0
        self.shape: Shape | None = None


_seen: dict[tuple[str, ...], _Seen] = {}


def shape_of(data: bytearray, head: ResponseHead) -> Shape | None:
    """The shape of a head that has been read by the rules. If it has none yet, this one is learnt from.

    Args:
        data: the head.
        head: what was read from it.
    """
    if head.status != 200 or head.body is not BodyKind.LENGTH or "content-range" in head.headers:
        return None  # an answer that names a range is none of the usual ones
    lines = str(data, "latin-1").split("\r\n")[:-2]
    if len(lines) - 1 != len(head.headers):  # one is repeated
        return None
    # A shape has one value of Connection, since that is a part of the framing.
    named = zip(head.headers, lines[1:], strict=True)
    key = (lines[0], *[line if name == "connection" else line.partition(":")[0] for name, line in named])
    seen = _seen.get(key)
    if seen is None:
        if len(_seen) >= _MOST_KNOWN:
            _seen.clear()
        seen = _seen[key] = _Seen(lines)
    elif seen.shape is not None and seen.shape.match(data, 0, len(data)):
        return seen.shape  # which the connection had not met
    both = zip(head.headers, lines[1:], seen.lines[1:], strict=True)
    seen.varying.update([name for name, line, first in both if line != first])
    seen.count += 1
    if seen.count >= _LEARNT_FROM and seen.compiled < _MOST_COMPILED:
        seen.count, seen.compiled = 0, seen.compiled + 1
        seen.shape = Shape(lines, head, seen.varying)
    return seen.shape
