"""az:// — Azure Blob Storage: block blobs by its REST API, on Azure, in its sovereign clouds, and on Azurite.

This module knows the requests and what their answers mean; how they travel is `http`'s, what allows them `auth`'s, and
how large objects go in parts `cloud`'s. The section names follow the life of a request: the service, building, then
one section per group of verbs, then errors.

A large blob is made of blocks, which nobody sees before a list of them is committed. What the service does not have is
an upload as such, and three things follow. The names of the blocks carry a random number for each upload, so that two
writers of one blob never mix. There is nothing to abort: blocks that were never committed cost space until they expire,
a week later. And whoever commits first makes the service forget the blocks of all others: they write theirs again.

Source: Azure Blob Storage REST API; each request names its page.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from s3dlio import settings as settings_module
from s3dlio.auth.azure_credentials import EntraToken, SharedAccessSignature, account_of
from s3dlio.auth.shared_key import SharedKey
from s3dlio.auth.sigv4 import canonical_query, uri_encode
from s3dlio.checksums import Expected, ExpectedMd5, crc64_text, md5_text
from s3dlio.endpoints import Endpoint, Endpoints
from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidURIError,
    ObjectNotFoundError,
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.http.address import Address, parse_endpoint, reached
from s3dlio.http.client import TRANSIENT, Request, limits, send
from s3dlio.http.exchange import Response
from s3dlio.http.framing import ResponseHead, request_head
from s3dlio.operations import Gather
from s3dlio.settings import Settings
from s3dlio.stores.base import Entry, ObjectInfo
from s3dlio.stores.cloud import CloudStore
from s3dlio.uri import URI

# New enough for names that XML cannot hold, old enough for every cloud and for an Azurite of 2022.
_VERSION = ("x-ms-version", "2021-12-02")

_BLOB_TYPE = "application/octet-stream"
_CRC64 = "x-ms-content-crc64"
_NOT_SUPPORTED = "FeatureNotSupported"
_CHANGED_ON_THE_WAY = frozenset({"Crc64Mismatch", "Md5Mismatch"})
_COPY_AT_ONCE = 256 << 20  # bytes; the service copies more than that only in the background
_DELETES_AT_A_TIME = 32
_TIMES_OVERTAKEN = 10  # a blob that others commit more often while its blocks are sent is an error
_MOST_SKEW = 900  # seconds that a clock may be wrong


# The service...


class AzureService:
    """The account that one state of the settings describes: endpoint and credential."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = limits(settings)
        self.account = account_of(settings)
        address, path = parse_endpoint(self.account.endpoint, self.account.source)
        self.address = reached(address, settings)
        self.path = path
        self.endpoints = Endpoints([Endpoint(self.address, path)])
        self.checks_md5 = settings.azure_get_md5 == "1" or (settings.azure_get_md5 == "auto" and not address.tls)
        self.put_checksum = settings.azure_put_checksum

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        """Where a request goes, and its head, signed now."""
        address = endpoint.address
        path = f"{endpoint.path}/{request.container}"
        if request.path:
            path = f"{path}/{request.path}"
        length = sum(map(len, request.body))
        headers = [_VERSION, *request.headers]
        query, added = self.account.credential.authorize(request.method, path, request.query, headers, length)
        fields = [("Host", address.authority), *headers, *added]
        if length or request.method == "PUT":
            fields.append(("Content-Length", str(length)))
        target = f"{path}?{query}" if query else path
        if address.proxy is not None and not address.tls:
            target = address.url + target
            if address.proxy.authorization:
                fields.append(("Proxy-Authorization", address.proxy.authorization))
        return address, request_head(request.method, target, fields)

    def is_transient(self, response: Response) -> bool:
        """Whether an answer may be another one next time."""
        status = response.head.status
        if status == 400:
            return error_of(response).code in _CHANGED_ON_THE_WAY
        return status in TRANSIENT and response.head.headers.get("x-ms-error-code") != _NOT_SUPPORTED

    def lacks_crc64(self, response: Response) -> bool:
        """Whether this is how an emulator answers to a CRC64 that it does not know (Azurite before 3.36)."""
        return self.put_checksum == "crc64" and response.head.headers.get("x-ms-error-code") == _NOT_SUPPORTED

    def checksum(self, data: Sequence[memoryview]) -> list[tuple[str, str]]:
        """The field by which the service checks a body, if the settings want one."""
        if self.put_checksum == "crc64":
            return [(_CRC64, crc64_text(data))]
        return [("Content-MD5", md5_text(data))] if self.put_checksum == "md5" else []

    def redirected(self, request: Request, response: Response) -> bool:  # noqa: ARG002
        """Whether the credential was refused as such and there may be another: a token that has expired."""
        status = response.head.status
        if status == 401 or (status == 403 and "token is expired" in error_of(response).detail):
            return self.account.credential.refused()
        return False


