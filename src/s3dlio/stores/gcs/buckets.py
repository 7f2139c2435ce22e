# SPDX-License-Identifier: Apache-2.0
"""Make, remove and list buckets of Cloud Storage: Buckets: insert, delete, list."""

from __future__ import annotations

import json

from s3dlio.errors import ConfigurationError
from s3dlio.http.response import Response
from s3dlio.objects.request import Request, send
from s3dlio.stores.gcs.answers import is_foreign, lacks_facts
from s3dlio.stores.gcs.listing import ask_for_page
from s3dlio.stores.gcs.service import GcsService, bucket_path, query_of
from s3dlio.stores.pager import Page, PagedStore
from s3dlio.uri import URI


async def make_bucket(store: PagedStore[GcsService], uri: URI) -> None:
    """Create a bucket. Creating a bucket that this account already has succeeds."""
    service = store.service()
    request = Request(uri.text, "POST", "", "/storage/v1/b", query=query_of(project=_project(service)))
    request.add("Content-Type", "application/json")
    request.body = [memoryview(json.dumps({"name": uri.container}).encode())]
    response = await send(service, request)
    if response.head.status == 409:  # the bucket may be somebody else's
        request = Request(uri.text, "GET", "", bucket_path(uri.container), query=query_of(fields="name"))
        response = await send(service, request)
    if response.head.status != 200:
        raise store.refusal(response, uri.text)
    if missing := lacks_facts(response, uri.with_key("")):
        raise service.refusals.unproven(response, uri.text, missing)


async def remove_bucket(store: PagedStore[GcsService], uri: URI) -> None:
    """Remove a bucket. The service refuses to remove a bucket with objects."""
    service = store.service()
    response = await send(service, Request(uri.text, "DELETE", "", bucket_path(uri.container)))
    if response.head.status not in (200, 204):
        raise service.refusal(response, uri.text, of_bucket=True)
    if is_foreign(response):
        raise service.refusals.unproven(response, uri.text, "proof of the delete")


async def page_of_buckets(store: PagedStore[GcsService], token: str) -> tuple[Page, Response]:
    """Ask for a page of the project's buckets, and read it."""
    query = {"project": _project(store.service()), "fields": "kind,nextPageToken,items(name)"}
    return await ask_for_page(store, store.account, "/storage/v1/b", query, token, "storage#buckets")


def _project(service: GcsService) -> str:
    project = service.settings.gcs_project
    if not project:
        raise ConfigurationError(
            "GOOGLE_CLOUD_PROJECT is not set: gs:// creates and lists the buckets of a project; set the project's id"
        )
    return project
