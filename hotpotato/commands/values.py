"""What people type, checked: names, phone numbers, time zones. What is bad is refused."""

from __future__ import annotations

import contextlib
import difflib
import getpass
import os
import re
import unicodedata
import zoneinfo
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
import phonenumbers

from hotpotato.commands.output import Refused, listed
from hotpotato.rules import schedule

_LONGEST_NAME = 200
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_LONGEST = 366 * 86_400

_WHY_IMPOSSIBLE = {
    phonenumbers.ValidationResult.TOO_SHORT: "it is too short for its country",
    phonenumbers.ValidationResult.TOO_LONG: "it is too long for its country",
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "it lacks its area code",
    phonenumbers.ValidationResult.INVALID_COUNTRY_CODE: "no country has this code",
}


if TYPE_CHECKING:
    _Text = click.ParamType[str]
    _Moment = click.ParamType[datetime]
    _Length = click.ParamType[float]
else:
    _Text = _Moment = _Length = click.ParamType  # is generic only since click 8.3


class Name(_Text):
    """A tenant's, a user's or a server's name: one line of text that can be printed."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See the class."""
        text = unicodedata.normalize("NFC", str(value)).strip()
        if not text:
            raise Refused("a name can't be empty")
        if not text.isprintable():
            raise Refused(f"{text!a} is no name: it has characters that can't be printed")
        if len(text) > _LONGEST_NAME:
            raise Refused(f"a name has at most {_LONGEST_NAME} characters, this one {len(text)}")
        return text


class PhoneNumber(_Text):
    """A phone number with its country's code, however it is grouped; E.164 comes out."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See the class."""
        try:
            number = phonenumbers.parse(str(value), None)
        except phonenumbers.NumberParseException as error:
            raise Refused(
                f"{value!a} is no phone number that can be reached from everywhere: write it with"
                " + and the country's code, like +64211234567"
            ) from error
        if number.extension:
            raise Refused(f"{value!a} has an extension, and no SMS can be sent to one")
        verdict = phonenumbers.is_possible_number_with_reason(number)
        if verdict != phonenumbers.ValidationResult.IS_POSSIBLE:
            why = _WHY_IMPOSSIBLE.get(verdict, "its country has none of this length")
            raise Refused(f"{value!a} can't be a phone number: {why}")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


class TimeZone(_Text):
    """A time zone of the IANA database, like Pacific/Auckland."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See the class."""
        known = zoneinfo.available_timezones()
        if value in known:
            return str(value)
        by_lower = {name.lower(): name for name in known}
        near = difflib.get_close_matches(str(value).lower(), by_lower, n=3, cutoff=0.7)
        expected = "expected one like Pacific/Auckland or UTC"
        if near:
            expected = f"did you mean {listed([by_lower[name] for name in near], how='or')}?"
        raise Refused(f"there is no time zone {value!a}: {expected}")


class Moment(_Moment):
    """A time, as ISO 8601; without an offset it is meant in the zone of what it is about."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """See the class."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError as error:
            raise Refused(
                f"{value!a} is no time: write it like 2026-12-24 18:00, or with an offset like"
                " 2026-12-24T18:00+13:00"
            ) from error
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            raise Refused(f"{value!a} is no time that a rota knows: a year is from 1970 to 9000")
        return moment.replace(microsecond=0)


class Length(_Length):
    """How long: 45m, 2h, 1d12h; seconds come out. Where it may be for ever, that is 0."""

    name = "length"

    def __init__(self, *, for_ever: bool = False) -> None:
        self._for_ever = for_ever

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See the class."""
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        if self._for_ever and text == "forever":
            return 0.0
        seconds = sum(
            int(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d{1,6})([mhd])", text)
        )
        if not re.fullmatch(r"(?:\d{1,6}[mhd])+", text) or not 0 < seconds <= _LONGEST:
            other = ", or forever" if self._for_ever else ""
            raise Refused(
                f"{value!a} is no length of time of up to a year: write it like 45m, 2h or"
                f" 1d12h{other}"
            )
        return float(seconds)


def in_zone(moment: datetime, timezone: str) -> datetime:
    """A moment that was typed, in UTC; without an offset it is meant in that zone."""
    if moment.tzinfo is None:
        return schedule.instant(moment, ZoneInfo(timezone))
    return moment.astimezone(UTC)


def author() -> str:
    """Who runs this command, for the record."""
    with contextlib.suppress(OSError, KeyError):
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return f"user {os.getuid()}"


NAME = Name()
MOMENT = Moment()
LENGTH = Length()
LENGTH_OR_FOR_EVER = Length(for_ever=True)
PHONE_NUMBER = PhoneNumber()
TIME_ZONE = TimeZone()
NUMBER = click.IntRange(1, 2**63 - 1)
"""The id of something in the database."""
