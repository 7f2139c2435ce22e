# SPDX-License-Identifier: Apache-2.0
"""What S3's refusals mean.

An error is known by its code, not by its status: S3 sends errors with status 200, and expired credentials with 400. The
answer to a HEAD has no body, so only its status tells.

Source: Amazon S3 API Reference, "Error responses", https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidURIError,
    ObjectNotFoundError,
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.http.response import Response
from s3dlio.stores.refusals import DAMAGED, LATER, Advice, Refusals
from s3dlio.stores.s3.answers import error_of, region_of

TRANSIENT_CODES = frozenset(
    {
        "BadDigest",  # damaged on the way: the memory it was sent from is right
        "InternalError",
        "OperationAborted",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",  # MinIO
        "SlowDownWrite",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
"""Errors that may be gone when the request is sent again, whatever their status."""

_EXPIRED = Advice(PermissionDeniedError, "the session has expired: get new credentials")
_ELSEWHERE = Advice(ConfigurationError, "the bucket is in another region: set AWS_REGION{region}, or the endpoint")
_DAMAGED = Advice(IntegrityError, DAMAGED)
_FORBIDDEN = Advice(
    PermissionDeniedError,
    "check the credentials, and that they allow this on this bucket (s3:GetObject, s3:PutObject …); without"
    " s3:ListBucket a missing object is refused in the same way",
)

REFUSALS = Refusals(
    "an S3 service",
    {
        "AuthorizationHeaderMalformed": _ELSEWHERE,
        "BadDigest": _DAMAGED,
        "BucketAlreadyExists": Advice(S3dlioError, "another account has a bucket of that name: choose another name"),
        "BucketNotEmpty": Advice(S3dlioError, "the bucket is not empty: delete its objects first"),
        "ExpiredToken": _EXPIRED,
        "IllegalLocationConstraintException": _ELSEWHERE,
        "InternalError": LATER,
        "InvalidAccessKeyId": Advice(
            PermissionDeniedError,
            "the service does not know this access key: check AWS_ACCESS_KEY_ID and the endpoint",
        ),
        "InvalidBucketName": Advice(InvalidURIError, "no bucket can have this name: choose another name"),
        "InvalidObjectState": Advice(S3dlioError, "the object is archived: restore it first"),
        "InvalidToken": Advice(PermissionDeniedError, "the session token is not valid: check AWS_SESSION_TOKEN"),
        "InvalidURI": Advice(InvalidURIError, "the service does not accept this key: choose another key"),
        "KeyTooLongError": Advice(InvalidURIError, "a key has at most 1,024 bytes: choose a shorter key"),
        "MethodNotAllowed": Advice(
            S3dlioError, "the service does not allow this on the object; a delete marker, for example, has no content"
        ),
        "NoSuchBucket": Advice(ObjectNotFoundError, "no such bucket: check its name and the endpoint"),
        "NoSuchUpload": Advice(ObjectNotFoundError, "the upload has been aborted: write the object again"),
        "PermanentRedirect": _ELSEWHERE,
        "RequestTimeTooSkewed": Advice(PermissionDeniedError, "this machine's clock is wrong: set it"),
        "RequestTimeout": Advice(StoreTimeoutError, "the service received no data for too long: check the network"),
        "ServiceUnavailable": LATER,
        "SignatureDoesNotMatch": Advice(PermissionDeniedError, "the secret key is wrong: check AWS_SECRET_ACCESS_KEY"),
        "SlowDown": Advice(
            StoreUnavailableError, "too many requests: keep fewer of them in flight, or try again later"
        ),
        "TemporaryRedirect": _ELSEWHERE,
        "TokenRefreshRequired": _EXPIRED,
        "XAmzContentChecksumMismatch": _DAMAGED,
        "XAmzContentSHA256Mismatch": _DAMAGED,
    },
    {
        404: Advice(ObjectNotFoundError, "no such object, or no such bucket: check their names"),
        401: _FORBIDDEN,
        403: _FORBIDDEN,
        301: _ELSEWHERE,
        307: _ELSEWHERE,
    },
)


def refusal(response: Response, uri: str) -> S3dlioError:
    """Make the error for an answer that is not one of the expected ones."""
    error = error_of(response)
    kind, hint = REFUSALS.advice(error.code, response.head.status)
    region = region_of(response)
    advice = Advice(kind, hint.format(region=f"={region}" if region else ""))
    return REFUSALS.error(response, uri, error.code, error.message, advice)
