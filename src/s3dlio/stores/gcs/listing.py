# SPDX-License-Identifier: Apache-2.0
"""List objects of Cloud Storage (Objects: list), and read pages of objects and buckets."""

from __future__ import annotations

import json as json_module
import re
from typing import Any

from s3dlio.errors import S3dlioError
from s3dlio.http.response import Response
from s3dlio.objects.request import Request
from s3dlio.stores.gcs.answers import error_inside, parsed
from s3dlio.stores.gcs.service import GcsService, bucket_path, query_of
from s3dlio.stores.pager import Listing, Page, PagedStore, not_utf8, size_in, untrusted
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI

_MOST_KEYS = 1000  # on a page; the most that the service gives
_OBJECTS = "storage#objects"
_RAW_NAME = re.compile(rb'"name"\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED_LETTERS = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")  # which no service has to escape
_ONCE = (b'"items"', b'"prefixes"', b'"nextPageToken"')  # fields that a page has at most once


async def page(store: PagedStore[GcsService], listing: Listing, token: str) -> tuple[Page, Response]:
    """Ask for a page of objects, and read it."""
    uri = listing.uri
    fields = "name,size" if listing.sizes else "name"
    query = {"maxResults": str(listing.most or _MOST_KEYS), "fields": f"kind,nextPageToken,prefixes,items({fields})"}
    if uri.folder_key:
        query["prefix"] = uri.folder_key
    if listing.delimiter:
        query["delimiter"] = listing.delimiter
    return await ask_for_page(store, uri, f"{bucket_path(uri.container)}/o", query, token, _OBJECTS)


async def ask_for_page(
    store: PagedStore[GcsService], uri: URI, path: str, query: dict[str, str], token: str, kind: str
) -> tuple[Page, Response]:
    """Ask for a page of objects or buckets, and read it.

    Args:
        store: the store.
        uri: what is listed.
        path, query: of the request for the first page.
        token: of the page; "" for the first.
        kind: the value of the field `kind` in such a page.
    """
    more = {"pageToken": token} if token else {}
    request = Request(uri.text, "GET", uri.container, path, query=query_of(**query, **more))
    response = await send_for_proof(store.service(), request, inside=error_inside, others=True)
    if response.head.status != 200:
        raise store.service().refusal(response, uri.text, of_bucket=True)
    return _page_of(response, uri.text, kind), response


def _page_of(response: Response, uri: str, kind: str) -> Page:
    """Read a page. An empty JSON object is a page without names.

    Raises:
        S3dlioError: the answer is not a page that can be trusted.
    """
    body = bytes(response.body)
    try:
        content = {name: value for name, value in parsed(response, uri).items() if value is not None}
    except S3dlioError:
        _refuse_raw_name(body, response, uri)
        raise
    items, folders = content.get("items", []), content.get("prefixes", [])
    token = content.get("nextPageToken", "")
    known = {"kind", "items", "prefixes", "nextPageToken"} & content.keys()
    right = (known or not content) and content.get("kind", kind) == kind and isinstance(token, str)
    if not right or not isinstance(items, list) or not isinstance(folders, list):
        raise untrusted(response, uri, "it is not a list of objects, or of buckets")
    if (
        any(body.count(name) > 1 for name in _ONCE)
        or any(map(body.__contains__, _ESCAPED_LETTERS))
        or body.count(b'"name"') != len(items)
    ):
        _refuse_repeated(body, response, uri)
    keys: list[Any] = [item.get("name") if isinstance(item, dict) else None for item in items]
    for name in (*keys, *folders):
        if not isinstance(name, str):
            raise untrusted(response, uri, f"it has an object or folder without a name ({name!r:.60})")
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise not_utf8(response, uri, ascii(name)) from None
    return Page(keys, [size_in(str(item.get("size", ""))) for item in items], folders, token)


def _refuse_raw_name(body: bytes, response: Response, uri: str) -> None:
    """Raise S3dlioError for the first name that is not valid UTF-8."""
    for match in _RAW_NAME.finditer(body):
        try:
            match[1].decode()
        except UnicodeDecodeError:
            raise not_utf8(response, uri, ascii(match[1])[1:]) from None


def _refuse_repeated(body: bytes, response: Response, uri: str) -> None:
    """Raise S3dlioError if a JSON object has a field twice. Python's parser would keep the last one."""

    def refuse(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise untrusted(response, uri, "it has a field twice")

    json_module.loads(body, object_pairs_hook=refuse)
