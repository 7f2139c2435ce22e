# SPDX-License-Identifier: Apache-2.0
"""gs:// — Google Cloud Storage, and its emulators.

The JSON API serves every verb but one: large objects are written by the XML API (`multipart`). This module has the
class and its shorter verbs. Where requests go and with which token is in `service`; the other modules of the package
are named after the verbs they hold, or after what they read.

Versions are generations. The first answer to a read names the object's, and every other part is read of that generation
alone, for which the service answers 404 once it is gone. `x-goog-hash` is always the whole object's CRC32C, also in the
answer to a range, so an object that is read in parts is checked when they are together. Objects that are stored
compressed are read as they are stored: for a client that does not accept gzip the service unpacks them, and then knows
neither their length nor ranges.

Source: Cloud Storage JSON API v1 and XML API references; each verb names its page.
"""

from __future__ import annotations

from typing import Any

from s3dlio.errors import InvalidURIError
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.checksums import Expected, ExpectedCrc32c
from s3dlio.objects import documents
from s3dlio.objects.ranges import size_by_range
from s3dlio.objects.request import Request, send
from s3dlio.stores.cloud import dated
from s3dlio.stores.gcs import buckets, listing, multipart, writing
from s3dlio.stores.gcs.answers import error_of, hashes, is_foreign, lacks_facts, parsed
from s3dlio.stores.gcs.refusals import is_about_bucket
from s3dlio.stores.gcs.resumable import Resumable
from s3dlio.stores.gcs.service import READ_FIELDS, READ_QUERY, GcsService, encoded, facts_request, object_path
from s3dlio.stores.pager import PagedStore
from s3dlio.stores.sending import expect
from s3dlio.types import ObjectInfo
from s3dlio.uri import URI

_FACTS = "size,timeCreated,updated,etag,contentType,metadata,crc32c,md5Hash,storageClass,generation"


class GcsStore(PagedStore[GcsService]):
    """gs://"""

    service_class = GcsService
    account = URI("gs", "", "", "gs://")
    most_parts = 10_000
    # 404 for a generation that has been replaced, 412 after a precondition that failed.
    version_gone = frozenset({404, 412})

    # Verbs with modules of their own...

    put_whole = writing.put_whole
    begin_parts = multipart.begin_parts
    put_part = multipart.put_part
    finish_parts = multipart.finish_parts
    drop_parts = multipart.drop_parts
    page = listing.page
    copy = writing.copy
    make_bucket = buckets.make_bucket
    remove_bucket = buckets.remove_bucket
    page_of_buckets = buckets.page_of_buckets

    # Reading (Objects: get)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        query = READ_QUERY if version is None else f"{READ_QUERY}&generation={version}"
        return Request(uri.text, "GET", uri.container, object_path(uri), query=query, headers=READ_FIELDS)

    def path_of(self, uri: URI) -> str:
        return encoded(uri.key)

    def version_of(self, head: ResponseHead) -> str:
        """Return the generation; "" if it is not a number, and so cannot be asked for."""
        generation = head.headers.get("x-goog-generation", "")
        return generation if generation.isdecimal() else ""

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        headers = head.headers
        if headers.get("x-goog-stored-content-encoding") == "gzip" and headers.get("content-encoding") != "gzip":
            return None  # unpacked on the way: the checksum is that of the packed object
        sent = hashes(head).get("crc32c")
        return ExpectedCrc32c(sent) if sent is not None else None

    # Facts (Objects: get, without the data)...

    async def stat(self, uri: URI) -> ObjectInfo:
        self.require_key(uri)
        response = await expect(self.service(), facts_request(uri, _FACTS), 200)
        with documents.reading(uri.text, response.address.url):
            facts = parsed(response, uri.text)
            size = int(facts["size"]) if "size" in facts else None
        if size is None:
            size = await size_by_range(self, uri, "")
        with documents.reading(uri.text, response.address.url):
            return _facts_of(uri, facts, size, response)

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await send(self.service(), facts_request(uri, "generation"))
        if response.head.status == 200:
            if missing := lacks_facts(response, uri):
                raise self.service().refusals.unproven(response, uri.text, missing)
            return True
        if response.head.status == 404:
            return False
        raise self.refusal(response, uri.text)

    # Writing...

    async def put(self, uri: URI, data: memoryview) -> None:
        if self.service().has_multipart:
            await super().put(uri, data)
        else:  # sending parts one after the other would only be slower
            self.require_key(uri)
            await self.put_whole(uri, [data])

    def parts_at_a_time(self, upload: str | Resumable) -> int:
        return 1 if isinstance(upload, Resumable) else super().parts_at_a_time(upload)

    # Deleting (Objects: delete)...

    async def delete(self, uri: URI) -> None:
        """Delete an object. Deleting a missing object succeeds, unless its bucket is missing."""
        self.require_key(uri)
        service = self.service()
        response = await send(service, Request(uri.text, "DELETE", uri.container, object_path(uri)))
        if response.head.status in (200, 204):
            if is_foreign(response):
                raise service.refusals.unproven(response, uri.text, "proof of the delete")
        elif response.head.status != 404 or is_about_bucket(error_of(response)[1]):
            raise self.refusal(response, uri.text)

    # Presigned URLs...

    def presign(self, uri: URI, method: str, expires: int) -> str:  # noqa: ARG002
        raise InvalidURIError(
            f"cannot presign {uri.text}: s3dlio presigns s3:// and az:// only; use `gcloud storage sign-url`",
            uri=uri.text,
        )


def _facts_of(uri: URI, facts: dict[str, Any], size: int, response: Response) -> ObjectInfo:
    """Make the facts about an object of its resource and its size."""
    checksums = {name: facts[field] for name, field in (("crc32c", "crc32c"), ("md5", "md5Hash")) if field in facts}
    written = facts.get("timeCreated") or facts.get("updated")
    known = {
        "size": size,
        "last_modified": None,
        "etag": str(facts.get("etag", "")).strip('"') or None,
        "content_type": facts.get("contentType"),
        "metadata": {name.lower(): value for name, value in facts.get("metadata", {}).items()},
        "checksums": checksums,
        "storage_class": facts.get("storageClass"),
        "version": facts.get("generation"),
    }
    return dated(uri, known, str(written) if written else None, response)
