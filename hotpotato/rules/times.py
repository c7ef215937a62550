"""Times as monitoring programs write them, and as Hot Potato writes them.

What Icinga 2, Nagios and Alertmanager send was seen on the wire; every form of it is understood
here. A monitoring server's time is shown to people and nothing else: where a text could mean two
different days, or means no moment at all, it is not understood rather than guessed, and the
arrival time, seconds away from the truth, stands in for it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A year short of what datetime can hold, so that every zone can show every moment understood.
_END = datetime(9999, 1, 1, tzinfo=UTC)
_END_SECONDS = int((_END - _EPOCH).total_seconds())
_LONGEST_TEXT = 64

_CLOCK = (
    r"(?P<hour>\d\d):?(?P<minute>\d\d)"
    r"(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
)
_ZONE = r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?|[A-Z]{2,6})"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII | re.IGNORECASE)


_NUMBER = _pattern(r"[+-]?\d+(?:\.\d*)?(?:E[+-]?\d{1,3})?")
_ISO = _pattern(
    r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)(?:T|\s+)" rf"{_CLOCK}(?:\s*{_ZONE})?"
)
# What nearly everybody sends; Python reads it by itself, and many times faster.
_PLAIN = re.compile(
    r"(\d{4}-\d\d-\d\d[ T][0-2]\d:[0-5]\d:[0-5]\d(?:\.\d{1,6})?) ?(Z|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
_LONG = _pattern(
    r"(?:[A-Z]{3,9},?\s+)?(?P<name>[A-Z]{3})\s+(?P<day>\d{1,2})\s+"
    rf"{_CLOCK}(?:\s+{_ZONE})?\s+(?P<year>\d{{4}})"
)
_SHORT = _pattern(
    r"(?P<first>\d{1,2})[-/.](?P<other>\d{1,2})[-/.](?P<year>\d{4})\s+" rf"{_CLOCK}(?:\s+{_ZONE})?"
)


def understand(
    value: object, zone: ZoneInfo, *, month_first: bool | None = None
) -> datetime | None:
    """The moment that a monitoring program means, as an aware datetime in UTC; None if unclear.

    Never raises. Understood are:

    - Unix seconds, as a number or text, with a fraction or without; a number that would lie
      beyond the year 9998 is taken as milliseconds.
    - ISO 8601 with `T` or a space, seconds and fraction optional (beyond microseconds it is cut
      off), and `Z`, `+13`, `+1300` or `+13:00`, with or without a space before it. A date alone
      is no moment and is not understood.
    - Nagios' long form, `Mon Nov 23 20:32:24 NZDT 2026`.
    - Nagios' short forms, `11-23-2026 20:32:24` (us) and `23-11-2026 20:32:24` (euro). Where
      both readings are possible `month_first` decides; with None such a time is not understood.

    Without an offset it is the local time of `zone`. So it is with an abbreviation, which is no
    offset by itself: `UTC`, `GMT` and `UT` are understood, the zone's own abbreviation at that
    time picks one of the two moments when clocks go back, and any other is passed over. A local
    time that occurs twice is the first of the two; one that clocks skip when they go forward is
    read as if they had not been moved yet (02:30 becomes 03:30).

    What lies before 1970 or after 9998 is not understood: Alertmanager's `0001-01-01T00:00:00Z`
    means "no time", and no monitoring server's clock stands there.
    """
    try:
        moment = _read(value, zone, month_first)
    except (ValueError, OverflowError):  # a 31st of February, an offset of 99 hours
        return None
    return moment if moment is not None and _EPOCH <= moment < _END else None


def outgoing(moment: datetime) -> str:
    """The moment as Hot Potato's answers carry it: `2018-07-10 02:08:57.717142`, in UTC.

    There are always six digits after the point. `moment` must be aware: ValueError if not.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ", "microseconds").removesuffix("+00:00")


def _read(value: object, zone: ZoneInfo, month_first: bool | None) -> datetime | None:
    match value:
        case bool():
            return None
        case int():
            return _from_seconds(Decimal(value))
        case float():
            return _from_seconds(Decimal(repr(value)))
        case str() if len(value) <= _LONGEST_TEXT:
            return _read_text(value.strip(), zone, month_first)
        case _:
            return None


def _read_text(text: str, zone: ZoneInfo, month_first: bool | None) -> datetime | None:
    if match := _PLAIN.fullmatch(text):
        return datetime.fromisoformat(match[1] + match[2]).astimezone(UTC)
    if _NUMBER.fullmatch(text):
        return _from_seconds(Decimal(text))
    if match := _ISO.fullmatch(text):
        return _from_parts(match, int(match["month"]), int(match["day"]), zone)
    if (match := _LONG.fullmatch(text)) and match["name"].lower() in _MONTHS:
        month = _MONTHS.index(match["name"].lower()) + 1
        return _from_parts(match, month, int(match["day"]), zone)
    if match := _SHORT.fullmatch(text):
        return _from_short(match, zone, month_first)
    return None


def _from_seconds(seconds: Decimal) -> datetime | None:
    if not seconds.is_finite():
        return None
    if seconds >= _END_SECONDS:
        seconds /= 1000
    if not 0 <= seconds < _END_SECONDS:
        return None
    return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))


def _from_short(match: re.Match[str], zone: ZoneInfo, month_first: bool | None) -> datetime | None:
    first, other = int(match["first"]), int(match["other"])
    months = range(1, len(_MONTHS) + 1)
    if first not in months:
        month_first = False
    elif other not in months:
        month_first = True
    elif month_first is None and first != other:
        return None
    month, day = (first, other) if month_first else (other, first)
    return _from_parts(match, month, day, zone)


def _from_parts(match: re.Match[str], month: int, day: int, zone: ZoneInfo) -> datetime | None:
    second = int(match["second"] or 0)
    leap = second == 60  # as ISO 8601 writes a leap second
    moment = _placed(
        datetime(
            int(match["year"]),
            month,
            day,
            int(match["hour"]),
            int(match["minute"]),
            second - leap,
            int((match["fraction"] or "0")[:6].ljust(6, "0")),
        ),
        (match["zone"] or "").upper(),
        zone,
    )
    return moment and moment + timedelta(seconds=leap)


def _placed(clock: datetime, suffix: str, zone: ZoneInfo) -> datetime | None:
    """The moment at which `clock` was read off a wall where `suffix` and `zone` hold."""
    if suffix in ("AM", "PM"):
        return None
    if suffix in ("Z", "UTC", "GMT", "UT"):
        return clock.replace(tzinfo=UTC)
    if suffix.startswith(("+", "-")):
        hours, minutes = int(suffix[1:3]), int(suffix[3:].lstrip(":") or 0)
        offset = timedelta(hours=hours, minutes=minutes)
        away = timezone(-offset if suffix[0] == "-" else offset)
        return clock.replace(tzinfo=away).astimezone(UTC)
    local = clock.replace(tzinfo=zone)
    second = local.replace(fold=1)
    if suffix and local.tzname() != suffix and second.tzname() == suffix:
        local = second
    return local.astimezone(UTC)
