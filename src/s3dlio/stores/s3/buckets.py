# SPDX-License-Identifier: Apache-2.0
"""Make, remove and list S3 buckets: CreateBucket, DeleteBucket, ListBuckets."""

from __future__ import annotations

from s3dlio.auth.encoding import canonical_query
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.documents import child_text, children
from s3dlio.objects.request import Request
from s3dlio.stores.pager import Page, PagedStore, untrusted
from s3dlio.stores.s3.answers import NAMESPACE, parsed
from s3dlio.stores.s3.requests import escaped, send_without_result
from s3dlio.stores.s3.service import S3Service
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI


async def make_bucket(store: PagedStore[S3Service], uri: URI) -> None:
    """Send CreateBucket. Creating a bucket that this account already has succeeds."""
    service = store.service()
    body = b""
    if service.is_aws and service.settings.aws_region not in (None, "us-east-1"):
        region = f"<LocationConstraint>{escaped(service.settings.aws_region or '')}</LocationConstraint>"
        body = f'<CreateBucketConfiguration xmlns="{NAMESPACE}">{region}</CreateBucketConfiguration>'.encode()
    request = Request(uri.text, "PUT", uri.container, body=[memoryview(body)])
    await send_without_result(service, request, "CreateBucket", success=(200,), fine="BucketAlreadyOwnedByYou")


async def remove_bucket(store: PagedStore[S3Service], uri: URI) -> None:
    """Send DeleteBucket. S3 refuses to delete a bucket with objects; SeaweedFS deletes them, too."""
    await send_without_result(store.service(), Request(uri.text, "DELETE", uri.container), "DeleteBucket")


async def page_of_buckets(store: PagedStore[S3Service], token: str) -> tuple[Page, Response]:
    """Send ListBuckets for one page, and read it."""
    uri = store.account.text
    query = canonical_query([("continuation-token", token)] if token else [])
    response = await send_for_proof(store.service(), Request(uri, "GET", "", query=query))
    page = parsed(response, uri)
    if not documents.tag(page).startswith("ListAllMyBuckets"):
        raise untrusted(response, uri, "it is not a list of buckets")
    names = [child_text(item, "Name") for group in children(page, "Buckets") for item in children(group, "Bucket")]
    return Page(names, [], [], child_text(page, "ContinuationToken").strip()), response
