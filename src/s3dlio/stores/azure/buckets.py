# SPDX-License-Identifier: Apache-2.0
"""Make, remove and list Azure's containers: Create Container, Delete Container, List Containers."""

from __future__ import annotations

from s3dlio.auth.encoding import uri_encode
from s3dlio.http.response import Response
from s3dlio.objects.request import Request, send
from s3dlio.stores.azure.answers import error_of
from s3dlio.stores.azure.listing import ask_for_page, list_of, name_of
from s3dlio.stores.azure.service import AzureService
from s3dlio.stores.pager import Page, PagedStore
from s3dlio.stores.sending import expect
from s3dlio.uri import URI


async def make_bucket(store: PagedStore[AzureService], uri: URI) -> None:
    """Send Create Container. Making a container that exists already succeeds."""
    response = await send(store.service(), _request("PUT", uri))
    if response.head.status != 201 and error_of(response).code != "ContainerAlreadyExists":
        raise store.refusal(response, uri.text)


async def remove_bucket(store: PagedStore[AzureService], uri: URI) -> None:
    """Send Delete Container, which also deletes what is in the container: `transfer.buckets` looks before."""
    await expect(store.service(), _request("DELETE", uri), 202)


async def page_of_buckets(store: PagedStore[AzureService], token: str) -> tuple[Page, Response]:
    """Send List Containers for one page, and read it."""
    response = await ask_for_page(store, store.account, [], token)
    listed = list_of(response, store.account.text, "Containers")
    names = [name_of(item, listed.named, response, store.account.text) for item in listed.items]
    return Page(names, [], [], listed.marker), response


def _request(method: str, uri: URI) -> Request:
    return Request(uri.text, method, uri_encode(uri.container), query="restype=container")
