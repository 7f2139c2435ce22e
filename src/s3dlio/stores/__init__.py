# SPDX-License-Identifier: Apache-2.0
"""One module per protocol, behind the interface of `base`. `store_for` finds the one for a scheme."""

from __future__ import annotations

from s3dlio import forks
from s3dlio.loading import load
from s3dlio.stores.base import Store

_CLASSES = {
    "file": ("s3dlio.stores.files.file", "FileStore"),
    "direct": ("s3dlio.stores.files.direct", "DirectStore"),
    "s3": ("s3dlio.stores.s3.store", "S3Store"),
    "az": ("s3dlio.stores.azure.store", "AzureStore"),
    "gs": ("s3dlio.stores.gcs.store", "GcsStore"),
}

_stores: dict[str, Store] = {}


def store_for(scheme: str) -> Store:
    """The store of a scheme in this process, made on first use."""
    try:
        return _stores[scheme]
    except KeyError:
        module, name = _CLASSES[scheme]
        store: Store = load(module, name)()
        if not store.blocking:
            # `runtime.run.run` imports it without taking the lock each time.
            load("s3dlio.runtime.engine", "Engine")
        return _stores.setdefault(scheme, store)


forks.in_child(_stores.clear)
