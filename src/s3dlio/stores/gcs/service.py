# SPDX-License-Identifier: Apache-2.0
"""Where Cloud Storage's requests go, and with which token: the service that one state of the settings describes."""

from __future__ import annotations

from functools import lru_cache, partial

from s3dlio.auth.encoding import uri_encode
from s3dlio.auth.google.tokens import TokenSource
from s3dlio.errors import S3dlioError
from s3dlio.http.address import Address, parse_endpoint, require_private, routed
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.response import Response
from s3dlio.objects.heads import Heads, head_for
from s3dlio.objects.one_off import fetch
from s3dlio.objects.request import Fields, Request, limits
from s3dlio.objects.retry import TRANSIENT
from s3dlio.settings import Settings
from s3dlio.stores.gcs.answers import TOO_FAST, error_in_xml, error_of
from s3dlio.stores.gcs.refusals import REFUSALS, refusal
from s3dlio.uri import URI

READ_QUERY = "alt=media"
READ_FIELDS: Fields = (("Accept-Encoding", "gzip"),)

_HEADS_KEPT = 64


class GcsService:
    """The service that one state of the settings describes (a `CloudService`)."""

    refusals = REFUSALS

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = limits(settings)
        emulator = settings.gcs_emulator
        if emulator:
            # Google's own libraries accept the variable with and without a scheme.
            url = emulator if "://" in emulator else f"http://{emulator}"
            address, path = parse_endpoint(url, "STORAGE_EMULATOR_HOST")
        else:
            address, path = parse_endpoint(
                settings.gcs_endpoint or "https://storage.googleapis.com", "GCS_ENDPOINT_URL"
            )
        self.endpoints = Endpoints([Endpoint(routed(address, settings), path)])
        self._reads: dict[str, Heads] = {}
        self.has_multipart = not emulator
        self.tokens: TokenSource | None = None
        if not emulator and not settings.s3_no_sign:
            require_private(self.endpoints.all[0].address, "Google's token", allowed=settings.tokens_over_http)
            self.tokens = TokenSource(
                partial(fetch, settings),
                settings.gcs_credentials,
                settings.gcs_config_folder,
                settings.gcs_metadata_host,
                settings.gcs_quota_project,
            )

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        address = endpoint.address
        fields = [("Host", address.authority)]
        if request.body or request.method in ("PUT", "POST"):
            fields.append(("Content-Length", str(sum(map(len, request.body)))))
        fields += request.headers
        if self.tokens is not None:
            request.credential = token = self.tokens.current()
            fields += token.fields
        target = endpoint.path + request.path + (f"?{request.query}" if request.query else "")
        return address, head_for(address, request.method, target, fields)

    def reads(self, container: str, endpoint: Endpoint) -> Heads:
        token = None if self.tokens is None else self.tokens.current()
        heads = self._reads.get(container)
        if heads is None or heads.credential is not token:
            fields = [("Host", endpoint.address.authority), *READ_FIELDS, *(token.fields if token else ())]
            folder = f"{endpoint.path}{bucket_path(container)}/o/"
            heads = Heads("GET", endpoint.address, folder, fields, query=f"?{READ_QUERY}", credential=token)
            if len(self._reads) >= _HEADS_KEPT:
                self._reads.clear()
            self._reads[container] = heads
        return heads

    def is_transient(self, response: Response) -> bool:
        """Tell whether another try may succeed (Cloud Storage, "Retry strategy")."""
        status = response.head.status
        return status in TRANSIENT or (status == 403 and error_of(response)[0] in TOO_FAST)

    def refusal(self, response: Response, uri: str, of_bucket: bool = False) -> S3dlioError:
        return refusal(response, uri, with_token=self.tokens is not None, of_bucket=of_bucket)

    def error_inside(self, response: Response) -> bool | None:
        return error_in_xml(response)  # an error in JSON lacks the proof, too

    def redirected(self, request: Request, response: Response) -> bool:
        """Tell whether a request was refused for its token and can be sent again with a new one."""
        if response.head.status != 401 or self.tokens is None:
            return False
        return request.credential is not None and self.tokens.renew(request.credential)


def facts_request(uri: URI, fields: str) -> Request:
    """Make a request for some fields of an object's resource."""
    return Request(uri.text, "GET", uri.container, object_path(uri), query=query_of(fields=fields))


def object_path(uri: URI) -> str:
    """Return the path of an object in the JSON API, where its key is one segment."""
    return f"{bucket_path(uri.container)}/o/{encoded(uri.key)}"


@lru_cache(maxsize=64)
def bucket_path(bucket: str) -> str:
    """Return the path of a bucket in the JSON API."""
    return f"/storage/v1/b/{encoded(bucket)}"


def encoded(name: str) -> str:
    """Encode a name as one segment of a path, or as a value in a query."""
    return uri_encode(name).replace("/", "%2F")


def query_of(**parameters: str) -> str:
    """Make the query string of some parameters. A parameter with an empty value is written without "="."""
    return "&".join(f"{name}={encoded(value)}" if value else name for name, value in parameters.items())
