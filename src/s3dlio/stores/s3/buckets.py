# SPDX-License-Identifier: Apache-2.0
"""Make, remove and list S3 buckets: CreateBucket, DeleteBucket, ListBuckets."""

from __future__ import annotations

from s3dlio.auth.encoding import canonical_query
from s3dlio.http.response import Response
from s3dlio.objects.request import Request, send
from s3dlio.stores.pager import Listing, Page, PagedStore, untrusted
from s3dlio.stores.s3.answers import NAMESPACE, child_text, children, error_of, is_foreign, parsed
from s3dlio.stores.s3.requests import escaped
from s3dlio.stores.s3.service import S3Service
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI


async def make_bucket(store: PagedStore[S3Service], uri: URI) -> None:
    """Send CreateBucket. Making a bucket that this account already has succeeds."""
    service = store.service()
    body = b""
    if service.is_aws and service.settings.aws_region not in (None, "us-east-1"):
        region = f"<LocationConstraint>{escaped(service.settings.aws_region or '')}</LocationConstraint>"
        body = f'<CreateBucketConfiguration xmlns="{NAMESPACE}">{region}</CreateBucketConfiguration>'.encode()
    response = await send(service, Request(uri.text, "PUT", uri.container, body=[memoryview(body)]))
    code = error_of(response).code
    if (response.head.status != 200 or code) and code != "BucketAlreadyOwnedByYou":
        raise store.refusal(response, uri.text)
    if not code and is_foreign(response, "CreateBucket"):
        raise service.refusals.unproven(response, uri.text, "form of an answer to CreateBucket")


async def remove_bucket(store: PagedStore[S3Service], uri: URI) -> None:
    """Send DeleteBucket. S3 refuses to delete a bucket with objects; SeaweedFS deletes them, too."""
    service = store.service()
    response = await send(service, Request(uri.text, "DELETE", uri.container))
    if response.head.status not in (200, 204) or error_of(response).code:
        raise store.refusal(response, uri.text)
    if is_foreign(response, "Delete"):
        raise service.refusals.unproven(response, uri.text, "form of an answer to DeleteBucket")


async def list_buckets(store: PagedStore[S3Service]) -> list[str]:
    """Send ListBuckets, and return the names."""
    listing = Listing(URI("s3", "", "", "s3://"))
    service = store.service()

    async def ask(token: str) -> tuple[Page, Response]:
        query = canonical_query([("continuation-token", token)] if token else [])
        response = await send_for_proof(service, Request("s3://", "GET", "", query=query))
        if response.head.status != 200:
            raise store.refusal(response, "s3://")
        page = parsed(response, "s3://")
        if not page.tag.rpartition("}")[2].startswith("ListAllMyBuckets"):
            raise untrusted("s3://", response.address.url, "it is not a list of buckets")
        names = [child_text(item, "Name") for group in children(page, "Buckets") for item in children(group, "Bucket")]
        return Page(names, [], [], child_text(page, "ContinuationToken").strip()), response

    return [name async for page in listing.pages(ask) for name in page.keys]
