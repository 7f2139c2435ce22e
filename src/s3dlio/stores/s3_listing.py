"""One page of an S3 listing, read fast.

A page has a thousand `Contents` of a few hundred bytes, of which one or two fields are wanted. An XML parser makes ten
Python objects of each; looking for the fields in the text costs a fiftieth. That is done only where it cannot go wrong:
when the elements follow each other without anything between, and each has its fields as plain text. What is
left without them, and every other page, is read as XML.

Source: Amazon S3 API Reference, ListObjectsV2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from s3dlio.http.exchange import Response
from s3dlio.stores.s3_answers import child_text, children, parsed

_NAME = "Contents"
_BEGIN, _END = f"<{_NAME}>", f"</{_NAME}>"
_KEY = re.compile(r"<Contents><Key>([^<&]*)</Key>")
_SIZE = re.compile(r"<Size>([0-9]+)</Size>")


class Page(NamedTuple):
    """What a page tells.

    Attributes:
        keys: of its objects, decoded.
        sizes: of these, in bytes; empty unless they were asked for.
        prefixes: the folders, decoded.
        more: whether other pages follow.
        token: what to ask for the next one with.
    """

    keys: list[str]
    sizes: list[int]
    prefixes: list[str]
    more: bool
    token: str


def read_page(response: Response, uri: str, with_sizes: bool) -> Page:
    """Read the answer to ListObjectsV2.

    Args:
        response: the answer.
        uri: what was listed, for messages.
        with_sizes: whether the sizes of the objects are wanted, too.

    Raises:
        S3dlioError: it is not XML; the message names the URI that was listed.
    """
    plain = _plain_contents(response.body, with_sizes)
    if plain is None:
        page = parsed(response, uri)
        contents = children(page, "Contents")
        keys = [child_text(item, "Key") for item in contents]
        sizes = [int(child_text(item, "Size") or 0) for item in contents] if with_sizes else []
    else:
        rest, keys, sizes = plain
        page = parsed(response._replace(body=memoryview(rest.encode())), uri)
    decoded = _decoder(page)
    return Page(
        decoded(keys),
        sizes,
        decoded([child_text(item, "Prefix") for item in children(page, "CommonPrefixes")]),
        child_text(page, "IsTruncated") == "true",
        child_text(page, "NextContinuationToken"),
    )


def _plain_contents(body: memoryview, with_sizes: bool) -> tuple[str, list[str], list[int]] | None:
    """The page without its `Contents`, and their keys and perhaps sizes; None if it is not plain enough."""
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError:
        return None
    begin, end = text.find(_BEGIN), text.rfind(_END) + len(_END)
    if not 0 <= begin < end or "<!" in text:  # comments and CDATA may hold anything
        return None
    contents = text[begin:end]
    keys = _KEY.findall(contents)
    count = len(keys)
    sizes = list(map(int, _SIZE.findall(contents))) if with_sizes else []
    # With attributes, with a prefix, in a key: the name anywhere else is for the parser to judge.
    if (
        text.count(_NAME) != 2 * count
        or contents.count(_END + _BEGIN) != count - 1
        or (with_sizes and len(sizes) != count)
    ):
        return None
    return text[:begin] + text[end:], keys, sizes


def _decoder(page: ET.Element) -> Callable[[list[str]], list[str]]:
    """How the keys of a page are to be read: servers that do not know encoding-type send them as they are.

    The encoding is that of forms: a "+" is a blank.
    """
    if child_text(page, "EncodingType") != "url":
        return list
    return lambda names: [unquote_plus(name) if "%" in name or "+" in name else name for name in names]