class AzureError(NamedTuple):
    """The error that an answer carries; fields are empty where it does not say, as in the answer to a HEAD.

    Attributes:
        code: The service's name for it.
        message: What it says, without the request's number.
        detail: What it adds about failed authentication.
    """

    code: str
    message: str
    detail: str


class _Overtaken(S3dlioError):
    """Somebody else committed the same blob meanwhile, and the service has forgotten the blocks sent before."""


class AzureStore(CloudStore):
    """az://"""

    most_parts = 50_000

    def __init__(self) -> None:
        self._service: AzureService | None = None

    def service(self) -> AzureService:
        settings = settings_module.current()
        service = self._service
        if service is None or service.settings is not settings:
            service = self._service = AzureService(settings)
        return service

    # Reading (Get Blob, Get Blob Properties)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        return self._request("GET", uri, headers=[("If-Match", version)] if version else ())

    def version_of(self, head: ResponseHead) -> str:
        return head.headers.get("etag", "")

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
            raise ObjectNotFoundError(
                f"{uri.text} at {response.address.url} is a folder, not an object",
                uri=uri.text,
                endpoint=response.address.url,
                status=404,
            )
        modified = headers.get("last-modified")
        md5 = headers.get("content-md5")
        return {
            "size": response.head.length or 0,
            "last_modified": parsedate_to_datetime(modified) if modified else datetime.fromtimestamp(0, timezone.utc),
            "etag": headers.get("etag", "").strip('"') or None,
            "content_type": headers.get("content-type"),
            "metadata": {
                name.removeprefix("x-ms-meta-"): value
                for name, value in headers.items()
                if name.startswith("x-ms-meta-")
            },
            "checksums": {"md5": md5} if md5 else {},
            "storage_class": headers.get("x-ms-access-tier"),
            "version": headers.get("x-ms-version-id"),
        }

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await self._head(uri)
        if response.head.status == 200:
            return not _is_directory(response.head)
        if response.head.status == 404:
            return False
        raise self.refusal(response, uri.text)

    async def _head(self, uri: URI) -> Response:
        return await send(self.service(), self._request("HEAD", uri))

    # Writing (Put Blob, Put Block, Put Block List)...

    async def put(self, uri: URI, data: memoryview) -> None:
        for _ in range(_TIMES_OVERTAKEN):
            try:
                return await super().put(uri, data)
            except _Overtaken as error:
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
        response = await send(service, request)
        if service.lacks_crc64(response):
            service.put_checksum = "md5"
            return await self._put_checked(uri, query, headers, data)
        if response.head.status != 201:
            raise self.refusal(response, uri.text)
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
        if stored.head.length != size or self.version_of(stored.head) != self.version_of(written.head):
            raise IntegrityError(
                f"{uri.text} at {stored.address.url}: {size} bytes were written, and {stored.head.length} bytes with"
                " another ETag are stored; somebody else may be writing the same object",
                uri=uri.text,
                endpoint=stored.address.url,
            )

    # Listing (List Blobs)...

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        prefix = uri.folder_key
        async for blobs in self._list(uri, "" if recursive else "/"):
            names = [_name(item)[len(prefix) :] for item in blobs if not _is_listed_directory(item)]
            if found := [name for name in names if name]:
                yield found

    async def entries(self, uri: URI) -> AsyncGenerator[list[Entry], None]:
        prefix = uri.folder_key
        async for blobs in self._list(uri, ""):
            sizes = [(_name(item)[len(prefix) :], item) for item in blobs if not _is_listed_directory(item)]
            if found := [Entry(name, int(_property(item, "Content-Length") or 0)) for name, item in sizes if name]:
                yield found

    async def is_prefix(self, uri: URI) -> bool:
        async for blobs in self._list(uri, "", most=1):
            if blobs:
                return True
        return False

    async def _list(self, uri: URI, delimiter: str, most: int = 5000) -> AsyncGenerator[list[ET.Element], None]:
        """The elements Blob and BlobPrefix of every page. A page may be empty and not be the last."""
        query = [("restype", "container"), ("comp", "list"), ("prefix", uri.folder_key), ("maxresults", str(most))]
        if delimiter:
            query.append(("delimiter", delimiter))
        marker = ""
        while True:
            more = [("marker", marker)] if marker else []
            request = Request(uri.text, "GET", uri_encode(uri.container), query=canonical_query([*query, *more]))
            page = _parsed(await self._expect(request, 200))
            found = page.find("Blobs")
            yield list(found) if found is not None else []
            before, marker = marker, page.findtext("NextMarker") or ""
            if not marker:
                return
            if marker == before:
                raise S3dlioError(f"the listing of {uri.text} goes on from where it was already", uri=uri.text)

    # Deleting (Delete Blob)...

    async def delete(self, uri: URI) -> None:
        self.require_key(uri)
        response = await send(self.service(), self._request("DELETE", uri))
        status = response.head.status
        if status != 202 and not (status == 404 and error_of(response).code != "ContainerNotFound"):
            raise self.refusal(response, uri.text)

    async def delete_prefix(self, uri: URI) -> None:
        folders: list[str] = []
        async for blobs in self._list(uri, ""):
            folders += [_name(item) for item in blobs if _is_listed_directory(item)]
            names = [_name(item) for item in blobs if not _is_listed_directory(item)]
            await Gather((self.delete(uri.with_key(name)) for name in names), _DELETES_AT_A_TIME)
        for name in sorted(folders, reverse=True):  # those of a hierarchical namespace, once they are empty
            await self.delete(uri.with_key(name))

    # Containers, copies, and links...

    async def copy(self, source: URI, target: URI, size: int) -> bool:
        """Copy Blob From URL: let the service copy, within the account; False if the object is too large for that."""
        if size > _COPY_AT_ONCE:
            return False
        url, fields = self._readable(source)
        headers = [("x-ms-copy-source", url), ("x-ms-requires-sync", "true"), *fields]
        response = await send(self.service(), self._request("PUT", target, headers=headers))
        if response.head.status != 202:
            raise self.refusal(response, source.text)
        return True

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
            uri.container, uri.key, permissions, _VERSION[1], expires, only_https=self.service().address.tls
        )

    async def make_bucket(self, uri: URI) -> None:
        """Create Container. One that is there already is fine."""
        response = await send(self.service(), self._container_request("PUT", uri))
        if response.head.status != 201 and error_of(response).code != "ContainerAlreadyExists":
            raise self.refusal(response, uri.text)

    async def remove_bucket(self, uri: URI) -> None:
        """Delete Container, with everything in it."""
        await self._expect(self._container_request("DELETE", uri), 202)

    # Requests and refusals...

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
            headers=list(headers),
            body=body,
        )

    def _container_request(self, method: str, uri: URI) -> Request:
        return Request(uri.text, method, uri_encode(uri.container), query="restype=container")

    async def _expect(self, request: Request, status: int) -> Response:
        response = await send(self.service(), request)
        if response.head.status != status:
            raise self.refusal(response, request.uri)
        return response

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        status = response.head.status
        error = error_of(response)
        said = f"{error.code} {error.message}".strip() or response.head.reason
        message = f"{uri} at {response.address.url}: {status} {said}".strip()
        where: dict[str, Any] = {"uri": uri, "endpoint": response.address.url, "status": status}
        kind, hint = _REFUSALS.get(error.code, (None, ""))
        if status in (401, 403) and not hint:
            kind, hint = PermissionDeniedError, self._why_refused(response, error)
        if kind is None:
            kind, hint = _BY_STATUS.get(status, (S3dlioError, ""))
        return kind(f"{message}; {hint}" if hint else message, **where)

    def _why_refused(self, response: Response, error: AzureError) -> str:
        """What to check after 401 or 403: it depends on the credential."""
        account = self.service().account
        credential = account.credential
        skew = _skew(response.head)
        if isinstance(credential, SharedAccessSignature):
            expired = credential.expires and credential.expires < time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
            if expired:
                return f"the shared access signature ended at {credential.expires}: get a new one"
            return (
                f"the shared access signature (it allows {credential.permissions!r}) is not good for this: check"
                " AZURE_STORAGE_SAS_TOKEN, and that it is for this account and container"
            )
        if abs(skew) > _MOST_SKEW:
            return f"this machine's clock is {abs(skew) / 60:.0f} minutes {'ahead' if skew > 0 else 'behind'}: set it"
        if isinstance(credential, SharedKey):
            return (
                f"the account key is not that of {account.name!r}: check AZURE_STORAGE_ACCOUNT_KEY and"
                " AZURE_STORAGE_ACCOUNT_NAME"
            )
        if isinstance(credential, EntraToken):
            tenant = _TENANT.search(response.head.headers.get("www-authenticate", ""))
            wanted = f"; the account belongs to the tenant {tenant[1]}" if tenant is not None else ""
            return f"the token of Entra ID is not accepted{wanted}: check AZURE_TENANT_ID and the identity. {_ROLE}"
        return "the container is not public: give credentials, and unset S3DLIO_NO_SIGN" + (
            f" ({error.detail})" if error.detail else ""
        )


