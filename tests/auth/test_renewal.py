# SPDX-License-Identifier: Apache-2.0
"""A value is fetched again before it expires, once for all threads, and once more in a forked child."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from s3dlio.auth.renewal import Renewed
from s3dlio.errors import ConfigurationError, StoreUnavailableError
from tests.processes import in_forked_child
from tests.threads import meanwhile, until


class Source:
    """Returns numbers that are valid for `lives` seconds. Can be slow, and can fail."""

    def __init__(self, lives: float = 3600) -> None:
        self.lives = lives
        self.asked = 0
        self.failing = ""
        self.open = threading.Event()  # cleared: fetches wait
        self.open.set()
        self._numbers = itertools.count(1)

    def fetch(self) -> tuple[int, float]:
        self.asked += 1
        assert self.open.wait(20)
        if self.failing:
            raise ConfigurationError(self.failing)
        return next(self._numbers), time.time() + self.lives


def test_threads_that_wait_share_one_fetch() -> None:
    source = Source()
    source.open.clear()
    renewed = Renewed("it", source.fetch, 300)
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(renewed.current) for _ in range(16)]
        until(lambda: source.asked == 1)
        source.open.set()
        assert [future.result() for future in waiting] == [1] * 16
    assert source.asked == 1


def test_a_failed_fetch_fails_every_waiting_call_and_the_next_call_tries_again() -> None:
    source = Source()
    source.open.clear()
    source.failing = "no"
    renewed = Renewed("it", source.fetch, 300)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(renewed.current) for _ in range(8)]
        until(lambda: source.asked == 1)
        time.sleep(0.1)
        source.open.set()
        assert {str(future.exception()) for future in waiting} == {"no"}
    assert source.asked < 8
    source.failing = ""
    assert renewed.current() == 1


def test_a_slow_early_renewal_delays_no_call() -> None:
    source = Source(lives=8)
    renewed = Renewed("it", source.fetch, 7.9)  # due at half its time
    assert renewed.current() == 1
    source.open.clear()
    assert renewed._held is not None
    renewed._held.refresh_at = 0
    began = time.monotonic()
    assert [renewed.current() for _ in range(100)] == [1] * 100
    assert time.monotonic() - began < 5
    until(lambda: source.asked == 2)
    source.open.set()
    until(lambda: renewed.current() == 2)
    assert source.asked == 2


def test_the_value_is_renewed_early_but_not_before_half_of_its_life() -> None:
    now = time.time()
    for lives, early, expected in ((3600, 300, 3300), (3600, 3000, 1800), (100, 300, 50)):
        renewed = Renewed("it", Source(lives).fetch, early)
        renewed.current()
        assert renewed._held is not None
        assert renewed._held.refresh_at - now == pytest.approx(expected, abs=5)


def test_in_its_last_seconds_calls_wait_for_the_next_value() -> None:
    source = Source(lives=0.4)
    renewed = Renewed("it", source.fetch, 0.3)
    assert renewed.current() == 1
    source.lives = 3600
    until(lambda: renewed._held is not None and time.time() > renewed._held.wait_from)
    assert renewed.current() == 2


def test_a_failed_renewal_is_logged_and_the_valid_value_stays_in_use(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    renewed = Renewed("the thing", source.fetch, 300)
    renewed.current()
    source.failing = "the service is down"
    assert renewed._held is not None
    renewed._held.refresh_at = 0
    with caplog.at_level(logging.WARNING, "s3dlio"):
        assert renewed.current() == 1
        until(lambda: bool(caplog.records))
    assert "cannot renew the thing" in caplog.text
    assert "the service is down" in caplog.text
    assert renewed.current() == 1


def test_a_refused_value_is_replaced_once_for_all_requests_that_sent_it() -> None:
    source = Source()
    renewed = Renewed("it", source.fetch, 300)
    first = renewed.current()
    assert [renewed.renew(first) for _ in range(3)] == [True] * 3
    assert renewed.current() == 2
    assert source.asked == 2


def test_a_value_that_was_fetched_after_a_refusal_and_is_refused_immediately_is_not_replaced() -> None:
    source = Source()
    renewed = Renewed("it", source.fetch, 300)
    assert renewed.renew(renewed.current())
    assert not renewed.renew(renewed.current())
    assert source.asked == 2
    assert renewed._held is not None
    renewed._held.since -= 60  # it has been accepted for a minute
    assert renewed.renew(renewed.current())
    assert source.asked == 3


def test_a_source_that_returns_the_refused_value_again_has_no_other() -> None:
    renewed = Renewed("it", lambda: ("the same", time.time() + 3600), 300)
    assert not renewed.renew(renewed.current())


def test_calls_in_turn_do_not_each_wait_for_a_service_that_does_not_answer() -> None:
    source = Source()

    def fetch() -> tuple[int, float]:
        time.sleep(0.5)
        source.asked += 1
        raise StoreUnavailableError("no answer")

    renewed = Renewed("it", fetch, 300)
    for _ in range(50):
        with pytest.raises(StoreUnavailableError, match="no answer"):
            renewed.current()
    assert source.asked == 1
    time.sleep(0.55)
    with pytest.raises(StoreUnavailableError):
        renewed.current()
    assert source.asked == 2


def test_a_changed_environment_variable_fetches_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    renewed = Renewed("it", source.fetch, 300, ["S3DLIO_A_VARIABLE"])
    assert [renewed.current(), renewed.current()] == [1, 1]
    monkeypatch.setenv("S3DLIO_A_VARIABLE", "1")
    assert [renewed.current(), renewed.current()] == [2, 2]
    monkeypatch.setenv("S3DLIO_ANOTHER_VARIABLE", "1")
    assert renewed.current() == 2
    monkeypatch.delenv("S3DLIO_A_VARIABLE")
    assert renewed.current() == 3


def test_a_child_forked_during_a_fetch_fetches_its_own_value() -> None:
    source = Source()
    renewed = Renewed("it", source.fetch, 300)
    source.open.clear()
    parent = os.getpid()

    def child() -> None:
        assert os.getpid() != parent
        source.open.set()
        assert renewed.current() == 1  # the child counts its fetches from the copy
        assert source.asked == 2

    with meanwhile(renewed.current):
        try:
            until(lambda: source.asked == 1)
            in_forked_child(child)
        finally:
            source.open.set()
    assert renewed.current() == 1
    assert source.asked == 1
