"""s3:// — Amazon S3, and everything that speaks its REST API: MinIO, Ceph, SeaweedFS and others.

This module knows the requests and what their answers mean; how they travel is `http`'s, how they are signed `auth`'s,
and how large objects go in parts `cloud`'s. The section names follow the life of a request: the service, building,
then one section per group of verbs, then errors.

Source: Amazon S3 API Reference; each request names its page.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from s3dlio import settings as settings_module
from s3dlio.auth.aws_credentials import CredentialSource
from s3dlio.auth.sigv4 import UNSIGNED_PAYLOAD, Signer, canonical_query, uri_encode
from s3dlio.checksums import crc32c, crc32c_text, md5_hex
from s3dlio.endpoints import Endpoint, Endpoints
from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
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
from s3dlio.operations import Sleep
from s3dlio.settings import Settings
from s3dlio.stores.base import Entry, ObjectInfo
from s3dlio.stores.cloud import CloudStore
from s3dlio.uri import URI

_log = logging.getLogger("s3dlio")

_TRANSIENT_CODES = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling"})
_REGION_HEADER = "x-amz-bucket-region"
_DELETE_AT_ONCE = 1000
_COPY_AT_ONCE = 5 << 30  # bytes; more has to be copied in parts
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MD5_ETAG = re.compile(r"[0-9a-f]{32}")
_UNSIGNED = frozenset({"Range", "If-Match"})
_CHECKSUMMED = ("x-amz-checksum-mode", "ENABLED")


# The service...


class S3Service:
    """The service that one state of the settings describes: endpoints, credentials, signers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = limits(settings)
        self.is_aws = settings.s3_endpoints is None
        self._regions: dict[str, str] = {}
        self._signers: dict[tuple[str, str], Signer] = {}
        self._addresses: dict[Address, Address] = {}
        self._credentials = None
        if not settings.s3_no_sign:
            self._credentials = CredentialSource(
                settings.aws_access_key_id,
                settings.aws_secret_access_key,
                settings.aws_session_token,
                settings.aws_profile,
            )
        places = settings.s3_endpoints or f"https://s3.{self._default_region()}.amazonaws.com"
        source = "S3_ENDPOINT_URIS or AWS_ENDPOINT_URL"
        self.endpoints = Endpoints(
            [Endpoint(*parse_endpoint(place, source)) for place in places.split(",")], settings.s3_load_balance
        )

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        """Where a request goes, and its head, signed now."""
        bucket = request.container
        address, path = self._place(bucket, request.path, endpoint)
        headers = request.headers
        authority = address.authority
        length = sum(map(len, request.body))
        unsigned: list[tuple[str, str]] = [("Host", authority)]
        if length or request.method in ("PUT", "POST"):
            unsigned.append(("Content-Length", str(length)))
        if self._credentials is None:
            fields = [*unsigned, *headers]
        else:
            # Of the others no one insists on a signature, and without them most requests sign the same fields.
            to_sign = [field for field in headers if field[0] not in _UNSIGNED]
            signed = self._signer(bucket, authority).sign(
                request.method, path, request.query, to_sign, self._payload_hash(request)
            )
            fields = [*unsigned, *headers, *signed]
        target = f"{path}?{request.query}" if request.query else path
        if address.proxy is not None and not address.tls:
            target = address.url + target
            if address.proxy.authorization:
                fields.append(("Proxy-Authorization", address.proxy.authorization))
        return address, request_head(request.method, target, fields)

    def is_transient(self, response: Response) -> bool:
        """Whether an answer may be another one next time."""
        status = response.head.status
        if status < 300:
            return False
        if status in TRANSIENT:
            return True
        return status == 400 and error_of(response).code in _TRANSIENT_CODES

    def redirected(self, request: Request, response: Response) -> bool:
        """Whether the answer names a region that the bucket was not known to lie in; it is remembered."""
        if response.head.status not in (301, 307, 400) or not request.container:
            return False
        region = response.head.headers.get(_REGION_HEADER) or error_of(response).region
        if not region or self._region(request.container) == region:
            return False
        self._regions[request.container] = region
        return True

    def presign(self, uri: URI, method: str, expires: int) -> str:
        """The URL with which anyone can make one request for an object."""
        if self._credentials is None:
            raise ConfigurationError("S3DLIO_NO_SIGN=1: without credentials there is nothing to presign with")
        address, path = self._place(uri.container, encoded_key(uri), self.endpoints.choose())
        signer = self._signer(uri.container, address.authority)
        return address.url + signer.presign(method, path, expires=expires)

    def _place(self, bucket: str, path: str, endpoint: Endpoint) -> tuple[Address, str]:
        """The address and path of a request, by the addressing style."""
        address = endpoint.address
        style = self.settings.s3_addressing
        virtual = bucket and (style == "virtual" or (style == "auto" and self.is_aws and "." not in bucket))
        if self.is_aws and bucket and bucket in self._regions:
            address = address._replace(host=f"s3.{self._regions[bucket]}.amazonaws.com")
        if virtual:
            address = address._replace(host=f"{bucket}.{address.host}")
            path = f"{endpoint.path}/{path}"
        else:
            path = f"{endpoint.path}/{bucket}/{path}" if path else f"{endpoint.path}/{bucket}"
        known = self._addresses.get(address)
        if known is None:
            known = self._addresses[address] = reached(address, self.settings)
        return known, path

    def _signer(self, bucket: str, authority: str) -> Signer:
        assert self._credentials is not None
        region = self._region(bucket)
        credentials = self._credentials.current()
        signer = self._signers.get((authority, region))
        if signer is None or signer.credentials is not credentials:
            signer = self._signers[authority, region] = Signer(credentials, region, authority)
        return signer

    def _region(self, bucket: str) -> str:
        return self._regions.get(bucket) or self._default_region()

    def _default_region(self) -> str:
        return self.settings.aws_region or "us-east-1"

    def _payload_hash(self, request: Request) -> str:
        if not self.settings.s3_sign_payload:
            return UNSIGNED_PAYLOAD
        digest = hashlib.sha256()
        for view in request.body:
            digest.update(view)
        return digest.hexdigest()


