# SPDX-License-Identifier: Apache-2.0
"""gs:// — Google Cloud Storage, and its emulators.

The JSON API does everything but one thing: large objects are written by the XML API's multipart upload, the only way
to send parts of an object side by side that leaves nothing visible before the end (`compose` needs temporary objects).
Where the service has no multipart upload, as no emulator has, parts go one after the other by a resumable upload.

Versions are generations. The first answer to a read names the object's, and every further part of it is asked of that
generation alone, which answers 404 once it is gone. `x-goog-hash` is always the whole object's CRC32C, also on the
answer to a range, so objects read in parts are checked when they are together. Objects stored compressed are read as
they are stored: the service would unpack them for a client that does not say it takes gzip, and then knows neither
their length nor ranges.

This module knows the requests; `gcs_service` where they go and with which token, `gcs_answers` what is answered.

Source: Cloud Storage JSON API v1 and XML API references; each request names its page.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidURIError,
    S3dlioError,
    StoreUnavailableError,
)
from s3dlio.http.exchange import without_first
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.log import logger
from s3dlio.memory.checksums import (
    Expected,
    ExpectedCrc32c,
    crc32c,
    crc32c_joined,
    crc32c_text,
)
from s3dlio.objects import documents
from s3dlio.objects.ranges import size_by_range
from s3dlio.objects.request import Request, send
from s3dlio.runtime.group import Gather
from s3dlio.runtime.sleep import Sleep
from s3dlio.settings import MIB
from s3dlio.stores.cloud import CloudStore, dated
from s3dlio.stores.gcs.answers import (
    TRANSIENT_CODES,
    Page,
    child_text,
    error_inside,
    error_of,
    hashes,
    is_about_bucket,
    is_foreign,
    lacks_facts,
    lacks_resource,
    lacks_result,
    lacks_step,
    page_of,
    parsed,
    refusal,
    unproven,
)
from s3dlio.stores.gcs.service import (
    READ_FIELDS,
    READ_QUERY,
    GcsService,
    bucket_path,
    encoded,
    object_path,
    query_of,
)
from s3dlio.stores.listed import Listing
from s3dlio.types import ObjectInfo, SizedName
from s3dlio.uri import URI

_CONTENT_TYPE = "application/octet-stream"
_STORED = "size,crc32c,generation"  # what is asked of the answer to a write
_FACTS = "size,timeCreated,updated,etag,contentType,metadata,crc32c,md5Hash,storageClass,generation"
_DELETES_AT_ONCE = 32
_IDLE_STEPS = 10  # of a copy, one after the other, that may copy nothing
_TRIES_WITHOUT_PROOF = 3  # of a request that is answered by something else than a result
# The URI of a resumable upload: one that can be sent as the target of a request.
_SESSION = re.compile(
    r"(?:https?://[!-.0-~]+)?(?P<path>/[!-\"$->@-~]*)\?(?P<query>(?:[!-\"$-~]*&)?upload_id=[!-\"$-~]+)"
)
_KEPT_RANGE = re.compile(r"bytes=0-(\d+)")
_NO_MULTIPART = frozenset({400, 404, 405, 501})  # without an error of the XML API: nobody there who knows it


class Multipart(NamedTuple):
    """A multipart upload of the XML API."""

    id: str


@dataclasses.dataclass
class Resumable:
    """A resumable upload, and how far it has come.

    Attributes:
        path, query: of the session's URI.
        sent: bytes that the service has.
        checksum: the CRC32C of these bytes.
        tail: the last part, which goes out when the size of the whole is known.
    """

    path: str
    query: str
    sent: int = 0
    checksum: int = 0
    tail: list[memoryview] = dataclasses.field(default_factory=list)


class Uploaded(NamedTuple):
    """What finishing a multipart upload needs of a part."""

    etag: str
    checksum: int
    size: int


class GcsStore(CloudStore[GcsService]):
    """gs://"""

    service_class = GcsService
    most_parts = 10_000
    # A generation that has been replaced is not found; 412 is what preconditions answer.
    version_gone = frozenset({404, 412})

    # Reading (Objects: get)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        query = READ_QUERY if version is None else f"{READ_QUERY}&generation={version}"
        return Request(uri.text, "GET", uri.container, object_path(uri), query=query, headers=READ_FIELDS)

    def path_of(self, uri: URI) -> str:
        return encoded(uri.key)

    def version_of(self, head: ResponseHead) -> str:
        """The generation; "" if it is no number, and so cannot be asked for."""
        generation = head.headers.get("x-goog-generation", "")
        return generation if generation.isdecimal() else ""

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        headers = head.headers
        if headers.get("x-goog-stored-content-encoding") == "gzip" and headers.get("content-encoding") != "gzip":
            return None  # unpacked on the way by somebody: the checksum is that of the packed object
        sent = hashes(head).get("crc32c")
        return ExpectedCrc32c(sent) if sent is not None else None

    async def stat(self, uri: URI) -> ObjectInfo:
        """Objects: get, without its data."""
        self.require_key(uri)
        response = await self._expect(self._about(uri, _FACTS))
        with documents.reading(uri.text, response.address.url):
            facts = parsed(response, uri)
            size = int(facts["size"]) if "size" in facts else None
        if size is None:
            size = await size_by_range(self, uri, "")
        with documents.reading(uri.text, response.address.url):
            return _facts_of(facts, size, response)

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await send(self.service(), self._about(uri, "generation"))
        if response.head.status == 200:
            if missing := lacks_facts(response, uri):
                raise unproven(response, uri.text, missing)
            return True
        if response.head.status == 404:
            return False
        raise self.refusal(response, uri.text)

    def _about(self, uri: URI, fields: str) -> Request:
        return Request(uri.text, "GET", uri.container, object_path(uri), query=query_of(fields=fields))

    # Writing (Objects: insert)...

    async def put(self, uri: URI, data: memoryview) -> None:
        if self.service().has_multipart:
            await super().put(uri, data)
        else:  # parts one after the other would only be slower
            self.require_key(uri)
            await self.put_whole(uri, [data])

    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        """One request with the object's name and checksum before its bytes (RFC 2387)."""
        checksum = crc32c(data)
        boundary = secrets.token_hex(16)
        facts = {"name": uri.key, "contentType": _CONTENT_TYPE, "crc32c": crc32c_text(checksum)}
        before = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(facts)}\r\n"
            f"--{boundary}\r\nContent-Type: {_CONTENT_TYPE}\r\n\r\n"
        )
        request = self._upload_request("POST", uri, uploadType="multipart", fields=_STORED)
        request.add("Content-Type", f"multipart/related; boundary={boundary}")
        request.body = [_view(before), *data, _view(f"\r\n--{boundary}--\r\n")]
        response = await self._send_for_proof(request, lambda answer: lacks_resource(answer, uri))
        if response.head.status != 200:
            raise self.refusal(response, uri.text, of_bucket=True)
        await self._check_stored(uri, response, sum(map(len, data)), checksum)

    async def begin_parts(self, uri: URI) -> Multipart | Resumable:
        if self.service().has_multipart:
            upload = await self._begin_multipart(uri)
            if upload is not None:
                return upload
            self.service().has_multipart = False
        return await self._begin_resumable(uri)

    def parts_at_a_time(self, upload: Multipart | Resumable) -> int:
        return 1 if isinstance(upload, Resumable) else super().parts_at_a_time(upload)

    async def put_part(
        self, uri: URI, upload: Multipart | Resumable, number: int, data: list[memoryview]
    ) -> Uploaded | None:
        if isinstance(upload, Multipart):
            return await self._put_part(uri, upload, number, data)
        if sum(map(len, data)) % (256 * 1024):
            upload.tail = data  # nothing but the last part has such a size
        else:
            await self._put_chunk(uri, upload, data, None)
        return None

    async def finish_parts(self, uri: URI, upload: Multipart | Resumable, parts: list[Any], size: int) -> None:
        if isinstance(upload, Multipart):
            await self._complete(uri, upload, parts, size)
        else:
            response = await self._put_chunk(uri, upload, upload.tail, size)
            if response.head.status not in (404, 410):
                await self._check_stored(uri, response, size, upload.checksum)
            elif not await self._is_there(uri, size, upload.checksum):
                raise self.refusal(response, uri.text)

    async def drop_parts(self, uri: URI, upload: Multipart | Resumable) -> None:
        if isinstance(upload, Multipart):
            request = self._xml_request("DELETE", uri, uploadId=upload.id)
        else:
            request = Request(uri.text, "DELETE", uri.container, upload.path, upload.query)
        try:
            response = await send(self.service(), request)
        except S3dlioError as error:
            logger.warning("the upload of %s could not be dropped (it expires by itself): %s", uri.text, error)
        else:
            # 499 is the answer to a cancelled resumable upload; 404 and 410 say that there is none any more.
            if response.head.status not in (200, 204, 404, 410, 499):
                logger.warning("the upload of %s could not be dropped: %s", uri.text, self.refusal(response, uri.text))

    async def _check_stored(self, uri: URI, response: Response, size: int, checksum: int) -> None:
        """Compare what the service says it stored with what was sent; what differs is deleted again."""
        stored = parsed(response, uri)
        if self._is_stored(stored, size, checksum):
            if self.service().settings.put_verify:
                await self._verify(uri, size, checksum)
            return
        generation = str(stored.get("generation"))
        told = ""
        if generation.isdecimal():
            told = ", and was told to delete them"
            request = Request(uri.text, "DELETE", uri.container, object_path(uri), query_of(generation=generation))
            await send(self.service(), request)
        raise IntegrityError(
            f"{uri.text} at {response.address.url}: the service stored other bytes than were sent{told}; write it"
            " again, and check the network",
            uri=uri.text,
            endpoint=response.address.url,
        )

    async def _verify(self, uri: URI, size: int, checksum: int) -> None:
        """Ask for what is stored, and compare."""
        response = await self._expect(self._about(uri, _STORED))
        stored = parsed(response, uri)
        if not self._is_stored(stored, size, checksum):
            raise IntegrityError(
                f"{uri.text} at {response.address.url}: {size} bytes were written, and {stored.get('size')} bytes with"
                " another checksum are stored; somebody else may be writing the same object",
                uri=uri.text,
                endpoint=response.address.url,
            )

    async def _is_there(self, uri: URI, size: int, checksum: int) -> bool:
        """Whether the object is stored although its upload is gone: the answer to an earlier try may have been lost."""
        response = await send(self.service(), self._about(uri, _STORED))
        return response.head.status == 200 and self._is_stored(parsed(response, uri), size, checksum)

    def _is_stored(self, stored: dict[str, Any], size: int, checksum: int) -> bool:
        return str(stored.get("size")) == str(size) and stored.get("crc32c") == crc32c_text(checksum)

    # Writing in parts by the XML API (Initiate, Upload part, Complete, Abort a multipart upload)...

    async def _begin_multipart(self, uri: URI) -> Multipart | None:
        """An upload, or None if the service knows nothing of the XML API's."""
        request = self._xml_request("POST", uri, uploads="")
        request.finish_before_stop = True
        request.add("Content-Type", _CONTENT_TYPE)
        response = await send(self.service(), request)
        if response.head.status == 200:
            upload = child_text(response, "UploadId")
            if upload and not lacks_result(response, "InitiateMultipartUploadResult"):
                return Multipart(upload)
            raise unproven(response, uri.text, "UploadId")
        if response.head.status in _NO_MULTIPART and not child_text(response, "Code"):
            return None
        raise self.refusal(response, uri.text)

    async def _put_part(self, uri: URI, upload: Multipart, number: int, data: list[memoryview]) -> Uploaded:
        checksum = crc32c(data)
        request = self._xml_request("PUT", uri, partNumber=str(number), uploadId=upload.id)
        request.add("x-goog-hash", f"crc32c={crc32c_text(checksum)}")
        request.body, request.leave_last_connection = data, True
        response = await self._send_for_proof(request, lambda answer: "" if answer.head.headers.get("etag") else "ETag")
        if response.head.status != 200:
            raise self.refusal(response, uri.text)
        if hashes(response.head).get("crc32c", crc32c_text(checksum)) != crc32c_text(checksum):
            raise IntegrityError(
                f"{uri.text} at {response.address.url}: the service received other bytes than were sent; write it"
                " again, and check the network",
                uri=uri.text,
                endpoint=response.address.url,
            )
        return Uploaded(response.head.headers.get("etag", ""), checksum, sum(map(len, data)))

    async def _complete(self, uri: URI, upload: Multipart, parts: list[Uploaded], size: int) -> None:
        """Make the parts one object. The answer may be 200 with an error inside, or 404 after an earlier try."""
        root = ET.Element("CompleteMultipartUpload")
        checksum = 0
        for number, part in enumerate(parts, 1):
            element = ET.SubElement(root, "Part")
            ET.SubElement(element, "PartNumber").text = str(number)
            ET.SubElement(element, "ETag").text = part.etag
            checksum = crc32c_joined(checksum, part.checksum, part.size)
        request = self._xml_request("POST", uri, uploadId=upload.id)
        request.add("Content-Type", "application/xml")
        request.body = [memoryview(ET.tostring(root))]
        response = await self._send_for_proof(
            request, lambda answer: lacks_result(answer, "CompleteMultipartUploadResult")
        )
        if response.head.status == 404 and child_text(response, "Code") == "NoSuchUpload":
            if not await self._is_there(uri, size, checksum):
                raise self.refusal(response, uri.text)
            return
        if response.head.status != 200:
            raise self.refusal(response, uri.text)
        sent = hashes(response.head).get("crc32c")
        if self.service().settings.put_verify or (sent is not None and sent != crc32c_text(checksum)):
            await self._verify(uri, size, checksum)

    async def _send_for_proof(self, request: Request, missing: Callable[[Response], str]) -> Response:
        """Send a request that changes something, again while an answer of 200 proves nothing.

        Args:
            request: see `send`.
            missing: says what an answer of 200 lacks to prove that the request was carried out; "" for nothing.

        Returns:
            An answer that proves it, or one of another status.

        Raises:
            S3dlioError: answers of status 200 with an error inside that does not pass, or without a proof.
        """
        unproven_tries = error_tries = 0
        while True:
            response = await send(self.service(), request)
            if response.head.status not in (200, 201):
                return response
            code = child_text(response, "Code")
            if code:
                error_tries += 1
                if code not in TRANSIENT_CODES or error_tries > self.service().settings.retries:
                    raise self.refusal(response, request.uri)
            else:
                what = missing(response)
                if not what:
                    return response
                unproven_tries += 1
                if unproven_tries >= min(_TRIES_WITHOUT_PROOF, self.service().settings.retries + 1):
                    raise unproven(response, request.uri, what)
            await Sleep(min(5.0, 0.1 * 2 ** (unproven_tries + error_tries)))

    # Writing in parts by a resumable upload ("Resumable uploads", "Perform resumable uploads")...

    async def _begin_resumable(self, uri: URI) -> Resumable:
        request = self._upload_request("POST", uri, uploadType="resumable", name=uri.key, fields=_STORED)
        request.add("Content-Type", "application/json; charset=UTF-8")
        request.add("X-Upload-Content-Type", _CONTENT_TYPE)
        request.body = [_view(json.dumps({"name": uri.key, "contentType": _CONTENT_TYPE}))]
        request.finish_before_stop = True
        response = await self._expect(request, of_bucket=True)
        match = _SESSION.fullmatch(response.head.headers.get("location", ""))
        if match is None:
            raise S3dlioError(f"{uri.text} at {response.address.url}: the answer names no upload", uri=uri.text)
        root = self.service().endpoints.all[0].path
        return Resumable(match["path"].removeprefix(root), match["query"])

    async def _put_chunk(self, uri: URI, upload: Resumable, data: list[memoryview], total: int | None) -> Response:
        """Send the next bytes, and again what of them the service did not keep.

        A chunk that failed is simply sent again from its beginning: the service passes over bytes that it has. So it
        is never asked how far it has come, a question which some emulators take for the end of the upload.

        Args:
            data: the bytes.
            total: the size of the object if this is its end; without further bytes it only ends it.

        Returns:
            The answer: that the bytes are kept, that the object is stored, or, at its end, that the upload is gone.
        """
        upload.checksum = crc32c(data, upload.checksum)
        rest = list(data)
        end = upload.sent + sum(map(len, data))
        idle = 0
        while True:
            request = Request(uri.text, "PUT", uri.container, upload.path, upload.query, body=rest)
            place = f"{upload.sent}-{end - 1}" if rest else "*"
            request.leave_last_connection = True
            request.add("Content-Range", f"bytes {place}/{'*' if total is None else total}")
            if total is not None:
                request.add("x-goog-hash", f"crc32c={crc32c_text(upload.checksum)}")
            if total is None:
                response = await send(self.service(), request)
            else:
                response = await self._send_for_proof(request, lambda answer: lacks_resource(answer, uri))
            status = response.head.status
            if status in (200, 201) and total is None:
                # The object is said to be whole before it is.
                raise unproven(response, uri.text, "end of this upload")
            if status in (200, 201) or (status in (404, 410) and total is not None):
                upload.sent = end
                return response
            if status != 308:
                raise self.refusal(response, uri.text)
            match = _KEPT_RANGE.fullmatch(response.head.headers.get("range", ""))
            kept = int(match[1]) + 1 if match else 0
            if kept >= end and total is None:
                upload.sent = end
                return response
            idle = 0 if kept > upload.sent else idle + 1
            if kept < upload.sent or idle > self.service().settings.retries:
                raise StoreUnavailableError(
                    f"{uri.text} at {response.address.url}: the service keeps {kept} bytes of the upload where it had"
                    f" {upload.sent}; write the object again",
                    uri=uri.text,
                    endpoint=response.address.url,
                    status=status,
                )
            rest = without_first(rest, kept - upload.sent)
            upload.sent = min(kept, end)

    # Listing (Objects: list)...

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self._list(listing, "name"):
            if below := listing.children(page.keys, page.folders):
                yield below

    async def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self._list(listing, "name,size"):
            if below := listing.entries(page.keys, page.sizes, page.folders):
                yield below

    async def is_prefix(self, uri: URI) -> bool:
        pages = self._list(Listing(uri, ""), "name", most=1)
        try:
            async for page in pages:  # a page may be empty and others follow
                if page.keys:
                    return True
            return False
        finally:
            await pages.aclose()

    async def _list(self, listing: Listing, fields: str, most: int = 1000) -> AsyncGenerator[Page, None]:
        """The pages of a listing, each of them checked."""
        uri = listing.uri
        query = {"maxResults": str(most), "fields": f"kind,nextPageToken,prefixes,items({fields})"}
        if uri.folder_key:
            query["prefix"] = uri.folder_key
        if listing.delimiter:
            query["delimiter"] = listing.delimiter
        path = f"{bucket_path(uri.container)}/o"
        token = ""
        while True:
            more = {"pageToken": token} if token else {}
            response = await self._expect_no_error(
                Request(uri.text, "GET", uri.container, path, query=query_of(**query, **more))
            )
            page = page_of(response, uri)
            listing.check(page.keys, page.folders, response.address.url)
            yield page
            token = listing.following(page.token, response.address.url)
            if not token:
                return

    async def _expect_no_error(self, request: Request) -> Response:
        """An answer of status 200 without an error in its body; sent again while the error may pass."""
        tries = 0
        while True:
            response = await self._expect(request, of_bucket=True)
            error = error_inside(response)
            if error is None:
                return response
            tries += 1
            if not error or tries > self.service().settings.retries:
                raise self.refusal(response, request.uri)
            await Sleep(min(5.0, 0.1 * 2**tries))

    # Deleting (Objects: delete)...

    async def delete(self, uri: URI) -> None:
        self.require_key(uri)
        response = await send(self.service(), Request(uri.text, "DELETE", uri.container, object_path(uri)))
        if response.head.status in (200, 204):
            if is_foreign(response):
                raise unproven(response, uri.text, "form of an answer to a delete")
            return
        if response.head.status != 404 or is_about_bucket(error_of(response)[1]):
            raise self.refusal(response, uri.text)

    async def delete_prefix(self, uri: URI) -> None:
        async for page in self._list(Listing(uri, ""), "name"):
            await Gather((self.delete(uri.with_key(key)) for key in page.keys), _DELETES_AT_ONCE)

    # Buckets and copies...

    async def copy(self, source: URI, target: URI, size: int) -> bool:
        """Objects: rewrite: let the service copy, in as many steps as it needs. Always possible."""
        path = f"{object_path(source)}/rewriteTo{object_path(target).removeprefix('/storage/v1')}"
        query = {"fields": "done,rewriteToken,totalBytesRewritten"}
        idle, written = 0, 0
        # A step copies 1 MiB at least, and where the service does not tell how far it is, that is all that is known.
        while idle <= _IDLE_STEPS + (0 if written else size // MIB):
            request = Request(source.text, "POST", source.container, path, query=query_of(**query))
            response = await self._send_for_proof(request, lambda answer: lacks_step(answer, source))
            if response.head.status != 200:
                raise self.refusal(response, source.text)
            answer = parsed(response, source)
            if answer.get("done"):
                return True
            query["rewriteToken"] = str(answer["rewriteToken"])
            now = str(answer.get("totalBytesRewritten", ""))
            idle = 0 if now.isdecimal() and len(now) < 20 and int(now) > written else idle + 1
            written = written if idle else int(now)
        raise StoreUnavailableError(
            f"{source.text} at {response.address.url}: the copy to {target.text} makes no progress after {written} of"
            f" {size} bytes; try again later",
            uri=source.text,
            endpoint=response.address.url,
        )

    async def make_bucket(self, uri: URI) -> None:
        """Buckets: insert. One that is ours already is fine."""
        request = Request(uri.text, "POST", "", "/storage/v1/b", query=query_of(project=self._project()))
        request.add("Content-Type", "application/json")
        request.body = [_view(json.dumps({"name": uri.container}))]
        response = await send(self.service(), request)
        if response.head.status == 409:  # it may be somebody else's
            request = Request(uri.text, "GET", "", bucket_path(uri.container), query=query_of(fields="name"))
            response = await send(self.service(), request)
        if response.head.status != 200:
            raise self.refusal(response, uri.text)
        if missing := lacks_facts(response, uri.with_key("")):
            raise unproven(response, uri.text, missing)

    async def remove_bucket(self, uri: URI) -> None:
        """Buckets: delete; it has to be empty."""
        response = await send(self.service(), Request(uri.text, "DELETE", "", bucket_path(uri.container)))
        if response.head.status not in (200, 204):
            raise self.refusal(response, uri.text, of_bucket=True)
        if is_foreign(response):
            raise unproven(response, uri.text, "form of an answer to a delete")

    async def buckets(self) -> list[str]:
        """Buckets: list: the names of the project's buckets."""
        names: list[str] = []
        listing = Listing(URI("gs", "", "", "gs://"), "")
        query = {"project": self._project(), "fields": "kind,nextPageToken,items(name)"}
        while True:
            request = Request("gs://", "GET", "", "/storage/v1/b", query=query_of(**query))
            response = await self._expect_no_error(request)
            page = page_of(response, listing.uri, "storage#buckets")
            names += page.keys
            token = listing.following(page.token, response.address.url)
            if not token:
                return names
            query["pageToken"] = token

    def _project(self) -> str:
        project = self.service().settings.gcs_project
        if not project:
            raise ConfigurationError(
                "GOOGLE_CLOUD_PROJECT is not set: buckets of gs:// are made and listed in a project"
            )
        return project

    def presign(self, uri: URI, method: str, expires: int) -> str:  # noqa: ARG002
        raise InvalidURIError(
            f"{uri.text} cannot be presigned: only s3:// and az:// can; for gs:// there is `gcloud storage sign-url`",
            uri=uri.text,
        )

    # Requests and refusals...

    def _upload_request(self, method: str, uri: URI, **query: str) -> Request:
        return Request(
            uri.text, method, uri.container, f"/upload{bucket_path(uri.container)}/o", query=query_of(**query)
        )

    def _xml_request(self, method: str, uri: URI, **query: str) -> Request:
        path = f"/{encoded(uri.container)}/{encoded(uri.key)}"
        return Request(uri.text, method, uri.container, path, query=query_of(**query))

    async def _expect(self, request: Request, of_bucket: bool = False) -> Response:
        response = await send(self.service(), request)
        if response.head.status != 200:
            raise self.refusal(response, request.uri, of_bucket)
        return response

    def refusal(self, response: Response, uri: str, of_bucket: bool = False) -> S3dlioError:
        return refusal(response, uri, with_token=self.service().tokens is not None, of_bucket=of_bucket)


def _view(text: str) -> memoryview:
    return memoryview(text.encode())


def _facts_of(facts: dict[str, Any], size: int, response: Response) -> ObjectInfo:
    """The facts about an object of a size that its resource gives."""
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
    return dated(known, str(written) if written else None, response)
