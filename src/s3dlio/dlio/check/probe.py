# SPDX-License-Identifier: Apache-2.0
"""Whether the places that a workload uses answer, and can be used as it is going to use them.

Strategy: every service is asked in a thread of its own, each of several S3 endpoints as a service by itself, so that
one that does not answer takes no time from the others. A service lists the first page of each place and reads a byte
of the first object; where the workload writes, an object of a name that nobody else has is written, read through
every endpoint, and deleted. Deadlines are short and tries are few, so all of it ends within `SECONDS`. What could not
be found out by then is a warning, for a storage that is slow today is none that cannot be used.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from s3dlio import redaction
from s3dlio import settings as settings_module
from s3dlio.errors import (
    ObjectNotFoundError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.http.address import split_endpoints
from s3dlio.runtime.run import run
from s3dlio.settings import Settings
from s3dlio.stores import store_for
from s3dlio.stores.base import Store
from s3dlio.uri import FILE_SCHEMES, URI, parse

T = TypeVar("T")

SECONDS = 4.5

OK, ADVICE, WARNING, FAILURE = "ok", "advice", "warning", "failure"

# Deadlines of one request, in seconds, where the settings allow more.
_CONNECT, _ANSWER = 2.5, 3.5
_PROBE_NAME = ".s3dlio-probe-"
_CONTENT = b"written by s3dlio to find out whether it may, and deleted again"


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        level: `OK`; `ADVICE`: it works and could be faster; `WARNING`: look at it; `FAILURE`: the workload would fail.
        about: the URI, the endpoint or the part of the set-up that was looked at.
        message: what was found, and for errors what to check.
        advice: what to change; "" if there is nothing, or the message says it.
    """

    level: str
    about: str
    message: str
    advice: str = ""

    def __post_init__(self) -> None:
        for name in ("about", "message", "advice"):  # they may repeat what a server, or a configuration, said
            object.__setattr__(self, name, redaction.message(getattr(self, name)))


@dataclass(frozen=True)
class Place:
    """A folder that a workload uses.

    Attributes:
        uri: its URI.
        filled: it has to hold something already, and is read.
        written: objects are written into it.
        elsewhere: another folder that may hold what is read, "" if there is none.
    """

    uri: str
    filled: bool = False
    written: bool = False
    elsewhere: str = ""


