# SPDX-License-Identifier: Apache-2.0
"""A request for an object, sent until it is answered: what every operation of a store awaits.

`send` takes a `Request`. For each try it chooses an endpoint, lets the service address and sign the request, and awaits
one exchange. An answer is returned, whatever its status. A failure that may pass is tried again, at another endpoint if
one is healthy, otherwise after a wait (`objects.retry`). In the end `send` raises an error that names the object, the
endpoint and the reason.

A body that was cut off need not be fetched again from its start: `Request.resume` makes the request for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from s3dlio.errors import S3dlioError, StoreTimeoutError, StoreUnavailableError, add_endpoint
from s3dlio.http.address import Address
from s3dlio.http.deadlines import Limits
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.exchange import Continuation, Exchange, Receive
from s3dlio.http.framing import ResponseHead
from s3dlio.http.receive import Observe
from s3dlio.http.response import Failure, Response, TransportError
from s3dlio.memory.target import Buffer
from s3dlio.objects.heads import Heads
from s3dlio.objects.retry import Tries
from s3dlio.runtime.engine import Sleep
from s3dlio.settings import MIB, Settings

Fields = tuple[tuple[str, str], ...]

_RATE_SPAN = 30.0  # seconds over which S3DLIO_MIN_RATE is averaged
_MOST_REDIRECTIONS = 3


@dataclass(slots=True)
class Request:
    """A request as a store makes it. `send` decides where it goes, and the service signs it.

    Attributes:
        uri: the object, or the folder or container, for messages.
        method: the method, in capitals.
        container: the bucket or container, for services that put it into the host name.
        path: the object's path in the container, percent-encoded; "" for the container itself.
        query: canonical query string, without "?".
        headers: fields, without those of the signature.
        body: buffers, sent one after the other. They are not copied, so they must not change.
        receive: names the target for the answer's body (see `Exchange`).
        observe: called with each piece of the answer's body (see `Exchange`).
        resume: called with the head of an answer whose body was cut off. Returns the request for the rest of the body,
            or for the whole body; None to send this request again.
        credential: the credential that the service signed the request with, if it may have to be renewed.
        done: in a request for the rest of a body, how many bytes of the body have been received.
        left: in such a request, how many bytes are missing.
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
        """Add a header field."""
        self.headers = (*self.headers, (name, value))


class Begun(NamedTuple):
    """The first try of a request, which a batch made (`objects.batched`) and did not finish.

    Attributes:
        endpoint: the endpoint that was chosen.
        address: its address.
        sent: the head of the request, signed.
        credential: the credential that it was signed with (see `Request`).
        began: when it was sent, in seconds of the monotonic clock.
        continuation: the connection, and what has been sent and received on it; None if the request has not been sent.
    """

    endpoint: Endpoint
    address: Address
    sent: bytes
    credential: Any
    began: float
    continuation: Continuation | None = None

    @property
    def target(self) -> Buffer | None:
        """Holds what has been received of the body; None if its head has not been read."""
        return self.continuation.target if self.continuation is not None else None


class Service(Protocol):
    """The service that a store talks to, as `send` uses it."""

    settings: Settings
    limits: Limits
    endpoints: Endpoints

    def prepare(self, request: Request, endpoint: Endpoint) -> tuple[Address, bytes]:
        """The server that the request goes to, and the head of the request, signed now."""

    def is_transient(self, response: Response) -> bool:
        """Whether the answer says that another try may succeed."""

    def redirected(self, request: Request, response: Response) -> bool:
        """Whether the answer told the service where such requests belong, so that this one is sent there at once."""


class StoreService(Service, Protocol):
    """A service that offers batched reads of whole objects."""

    def reads(self, container: str, endpoint: Endpoint) -> Heads:
        """Makes the heads of reads, each the same as `prepare` would make at this moment."""


class WriteService(StoreService, Protocol):
    """A service that offers batched reads and writes of whole objects."""

    def writes(self, container: str, endpoint: Endpoint) -> Heads:
        """Makes the heads of writes, with a hole for the checksum of each object."""


FirstTry = Callable[[Service, "Request"], Coroutine[Any, Any, Response]]
"""Sends a request for the first time: `send`, or what continues a request that a batched write has begun."""


def limits(settings: Settings) -> Limits:
    """The bounds of an exchange, from the settings."""
    return Limits(
        settings.connect_timeout,
        settings.read_timeout,
        settings.request_timeout,
        settings.keep_alive,
        settings.idle_connections,
        settings.min_rate,
        _RATE_SPAN,
        settings.unsized_max_mb * MIB,
    )


