# SPDX-License-Identifier: Apache-2.0
"""s3:// — Amazon S3, and everything that speaks its REST API: MinIO, Ceph, SeaweedFS and others.

This module has the class and its reading verbs. Where requests go and how they are signed is in `service`; the other
modules of the package are named after the verbs they hold, or after what they read.

Source: Amazon S3 API Reference, https://docs.aws.amazon.com/AmazonS3/latest/API/; each verb names its page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from s3dlio.auth.encoding import uri_encode
from s3dlio.http.address import Address
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.checksums import Expected, ExpectedCrc32, ExpectedCrc32c, ExpectedCrc64, crc32c, crc32c_text
from s3dlio.objects import documents
from s3dlio.objects.batched import BatchedRequest, WriteDone
from s3dlio.objects.batched_put import BatchedWrite
from s3dlio.objects.request import Request
from s3dlio.runtime.operation import Operation
from s3dlio.settings import MIB
from s3dlio.stores.cloud import facts_of
from s3dlio.stores.pager import PagedStore
from s3dlio.stores.s3 import buckets, copying, deleting, listing, multipart, writing
from s3dlio.stores.s3.requests import head_object
from s3dlio.stores.s3.service import CHECKED_READ, CHECKSUM, S3Service
from s3dlio.tuning import SMALL_OBJECT
from s3dlio.types import ObjectInfo
from s3dlio.uri import URI

_ACTUAL_SIZE = re.compile(rb"<ActualObjectSize>([0-9]{1,19})</ActualObjectSize>")  # in the error InvalidRange
_MOST_ERROR_TEXT = 65536  # bytes
# s3dlio uploads objects with a CRC32C, the vendor's tools with a CRC-32 or, by default, a CRC-64. SHA-1 and SHA-256 are
# not compared: they would take longer than the transfer.
_CHECKED: tuple[tuple[str, Callable[[str], Expected]], ...] = (
    (CHECKSUM, ExpectedCrc32c),
    ("x-amz-checksum-crc32", ExpectedCrc32),
    ("x-amz-checksum-crc64nvme", ExpectedCrc64),
)


class S3Store(PagedStore[S3Service]):
    """s3://"""

    service_class = S3Service
    account = URI("s3", "", "", "s3://")
    most_parts = 10_000

    # Verbs with modules of their own...

    put_whole = writing.put_whole
    begin_parts = multipart.begin_parts
    put_part = multipart.put_part
    finish_parts = multipart.finish_parts
    drop_parts = multipart.drop_parts
    page = listing.page
    delete = deleting.delete
    delete_page = deleting.delete_page
    copy = copying.copy
    make_bucket = buckets.make_bucket
    remove_bucket = buckets.remove_bucket
    page_of_buckets = buckets.page_of_buckets

    # Reading (GetObject)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        headers = CHECKED_READ if self.settings.verify_get else ()
        if version:
            headers = (*headers, ("If-Match", version))
        return Request(uri.text, "GET", uri.container, uri_encode(uri.key), headers=headers)

    def path_of(self, uri: URI) -> str:
        return uri_encode(uri.key)

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        headers = head.headers
        for field, kind in _CHECKED:
            sent = headers.get(field)
            if sent is not None:
                # A checksum of checksums, which ends in the number of parts, is not the body's. In the answer to a
                # range that is exactly one part, S3 sends the checksum of that part.
                if "-" in sent or headers.get("x-amz-checksum-type") == "COMPOSITE":
                    return None
                whole = head.status == 200 or _is_whole(headers.get("content-range", ""))
                return kind(sent) if whole else None
        return None

    def unsatisfied_size(self, response: Response) -> int | None:
        size = super().unsatisfied_size(response)
        if size is None and (match := _ACTUAL_SIZE.search(bytes(response.body[:_MOST_ERROR_TEXT]))) is not None:
            size = int(match[1])
        return size

    # Facts (HeadObject)...

    async def stat(self, uri: URI) -> ObjectInfo:
        self.require_key(uri)
        response = await head_object(self.service(), uri)
        headers = response.head.headers
        if response.head.status != 200:
            raise self.refusal(response, uri.text)
        checksums = {
            name.removeprefix("x-amz-checksum-"): value
            for name, value in headers.items()
            if name.startswith("x-amz-checksum-") and name != "x-amz-checksum-type"
        }
        size = await self.size_of(uri, response)
        with documents.reading(uri.text, response.address.url):
            return facts_of(
                uri,
                response,
                size,
                "x-amz-meta-",
                checksums=checksums,
                storage_class=headers.get("x-amz-storage-class"),
                version=headers.get("x-amz-version-id"),
            )

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await head_object(self.service(), uri)
        if response.head.status == 200:
            return True
        if response.head.status == 404:
            return False
        raise self.refusal(response, uri.text)

    # Batched writes (PutObject)...

    def batched_put(self, uri: URI, data: memoryview, done: WriteDone, item: Any) -> BatchedRequest | Operation[None]:
        settings = self.settings
        if len(data) > min(SMALL_OBJECT, settings.multipart_threshold_mb * MIB) or not uri.key:
            return super().batched_put(uri, data, done, item)
        if settings.put_verify or settings.s3_sign_payload:
            return super().batched_put(uri, data, done, item)
        return BatchedWrite(self, uri, data, done, item)

    def checksum_of(self, data: memoryview) -> str:
        """Compute the checksum of an object in the form in which it is sent."""
        return crc32c_text(crc32c([data]))

    def check_stored(self, uri: URI, head: ResponseHead, address: Address, checksum: str, data: memoryview) -> None:
        """Raise IntegrityError if the answer says that other bytes were stored."""
        if head.headers.get(CHECKSUM) != checksum:  # as nearly every answer does
            writing.check_answer(self.service(), uri, head, address, checksum, [data])

    # Presigned URLs...

    def presign(self, uri: URI, method: str, expires: int) -> str:
        self.require_key(uri)
        return self.service().presign(uri, method, expires)


def _is_whole(content_range: str) -> bool:
    """Tell whether a Content-Range covers a whole object, as in "bytes 0-99/100"."""
    begins, _, rest = content_range.removeprefix("bytes ").partition("-")
    last, _, size = rest.partition("/")
    return begins == "0" and last.isdecimal() and size.isdecimal() and int(last) + 1 == int(size)
