# SPDX-License-Identifier: Apache-2.0
"""Write an object of Cloud Storage by a resumable upload, whose chunks go one after the other.

Emulators have no other way to write an object in parts.

Sources: Cloud Storage, "Resumable uploads", "Perform resumable uploads".
"""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial

from s3dlio.errors import S3dlioError, StoreUnavailableError
from s3dlio.http.exchange import without_first
from s3dlio.http.response import Response
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.objects.request import Request, send
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.gcs.answers import lacks_resource
from s3dlio.stores.gcs.service import GcsService
from s3dlio.stores.gcs.writing import CONTENT_TYPE, STORED_STATUSES, check_stored, is_stored, upload_request
from s3dlio.stores.refusals import error_at
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI

_CHUNK = 256 * 1024  # all chunks but the last are multiples of it
# The URI of an upload: one that can be sent as the target of a request.
_SESSION = re.compile(
    r"(?:https?://[!-.0-~]+)?(?P<path>/[!-\"$->@-~]*)\?(?P<query>(?:[!-\"$-~]*&)?upload_id=[!-\"$-~]+)"
)
_KEPT_RANGE = re.compile(r"bytes=0-(\d+)")


@dataclasses.dataclass
class Resumable:
    """A resumable upload, and how far it has come.

    Attributes:
        path, query: of the upload's URI.
        sent: bytes that the service has.
        checksum: the CRC32C of these bytes.
        tail: the last chunk, which is sent once the size of the whole is known.
    """

    path: str
    query: str
    sent: int = 0
    checksum: int = 0
    tail: list[memoryview] = dataclasses.field(default_factory=list)


async def begin(service: GcsService, uri: URI) -> Resumable:
    """Begin an upload."""
    request = upload_request(uri, uploadType="resumable", name=uri.key)
    request.add("Content-Type", "application/json; charset=UTF-8")
    request.add("X-Upload-Content-Type", CONTENT_TYPE)
    request.body = [memoryview(json.dumps({"name": uri.key, "contentType": CONTENT_TYPE}).encode())]
    request.finish_before_stop = True
    response = await send(service, request)
    if response.head.status != 200:
        raise service.refusal(response, uri.text, of_bucket=True)
    match = _SESSION.fullmatch(response.head.headers.get("location", ""))
    if match is None:
        hint = "check that the endpoint is Cloud Storage, then write the object again"
        raise error_at(S3dlioError, uri.text, response.address, "the answer names no upload to send the bytes to", hint)
    root = service.endpoints.all[0].path
    return Resumable(match["path"].removeprefix(root), match["query"])


async def put_part(service: GcsService, uri: URI, upload: Resumable, data: list[memoryview]) -> None:
    """Send the next part as a chunk, or keep it for the end if its size says that it is the last one."""
    if sum(map(len, data)) % _CHUNK:
        upload.tail = data
    else:
        await _put_chunk(service, uri, upload, data, None)


async def finish(store: CloudStore[GcsService], uri: URI, upload: Resumable, size: int) -> None:
    """Send the last chunk, and check what is stored."""
    response = await _put_chunk(store.service(), uri, upload, upload.tail, size)
    if response.head.status not in (404, 410):
        await check_stored(store, uri, response, size, upload.checksum)
    elif not await is_stored(store, uri, size, upload.checksum):
        raise store.refusal(response, uri.text)


async def _put_chunk(
    service: GcsService, uri: URI, upload: Resumable, data: list[memoryview], total: int | None
) -> Response:
    """Send the next bytes, and again those that the service did not keep.

    A chunk that failed is sent again from its beginning: the service skips bytes that it has. So the client never asks
    how far the upload has come, a question which some emulators take for the end of the upload.

    The chunk that ends the object comes with the object's size (`total`), and may have no bytes.

    Returns:
        The answer: the bytes are kept; or, at the end, the object is stored or the upload no longer exists.
    """
    upload.checksum = crc32c(data, upload.checksum)
    rest = list(data)
    end = upload.sent + sum(map(len, data))
    idle = 0
    while True:
        request = _chunk_request(uri, upload, rest, end, total)
        if total is None:
            response = await send(service, request)
        else:
            missing = partial(lacks_resource, uri=uri)
            response = await send_for_proof(service, request, missing, success=STORED_STATUSES, others=True)
        status = response.head.status
        if status in STORED_STATUSES and total is None:
            raise service.refusals.unproven(
                response, uri.text, "proof that the upload is complete"
            )  # stored before it is whole
        if status in STORED_STATUSES or (status in (404, 410) and total is not None):
            upload.sent = end
            return response
        if status != 308:
            raise service.refusal(response, uri.text)
        kept = _kept(response)
        if kept >= end and total is None:
            upload.sent = end
            return response
        idle = 0 if kept > upload.sent else idle + 1
        if kept < upload.sent or idle > service.settings.retries:
            why = f"the service keeps {kept} bytes of the upload, after it had {upload.sent}"
            hint = "write the object again"
            raise error_at(StoreUnavailableError, uri.text, response.address, why, hint, status)
        rest = without_first(rest, kept - upload.sent)
        upload.sent = min(kept, end)


def _chunk_request(uri: URI, upload: Resumable, data: list[memoryview], end: int, total: int | None) -> Request:
    request = Request(uri.text, "PUT", uri.container, upload.path, upload.query, body=data, leave_last_connection=True)
    positions = f"{upload.sent}-{end - 1}" if data else "*"
    request.add("Content-Range", f"bytes {positions}/{'*' if total is None else total}")
    if total is not None:
        request.add("x-goog-hash", f"crc32c={crc32c_text(upload.checksum)}")
    return request


def _kept(response: Response) -> int:
    """Return how many bytes of the object the service has, as an answer of 308 tells it."""
    match = _KEPT_RANGE.fullmatch(response.head.headers.get("range", ""))
    return int(match[1]) + 1 if match else 0


def drop_request(uri: URI, upload: Resumable) -> Request:
    """Make the request that drops an upload."""
    return Request(uri.text, "DELETE", uri.container, upload.path, upload.query)
