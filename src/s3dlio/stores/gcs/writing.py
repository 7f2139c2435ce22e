# SPDX-License-Identifier: Apache-2.0
"""Write an object of Cloud Storage in one request (Objects: insert), compare what the service stored, and let the
service copy objects (Objects: rewrite)."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import Any

from s3dlio.errors import StoreUnavailableError
from s3dlio.http.response import Response
from s3dlio.memory.checksums import crc32c, crc32c_text
from s3dlio.objects.request import Request, send
from s3dlio.settings import MIB
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.gcs.answers import lacks_resource, lacks_step, parsed
from s3dlio.stores.gcs.service import GcsService, bucket_path, facts_request, object_path, query_of
from s3dlio.stores.pager import size_in
from s3dlio.stores.refusals import error_at
from s3dlio.stores.sending import expect, send_for_proof
from s3dlio.stores.stored import Stored, stored_other_bytes, verify_stored
from s3dlio.uri import URI

CONTENT_TYPE = "application/octet-stream"
STORED_STATUSES = (200, 201)

_STORED = "size,crc32c,generation"  # the fields of a resource that tell what is stored
_IDLE_STEPS = 10  # of a copy, one after the other, that may copy nothing


def upload_request(uri: URI, **query: str) -> Request:
    """Make a request that begins an upload by the JSON API, and whose result tells what is stored."""
    path = f"/upload{bucket_path(uri.container)}/o"
    return Request(uri.text, "POST", uri.container, path, query=query_of(**query, fields=_STORED))


async def put_whole(store: CloudStore[GcsService], uri: URI, data: list[memoryview]) -> None:
    """Send an object in one request, with its name and checksum before its bytes (RFC 2387)."""
    service = store.service()
    checksum = crc32c(data)
    boundary = secrets.token_hex(16)
    facts = {"name": uri.key, "contentType": CONTENT_TYPE, "crc32c": crc32c_text(checksum)}
    before = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(facts)}\r\n"
        f"--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
    )
    request = upload_request(uri, uploadType="multipart")
    request.add("Content-Type", f"multipart/related; boundary={boundary}")
    request.body = [memoryview(before.encode()), *data, memoryview(f"\r\n--{boundary}--\r\n".encode())]
    missing = partial(lacks_resource, uri=uri)
    response = await send_for_proof(service, request, missing, success=STORED_STATUSES, others=True)
    if response.head.status != 200:
        raise service.refusal(response, uri.text, of_bucket=True)
    await check_stored(store, uri, response, sum(map(len, data)), checksum)


async def check_stored(store: CloudStore[GcsService], uri: URI, response: Response, size: int, checksum: int) -> None:
    """Compare what the answer to an upload says is stored with what was sent. Delete an object that differs.

    Raises:
        IntegrityError: the service stored other bytes.
    """
    service = store.service()
    resource = parsed(response, uri.text)
    if _sent(size, checksum).matches(_stored(resource)):
        if service.settings.put_verify:
            await verify(store, uri, size, checksum)
        return
    generation = str(resource.get("generation"))
    then = ""
    if generation.isdecimal():
        then = ", and s3dlio asked it to delete them"
        query = query_of(generation=generation)
        await send(service, Request(uri.text, "DELETE", uri.container, object_path(uri), query))
    raise stored_other_bytes(uri.text, response.address, then)


async def verify(store: CloudStore[GcsService], uri: URI, size: int, checksum: int) -> None:
    """Look at an object once more, and raise IntegrityError if it is not what was written."""
    response = await expect(store.service(), facts_request(uri, _STORED), 200)
    verify_stored(uri.text, response.address, _sent(size, checksum), _stored(parsed(response, uri.text)))


async def is_stored(store: CloudStore[GcsService], uri: URI, size: int, checksum: int) -> bool:
    """Tell whether an object is stored although its upload no longer exists.

    The upload may have been completed by an earlier try whose answer was lost.
    """
    response = await send(store.service(), facts_request(uri, _STORED))
    if response.head.status != 200:
        return False
    return _sent(size, checksum).matches(_stored(parsed(response, uri.text))) is True


def _sent(size: int, checksum: int) -> Stored:
    return Stored(size, crc32c_text(checksum))


def _stored(resource: dict[str, Any]) -> Stored:
    """Put a resource into the form for comparison. A missing size differs from every size."""
    size = size_in(str(resource.get("size")))
    return Stored(-1 if size is None else size, resource.get("crc32c"))


async def copy(store: CloudStore[GcsService], source: URI, target: URI, size: int) -> bool:
    """Let the service copy an object, in as many steps as it needs. The service always can."""
    path = f"{object_path(source)}/rewriteTo{object_path(target).removeprefix('/storage/v1')}"
    query = {"fields": "done,rewriteToken,totalBytesRewritten"}
    idle, written = 0, 0
    # A step copies at least 1 MiB. If the service does not tell how far it is, that bounds the number of steps.
    while idle <= _IDLE_STEPS + (0 if written else size // MIB):
        request = Request(source.text, "POST", source.container, path, query=query_of(**query))
        response = await send_for_proof(store.service(), request, lacks_step)
        answer = parsed(response, source.text)
        if answer.get("done"):
            return True
        query["rewriteToken"] = str(answer["rewriteToken"])
        now = str(answer.get("totalBytesRewritten", ""))
        idle = 0 if now.isdecimal() and len(now) < 20 and int(now) > written else idle + 1
        written = written if idle else int(now)
    why = f"the copy to {target.text} makes no progress after {written} of {size} bytes"
    raise error_at(StoreUnavailableError, source.text, response.address, why, "try again later")
