# SPDX-License-Identifier: Apache-2.0
"""Write an S3 object in parts: CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload.

Completing an upload is the delicate step. The answer may be 200 with an error inside, since S3 begins to answer before
it knows the outcome; and it may be 404 because an earlier try succeeded and its answer was lost. Then the object that
is stored has to prove that it is this upload, by its checksum or by the ETag that its parts make.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import NamedTuple

from s3dlio.errors import S3dlioError
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.checksums import crc32c, crc32c_joined, crc32c_text
from s3dlio.objects.documents import child_text, lacks
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.refusals import error_at
from s3dlio.stores.s3.answers import NAMESPACE, error_of, parsed
from s3dlio.stores.s3.requests import escaped, head_object, object_request
from s3dlio.stores.s3.service import CHECKSUM, STORED_AS, S3Service
from s3dlio.stores.s3.writing import MD5_ETAG, check_answer, is_encrypted, verify
from s3dlio.stores.sending import lacks_etag, send_for_proof, send_or_warn
from s3dlio.stores.stored import Stored, check_stored
from s3dlio.uri import URI

_ASK_FOR_CRC32C = (("x-amz-checksum-algorithm", "CRC32C"), ("x-amz-checksum-type", "FULL_OBJECT"))


class Upload(NamedTuple):
    """A multipart upload.

    Attributes:
        id: names it.
        whole: whether the service keeps one checksum of the whole object, instead of one of the parts' checksums.
    """

    id: str
    whole: bool


class Uploaded(NamedTuple):
    """What completing an upload needs to know of a part.

    Attributes:
        etag: as the service gave it.
        confirmed: the checksum that the service has confirmed, "" if it did not.
        crc32c: of the part; None if the service copied it.
        size: bytes.
    """

    etag: str
    confirmed: str
    crc32c: int | None
    size: int


async def begin_parts(store: CloudStore[S3Service], uri: URI) -> Upload:
    """Begin an upload whose parts carry a CRC32C."""
    return await create(store.service(), uri, [STORED_AS, *_ASK_FOR_CRC32C])


async def create(service: S3Service, uri: URI, headers: list[tuple[str, str]]) -> Upload:
    """Send CreateMultipartUpload."""
    request = object_request("POST", uri, [("uploads", "")], headers=headers)
    request.finish_before_stop = True
    # One try: an answer without the id may have begun an upload already, which could never be aborted.
    missing = partial(lacks, name="InitiateMultipartUploadResult", fields=("UploadId",))
    response = await send_for_proof(service, request, missing, tries=1)
    upload = child_text(parsed(response, uri.text), "UploadId")
    return Upload(upload, response.head.headers.get("x-amz-checksum-type") == "FULL_OBJECT")


async def put_part(
    store: CloudStore[S3Service], uri: URI, upload: Upload, number: int, data: list[memoryview]
) -> Uploaded:
    """Send UploadPart."""
    service = store.service()
    value = crc32c(data)
    checksum = crc32c_text(value)
    query = [("partNumber", str(number)), ("uploadId", upload.id)]
    request = object_request("PUT", uri, query, headers=[(CHECKSUM, checksum)], body=data)
    request.leave_last_connection = True
    response = await send_for_proof(service, request, lacks_etag)
    check_answer(service, uri, response.head, response.address, checksum, data)
    headers = response.head.headers
    return Uploaded(headers.get("etag", ""), headers.get(CHECKSUM, ""), value, sum(map(len, data)))


async def finish_parts(
    store: CloudStore[S3Service], uri: URI, upload: Upload, parts: list[Uploaded], size: int
) -> None:
    """Make the parts one object, and look at it once more if the settings say so."""
    checksum = _crc32c_of_parts(parts) if upload.whole else None
    etag = await complete(store, uri, upload, parts, size, checksum)
    if store.service().settings.put_verify:
        await verify(store, uri, size, etag, checksum)


async def complete(
    store: CloudStore[S3Service], uri: URI, upload: Upload, parts: list[Uploaded], size: int, checksum: str | None
) -> str:
    """Send CompleteMultipartUpload, and return the ETag of the object.

    The service checks the CRC32C of the whole object, unless `checksum` is None.
    """
    service = store.service()
    headers = [("Content-Type", "application/xml"), ("x-amz-mp-object-size", str(size))]
    if checksum is not None:
        headers += [(CHECKSUM, checksum), ("x-amz-checksum-type", "FULL_OBJECT")]
    body = [memoryview(_document(parts))]
    request = object_request("POST", uri, [("uploadId", upload.id)], headers=headers, body=body)
    response = await send_for_proof(service, request, partial(lacks, name="CompleteMultipartUploadResult"), others=True)
    if response.head.status == 200:
        result = parsed(response, uri.text)
        stored = Stored(checksum=child_text(result, "ChecksumCRC32C") or None)
        check_stored(uri.text, response.address, Stored(checksum=checksum), stored)
        return child_text(result, "ETag")
    if response.head.status == 404 and error_of(response).code == "NoSuchUpload":
        return await _completed_before(store, uri, parts, size, response)
    raise service.refusal(response, uri.text)


def _document(parts: list[Uploaded]) -> bytes:
    """Write the body of CompleteMultipartUpload."""
    lines = []
    for number, part in enumerate(parts, 1):
        confirmed = f"<ChecksumCRC32C>{part.confirmed}</ChecksumCRC32C>" if part.confirmed else ""
        lines.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{escaped(part.etag)}</ETag>{confirmed}</Part>")
    return f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{"".join(lines)}</CompleteMultipartUpload>'.encode()


async def _completed_before(
    store: CloudStore[S3Service], uri: URI, parts: list[Uploaded], size: int, response: Response
) -> str:
    """Return the ETag of the object if it is this upload, which no longer exists: the answer was 404 NoSuchUpload.

    Raises:
        ObjectNotFoundError: another object is stored, or none.
        S3dlioError: the object that is stored has the right size, but does not tell more.
    """
    answer = await head_object(store.service(), uri)
    match: bool | None = False
    if answer.head.status == 200:
        stored, sent = _comparable(answer.head, await store.size_of(uri, answer), parts, size)
        match = sent.matches(stored)
        if match is False and sent.size == stored.size and not stored.checksum and is_encrypted(answer.head):
            match = None  # the ETag of an encrypted object may be any
    if match:
        return answer.head.headers.get("etag", "")
    if match is None:
        raise error_at(
            S3dlioError,
            uri.text,
            response.address,
            "404 NoSuchUpload when the upload was completed: the answer to an earlier attempt may have been lost. An"
            " object of the same size is stored, but neither a checksum nor its ETag tells whether it is this upload,"
            " so the outcome is not known",
            "compare the object's content, or write the object again",
            404,
        )
    raise store.refusal(response, uri.text)


def _comparable(head: ResponseHead, stored_size: int, parts: list[Uploaded], size: int) -> tuple[Stored, Stored]:
    """Describe a stored object, by the answer to a HEAD, and the object that parts make, in the same terms.

    A CRC32C tells most, be it the whole object's or the one of the parts' checksums (composite). Without one, the ETag
    counts that S3 makes of the parts' ETags.
    """
    kept, number = head.headers.get(CHECKSUM, "").partition("-")[::2]
    if kept and all(part.crc32c is not None for part in parts):
        if not number and head.headers.get("x-amz-checksum-type") != "COMPOSITE":
            return Stored(stored_size, kept), Stored(size, _crc32c_of_parts(parts))
        composite = f"{_crc32c_of_checksums(parts)}-{len(parts)}"
        return Stored(stored_size, f"{kept}-{number or len(parts)}"), Stored(size, composite)
    etag = head.headers.get("etag", "").strip('"')
    return Stored(stored_size, etag=etag or None), Stored(size, etag=_etag_of_parts(parts) or None)


async def drop_parts(store: CloudStore[S3Service], uri: URI, upload: Upload) -> None:
    """Send AbortMultipartUpload. A failure is only logged."""
    request = object_request("DELETE", uri, [("uploadId", upload.id)])
    warning = f"cannot drop the parts of {uri.text}; a lifecycle rule of the bucket can"
    await send_or_warn(store.service(), request, (200, 204, 404), warning)


def _etag_of_parts(parts: list[Uploaded]) -> str:
    """Compute the ETag of the object that parts make; "" if the parts' ETags are not MD5 sums."""
    etags = [part.etag.strip('"') for part in parts]
    if not all(map(MD5_ETAG.fullmatch, etags)):
        return ""
    return f"{hashlib.md5(bytes.fromhex(''.join(etags)), usedforsecurity=False).hexdigest()}-{len(etags)}"


def _crc32c_of_parts(parts: list[Uploaded]) -> str:
    """Compute the CRC32C of the object that parts make."""
    value = 0
    for part in parts:
        assert part.crc32c is not None
        value = crc32c_joined(value, part.crc32c, part.size)
    return crc32c_text(value)


def _crc32c_of_checksums(parts: list[Uploaded]) -> str:
    """Compute the CRC32C of the parts' CRC32Cs, one after the other, which S3 calls composite."""
    checksums = b"".join((part.crc32c or 0).to_bytes(4, "big") for part in parts)
    return crc32c_text(crc32c([memoryview(checksums)]))
