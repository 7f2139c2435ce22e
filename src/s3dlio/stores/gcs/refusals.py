# SPDX-License-Identifier: Apache-2.0
"""What the refusals of Cloud Storage mean.

Status and reason tell most. Whether an object or its bucket is missing stands in the message alone, and so do some
causes of a 400: `_code_of` turns these into codes of the table.

Sources: Cloud Storage, "HTTP status and error codes for JSON", "HTTP status and error codes for XML".
"""

from __future__ import annotations

from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectNotFoundError,
    PermissionDeniedError,
    S3dlioError,
    StoreUnavailableError,
)
from s3dlio.http.response import Response
from s3dlio.stores.gcs.answers import TOO_FAST, error_of
from s3dlio.stores.refusals import DAMAGED, LATER, Advice, Refusals

REFUSALS = Refusals(
    "Cloud Storage",
    {
        **dict.fromkeys(TOO_FAST, LATER),
        "NoSuchUpload": Advice(ObjectNotFoundError, "the upload has been dropped: write the object again"),
        "NoSuchBucket": Advice(ObjectNotFoundError, "no such bucket: check its name and the project"),
        "NoSuchObject": Advice(ObjectNotFoundError, "no such object in this bucket: check its name"),
        "BadDigest": Advice(IntegrityError, DAMAGED),
        "RequesterPays": Advice(
            ConfigurationError, "set GOOGLE_CLOUD_QUOTA_PROJECT to the project that pays for the request"
        ),
        "WithoutToken": Advice(PermissionDeniedError, "no credentials were sent: check GOOGLE_APPLICATION_CREDENTIALS"),
    },
    {
        401: Advice(PermissionDeniedError, "the service refuses the credentials: check GOOGLE_APPLICATION_CREDENTIALS"),
        403: Advice(
            PermissionDeniedError,
            "check that the account may do this with this bucket (roles/storage.objectViewer to read, objectUser to"
            " write)",
        ),
        404: Advice(ObjectNotFoundError, "no such object, or no such bucket: check their names"),
        410: Advice(StoreUnavailableError, "the upload has expired: write the object again"),
    },
)


def refusal(response: Response, uri: str, *, with_token: bool, of_bucket: bool = False) -> S3dlioError:
    """Make the error for an answer that is not one of the expected ones.

    Args:
        response: the answer.
        uri: what the request was about.
        with_token: whether the request carried credentials.
        of_bucket: whether only the bucket can be what is missing.
    """
    status = response.head.status
    reason, message = error_of(response)
    advice = REFUSALS.advice(_code_of(status, reason, message, with_token, of_bucket), status)
    return REFUSALS.error(response, uri, reason, message, advice)


def _code_of(status: int, reason: str, message: str, with_token: bool, of_bucket: bool) -> str:
    """Return the code in the table; "" if the status decides. Most reasons count only with their own status."""
    if status == 404:
        if reason == "NoSuchUpload":
            return reason
        if of_bucket or reason == "NoSuchBucket" or is_about_bucket(message):
            return "NoSuchBucket"
        return "NoSuchObject" if message.startswith("No such object") else ""
    if status == 401:
        return "" if with_token else "WithoutToken"
    if status == 400:
        if reason in ("BadDigest", "CrcMismatch") or "crc32c" in message.lower():
            return "BadDigest"
        if "requester pays" in message.lower():
            return "RequesterPays"
    return reason if reason in TOO_FAST else ""


def is_about_bucket(message: str) -> bool:
    """Tell whether an error's message says that the bucket does not exist."""
    return "bucket does not exist" in message
