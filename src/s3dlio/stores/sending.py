# SPDX-License-Identifier: Apache-2.0
"""Send a request until its answer proves the result.

Status 200 alone proves nothing: gateways and login pages have it too, a cut answer has it, and S3 sends errors with
it once it has begun to answer. So an answer that reports success is searched for an error and for the proof that the
service's `answers` module defines. The request is sent again while the error inside may pass, and a few times while the
proof is missing.

`objects.request.send` below this has already tried again what failed on the way or was refused for the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

from s3dlio.errors import S3dlioError
from s3dlio.http.response import Response
from s3dlio.log import logger
from s3dlio.objects.request import FirstTry, Request, StoreService, send
from s3dlio.objects.retry import Repeats
from s3dlio.stores.refusals import Refusals


class CloudService(StoreService, Protocol):
    """A service that can tell what its answers mean."""

    refusals: Refusals

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        """Make the error for an answer that is not one of the expected ones."""

    def error_inside(self, response: Response) -> bool | None:
        """Look for an error in an answer that reports success.

        Returns:
            None without an error; otherwise whether the error may be gone when the request is sent again.
        """


def nothing_missing(response: Response) -> str:  # noqa: ARG001
    """Accept every answer without an error inside."""
    return ""


def lacks_etag(response: Response) -> str:
    """Name what the answer to a part of an upload lacks; "" if nothing."""
    return "" if response.head.headers.get("etag") else "ETag"


async def expect(service: CloudService, request: Request, status: int) -> Response:
    """Send a request, and raise the service's refusal for an answer of another status."""
    response = await send(service, request)
    if response.head.status != status:
        raise service.refusal(response, request.uri)
    return response


async def send_for_proof(
    service: CloudService,
    request: Request,
    missing: Callable[[Response], str] = nothing_missing,
    *,
    success: Container[int] = (200,),
    tries: int = 3,
    inside: Callable[[Response], bool | None] | None = None,
    first: FirstTry = send,
    others: bool = False,
) -> Response:
    """Send a request, and again while an answer reports success without proving it.

    Args:
        service: where it goes.
        request: the request. Sending it again must be harmless.
        missing: names what an answer lacks to prove the result; "" if nothing.
        success: the statuses that report success.
        tries: how often at most the request is sent while the answers prove nothing.
        inside: looks for an error in an answer of success, if not the service's `error_inside` does.
        first: sends the request the first time.
        others: whether to return an answer of another status instead of raising the service's refusal.

    Raises:
        S3dlioError: an answer of another status; or an answer of success with an error inside that does not pass; or
            no answer with a proof.
    """
    inside = inside or service.error_inside
    repeats = Repeats(service.settings.retries, tries)
    while True:
        response = await first(service, request)
        first = send
        if response.head.status not in success:
            if others:
                return response
            raise service.refusal(response, request.uri)
        may_pass = inside(response)
        if may_pass is not None:
            if not (may_pass and repeats.after_error()):
                raise service.refusal(response, request.uri)
        else:
            lacking = missing(response)
            if not lacking:
                return response
            if not repeats.after_unproven():
                raise service.refusals.unproven(response, request.uri, lacking)
        await repeats.wait()


async def send_or_warn(service: CloudService, request: Request, success: Container[int], warning: str) -> None:
    """Send a request that cleans up after a failure. If it fails, too, log `warning`: the first error matters more."""
    try:
        response = await send(service, request)
        if response.head.status not in success:
            raise service.refusal(response, request.uri)
    except S3dlioError as error:
        logger.warning("%s: %s", warning, error)