_TENANT = re.compile(r"authorization_uri=\"?https://[^/\s,]+/([0-9a-fA-F-]{36})")
_ROLE = "Reading needs the role Storage Blob Data Reader, writing Storage Blob Data Contributor"
_MAY_NOT = f"the credential is right but does not allow this: check the signature's permissions, or the role. {_ROLE}"
_LEASED = "somebody holds a lease on it: wait until it ends, or break it"
_PROTECTED = "a policy of the account or container forbids to change it"

# What the service's error codes mean here, and what to check ("Blob Storage error codes", "Common REST API error
# codes").
_REFUSALS: dict[str, tuple[type[S3dlioError] | None, str]] = {
    "AccountIsDisabled": (PermissionDeniedError, "the storage account is disabled"),
    "AccountRequiresHttps": (ConfigurationError, "the account takes https only: check AZURE_STORAGE_ENDPOINT"),
    "AuthorizationFailure": (
        PermissionDeniedError,
        f"this is not allowed from here: check the account's firewall and network rules, and the role. {_ROLE}",
    ),
    "AuthorizationPermissionMismatch": (PermissionDeniedError, _MAY_NOT),
    "AuthorizationProtocolMismatch": (PermissionDeniedError, "the shared access signature is good for https only"),
    "AuthorizationResourceTypeMismatch": (
        PermissionDeniedError,
        "the shared access signature does not cover this kind of thing: it needs srt=co for containers and objects",
    ),
    "AuthorizationServiceMismatch": (
        PermissionDeniedError,
        "the shared access signature is not for the Blob service: it needs ss=b",
    ),
    "AuthorizationSourceIPMismatch": (
        PermissionDeniedError,
        "the shared access signature is not good for this machine's address",
    ),
    "BlobArchived": (S3dlioError, "the blob is in the archive tier: rehydrate it first"),
    "BlobBeingRehydrated": (S3dlioError, "the blob is on its way out of the archive tier: try again later"),
    "BlobImmutableDueToLegalHold": (PermissionDeniedError, _PROTECTED),
    "BlobImmutableDueToPolicy": (PermissionDeniedError, _PROTECTED),
    "BlobNotFound": (ObjectNotFoundError, "there is no such object"),
    "BlockCountExceedsLimit": (
        S3dlioError,
        "too many blocks of uploads that were broken off: they expire in a week, or with a write in one piece",
    ),
    "CannotVerifyCopySource": (None, "the service cannot read the source of the copy"),
    "ContainerBeingDeleted": (S3dlioError, "the container is being deleted: wait half a minute"),
    "ContainerNotFound": (ObjectNotFoundError, "there is no such container: check its name and the account"),
    "InsufficientAccountPermissions": (PermissionDeniedError, _MAY_NOT),
    "InvalidBlobOrBlock": (
        S3dlioError,
        "another program's broken-off upload of the same object may be in the way: delete or overwrite the object once",
    ),
    "InvalidBlobType": (S3dlioError, "there is an append or page blob of this name: delete it first"),
    "InvalidBlockList": (
        _Overtaken,
        "somebody else wrote the object meanwhile, which made the service forget the parts sent before: write it again",
    ),
    "InvalidResourceName": (InvalidURIError, "a container's name has 3 to 63 lower-case letters, digits and hyphens"),
    "InvalidUri": (InvalidURIError, "the service takes no such name"),
    "KeyBasedAuthenticationNotPermitted": (
        PermissionDeniedError,
        "the account does not allow its keys to be used: unset AZURE_STORAGE_ACCOUNT_KEY and use Entra ID",
    ),
    "LeaseIdMissing": (S3dlioError, _LEASED),
    **dict.fromkeys(
        _CHANGED_ON_THE_WAY,
        (IntegrityError, "the bytes changed on their way, or while they were sent: write it again, check the network"),
    ),
    "OperationTimedOut": (StoreTimeoutError, "the service takes too long, try again later"),
    "OutOfRangeInput": (InvalidURIError, "the service takes no such name: it is too long or too short"),
    "PendingCopyOperation": (S3dlioError, "somebody is copying to it: wait until that has ended"),
    "PublicAccessNotPermitted": (
        PermissionDeniedError,
        "the account allows no public containers: give credentials, and unset S3DLIO_NO_SIGN",
    ),
    "SnapshotsPresent": (S3dlioError, "the blob has snapshots, which s3dlio never deletes: delete them first"),
}
_BY_STATUS: dict[int, tuple[type[S3dlioError], str]] = {
    404: (ObjectNotFoundError, "there is no such object"),
    **dict.fromkeys(TRANSIENT, (StoreUnavailableError, "the service cannot answer now, try again later")),
    408: (StoreTimeoutError, "the service takes too long, try again later"),
    504: (StoreTimeoutError, "the service takes too long, try again later"),
}

