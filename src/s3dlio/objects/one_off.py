# SPDX-License-Identifier: Apache-2.0
"""One request that is about no object: to a token endpoint, or to a machine's metadata server.

It goes the way of all others (the engine, with its deadlines, proxies, name resolution that can be interrupted, and
retries), but its bounds are those of somebody who waits for it before anything else can begin.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from s3dlio import settings as settings_module
from s3dlio.errors import ConfigurationError
from s3dlio.http.address import Address, parse_endpoint, reached, require_private
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.response import Response
from s3dlio.objects.heads import head_for
from s3dlio.objects.request import Request, limits, send
from s3dlio.objects.retry import TRANSIENT
from s3dlio.runtime.run import run

_RETRY_SECONDS = 4.0  # for an answer that says "not now"


class Answer(NamedTuple):
    """The answer to `fetch`; the names of header fields are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Place:
    """The server of one URL, as `send` wants it described."""

    def __init__(self, url: str, source: str, connect: float, total: float, direct: bool) -> None:
        parts = urlsplit(url)
        address, _ = parse_endpoint(f"{parts.scheme}://{parts.netloc}", source)
        current = settings_module.current()
        self.settings = dataclasses.replace(current, retry_seconds=min(current.retry_seconds, _RETRY_SECONDS))
        self.limits = limits(self.settings)._replace(
            connect=min(connect, current.connect_timeout), idle=total, total=total, rate=math.inf, span=total
        )
        self.endpoints = Endpoints([Endpoint(address if direct else reached(address, self.settings))])

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        address = endpoint.address
        fields = [("Host", address.authority), *request.headers]
        if request.method == "POST":
            fields.append(("Content-Length", str(sum(map(len, request.body)))))
        target = request.path
        return address, head_for(address, request.method, target, fields)

    def is_transient(self, response: Response) -> bool:
        return response.head.status in TRANSIENT

    def redirected(self, request: Request, response: Response) -> bool:  # noqa: ARG002
        return False


def fetch(
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
    """Make a request and wait for its answer, whatever its status.

    Args:
        method: "GET" or "POST".
        url: of http or https.
        headers: fields beside Host and Content-Length.
        body: of a POST.
        source: where the URL stands, for messages.
        connect: seconds until a connection must be open.
        total: seconds for everything, tries again included.
        direct: past any proxy: for a server that is this machine's own.

    Raises:
        ConfigurationError: not such a URL, or a credential would go to another machine in the clear.
        StoreUnavailableError, StoreTimeoutError: no answer.
    """
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ConfigurationError(f"{source} is not a URL that a request can be sent to")
    place = _Place(url, source, connect, total, direct)
    if method == "POST" or any(name.lower() == "authorization" for name in headers or ()):
        require_private(place.endpoints.all[0].address, f"the credential that goes to {source}", place.settings)
    fields = tuple((headers or {}).items())
    request = Request(f"of {source}", method, "", path, headers=fields, body=[memoryview(body)])
    response = run(send(place, request))
    return Answer(response.head.status, response.head.headers, bytes(response.body))