class S3Error(NamedTuple):
    """The error in an answer's body; empty fields where there is none, as in the answer to a HEAD."""

    code: str
    message: str
    region: str


class Uploaded(NamedTuple):
    """What finishing a multipart upload needs of a part."""

    etag: str
    checksum: str


class S3Store(CloudStore):
    """s3://"""

    most_parts = 10_000

    def __init__(self) -> None:
        self._service: S3Service | None = None

    def service(self) -> S3Service:
        settings = settings_module.current()
        service = self._service
        if service is None or service.settings is not settings:
            service = self._service = S3Service(settings)
        return service

    # Reading (GetObject)...

    def read_request(self, uri: URI, version: str | None) -> Request:
        headers = []
        if self.service().settings.verify_get:
            headers.append(_CHECKSUMMED)
        if version:
            headers.append(("If-Match", version))
        return Request(uri.text, "GET", uri.container, encoded_key(uri), headers=headers)

    def version_of(self, head: ResponseHead) -> str:
        return head.headers.get("etag", "")

    def whole_crc32c(self, head: ResponseHead) -> str | None:
        sent = head.headers.get("x-amz-checksum-crc32c")
        # A checksum of checksums, which ends in the number of parts, is not the body's.
        if sent is None or "-" in sent or head.headers.get("x-amz-checksum-type") == "COMPOSITE":
            return None
        # With a range that is just a part, S3 sends the checksum of that part.
        return sent if head.status == 200 or _is_whole(head.headers.get("content-range", "")) else None

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
        modified = headers.get("last-modified")
        return {
            "size": response.head.length or 0,
            "last_modified": parsedate_to_datetime(modified) if modified else datetime.fromtimestamp(0, timezone.utc),
            "etag": headers.get("etag", "").strip('"') or None,
            "content_type": headers.get("content-type"),
            "metadata": {
                name.removeprefix("x-amz-meta-"): value
                for name, value in headers.items()
                if name.startswith("x-amz-meta-")
            },
            "checksums": checksums,
            "storage_class": headers.get("x-amz-storage-class"),
            "version": headers.get("x-amz-version-id"),
        }

    async def exists(self, uri: URI) -> bool:
        self.require_key(uri)
        response = await self._head(uri)
        if response.head.status == 200:
            return True
        if response.head.status == 404:
            return False
        raise self.refusal(response, uri.text)

    async def _head(self, uri: URI) -> Response:
        return await send(
            self.service(), Request(uri.text, "HEAD", uri.container, encoded_key(uri), headers=[_CHECKSUMMED])
        )

    # Writing (PutObject and multipart upload)...

    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        checksum = crc32c_text(crc32c(data))
        headers = [("Content-Type", "application/octet-stream"), ("x-amz-checksum-crc32c", checksum)]
        response = await self._expect(
            Request(uri.text, "PUT", uri.container, encoded_key(uri), headers=headers, body=data), 200
        )
        self._check_stored(uri, response, checksum, data)
        if self.service().settings.put_verify:
            await self._verify(uri, sum(map(len, data)), response.head.headers.get("etag", ""), checksum)

    async def begin_parts(self, uri: URI) -> str:
        """CreateMultipartUpload; returns the upload's id."""
        headers = [("Content-Type", "application/octet-stream"), ("x-amz-checksum-algorithm", "CRC32C")]
        response = await self._expect(self._request("POST", uri, [("uploads", "")], headers=headers), 200)
        upload = _text(_parsed(response), "UploadId")
        if not upload:
            raise S3dlioError(f"{uri.text} at {response.address.url}: the answer names no upload", uri=uri.text)
        return upload

    async def put_part(self, uri: URI, upload: str, number: int, data: list[memoryview]) -> Uploaded:
        """UploadPart."""
        checksum = crc32c_text(crc32c(data))
        request = self._request("PUT", uri, [("partNumber", str(number)), ("uploadId", upload)])
        request.headers.append(("x-amz-checksum-crc32c", checksum))
        request.body = data
        response = await self._expect(request, 200)
        self._check_stored(uri, response, checksum, data)
        confirmed = response.head.headers.get("x-amz-checksum-crc32c", "")
        return Uploaded(response.head.headers.get("etag", ""), confirmed)

    async def finish_parts(self, uri: URI, upload: str, parts: list[Uploaded], size: int) -> None:
        """CompleteMultipartUpload, which may answer 200 and still have failed, or 404 after it had succeeded."""
        lines = []
        for number, part in enumerate(parts, 1):
            checksum = f"<ChecksumCRC32C>{part.checksum}</ChecksumCRC32C>" if part.checksum else ""
            lines.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag>{checksum}</Part>")
        body = f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{"".join(lines)}</CompleteMultipartUpload>'.encode()
        request = self._request("POST", uri, [("uploadId", upload)], body=[memoryview(body)])
        response = await self._send_until_no_error_inside(request)
        if response.head.status == 200:
            etag = _text(_parsed(response), "ETag") or ""
        elif response.head.status == 404 and error_of(response).code == "NoSuchUpload":
            # An earlier try of this request may have succeeded and its answer been lost.
            etag = _etag_of_parts(parts)
            stored = await self._head(uri)
            if stored.head.status != 200 or stored.head.length != size or not _same_etag(stored.head, etag):
                raise self.refusal(response, uri.text)
        else:
            raise self.refusal(response, uri.text)
        if self.service().settings.put_verify:
            await self._verify(uri, size, etag, None)

    async def drop_parts(self, uri: URI, upload: str) -> None:
        """AbortMultipartUpload."""
        try:
            response = await send(self.service(), self._request("DELETE", uri, [("uploadId", upload)]))
        except S3dlioError as error:
            _log.warning("the parts of %s could not be dropped (a lifecycle rule can): %s", uri.text, error)
        else:
            if response.head.status not in (200, 204, 404):
                _log.warning("the parts of %s could not be dropped: %s", uri.text, self.refusal(response, uri.text))

    def _check_stored(self, uri: URI, response: Response, checksum: str, data: list[memoryview]) -> None:
        """Compare what the server says it stored with what was sent."""
        headers = response.head.headers
        confirmed = headers.get("x-amz-checksum-crc32c")
        if confirmed is not None:
            right = confirmed == checksum
        else:
            etag = headers.get("etag", "").strip('"')
            encrypted = headers.get("x-amz-server-side-encryption") or headers.get(
                "x-amz-server-side-encryption-customer-algorithm"
            )
            if not self.service().settings.put_etag or _MD5_ETAG.fullmatch(etag) is None or encrypted:
                return
            right = md5_hex(data) == etag
        if not right:
            raise IntegrityError(
                f"{uri.text} at {response.address.url}: the server stored other bytes than were sent; write it again,"
                " and check the network and the server",
                uri=uri.text,
                endpoint=response.address.url,
            )

    async def _verify(self, uri: URI, size: int, etag: str, checksum: str | None) -> None:
        """Ask for what is stored, and compare."""
        stored = await self._head(uri)
        if stored.head.status != 200:
            raise self.refusal(stored, uri.text)
        kept = stored.head.headers.get("x-amz-checksum-crc32c")
        wrong_checksum = checksum is not None and kept is not None and kept != checksum
        if stored.head.length != size or wrong_checksum or not _same_etag(stored.head, etag):
            raise IntegrityError(
                f"{uri.text} at {stored.address.url}: {size} bytes were written, and {stored.head.length} bytes with"
                " another checksum or ETag are stored; somebody else may be writing the same object",
                uri=uri.text,
                endpoint=stored.address.url,
            )

    async def _send_until_no_error_inside(self, request: Request) -> Response:
        """Send a request whose answer may be 200 with an error in its body, again while that error may pass."""
        tries = 0
        while True:
            response = await send(self.service(), request)
            error = error_of(response)
            if response.head.status != 200 or not error.code:
                return response
            tries += 1
            if error.code not in _TRANSIENT_CODES or tries > self.service().settings.retries:
                raise self.refusal(response, request.uri)
            await Sleep(min(5.0, 0.2 * 2**tries))

    # Listing (ListObjectsV2)...

    async def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        prefix = uri.folder_key
        async for page in self._list(uri, "" if recursive else "/"):
            names = [unquote(_text(item, "Key") or "") for item in _all(page, "Contents")]
            folders = [unquote(_text(item, "Prefix") or "") for item in _all(page, "CommonPrefixes")]
            yield [name[len(prefix) :] for name in (*names, *folders) if name != prefix]

    async def entries(self, uri: URI) -> AsyncGenerator[list[Entry], None]:
        prefix = uri.folder_key
        async for page in self._list(uri, ""):
            found = [(unquote(_text(item, "Key") or ""), item) for item in _all(page, "Contents")]
            yield [Entry(key[len(prefix) :], int(_text(item, "Size") or 0)) for key, item in found if key != prefix]

    async def is_prefix(self, uri: URI) -> bool:
        async for page in self._list(uri, "", most=1):
            if _all(page, "Contents"):
                return True
        return False

    async def _list(self, uri: URI, delimiter: str, most: int = 1000) -> AsyncGenerator[ET.Element, None]:
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(most)), ("prefix", uri.folder_key)]
        if delimiter:
            query.append(("delimiter", delimiter))
        token: str | None = None
        while True:
            more = [("continuation-token", token)] if token is not None else []
            request = Request(uri.text, "GET", uri.container, query=canonical_query([*query, *more]))
            page = _parsed(await self._expect(request, 200))
            yield page
            if _text(page, "IsTruncated") != "true" or most == 1:
                return
            before, token = token, _text(page, "NextContinuationToken")
            if not token or token == before:
                raise S3dlioError(f"the listing of {uri.text} says that it goes on, but not where", uri=uri.text)

    # Deleting (DeleteObject, DeleteObjects)...

    async def delete(self, uri: URI) -> None:
        self.require_key(uri)
        response = await send(self.service(), Request(uri.text, "DELETE", uri.container, encoded_key(uri)))
        if response.head.status not in (200, 204) and error_of(response).code != "NoSuchKey":
            raise self.refusal(response, uri.text)

    async def delete_prefix(self, uri: URI) -> None:
        async for page in self._list(uri, ""):
            keys = [unquote(_text(item, "Key") or "") for item in _all(page, "Contents")]
            # What XML cannot hold has to go one by one.
            for key in filter(_NOT_XML.search, keys):
                await self.delete(uri.with_key(key))
            keys = [key for key in keys if not _NOT_XML.search(key)]
            for start in range(0, len(keys), _DELETE_AT_ONCE):
                await self._delete_keys(uri, keys[start : start + _DELETE_AT_ONCE])

    async def _delete_keys(self, uri: URI, keys: list[str]) -> None:
        objects = "".join(f"<Object><Key>{_escaped(key)}</Key></Object>" for key in keys)
        body = f'<Delete xmlns="{_NAMESPACE}"><Quiet>true</Quiet>{objects}</Delete>'.encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        request = Request(
            uri.text,
            "POST",
            uri.container,
            query=canonical_query([("delete", "")]),
            headers=[("Content-MD5", digest), ("Content-Type", "application/xml")],
            body=[memoryview(body)],
        )
        response = await self._expect(request, 200)
        failed = _all(_parsed(response), "Error")
        if failed:
            code, key = _text(failed[0], "Code") or "", _text(failed[0], "Key") or ""
            message = f"{len(failed)} of {len(keys)} objects were not deleted, the first s3://{uri.container}/{key}"
            why = f"{message}: {code} {_text(failed[0], 'Message') or ''} at {response.address.url}"
            kind = PermissionDeniedError if code == "AccessDenied" else S3dlioError
            raise kind(why, uri=uri.text, endpoint=response.address.url)

    # Buckets and copies...

    async def copy(self, source: URI, target: URI, size: int) -> bool:
        """CopyObject: let the server copy; False if the object is too large for that."""
        if size > _COPY_AT_ONCE:
            return False
        place = f"/{source.container}/{encoded_key(source)}"
        request = Request(
            target.text, "PUT", target.container, encoded_key(target), headers=[("x-amz-copy-source", place)]
        )
        response = await self._send_until_no_error_inside(request)
        if response.head.status != 200:
            raise self.refusal(response, source.text)
        return True

    async def make_bucket(self, uri: URI) -> None:
        """CreateBucket. One that is ours already is fine."""
        service = self.service()
        body = b""
        if service.is_aws and service.settings.aws_region not in (None, "us-east-1"):
            place = f"<LocationConstraint>{escape(service.settings.aws_region or '')}</LocationConstraint>"
            body = f'<CreateBucketConfiguration xmlns="{_NAMESPACE}">{place}</CreateBucketConfiguration>'.encode()
        response = await send(service, Request(uri.text, "PUT", uri.container, body=[memoryview(body)]))
        if response.head.status != 200 and error_of(response).code != "BucketAlreadyOwnedByYou":
            raise self.refusal(response, uri.text)

    async def remove_bucket(self, uri: URI) -> None:
        """DeleteBucket; it has to be empty."""
        response = await send(self.service(), Request(uri.text, "DELETE", uri.container))
        if response.head.status not in (200, 204):
            raise self.refusal(response, uri.text)

    async def buckets(self) -> list[str]:
        """ListBuckets: the names of our buckets."""
        page = _parsed(await self._expect(Request("s3://", "GET", ""), 200))
        return [_text(item, "Name") or "" for group in _all(page, "Buckets") for item in _all(group, "Bucket")]

    def presign(self, uri: URI, method: str, expires: int) -> str:
        """See `api.presign`."""
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
            encoded_key(uri),
            query=canonical_query(query),
            headers=list(headers),
            body=body,
        )

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
        if status == 404:
            what = {
                "NoSuchBucket": "there is no such bucket: check its name and the endpoint",
                "NoSuchUpload": "the upload has been aborted: write the object again",
            }
            return ObjectNotFoundError(f"{message}; {what.get(error.code, 'there is no such object')}", **where)
        if status in (401, 403):
            return PermissionDeniedError(f"{message}; {_WHY_REFUSED.get(error.code, _CHECK_POLICY)}", **where)
        if status in (301, 307):
            region = response.head.headers.get(_REGION_HEADER, "") or error.region
            hint = f" AWS_REGION={region}" if region else " AWS_REGION or the endpoint"
            return ConfigurationError(f"{message}; the bucket is elsewhere: set{hint}", **where)
        if status in (408, 504):
            return StoreTimeoutError(f"{message}; the service takes too long, try again later", **where)
        if status in TRANSIENT:
            return StoreUnavailableError(f"{message}; the service cannot answer now, try again later", **where)
        return S3dlioError(message, **where)


