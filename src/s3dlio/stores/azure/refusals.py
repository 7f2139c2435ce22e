# SPDX-License-Identifier: Apache-2.0
"""What the refusals of Azure Blob Storage mean.

An error is known by its code, which is in a field of the answer and so also comes after a HEAD. Three answers mean
different things for different credentials: 401, 403, and 404 about the account itself (`ResourceNotFound`).

Sources: Blob Storage REST API, "Blob Storage error codes", "Common REST API error codes", "Status and error codes".
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from s3dlio.auth.azure.account import Account
from s3dlio.auth.azure.credentials import Anonymous, EntraToken, SharedAccessSignature
from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidURIError,
    ObjectNotFoundError,
    PermissionDeniedError,
    S3dlioError,
)
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.stores.azure.answers import AzureError, error_of
from s3dlio.stores.refusals import DAMAGED, TOO_SLOW, Advice, Refusals

CHANGED_ON_THE_WAY = frozenset({"Crc64Mismatch", "Md5Mismatch"})

TRANSIENT_CODES = frozenset({"InternalError", "OperationTimedOut", "ServerBusy", *CHANGED_ON_THE_WAY})
"""Errors that may be gone when the request is sent again, whatever their status."""

_OVERTAKEN = "InvalidBlockList"
_MOST_SKEW = 900  # seconds that a clock may be wrong
_TENANT = re.compile(r"authorization_uri=\"?https://[^/\s,]+/([0-9a-fA-F-]{36})")
_ROLE = "Reading needs the role Storage Blob Data Reader, writing Storage Blob Data Contributor"
_MAY_NOT = Advice(
    PermissionDeniedError,
    f"the credentials are valid, but do not allow this: check the signature's permissions, or the role. {_ROLE}",
)
_PROTECTED = Advice(PermissionDeniedError, "a policy of the account or container forbids changing the object")
_NO_SUCH_OBJECT = Advice(ObjectNotFoundError, "no such object: check its name")
_BAD_NAME = "the service does not accept this name"
_NOT_PUBLIC = "the container is not public: set credentials, and unset S3DLIO_NO_SIGN"

REFUSALS = Refusals(
    "Azure Blob Storage",
    {
        "AccountIsDisabled": Advice(PermissionDeniedError, "the storage account is disabled: enable it in the portal"),
        "AccountRequiresHttps": Advice(
            ConfigurationError, "the account accepts https only: check AZURE_STORAGE_ENDPOINT"
        ),
        "AuthorizationFailure": Advice(
            PermissionDeniedError,
            f"the account refuses this machine: check its firewall and network rules, and the role. {_ROLE}",
        ),
        "AuthorizationPermissionMismatch": _MAY_NOT,
        "AuthorizationProtocolMismatch": Advice(
            PermissionDeniedError, "the shared access signature is valid for https only: use an https endpoint"
        ),
        "AuthorizationResourceTypeMismatch": Advice(
            PermissionDeniedError,
            "the shared access signature does not cover this kind of resource: containers and objects need srt=co",
        ),
        "AuthorizationServiceMismatch": Advice(
            PermissionDeniedError, "the shared access signature is not for the Blob service, which needs ss=b"
        ),
        "AuthorizationSourceIPMismatch": Advice(
            PermissionDeniedError, "the shared access signature is not valid for this machine's address"
        ),
        "BlobArchived": Advice(S3dlioError, "the blob is in the archive tier: rehydrate it first"),
        "BlobBeingRehydrated": Advice(S3dlioError, "the blob is leaving the archive tier: try again later"),
        "BlobImmutableDueToLegalHold": _PROTECTED,
        "BlobImmutableDueToPolicy": _PROTECTED,
        "BlobNotFound": _NO_SUCH_OBJECT,
        "BlockCountExceedsLimit": Advice(
            S3dlioError,
            "interrupted uploads have left too many blocks: write the object in one piece once, or wait a week until"
            " the blocks expire",
        ),
        "CannotVerifyCopySource": Advice(None, "the service cannot read the source of the copy: check its name"),
        "ContainerBeingDeleted": Advice(S3dlioError, "the container is being deleted: wait half a minute"),
        "ContainerNotFound": Advice(ObjectNotFoundError, "no such container: check its name and the account"),
        "InsufficientAccountPermissions": _MAY_NOT,
        "InvalidBlobOrBlock": Advice(
            S3dlioError,
            "an interrupted upload by another program is in the way: write the object in one piece once, or wait a week"
            " until its blocks expire",
        ),
        "InvalidBlobType": Advice(S3dlioError, "an append blob or a page blob has this name: delete it first"),
        _OVERTAKEN: Advice(
            S3dlioError,
            "another client wrote the object at the same time, so the service dropped the parts sent before: write"
            " the object again",
        ),
        "InvalidResourceName": Advice(
            InvalidURIError, "a container's name has 3 to 63 lower-case letters, digits and hyphens"
        ),
        "InvalidUri": Advice(InvalidURIError, f"{_BAD_NAME}: choose another name"),
        "KeyBasedAuthenticationNotPermitted": Advice(
            PermissionDeniedError,
            "the account does not allow its keys to be used: unset AZURE_STORAGE_ACCOUNT_KEY and use Entra ID",
        ),
        "LeaseIdMissing": Advice(
            S3dlioError, "another client holds a lease on the blob: wait until the lease ends, or break it"
        ),
        **dict.fromkeys(CHANGED_ON_THE_WAY, Advice(IntegrityError, DAMAGED)),
        "OperationTimedOut": TOO_SLOW,
        "OutOfRangeInput": Advice(InvalidURIError, f"{_BAD_NAME}: it is too long or too short"),
        "PendingCopyOperation": Advice(S3dlioError, "a copy to this blob is in progress: wait until it has ended"),
        "PublicAccessNotPermitted": Advice(
            PermissionDeniedError,
            "the account allows no public containers: set credentials, and unset S3DLIO_NO_SIGN",
        ),
        "SnapshotsPresent": Advice(
            S3dlioError, "the blob has snapshots, which s3dlio never deletes: delete them first"
        ),
    },
    {404: _NO_SUCH_OBJECT},
)


def refusal(response: Response, uri: str, account: Account) -> S3dlioError:
    """Make the error for an answer that is not one of the expected ones. The hint depends on the credential."""
    status = response.head.status
    error = error_of(response)
    advice = REFUSALS.advice(error.code, status)
    from_azurite = response.head.headers.get("server", "").startswith("Azurite")
    if error.code == "ResourceNotFound":
        advice = _resource_not_found(account)
    elif status in (401, 403) and (not advice.hint or (from_azurite and error.code == "AuthorizationFailure")):
        advice = Advice(PermissionDeniedError, _why_forbidden(response, error, account))
    return REFUSALS.error(response, uri, error.code, error.message, advice)


def _why_forbidden(response: Response, error: AzureError, account: Account) -> str:
    """Return what to check after 401 or 403, which depends on the credential."""
    credential = account.credential
    skew = _skew(response.head)
    if isinstance(credential, SharedAccessSignature):
        expired = credential.expires and credential.expires < time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
        if expired:
            return f"the shared access signature expired at {credential.expires}: get a new one"
        return (
            f"the shared access signature (it allows {credential.permissions!r}) does not allow this: check"
            " AZURE_STORAGE_SAS_TOKEN, and that it is for this account and container"
        )
    if abs(skew) > _MOST_SKEW:
        return f"this machine's clock is {abs(skew) / 60:.0f} minutes {'ahead' if skew > 0 else 'behind'}: set it"
    if isinstance(credential, SharedKey):
        return (
            f"the account key is not that of {account.name!r}: check AZURE_STORAGE_ACCOUNT_KEY and"
            " AZURE_STORAGE_ACCOUNT_NAME"
        )
    if isinstance(credential, EntraToken):
        tenant = _TENANT.search(response.head.headers.get("www-authenticate", ""))
        wanted = f"; the account belongs to the tenant {tenant[1]}" if tenant is not None else ""
        return f"the token of Entra ID is not accepted{wanted}: check AZURE_TENANT_ID and the identity. {_ROLE}"
    return f"{_NOT_PUBLIC} ({error.detail})" if error.detail else _NOT_PUBLIC


def _resource_not_found(account: Account) -> Advice:
    """Return the meaning of a 404 about the account itself instead of a container or a blob in it."""
    if isinstance(account.credential, Anonymous):
        return Advice(PermissionDeniedError, _NOT_PUBLIC)
    name = f" {account.name!r}" if account.name else ""
    return Advice(ConfigurationError, f"there is no account{name} at this endpoint: check AZURE_STORAGE_ACCOUNT_NAME")


def _skew(head: ResponseHead) -> float:
    """Return the seconds by which this machine's clock is ahead of the service's."""
    try:
        return time.time() - parsedate_to_datetime(head.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return 0.0


def is_overtaken(error: S3dlioError) -> bool:
    """Tell whether a list of blocks was refused because somebody else committed the same blob meanwhile."""
    return error.status == 400 and f": 400 {_OVERTAKEN}" in str(error)
