# SPDX-License-Identifier: Apache-2.0
"""The stores of this process. Here a call looks up the settings in force; everything below is given them.

A store for a service keeps the settings that it was made with, so a change of a setting takes effect at the next call
and never in the middle of one. That call makes a new store. Connections survive, because they belong to an address and
not to a store. The latest stores are kept with what they know, such as credentials: threads may use different settings
in turn (`settings.held`).

A store for files has no state. It looks up the few settings that it needs only when it needs them, because a look costs
as much as the rest of a `stat`. The buffer pool, which all stores share, gets a function that looks up its limit.
"""

from __future__ import annotations

from s3dlio import forks, settings
from s3dlio.memory.buffers import pool
from s3dlio.settings import Settings
from s3dlio.stores import new_store
from s3dlio.stores.base import Store

_KEPT = 16  # stores of a scheme, each for other settings

_last_used: dict[str, Store] = {}
_kept: dict[str, list[Store]] = {}


def store_for(scheme: str) -> Store:
    """The store for the URIs of a scheme, with the settings in force.

    Raises:
        ConfigurationError: a variable has a value that its setting does not take.
    """
    try:
        store = _last_used[scheme]
    except KeyError:
        store = _last_used[scheme] = _kept_or_new(scheme)
    if store.settings is not None and store.settings is not settings.current():
        store = _last_used[scheme] = _kept_or_new(scheme)
    return store


def _kept_or_new(scheme: str) -> Store:
    kept = _kept.setdefault(scheme, [])
    while True:
        for store in kept.copy():
            if store.settings is None or store.settings is settings.current():
                return store
        # Then look again, because another thread may have made one at the same time: both threads use the first.
        kept.append(new_store(scheme, settings.current))
        del kept[:-_KEPT]


def _idle_limit() -> int:
    """The most bytes of idle buffers, by the settings in force."""
    return int(settings.current().buffer_idle_mb * settings.MIB)


pool.idle_limit = _idle_limit


class Stores(dict[str, Store]):
    """The stores of one call, by scheme. Each is looked up once.

    Attributes:
        settings: those of the first store that has settings; None before.
    """

    settings: Settings | None = None

    def __missing__(self, scheme: str) -> Store:
        store = self[scheme] = store_for(scheme)
        self.settings = self.settings or store.settings
        return store


@forks.in_child
def _forget_stores() -> None:
    """A forked child makes its own stores."""
    _last_used.clear()
    _kept.clear()
