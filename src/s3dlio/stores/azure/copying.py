# SPDX-License-Identifier: Apache-2.0
"""Let Azure copy blobs within the account: Copy Blob From URL. And make the URLs by which others may use a blob.

The service itself has to be allowed to read the source of a copy: with the account's key by a shared access signature
in the URL, otherwise by a field with the token.

Sources: Blob Storage REST API, "Copy Blob From URL"; "Create a service SAS".
"""

from __future__ import annotations

import time

from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.auth.encoding import check_presigned_life, uri_encode
from s3dlio.errors import ConfigurationError
from s3dlio.objects.request import send
from s3dlio.stores.azure.requests import blob_request
from s3dlio.stores.azure.service import VERSION, AzureService, encoded_key
from s3dlio.stores.cloud import CloudStore
from s3dlio.uri import URI

_COPY_AT_ONCE = 256 << 20  # bytes; the service copies larger blobs only in the background
_SOURCE_SECONDS = 3600  # for which the service may read the source of a copy
_PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}


async def copy(store: CloudStore[AzureService], source: URI, target: URI, size: int) -> bool:
    """Let the service copy a blob; False if it is too large for that, or the service cannot for another reason."""
    if size > _COPY_AT_ONCE:
        return False
    url, fields = _readable(store.service(), source)
    headers = [("x-ms-copy-source", url), ("x-ms-requires-sync", "true"), *fields]
    response = await send(store.service(), blob_request("PUT", target, headers=headers))
    status = response.head.status
    if status == 404 or status >= 500:
        raise store.refusal(response, source.text)
    # After any other refusal, reading and writing the blob on this machine may still be allowed.
    return status == 202 and response.head.headers.get("x-ms-copy-status") == "success"


def presign(store: CloudStore[AzureService], uri: URI, method: str, expires: int) -> str:
    """Make a service SAS of the blob. A PUT with it has to carry the field "x-ms-blob-type: BlockBlob"."""
    store.require_key(uri)
    check_presigned_life(expires)
    service = store.service()
    key = service.account.credential
    if not isinstance(key, SharedKey):
        raise ConfigurationError(
            f"{uri.text} cannot be presigned: only the account's key can sign; set AZURE_STORAGE_ACCOUNT_KEY"
        )
    return _url(service, uri, _sas(service, key, uri, _PERMISSIONS[method], expires))


def _readable(service: AzureService, uri: URI) -> tuple[str, list[tuple[str, str]]]:
    """Make the URL by which the service itself may read a blob of this account, and the fields it needs for that."""
    credential = service.account.credential
    if isinstance(credential, SharedKey):
        return _url(service, uri, _sas(service, credential, uri, "r", _SOURCE_SECONDS)), []
    path = f"{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}"
    query, allowed = credential.authorize("GET", path, "", (), 0)
    return _url(service, uri, query), [("x-ms-copy-source-authorization", value) for _, value in allowed]


def _url(service: AzureService, uri: URI, query: str) -> str:
    url = f"{service.address.url}{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}"
    return f"{url}?{query}" if query else url


def _sas(service: AzureService, key: SharedKey, uri: URI, permissions: str, seconds: int) -> str:
    expires = int(time.time()) + seconds
    return key.blob_sas(uri.container, uri.key, permissions, VERSION, expires, only_https=service.address.tls)
