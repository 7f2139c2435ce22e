# SPDX-License-Identifier: Apache-2.0
"""When a request is sent again: which failures may pass, how often, and how long to wait between two tries.

Every loop that sends a request again counts with one of these classes:

- `Tries` bounds the tries of one request that fail: no connection, no answer, or an answer that says "not now".
  `objects.request.send` uses it. The number of tries is bounded (S3DLIO_RETRIES), and so is the time: since the first
  failure (S3DLIO_RETRY_SECONDS, or S3DLIO_CONNECT_RETRY_SECONDS while there is no connection), and since the request
  began (S3DLIO_REQUEST_TIMEOUT, which leaves out the time in which bodies move).
- `Repeats` bounds how often a request is sent again although each try was answered with success: the body holds an
  error that may pass, or the answer does not prove that the request was carried out. Stores use it:

      repeats = Repeats(settings.retries)
      while True:
          response = await send(service, request)
          if has_error(response):
              if not (may_pass(response) and repeats.after_error()):
                  raise ...
          elif proves(response):
              return response
          elif not repeats.after_unproven():
              raise ...
          await repeats.wait()

A wait grows exponentially and is drawn at random from its whole span (full jitter), so that clients that failed
together do not return together. Each wait of `Tries` is cut to half of the time that is left, so that another try
follows it. That holds for the wait that a server asks for (Retry-After) too, which is also cut to
S3DLIO_RETRY_AFTER_MAX.
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from datetime import timezone

from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response, TransportError
from s3dlio.runtime.engine import Sleep
from s3dlio.settings import Settings

# Statuses of failures that may pass. Cloudflare sends those from 520 on while it cannot reach the origin, as R2 and
# services behind its network do for moments; 529 says that a service is overloaded. 525 and 526 are missing: they say
# that the origin's certificate is wrong, which does not pass
# (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/).
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 529, 530})

_FIRST_WAIT = 0.1  # seconds
_LONGEST_WAIT = 5.0
_LEAST_LEFT = 0.02  # seconds that must be left for another try
_JITTER = 0.25  # the part by which a wait that a server asks for varies: the server asked its other clients as well

# A resumed body has made progress when the furthest byte has moved by one of these two.
_PROGRESS = 4096  # bytes
_PROGRESS_PART = 16  # this part of the bytes that were left

_UNCONNECTED = frozenset({"connect", "refused", "descriptors"})  # kinds of failures before a connection was made
# Kinds of failures after which the same endpoint is not tried again: it would fail the same way, or has been waited for
# long enough.
_FINAL = frozenset({"malformed", "untrusted", "proxy", "connect timeout"})

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")  # the standard has whole seconds, some servers send fractions


class Tries:
    """Bounds the tries of one request.

    Attributes:
        count: tries that failed since the request began, or since its body last made progress.
    """

    __slots__ = ("_deadline", "_endpoints", "_first_failed", "_furthest", "_settings", "count")

    def __init__(self, settings: Settings, endpoints: Endpoints, deadline: float) -> None:
        """
        Args:
            settings: give the number of tries and the bounds in time.
            endpoints: the endpoints that the tries are sent to.
            deadline: when the request must have been answered, on the monotonic clock.
        """
        self._settings = settings
        self._endpoints = endpoints
        self._deadline = deadline
        self._first_failed = 0.0  # when the first of these tries failed; 0 if none has
        self._furthest = 0  # byte of the body up to which progress has been counted
        self.count = 0

    def left(self, now: float) -> float:
        """Seconds until the request must have been answered; negative if the deadline has passed."""
        return self._deadline - now

    def resumed(self, done: int, left: int) -> None:
        """The last try received some bytes of a body, and the next one asks for the bytes that are missing."""
        progress = done - self._furthest
        if progress >= min(_PROGRESS, max(1, (left + progress) // _PROGRESS_PART)):
            self._furthest, self.count, self._first_failed = done, 0, 0.0

    def wait(
        self, now: float, outcome: Response | TransportError, endpoint: Endpoint, body_seconds: float
    ) -> float | None:
        """Count a try that failed, and return how long to wait before the next one.

        Args:
            now: the time, on the monotonic clock.
            outcome: what the try resulted in.
            endpoint: the endpoint that it was sent to. Another healthy one takes over without a wait.
            body_seconds: how long a body has moved, by which the deadline moves, unless the body moved too slowly.

        Returns:
            Seconds, or None if the request must not be sent again.
        """
        settings, endpoints = self._settings, self._endpoints
        kind = outcome.kind if isinstance(outcome, TransportError) else "answer"
        if kind != "slow":
            self._deadline += body_seconds
        self._first_failed = self._first_failed or now
        self.count += 1
        if self.count > settings.retries or self._deadline <= now:
            return None
        if kind != "descriptors" and self.count <= len(endpoints.all) and endpoints.others_healthy(endpoint):
            return 0.0
        if kind in _FINAL:
            return None
        unconnected = kind in _UNCONNECTED
        longest = settings.connect_retry_seconds if unconnected else settings.retry_seconds
        left = min(longest - (now - self._first_failed), self._deadline - now)
        if left < _LEAST_LEFT:
            return None
        span = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self.count - 1, 10))
        # Without a connection, clients need not spread out, and the tries should use all of the time.
        wait = random.uniform(span / 2 if unconnected else 0.0, span)
        asked = _retry_after(outcome.head) if isinstance(outcome, Response) else 0.0
        if asked > 0:
            longest_asked = min(settings.retry_after_max, left / 2)
            if asked > longest_asked:
                return longest_asked * random.uniform(1 - _JITTER, 1.0)
            wait = max(wait, asked * random.uniform(1.0, 1 + _JITTER))
        return min(wait, left / 2)


class Repeats:
    """Bounds how often a request is sent again although each try was answered with success."""

    __slots__ = ("_errors", "_most_errors", "_most_unproven", "_unproven")

    def __init__(self, retries: int, most_unproven: int = 3) -> None:
        """
        Args:
            retries: how often the request may be sent again (S3DLIO_RETRIES).
            most_unproven: how often at most it is sent while no answer proves that it was carried out.
        """
        self._most_errors = retries
        self._most_unproven = min(most_unproven, retries + 1)
        self._errors = self._unproven = 0

    def after_error(self) -> bool:
        """Count an answer that holds an error, and return whether the request may be sent again."""
        self._errors += 1
        return self._errors <= self._most_errors

    def after_unproven(self) -> bool:
        """Count an answer that proves nothing, and return whether the request may be sent again."""
        self._unproven += 1
        return self._unproven < self._most_unproven

    async def wait(self) -> None:
        """Wait before the next try."""
        span = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self._errors + self._unproven, 10))
        await Sleep(random.uniform(0.0, span))


def _retry_after(head: ResponseHead) -> float:
    """Seconds that the server asks to wait (RFC 9110, section 10.2.3); 0 without a Retry-After that can be read."""
    text = head.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:  # "-0000", or no zone at all
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, date.timestamp() - time.time())
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError):
        return 0.0
