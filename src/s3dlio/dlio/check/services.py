# SPDX-License-Identifier: Apache-2.0
"""A service as a check asks it: one endpoint of s3://, or whatever serves another scheme.

Each service has settings of its own (`settings.held`), with short deadlines and few retries, so that a check ends in
seconds. Each is asked in its own thread, so that a service that does not answer does not delay the others.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import s3dlio
from s3dlio import diagnostics, redaction, settings
from s3dlio.dlio.check.workload import Folder
from s3dlio.errors import S3dlioError, StoreTimeoutError, StoreUnavailableError
from s3dlio.settings import Settings

T = TypeVar("T")

# Deadlines of one request, in seconds, where the settings allow more.
_CONNECT, _ANSWER = 2.5, 3.5


class Service:
    """One service.

    Attributes:
        name: the endpoint's URL, or the scheme if the settings name no endpoint.
    """

    def __init__(self, name: str, now: Settings) -> None:
        self.name = name
        self._settings = now

    def first_object(self, folder: str) -> str | None:
        """Return the URI of an object below the folder, or None if the folder is empty."""
        with settings.held(self._settings):
            return next(s3dlio.list_iter(folder, recursive=True), None)

    def read(self, uri: str, length: int) -> bytes:
        """The first bytes of an object."""
        with settings.held(self._settings):
            return bytes(s3dlio.get_range(uri, 0, length))

    def write(self, uri: str, content: bytes) -> None:
        """Write an object."""
        with settings.held(self._settings):
            s3dlio.put_bytes(uri, content)

    def delete(self, uri: str) -> None:
        """Delete an object."""
        with settings.held(self._settings):
            s3dlio.delete(uri)


def services_of(scheme: str) -> list[Service]:
    """The services of a scheme: one for each endpoint that the settings name.

    Raises:
        ConfigurationError: a setting has a value that it does not take.
    """
    now = settings.current()
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
        return [Service(f"{scheme}://", short)]
    return [
        Service(redaction.url(endpoint), dataclasses.replace(short, s3_endpoints=endpoint))
        for endpoint in diagnostics.s3_endpoints(now)
    ]


@dataclass
class Visit:
    """What one service answered about one folder: an error, or an object in the folder if there is any."""

    service: Service
    first: str | None = None
    error: S3dlioError | None = None
    seconds: float = 0.0


def visit(service: Service, folders: Sequence[Folder]) -> list[Visit]:
    """List the first page of each folder at one service, and read a byte of the first object.

    A service that is down is asked once; its error is then the answer for the other folders, too.
    """
    visits: list[Visit] = []
    for folder in folders:
        answer = Visit(service)
        visits.append(answer)
        if len(visits) > 1 and is_down(visits[-2].error):
            answer.error = visits[-2].error
            continue
        began = time.monotonic()
        try:
            answer.first = service.first_object(folder.uri)
            if answer.first is None and folder.elsewhere:
                answer.first = service.first_object(folder.elsewhere)
            if answer.first is not None:
                service.read(answer.first, 1)
        except S3dlioError as error:
            answer.error = error
        answer.seconds = time.monotonic() - began
    return visits


def is_down(error: S3dlioError | None) -> bool:
    """Whether s3dlio would go to another endpoint after this error."""
    return isinstance(error, StoreUnavailableError | StoreTimeoutError)


class InThread(threading.Thread, Generic[T]):
    """Runs a call in a separate thread, because its result may arrive too late to be used."""

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
        """What the call returned, or None if it has not ended at the deadline; raises what the call raised."""
        self.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        return self._result
