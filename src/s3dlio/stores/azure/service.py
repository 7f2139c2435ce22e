# SPDX-License-Identifier: Apache-2.0
"""Where Azure's requests go, and what authorizes them: the service that one state of the settings describes.

An `AzureService` turns the requests of the store into heads that are ready to be sent. It tells after which answers to
try again: with the same request, or with another token.

Sources: Blob Storage REST API, "Versioning for Azure Storage", "Authorize requests to Azure Storage".
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from s3dlio.auth.azure.account import account_of
from s3dlio.auth.azure.credentials import EntraToken
from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.auth.encoding import canonical_query, uri_encode
from s3dlio.errors import InvalidURIError, S3dlioError
from s3dlio.http.address import Address, parse_endpoint, require_private, routed
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.response import Response
from s3dlio.memory.checksums import crc64_text, md5_text
from s3dlio.objects.heads import Heads, head_for
from s3dlio.objects.request import Request, limits, send
from s3dlio.objects.retry import TRANSIENT
from s3dlio.settings import Settings
from s3dlio.stores.azure.answers import error_of
from s3dlio.stores.azure.refusals import CHANGED_ON_THE_WAY, REFUSALS, TRANSIENT_CODES, refusal
from s3dlio.uri import URI

VERSION = "2021-12-02"
"""Of the API: new enough for names that XML cannot hold, old enough for every cloud and for an Azurite of 2022."""

_VERSION = ("x-ms-version", VERSION)
_CRC64 = "x-ms-content-crc64"
_HEADS_KEPT = 64
_NO_HEADS = 0, None
_NOT_SUPPORTED = "FeatureNotSupported"


class AzureService:
    """The account that one state of the settings describes: endpoint and credential (a `CloudService`)."""

    refusals = REFUSALS

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = limits(settings)
        self.account = account_of(settings)
        address, path = parse_endpoint(self.account.endpoint, self.account.source)
        self.address = routed(address, settings)
        if isinstance(self.account.credential, EntraToken):
            require_private(self.address, "the token of Entra ID", allowed=settings.tokens_over_http)
        self.path = path
        self.endpoints = Endpoints([Endpoint(self.address, path)])
        self.checks_md5 = settings.azure_get_md5 == "1" or (settings.azure_get_md5 == "auto" and not address.tls)
        self.put_checksum = settings.azure_put_checksum
        self._reads: dict[str, tuple[int, Heads | None]] = {}

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        address = endpoint.address
        path = f"{endpoint.path}/{request.container}"
        if request.path:
            path = f"{path}/{request.path}"
        length = sum(map(len, request.body))
        headers = [_VERSION, *request.headers]
        query, added = self.account.credential.authorize(request.method, path, request.query, headers, length)
        request.credential = added
        fields = [("Host", address.authority), *headers, *added]
        if length or request.method == "PUT":
            fields.append(("Content-Length", str(length)))
        target = f"{path}?{query}" if query else path
        return address, head_for(address, request.method, target, fields)

    def reads(self, container: str, endpoint: Endpoint) -> Heads:
        now = int(time.time())
        second, heads = self._reads.get(container, _NO_HEADS)
        if heads is None or second != now:
            allowed = self.account.credential.authorize_gets((_VERSION,))
            fields = [("Host", endpoint.address.authority), _VERSION, *allowed.fields]
            query = f"?{allowed.query}" if allowed.query else ""
            folder = f"{endpoint.path}/{uri_encode(container)}/"
            heads = Heads("GET", endpoint.address, folder, fields, allowed.sign, query=query, credential=allowed.fields)
            if len(self._reads) >= _HEADS_KEPT:
                self._reads.clear()
            self._reads[container] = now, heads
        return heads

    def is_transient(self, response: Response) -> bool:
        status = response.head.status
        if status == 400:
            return error_of(response).code in CHANGED_ON_THE_WAY
        return status in TRANSIENT and response.head.headers.get("x-ms-error-code") != _NOT_SUPPORTED

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        return refusal(response, uri, self.account)

    def error_inside(self, response: Response) -> bool | None:
        code = error_of(response).code
        return code in TRANSIENT_CODES if code else None

    def checksum(self, data: Sequence[memoryview]) -> list[tuple[str, str]]:
        """Return the field with the checksum by which the service checks a body, unless the settings want none."""
        if self.put_checksum == "crc64":
            return [(_CRC64, crc64_text(data))]
        return [("Content-MD5", md5_text(data))] if self.put_checksum == "md5" else []

    def lacks_checksum(self, checksum: Sequence[tuple[str, str]], response: Response) -> bool:
        """Tell whether an answer says that the service does not know CRC64. From then on MD5 is sent.

        Azurite does not know CRC64 before version 3.36.
        """
        unknown = response.head.headers.get("x-ms-error-code") == _NOT_SUPPORTED and _CRC64 in dict(checksum)
        if unknown:
            self.put_checksum = "md5"
        return unknown

    def redirected(self, request: Request, response: Response) -> bool:
        """Tell whether the credential was refused and has been renewed, as a token that has expired is."""
        status = response.head.status
        if status == 401 or (status == 403 and "token is expired" in error_of(response).detail):
            self._reads.clear()
            return request.credential is not None and self.account.credential.refused(request.credential)
        return False


def encoded_key(uri: URI) -> str:
    """Return the key as it is written in the path of a request.

    Raises:
        InvalidURIError: the path would name another object. The service reads a backslash as a slash, and segments "."
            and ".." are resolved on the way.
    """
    key = uri.key
    if "\\" in key:
        raise InvalidURIError(
            f"{uri.text!r} cannot be named: Azure reads a backslash as a slash; write a slash", uri=uri.text
        )
    if "." in key and not {".", ".."}.isdisjoint(key.split("/")):
        raise InvalidURIError(
            f"{uri.text!r} cannot be named: Azure accepts no '.' and no '..' between slashes; choose another name",
            uri=uri.text,
        )
    return uri_encode(key)


def blob_request(
    method: str,
    uri: URI,
    query: Iterable[tuple[str, str]] = (),
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: Sequence[memoryview] = (),
) -> Request:
    """Make a request about a blob."""
    return Request(
        uri.text,
        method,
        uri_encode(uri.container),
        encoded_key(uri),
        query=canonical_query(query),
        headers=tuple(headers),
        body=body,
    )


async def head_blob(service: AzureService, uri: URI) -> Response:
    """Send Get Blob Properties.

    The answer to a HEAD has no body. If it is refused with 400 and without a code, a GET of one byte is refused with
    the reason.
    """
    response = await send(service, blob_request("HEAD", uri))
    if response.head.status == 400 and not error_of(response).code:
        reason = await send(service, blob_request("GET", uri, headers=[("Range", "bytes=0-0")]))
        response = reason if reason.head.status >= 400 else response
    return response


def blob_url(service: AzureService, uri: URI, query: str) -> str:
    """Make the URL of a blob."""
    url = f"{service.address.url}{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}"
    return f"{url}?{query}" if query else url


def signature(service: AzureService, key: SharedKey, uri: URI, permissions: str, seconds: int) -> str:
    """Make the query string of a shared access signature for a blob."""
    expires = int(time.time()) + seconds
    return key.blob_sas(uri.container, uri.key, permissions, VERSION, expires, only_https=service.address.tls)
