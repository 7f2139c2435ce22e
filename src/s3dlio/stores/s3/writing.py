# SPDX-License-Identifier: Apache-2.0
"""Write an S3 object in one request (PutObject), and compare what the service stored.

Every upload carries its CRC32C, which the service checks, and most services confirm it in their answer. The ETag of a
service that does not is compared if it is the MD5 of the content.
"""

from __future__ import annotations

import re
from functools import partial

from s3dlio.auth.encoding import uri_encode
from s3dlio.http.address import Address
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.checksums import crc32c, crc32c_text, md5_hex
from s3dlio.objects.request import FirstTry, Request, send
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.s3.answers import lacks_proof
from s3dlio.stores.s3.requests import head_object
from s3dlio.stores.s3.service import CHECKSUM, STORED_AS, S3Service
from s3dlio.stores.sending import send_for_proof
from s3dlio.stores.stored import Stored, check_stored, verify_stored
from s3dlio.uri import URI

MD5_ETAG = re.compile(r"[0-9a-f]{32}")


async def put_whole(store: CloudStore[S3Service], uri: URI, data: list[memoryview], first: FirstTry = send) -> None:
    """Write an object in one request, which `first` sends the first time."""
    service = store.service()
    checksum = crc32c_text(crc32c(data))
    headers = (STORED_AS, (CHECKSUM, checksum))
    request = Request(uri.text, "PUT", uri.container, uri_encode(uri.key), headers=headers, body=data)

    def is_ours(answer: Response) -> bool:
        sent = answer.head.headers
        return sent.get(CHECKSUM) == checksum or sent.get("etag", "").strip('"').lower() == md5_hex(data)

    missing = partial(lacks_proof, is_ours=is_ours)
    response = await send_for_proof(service, request, missing, first=first)
    check_answer(service, uri, response.head, response.address, checksum, data)
    if service.settings.put_verify:
        await verify(store, uri, sum(map(len, data)), response.head.headers.get("etag", ""), checksum)


def check_answer(
    service: S3Service, uri: URI, head: ResponseHead, address: Address, checksum: str, data: list[memoryview]
) -> None:
    """Raise IntegrityError if the answer to PutObject or UploadPart says that other bytes were stored than `data`."""
    confirmed = head.headers.get(CHECKSUM)
    if confirmed == checksum:
        return  # nearly every answer; the comparison below would cost a small write 5 % more instructions
    if confirmed is not None:
        check_stored(uri.text, address, Stored(checksum=checksum), Stored(checksum=confirmed))
        return
    etag = head.headers.get("etag", "").strip('"').lower()
    if service.settings.put_etag and MD5_ETAG.fullmatch(etag) is not None and not is_encrypted(head):
        check_stored(uri.text, address, Stored(etag=md5_hex(data)), Stored(etag=etag))


async def verify(store: CloudStore[S3Service], uri: URI, size: int, etag: str, checksum: str | None) -> None:
    """Look at an object once more, and raise IntegrityError if it is not what was written.

    The ETag is the one in the answer to the write, "" without one. The checksum is None if the CRC32C of the whole
    object is not known.
    """
    answer = await head_object(store.service(), uri)
    if answer.head.status != 200:
        raise store.refusal(answer, uri.text)
    headers = answer.head.headers
    kept = headers.get(CHECKSUM, "-")
    stored = Stored(
        await store.size_of(uri, answer),
        None if "-" in kept else kept,  # with a "-" it is one of the parts' checksums
        headers.get("etag", "").strip('"') or None,
    )
    # Some services name neither a checksum nor an ETag.
    verify_stored(uri.text, answer.address, Stored(size, checksum, etag.strip('"') or None), stored, prove=False)


def is_encrypted(head: ResponseHead) -> bool:
    """Tell whether the ETag may differ from the MD5 because the service encrypts what it stores."""
    return any(name.startswith("x-amz-server-side-encryption") for name in head.headers)
