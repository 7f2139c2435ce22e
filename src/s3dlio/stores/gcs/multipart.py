# SPDX-License-Identifier: Apache-2.0
"""Write an object of Cloud Storage in parts: by the XML API's multipart upload, or else by a resumable upload.

The multipart upload is the only way to send parts side by side that leaves nothing visible before the end (`compose`
needs temporary objects). The emulators do not have it.

Sources: Cloud Storage, XML API, "Initiate a multipart upload", "Upload a part", "Complete a multipart upload", "Abort a
multipart upload".
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from s3dlio.memory.checksums import crc32c, crc32c_joined, crc32c_text
from s3dlio.objects import documents
from s3dlio.objects.request import Request, send
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.gcs import resumable
from s3dlio.stores.gcs.answers import child_text, hashes
from s3dlio.stores.gcs.resumable import Resumable
from s3dlio.stores.gcs.service import GcsService, encoded, query_of
from s3dlio.stores.gcs.writing import CONTENT_TYPE, is_stored, verify
from s3dlio.stores.sending import lacks_etag, send_for_proof, send_or_warn
from s3dlio.stores.stored import Stored, check_stored
from s3dlio.uri import URI

_NOT_IMPLEMENTED = frozenset({400, 404, 405, 501})  # without an error of the XML API, whose code they then lack
# 499 is the answer to a resumable upload that was canceled; 404 and 410 say that the upload no longer exists.
_DROPPED = (200, 204, 404, 410, 499)


class Uploaded(NamedTuple):
    """What completing a multipart upload needs to know of a part.

    Attributes:
        etag: as the service gave it.
        checksum: the CRC32C of the part.
        size: bytes.
    """

    etag: str
    checksum: int
    size: int


async def begin_parts(store: CloudStore[GcsService], uri: URI) -> str | Resumable:
    """Begin a multipart upload, and return its id; or a resumable one if the service has no multipart uploads."""
    service = store.service()
    if service.has_multipart:
        upload = await _begin(service, uri)
        if upload is not None:
            return upload
        service.has_multipart = False
    return await resumable.begin(service, uri)


async def put_part(
    store: CloudStore[GcsService], uri: URI, upload: str | Resumable, number: int, data: list[memoryview]
) -> Uploaded | None:
    if isinstance(upload, str):
        return await _put_part(store.service(), uri, upload, number, data)
    await resumable.put_part(store.service(), uri, upload, data)
    return None


async def finish_parts(
    store: CloudStore[GcsService], uri: URI, upload: str | Resumable, parts: list[Any], size: int
) -> None:
    """Make the parts one object."""
    if isinstance(upload, str):
        await _complete(store, uri, upload, parts, size)
    else:
        await resumable.finish(store, uri, upload, size)


async def drop_parts(store: CloudStore[GcsService], uri: URI, upload: str | Resumable) -> None:
    """Drop an upload. A failure is only logged: uploads expire by themselves."""
    if isinstance(upload, str):
        request = _request("DELETE", uri, uploadId=upload)
    else:
        request = resumable.drop_request(uri, upload)
    await send_or_warn(
        store.service(), request, _DROPPED, f"cannot drop the upload of {uri.text}, which expires by itself"
    )


async def _begin(service: GcsService, uri: URI) -> str | None:
    """Begin a multipart upload, and return its id; None if the service does not implement them."""
    request = _request("POST", uri, uploads="")
    request.finish_before_stop = True
    request.add("Content-Type", CONTENT_TYPE)
    response = await send(service, request)
    if response.head.status == 200:
        upload = child_text(response, "UploadId")
        if upload and not documents.lacks(response, "InitiateMultipartUploadResult"):
            return upload
        raise service.refusals.unproven(response, uri.text, "UploadId")
    if response.head.status in _NOT_IMPLEMENTED and not child_text(response, "Code"):
        return None
    raise service.refusal(response, uri.text)


async def _put_part(service: GcsService, uri: URI, upload: str, number: int, data: list[memoryview]) -> Uploaded:
    checksum = crc32c(data)
    text = crc32c_text(checksum)
    request = _request("PUT", uri, partNumber=str(number), uploadId=upload)
    request.add("x-goog-hash", f"crc32c={text}")
    request.body, request.leave_last_connection = data, True
    response = await send_for_proof(service, request, lacks_etag)
    told = Stored(checksum=hashes(response.head).get("crc32c"))
    check_stored(uri.text, response.address, Stored(checksum=text), told)
    return Uploaded(response.head.headers.get("etag", ""), checksum, sum(map(len, data)))


async def _complete(store: CloudStore[GcsService], uri: URI, upload: str, parts: list[Uploaded], size: int) -> None:
    """Make the parts one object. The answer may be 200 with an error inside, or 404 after an earlier try."""
    service = store.service()
    root = ET.Element("CompleteMultipartUpload")
    checksum = 0
    for number, part in enumerate(parts, 1):
        element = ET.SubElement(root, "Part")
        ET.SubElement(element, "PartNumber").text = str(number)
        ET.SubElement(element, "ETag").text = part.etag
        checksum = crc32c_joined(checksum, part.checksum, part.size)
    request = _request("POST", uri, uploadId=upload)
    request.add("Content-Type", "application/xml")
    request.body = [memoryview(ET.tostring(root))]
    missing = partial(documents.lacks, name="CompleteMultipartUploadResult")
    response = await send_for_proof(service, request, missing, others=True)
    if response.head.status == 404 and child_text(response, "Code") == "NoSuchUpload":
        if not await is_stored(store, uri, size, checksum):
            raise service.refusal(response, uri.text)
        return
    if response.head.status != 200:
        raise service.refusal(response, uri.text)
    sent = hashes(response.head).get("crc32c")
    if service.settings.put_verify or (sent is not None and sent != crc32c_text(checksum)):
        await verify(store, uri, size, checksum)


def _request(method: str, uri: URI, **query: str) -> Request:
    path = f"/{encoded(uri.container)}/{encoded(uri.key)}"
    return Request(uri.text, method, uri.container, path, query=query_of(**query))
