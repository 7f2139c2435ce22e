# SPDX-License-Identifier: Apache-2.0
"""List blobs (List Blobs), and read pages of blobs and containers.

A blob that is a folder, or marks one, is listed apart from the objects (`Page.markers`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from s3dlio.auth.encoding import canonical_query, uri_encode
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.request import Request
from s3dlio.stores.azure.service import AzureService
from s3dlio.stores.pager import Listing, Page, PagedStore, not_utf8, size_in, untrusted
from s3dlio.stores.sending import send_for_proof
from s3dlio.stores.xml_names import NameReader
from s3dlio.uri import URI

NAMES_PER_PAGE = 5000  # the most that the service gives

_NAMES = NameReader("Name")


async def page(store: PagedStore[AzureService], listing: Listing, token: str) -> tuple[Page, Response]:
    """Send List Blobs for one page, and read it."""
    uri = listing.uri
    query = [("restype", "container"), ("prefix", uri.folder_key)]
    query.append(("maxresults", str(listing.most or NAMES_PER_PAGE)))
    query.append(("include", "metadata"))  # which tells the markers of folders
    if listing.delimiter:
        query.append(("delimiter", listing.delimiter))
    response = await ask_for_page(store, uri, query, token)
    return _page_of(list_of(response, uri.text, "Blobs"), response, uri.text), response


async def ask_for_page(store: PagedStore[AzureService], uri: URI, query: list[tuple[str, str]], token: str) -> Response:
    """Ask for a page of blobs or containers."""
    query = [*query, ("comp", "list"), *([("marker", token)] if token else [])]
    request = Request(uri.text, "GET", uri_encode(uri.container), query=canonical_query(query))
    return await send_for_proof(store.service(), request)


class Listed(NamedTuple):
    """A page of either kind.

    Attributes:
        items: the element with what is listed.
        marker: of the next page; "" on the last page.
        named: makes a name of the text of an element.
    """

    items: ET.Element
    marker: str
    named: Callable[[str], str]


def list_of(response: Response, uri: str, kind: str) -> Listed:
    """Read a page of List Blobs or List Containers; `kind` is "Blobs" or "Containers".

    Raises:
        S3dlioError: the answer is something else.
    """
    root, named = _NAMES.read(response, uri)
    found = documents.children(root, kind)
    if documents.tag(root) != "EnumerationResults" or len(found) != 1:
        raise untrusted(response, uri, f"it is a <{documents.tag(root):.40}>, or has no <{kind}>")
    markers = [child.text or "" for child in root if documents.tag(child).lower() == "nextmarker"]
    if len(markers) > 1:
        raise untrusted(response, uri, "it has two <NextMarker>")
    return Listed(found[0], markers[0] if markers and markers[0].strip() else "", named)


def _page_of(listed: Listed, response: Response, uri: str) -> Page:
    """Read the names and sizes of a page of blobs.

    Raises:
        S3dlioError: something in it has no name, or a name that is not valid UTF-8.
    """
    keys: list[str] = []
    sizes: list[int | None] = []
    folders: list[str] = []
    markers: list[str] = []
    for item in listed.items:
        kind, name = documents.tag(item), name_of(item, listed.named, response, uri)
        if kind == "BlobPrefix":
            folders.append(name)
        elif kind != "Blob":
            raise untrusted(response, uri, f"it has a <{kind:.40}>")
        elif _is_marker(item):
            markers.append(name)
        else:
            keys.append(name)
            sizes.append(size_in((item.findtext("{*}Properties/{*}Content-Length") or "").strip()))
    return Page(keys, sizes, folders, listed.marker, markers)


def name_of(item: ET.Element, named: Callable[[str], str], response: Response, uri: str) -> str:
    """Read the name of a Blob, BlobPrefix or Container. A name that XML cannot hold comes percent-encoded."""
    found = documents.children(item, "Name")
    text = found[0].text if len(found) == 1 and not len(found[0]) else None
    if not text:
        raise untrusted(response, uri, "it has something without a name, or with two")
    if found[0].get("Encoded", "").lower() != "true":
        return named(text)
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise not_utf8(response, uri, ascii(text)) from None


def _is_marker(item: ET.Element) -> bool:
    """Tell whether a Blob is a folder of a hierarchical namespace, or the marker of one that Hadoop's drivers write."""
    if (item.findtext("{*}Properties/{*}ResourceType") or "").lower() == "directory":
        return True
    metadata = item.find("{*}Metadata")
    fields = () if metadata is None else metadata
    return any(field.tag.lower() == "hdi_isfolder" and (field.text or "").strip().lower() == "true" for field in fields)
