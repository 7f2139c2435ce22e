# SPDX-License-Identifier: Apache-2.0
"""az:// — Azure Blob Storage: block blobs by its REST API, on Azure, in its sovereign clouds, and on Azurite.

This module has the class and its shorter verbs. Where requests go and what authorizes them is in `service`; the other
modules of the package are named after the verbs they hold, or after what they read.

Source: Azure Blob Storage REST API; each verb names its page.
"""

from __future__ import annotations

from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.auth.encoding import check_presigned_life, uri_encode
from s3dlio.errors import ConfigurationError, ObjectNotFoundError, S3dlioError
from s3dlio.http.address import Address
from s3dlio.http.framing import ResponseHead
from s3dlio.memory.checksums import Expected, ExpectedMd5
from s3dlio.objects import documents
from s3dlio.objects.request import Request, send
from s3dlio.stores.azure import buckets, copying, listing, multipart, writing
from s3dlio.stores.azure.answers import error_of, is_directory, says_not_there
from s3dlio.stores.azure.refusals import is_overtaken
from s3dlio.stores.azure.service import AzureService, blob_request, blob_url, encoded_key, head_blob, signature
from s3dlio.stores.cloud import facts_of
from s3dlio.stores.pager import Listing, PagedStore
from s3dlio.stores.refusals import error_at
from s3dlio.types import ObjectInfo
from s3dlio.uri import URI

_PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}  # of a presigned URL, by the request's method
_TIMES_OVERTAKEN = 10  # a blob that others commit more often while its blocks are sent is an error


class AzureStore(PagedStore[AzureService]):
    """az://"""

    service_class = AzureService
    account = URI("az", "", "", "az://")
    most_parts = 50_000

    # Verbs with modules of their own...

    put_whole = writing.put_whole
    begin_parts = multipart.begin_parts
    put_part = multipart.put_part
    finish_parts = multipart.finish_parts
    drop_parts = multipart.drop_parts
    page = listing.page
    copy = copying.copy
    make_bucket = buckets.make_bucket
    remove_bucket = buckets.remove_bucket
    page_of_buckets = buckets.page_of_buckets

    # Reading (Get Blob)...

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

    async def check_empty(self, uri: URI, head: ResponseHead | None) -> None:
        if head is None:  # Azure answers 416 to a range of nothing, without the metadata
            head = (await head_blob(self.service(), uri)).head
        if is_directory(head):
            raise _is_a_folder(uri, self.service().address)

    # Facts (Get Blob Properties)...

    async def stat(self, uri: URI) -> ObjectInfo:
        self.require_key(uri)
        response = await head_blob(self.service(), uri)
        headers = response.head.headers
        if response.head.status != 200:
            raise self.refusal(response, uri.text)
        if is_directory(response.head):
            raise _is_a_folder(uri, response.address)
        md5 = headers.get("content-md5")
        size = await self.size_of(uri, response)
        with documents.reading(uri.text, response.address.url):
            return facts_of(
                uri,
                response,
                size,
                "x-ms-meta-",
                checksums={"md5": md5} if md5 else {},
                storage_class=headers.get("x-ms-access-tier"),
                version=headers.get("x-ms-version-id"),
            )

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await head_blob(self.service(), uri)
        if response.head.status == 200:
            return not is_directory(response.head)
        if says_not_there(response):
            return False
        raise self.refusal(response, uri.text)

    async def is_prefix(self, uri: URI) -> bool:
        return await super().is_prefix(uri) or await self._is_marked(uri)

    async def _is_marked(self, uri: URI) -> bool:
        """Tell whether a blob of the folder's own name marks the folder, as Hadoop's drivers write them."""
        name = uri.key.rstrip("/")
        if not name:
            return False
        response = await head_blob(self.service(), uri.with_key(name))
        return response.head.status == 200 and is_directory(response.head)

    # Deleting (Delete Blob)...

    async def delete(self, uri: URI) -> None:
        """Delete a blob. Deleting a missing blob succeeds."""
        self.require_key(uri)
        response = await send(self.service(), blob_request("DELETE", uri))
        if response.head.status == 202:
            return
        if not says_not_there(response) or error_of(response).code == "ContainerNotFound":
            raise self.refusal(response, uri.text)

    async def delete_prefix(self, uri: URI) -> None:
        """Delete page by page, and then the folders: a hierarchical namespace deletes only empty ones."""
        folders: list[str] = []
        async for page in self.checked_pages(Listing(uri)):
            folders += page.markers
            await self.delete_page(uri, page)
        for name in sorted(folders, reverse=True):
            await self.delete(uri.with_key(name))
        if await self._is_marked(uri):
            await self.delete(uri.with_key(uri.key.rstrip("/")))

    # Writing...

    async def put(self, uri: URI, data: memoryview) -> None:
        """Write the blob, and again if another writer's commit made the service drop the blocks of this one."""
        for _ in range(_TIMES_OVERTAKEN):
            try:
                return await super().put(uri, data)
            except S3dlioError as error:
                if not is_overtaken(error):
                    raise
                overtaken = error
        raise overtaken

    # Presigned URLs (Create a service SAS)...

    def presign(self, uri: URI, method: str, expires: int) -> str:
        """Make a service SAS of the blob. A PUT with it has to carry the field "x-ms-blob-type: BlockBlob"."""
        self.require_key(uri)
        check_presigned_life(expires)
        service = self.service()
        key = service.account.credential
        if not isinstance(key, SharedKey):
            raise ConfigurationError(
                f"cannot presign {uri.text}: only the account's key can sign; set AZURE_STORAGE_ACCOUNT_KEY"
            )
        return blob_url(service, uri, signature(service, key, uri, _PERMISSIONS[method], expires))


def _md5_of_blob(head: ResponseHead) -> str | None:
    """Return the MD5 of the whole blob, if it has one. In the answer to a range, Content-MD5 is the range's."""
    stored = head.headers.get("x-ms-blob-content-md5")
    return stored or (head.headers.get("content-md5") if head.status == 200 else None)


def _is_a_folder(uri: URI, address: Address) -> ObjectNotFoundError:
    return error_at(
        ObjectNotFoundError, uri.text, address, "this is a folder, not an object", "name an object in it", 404
    )
