# SPDX-License-Identifier: Apache-2.0
"""s3:// — Amazon S3, and everything that speaks its REST API: MinIO, Ceph, SeaweedFS and others.

This module knows the requests. Where they go and how they are signed is `s3_service`'s, what refusals mean
`s3_answers`'s, how large objects go in parts `cloud`'s. One section per group of verbs.

Source: Amazon S3 API Reference, https://docs.aws.amazon.com/AmazonS3/latest/API/; each request names its page.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import random
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from s3dlio import settings as settings_module
from s3dlio.auth.encoding import canonical_query, uri_encode
from s3dlio.errors import IntegrityError, PermissionDeniedError, S3dlioError
from s3dlio.http.address import Address
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.log import logger
from s3dlio.memory.checksums import (
    Expected,
    ExpectedCrc32,
    ExpectedCrc32c,
    ExpectedCrc64,
    crc32c,
    crc32c_joined,
    crc32c_text,
    md5_hex,
)
from s3dlio.objects import documents
from s3dlio.objects.batched import BatchedRequest, WriteDone
from s3dlio.objects.batched_put import SMALL, Write
from s3dlio.objects.request import FirstTry, Request, send
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.sleep import Sleep
from s3dlio.stores.cloud import CloudStore, facts_of
from s3dlio.stores.listed import Listing
from s3dlio.stores.s3.answers import (
    NAMESPACE,
    TRANSIENT_CODES,
    child_text,
    children,
    error_of,
    is_foreign,
    lacks,
    lacks_etag,
    lacks_proof,
    parsed,
    refusal,
    region_of,
    unproven,
)
from s3dlio.stores.s3.listing import Page, read_page
from s3dlio.stores.s3.service import CHECKED_READ, CHECKSUM, STORED_AS, S3Service
from s3dlio.types import ObjectInfo, SizedName
from s3dlio.uri import URI

_DELETE_AT_ONCE = 1000
_DELETES_AT_A_TIME = 32  # where there is no DeleteObjects
_NOT_IMPLEMENTED = frozenset({"NotImplemented", "MethodNotAllowed"})
_TRIES_WITHOUT_PROOF = 3  # of a request that is answered by something else than a result
_COPY_AT_ONCE = 5 << 30  # bytes; more has to be copied in parts
_COPY_PART = 512 << 20
# Not by xml.sax.saxutils, which imports urllib.request: 13 ms of every program's first call.
_XML_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MD5_ETAG = re.compile(r"[0-9a-f]{32}")
_ACTUAL_SIZE = re.compile(rb"<ActualObjectSize>([0-9]{1,19})</ActualObjectSize>")  # in the error InvalidRange
_MOST_ERROR_TEXT = 65536  # bytes
# What clients of s3dlio upload has a CRC32C; what the vendor's own upload a CRC-32 or, where nobody said, a CRC-64.
# SHA-1 and SHA-256 would take longer than the transfer.
_CHECKED: tuple[tuple[str, Callable[[str], Expected]], ...] = (
    (CHECKSUM, ExpectedCrc32c),
    ("x-amz-checksum-crc32", ExpectedCrc32),
    ("x-amz-checksum-crc64nvme", ExpectedCrc64),
)


class Upload(NamedTuple):
    """A multipart upload.

    Attributes:
        id: names it.
        whole: the server keeps one checksum of the object as a whole, not one of the parts' checksums.
    """

    id: str
    whole: bool


class Uploaded(NamedTuple):
    """What finishing a multipart upload needs of a part.

    Attributes:
        etag: as the server gave it.
        confirmed: the checksum that the server has confirmed, "" if it did not.
        crc32c: of the part; None where the server copied it.
        size: bytes.
    """

    etag: str
    confirmed: str
    crc32c: int | None
    size: int


class S3Store(CloudStore[S3Service]):
    """s3://"""

    service_class = S3Service
    most_parts = 10_000

    # Reading (GetObject)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        headers = CHECKED_READ if settings_module.current().verify_get else ()
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
                # A checksum of checksums, which ends in the number of parts, is not the body's; with a range that is
                # just a part, S3 sends the checksum of that part.
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

    async def stat(self, uri: URI) -> ObjectInfo:
        """HeadObject."""
        self.require_key(uri)
        response = await self._head(uri)
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
                response,
                size,
                "x-amz-meta-",
                checksums=checksums,
                storage_class=headers.get("x-amz-storage-class"),
                version=headers.get("x-amz-version-id"),
            )

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await self._head(uri)
        if response.head.status == 200:
            return True
        if response.head.status == 404:
            return False
        raise self.refusal(response, uri.text)

    async def _head(self, uri: URI) -> Response:
        request = Request(uri.text, "HEAD", uri.container, uri_encode(uri.key), headers=CHECKED_READ)
        response = await send(self.service(), request)
        if response.head.status in (301, 400) and not region_of(response):
            # There is no body to tell the region. Asked for the bucket itself, AWS tells it in the head (HeadBucket).
            bucket = await send(self.service(), Request(uri.text, "HEAD", uri.container))
            if region_of(bucket):
                response = await send(self.service(), request)
        if response.head.status == 400:
            # The answer to a HEAD has no body, so no reason. A GET of one byte is refused with the reason.
            reason = await send(
                self.service(),
                dataclasses.replace(request, method="GET", headers=(*CHECKED_READ, ("Range", "bytes=0-0"))),
            )
            response = reason if reason.head.status >= 400 else response
        return response

    # Writing (PutObject and multipart upload)...

    async def put_whole(self, uri: URI, data: list[memoryview], first: FirstTry = send) -> None:
        checksum = crc32c_text(crc32c(data))
        headers = (STORED_AS, (CHECKSUM, checksum))
        request = Request(uri.text, "PUT", uri.container, uri_encode(uri.key), headers=headers, body=data)

        def is_ours(answer: Response) -> bool:
            sent = answer.head.headers
            return sent.get(CHECKSUM) == checksum or sent.get("etag", "").strip('"').lower() == md5_hex(data)

        response = await self._send_for_proof(request, partial(lacks_proof, is_ours=is_ours), first=first)
        self._compare_stored(uri, response.head, response.address, checksum, data)
        if self.service().settings.put_verify:
            await self._verify(uri, sum(map(len, data)), response.head.headers.get("etag", ""), checksum)

    def batched_put(self, uri: URI, data: memoryview, done: WriteDone) -> BatchedRequest | Operation[None]:
        settings = settings_module.current()
        if len(data) > min(SMALL, settings.multipart_threshold_mb * settings_module.MIB) or not uri.key:
            return super().batched_put(uri, data, done)
        if settings.put_verify or settings.s3_sign_payload:
            return super().batched_put(uri, data, done)
        return Write(self, uri, data, done)

    def checksum_of(self, data: memoryview) -> str:
        """The checksum of an object as it is sent."""
        return crc32c_text(crc32c([data]))

    def check_stored(self, uri: URI, head: ResponseHead, address: Address, checksum: str, data: memoryview) -> None:
        """Raise IntegrityError if the answer says that other bytes were stored."""
        self._compare_stored(uri, head, address, checksum, [data])

    async def begin_parts(self, uri: URI) -> Upload:
        """CreateMultipartUpload."""
        wanted = [("x-amz-checksum-algorithm", "CRC32C"), ("x-amz-checksum-type", "FULL_OBJECT")]
        return await self._begin(uri, [STORED_AS, *wanted])

    async def _begin(self, uri: URI, headers: list[tuple[str, str]]) -> Upload:
        request = self._request("POST", uri, [("uploads", "")], headers=headers)
        request.finish_before_stop = True
        # Not asked again without need: there may be an upload already, which nobody could abort.
        result = partial(lacks, name="InitiateMultipartUploadResult", fields=("UploadId",))
        response = await self._send_for_proof(request, result, tries=1)
        upload = child_text(parsed(response, uri.text), "UploadId")
        return Upload(upload, response.head.headers.get("x-amz-checksum-type") == "FULL_OBJECT")

    async def put_part(self, uri: URI, upload: Upload, number: int, data: list[memoryview]) -> Uploaded:
        """UploadPart."""
        value = crc32c(data)
        checksum = crc32c_text(value)
        request = self._request("PUT", uri, [("partNumber", str(number)), ("uploadId", upload.id)])
        request.add(CHECKSUM, checksum)
        request.body, request.leave_last_connection = data, True
        response = await self._send_for_proof(request, lacks_etag)
        self._compare_stored(uri, response.head, response.address, checksum, data)
        headers = response.head.headers
        return Uploaded(headers.get("etag", ""), headers.get(CHECKSUM, ""), value, sum(map(len, data)))

    async def finish_parts(self, uri: URI, upload: Upload, parts: list[Uploaded], size: int) -> None:
        """CompleteMultipartUpload."""
        checksum = _crc32c_of_parts(parts) if upload.whole else None
        etag = await self._complete(uri, upload, parts, size, checksum)
        if self.service().settings.put_verify:
            await self._verify(uri, size, etag, checksum)

    async def _complete(self, uri: URI, upload: Upload, parts: list[Uploaded], size: int, checksum: str | None) -> str:
        """Complete an upload and return the object's ETag.

        The answer may be 200 and an error all the same, or 404 because an earlier try has succeeded. Then what is
        stored has to prove that it is this upload.
        """
        lines = []
        for number, part in enumerate(parts, 1):
            confirmed = f"<ChecksumCRC32C>{part.confirmed}</ChecksumCRC32C>" if part.confirmed else ""
            lines.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{_escaped(part.etag)}</ETag>{confirmed}</Part>")
        body = f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{"".join(lines)}</CompleteMultipartUpload>'.encode()
        headers = [("Content-Type", "application/xml"), ("x-amz-mp-object-size", str(size))]
        if checksum is not None:
            headers += [(CHECKSUM, checksum), ("x-amz-checksum-type", "FULL_OBJECT")]
        request = self._request("POST", uri, [("uploadId", upload.id)], headers=headers, body=[memoryview(body)])
        response = await self._send_for_proof(
            request, partial(lacks, name="CompleteMultipartUploadResult"), others=True
        )
        if response.head.status == 200:
            result = parsed(response, uri.text)
            stored_checksum = child_text(result, "ChecksumCRC32C")
            if checksum is not None and stored_checksum not in ("", checksum):
                raise self._stored_wrong(uri, response.address)
            return child_text(result, "ETag")
        if response.head.status == 404 and error_of(response).code == "NoSuchUpload":
            stored = await self._head(uri)
            is_ours: bool | None = False
            if stored.head.status == 200 and await self.size_of(uri, stored) == size:
                is_ours = _is_of_parts(stored.head, parts)
            if is_ours:
                return stored.head.headers.get("etag", "")
            if is_ours is None:
                raise S3dlioError(
                    f"{uri.text} at {response.address.url}: 404 NoSuchUpload when the upload was completed:"
                    " the answer to an earlier try may have been lost. An object of the same size is stored, but"
                    " neither a checksum nor its ETag tells whether it is this upload, so the outcome is not known;"
                    " compare the object's content, or write it again",
                    uri=uri.text,
                    endpoint=response.address.url,
                    status=404,
                )
        raise self.refusal(response, uri.text)

    async def drop_parts(self, uri: URI, upload: Upload) -> None:
        """AbortMultipartUpload."""
        try:
            response = await send(self.service(), self._request("DELETE", uri, [("uploadId", upload.id)]))
        except S3dlioError as error:
            logger.warning("the parts of %s could not be dropped (a lifecycle rule can): %s", uri.text, error)
        else:
            if response.head.status not in (200, 204, 404):
                logger.warning("the parts of %s could not be dropped: %s", uri.text, self.refusal(response, uri.text))

    def _compare_stored(
        self, uri: URI, head: ResponseHead, address: Address, checksum: str, data: list[memoryview]
    ) -> None:
        """Compare what the server says it stored with what was sent."""
        headers = head.headers
        confirmed = headers.get(CHECKSUM)
        if confirmed is not None:
            right = confirmed == checksum
        else:
            etag = headers.get("etag", "").strip('"').lower()
            is_md5 = _MD5_ETAG.fullmatch(etag) is not None and not _is_encrypted(head)
            if not is_md5 or not self.service().settings.put_etag:
                return
            right = md5_hex(data) == etag
        if not right:
            raise self._stored_wrong(uri, address)

    def _stored_wrong(self, uri: URI, address: Address) -> IntegrityError:
        return IntegrityError(
            f"{uri.text} at {address.url}: the server stored other bytes than were sent; write it again,"
            " and check the network and the server",
            uri=uri.text,
            endpoint=address.url,
        )

    async def _verify(self, uri: URI, size: int, etag: str, checksum: str | None) -> None:
        """Ask for what is stored, and compare."""
        stored = await self._head(uri)
        if stored.head.status != 200:
            raise self.refusal(stored, uri.text)
        kept = stored.head.headers.get(CHECKSUM, "-")  # a "-": of the parts' checksums, or none
        wrong_checksum = checksum is not None and "-" not in kept and kept != checksum
        stored_size = await self.size_of(uri, stored)
        if stored_size != size or wrong_checksum or not _same_etag(stored.head, etag):
            raise IntegrityError(
                f"{uri.text} at {stored.address.url}: {size} bytes were written, and {stored_size} bytes with"
                " another checksum or ETag are stored; somebody else may be writing the same object",
                uri=uri.text,
                endpoint=stored.address.url,
            )

    async def _send_for_proof(
        self,
        request: Request,
        missing: Callable[[Response], str],
        *,
        tries: int = _TRIES_WITHOUT_PROOF,
        first: FirstTry = send,
        others: bool = False,
    ) -> Response:
        """Send a request that changes something, again while an answer of 200 proves nothing.

        Args:
            missing: says what an answer of 200 lacks to prove that the request was carried out; "" for nothing.
            tries: how often at most it is sent while the answers prove nothing.
            request: see `send`.
            first: sends the request the first time.
            others: whether answers of other statuses than 200 are returned; otherwise they are errors.

        Returns:
            An answer that proves it, or one of another status.

        Raises:
            S3dlioError: another status, unless it is returned; or answers of status 200 with an error inside that does
                not pass, or without a proof.
        """
        unproven_tries = error_tries = 0
        while True:
            response = await first(self.service(), request)
            first = send
            if response.head.status != 200:
                if others:
                    return response
                raise self.refusal(response, request.uri)
            error = error_of(response)
            if error.code:
                error_tries += 1
                if error.code not in TRANSIENT_CODES or error_tries > self.service().settings.retries:
                    raise self.refusal(response, request.uri)
            else:
                what = missing(response)
                if not what:
                    return response
                unproven_tries += 1
                if unproven_tries >= min(tries, self.service().settings.retries + 1):
                    raise unproven(response, request.uri, what)
            await Sleep(_wait(unproven_tries + error_tries))

    # Listing (ListObjectsV2)...

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self._list(listing):
            below = listing.children(page.keys, page.prefixes)
            if below:
                yield below

    async def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self._list(listing, with_sizes=True):
            if below := listing.entries(page.keys, page.sizes, page.prefixes):
                yield below

    async def is_prefix(self, uri: URI) -> bool:
        pages = self._list(Listing(uri, ""), most=1)
        try:
            async for page in pages:  # a page may be empty and others follow
                if page.keys:
                    return True
            return False
        finally:
            await pages.aclose()

    async def _list(self, listing: Listing, most: int = 1000, with_sizes: bool = False) -> AsyncGenerator[Page, None]:
        """The pages of a listing, each of them checked."""
        uri = listing.uri
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(most)), ("prefix", uri.folder_key)]
        if listing.delimiter:
            query.append(("delimiter", listing.delimiter))
        token = ""
        while True:
            more = [("continuation-token", token)] if token else []
            request = Request(uri.text, "GET", uri.container, query=canonical_query([*query, *more]))
            response = await self._expect_no_error(request)
            page = read_page(response, uri.text, with_sizes)
            listing.check(page.keys, page.prefixes, response.address.url)
            yield page
            if not page.more:
                return
            token = listing.following(page.token, response.address.url)

    async def _expect_no_error(self, request: Request) -> Response:
        """A page of a listing; the request is sent again while an error inside an answer of 200 may pass."""
        tries = 0
        while True:
            response = await self._expect(request, 200)
            # Only where another document has come, it is searched for an error.
            code = "" if b"<ListBucketResult" in bytes(response.body[:512]) else error_of(response).code
            if not code:
                return response
            tries += 1
            if code not in TRANSIENT_CODES or tries > self.service().settings.retries:
                raise self.refusal(response, request.uri)
            await Sleep(_wait(tries))

    # Deleting (DeleteObject, DeleteObjects)...

    async def delete(self, uri: URI) -> None:
        self.require_key(uri)
        response = await send(self.service(), Request(uri.text, "DELETE", uri.container, uri_encode(uri.key)))
        code = error_of(response).code
        if (response.head.status not in (200, 204) or code) and code != "NoSuchKey":
            raise self.refusal(response, uri.text)
        if not code and is_foreign(response, "Delete"):
            raise unproven(response, uri.text, "form of an answer to DeleteObject")

    async def delete_prefix(self, uri: URI) -> None:
        """Delete page by page. A page whose names cannot be trusted is an error before anything of it is deleted."""
        async for page in self._list(Listing(uri, "")):
            # What XML cannot hold has to go one by one.
            await self._delete_singly(uri, [key for key in page.keys if _NOT_XML.search(key)])
            keys = [key for key in page.keys if not _NOT_XML.search(key)]
            for start in range(0, len(keys), _DELETE_AT_ONCE):
                await self._delete_keys(uri, keys[start : start + _DELETE_AT_ONCE])

    async def _delete_singly(self, uri: URI, keys: list[str]) -> None:
        await Gather((self.delete(uri.with_key(key)) for key in keys), _DELETES_AT_A_TIME)

    async def _delete_keys(self, uri: URI, keys: list[str]) -> None:
        """Delete up to 1,000 keys at once: by DeleteObjects, or one by one where the service has none.

        DeleteObjects answers 200 and reports errors key by key. It is asked to be quiet about what it has deleted, so a
        DeleteResult without an error is the proof for all keys. A service that names the deleted keys all the same has
        to name every one: those that it leaves out are deleted once more, singly, which proves it. Errors that may pass
        are tried again for their keys alone; an error for a key that was not asked for is taken for one of them all.
        """
        service = self.service()
        tries = 0
        while keys and service.has_delete_objects:
            response = await send(service, self._delete_request(uri, keys))
            code = error_of(response).code
            if code in _NOT_IMPLEMENTED or (not code and response.head.status in (405, 501)):
                service.has_delete_objects = False
                break
            tries += 1
            if response.head.status == 200 and code in TRANSIENT_CODES and tries <= service.settings.retries:
                await Sleep(_wait(tries))
                continue
            if response.head.status != 200 or code:
                raise self.refusal(response, uri.text)
            if missing := lacks(response, "DeleteResult"):
                if tries >= min(_TRIES_WITHOUT_PROOF, service.settings.retries + 1):
                    raise unproven(response, uri.text, missing)
                await Sleep(_wait(tries))
                continue
            answer = parsed(response, uri.text)
            asked = dict(zip(map(_as_parsed, keys), keys, strict=True))
            failed: dict[str, tuple[str, str]] = {}
            for error in children(answer, "Error"):
                code = child_text(error, "Code")
                if code != "NoSuchKey":
                    failed[_as_parsed(child_text(error, "Key"))] = code, child_text(error, "Message")
            if any(code in _NOT_IMPLEMENTED for code, _ in failed.values()):
                service.has_delete_objects = False
                break
            lasting = {key: why for key, why in failed.items() if why[0] not in TRANSIENT_CODES or key not in asked}
            if lasting or (failed and tries > service.settings.retries):
                raise self._not_deleted(uri, response, lasting or failed, len(failed), len(keys))
            if deleted := {_as_parsed(child_text(item, "Key")) for item in children(answer, "Deleted")}:
                gone = {_as_parsed(child_text(item, "Key")) for item in children(answer, "Error")} | deleted
                await self._delete_singly(uri, [key for name, key in asked.items() if name not in gone])
            keys = [asked[name] for name in failed]
            if keys:
                await Sleep(_wait(tries))
        await self._delete_singly(uri, keys)

    def _not_deleted(
        self, uri: URI, response: Response, errors: dict[str, tuple[str, str]], failed: int, asked: int
    ) -> S3dlioError:
        key, (code, message) = next(iter(errors.items()))
        kind = PermissionDeniedError if code == "AccessDenied" else S3dlioError
        return kind(
            f"{failed} of {asked} objects were not deleted, the first s3://{uri.container}/{key}:"
            f" {code} {message:.300} at {response.address.url}",
            uri=uri.text,
            endpoint=response.address.url,
        )

    def _delete_request(self, uri: URI, keys: list[str]) -> Request:
        body = _delete_document(keys)
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        return Request(
            uri.text,
            "POST",
            uri.container,
            query=canonical_query([("delete", "")]),
            headers=(("Content-MD5", digest), ("Content-Type", "application/xml")),
            body=[memoryview(body)],
        )

    # Copies (CopyObject, UploadPartCopy)...

    async def copy(self, source: URI, target: URI, size: int) -> bool:
        if source[:3] == target[:3]:
            return True  # which S3 refuses to do
        if size > _COPY_AT_ONCE:
            return await self._copy_in_parts(source, target)
        request = self._request("PUT", target, [], headers=[_copied_from(source)])
        response = await self._send_for_proof(
            request, partial(lacks, name="CopyObjectResult", fields=("ETag",)), others=True
        )
        if response.head.status == 501:
            return False
        if response.head.status != 200:
            raise self._copy_refusal(response, source, target)
        return True

    async def _copy_in_parts(self, source: URI, target: URI) -> bool:
        found = await self.facts(source)
        size, etag = found["size"], found["etag"] or ""
        part = _COPY_PART
        while -(-size // part) > self.most_parts:
            part *= 2
        kept = [(f"x-amz-meta-{name}", value) for name, value in found["metadata"].items()]
        upload = await self._begin(target, [("Content-Type", found["content_type"] or STORED_AS[1]), *kept])
        try:
            parts = [Uploaded("", "", None, 0)] * -(-size // part)

            async def copy(index: int) -> None:
                start, stop = index * part, min(size, (index + 1) * part)
                parts[index] = await self._copy_part(source, target, upload, index + 1, start, stop, etag)

            await Gather(map(copy, range(len(parts))), settings_module.current().parts_in_flight)
            # Not every server heeds the condition on the ETag (Ceph 16 does not): look once more, before it is whole.
            if (await self.facts(source))["etag"] != found["etag"]:
                raise IntegrityError(f"{source.text} was replaced while it was copied; copy it again", uri=source.text)
            await self._complete(target, upload, parts, size, None)
        except BaseException:
            await self.drop_parts(target, upload)
            raise
        return True

    async def _copy_part(
        self, source: URI, target: URI, upload: Upload, number: int, start: int, stop: int, etag: str
    ) -> Uploaded:
        """UploadPartCopy."""
        headers = [
            _copied_from(source),
            ("x-amz-copy-source-range", f"bytes={start}-{stop - 1}"),
            ("x-amz-copy-source-if-match", f'"{etag}"'),
        ]
        request = self._request("PUT", target, [("partNumber", str(number)), ("uploadId", upload.id)], headers=headers)
        response = await self._send_for_proof(
            request, partial(lacks, name="CopyPartResult", fields=("ETag",)), others=True
        )
        if response.head.status == 412:
            raise IntegrityError(f"{source.text} was replaced while it was copied; copy it again", uri=source.text)
        if response.head.status != 200:
            raise self._copy_refusal(response, source, target)
        return Uploaded(child_text(parsed(response, target.text), "ETag"), "", None, stop - start)

    def _copy_refusal(self, response: Response, source: URI, target: URI) -> S3dlioError:
        about_source = error_of(response).code in ("NoSuchKey", "InvalidObjectState")
        return self.refusal(response, (source if about_source else target).text)

    # Buckets...

    async def make_bucket(self, uri: URI) -> None:
        """CreateBucket. One that is ours already is fine."""
        service = self.service()
        body = b""
        if service.is_aws and service.settings.aws_region not in (None, "us-east-1"):
            place = f"<LocationConstraint>{_escaped(service.settings.aws_region or '')}</LocationConstraint>"
            body = f'<CreateBucketConfiguration xmlns="{NAMESPACE}">{place}</CreateBucketConfiguration>'.encode()
        response = await send(service, Request(uri.text, "PUT", uri.container, body=[memoryview(body)]))
        code = error_of(response).code
        if (response.head.status != 200 or code) and code != "BucketAlreadyOwnedByYou":
            raise self.refusal(response, uri.text)
        if not code and is_foreign(response, "CreateBucket"):
            raise unproven(response, uri.text, "form of an answer to CreateBucket")

    async def remove_bucket(self, uri: URI) -> None:
        """DeleteBucket. S3 refuses if there is something in it; SeaweedFS deletes that as well."""
        response = await send(self.service(), Request(uri.text, "DELETE", uri.container))
        if response.head.status not in (200, 204) or error_of(response).code:
            raise self.refusal(response, uri.text)
        if is_foreign(response, "Delete"):
            raise unproven(response, uri.text, "form of an answer to DeleteBucket")

    async def buckets(self) -> list[str]:
        """ListBuckets: the names of our buckets."""
        names: list[str] = []
        listing = Listing(URI("s3", "", "", "s3://"), "")
        token = ""
        while True:
            query = canonical_query([("continuation-token", token)] if token else [])
            response = await self._expect_no_error(Request("s3://", "GET", "", query=query))
            page = parsed(response, "s3://")
            if not page.tag.rpartition("}")[2].startswith("ListAllMyBuckets"):
                raise listing.error("is no list of buckets", response.address.url)
            for group in children(page, "Buckets"):
                names += [child_text(item, "Name") for item in children(group, "Bucket")]
            token = listing.following(child_text(page, "ContinuationToken").strip(), response.address.url)
            if not token:
                return names

    # Presigning...

    def presign(self, uri: URI, method: str, expires: int) -> str:
        self.require_key(uri)
        return self.service().presign(uri, method, expires)

    # Requests and refusals...

    def _request(
        self,
        method: str,
        uri: URI,
        query: list[tuple[str, str]],
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: Sequence[memoryview] = (),
    ) -> Request:
        return Request(
            uri.text,
            method,
            uri.container,
            uri_encode(uri.key),
            query=canonical_query(query),
            headers=tuple(headers),
            body=body,
        )

    async def _expect(self, request: Request, status: int) -> Response:
        response = await send(self.service(), request)
        if response.head.status != status:
            raise self.refusal(response, request.uri)
        return response

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        return refusal(response, uri)


def _delete_document(keys: list[str]) -> bytes:
    objects = "".join(f"<Object><Key>{_escaped(key)}</Key></Object>" for key in keys)
    return f'<Delete xmlns="{NAMESPACE}"><Quiet>true</Quiet>{objects}</Delete>'.encode()


def _as_parsed(key: str) -> str:
    """A key as an XML parser reads it where a service writes line ends as they are."""
    return key.replace("\r\n", "\n").replace("\r", "\n")


def _copied_from(source: URI) -> tuple[str, str]:
    return "x-amz-copy-source", f"/{quote(source.container, safe='')}/{uri_encode(source.key)}"


def _wait(tries: int) -> float:
    """Seconds before an error inside an answer is hoped to have passed."""
    return random.uniform(0, min(5.0, 0.1 * 2**tries))


def _escaped(text: str) -> str:
    """A key, or whatever else, as XML text."""
    return text.translate(_XML_ESCAPES)


def _is_whole(content_range: str) -> bool:
    """Whether a Content-Range is that of a whole object, as in "bytes 0-99/100"."""
    begins, _, rest = content_range.removeprefix("bytes ").partition("-")
    last, _, size = rest.partition("/")
    return begins == "0" and last.isdecimal() and size.isdecimal() and int(last) + 1 == int(size)


def _same_etag(head: ResponseHead, etag: str) -> bool:
    """Whether a stored object has an ETag; true where one of them is not known."""
    stored = head.headers.get("etag", "").strip('"')
    return not stored or not etag or stored == etag.strip('"')


def _is_encrypted(head: ResponseHead) -> bool:
    """Whether an ETag may be another one than the MD5 because the server encrypts what it stores."""
    return any(name.startswith("x-amz-server-side-encryption") for name in head.headers)


def _etag_of_parts(parts: list[Uploaded]) -> str:
    """The ETag of the object that parts make, where theirs are MD5 sums; else ""."""
    etags = [part.etag.strip('"') for part in parts]
    if not all(map(_MD5_ETAG.fullmatch, etags)):
        return ""
    return f"{hashlib.md5(bytes.fromhex(''.join(etags)), usedforsecurity=False).hexdigest()}-{len(etags)}"


def _is_of_parts(head: ResponseHead, parts: list[Uploaded]) -> bool | None:
    """Whether a stored object of their size is the one that parts make; None if its facts do not tell.

    A CRC32C tells, be it that of the whole or that of the parts' (composite), and an ETag made of the parts' ETags.
    Another ETag tells that it is another object, unless the server encrypts, which makes ETags opaque.

    Args:
        head: of the answer to a HEAD that asked for the checksums.
        parts: what was uploaded.
    """
    kept, number = head.headers.get(CHECKSUM, "").partition("-")[::2]
    if kept and all(part.crc32c is not None for part in parts):
        if number or head.headers.get("x-amz-checksum-type") == "COMPOSITE":
            return kept == _crc32c_of_checksums(parts) and number in ("", str(len(parts)))
        return kept == _crc32c_of_parts(parts)
    stored, ours = head.headers.get("etag", "").strip('"'), _etag_of_parts(parts)
    if not stored or not ours:
        return None
    if stored == ours:
        return True
    return None if _is_encrypted(head) else False


def _crc32c_of_parts(parts: list[Uploaded]) -> str:
    """The CRC32C of the object that parts make."""
    value = 0
    for part in parts:
        assert part.crc32c is not None
        value = crc32c_joined(value, part.crc32c, part.size)
    return crc32c_text(value)


def _crc32c_of_checksums(parts: list[Uploaded]) -> str:
    """The CRC32C of the parts' CRC32Cs one after the other, which S3 calls composite."""
    checksums = b"".join((part.crc32c or 0).to_bytes(4, "big") for part in parts)
    return crc32c_text(crc32c([memoryview(checksums)]))
