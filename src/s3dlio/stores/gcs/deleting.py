# SPDX-License-Identifier: Apache-2.0
"""Delete objects of Cloud Storage: Objects: delete."""

from __future__ import annotations

from s3dlio.objects.request import Request, send
from s3dlio.stores.gcs.answers import error_of, is_foreign
from s3dlio.stores.gcs.refusals import is_about_bucket
from s3dlio.stores.gcs.service import GcsService, object_path
from s3dlio.stores.pager import PagedStore
from s3dlio.uri import URI


async def delete(store: PagedStore[GcsService], uri: URI) -> None:
    """Delete an object. Deleting a missing object succeeds, unless its bucket is missing."""
    store.require_key(uri)
    service = store.service()
    response = await send(service, Request(uri.text, "DELETE", uri.container, object_path(uri)))
    if response.head.status in (200, 204):
        if is_foreign(response):
            raise service.refusals.unproven(response, uri.text, "proof of the delete")
        return
    if response.head.status != 404 or is_about_bucket(error_of(response)[1]):
        raise store.refusal(response, uri.text)
