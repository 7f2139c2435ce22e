# SPDX-License-Identifier: Apache-2.0
"""What a refusal means: one kind of table for all cloud services, and the errors that are made of answers.

A service refuses a request with a status and, in most answers, a code. A table (`Refusals`) gives for each code the
class of the error to raise and a hint; the status decides where the code is unknown or missing. Where the same code
means different things (for one credential and another, say), the service's `refusals` module picks the row itself.

Every message has the same order: the URI, the endpoint, what the service answered, and after a semicolon what to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from s3dlio.errors import S3dlioError, StoreTimeoutError, StoreUnavailableError
from s3dlio.http.address import Address
from s3dlio.http.response import Response
from s3dlio.objects.retry import TRANSIENT

AnyError = TypeVar("AnyError", bound=S3dlioError)


class Advice(NamedTuple):
    """A row of the table: what a refusal means.

    Attributes:
        error: the class of the error to raise; None to take the class that belongs to the status.
        hint: what to check or do; "" if nothing is known.
    """

    error: type[S3dlioError] | None
    hint: str


LATER = Advice(StoreUnavailableError, "the service cannot answer now: try again later")
TOO_SLOW = Advice(StoreTimeoutError, "the service takes too long: try again later")
DAMAGED = "the bytes changed on the way, or while they were sent: write the object again, and check the network"

_UNKNOWN = Advice(S3dlioError, "")
_ON_EVERY_SERVICE = {**dict.fromkeys(TRANSIENT, LATER), 408: TOO_SLOW, 504: TOO_SLOW}


class Refusals:
    """The refusals of one kind of service."""

    def __init__(self, service: str, by_code: Mapping[str, Advice], by_status: Mapping[int, Advice]) -> None:
        """
        Args:
            service: what the endpoint has to be, for messages: "an S3 service".
            by_code: what each code means.
            by_status: what a status means without a known code, beside the statuses that mean the same everywhere.
        """
        self._service = service
        self._by_code = by_code
        self._by_status = {**_ON_EVERY_SERVICE, **by_status}

    def advice(self, code: str, status: int) -> Advice:
        """Find the row for a code, or without a known code the row for a status."""
        for_status = self._by_status.get(status, _UNKNOWN)
        found = self._by_code.get(code, for_status)
        return found if found.error is not None else Advice(for_status.error, found.hint)

    def error(self, response: Response, uri: str, code: str, message: str, advice: Advice | None = None) -> S3dlioError:
        """Make the error for an answer that is not one of the expected ones.

        Args:
            response: the answer.
            uri: what the request was about.
            code, message: of the error in the answer; "" without one.
            advice: the row that applies, if not the one of the code or the status.
        """
        status = response.head.status
        kind, hint = advice or self.advice(code, status)
        said = (message if code == message else f"{code} {message}".strip()) or response.head.reason
        return error_at(kind or S3dlioError, uri, response.address, f"{status} {said}".strip(), hint, status)

    def unproven(self, response: Response, uri: str, missing: str) -> S3dlioError:
        """Make the error for an answer that reports success but lacks `missing`, which would prove it."""
        status = response.head.status
        why = f"the answer is {status}, but has no {missing}, so that it is not known whether the request was"
        hint = f"check that the endpoint is {self._service}, then try again"
        return error_at(S3dlioError, uri, response.address, f"{why} carried out", hint, status)


def unreadable(response: Response, uri: str, why: str) -> S3dlioError:
    """Make the error for a body without the form that the service sends; `why` is what the answer is: "not XML"."""
    hint = "check that the endpoint is the right kind of service"
    return error_at(S3dlioError, uri, response.address, f"the answer is {why}", hint)


def error_at(
    kind: type[AnyError], uri: str, address: Address, why: str, hint: str = "", status: int | None = None
) -> AnyError:
    """Make an error about an object and the server that answered; `hint` says what to check or do."""
    endpoint = address.url
    message = f"{uri} at {endpoint}: {why}"
    return kind(f"{message}; {hint}" if hint else message, uri=uri, endpoint=endpoint, status=status)
