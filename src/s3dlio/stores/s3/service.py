# SPDX-License-Identifier: Apache-2.0
"""Where S3's requests go, and how they are signed: the service that one state of the settings describes.

Addresses. With endpoints in the settings, requests go there, the bucket in the path. Without any the service is AWS:
the host follows from the region, and the bucket is a part of it, unless no host name or no wildcard certificate could
hold it (a dot, a capital, an underscore). S3_ADDRESSING_STYLE says otherwise.

Regions. The region of the settings holds until an answer names another one for a bucket; that is remembered, so that
a bucket elsewhere costs one request more, once.

Source: Amazon S3 User Guide, "Virtual hosting of general purpose buckets" and "Bucket naming rules".
"""

from __future__ import annotations

import hashlib
import re
import time
from functools import partial
from urllib.parse import quote

from s3dlio.auth.aws.credentials import CredentialSource
from s3dlio.auth.aws.sigv4 import UNSIGNED_PAYLOAD, Signer
from s3dlio.auth.encoding import uri_encode
from s3dlio.errors import ConfigurationError, S3dlioError
from s3dlio.http.address import Address, parse_endpoint, routed, split_endpoints
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.framing import field_lines
from s3dlio.http.response import Response
from s3dlio.objects.heads import Heads, head_for
from s3dlio.objects.rank import process_number
from s3dlio.objects.request import Fields, Request, limits
from s3dlio.objects.retry import TRANSIENT
from s3dlio.settings import Settings
from s3dlio.stores.s3.answers import error_of, region_of
from s3dlio.stores.s3.refusals import REFUSALS, TRANSIENT_CODES, refusal
from s3dlio.uri import URI

CHECKED_READ: Fields = (("x-amz-checksum-mode", "ENABLED"),)
"""What asks for the checksum of an object that is read."""

_COMMON_KEPT = 64
_NEVER = 0, None
STORED_AS = ("Content-Type", "application/octet-stream")
CHECKSUM = "x-amz-checksum-crc32c"

