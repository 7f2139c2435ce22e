# SPDX-License-Identifier: Apache-2.0
"""Read names in XML with the characters that XML cannot hold or changes: `NameReader`.

Some services write such a character of a key as a reference (`&#0;`, `&#x1;`), which an XML parser refuses. Some write
a carriage return as it is, which a parser reads as a line feed. Both are read as the character in the key. Bytes that
are not valid UTF-8 name no key; the error shows them.

Source: Extensible Markup Language (XML) 1.0, sections 2.2 and 2.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.stores.pager import not_utf8
from s3dlio.stores.refusals import unreadable

CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
"""The characters of ASCII that XML cannot hold."""

_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""")
_REFERENCE = re.compile("&#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}));|\r|\ue000")
_REPLACEMENT = re.compile("\ue000(.)")
# In a name, U+E000 and one of these characters replace a character that the XML parser would refuse or change, and
# U+E000 itself.
_REPLACEMENTS = {code: chr(0xE100 + index) for index, code in enumerate((*CONTROLS, 13, 0xFFFE, 0xFFFF, 0xE000))}
_REPLACED = {letter: chr(code) for code, letter in _REPLACEMENTS.items()}


class NameReader:
    """Reads documents that have names in elements with certain tags."""

    def __init__(self, *tags: str) -> None:
        """Read documents in which elements with these tags, in any namespace, have names as their texts."""
        begin = rf"<(?:\w+:)?(?:{'|'.join(tags)})(?:\s[^<>]*)?>"
        self._name = re.compile(rf"({begin})([^<]*)(?=<)")
        self._raw_name = re.compile(rb"%b([^<]*)<" % begin.encode())

    def read(self, response: Response, uri: str) -> tuple[ET.Element, Callable[[str], str]]:
        """Parse an answer. Return its root, and the function that makes a name of the text of an element.

        Raises:
            S3dlioError: a name is not valid UTF-8, or the body is not XML.
        """
        body = bytes(response.body).lstrip()
        named: Callable[[str], str] = str
        encoding = _ENCODING.match(body)
        if encoding is None or encoding[1].lower() in (b"utf-8", b"utf8"):
            try:
                text = body.decode()
            except UnicodeDecodeError:
                self._refuse_raw_name(body, response, uri)
            else:
                if "&#" in text or "\r" in text or "\ue000" in text:
                    body = self._name.sub(lambda match: match[1] + _REFERENCE.sub(_replace, match[2]), text).encode()
                    named = _named
        try:
            return documents.xml(body), named
        except ET.ParseError as error:
            raise unreadable(response, uri, f"not XML ({error})") from None

    def _refuse_raw_name(self, body: bytes, response: Response, uri: str) -> None:
        for match in self._raw_name.finditer(body):
            try:
                match[1].decode()
            except UnicodeDecodeError:
                raise not_utf8(response, uri, ascii(match[1])[1:]) from None


def _replace(match: re.Match[str]) -> str:
    """Return the replacement of a character that XML cannot hold or would change; any other reference as it is."""
    found = match[0]
    code = ord(found) if len(found) == 1 else int(match[1], 16) if match[1] else int(match[2])
    return f"\ue000{_REPLACEMENTS[code]}" if code in _REPLACEMENTS else found


def _named(text: str) -> str:
    return _REPLACEMENT.sub(lambda match: _REPLACED[match[1]], text)
