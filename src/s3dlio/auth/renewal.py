# SPDX-License-Identifier: Apache-2.0
"""Keeps something that expires, such as a token, fresh for all threads of a process.

Strategy. What was fetched is kept as one `_Held`, which is replaced whole, so that a request on the way reads it
without a lock:

- before `refresh_at` it is handed out as it is;
- from then on, while it is valid, it is still handed out, and one thread of its own fetches the next one: a slow or
  unreachable service stalls no transfer. That thread ends with the refresh;
- in its last seconds the callers wait for the next one, all for the same attempt.

It is dropped when a variable that it depends on has changed, and in a forked child: there the lock is a new one, since
a thread that the child does not have may hold the old one.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from s3dlio.errors import ConfigurationError
from s3dlio.log import logger

T = TypeVar("T")

# Reading through os.environ decodes at each access; the mapping behind it answers in a tenth of the time.
_environment: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
_encode: Callable[[str], Any] = getattr(os.environ, "encodekey", str)

_LAST_SECONDS = 10.0
_SETTLED = 5.0  # seconds; what is younger is not dropped for having been refused


@dataclass(slots=True)
class _Held(Generic[T]):
    """What was fetched. Times are seconds since the epoch, but for `since`, which is on the monotonic clock."""

    value: T
    environment: tuple[Any, ...]
    since: float
    refresh_at: float
    wait_from: float
    expires: float
    is_refreshing: bool = False


class Renewed(Generic[T]):
    """A value that is fetched when it is first asked for, and again before it expires.

    Args:
        what: What it is, for the log.
        fetch: Fetches it; returns it and the second since the epoch at which it expires. May block, and may raise
            ConfigurationError. Each call must ask anew, not answer from a cache of its own.
        early: Seconds before it expires at which the next one is fetched; half its time if that is less.
        variables: The environment variables on which it depends.
    """

    def __init__(
        self, what: str, fetch: Callable[[], tuple[T, float]], early: float, variables: Iterable[str] = ()
    ) -> None:
        self._what = what
        self._fetch = fetch
        self._early = early
        self._raw_names = tuple(map(_encode, variables))
        self._lock = threading.Lock()  # held while it is fetched, by the one thread that does
        self._held: _Held[T] | None = None
        self._failure = ""
        self._failed_at = -math.inf
        _every.add(self)

    def current(self) -> T:
        """The value to use now; the same object until there is another.

        Raises:
            ConfigurationError: it could not be had.
        """
        held = self._held
        environment = tuple(map(_environment.get, self._raw_names))
        if held is not None and time.time() < held.refresh_at and held.environment == environment:
            return held.value
        return self._look(environment)

    def drop(self) -> None:
        """Fetch another the next time: this one was refused. One that has just been fetched is kept."""
        held = self._held
        if held is not None and time.monotonic() - held.since > _SETTLED:
            self._held = None

    def _look(self, environment: tuple[Any, ...]) -> T:
        """The value, fetched by this thread or by the one that was here first."""
        asked_at = time.monotonic()
        with self._lock:
            held = self._held
            if held is not None and held.environment != environment:
                held = None
            if held is not None:
                if time.time() < held.refresh_at:
                    return held.value
                if time.time() < held.wait_from:
                    self._refresh_aside(held)
                    return held.value
            if self._failed_at > asked_at:
                # The attempt that this thread waited for has failed: it would only fail the same way again.
                raise ConfigurationError(self._failure)
            try:
                self._held = self._fetched(environment)
            except ConfigurationError as error:
                if held is not None and time.time() < held.expires:
                    return held.value
                self._failure, self._failed_at = str(error), time.monotonic()
                raise
            return self._held.value

    def _fetched(self, environment: tuple[Any, ...]) -> _Held[T]:
        value, expires = self._fetch()
        now = time.time()
        left = expires - now
        return _Held(
            value,
            environment,
            time.monotonic(),
            refresh_at=now + max(left - self._early, left / 2),
            wait_from=expires - min(_LAST_SECONDS, left / 4),
            expires=expires,
        )

    def _refresh_aside(self, held: _Held[T]) -> None:
        """Fetch the next one on a thread of its own, unless that is being done."""
        if not held.is_refreshing:
            held.is_refreshing = True
            # No thread can start while the interpreter ends; this one is valid until then.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self._refresh, args=(held,), name="s3dlio-credentials", daemon=True).start()

    def _refresh(self, held: _Held[T]) -> None:
        try:
            renewed = self._fetched(held.environment)
        except ConfigurationError as error:
            left = held.expires - time.time()
            logger.warning("could not refresh %s, which expires in %.0f s: %s", self._what, left, error)
            held.refresh_at = time.time() + max(1.0, left / 2)
            held.is_refreshing = False
            return
        with self._lock:
            if self._held is held:
                self._held = renewed

    def _begin_again(self) -> None:
        self._lock = threading.Lock()
        self._held = None
        self._failed_at = -math.inf


_every: weakref.WeakSet[Renewed[Any]] = weakref.WeakSet()


def _begin_again_in_child() -> None:
    for renewed in list(_every):
        renewed._begin_again()


os.register_at_fork(after_in_child=_begin_again_in_child)