async def send(service: Service, request: Request, begun: Begun | None = None) -> Response:
    """Send a request, again where that may help, and return its answer.

    Args:
        service: chooses endpoints, signs requests, and judges answers.
        request: the request.
        begun: the first try, if it has been made already.

    Returns:
        The answer, whatever its status. That of a failure that may pass is returned after the last try.

    Raises:
        StoreUnavailableError: no connection, or only broken ones.
        StoreTimeoutError: no answer in time.
        S3dlioError: an answer that is not HTTP, or that `request.receive` refuses.
    """
    endpoints, limits = service.endpoints, service.limits
    began = time.monotonic() if begun is None else begun.began
    tries: Tries | None = None  # made after the first failure, which is rare
    redirections = 0
    endpoint: Endpoint | None = None
    while True:
        # One try...
        if begun is None:
            endpoint = endpoints.choose(endpoint)
            exchange = Exchange(request, *service.prepare(request, endpoint), limits)
        else:
            endpoint = begun.endpoint
            exchange = Exchange(request, begun.address, begun.sent, limits, begun.continuation)
            begun = None
        endpoint.in_flight += 1
        try:
            outcome: Response | TransportError = await exchange
        except (TransportError, S3dlioError) as error:
            outcome = _failure(error, exchange.address)
        finally:
            endpoint.in_flight -= 1
            endpoint.traffic.requests += 1

        # Does the outcome call for another one?
        if isinstance(outcome, Response) and not _is_transient(service, endpoint, request, outcome):
            if redirections == _MOST_REDIRECTIONS or not service.redirected(request, outcome):
                return outcome
            redirections += 1
            continue
        tries = tries or Tries(service.settings, endpoints, began + service.limits.total)
        if isinstance(outcome, TransportError):
            request = _after_failure(endpoint, request, outcome, tries)

        # Wait before it...
        now = time.monotonic()
        wait = tries.wait(now, outcome, endpoint, exchange.body_seconds())
        if wait is None:
            if isinstance(outcome, Response):
                return outcome
            raise _error(outcome, request, exchange.address, tries.count) from outcome
        del outcome  # its traceback refers to this frame; the cycle would keep the target of the next try
        if wait:
            await Sleep(wait)
        limits = limits._replace(total=tries.left(now) - wait)


def _is_transient(service: Service, endpoint: Endpoint, request: Request, response: Response) -> bool:
    """Whether an answer says that another try may succeed. Notes what the answer tells about the endpoint."""
    endpoint.traffic.bytes += len(response.body)
    if request.body:
        endpoint.traffic.bytes += sum(map(len, request.body))
    if not service.is_transient(response):
        endpoint.worked()
        return False
    if response.head.status == 503:
        endpoint.failed()
    return True


def _failure(error: TransportError | S3dlioError, address: Address) -> TransportError:
    """The failure of a try. An error of `request.receive`, which does not see the server, is raised with its name."""
    if isinstance(error, TransportError):
        return error
    add_endpoint(error, address.url)
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame; the cycle would keep buffers until the collector runs


def _after_failure(endpoint: Endpoint, request: Request, failure: TransportError, tries: Tries) -> Request:
    """Note that a try failed, and return the request for the next one."""
    endpoint.traffic.bytes += failure.received
    if failure.kind != "descriptors":  # a shortage in this process says nothing about the endpoint
        endpoint.failed()
    if failure.head is None or request.resume is None:
        return request
    resumed = request.resume(failure.head)
    if resumed is None:
        return request
    if failure.kind != "slow":
        tries.resumed(resumed.done, resumed.left)
    return resumed


_UNAVAILABLE = StoreUnavailableError, "check the endpoint, and that the service is up"
_LATE = StoreTimeoutError, "check the endpoint and the network, or allow more time"
# By the kind of a failure: the error to raise, and what the user can try.
_ERRORS: dict[Failure, tuple[type[S3dlioError], str]] = {
    "connect": _UNAVAILABLE,
    "refused": _UNAVAILABLE,
    "lost": _UNAVAILABLE,
    "descriptors": (StoreUnavailableError, ""),  # its message already says what to try
    "untrusted": (StoreUnavailableError, "check the endpoint's host name, and AWS_CA_BUNDLE or SSL_CERT_FILE"),
    "proxy": (StoreUnavailableError, "check the proxy, its user and password, and NO_PROXY"),
    "timeout": _LATE,
    "slow": _LATE,
    "connect timeout": _LATE,
    "malformed": (S3dlioError, "check that the endpoint is the right kind of service"),
}


def _error(failure: TransportError, request: Request, address: Address, tries: int) -> S3dlioError:
    """The error for a request that has failed after its last try."""
    way = f" through the proxy {address.proxy.host}:{address.proxy.port}" if address.proxy is not None else ""
    again = f" ({tries} attempts)" if tries > 1 else ""
    kind, hint = _ERRORS[failure.kind]
    message = f"{request.method} {request.uri} at {address.url}{way}: {failure}{again}"
    return kind(f"{message}; {hint}" if hint else message, uri=request.uri, endpoint=address.url)
