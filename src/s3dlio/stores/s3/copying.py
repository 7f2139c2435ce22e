# SPDX-License-Identifier: Apache-2.0
"""Let S3 copy objects: CopyObject up to 5 GiB, UploadPartCopy beyond.

A copy in parts takes over the source's content type and metadata. Each part names the ETag that the source must still
have; since not every service heeds that (Ceph 16 does not), the source is looked at again before the copy is completed.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from s3dlio.auth.encoding import uri_encode
from s3dlio.errors import IntegrityError, S3dlioError, add_endpoint
from s3dlio.http.response import Response
from s3dlio.objects.documents import child_text, lacks
from s3dlio.runtime.group import Gather
from s3dlio.stores.cloud import CloudStore
from s3dlio.stores.s3 import multipart
from s3dlio.stores.s3.answers import error_of, parsed
from s3dlio.stores.s3.multipart import Upload, Uploaded
from s3dlio.stores.s3.requests import object_request
from s3dlio.stores.s3.service import STORED_AS, S3Service
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI

_COPY_AT_ONCE = 5 << 30  # bytes; larger objects have to be copied in parts
_COPY_PART = 512 << 20


async def copy(store: CloudStore[S3Service], source: URI, target: URI, size: int) -> bool:
    """Let the service copy an object; False if it cannot."""
    if source[:3] == target[:3]:
        return True  # S3 refuses to copy an object onto itself
    if size > _COPY_AT_ONCE:
        return await _copy_in_parts(store, source, target)
    request = object_request("PUT", target, headers=[_copied_from(source)])
    missing = partial(lacks, name="CopyObjectResult", fields=("ETag",))
    response = await send_for_proof(store.service(), request, missing, others=True)
    if response.head.status == 501:
        return False
    if response.head.status != 200:
        raise _refusal(store, response, source, target)
    return True


async def _copy_in_parts(store: CloudStore[S3Service], source: URI, target: URI) -> bool:
    service = store.service()
    found = await store.facts(source)
    size, etag = found["size"], found["etag"] or ""
    part = _COPY_PART
    while -(-size // part) > store.most_parts:
        part *= 2
    kept = [(f"x-amz-meta-{name}", value) for name, value in found["metadata"].items()]
    upload = await multipart.create(service, target, [("Content-Type", found["content_type"] or STORED_AS[1]), *kept])
    try:
        parts = [Uploaded("", "", None, 0)] * -(-size // part)

        async def copy_one(index: int) -> None:
            start, stop = index * part, min(size, (index + 1) * part)
            parts[index] = await _copy_part(store, source, target, upload, index + 1, start, stop, etag)

        await Gather(map(copy_one, range(len(parts))), service.settings.parts_in_flight)
        if (await store.facts(source))["etag"] != found["etag"]:
            raise _replaced(source, target)
        await multipart.complete(store, target, upload, parts, size, None)
    except BaseException:
        await store.drop_parts(target, upload)
        raise
    return True


async def _copy_part(
    store: CloudStore[S3Service],
    source: URI,
    target: URI,
    upload: Upload,
    number: int,
    start: int,
    stop: int,
    etag: str,
) -> Uploaded:
    """Send UploadPartCopy for the bytes [start, stop) of the source, if it still has the ETag."""
    headers = [
        _copied_from(source),
        ("x-amz-copy-source-range", f"bytes={start}-{stop - 1}"),
        ("x-amz-copy-source-if-match", f'"{etag}"'),
    ]
    query = [("partNumber", str(number)), ("uploadId", upload.id)]
    request = object_request("PUT", target, query, headers=headers)
    missing = partial(lacks, name="CopyPartResult", fields=("ETag",))
    response = await send_for_proof(store.service(), request, missing, others=True)
    if response.head.status == 412:
        error = _replaced(source, target)
        add_endpoint(error, response.address.url)
        raise error
    if response.head.status != 200:
        raise _refusal(store, response, source, target)
    return Uploaded(child_text(parsed(response, target.text), "ETag"), "", None, stop - start)


def _copied_from(source: URI) -> tuple[str, str]:
    return "x-amz-copy-source", f"/{quote(source.container, safe='')}/{uri_encode(source.key)}"


def _refusal(store: CloudStore[S3Service], response: Response, source: URI, target: URI) -> S3dlioError:
    about_source = error_of(response).code in ("NoSuchKey", "InvalidObjectState")
    return store.refusal(response, (source if about_source else target).text)


def _replaced(source: URI, target: URI) -> IntegrityError:
    return IntegrityError(
        f"{source.text} was replaced while it was copied to {target.text}; copy the object again", uri=source.text
    )
