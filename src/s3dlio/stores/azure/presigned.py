# SPDX-License-Identifier: Apache-2.0
"""Make URLs with which anyone can make one request for a blob.

Source: Blob Storage REST API, "Create a service SAS".
"""

from __future__ import annotations

import time

from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.auth.encoding import check_presigned_life, uri_encode
from s3dlio.errors import ConfigurationError
from s3dlio.stores.azure.service import VERSION, AzureService, encoded_key
from s3dlio.stores.cloud import CloudStore
from s3dlio.uri import URI

_PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}


def presign(store: CloudStore[AzureService], uri: URI, method: str, expires: int) -> str:
    """Make a service SAS of the blob. A PUT with it has to carry the field "x-ms-blob-type: BlockBlob"."""
    store.require_key(uri)
    check_presigned_life(expires)
    service = store.service()
    key = service.account.credential
    if not isinstance(key, SharedKey):
        raise ConfigurationError(
            f"cannot presign {uri.text}: only the account's key can sign; set AZURE_STORAGE_ACCOUNT_KEY"
        )
    return blob_url(service, uri, signature(service, key, uri, _PERMISSIONS[method], expires))


def blob_url(service: AzureService, uri: URI, query: str) -> str:
    """Make the URL of a blob."""
    url = f"{service.address.url}{service.path}/{uri_encode(uri.container)}/{encoded_key(uri)}"
    return f"{url}?{query}" if query else url


def signature(service: AzureService, key: SharedKey, uri: URI, permissions: str, seconds: int) -> str:
    """Make the query string of a shared access signature for a blob."""
    expires = int(time.time()) + seconds
    return key.blob_sas(uri.container, uri.key, permissions, VERSION, expires, only_https=service.address.tls)
