# SPDX-License-Identifier: Apache-2.0
"""Let Azure copy blobs within the account: Copy Blob From URL.

The service itself has to be allowed to read the source: by a shared access signature in the URL if the account's key is
known, otherwise by a field with the token.
"""

from __future__ import annotations

from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.auth.encoding import uri_encode
from s3dlio.objects.request import send
from s3dlio.stores.azure.service import AzureService, blob_request, blob_url, encoded_key, signature
from s3dlio.stores.cloud import CloudStore
from s3dlio.uri import URI

_COPY_AT_ONCE = 256 << 20  # bytes; the service copies larger blobs only in the background
_SOURCE_SECONDS = 3600  # for which the service may read the source of a copy


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


def _readable(service: AzureService, uri: URI) -> tuple[str, list[tuple[str, str]]]:
    """Make the URL by which the service itself may read a blob of this account, and the fields it needs for that."""
    credential = service.account.credential
    if isinstance(credential, SharedKey):
        return blob_url(service, uri, signature(service, credential, uri, "r", _SOURCE_SECONDS)), []
    path = f"{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}"
    query, allowed = credential.authorize("GET", path, "", (), 0)
    return blob_url(service, uri, query), [("x-ms-copy-source-authorization", value) for _, value in allowed]
