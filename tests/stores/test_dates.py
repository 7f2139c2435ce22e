# SPDX-License-Identifier: Apache-2.0
"""Every form in which vendors send a date gives the same moment, aware and in UTC; any other text gives None."""

from __future__ import annotations

import email.utils
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3dlio.stores.dates import date_of

MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=timezone.utc)
SAME = [
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Sun, 06 Nov 1994 08:49:37 -0000",
    "Sun, 06 Nov 1994 08:49:37 +0000",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 6 Nov 1994 8:49:37 gmt",
    "06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 08:49:37 +0000 (UTC)",
    "Sun, 06 Nov 1994 10:49:37 +0200",
    "Sun, 06 Nov 1994 10:49:37 +02:00",
    "Sun, 06 Nov 1994 10:49:37 GMT+2",
    "Sun, 06 Nov 1994 03:19:37 -0530",
    "Sun, 06 Nov 1994 03:49:37 EST",
    "  Sun, 06 Nov 1994 08:49:37 GMT ",
    "1994-11-06T08:49:37Z",
    "1994-11-06t08:49:37z",
    "1994-11-06T08:49:37.000Z",
    "1994-11-06T08:49:37",
    "1994-11-06 08:49:37 UTC",
    "1994-11-06T10:49:37+02:00",
    "1994-11-06T10:49:37.000000000+0200",
    "1994-11-06T08:49:37-00:00",
    "1994-11-06 10:49:37+02",
    "19941106T084937Z",
    "1994-11-06 14:19:37 +0530 IST",
    "1994-11-06 08:49:37 +0000 UTC",
    "1994-11-06T09:49:37+01:00[Europe/Paris]",
    "Sun, 06 Nov 1994 14:19:37 +0530 IST",
    "Sun Nov  6 08:49:37 GMT 1994",
    "Sun Nov  6 00:49:37 PST 1994",
]
FRACTIONS = [
    "Sun, 06 Nov 1994 08:49:37.25 GMT",
    "Sun, 06 Nov 1994 09:49:37.250 +0100",
    "1994-11-06T08:49:37.25Z",
    "1994-11-06T08:49:37,250000000+00:00",
    "1994-11-06T08:49:37.2500001",
]
UNREADABLE = [
    *("", "0", "-1", "never", "1700000000", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"),
    *("Sun, 06 Nov 1994 08:49:37 CEST", "Sun, 06 Nov 1994 08:49:37 +9999", "Sun, 06 Nov 99999 08:49:37 GMT"),
    *("1994-13-06T08:49:37Z", "0001-01-01T00:00:00+05:00", "1994-11-06T08:49:37+24:00", "1994-11-06T08:49:37Z or so"),
    *("Sun Nov  6 08:49:37 CEST 1994", "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT"),
    "Sun, 06 Nov 1994 08:49:37 GMT, Mon, 07 Nov 1994 08:49:37 GMT",
    *("\u0661\u0669\u0669\u0664-11-06T08:49:37Z", "Sun, 06 Nov 1994 \x00", "Sun,", ", ,", "()"),
]


@pytest.mark.parametrize("text", SAME)
def test_every_form_of_a_date_is_the_same_moment(text: str) -> None:
    found = date_of(text)
    assert found == MOMENT
    assert found.tzinfo is timezone.utc


@pytest.mark.parametrize("text", FRACTIONS)
def test_fractions_of_a_second_count(text: str) -> None:
    assert date_of(text) == MOMENT + timedelta(milliseconds=250)


def test_a_leap_second_is_the_first_of_the_next_minute() -> None:
    assert date_of("2016-12-31T23:59:60Z") == datetime(2017, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 01-Jan-0001 00:00:00 +0000"])
def test_a_year_of_four_digits_is_that_year(text: str) -> None:
    assert date_of(text) == datetime(1, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_text_that_is_not_a_date_gives_none(text: str) -> None:
    assert date_of(text) is None


def test_a_missing_date_gives_none() -> None:
    assert date_of(None) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    found = date_of(text)
    assert found is None or found.tzinfo is timezone.utc


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2900, 1, 1)),  # noqa: DTZ001
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from(["mail", "iso", "iso with seconds"]),
)
def test_any_moment_in_any_zone_comes_back(moment: datetime, minutes: int, form: str) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    if form == "mail":
        local = local.replace(microsecond=0)
        text = email.utils.format_datetime(local)
    else:
        text = local.isoformat(" " if form == "iso" else "T")
    assert date_of(text) == local
