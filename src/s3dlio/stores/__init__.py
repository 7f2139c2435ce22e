# SPDX-License-Identifier: Apache-2.0
"""One module per protocol, behind the interface of `base`. `store_for` finds the one for a scheme."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

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

# Stores of single threads, by the thread's identifier (`replaced`).
_replaced: dict[int, dict[str, Store]] = {}


def store_for(scheme: str) -> Store:
    """The store of a scheme in this process, made on first use."""
    stores = _replaced.get(get_ident(), _stores) if _replaced else _stores
    try:
        return stores[scheme]
    except KeyError:
        module, name = _CLASSES[scheme]
        store: Store = load(module, name)()
        if not store.blocking:
            # `runtime.run.run` imports it without taking the lock each time.
            load("s3dlio.runtime.engine", "Engine")
        return stores.setdefault(scheme, store)


@contextmanager
def replaced(stores: dict[str, Store]) -> Iterator[None]:
    """Within the block, `store_for` gives this thread stores out of another dictionary, and adds new ones to it."""
    thread = get_ident()
    outer = _replaced.get(thread)
    _replaced[thread] = stores
    try:
        yield
    finally:
        if outer is None:
            del _replaced[thread]
        else:
            _replaced[thread] = outer


@forks.in_child
def _forget_stores() -> None:
    """A forked child makes its own stores. The thread that forked is the only one in it."""
    own = _replaced.get(get_ident())
    _stores.clear()
    _replaced.clear()
    if own is not None:
        own.clear()
        _replaced[get_ident()] = own