_HOLE = "\xa4"  # a sign that no other field has, as all others are ASCII
_CHECKED_WRITE: Fields = (STORED_AS, (CHECKSUM, _HOLE))
_NO_PAYLOAD = hashlib.sha256().hexdigest()
_UNSIGNED = frozenset({"Range", "If-Match"})
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class S3Service:
    """Amazon S3, or a service that speaks its API, as one state of the settings describes it."""

    refusals = REFUSALS

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = limits(settings)
        self.is_aws = settings.s3_endpoints is None
        self.has_delete_objects = True  # until it says otherwise
        self._regions: dict[str, str] = {}
        self._signers: dict[tuple[str, str], Signer] = {}
        self._places: dict[tuple[str, Endpoint], tuple[Address, str, str]] = {}
        self._common: dict[tuple[str, str, Endpoint, Fields], tuple[int, Heads | None]] = {}
        self._credentials = None
        if not settings.s3_no_sign:
            self._credentials = CredentialSource(
                settings.aws_access_key_id,
                settings.aws_secret_access_key,
                settings.aws_session_token,
                settings.aws_profile,
            )
        places = settings.s3_endpoints or f"https://{_aws_host(self._default_region())}"
        source = "S3_ENDPOINT_URIS or AWS_ENDPOINT_URL"
        endpoints = [Endpoint(*parse_endpoint(place, source)) for place in split_endpoints(places)]
        self.endpoints = Endpoints(endpoints, settings.s3_load_balance, process_number())

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        """Where a request goes, and its head, signed now."""
        bucket, method = request.container, request.method
        if method == "GET" and request.path and not request.query:
            # All but the key and what is not signed is made once a second.
            signed = tuple([field for field in request.headers if field[0] not in _UNSIGNED])
            own = field_lines(field for field in request.headers if field[0] in _UNSIGNED)
            heads = self._heads("GET", signed, bucket, endpoint)
            return heads.address, heads.head(request.path, own)
        address, authority, folder = self._place(bucket, endpoint)
        path = folder + request.path if request.path or not bucket else folder.removesuffix("/") or "/"
        fields = [("Host", authority)]
        if request.body or method == "PUT" or method == "POST":
            fields.append(("Content-Length", str(sum(map(len, request.body)))))
        fields += request.headers
        if self._credentials is not None:
            # Of some fields no one insists on a signature, and without them most requests sign the same ones.
            to_sign = [field for field in request.headers if field[0] not in _UNSIGNED]
            payload_hash = self._payload_hash(request) if self.settings.s3_sign_payload else UNSIGNED_PAYLOAD
            fields += self._signer(bucket, authority).sign(method, path, request.query, to_sign, payload_hash)
        target = f"{path}?{request.query}" if request.query else path
        return address, head_for(address, method, target, fields)

    def reads(self, container: str, endpoint: Endpoint) -> Heads:
        """What the requests for whole objects that are made now have in common."""
        return self._heads("GET", CHECKED_READ if self.settings.verify_get else (), container, endpoint)

    def writes(self, container: str, endpoint: Endpoint) -> Heads:
        """The same of writes of whole objects, but for their checksums. For payloads that are not signed."""
        return self._heads("PUT", _CHECKED_WRITE, container, endpoint)

    def _heads(self, method: str, headers: Fields, bucket: str, endpoint: Endpoint) -> Heads:
        """What requests for objects with these fields have in common in this second."""
        now = int(time.time())
        second, heads = self._common.get((method, bucket, endpoint, headers), _NEVER)
        if heads is None or second != now:
            heads = self._new_heads(method, headers, bucket, endpoint, now)
            if len(self._common) >= _COMMON_KEPT:
                self._common.clear()
            self._common[method, bucket, endpoint, headers] = now, heads
        return heads

    def _new_heads(self, method: str, headers: Fields, bucket: str, endpoint: Endpoint, now: int) -> Heads:
        address, authority, folder = self._place(bucket, endpoint)
        fields = [("Host", authority), *headers]
        hole = _HOLE if method == "PUT" else ""
        if self._credentials is None:
            return Heads(method, address, folder, fields, hole=hole)
        payload_hash = _NO_PAYLOAD if self.settings.s3_sign_payload else UNSIGNED_PAYLOAD
        form = self._signer(bucket, authority).form(headers, payload_hash, now, hole)
        fields += [*form.added, ("Authorization", form.authorization)]
        sign = form.signature if method == "GET" else partial(form.signature, method=method)
        return Heads(method, address, folder, fields, sign, hole=hole)

    def is_transient(self, response: Response) -> bool:
        """Whether an answer may be another one next time."""
        status = response.head.status
        if status in TRANSIENT:
            return True
        return status in (400, 409) and error_of(response).code in TRANSIENT_CODES

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        """Make the error for an answer that is not one of the expected ones."""
        return refusal(response, uri)

    def error_inside(self, response: Response) -> bool | None:
        """Look for an error in an answer of status 200; see `JudgingService`."""
        # A listing is long, and no error begins like one.
        if not response.body or b"<ListBucketResult" in bytes(response.body[:512]):
            return None
        code = error_of(response).code
        return code in TRANSIENT_CODES if code else None

    def redirected(self, request: Request, response: Response) -> bool:
        """Whether the answer names a region that the bucket was not known to lie in; it is remembered."""
        bucket = request.container
        if response.head.status not in (301, 307, 400) or not bucket:
            return False
        region = region_of(response)
        if not region or self._region(bucket) == region:
            return False
        self._regions[bucket] = region
        self._places = {key: place for key, place in self._places.items() if key[0] != bucket}
        self._common.clear()
        return True

    def presign(self, uri: URI, method: str, expires: int) -> str:
        """The URL with which anyone can make one request for an object."""
        if self._credentials is None:
            raise ConfigurationError("S3DLIO_NO_SIGN=1: without credentials there is nothing to presign with")
        address, authority, folder = self._place(uri.container, self.endpoints.choose())
        path = folder + uri_encode(uri.key)
        signer = self._signer(uri.container, authority)
        return address.url + signer.presign(method, path, expires=expires)

    def _place(self, bucket: str, endpoint: Endpoint) -> tuple[Address, str, str]:
        """The address of requests to a bucket, their Host field, and what stands before its keys in their paths."""
        known = self._places.get((bucket, endpoint))
        if known is None:
            address, folder = self._bucket_place(bucket, endpoint)
            known = self._places[bucket, endpoint] = address, address.authority, folder
        return known

    def _bucket_place(self, bucket: str, endpoint: Endpoint) -> tuple[Address, str]:
        """The address of a bucket, and what stands before its keys in a path."""
        address = endpoint.address
        if self.is_aws and bucket in self._regions:
            address = address._replace(host=_aws_host(self._regions[bucket]))
        style = self.settings.s3_addressing
        in_host = {"path": None, "virtual": _HOST_NAME, "auto": _HOST_LABEL if self.is_aws else None}[style]
        if in_host is not None and in_host.fullmatch(bucket):
            address = address._replace(host=f"{bucket}.{address.host}")
            folder = f"{endpoint.path}/"
        else:
            folder = f"{endpoint.path}/{quote(bucket, safe='')}/" if bucket else f"{endpoint.path}/"
        return routed(address, self.settings), folder

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
        digest = hashlib.sha256()
        for view in request.body:
            digest.update(view)
        return digest.hexdigest()


def _aws_host(region: str) -> str:
    return f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