# Of what the service says about failed authentication, what is safe to repeat: other texts quote signatures.
_SAFE_DETAIL = re.compile(
    r"(Request date header too old|Signature not valid in the specified time frame|Lifetime validation failed|"
    r"Audience validation failed|Issuer validation failed)[^?&=]*"
)


def error_of(response: Response) -> AzureError:
    """The error that an answer carries in its fields and its body."""
    code = response.head.headers.get("x-ms-error-code", "")
    message = detail = ""
    body = bytes(response.body[:65536])
    if b"<Error" in body:
        try:
            root = ET.fromstring(body)
        except ET.ParseError:
            return AzureError(code, "", "")
        code = code or root.findtext("Code") or ""
        message = (root.findtext("Message") or "").partition("\n")[0].strip().rstrip(".")
        if found := _SAFE_DETAIL.search(root.findtext("AuthenticationErrorDetail") or ""):
            detail = found[0].strip()
            message = f"{message} {detail}"
    return AzureError(code, message, detail)


def encoded_key(uri: URI) -> str:
    """The key as it stands in a request's path.

    Raises:
        InvalidURIError: it would name another object: the service takes a backslash for a slash, and segments "." and
            ".." are resolved before it sees them.
    """
    key = uri.key
    if "\\" in key:
        raise InvalidURIError(
            f"{uri.text!r}: Azure takes a backslash for a slash: name the object by the latter", uri=uri.text
        )
    if "." in key and not {".", ".."}.isdisjoint(key.split("/")):
        raise InvalidURIError(f"{uri.text!r}: Azure takes no '.' and no '..' between slashes in a name", uri=uri.text)
    return uri_encode(key)


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
    return head.headers.get("x-ms-resource-type") == "directory" or head.headers.get("x-ms-meta-hdi_isfolder") == "true"


def _skew(head: ResponseHead) -> float:
    """Seconds by which this machine's clock is ahead of the service's."""
    try:
        return time.time() - parsedate_to_datetime(head.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return 0.0


# XML...


def _parsed(response: Response) -> ET.Element:
    try:
        return ET.fromstring(bytes(response.body))
    except ET.ParseError as error:
        raise S3dlioError(
            f"{response.address.url} sent an answer that is not XML ({error}): check that it is an Azure Blob endpoint",
            endpoint=response.address.url,
        ) from None


def _name(item: ET.Element) -> str:
    """The name of a Blob or BlobPrefix; one that XML cannot hold comes percent-encoded."""
    element = item.find("Name")
    if element is None:
        return ""
    text = element.text or ""
    return unquote(text) if element.get("Encoded") == "true" else text


def _property(item: ET.Element, name: str) -> str | None:
    return item.findtext(f"Properties/{name}")


def _is_listed_directory(item: ET.Element) -> bool:
    """Whether a Blob is the folder itself, as accounts with a hierarchical namespace list them."""
    return item.tag == "Blob" and _property(item, "ResourceType") == "directory"
