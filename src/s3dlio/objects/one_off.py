# SPDX-License-Identifier: Apache-2.0
"""A single request for something that is not an object: to a token endpoint, or to a machine's metadata server.

`fetch` sends the request the way all others go: through the engine, with its deadlines, proxies, interruptible name
resolution and retries. Its bounds are tighter, since nothing else can begin before the answer has come.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from s3dlio.errors import ConfigurationError
from s3dlio.http.address import Address, parse_endpoint, require_private, routed
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.response import Response
from s3dlio.objects.heads import head_for
from s3dlio.objects.request import Request, limits, send
from s3dlio.objects.retry import TRANSIENT
from s3dlio.runtime.run import run
from s3dlio.settings import Settings

_RETRY_SECONDS = 4.0  # for answers of a service that cannot serve now


class Answer(NamedTuple):
    """The answer to `fetch`.

    Attributes:
        status: the status code.
        headers: the header fields; their names are in lower case.
        body: the body.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class _UrlService:
    """The server of one URL, as the service that `send` needs."""

    def __init__(self, settings: Settings, url: str, source: str, connect: float, total: float, direct: bool) -> None:
        parts = urlsplit(url)
        address, _ = parse_endpoint(f"{parts.scheme}://{parts.netloc}", source)
        self.settings = dataclasses.replace(settings, retry_seconds=min(settings.retry_seconds, _RETRY_SECONDS))
        self.limits = limits(self.settings)._replace(
            connect=min(connect, settings.connect_timeout), idle=total, total=total, rate=math.inf, span=total
        )
        self.endpoints = Endpoints([Endpoint(address if direct else routed(address, settings))])

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        address = endpoint.address
        fields = [("Host", address.authority), *request.headers]
        if request.method == "POST":
            fields.append(("Content-Length", str(sum(map(len, request.body)))))
        return address, head_for(address, request.method, request.path, fields)

    def is_transient(self, response: Response) -> bool:
        return response.head.status in TRANSIENT

    def redirected(self, request: Request, response: Response) -> bool:  # noqa: ARG002
        return False


def fetch(
    settings: Settings,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    source: str,
    connect: float = 2.0,
    total: float = 10.0,
    direct: bool = False,
) -> Answer:
    """Send a request and wait for its answer, whatever its status.

    Args:
        settings: give timeouts, retries, and the route to the server.
        method: "GET" or "POST".
        url: an http or https URL.
        headers: fields other than Host and Content-Length.
        body: the body of a POST.
        source: the setting or file that holds the URL, for messages.
        connect: seconds until a connection must be open.
        total: seconds for everything, further tries included.
        direct: whether to ignore proxies, as for a server on this machine.

    Raises:
        ConfigurationError: the URL is malformed, or a credential would leave this machine unencrypted.
        StoreUnavailableError: the server cannot be reached.
        StoreTimeoutError: no answer in time.
    """
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ConfigurationError(
            f"{source} is not a URL that can be requested; percent-encode spaces, and control and non-ASCII characters"
        )
    service = _UrlService(settings, url, source, connect, total, direct)
    if method == "POST" or any(name.lower() == "authorization" for name in headers or ()):
        server = service.endpoints.all[0].address
        require_private(server, f"the credential that goes to {source}", allowed=settings.tokens_over_http)
    fields = tuple((headers or {}).items())
    request = Request(f"of {source}", method, "", path, headers=fields, body=[memoryview(body)])
    response = run(send(service, request))
    return Answer(response.head.status, response.head.headers, bytes(response.body))