class _Service:
    """What serves the places of one scheme: an endpoint, or all there is.

    Attributes:
        name: the endpoint's URL, or the scheme where the settings name no endpoint.
    """

    def __init__(self, name: str, scheme: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings
        # Not the store of the process: that keeps its connections and credentials for the settings of the process.
        self._store: Store = type(store_for(scheme))()

    def first_object(self, folder: URI) -> str | None:
        """The URI of an object below the folder, None if there is none."""

        async def first() -> str | None:
            pages = self._store.pages(folder, recursive=True)
            try:
                async for page in pages:
                    for name in page:
                        return folder.root + folder.folder_key + name
            finally:
                await pages.aclose()
            return None

        with settings_module.held(self._settings):
            return run(first())

    def read(self, uri: URI, length: int) -> bytes:
        """The first bytes of an object."""
        with settings_module.held(self._settings):
            return bytes(run(self._store.get_range(uri, 0, length)))

    def write(self, uri: URI) -> None:
        """Write the probe."""
        with settings_module.held(self._settings):
            run(self._store.put(uri, memoryview(_CONTENT)))

    def delete(self, uri: URI) -> None:
        """Delete it."""
        with settings_module.held(self._settings):
            run(self._store.delete(uri))


@dataclass
class _Visit:
    """What one service answered about one place: an error, or the first object there is."""

    service: _Service
    first: str | None = None
    error: S3dlioError | None = None
    seconds: float = 0.0


class _InThread(threading.Thread, Generic[T]):
    """A call in a thread of its own, which may take longer than anybody waits for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(name="s3dlio-probe", daemon=True)
        self._work = work
        self._result: T | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self, deadline: float) -> T | None:
        """What the call returned, or None if it has not ended at the deadline; raises what it raised."""
        self.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        return self._result


def probe(places: Sequence[Place], seconds: float = SECONDS) -> list[Finding]:
    """Find out whether places can be used.

    Args:
        places: in the order in which they are to be reported.
        seconds: after which this returns with what it has found out.

    Returns:
        Findings about each place and about endpoints that do not answer; a `FAILURE` for all that cannot be used.
    """
    deadline = time.monotonic() + seconds
    try:
        parsed = [(place, parse(place.uri)) for place in places]
        by_scheme = {uri.scheme: _services(uri.scheme) for _, uri in parsed}
    except S3dlioError as error:
        return [Finding(FAILURE, error.uri or "settings", str(error))]
    asked = {
        service: _InThread(partial(_visit, service, [one for one in parsed if one[1].scheme == scheme]))
        for scheme, services in by_scheme.items()
        for service in services
    }
    visits = {service: thread.result(deadline) for service, thread in asked.items()}
    findings: list[Finding] = []
    for scheme, services in by_scheme.items():
        own = [place for place, uri in parsed if uri.scheme == scheme]
        answered = {service: found for service in services if (found := visits[service]) is not None}
        findings += _about_services(services, answered, own)
        usable = [service for service, found in answered.items() if not any(_is_down(visit.error) for visit in found)]
        for number, place in enumerate(own):
            findings += _about_place(place, [answered[service][number] for service in usable], deadline)
    return findings


def _services(scheme: str) -> list[_Service]:
    now = settings_module.current()
    short = dataclasses.replace(
        now,
        connect_timeout=min(now.connect_timeout, _CONNECT),
        read_timeout=min(now.read_timeout, _ANSWER),
        request_timeout=min(now.request_timeout, _ANSWER),
        retries=min(now.retries, 3),
        retry_seconds=min(now.retry_seconds, 1),
        connect_retry_seconds=min(now.connect_retry_seconds, 0.5),
    )
    if scheme != "s3" or not now.s3_endpoints:
        return [_Service(f"{scheme}://", scheme, short)]
    endpoints = split_endpoints(now.s3_endpoints)
    return [
        _Service(redaction.url(endpoint), scheme, dataclasses.replace(short, s3_endpoints=endpoint))
        for endpoint in endpoints
    ]


# Listing and reading...


def _visit(service: _Service, folders: Sequence[tuple[Place, URI]]) -> list[_Visit]:
    """Ask one service about each folder; one that is down is asked once."""
    visits: list[_Visit] = []
    for place, folder in folders:
        visit = _Visit(service)
        visits.append(visit)
        if len(visits) > 1 and _is_down(visits[-2].error):
            visit.error = visits[-2].error
            continue
        began = time.monotonic()
        try:
            visit.first = service.first_object(folder)
            if visit.first is None and place.elsewhere:
                visit.first = service.first_object(parse(place.elsewhere))
            if visit.first is not None:
                service.read(parse(visit.first), 1)
        except S3dlioError as error:
            visit.error = error
        visit.seconds = time.monotonic() - began
    return visits


def _is_down(error: S3dlioError | None) -> bool:
    """Whether it is an error for which s3dlio would go to another endpoint."""
    return isinstance(error, StoreUnavailableError | StoreTimeoutError)


def _level(error: S3dlioError) -> str:
    """A `FAILURE`, unless it may have gone when it is tried again with the deadlines of the settings."""
    slow = isinstance(error, StoreTimeoutError) and getattr(error.__cause__, "kind", "") != "connect timeout"
    overloaded = isinstance(error, StoreUnavailableError) and error.status is not None
    return WARNING if slow or overloaded else FAILURE


def _about_services(
    services: Sequence[_Service], answered: dict[_Service, list[_Visit]], places: Sequence[Place]
) -> list[Finding]:
    """Findings about services that are down: all of them, and the workload fails; some, and the others serve it."""
    reasons: dict[_Service, S3dlioError | None] = {}
    for service in services:
        if service not in answered:
            reasons[service] = None
        elif (error := next((visit.error for visit in answered[service] if _is_down(visit.error)), None)) is not None:
            reasons[service] = error
    some_work = len(reasons) < len(services)
    findings = []
    for service, reason in reasons.items():
        about = service.name if len(services) > 1 else places[0].uri
        if reason is None:
            findings.append(Finding(WARNING, about, "it has not answered in the time that a check may take"))
        elif some_work:
            advice = "the other endpoints do its share: bring it back, or take it out of S3_ENDPOINT_URIS"
            findings.append(Finding(WARNING, about, str(reason), advice))
        else:
            findings.append(Finding(_level(reason), about, str(reason)))
    return findings


def _about_place(place: Place, visits: Sequence[_Visit], deadline: float) -> list[Finding]:
    """Findings about a place, from the answers of the services that work."""
    if not visits:
        return []
    failed = [visit for visit in visits if visit.error is not None]
    if failed:
        # What is wrong at one endpoint is mostly wrong at all.
        kinds = {(type(visit.error), visit.error.status if visit.error else None): visit for visit in reversed(failed)}
        texts = [str(visit.error) + _others(visit, failed) for visit in reversed(kinds.values())]
        return [Finding(FAILURE, place.uri, text) for text in texts]
    first = next((visit.first for visit in visits if visit.first), None)
    if place.filled and first is None:
        message = "there is nothing in it, and the workload reads it"
        advice = "check the name, or generate the data: ++workload.workflow.generate_data=True"
        return [Finding(FAILURE, place.uri, message, advice)]
    done = ["listed", "read"] if first else ["listed"]
    seconds = max(visit.seconds for visit in visits)
    findings: list[Finding] = []
    if place.written:
        began = time.monotonic()
        written = _InThread(partial(_write, place, [visit.service for visit in visits])).result(deadline)
        if written is None:
            return [Finding(WARNING, place.uri, "writing to it has not ended in the time that a check may take")]
        findings = written
        seconds += time.monotonic() - began
        done += ["written", "deleted"]
    elif first and first.startswith("direct://"):
        findings = _without_direct(parse(first))
    if any(finding.level in (WARNING, FAILURE) for finding in findings):
        return findings
    able = " and ".join(filter(None, [", ".join(done[:-1]), done[-1]]))
    through = f" through each of {len(visits)} endpoints" if len(visits) > 1 else ""
    message = f"can be {able}{through} ({seconds:.2f} s)" + ("" if first else "; it is empty")
    return [Finding(OK, place.uri, message), *findings]


def _others(visit: _Visit, failed: Sequence[_Visit]) -> str:
    error = visit.error
    assert error is not None
    same = [
        other.service.name
        for other in failed
        if other is not visit and type(other.error) is type(error) and other.error.status == error.status
    ]
    return f" (and the same at {', '.join(same)})" if same else ""


# Writing...


def _write(place: Place, services: Sequence[_Service]) -> list[Finding]:
    """Write the probe through the first service, read it through each, delete it."""
    uri = _probe_uri(parse(place.uri))
    first = services[0]
    findings: list[Finding] = []
    try:
        first.write(uri)
        findings += [finding for service in services for finding in _read_back(place, uri, service, first)]
        if uri.scheme == "direct":
            findings += _without_direct(uri)
    except S3dlioError as error:
        findings.append(Finding(_level(error), place.uri, str(error)))
    finally:
        try:
            first.delete(uri)
        except S3dlioError as error:
            if not findings:
                message = f"what is written there cannot be deleted: {error}"
                advice = f"{uri.text} stays behind: delete it by other means"
                findings.append(Finding(WARNING, place.uri, message, advice))
    return findings


def _read_back(place: Place, uri: URI, service: _Service, writer: _Service) -> list[Finding]:
    try:
        if service.read(uri, len(_CONTENT) + 1) == _CONTENT:
            return []
        message = f"what was written comes back from {service.name} with another content"
    except ObjectNotFoundError:
        message = f"what is written through {writer.name} is not found through {service.name}"
    except S3dlioError as error:
        return [Finding(_level(error), place.uri, f"what was written cannot be read: {error}")]
    return [Finding(FAILURE, place.uri, message, "all endpoints of S3_ENDPOINT_URIS have to serve the same storage")]


def _probe_uri(folder: URI) -> URI:
    """The probe's URI: in the folder, or for files in the nearest one that exists, so that none has to be made."""
    name = _PROBE_NAME + secrets.token_hex(8)
    if folder.scheme not in FILE_SCHEMES:
        return folder.with_key(folder.folder_key + name)
    path = folder.key
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path.rstrip("/")) or "/"
    return folder.with_key(os.path.join(path, name))


def _without_direct(uri: URI) -> list[Finding]:
    """Whether a file of direct:// lies on a file system that has no O_DIRECT; where that is an error, it has failed."""
    try:
        os.close(os.open(uri.key, os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno == errno.EINVAL:
            message = "this file system does not take O_DIRECT: everything goes through the page cache and is dropped"
            return [Finding(ADVICE, uri.text, message, "use file://, or another file system")]
    return []
