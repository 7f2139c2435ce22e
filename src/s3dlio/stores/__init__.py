"""One module per protocol, behind the interface of `base`. `store_for` finds the one for a scheme."""

from __future__ import annotations

import os

from s3dlio.loading import load
from s3dlio.stores.base import Store

_CLASSES = {
    "file": ("s3dlio.stores.file", "FileStore"),
    "direct": ("s3dlio.stores.direct", "DirectStore"),
    "s3": ("s3dlio.stores.s3", "S3Store"),
    "az": ("s3dlio.stores.azure", "AzureStore"),
    "gs": ("s3dlio.stores.gcs", "GcsStore"),
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
            load("s3dlio.http.engine", "run_begun")  # which `operations.run` imports without taking the lock each time
        return _stores.setdefault(scheme, store)


os.register_at_fork(after_in_child=_stores.clear)
