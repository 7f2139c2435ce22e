# SPDX-License-Identifier: Apache-2.0
"""One module or package per protocol; all of them implement `base.Store`."""

from __future__ import annotations

from collections.abc import Callable

from s3dlio.loading import load
from s3dlio.settings import Settings
from s3dlio.stores.base import Store

_CLASSES = {
    "file": ("s3dlio.stores.files.file", "FileStore"),
    "direct": ("s3dlio.stores.files.direct", "DirectStore"),
    "s3": ("s3dlio.stores.s3.store", "S3Store"),
    "az": ("s3dlio.stores.azure.store", "AzureStore"),
    "gs": ("s3dlio.stores.gcs.store", "GcsStore"),
}


def new_store(scheme: str, settings: Callable[[], Settings]) -> Store:
    """A new store for the URIs of a scheme; `settings` returns the settings in force."""
    module, name = _CLASSES[scheme]
    store: Store = load(module, name)(settings)
    if not store.blocking:
        # `runtime.run.run` imports this module at each call. Once it is loaded, that takes no import lock.
        load("s3dlio.runtime.engine", "Engine")
    return store
