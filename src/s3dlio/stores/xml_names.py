# SPDX-License-Identifier: Apache-2.0
"""Names in XML, as the service meant them: `NameReader` reads a document and keeps what XML loses.

Services write keys as XML text that hold characters which XML cannot hold, or does not keep. Some refer to them
(`&#0;`, `&#x1;`), which an XML parser refuses; some write a carriage return as it is, which a parser reads as a line
feed. Both are taken for what the key has. Bytes that are not valid UTF-8 name no key; the error shows them.

Source: Extensible Markup Language (XML) 1.0, sections 2.2 and 2.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

from s3dlio.objects import documents

CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
"""What XML cannot hold of ASCII."""

_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""")
_REFERENCE = re.compile("&#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}));|\r|\ue000")
_STAND_IN = re.compile("\ue000(.)")
# U+E000 and one of these stand for a character in a name that the XML parser would refuse or change, and for U+E000.
_STANDS_FOR = {code: chr(0xE100 + place) for place, code in enumerate((*CONTROLS, 13, 0xFFFE, 0xFFFF, 0xE000))}
_STOOD_FOR = {letter: chr(code) for code, letter in _STANDS_FOR.items()}


class NotTextError(Exception):
    """A name is not valid UTF-8.

    Attributes:
        name: its bytes.
    """

    def __init__(self, name: bytes) -> None:
        super().__init__(name)
        self.name = name


class NameReader:
    """Reads documents with names in elements of some tags."""

    def __init__(self, *tags: str) -> None:
        """
        Args:
            tags: of the elements whose texts are names, in whatever namespace.
        """
        begin = rf"<(?:\w+:)?(?:{'|'.join(tags)})(?:\s[^<>]*)?>"
        self._name = re.compile(rf"({begin})([^<]*)(?=<)")
        self._raw_name = re.compile(rb"%b([^<]*)<" % begin.encode())

    def read(self, body: bytes) -> tuple[ET.Element, Callable[[str], str]]:
        """The root of a document, and what makes a name of the text of an element in it.

        Raises:
            NotTextError: a name is not valid UTF-8, although the document should be.
            ET.ParseError: it is no XML.
        """
        encoding = _ENCODING.match(body)
        if encoding is not None and encoding[1].lower() not in (b"utf-8", b"utf8"):
            return documents.xml(body), str
        try:
            text = body.decode()
        except UnicodeDecodeError:
            self._refuse_raw_name(body)
            return documents.xml(body), str
        if "&#" not in text and "\r" not in text and "\ue000" not in text:
            return documents.xml(body), str
        changed = self._name.sub(lambda match: match[1] + _REFERENCE.sub(_standing_in, match[2]), text)
        return documents.xml(changed.encode()), _named

    def _refuse_raw_name(self, body: bytes) -> None:
        for match in self._raw_name.finditer(body):
            try:
                match[1].decode()
            except UnicodeDecodeError:
                raise NotTextError(match[1]) from None


def _standing_in(match: re.Match[str]) -> str:
    """What stands for a character that XML cannot hold, or not as it is."""
    found = match[0]
    code = ord(found) if len(found) == 1 else int(match[1], 16) if match[1] else int(match[2])
    return f"\ue000{_STANDS_FOR[code]}" if code in _STANDS_FOR else found


def _named(text: str) -> str:
    return _STAND_IN.sub(lambda match: _STOOD_FOR[match[1]], text)
