# SPDX-License-Identifier: Apache-2.0
"""Where S3's requests go, and how they are signed: the service that one state of the settings describes.

Addresses. If the settings name endpoints, requests go there, with the bucket in the path. Without endpoints the service
is AWS: the host follows from the region, and the bucket is a part of its name, unless a host name or a wildcard
certificate cannot hold the bucket (a dot, a capital, an underscore). S3_ADDRESSING_STYLE overrides this.

Regions. A bucket is in the region of the settings until an answer names another region for it. That is remembered, so
that a bucket elsewhere costs one additional request, once.

Source: Amazon S3 User Guide, "Virtual hosting of general purpose buckets" and "Bucket naming rules".
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
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
from s3dlio.objects.request import Fields, Request, limits
from s3dlio.objects.retry import TRANSIENT
from s3dlio.settings import Settings
from s3dlio.stores.s3.answers import error_of, region_of
from s3dlio.stores.s3.refusals import REFUSALS, TRANSIENT_CODES, refusal
from s3dlio.uri import URI

CHECKED_READ: Fields = (("x-amz-checksum-mode", "ENABLED"),)
"""Asks for the checksum of an object that is read."""

STORED_AS = ("Content-Type", "application/octet-stream")
CHECKSUM = "x-amz-checksum-crc32c"

_HEADS_KEPT = 64
_NO_HEADS = 0, None
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "RANK")
_HOLE = "\xa4"  # appears in no other field, since all others are ASCII
_CHECKED_WRITE: Fields = (STORED_AS, (CHECKSUM, _HOLE))
_NO_PAYLOAD = hashlib.sha256().hexdigest()
_UNSIGNED = frozenset({"Range", "If-Match"})  # fields that need no signature, so that most reads are signed alike
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class S3Service:
    """Amazon S3, or a service that speaks its API, as one state of the settings describes it (a `CloudService`)."""

    refusals = REFUSALS

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = limits(settings)
        self.is_aws = settings.s3_endpoints is None
        self.has_delete_objects = True  # until an answer says that it does not
        self._regions: dict[str, str] = {}
        self._signers: dict[tuple[str, str], Signer] = {}
        self._routes: dict[tuple[str, Endpoint], tuple[Address, str, str]] = {}
        self._kept_heads: dict[tuple[str, str, Endpoint, Fields], tuple[int, Heads | None]] = {}
        self._credentials = None
        if not settings.s3_no_sign:
            self._credentials = CredentialSource(
                settings.aws_access_key_id,
                settings.aws_secret_access_key,
                settings.aws_session_token,
                settings.aws_profile,
            )
        urls = settings.s3_endpoints or f"https://{_aws_host(self._default_region())}"
        source = "S3_ENDPOINT_URIS or AWS_ENDPOINT_URL"
        endpoints = [Endpoint(*parse_endpoint(url, source)) for url in split_endpoints(urls)]
        self.endpoints = Endpoints(endpoints, settings.s3_load_balance, process_number())

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        bucket, method = request.container, request.method
        if method == "GET" and request.path and not request.query:
            # The heads of reads have all but the key and the unsigned fields in common, which is made once a second.
            signed = tuple([field for field in request.headers if field[0] not in _UNSIGNED])
            own = field_lines(field for field in request.headers if field[0] in _UNSIGNED)
            heads = self._heads("GET", signed, bucket, endpoint)
            return heads.address, heads.head(request.path, own)
        address, authority, folder = self._route(bucket, endpoint)
        path = folder + request.path if request.path or not bucket else folder.removesuffix("/") or "/"
        fields = [("Host", authority)]
        if request.body or method == "PUT" or method == "POST":
            fields.append(("Content-Length", str(sum(map(len, request.body)))))
        fields += request.headers
        if self._credentials is not None:
            to_sign = [field for field in request.headers if field[0] not in _UNSIGNED]
            payload_hash = self._payload_hash(request) if self.settings.s3_sign_payload else UNSIGNED_PAYLOAD
            fields += self._signer(bucket, authority).sign(method, path, request.query, to_sign, payload_hash)
        target = f"{path}?{request.query}" if request.query else path
        return address, head_for(address, method, target, fields)

    def reads(self, container: str, endpoint: Endpoint) -> Heads:
        return self._heads("GET", CHECKED_READ if self.settings.verify_get else (), container, endpoint)

    def writes(self, container: str, endpoint: Endpoint) -> Heads:
        """Return what makes the heads of writes of whole objects at this moment, if payloads are not signed."""
        return self._heads("PUT", _CHECKED_WRITE, container, endpoint)

    def _heads(self, method: str, headers: Fields, bucket: str, endpoint: Endpoint) -> Heads:
        """Return what makes the heads of requests with these fields in this second."""
        now = int(time.time())
        second, heads = self._kept_heads.get((method, bucket, endpoint, headers), _NO_HEADS)
        if heads is None or second != now:
            heads = self._new_heads(method, headers, bucket, endpoint, now)
            if len(self._kept_heads) >= _HEADS_KEPT:
                self._kept_heads.clear()
            self._kept_heads[method, bucket, endpoint, headers] = now, heads
        return heads

    def _new_heads(self, method: str, headers: Fields, bucket: str, endpoint: Endpoint, now: int) -> Heads:
        address, authority, folder = self._route(bucket, endpoint)
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
        status = response.head.status
        if status in TRANSIENT:
            return True
        return status in (400, 409) and error_of(response).code in TRANSIENT_CODES

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        return refusal(response, uri)

    def error_inside(self, response: Response) -> bool | None:
        # Skip the search in a page of a listing, which is long and begins unlike an error.
        if not response.body or b"<ListBucketResult" in bytes(response.body[:512]):
            return None
        code = error_of(response).code
        return code in TRANSIENT_CODES if code else None

    def redirected(self, request: Request, response: Response) -> bool:
        """Remember the region that an answer names for the bucket, and tell whether that is news."""
        bucket = request.container
        if response.head.status not in (301, 307, 400) or not bucket:
            return False
        region = region_of(response)
        if not region or self._region(bucket) == region:
            return False
        self._regions[bucket] = region
        self._routes = {key: route for key, route in self._routes.items() if key[0] != bucket}
        self._kept_heads.clear()
        return True

    def presign(self, uri: URI, method: str, expires: int) -> str:
        """Make the URL with which anyone can make one request for an object."""
        if self._credentials is None:
            raise ConfigurationError(
                f"cannot presign {uri.text} without credentials; unset S3DLIO_NO_SIGN, and set credentials"
            )
        address, authority, folder = self._route(uri.container, self.endpoints.choose())
        path = folder + uri_encode(uri.key)
        signer = self._signer(uri.container, authority)
        return address.url + signer.presign(method, path, expires=expires)

    def _route(self, bucket: str, endpoint: Endpoint) -> tuple[Address, str, str]:
        """Return the address of a bucket, the Host field of its requests, and the path before its keys."""
        known = self._routes.get((bucket, endpoint))
        if known is None:
            address, folder = self._new_route(bucket, endpoint)
            known = self._routes[bucket, endpoint] = address, address.authority, folder
        return known

    def _new_route(self, bucket: str, endpoint: Endpoint) -> tuple[Address, str]:
        """Return the address of a bucket, and the path before its keys."""
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


def process_number() -> int:
    """Return a number that differs between the processes of a job: the MPI rank plus the number of a worker process.

    The processes of a job then do not all begin at the same endpoint.

    Without a rank and a worker number the process id serves: the children of plain forks have consecutive ones.
    """
    rank = next((int(text) for name in _RANK_VARIABLES if (text := os.environ.get(name, "")).isdecimal()), None)
    processes = sys.modules.get("multiprocessing.process")
    identity = processes.current_process()._identity if processes is not None else ()
    if rank is None and not identity:
        return os.getpid()
    return (rank or 0) + (identity[-1] if identity else 0)
