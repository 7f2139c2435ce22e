# SPDX-License-Identifier: Apache-2.0
"""How often a request is sent again, and how long it waits between two tries."""

from __future__ import annotations

import math
import time
from email.utils import formatdate

import pytest

from s3dlio.http.address import Address
from s3dlio.http.endpoints import Endpoint, Endpoints
from s3dlio.http.framing import parse_head
from s3dlio.http.response import Failure, Response, TransportError
from s3dlio.objects import retry
from s3dlio.objects.retry import Repeats, Tries
from s3dlio.settings import Settings

LOST = TransportError("lost", "the connection was lost")
REFUSED = TransportError("refused", "connection refused")
SLOW = TransportError("slow", "too slow")


def endpoints(count: int = 1) -> Endpoints:
    return Endpoints([Endpoint(Address(False, "127.0.0.1", port)) for port in range(1, count + 1)])


def busy(retry_after: str = "") -> Response:
    field = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    head = parse_head(f"HTTP/1.1 503 Busy\r\n{field}Content-Length: 0\r\n\r\n".encode(), "GET")
    return Response(head, memoryview(b""), Address(False, "127.0.0.1", 1))


def waits(outcome: Response | TransportError, deadline: float = 1000.0, **settings: float) -> list[float]:
    """The waits between tries that all end the same way, on a clock that only the waits move."""
    places = endpoints()
    tries = Tries(Settings(**settings), places, deadline)  # type: ignore[arg-type]
    now, found = 1.0, []
    while (wait := tries.wait(now, outcome, places.all[0], 0.0)) is not None:
        found.append(wait)
        now += wait
    return found


@pytest.mark.parametrize("outcome", [LOST, REFUSED, busy()], ids=["lost", "refused", "503"])
def test_a_request_is_sent_again_as_often_as_the_setting_says(outcome: Response | TransportError) -> None:
    more = {"retry_seconds": 1e6, "connect_retry_seconds": 1e6}
    assert [len(waits(outcome, deadline=1e6, retries=retries, **more)) for retries in (0, 1, 4)] == [0, 1, 4]


def test_waits_grow_exponentially_up_to_five_seconds() -> None:
    found = waits(REFUSED, deadline=1e6, retries=12, connect_retry_seconds=1e6)
    for number, wait in enumerate(found):
        longest = min(5.0, 0.1 * 2**number)
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize(
    ("outcome", "more"),
    [
        (LOST, {"retry_seconds": 3.0}),
        (REFUSED, {"connect_retry_seconds": 3.0}),
        (busy("3600"), {"retry_seconds": 3.0}),
        (LOST, {"deadline": 4.0, "retry_seconds": 1e6}),
    ],
    ids=["retry seconds", "connect retry seconds", "retry after", "deadline"],
)
def test_tries_end_when_the_time_is_over_and_use_most_of_it(
    outcome: Response | TransportError, more: dict[str, float]
) -> None:
    assert 2.9 <= sum(waits(outcome, **{"retries": 1000, **more})) <= 3.0


@pytest.mark.parametrize("kind", ["malformed", "untrusted", "proxy", "connect timeout"])
def test_a_failure_that_will_not_pass_ends_the_tries_unless_another_endpoint_is_healthy(kind: Failure) -> None:
    failure = TransportError(kind, "a failure")
    assert waits(failure, retries=5) == []
    places = endpoints(2)
    places.all[0].failed()
    tries = Tries(Settings(retries=5), places, time.monotonic() + 100)
    assert tries.wait(time.monotonic(), failure, places.all[0], 0.0) == 0.0


def test_the_time_in_which_a_body_moves_moves_the_deadline_unless_it_is_too_slow() -> None:
    places = endpoints()
    tries = Tries(Settings(), places, 10.0)
    tries.wait(5.0, LOST, places.all[0], 3.0)
    assert tries.left(5.0) == 8.0
    tries.wait(5.0, SLOW, places.all[0], 3.0)
    assert tries.left(5.0) == 8.0


@pytest.mark.parametrize(
    ("done", "left", "counts"),
    [(5000, 10**9, True), (4000, 10**9, False), (1, 10, True), (1, 1000, False), (100, 1000, True), (0, 10, False)],
)
def test_a_resumed_body_begins_new_tries_only_with_enough_progress(done: int, left: int, counts: bool) -> None:
    places = endpoints()
    tries = Tries(Settings(), places, 1000.0)
    for _ in range(2):
        tries.wait(1.0, LOST, places.all[0], 0.0)
    tries.resumed(done, left)
    assert tries.count == (0 if counts else 2)
    if counts:  # the same byte again is no progress
        tries.wait(1.0, LOST, places.all[0], 0.0)
        tries.resumed(done, left)
        assert tries.count == 1


def test_answers_with_errors_are_repeated_as_often_as_other_failures() -> None:
    repeats = Repeats(retries=2)
    assert [repeats.after_error() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("retries", "sent"), [(0, 1), (1, 2), (5, 3)])
def test_unproven_answers_are_repeated_a_few_times(retries: int, sent: int) -> None:
    repeats = Repeats(retries)
    answers = 1
    while repeats.after_unproven():
        answers += 1
    assert answers == sent


def _retry_after(text: str) -> float:
    head = parse_head(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "GET")
    head.headers["retry-after"] = text
    return retry._retry_after(head)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("0", 0, 0),
        ("7", 7, 7),
        (" 7 ", 7, 7),
        ("007", 7, 7),
        ("1.5", 1.5, 1.5),
        ("-5", 0, 0),
        ("+5", 0, 0),
        ("5s", 0, 0),
        ("1,5", 0, 0),
        ("soon", 0, 0),
        ("nan", 0, 0),
        ("inf", 0, 0),
        ("\u0663", 0, 0),
        ("\xb2", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 1e9, math.inf),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 1e9, math.inf),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0, math.inf),
        ("Fri, 99 Foo 2099 99:99:99 GMT", 0, 0),
        ("9" * 400, 1e9, math.inf),
    ],
)
def test_every_form_of_retry_after_gives_a_number_of_seconds(text: str, least: float, most: float) -> None:
    assert least <= _retry_after(text) <= most


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000", ""])
def test_the_date_in_retry_after_is_in_utc_however_its_zone_is_written(zone: str) -> None:
    assert 590 < _retry_after(formatdate(time.time() + 600).replace("-0000", zone).strip()) <= 600
