# SPDX-License-Identifier: Apache-2.0
"""Read dates as services send them into aware datetimes in UTC.

RFC 9110 asks senders for one form and readers for three. Vendors send more: offsets other than GMT, `-0000`, fractions
of a second, ISO 8601 with and without a zone. A date without a zone is in UTC, as all three forms of RFC 9110 are. A
date is unreadable if its zone has a name that RFC 5322 does not define.

Sources: RFC 9110, section 5.6.7; RFC 5322, sections 3.3 and 4.3; RFC 3339.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_tz

_OFFSET = r"([+-])(\d\d?)(?::?(\d\d))?"
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    rf"(?:[Tt ]\s*(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?"
    # Java adds the name of the zone in brackets, Go after the offset.
    rf"\s*(?:[Zz]|UTC|GMT|{_OFFSET}(?: [A-Z]{{1,5}})?)?(?:\[[\w/+-]+\])?)?"
)
_COMMENT = re.compile(r"\s*\([^()]*\)$")
_CLOCK = re.compile(r"(\b\d\d?:\d\d:\d\d)[.,](\d+)")
_OFFSET_AT_END = re.compile(rf"(?<=\d)\s*(?:GMT|UTC|UT)?\s*{_OFFSET}(?:\s+[A-Za-z]{{1,5}})?$")
_ZONE = re.compile(r":\d\d\s*([A-Za-z]+)(?=\s+\d{4}$|$)")  # some servers write it before the year in asctime
_FULL_YEAR = re.compile(r"(?<![\d:])0\d{3}(?!\d)")
_ZONES = frozenset({"GMT", "UT", "UTC", "Z", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT"})


def date_of(text: str | None) -> datetime | None:
    """Read a date as a server sent it: an aware datetime in UTC, None if the text is not a date."""
    if not text:
        return None
    text = text.strip()
    if not text.isascii():  # digits of other scripts do not count
        return None
    try:
        return _iso_date(text) if text[:4].isdecimal() else _mail_date(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _iso_date(text: str) -> datetime | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    moment = _moment(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), fraction)
    return moment - _offset(sign, hours, minutes)


def _mail_date(text: str) -> datetime | None:
    """Read the forms of RFC 5322, RFC 850 and asctime."""
    text = _COMMENT.sub("", text)
    clock = _CLOCK.search(text)
    if clock is not None:
        text = text[: clock.end(1)] + text[clock.end() :]
    offset = _OFFSET_AT_END.search(text) if ":" in text else None
    if offset is not None:
        text = text[: offset.start()] + " GMT"  # the parser reads the form of RFC 850 only with a zone
    if text.count(":") > 2:  # two dates: a proxy joins fields that appear twice
        return None
    zone = _ZONE.search(text)
    parts = parsedate_tz(text) or (parsedate_tz(text + " GMT") if ":" in text else None)
    if parts is None or (zone is not None and zone[1].upper() not in _ZONES):
        return None
    year, month, day, hour, minute, second = parts[:6]
    if (full_year := _FULL_YEAR.search(text)) is not None:  # which the parser reads as a year of two digits
        year = int(full_year[0])
    moment = _moment(year, month, day, hour, minute, second, clock[2] if clock is not None else None)
    return moment - (timedelta(seconds=parts[9] or 0) if offset is None else _offset(*offset.groups()))


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timedelta:
    """Return the time by which a zone is ahead of UTC. Raise ValueError for an offset that no zone has."""
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if ahead >= timedelta(days=1) or int(minutes or 0) > 59:
        raise ValueError(f"no zone is {ahead} from UTC")
    return -ahead if sign == "-" else ahead


def _moment(year: int, month: int, day: int, hour: int, minute: int, second: int, fraction: str | None) -> datetime:
    """Make a datetime in UTC. Second 60, a leap second, becomes the first second of the next minute."""
    leap = second == 60
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, microsecond, timezone.utc)
    return moment + timedelta(seconds=1) if leap else moment
