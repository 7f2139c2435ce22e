# SPDX-License-Identifier: Apache-2.0
"""An exchange goes through the states that the table in `http.exchange` lists, and through no others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

import s3dlio
from s3dlio.http.exchange import BODY, EARLY, ENDED, HEAD, NEW, OPENING, SENDING, WAITING, Exchange, State
from s3dlio.objects import request
from tests.behavior.content import content
from tests.http.scripted import BODY as RECEIVE_BODY
from tests.http.scripted import CLOSE, Script, scripted
from tests.http.scripted import EARLY as ANSWER_EARLY
from tests.replay import answer

NEXT: dict[State, set[State]] = {
    NEW: {SENDING, OPENING, HEAD, ENDED},  # HEAD: a request that a batch has sent is continued
    OPENING: {SENDING, WAITING, ENDED},
    WAITING: {SENDING, OPENING, ENDED},
    SENDING: {HEAD, EARLY, BODY, ENDED},
    HEAD: {EARLY, BODY, ENDED},
    EARLY: {BODY, ENDED},
    BODY: {ENDED},
    ENDED: {NEW},  # of the same exchange on a stale connection, or of the next one
}
CASE = "s3://bucket/case"
DATA = content(30_000_000)  # more than the kernel takes at once


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[State]]:
    """The states of all exchanges, in order."""
    states: list[State] = []

    class Watched(Exchange):
        """An exchange that notes each change of its state."""

        __slots__ = ("_noted",)

        @property
        def _state(self) -> State:
            return self._noted

        @_state.setter
        def _state(self, state: State) -> None:
            self._noted = state
            states.append(state)

    monkeypatch.setattr(request, "Exchange", Watched)
    os.environ["S3DLIO_RETRIES"] = "0"
    yield states
    assert all(
        later in NEXT[earlier] for earlier, later in pairwise(states) if later is not NEW or earlier is not ENDED
    )


def get() -> None:
    s3dlio.get(CASE)


def put() -> None:
    s3dlio.put_bytes(CASE, DATA)


STORED = answer(200, b"", {"ETag": '"1"'})
REFUSED = answer(403, "<Error><Code>AccessDenied</Code></Error>")


@pytest.mark.parametrize(
    ("script", "call", "expected"),
    [
        ([answer(200, b"object", {"ETag": '"1"'})], get, [NEW, OPENING, SENDING, HEAD, BODY, ENDED]),
        ([0.1, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0.1, b"1\r\nx\r\n0\r\n\r\n"], get, None),
        ([STORED], put, [NEW, OPENING, SENDING, HEAD, BODY, ENDED]),
        ([ANSWER_EARLY, STORED, 0.2, RECEIVE_BODY], put, [NEW, OPENING, SENDING, EARLY, BODY, ENDED]),
        ([ANSWER_EARLY, REFUSED, 0.2, CLOSE], put, [NEW, OPENING, SENDING, BODY, ENDED]),
        ([CLOSE], get, [NEW, OPENING, SENDING, HEAD, ENDED]),
    ],
    ids=["get", "chunks", "put", "early success", "early refusal", "lost"],
)
def test_the_states_of_an_exchange(
    script: Script, call: Callable[[], None], expected: list[State] | None, seen: list[State]
) -> None:
    with scripted([script]):
        try:
            call()
        except s3dlio.S3dlioError:
            assert script[-1] is CLOSE
    assert seen == (expected or [NEW, OPENING, SENDING, HEAD, BODY, ENDED])


def test_a_stale_connection_begins_the_exchange_anew(seen: list[State]) -> None:
    with scripted([[b"old\r\n\r\n", CLOSE], [answer(200, b"object", {"ETag": '"1"'})]]):
        s3dlio.get("s3://bucket/first")
        seen.clear()
        s3dlio.get(CASE)
    assert seen == [NEW, SENDING, HEAD, ENDED, NEW, OPENING, SENDING, HEAD, BODY, ENDED]
