# SPDX-License-Identifier: Apache-2.0
"""az:// — Azure Blob Storage: block blobs by its REST API, on Azure, in its sovereign clouds, and on Azurite.

This module knows the requests. Where they go and what allows them is `azure_service`'s, what refusals mean
`azure_answers`'s, how large objects go in parts `cloud`'s. One section per group of verbs.

A large blob is made of blocks, which nobody sees before a list of them is committed. What the service does not have is
an upload as such, and three things follow. The names of the blocks carry a random number for each upload, so that two
writers of one blob never mix. There is nothing to abort: blocks that were never committed cost space until they expire,
a week later. And whoever commits first makes the service forget the blocks of all others: they write theirs again.

Source: Azure Blob Storage REST API; each request names its page.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Sequence

from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.auth.encoding import canonical_query, check_presigned_life, uri_encode
from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectNotFoundError,
    S3dlioError,
)
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.checksums import Expected, ExpectedMd5
from s3dlio.objects import documents
from s3dlio.objects.request import Request, send
from s3dlio.runtime.group import Gather
from s3dlio.runtime.sleep import Sleep
from s3dlio.stores.azure.answers import (
    TRANSIENT_CODES,
    Listed,
    Page,
    error_of,
    is_overtaken,
    listing_of,
    name_of,
    page_of,
    refusal,
    says_not_there,
    unproven,
)
from s3dlio.stores.azure.service import VERSION, AzureService, encoded_key
from s3dlio.stores.cloud import CloudStore, facts_of
from s3dlio.stores.listed import Listing
from s3dlio.types import ObjectInfo, SizedName
from s3dlio.uri import URI

NAMES_PER_PAGE = 5000  # the most that the service gives

_BLOB_TYPE = "application/octet-stream"
_COPY_AT_ONCE = 256 << 20  # bytes; the service copies more than that only in the background
_DELETES_AT_A_TIME = 32
_TRIES_WITHOUT_PROOF = 3  # of a write that is answered by something else than the service
_TIMES_OVERTAKEN = 10  # a blob that others commit more often while its blocks are sent is an error
_PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}


class AzureStore(CloudStore[AzureService]):
    """az://"""

    service_class = AzureService
    most_parts = 50_000

    # Reading (Get Blob, Get Blob Properties)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        headers = (("If-Match", version),) if version else ()
        return Request(uri.text, "GET", uri_encode(uri.container), encoded_key(uri), headers=headers)

    def path_of(self, uri: URI) -> str:
        return encoded_key(uri)

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        if not self.service().checks_md5:
            return None
        sent = _md5_of_blob(head)
        return ExpectedMd5(sent) if sent else None

    async def stat(self, uri: URI) -> ObjectInfo:
        """Get Blob Properties."""
        self.require_key(uri)
        response = await self._head(uri)
        headers = response.head.headers
        if response.head.status != 200:
            raise self.refusal(response, uri.text)
        if _is_directory(response.head):
            raise _is_folder(uri, response.address.url)
        md5 = headers.get("content-md5")
        size = await self.size_of(uri, response)
        with documents.reading(uri.text, response.address.url):
            return facts_of(
                response,
                size,
                "x-ms-meta-",
                checksums={"md5": md5} if md5 else {},
                storage_class=headers.get("x-ms-access-tier"),
                version=headers.get("x-ms-version-id"),
            )

    async def check_empty(self, uri: URI, head: ResponseHead | None) -> None:
        if head is None:  # Azure answers 416 to a range of nothing, without the metadata
            head = (await self._head(uri)).head
        if _is_directory(head):
            raise _is_folder(uri, self.service().address.url)

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await self._head(uri)
        if response.head.status == 200:
            return not _is_directory(response.head)
        if says_not_there(response):
            return False
        raise self.refusal(response, uri.text)

    async def _head(self, uri: URI) -> Response:
        response = await send(self.service(), self._request("HEAD", uri))
        if response.head.status == 400 and not error_of(response).code:
            # The answer to a HEAD has no body, so no reason. A GET of one byte is refused with the reason.
            reason = await send(self.service(), self._request("GET", uri, headers=[("Range", "bytes=0-0")]))
            response = reason if reason.head.status >= 400 else response
        return response

    # Writing (Put Blob, Put Block, Put Block List)...

    async def put(self, uri: URI, data: memoryview) -> None:
        for _ in range(_TIMES_OVERTAKEN):
            try:
                return await super().put(uri, data)
            except S3dlioError as error:
                if not is_overtaken(error):
                    raise
                overtaken = error
        raise overtaken

    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        """Put Blob."""
        headers = [("x-ms-blob-type", "BlockBlob"), ("Content-Type", _BLOB_TYPE)]
        response = await self._put_checked(uri, (), headers, data)
        if self.service().settings.put_verify:
            await self._verify(uri, sum(map(len, data)), response)

    async def begin_parts(self, uri: URI) -> str:  # noqa: ARG002
        """The random part of this upload's block names. No request: the service knows no uploads."""
        return secrets.token_hex(16)

    async def put_part(self, uri: URI, upload: str, number: int, data: list[memoryview]) -> str:
        """Put Block; returns the block's name."""
        block = block_id(upload, number)
        await self._put_checked(uri, [("comp", "block"), ("blockid", block)], (), data)
        return block

    async def finish_parts(self, uri: URI, upload: str, parts: list[str], size: int) -> None:  # noqa: ARG002
        """Put Block List.

        "Latest" finds a block among those of the blob as well as among the new ones, so that the request may be sent
        again when its answer was lost. No other block can be meant: the names are this upload's own.
        """
        lines = "".join([f"<Latest>{block}</Latest>" for block in parts])
        body = [memoryview(f'<?xml version="1.0" encoding="utf-8"?><BlockList>{lines}</BlockList>'.encode())]
        headers = [("x-ms-blob-content-type", _BLOB_TYPE), ("Content-Type", "application/xml")]
        response = await self._put_checked(uri, [("comp", "blocklist")], headers, body)
        if self.service().settings.put_verify:
            await self._verify(uri, size, response)

    async def drop_parts(self, uri: URI, upload: str) -> None:
        """Nothing: blocks that were not committed expire by themselves, a week after the last one was sent."""

    async def _put_checked(
        self,
        uri: URI,
        query: Sequence[tuple[str, str]],
        headers: Iterable[tuple[str, str]],
        data: list[memoryview],
    ) -> Response:
        """A PUT whose body the service compares with the checksum sent along."""
        service = self.service()
        checksum = service.checksum(data)
        request = self._request("PUT", uri, query, headers=[*headers, *checksum], body=data)
        tries = 0
        while True:
            response = await send(service, request)
            if service.lacks(checksum, response):
                return await self._put_checked(uri, query, headers, data)
            if response.head.status != 201:
                raise self.refusal(response, uri.text)
            if ("comp", "block") in query or self.version_of(response.head):
                break
            tries += 1
            if tries >= min(_TRIES_WITHOUT_PROOF, service.settings.retries + 1):
                raise unproven(response, uri.text, "ETag")
            await Sleep(0.1 * 2**tries)
        for name, value in checksum:
            if response.head.headers.get(name.lower(), value) != value:
                raise IntegrityError(
                    f"{uri.text} at {response.address.url}: the service stored other bytes than were sent; write it"
                    " again, and check the network and the service",
                    uri=uri.text,
                    endpoint=response.address.url,
                )
        return response

    async def _verify(self, uri: URI, size: int, written: Response) -> None:
        """Ask for what is stored, and compare."""
        stored = await self._head(uri)
        if stored.head.status != 200:
            raise self.refusal(stored, uri.text)
        stored_size = await self.size_of(uri, stored)
        if stored_size != size or self.version_of(stored.head) != self.version_of(written.head):
            raise IntegrityError(
                f"{uri.text} at {stored.address.url}: {size} bytes were written, and {stored_size} bytes with"
                " another ETag are stored; somebody else may be writing the same object",
                uri=uri.text,
                endpoint=stored.address.url,
            )

    # Listing (List Blobs)...

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self._list(listing):
            if found := listing.children(page.keys, _folders(page, recursive)):
                yield found

    async def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        listing = Listing(uri, "" if recursive else "/")
        async for page in self._list(listing):
            if below := listing.entries(page.keys, page.sizes, _folders(page, recursive)):
                yield below

    async def is_prefix(self, uri: URI) -> bool:
        pages = self._list(Listing(uri, ""), most=1)
        try:
            async for page in pages:
                if page.keys or page.folders:
                    return True
        finally:
            await pages.aclose()
        return await self._is_marked(uri)

    async def _list(self, listing: Listing, most: int | None = None) -> AsyncGenerator[Page, None]:
        """The pages of a listing, each of them checked. A page may be empty and not be the last."""
        uri = listing.uri
        query = [("restype", "container"), ("prefix", uri.folder_key), ("maxresults", str(most or NAMES_PER_PAGE))]
        query.append(("include", "metadata"))  # which tells the markers of folders
        if listing.delimiter:
            query.append(("delimiter", listing.delimiter))
        async for answer, response in self._pages(listing, query, "Blobs"):
            page = page_of(answer, response, uri.text)
            listing.check([*page.keys, *page.folders], page.prefixes, response.address.url)
            yield page

    async def _pages(
        self, listing: Listing, query: list[tuple[str, str]], kind: str
    ) -> AsyncGenerator[tuple[Listed, Response], None]:
        """Every page of a listing, and the answer it came in."""
        uri = listing.uri
        marker = ""
        while True:
            more = [("comp", "list"), *([("marker", marker)] if marker else [])]
            request = Request(uri.text, "GET", uri_encode(uri.container), query=canonical_query([*query, *more]))
            response = await self._expect_no_error(request)
            answer = listing_of(response, uri.text, kind)
            yield answer, response
            marker = listing.following(answer.marker, response.address.url)
            if not marker:
                return

    async def _expect_no_error(self, request: Request) -> Response:
        """An answer of status 200 without an error in its body; sent again while the error may pass."""
        tries = 0
        while True:
            response = await self._expect(request, 200)
            code = error_of(response).code
            if not code:
                return response
            tries += 1
            if code not in TRANSIENT_CODES or tries > self.service().settings.retries:
                raise self.refusal(response, request.uri)
            await Sleep(min(5.0, 0.1 * 2**tries))

    # Folders that are blobs (hierarchical namespaces, and the markers of Hadoop's drivers)...

    async def _is_marked(self, uri: URI) -> bool:
        """Whether a blob of the folder's own name says that there is a folder."""
        name = uri.key.rstrip("/")
        if not name:
            return False
        response = await self._head(uri.with_key(name))
        return response.head.status == 200 and _is_directory(response.head)

    # Deleting (Delete Blob)...

    async def delete(self, uri: URI) -> None:
        self.require_key(uri)
        response = await send(self.service(), self._request("DELETE", uri))
        if response.head.status == 202:
            return
        if not says_not_there(response) or error_of(response).code == "ContainerNotFound":
            raise self.refusal(response, uri.text)

    async def delete_prefix(self, uri: URI) -> None:
        folders: list[str] = []
        async for page in self._list(Listing(uri, "")):
            folders += page.folders
            await Gather((self.delete(uri.with_key(name)) for name in page.keys), _DELETES_AT_A_TIME)
        for name in sorted(folders, reverse=True):  # once they are empty: a hierarchical namespace insists
            await self.delete(uri.with_key(name))
        if await self._is_marked(uri):
            await self.delete(uri.with_key(uri.key.rstrip("/")))

    # Containers, copies, and links...

    async def copy(self, source: URI, target: URI, size: int) -> bool:
        """Copy Blob From URL: let the service copy, within the account; False if the object is too large for that."""
        if size > _COPY_AT_ONCE:
            return False
        url, fields = self._readable(source)
        headers = [("x-ms-copy-source", url), ("x-ms-requires-sync", "true"), *fields]
        response = await send(self.service(), self._request("PUT", target, headers=headers))
        status = response.head.status
        if status == 404 or status >= 500:
            raise self.refusal(response, source.text)
        # Whatever else it has against it, reading and writing the blob ourselves may be allowed.
        return status == 202 and response.head.headers.get("x-ms-copy-status") == "success"

    def _readable(self, uri: URI) -> tuple[str, list[tuple[str, str]]]:
        """The URL by which the service itself may read a blob of this account, and the fields it needs for that."""
        service = self.service()
        credential = service.account.credential
        path = f"{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}"
        if isinstance(credential, SharedKey):
            query, fields = self._sas(credential, uri, "r", 3600), []
        else:
            query, allowed = credential.authorize("GET", path, "", (), 0)
            fields = [("x-ms-copy-source-authorization", value) for _, value in allowed]
        return f"{service.address.url}{path}{'?' if query else ''}{query}", fields

    def _sas(self, key: SharedKey, uri: URI, permissions: str, seconds: int) -> str:
        expires = int(time.time()) + seconds
        return key.blob_sas(
            uri.container, uri.key, permissions, VERSION, expires, only_https=self.service().address.tls
        )

    def presign(self, uri: URI, method: str, expires: int) -> str:
        """A service SAS of the blob. A PUT by it has to carry the field "x-ms-blob-type: BlockBlob"."""
        self.require_key(uri)
        check_presigned_life(expires)
        service = self.service()
        key = service.account.credential
        if not isinstance(key, SharedKey):
            raise ConfigurationError("only the account's key can presign: set AZURE_STORAGE_ACCOUNT_KEY")
        query = self._sas(key, uri, _PERMISSIONS[method], expires)
        return f"{service.address.url}{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}?{query}"

    async def make_bucket(self, uri: URI) -> None:
        """Create Container. One that is there already is fine."""
        response = await send(self.service(), self._container_request("PUT", uri))
        if response.head.status != 201 and error_of(response).code != "ContainerAlreadyExists":
            raise self.refusal(response, uri.text)

    async def remove_bucket(self, uri: URI) -> None:
        """Delete Container. The service would take one with everything in it; only an empty one goes."""
        if await self.is_prefix(uri.with_key("")):
            raise S3dlioError(f"{uri.text} is not empty: delete what is in it first", uri=uri.text)
        await self._expect(self._container_request("DELETE", uri), 202)

    async def buckets(self) -> list[str]:
        """List Containers: the names of the account's containers."""
        account = URI("az", "", "", "az://")
        pages = self._pages(Listing(account, ""), [], "Containers")
        return [
            name_of(item, page.named, response, account.text) async for page, response in pages for item in page.kind
        ]

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        return refusal(response, uri, self.service().account)

    # Requests...

    def _request(
        self,
        method: str,
        uri: URI,
        query: Iterable[tuple[str, str]] = (),
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: Sequence[memoryview] = (),
    ) -> Request:
        return Request(
            uri.text,
            method,
            uri_encode(uri.container),
            encoded_key(uri),
            query=canonical_query(query) if query else "",
            headers=tuple(headers),
            body=body,
        )

    def _container_request(self, method: str, uri: URI) -> Request:
        return Request(uri.text, method, uri_encode(uri.container), query="restype=container")

    async def _expect(self, request: Request, status: int) -> Response:
        response = await send(self.service(), request)
        if response.head.status != status:
            raise self.refusal(response, request.uri)
        return response


