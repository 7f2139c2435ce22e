# SPDX-License-Identifier: Apache-2.0
"""List objects by ListObjectsV2. A page is read fast, with the same result as that of an XML parser.

A page has a thousand `Contents` elements of a few hundred bytes, of which one or two fields are needed. An XML parser
makes ten Python objects of each element; a regular expression finds the fields in the text for a fraction of the cost.
It is used only where it cannot be wrong:

1. The `Contents` elements follow each other without anything between them. The XML parser reads the first one, and its
   shape is kept: the tags as they are, with any text between a tag and its end. If other elements have other shapes (a
   checksum that only some objects have), these are learned in the same way.
2. Every element must have one of these shapes, byte by byte, with nothing but harmless characters in its texts. Keys
   may have other characters; all keys together are searched for those that make XML malformed: control characters,
   "]]>" and "&".
3. The XML parser reads the page without its `Contents`, with one empty element instead, and has to find that element as
   a child of the root. So the rest of the page is well-formed, and what was cut out were elements.

Any other page is read as XML from beginning to end. A page is refused if the parser refuses it, if it is not a
ListBucketResult, if an object has no key, two keys or two sizes, if a decoded key is not valid UTF-8, and if the page
is truncated but does not say where the listing continues.

Names. With `encoding-type=url`, keys are encoded as in forms, which the page confirms in `EncodingType` (some services
spell it with a dash). Services that do not know the parameter send keys as XML text (`xml_names`).

Source: Amazon S3 API Reference, ListObjectsV2; Extensible Markup Language (XML) 1.0, sections 2.2 and 2.4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from s3dlio.auth.encoding import canonical_query
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.documents import child_text, children
from s3dlio.objects.request import Request
from s3dlio.stores.pager import Listing, Page, PagedStore, no_continuation, not_utf8, untrusted
from s3dlio.stores.s3.service import S3Service
from s3dlio.stores.sending import send_for_proof
from s3dlio.stores.xml_names import CONTROLS, NameReader

_MOST_KEYS = 1000  # on a page; the most that S3 gives
_NAME = "Contents"
_BEGIN, _END, _EMPTY = f"<{_NAME}>", f"</{_NAME}>", f"<{_NAME}/>"
_MOST_SHAPES = 8
_TAG = re.compile(r"(<[^<>]*>)")
_HARMLESS = r"[0-9A-Za-z_:.+/=@ -]*"
# Characters that an XML parser refuses or changes in a text; "]" stands for "]]>".
_NOT_IN_KEYS = (*map(chr, CONTROLS), "\r", "&", "]")
_ODD_CHARACTERS = frozenset("\ufffe\uffff")
_FACTS = frozenset({"encodingtype", "istruncated", "nextcontinuationtoken"})
_NAMES = NameReader("Key", "Prefix")
_recent: dict[bool, tuple[str, ...]] = {False: (), True: ()}  # the shapes on the last page, without and with sizes
_ENCODING = re.compile(r"""\ufeff?\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""")


async def page(store: PagedStore[S3Service], listing: Listing, token: str) -> tuple[Page, Response]:
    """Send ListObjectsV2 for one page, and read it."""
    uri = listing.uri
    query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(listing.most or _MOST_KEYS))]
    query.append(("prefix", uri.folder_key))
    if listing.delimiter:
        query.append(("delimiter", listing.delimiter))
    if token:
        query.append(("continuation-token", token))
    request = Request(uri.text, "GET", uri.container, query=canonical_query(query))
    response = await send_for_proof(store.service(), request)
    return read_page(response, uri.text, listing.sizes), response


def read_page(response: Response, uri: str, with_sizes: bool) -> Page:
    """Read the answer to ListObjectsV2.

    Args:
        response: the answer.
        uri: what is listed, for messages.
        with_sizes: whether to read the sizes of the objects, too.

    Raises:
        S3dlioError: the answer is not a listing, or cannot be trusted.
    """
    found = _contents_by_shape(response.body, with_sizes)
    if found is None:
        page, named = _NAMES.read(response, uri)
        keys = [named(_only(response, uri, item, "Key")) for item in children(page, _NAME)]
        sizes = [_size(response, uri, item) for item in children(page, _NAME)] if with_sizes else []
    else:
        page, keys, sizes = found
        named = str
    if documents.tag(page) != "ListBucketResult":
        raise untrusted(response, uri, f"it is a <{documents.tag(page):.40}>, not a <ListBucketResult>")
    prefixes = [named(_only(response, uri, item, "Prefix")) for item in children(page, "CommonPrefixes")]
    facts = _facts(response, uri, page)
    if _is_encoded(response, uri, facts):
        keys, prefixes = _decoded(response, uri, keys), _decoded(response, uri, prefixes)
    return Page(keys, sizes, prefixes, _continuation(response, uri, facts))


# As text...


def _contents_by_shape(body: memoryview, with_sizes: bool) -> tuple[ET.Element, list[str], list[int | None]] | None:
    """Return the page without its `Contents`, and their keys and sizes; None if the page has to be read as XML."""
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError:
        return None
    begin, end = text.find(_BEGIN), text.rfind(_END) + len(_END)
    if not 0 <= begin < end:
        return None
    found = _matched(text[begin:end], with_sizes)
    if found is None:
        return None
    keys, sizes = found
    joined = "".join(keys)
    if any(map(joined.__contains__, _NOT_IN_KEYS)) or not (joined.isascii() or _ODD_CHARACTERS.isdisjoint(joined)):
        return None
    encoding = _ENCODING.match(text)
    if encoding is not None and encoding[1].lower() not in ("utf-8", "utf8"):
        return None
    try:
        page = documents.xml((text[:begin] + _EMPTY + text[end:]).lstrip(" \t\r\n").encode())
    except ET.ParseError:
        return None
    if len(children(page, _NAME)) != 1:  # the elements were inside another one, or there are others elsewhere
        return None
    return page, keys, sizes


def _matched(contents: str, with_sizes: bool) -> tuple[list[str], list[int | None]] | None:
    """Return the keys and sizes of elements that follow each other; None if they do not have a few known shapes."""
    groups = 2 if with_sizes else 1
    shapes = _recent[with_sizes]  # most pages have the shapes of the page before
    parts = re.split("|".join(shapes), contents) if shapes else [contents]
    unknown = next(filter(None, parts[:: groups * len(shapes) + 1]), "")
    if unknown and shapes:
        shapes, unknown = (), contents
    while unknown:
        shape = _shape_of(unknown[: unknown.find(_END) + len(_END)], with_sizes)
        if shape is None or shape in shapes or len(shapes) == _MOST_SHAPES:
            return None
        shapes = (*shapes, shape)
        # Between the matches is the text that did not match: nothing if every element has a known shape.
        parts = re.split("|".join(shapes), contents)
        unknown = next(filter(None, parts[:: groups * len(shapes) + 1]), "")
    _recent[with_sizes] = shapes
    stride = groups * len(shapes) + 1
    columns = [parts[index::stride] for index in range(1, stride)]
    keys = _merged(columns[::groups])
    return keys, list(map(int, _merged(columns[1::groups]))) if with_sizes else []


def _merged(columns: list[list[Any]]) -> list[str]:
    """Merge lists of which, at each index, one has a text and the others have None."""
    merged = columns[0]
    for column in columns[1:]:
        merged = [here if there is None else there for here, there in zip(merged, column, strict=True)]
    return merged


def _shape_of(element: str, with_sizes: bool) -> str | None:
    """Return a pattern for `Contents` elements of the same shape as this one, with key and size in groups.

    The XML parser accepts the element, and would accept it with any other text of harmless characters: that is what the
    pattern allows. Only keys may have all characters but "<"; they are checked afterwards.

    Returns:
        The pattern; None if the element has to be read as XML.
    """
    if not element.startswith(_BEGIN) or "<!" in element or "<?" in element:
        return None
    try:
        root = ET.fromstring(element)
    except (ET.ParseError, ValueError):
        return None
    wanted = {"Key": r"([^<]*)", "Size": r"([0-9]{1,19})"} if with_sizes else {"Key": r"([^<]*)"}
    # The groups are taken in this order.
    found = [child for child in root if child.tag in wanted]
    if [child.tag for child in found] != list(wanted) or any(map(len, found)):
        return None
    pattern, depth, groups = "", 0, 0
    parts = _TAG.split(element)
    for index in range(1, len(parts), 2):
        tag, text, following = parts[index], parts[index + 1], parts[index + 2] if index + 2 < len(parts) else ""
        pattern += re.escape(tag)
        is_end, is_empty = tag.startswith("</"), tag.endswith("/>")
        depth += -1 if is_end else 0 if is_empty else 1
        if not is_end and not is_empty and following.startswith("</"):
            if depth == 2 and tag[1:-1] in wanted:
                pattern += wanted[tag[1:-1]]
                groups += 1
            elif text.startswith("&quot;") and text.endswith("&quot;") and len(text) >= 12:
                pattern += f"&quot;{_HARMLESS}&quot;"
            else:
                pattern += _HARMLESS
        elif text:
            return None
        if ">" in text:  # of the text itself, or of an attribute in the tag
            return None
    return pattern if groups == len(wanted) else None  # a wanted tag may be empty, or have an attribute


# As XML...


def _only(response: Response, uri: str, item: ET.Element, name: str) -> str:
    """Return the text of the only child of that name."""
    found = children(item, name)
    if len(found) != 1 or len(found[0]):
        what = documents.tag(item)
        raise untrusted(response, uri, f"a <{what}> has {len(found) or 'no'} <{name}>, or one that is not text")
    return found[0].text or ""


def _size(response: Response, uri: str, item: ET.Element) -> int | None:
    if not children(item, "Size"):
        return None
    text = _only(response, uri, item, "Size").strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 19:
        raise untrusted(response, uri, f"the size of {child_text(item, 'Key')!r} is {text!r:.40}")
    return int(text)


# Both...


def _facts(response: Response, uri: str, page: ET.Element) -> dict[str, str]:
    """Return the encoding of a page, and what it says about the next one, without blank values.

    The keys are the names of the elements in lower case and without dashes, since services spell them differently.
    """
    found: dict[str, str] = {}
    for child in page:
        name = documents.tag(child).replace("-", "").lower()
        if name in _FACTS:
            if name in found:
                raise untrusted(response, uri, f"it has two <{documents.tag(child)}>")
            found[name] = child.text or ""
    return {name: text for name, text in found.items() if text.strip()}


def _is_encoded(response: Response, uri: str, facts: dict[str, str]) -> bool:
    """Tell whether the keys of a page are encoded."""
    kind = facts.get("encodingtype", "").strip().lower()
    if kind not in ("", "url"):
        raise untrusted(response, uri, f"its keys have the unknown encoding {kind!r:.40}")
    return kind == "url"


def _decoded(response: Response, uri: str, names: Sequence[str]) -> list[str]:
    """Decode names as in forms: a "+" is a blank."""
    name = ""
    try:
        return [unquote_plus(name, errors="strict") if "%" in name or "+" in name else name for name in names]
    except UnicodeDecodeError:
        for name in names:
            try:
                unquote_plus(name, errors="strict")
            except UnicodeDecodeError:
                break
        raise not_utf8(response, uri, ascii(name.encode())[1:]) from None


def _continuation(response: Response, uri: str, facts: dict[str, str]) -> str:
    """Return the token of the next page, "" on the last page. A token alone says that more pages follow."""
    token = facts.get("nextcontinuationtoken", "")
    truncated = facts.get("istruncated", "").strip().lower()
    if truncated in ("false", "0"):
        return ""
    if truncated not in ("true", "1", ""):
        raise untrusted(response, uri, f"<IsTruncated> is {truncated!r:.40}")
    if truncated and not token:
        why = "the page is truncated and has no <NextContinuationToken>"
        raise no_continuation(response, uri, why)
    return token
