# SPDX-License-Identifier: Apache-2.0
"""Keeps credentials that expire fresh for all threads of a process: keys of AWS, tokens of Entra ID and of Google.

Strategy. A `Renewed` holds one value together with three times, and replaces all of them in one step. A request reads
them without a lock:

      fetched             refresh_at               wait_from                expires
    -----|--------------------|------------------------|-----------------------|---> time
         | calls use the      | calls use the value,   | calls wait for the    |
         | value              | a thread fetches the   | next value            |
         |                    | next one               |                       |

- A slow or unreachable service stalls no transfer before `wait_from`. The thread ends after one attempt and logs its
  failure; a later call starts another.
- From `wait_from` on, all calls wait for the same attempt. If it fails, they use the old value until it expires.

The value is dropped earlier in three cases: an environment variable on which it depends has changed; the service has
refused it (`renew`); or the process was forked. The child starts without a value, since a thread of its parent may have
been in the middle of a fetch.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from s3dlio import forks
from s3dlio.environment import Snapshot, watch
from s3dlio.errors import ConfigurationError, S3dlioError
from s3dlio.log import logger

T = TypeVar("T")

_LAST_SECONDS = 10.0  # before the value expires, in which callers wait for the next one
_SETTLED = 5.0  # seconds after which a value that was fetched because of a refusal can be refused in its turn


@dataclass(slots=True, repr=False)
class _Held(Generic[T]):
    """A value as it was fetched. Times are in seconds since the epoch, except `since`, of the monotonic clock."""

    value: T
    environment: Snapshot
    since: float
    refresh_at: float
    wait_from: float
    expires: float
    after_refusal: bool
    is_refreshing: bool = False


class Renewed(Generic[T]):
    """A value that is fetched on first use, and again before it expires. Threads share it.

    Args:
        what: name of the value, for the log.
        fetch: returns the value, and the second since the epoch at which it expires (infinity if never). May block, and
            may raise S3dlioError. Each call must ask the source again, not return what it has cached.
        early: seconds before it expires at which the next value is fetched, or half its life if that is less.
        variables: the environment variables on which the value depends.
    """

    def __init__(
        self, what: str, fetch: Callable[[], tuple[T, float]], early: float, variables: Iterable[str] = ()
    ) -> None:
        self._what = what
        self._fetch = fetch
        self._early = early
        self._environment = watch(variables)
        self._fetching = forks.ForkSafeLock()  # held by the one thread whose attempt the others wait for
        self._start()

    def _start(self) -> None:
        """Hold nothing: at the beginning, and in a forked child."""
        self._held: _Held[T] | None = None
        self._failure: S3dlioError | None = None
        self._failed_until = -math.inf
        _every.add(self)

    def current(self) -> T:
        """The value to use now; the same object until there is another.

        Raises:
            S3dlioError: the value could not be fetched, and there is no earlier one that is still valid.
        """
        held = self._held
        now = self._environment()
        if held is not None and time.time() < held.refresh_at and held.environment == now:
            return held.value
        return self._wait(now)

    def renew(self, refused: T) -> bool:
        """Whether there is another value than one that the service has refused; fetches it if necessary.

        Many requests may be refused with the same value: the first call fetches, the others find the new value. A
        value that was just fetched because of a refusal is not replaced: then its age is not what the service rejects.

        Raises:
            S3dlioError: the next value could not be fetched.
        """
        asked_at = time.monotonic()
        with self._fetching.lock:
            held = self._held
            if held is not None:
                if held.value != refused:
                    return True
                if held.after_refusal and asked_at - held.since < _SETTLED:
                    return False
            return self._attempt(self._environment(), asked_at, after_refusal=True).value != refused

    def _wait(self, environment: Snapshot) -> T:
        """The value, fetched by this thread or by one that came before."""
        asked_at = time.monotonic()
        with self._fetching.lock:
            held = self._held
            if held is not None and held.environment != environment:
                held = None
            if held is not None:
                if time.time() < held.refresh_at:
                    return held.value
                if time.time() < held.wait_from:
                    self._refresh_aside(held)
                    return held.value
            try:
                return self._attempt(environment, asked_at).value
            except S3dlioError:
                if held is not None and time.time() < held.expires:
                    return held.value
                raise

    def _attempt(self, environment: Snapshot, asked_at: float, after_refusal: bool = False) -> _Held[T]:
        """Fetch the value, unless an attempt has failed that this caller waited for. The caller holds the lock.

        A failure of the service also counts for calls that come later, for as long as the attempt took: a service that
        does not answer would make each of a thousand calls wait in turn. A missing or wrong setting (an error that
        names no endpoint) can be corrected at any time, so the next call looks again.
        """
        if asked_at < self._failed_until and self._failure is not None:
            raise copy.copy(self._failure)
        began = time.monotonic()
        try:
            held = self._held = self._fetched(environment, after_refusal)
        except S3dlioError as error:
            failed = time.monotonic()
            self._failure = copy.copy(error)  # without its traceback, which would keep every frame alive
            is_setting = isinstance(error, ConfigurationError) and error.endpoint is None
            self._failed_until = failed if is_setting else failed + (failed - began)
            raise
        return held

    def _fetched(self, environment: Snapshot, after_refusal: bool = False) -> _Held[T]:
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
            after_refusal=after_refusal,
        )

    def _refresh_aside(self, held: _Held[T]) -> None:
        """Fetch the next value in a thread of its own, unless one is doing so."""
        if not held.is_refreshing:
            held.is_refreshing = True
            # No thread can start while the interpreter shuts down; the value is valid until then.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self._refresh, args=(held,), name="s3dlio-credentials", daemon=True).start()

    def _refresh(self, held: _Held[T]) -> None:
        try:
            renewed = self._fetched(held.environment)
        except S3dlioError as error:
            left = held.expires - time.time()
            logger.warning("cannot renew %s yet (valid for another %.0f s): %s", self._what, left, error)
            held.refresh_at = time.time() + max(1.0, left / 2)
            held.is_refreshing = False
            return
        with self._fetching.lock:
            if self._held is held:
                self._held = renewed


_every = forks.each_in_child(Renewed[Any]._start)
