# SPDX-License-Identifier: Apache-2.0
"""Delete blobs: Delete Blob."""

from __future__ import annotations

from s3dlio.objects.request import send
from s3dlio.stores.azure.answers import error_of, is_directory, says_not_there
from s3dlio.stores.azure.requests import blob_request, head_blob
from s3dlio.stores.azure.service import AzureService
from s3dlio.stores.pager import Listing, PagedStore
from s3dlio.uri import URI


async def delete(store: PagedStore[AzureService], uri: URI) -> None:
    """Send Delete Blob. Deleting a missing blob succeeds."""
    store.require_key(uri)
    response = await send(store.service(), blob_request("DELETE", uri))
    if response.head.status == 202:
        return
    if not says_not_there(response) or error_of(response).code == "ContainerNotFound":
        raise store.refusal(response, uri.text)


async def delete_prefix(store: PagedStore[AzureService], uri: URI) -> None:
    """Delete page by page, and then the folders: a hierarchical namespace deletes only empty ones."""
    folders: list[str] = []
    async for page in store.checked_pages(Listing(uri)):
        folders += page.markers
        await store.delete_page(uri, page)
    for name in sorted(folders, reverse=True):
        await delete(store, uri.with_key(name))
    if await is_marked(store, uri):
        await delete(store, uri.with_key(uri.key.rstrip("/")))


async def is_marked(store: PagedStore[AzureService], uri: URI) -> bool:
    """Tell whether a blob of the folder's own name marks the folder, as Hadoop's drivers write them."""
    name = uri.key.rstrip("/")
    if not name:
        return False
    response = await head_blob(store.service(), uri.with_key(name))
    return response.head.status == 200 and is_directory(response.head)
