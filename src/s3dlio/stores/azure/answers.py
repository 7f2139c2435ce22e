# SPDX-License-Identifier: Apache-2.0
"""What the answers of Azure Blob Storage say: XML, the error in an answer, and the exception that it becomes.

An error is known by its code, which is in a field of the answer and so is there after a HEAD, too. What the service
says about failed authentication quotes signatures: of that only what is known to be harmless is repeated.

A write is reported only if the answer proves it. Put Blob and Put Block List answer 201 with the new ETag; Copy Blob
From URL answers 202 and `x-ms-copy-status: success`. An answer that lacks these is none of the service's: an error,
after the request was repeated, which is harmless, since the names of the blocks belong to one upload; of a copy the
bytes are then read and written here. The checksum in an answer must be the one that was sent. Put Block needs no proof:
the list of blocks is refused if one is missing.

Sources: Blob Storage REST API, "Blob Storage error codes", "Common REST API error codes", "Status and error codes".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree as ET

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
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.objects import documents
from s3dlio.objects.retry import TRANSIENT
from s3dlio.stores.xml_names import NameReader, NotTextError

CHANGED_ON_THE_WAY = frozenset({"Crc64Mismatch", "Md5Mismatch"})

TRANSIENT_CODES = frozenset({"InternalError", "OperationTimedOut", "ServerBusy", *CHANGED_ON_THE_WAY})
"""Errors that may have gone when the same is asked again, whatever their status."""

_NAMES = NameReader("Name")
_OVERTAKEN = "InvalidBlockList"
_MOST_SKEW = 900  # seconds that a clock may be wrong

_TENANT = re.compile(r"authorization_uri=\"?https://[^/\s,]+/([0-9a-fA-F-]{36})")
_ROLE = "Reading needs the role Storage Blob Data Reader, writing Storage Blob Data Contributor"
_MAY_NOT = f"the credential is right but does not allow this: check the signature's permissions, or the role. {_ROLE}"
_LEASED = "somebody holds a lease on it: wait until it ends, or break it"
_PROTECTED = "a policy of the account or container forbids to change it"

# What the service's error codes mean here, and what to check ("Blob Storage error codes", "Common REST API error
# codes").
_REFUSALS: dict[str, tuple[type[S3dlioError] | None, str]] = {
    "AccountIsDisabled": (PermissionDeniedError, "the storage account is disabled"),
    "AccountRequiresHttps": (ConfigurationError, "the account takes https only: check AZURE_STORAGE_ENDPOINT"),
    "AuthorizationFailure": (
        PermissionDeniedError,
        f"this is not allowed from here: check the account's firewall and network rules, and the role. {_ROLE}",
    ),
    "AuthorizationPermissionMismatch": (PermissionDeniedError, _MAY_NOT),
    "AuthorizationProtocolMismatch": (PermissionDeniedError, "the shared access signature is good for https only"),
    "AuthorizationResourceTypeMismatch": (
        PermissionDeniedError,
        "the shared access signature does not cover this kind of thing: it needs srt=co for containers and objects",
    ),
    "AuthorizationServiceMismatch": (
        PermissionDeniedError,
        "the shared access signature is not for the Blob service: it needs ss=b",
    ),
    "AuthorizationSourceIPMismatch": (
        PermissionDeniedError,
        "the shared access signature is not good for this machine's address",
    ),
    "BlobArchived": (S3dlioError, "the blob is in the archive tier: rehydrate it first"),
    "BlobBeingRehydrated": (S3dlioError, "the blob is on its way out of the archive tier: try again later"),
    "BlobImmutableDueToLegalHold": (PermissionDeniedError, _PROTECTED),
    "BlobImmutableDueToPolicy": (PermissionDeniedError, _PROTECTED),
    "BlobNotFound": (ObjectNotFoundError, "there is no such object"),
    "BlockCountExceedsLimit": (
        S3dlioError,
        "too many blocks of uploads that were broken off: they expire in a week, or with a write in one piece",
    ),
    "CannotVerifyCopySource": (None, "the service cannot read the source of the copy"),
    "ContainerBeingDeleted": (S3dlioError, "the container is being deleted: wait half a minute"),
    "ContainerNotFound": (ObjectNotFoundError, "there is no such container: check its name and the account"),
    "InsufficientAccountPermissions": (PermissionDeniedError, _MAY_NOT),
    "InvalidBlobOrBlock": (
        S3dlioError,
        "a broken-off upload by another program is in the way: write the object in one piece once, or wait a week",
    ),
    "InvalidBlobType": (S3dlioError, "there is an append or page blob of this name: delete it first"),
    _OVERTAKEN: (
        S3dlioError,
        "somebody else wrote the object meanwhile, which made the service forget the parts sent before: write it again",
    ),
    "InvalidResourceName": (InvalidURIError, "a container's name has 3 to 63 lower-case letters, digits and hyphens"),
    "InvalidUri": (InvalidURIError, "the service takes no such name"),
    "KeyBasedAuthenticationNotPermitted": (
        PermissionDeniedError,
        "the account does not allow its keys to be used: unset AZURE_STORAGE_ACCOUNT_KEY and use Entra ID",
    ),
    "LeaseIdMissing": (S3dlioError, _LEASED),
    **dict.fromkeys(
        CHANGED_ON_THE_WAY,
        (IntegrityError, "the bytes changed on their way, or while they were sent: write it again, check the network"),
    ),
    "OperationTimedOut": (StoreTimeoutError, "the service takes too long, try again later"),
    "OutOfRangeInput": (InvalidURIError, "the service takes no such name: it is too long or too short"),
    "PendingCopyOperation": (S3dlioError, "somebody is copying to it: wait until that has ended"),
    "PublicAccessNotPermitted": (
        PermissionDeniedError,
        "the account allows no public containers: give credentials, and unset S3DLIO_NO_SIGN",
    ),
    "SnapshotsPresent": (S3dlioError, "the blob has snapshots, which s3dlio never deletes: delete them first"),
}
_BY_STATUS: dict[int, tuple[type[S3dlioError], str]] = {
    404: (ObjectNotFoundError, "there is no such object"),
    **dict.fromkeys(TRANSIENT, (StoreUnavailableError, "the service cannot answer now, try again later")),
    408: (StoreTimeoutError, "the service takes too long, try again later"),
    504: (StoreTimeoutError, "the service takes too long, try again later"),
}

# Of what the service says about failed authentication, what is safe to repeat: other texts quote signatures.
_SAFE_DETAIL = re.compile(
    r"(Request date header too old|Signature not valid in the specified time frame|Lifetime validation failed|"
    r"Audience validation failed|Issuer validation failed)[^?&=]*"
)


class AzureError(NamedTuple):
    """The error that an answer carries; fields are empty where it does not say, as in the answer to a HEAD.

    Attributes:
        code: The service's name for it.
        message: What it says, without the request's number.
        detail: What it adds about failed authentication.
    """

    code: str
    message: str
    detail: str


def error_of(response: Response) -> AzureError:
    """The error that an answer carries in its fields and its body."""
    code = response.head.headers.get("x-ms-error-code", "")
    message = detail = ""
    body = bytes(response.body[:65536])
    if b"<Error" in body:
        try:
            root = documents.xml(body)
        except ET.ParseError:
            return AzureError(code, "", "")
        code = code or root.findtext("Code") or ""
        message = (root.findtext("Message") or "").partition("\n")[0].strip().rstrip(".")
        if found := _SAFE_DETAIL.search(root.findtext("AuthenticationErrorDetail") or ""):
            detail = found[0].strip()
            message = f"{message} {detail}"
    return AzureError(code, message, detail)


def refusal(response: Response, uri: str, account: Account) -> S3dlioError:
    """The exception for an answer that is none of the expected ones.

    Args:
        response: the answer.
        uri: what the request was about.
        account: the account that was asked; what to check depends on its credential.
    """
    status = response.head.status
    error = error_of(response)
    said = f"{error.code} {error.message}".strip() or response.head.reason
    message = f"{uri} at {response.address.url}: {status} {said}".strip()
    where: dict[str, Any] = {"uri": uri, "endpoint": response.address.url, "status": status}
    kind, hint = _REFUSALS.get(error.code, (None, ""))
    from_azurite = response.head.headers.get("server", "").startswith("Azurite")
    if status in (401, 403) and (not hint or (from_azurite and error.code == "AuthorizationFailure")):
        kind, hint = PermissionDeniedError, _why_refused(response, error, account)
    if error.code == "ResourceNotFound":
        kind, hint = _nothing_there(account)
    if kind is None:
        kind, usual_hint = _BY_STATUS.get(status, (S3dlioError, ""))
        hint = hint or usual_hint
    return kind(f"{message}; {hint}" if hint else message, **where)


def _why_refused(response: Response, error: AzureError, account: Account) -> str:
    """What to check after 401 or 403: it depends on the credential."""
    credential = account.credential
    skew = _skew(response.head)
    if isinstance(credential, SharedAccessSignature):
        expired = credential.expires and credential.expires < time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
        if expired:
            return f"the shared access signature ended at {credential.expires}: get a new one"
        return (
            f"the shared access signature (it allows {credential.permissions!r}) is not good for this: check"
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
    return "the container is not public: give credentials, and unset S3DLIO_NO_SIGN" + (
        f" ({error.detail})" if error.detail else ""
    )


def _nothing_there(account: Account) -> tuple[type[S3dlioError], str]:
    """What it means that the service says of no container and no blob, but of the resource, that it does not exist."""
    if isinstance(account.credential, Anonymous):
        return PermissionDeniedError, "the container is not public: give credentials, and unset S3DLIO_NO_SIGN"
    name = f" {account.name!r}" if account.name else ""
    return ConfigurationError, f"there is no account{name} at this endpoint: check AZURE_STORAGE_ACCOUNT_NAME"


def is_overtaken(error: S3dlioError) -> bool:
    """Whether a list of blocks was refused because somebody else committed the same blob meanwhile."""
    return error.status == 400 and f": 400 {_OVERTAKEN}" in str(error)


def says_not_there(response: Response) -> bool:
    """Whether the answer to a request for a blob says that there is none."""
    return response.head.status == 404 and error_of(response).code != "ResourceNotFound"


def unproven(response: Response, uri: str, missing: str) -> S3dlioError:
    """The error for an answer of a status that means success, but does not prove it."""
    where = response.address.url
    return S3dlioError(
        f"{uri} at {where}: the answer is {response.head.status}, but has no {missing}, so that it is not known whether"
        " the request was carried out; check that the endpoint is Azure Blob Storage, then try again",
        uri=uri,
        endpoint=where,
        status=response.head.status,
    )


def _skew(head: ResponseHead) -> float:
    """Seconds by which this machine's clock is ahead of the service's."""
    try:
        return time.time() - parsedate_to_datetime(head.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return 0.0


# Listings...


class Page(NamedTuple):
    """What a page of List Blobs tells.

    Attributes:
        keys: of its objects.
        sizes: of these, in bytes; None where the page does not tell.
        folders: names of blobs that are folders: of hierarchical namespaces, and markers (`hdi_isfolder`).
        prefixes: names with the delimiter at the end, below which there is something.
    """

    keys: list[str]
    sizes: list[int | None]
    folders: list[str]
    prefixes: list[str]


class Listed(NamedTuple):
    """A page.

    Attributes:
        kind: the element that holds what is listed.
        marker: of the next page; "" after the last one.
        named: makes a name of the text of an element in it.
    """

    kind: ET.Element
    marker: str
    named: Callable[[str], str]


def listing_of(response: Response, uri: str, kind: str) -> Listed:
    """Read a page of List Blobs or List Containers.

    Args:
        response: the answer.
        uri: what was listed, for messages.
        kind: "Blobs" or "Containers".

    Raises:
        S3dlioError: it is something else.
    """
    try:
        root, named = _NAMES.read(bytes(response.body).lstrip())
    except NotTextError as error:
        raise _unusable(response, uri, f"the name {ascii(error.name)[1:]:.300} is not valid UTF-8") from None
    except ET.ParseError as error:
        raise S3dlioError(
            f"{uri}: {response.address.url} sent an answer that is not XML ({error}): check that it is an Azure Blob"
            " endpoint",
            uri=uri,
            endpoint=response.address.url,
        ) from None
    found = root.findall(f"{{*}}{kind}")
    if root.tag.rpartition("}")[2] != "EnumerationResults" or len(found) != 1:
        raise _unusable(response, uri, f"it is a <{root.tag.rpartition('}')[2]:.40}>, or has no <{kind}>")
    markers = [child.text or "" for child in root if child.tag.rpartition("}")[2].lower() == "nextmarker"]
    if len(markers) > 1:
        raise _unusable(response, uri, "it has two <NextMarker>")
    return Listed(found[0], markers[0] if markers and markers[0].strip() else "", named)


def page_of(listed: Listed, response: Response, uri: str) -> Page:
    """What a page of blobs tells.

    Raises:
        S3dlioError: something in it has no name, or one that is not valid UTF-8.
    """
    page = Page([], [], [], [])
    for item in listed.kind:
        kind, name = item.tag.rpartition("}")[2], name_of(item, listed.named, response, uri)
        if kind == "BlobPrefix":
            page.prefixes.append(name)
        elif kind != "Blob":
            raise _unusable(response, uri, f"it has a <{kind:.40}>")
        elif _is_folder(item):
            page.folders.append(name)
        else:
            size = (item.findtext("{*}Properties/{*}Content-Length") or "").strip()
            page.keys.append(name)
            page.sizes.append(int(size) if size.isascii() and size.isdecimal() and len(size) < 20 else None)
    return page


def name_of(item: ET.Element, named: Callable[[str], str], response: Response, uri: str) -> str:
    """The name of a Blob, BlobPrefix or Container; one that XML cannot hold comes percent-encoded."""
    found = item.findall("{*}Name")
    text = found[0].text if len(found) == 1 and not len(found[0]) else None
    if not text:
        raise _unusable(response, uri, "it has something without a name, or with two")
    if found[0].get("Encoded", "").lower() != "true":
        return named(text)
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _unusable(response, uri, f"the name {text!a:.300} is not valid UTF-8") from None


def _is_folder(item: ET.Element) -> bool:
    """Whether a Blob is a folder: of a hierarchical namespace, or the marker that Hadoop's drivers write."""
    if (item.findtext("{*}Properties/{*}ResourceType") or "").lower() == "directory":
        return True
    metadata = item.find("{*}Metadata")
    fields = () if metadata is None else metadata
    return any(field.tag.lower() == "hdi_isfolder" and (field.text or "").strip().lower() == "true" for field in fields)


def _unusable(response: Response, uri: str, why: str) -> S3dlioError:
    return S3dlioError(
        f"listing {uri} at {response.address.url}: the answer is not a listing that can be trusted: {why}; check that"
        " it is an Azure Blob endpoint",
        uri=uri,
        endpoint=response.address.url,
    )
