"""One module per protocol, behind the interface of `base`. `store_for` finds the one for a scheme."""

from __future__ import annotations

import importlib
import os

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
        store: Store = getattr(importlib.import_module(module), name)()
        return _stores.setdefault(scheme, store)


os.register_at_fork(after_in_child=_stores.clear)
