# SPDX-License-Identifier: Apache-2.0
"""Requests with retries: what a store's operation awaits.

`send` takes a request, asks the service where to send it and for its signed head, and exchanges it. What fails in a
way that may pass is tried again, at another endpoint if there is one, after a wait that grows exponentially and is
drawn at random from its whole span (full jitter). Tries are bounded in number and in time, and all of it, waits
included, by the request's own deadline, which leaves out the time in which bodies move. What is left in the end is an
exception that names the object, the endpoint and the reason.

No wait ends the tries: each is cut to half of the time that is left, so that a try follows it. That holds for the wait
that a server asks for (Retry-After) too, which is cut to S3DLIO_RETRY_AFTER_MAX besides.

A body that was cut off is not always fetched again from the start: `Request.resume` gives the next request. Such a
body begins new tries only if it got well past the furthest byte of the tries before: a server that cuts every answer
at the same byte, or sends a few bytes each time, gets no more requests than one that refuses.
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import Any, Protocol

from s3dlio.errors import S3dlioError, StoreTimeoutError, StoreUnavailableError
from s3dlio.http.address import Address
from s3dlio.http.deadlines import Limits
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.exchange import Exchange, Observe, Receive
from s3dlio.http.framing import ResponseHead, field_lines, request_head
from s3dlio.http.response import Response, TransportError
from s3dlio.objects.batched import Begun
from s3dlio.runtime.sleep import Sleep
from s3dlio.settings import MIB, Settings

Fields = tuple[tuple[str, str], ...]

# Statuses of failures that may pass. Those from 520 on are Cloudflare's for an origin that it cannot reach or that does
# not answer, which R2 and services behind its network send for moments; 529 says that a service is overloaded. Not 525
# and 526, a certificate that is wrong
# (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/).
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 529, 530})

_FIRST_WAIT = 0.1  # seconds
_LONGEST_WAIT = 5.0
_LEAST_LEFT = 0.02  # seconds before the end of the tries in which no other is begun
_RATE_SPAN = 30.0  # seconds over which S3DLIO_MIN_RATE is averaged
_JITTER = 0.25  # part by which a wait that a server asks for varies: its other clients were told the same
_PROGRESS = 4096  # bytes by which a resumed body gets well past those of the tries before, or
_PROGRESS_PART = 16  # this part of what was left of it
_FINAL = frozenset({"malformed", "untrusted", "proxy"})  # failures that the same endpoint will repeat
_MOST_REDIRECTIONS = 3
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")  # the standard has whole ones, some servers send fractions


@dataclass(slots=True)
class Request:
    """A request as a store makes it, before it is known where it goes and how it is signed.

    Attributes:
        uri: what it is about, for messages.
        method: in capitals.
        container: the bucket or container, for services that put it into the host name.
        path: of the object within the container, percent-encoded; "" for the container itself.
        query: canonical query string, without "?".
        headers: fields beside those of the signature.
        body: buffers, sent one after the other, not copied.
        receive: names the buffer for the answer's body (see `Exchange`).
        observe: sees the pieces of the answer's body as they come (see `Exchange`).
        resume: called when an answer was cut off after its head, with that head; gives the request for what has not
            come yet, or for all of it again; None to send the same request again.
        done, left: of the rest of a body: the bytes of the body that have come, and those that are left.
        credential: what the service let it go out with, where that may have to be renewed.
        finish_before_stop: whether an operation that is stopped still waits for the answer, since it names what the
            operation has to undo.
        leave_last_connection: whether to open a connection instead of using the last idle one, which is then free for
            the request that undoes the operation if all others are in use.
    """

    uri: str
    method: str
    container: str
    path: str = ""
    query: str = ""
    headers: Fields = ()
    body: Sequence[memoryview] = ()
    receive: Receive | None = None
    observe: Observe | None = None
    resume: Callable[[ResponseHead], Request | None] | None = None
    credential: Any = None
    done: int = 0
    left: int = 0
    finish_before_stop: bool = False
    leave_last_connection: bool = False

    def add(self, name: str, value: str) -> None:
        """One more field."""
        self.headers = (*self.headers, (name, value))


class Service(Protocol):
    """What `send` needs to know of the service that a store talks to."""

    settings: Settings
    limits: Limits
    endpoints: Endpoints

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        """Where the request goes, and its head, signed now."""

    def is_transient(self, response: Response) -> bool:
        """Whether trying again may help."""

    def redirected(self, request: Request, response: Response) -> bool:
        """Whether the answer taught the service where such requests really go; then it is sent again at once."""


class StoreService(Service, Protocol):
    """What reads of whole objects need to know beside that."""

    def reads(self, container: str, endpoint: Endpoint) -> Heads:
        """What the heads of their requests have in common at this moment; they are those that `prepare` would make."""


class WriteService(StoreService, Protocol):
    """The same of a service with plain writes."""

    def writes(self, container: str, endpoint: Endpoint) -> Heads:
        """What the heads of writes of whole objects have in common, their checksums being the hole."""


def limits(settings: Settings) -> Limits:
    """The deadlines that the settings give."""
    return Limits(
        settings.connect_timeout,
        settings.read_timeout,
        settings.request_timeout,
        settings.keep_alive,
        settings.min_rate,
        _RATE_SPAN,
        settings.unsized_max_mb * MIB,
    )


def head_for(address: Address, method: str, target: str, fields: Sequence[tuple[str, str]]) -> bytes:
    """The head of a request.

    Args:
        address: where it goes.
        method, target: its first line.
        fields: all of its fields, Host and Content-Length included.
    """
    origin, proxy_fields = _for_proxy(address)
    return request_head(method, origin + target, [*proxy_fields, *fields])


def _for_proxy(address: Address) -> tuple[str, list[tuple[str, str]]]:
    """What a proxy that requests go through without TLS wants (RFC 9112 section 3.2.2): the whole URL, whose beginning
    this is, and fields of its own.
    """
    if address.proxy is None or address.tls:
        return "", []
    authorization = address.proxy.authorization
    return address.url, [("Proxy-Authorization", authorization)] if authorization else []


class Heads:
    """The heads of requests that differ in little but the key: those of one moment for objects in one container.

    Attributes:
        address: where they go.
        credential: see `Request`.
    """

    __slots__ = ("_before", "_behind", "_lines", "_method", "_origin", "_query", "_sign", "address", "credential")

    def __init__(
        self,
        method: str,
        address: Address,
        before: str,
        fields: Sequence[tuple[str, str]],
        sign: Callable[[str, str], str] | None = None,
        *,
        query: str = "",
        hole: str = "",
        credential: Any = None,
    ) -> None:
        """
        Args:
            method: in capitals.
            address: where they go.
            before: what stands before an object's path in the target, percent-encoded.
            fields: all fields; of the last one, if it is signed, the value up to the signature.
            sign: gives the signature for a target without its query, and for what fills the hole.
            query: what stands after the object's path in the target, with "?"; "" for no query.
            hole: what in the value of a field stands for something that differs from request to request; "" if nothing
                does.
            credential: see above.
        """
        self.address = address
        self.credential = credential
        self._method = method
        self._before = before
        self._query = query
        self._origin, proxy_fields = _for_proxy(address)
        lines = field_lines([*proxy_fields, *fields]).removesuffix("\r\n")
        self._lines, _, self._behind = lines.partition(hole) if hole else (lines, "", "")
        self._sign = sign

    def head(self, path: str, own: str = "", filled: str = "") -> bytes:
        """The head of the request for an object.

        Args:
            path: of the object in the container, percent-encoded.
            own: lines of fields that only this request has, and that are not signed.
            filled: what fills the hole.
        """
        path = self._before + path
        signature = "" if self._sign is None else self._sign(path, filled)
        first = f"{self._method} {self._origin}{path}{self._query} HTTP/1.1\r\n"
        return f"{first}{own}{self._lines}{filled}{self._behind}{signature}\r\n\r\n".encode("latin-1")


async def send(service: Service, request: Request, begun: Begun | None = None) -> Response:
    """Exchange a request, trying again where that may help.

    Args:
        service: where it goes.
        request: the request.
        begun: what has been done of its first try already, if anything.

    Returns:
        The answer, whatever its status; one that is still transient after all tries included.

    Raises:
        StoreUnavailableError: no connection, or only broken ones.
        StoreTimeoutError: no answer in time.
        S3dlioError: an answer that is not HTTP.
    """
    endpoints = service.endpoints
    limits = service.limits
    deadline = (time.monotonic() if begun is None else begun.began) + limits.total
    began = 0.0
    tries = redirections = 0
    furthest = 0  # byte of the body up to which progress has been counted
    endpoint: Endpoint | None = None
    while True:
        if begun is not None:
            endpoint, address, head = begun.endpoint, begun.address, begun.sent
        else:
            endpoint = endpoints.choose(endpoint)
            address, head = service.prepare(request, endpoint)
        response: Response | None = None
        failure: TransportError | None = None
        endpoint.in_flight += 1
        exchange = Exchange(
            address,
            request.method,
            head,
            limits,
            request.body,
            request.receive,
            request.observe,
            begun.continuation if begun is not None else None,
            request.finish_before_stop,
            request.leave_last_connection,
        )
        try:
            response = await exchange
        except TransportError as error:
            failure = error
        finally:
            endpoint.in_flight -= 1
            endpoint.traffic.requests += 1
            begun = None
        if response is not None:
            endpoint.traffic.bytes += len(response.body)
            if request.body:
                endpoint.traffic.bytes += sum(map(len, request.body))
            if not service.is_transient(response):
                endpoint.worked()
                if redirections < _MOST_REDIRECTIONS and service.redirected(request, response):
                    redirections += 1
                    continue
                return response
            if response.head.status == 503:
                endpoint.failed()
        elif failure is not None:
            endpoint.traffic.bytes += failure.received
            if failure.kind != "descriptors":  # which says nothing about the endpoint
                endpoint.failed()
            resumed = request.resume(failure.head) if failure.head is not None and request.resume is not None else None
            if resumed is not None:
                request = resumed
                progress = request.done - furthest
                if failure.kind != "slow" and progress >= min(
                    _PROGRESS, max(1, (request.left + progress) // _PROGRESS_PART)
                ):
                    furthest, tries, began = request.done, 0, 0.0  # the bounds are on tries without progress
        if failure is None or failure.kind != "slow":
            deadline += exchange.body_seconds()
        now = time.monotonic()
        began = began or now
        tries += 1
        others = endpoints.others_healthy(endpoint) and tries <= len(endpoints.all)
        wait = _wait(service.settings, tries, now - began, deadline - now, failure, response, others)
        if wait is None:
            if response is not None:
                return response
            assert failure is not None
            raise _translated(failure, request, address, tries) from failure
        if wait:
            await Sleep(wait)
        limits = limits._replace(total=deadline - now - wait)


def _wait(
    settings: Settings,
    tries: int,
    elapsed: float,
    until_deadline: float,
    failure: TransportError | None,
    response: Response | None,
    others: bool,
) -> float | None:
    """Seconds to wait before the next try, 0 if there are other endpoints to take over; None for no next try."""
    kind = failure.kind if failure is not None else "answer"
    if tries > settings.retries or until_deadline <= 0:
        return None
    if others and kind != "descriptors":
        return 0.0
    if kind in _FINAL or kind == "connect timeout":
        return None  # nothing will change, or it was waited for long enough
    unconnected = kind in ("connect", "refused", "descriptors")
    longest = settings.connect_retry_seconds if unconnected else settings.retry_seconds
    left = min(longest - elapsed, until_deadline)
    if left < _LEAST_LEFT:
        return None
    span = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tries - 1, 10))
    # Without a connection there is no crowd to spread out, and the tries are to last as long as they may.
    wait = random.uniform(span / 2 if unconnected else 0.0, span)
    if response is not None and (asked := _retry_after(response.head)) > 0:
        longest_asked = min(settings.retry_after_max, left / 2)
        if asked > longest_asked:
            return longest_asked * random.uniform(1 - _JITTER, 1.0)
        wait = max(wait, asked * random.uniform(1.0, 1 + _JITTER))
    return min(wait, left / 2)


def _retry_after(head: ResponseHead) -> float:
    """Seconds that the server asks to wait (RFC 9110, section 10.2.3); 0 if it does not, or not in a form to read."""
    text = head.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:  # "-0000", or no zone at all
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, date.timestamp() - time.time())
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError):
        return 0.0


def _translated(failure: TransportError, request: Request, address: Address, tries: int) -> S3dlioError:
    again = f", tried {tries} times" if tries > 1 else ""
    way = f" through the proxy {address.proxy.host}:{address.proxy.port}" if address.proxy is not None else ""
    message = f"{request.method} {request.uri} at {address.url}{way}: {failure}{again}"
    kind: type[S3dlioError]
    if failure.kind in ("timeout", "slow", "connect timeout"):
        kind, hint = StoreTimeoutError, "check the endpoint and the network, or allow more time"
    elif failure.kind == "malformed":
        kind, hint = S3dlioError, "check that the endpoint is the right kind of service"
    elif failure.kind == "descriptors":
        return StoreUnavailableError(message, uri=request.uri, endpoint=address.url)
    elif failure.kind == "untrusted":
        kind, hint = StoreUnavailableError, "check the endpoint's host name, and AWS_CA_BUNDLE or SSL_CERT_FILE"
    elif failure.kind == "proxy":
        kind, hint = StoreUnavailableError, "check the proxy, its user and password, and NO_PROXY"
    else:
        kind, hint = StoreUnavailableError, "check the endpoint and that the service is up"
    return kind(f"{message}; {hint}", uri=request.uri, endpoint=address.url)