def block_id(upload: str, number: int) -> str:
    """The name of a block: 48 bytes before base64, as those of the vendor's own tools.

    All blocks of a blob, those of broken-off uploads included, must have names of one length.
    """
    return base64.b64encode(f"{upload}-{number:015}".encode()).decode()


def _md5_of_blob(head: ResponseHead) -> str | None:
    """The MD5 of the whole blob, if it has one. In an answer to a range, Content-MD5 is not that."""
    stored = head.headers.get("x-ms-blob-content-md5")
    return stored or (head.headers.get("content-md5") if head.status == 200 else None)


def _is_directory(head: ResponseHead) -> bool:
    """Whether an answer is about a folder, as accounts with a hierarchical namespace have them."""
    marked = head.headers.get("x-ms-meta-hdi_isfolder", "").strip().lower() == "true"
    return marked or head.headers.get("x-ms-resource-type", "").lower() == "directory"


def _is_folder(uri: URI, endpoint: str) -> ObjectNotFoundError:
    return ObjectNotFoundError(
        f"{uri.text} at {endpoint} is a folder, not an object",
        uri=uri.text,
        endpoint=endpoint,
        status=404,
    )


def _folders(page: Page, recursive: bool) -> list[str]:
    """The child folders that a page lists: prefixes, and blobs that stand for folders."""
    if recursive:
        return page.prefixes
    return [*page.prefixes, *(name if name.endswith("/") else name + "/" for name in page.folders)]