_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_CHECK_POLICY = "check the credentials, and that they may do this with this bucket (s3:GetObject, s3:PutObject …)"
_WHY_REFUSED = {
    "InvalidAccessKeyId": "the service does not know this access key: check AWS_ACCESS_KEY_ID and the endpoint",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "ExpiredToken": "the session has expired: get new credentials",
    "InvalidToken": "the session token is not valid: check AWS_SESSION_TOKEN",
}


def error_of(response: Response) -> S3Error:
    """The error that an answer carries in its body, whatever its status."""
    body = bytes(response.body[:65536])
    if b"<Error" not in body:
        return S3Error("", "", "")
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        return S3Error("", "", "")
    if root.tag.rpartition("}")[2] != "Error":
        return S3Error("", "", "")
    return S3Error(_text(root, "Code") or "", _text(root, "Message") or "", _text(root, "Region") or "")


def encoded_key(uri: URI) -> str:
    """The key as it stands in a request's path."""
    return uri_encode(uri.key)


def _escaped(key: str) -> str:
    """A key as XML text."""
    return escape(key, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def _is_whole(content_range: str) -> bool:
    """Whether a Content-Range is that of a whole object, as in "bytes 0-99/100"."""
    begins, _, rest = content_range.removeprefix("bytes ").partition("-")
    last, _, size = rest.partition("/")
    return begins == "0" and last.isdecimal() and size.isdecimal() and int(last) + 1 == int(size)


def _same_etag(head: ResponseHead, etag: str) -> bool:
    """Whether a stored object has an ETag; true where one of them is not known."""
    stored = head.headers.get("etag", "").strip('"')
    return not stored or not etag or stored == etag.strip('"')


def _etag_of_parts(parts: list[Uploaded]) -> str:
    """The ETag of the object that parts make, where theirs are MD5 sums; else ""."""
    etags = [part.etag.strip('"') for part in parts]
    if not all(map(_MD5_ETAG.fullmatch, etags)):
        return ""
    return f"{hashlib.md5(bytes.fromhex(''.join(etags)), usedforsecurity=False).hexdigest()}-{len(etags)}"


# XML, whatever namespace a server puts it into...


def _parsed(response: Response) -> ET.Element:
    try:
        return ET.fromstring(bytes(response.body))
    except ET.ParseError as error:
        raise S3dlioError(
            f"{response.address.url} sent an answer that is not XML ({error}): check that it is an S3 endpoint",
            endpoint=response.address.url,
        ) from None


def _all(element: ET.Element, name: str) -> list[ET.Element]:
    return element.findall(f"{{*}}{name}")


def _text(element: ET.Element, name: str) -> str | None:
    return element.findtext(f"{{*}}{name}")
