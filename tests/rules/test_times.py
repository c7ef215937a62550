"""Times as monitoring programs write them, seen on the wire, and what is too unclear to guess."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotpotato.rules.times import outgoing, understand

AUCKLAND = ZoneInfo("Pacific/Auckland")
LONDON = ZoneInfo("Europe/London")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
UTC_ZONE = ZoneInfo("UTC")
SEEN = datetime(2026, 11, 23, 7, 32, 24, tzinfo=UTC)

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),
    max_value=datetime(9998, 12, 31, 23, 59, 59, 999999),
    timezones=st.just(UTC),
)
zones = st.sampled_from([AUCKLAND, LONDON, SAO_PAULO, UTC_ZONE, ZoneInfo("Asia/Kathmandu")])


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23 20:32:24 +1300",
        "2026-11-23 20:32:24",
        "1795419144",
        "Mon Nov 23 20:32:24 NZDT 2026",
        "11-23-2026 20:32:24",
        "23-11-2026 20:32:24",
        "2026-11-23T20:32:24",
        "2026-11-23T07:32:24Z",
    ],
)
def test_every_form_that_icinga_nagios_and_alertmanager_send_is_the_same_moment(text: str) -> None:
    assert understand(text, AUCKLAND) == SEEN


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T20:32:24+13",
        "2026-11-23T20:32:24+1300",
        "2026-11-23T20:32:24+13:00",
        "2026-11-23 20:32:24+13:00",
        "2026-11-23 20:32:24 +13:00",
        "2026-11-23t07:32:24z",
        "2026-11-23 07:32:24 UTC",
        "2026-11-23 07:32:24 GMT",
        "2026-11-23T07:32:24.000Z",
        "2026-11-23T07:32:24,0Z",
        "20261123T073224Z",
        "2026-11-22T18:02:24-13:30",
        "  2026-11-23 20:32:24\n",
        "Nov 23 20:32:24 2026",
        "Mon Nov 23 07:32:24 UTC 2026",
        "Mon Nov 23 20:32:24 +13 2026",
        "1795419144.0",
        "1.795419144e9",
        "1795419144000",
    ],
)
def test_the_variants_of_iso_8601_and_of_unix_time_are_understood(text: str) -> None:
    assert understand(text, AUCKLAND) == SEEN


def test_a_time_without_an_offset_is_local_to_the_server() -> None:
    assert understand("2026-11-23 20:32:24", LONDON) == SEEN + timedelta(hours=13)


def test_our_own_form_comes_in_as_it_goes_out() -> None:
    moment = datetime(2018, 7, 10, 2, 8, 57, 717142, tzinfo=UTC)
    assert outgoing(moment) == "2018-07-10 02:08:57.717142"
    assert understand("2018-07-10 02:08:57.717142", UTC_ZONE) == moment


def test_nanoseconds_are_cut_to_microseconds_and_never_rounded_up() -> None:
    expected = datetime(2026, 11, 23, 7, 27, 46, 600288, tzinfo=UTC)
    assert understand("2026-11-23T07:27:46.60028807Z", AUCKLAND) == expected
    assert understand("2026-11-23T07:27:46.600288999Z", AUCKLAND) == expected


def test_one_digit_after_the_point_is_a_tenth_of_a_second() -> None:
    half_past = SEEN + timedelta(milliseconds=500)
    assert understand("2026-11-23T07:32:24.5Z", AUCKLAND) == half_past
    assert understand("2026-11-23 20:32:24,5", AUCKLAND) == half_past


def test_unix_seconds_may_be_a_number_or_text_with_or_without_a_fraction() -> None:
    assert understand(1795419144, AUCKLAND) == SEEN
    assert understand(1795419144.5, AUCKLAND) == SEEN + timedelta(seconds=0.5)
    assert understand("1795419144.123456", AUCKLAND) == SEEN + timedelta(microseconds=123456)


def test_milliseconds_are_recognised_because_as_seconds_they_are_absurd() -> None:
    assert understand(1795419144123, AUCKLAND) == SEEN + timedelta(milliseconds=123)


def test_a_leap_second_is_the_second_after_59() -> None:
    assert understand("2016-12-31T23:59:60Z", AUCKLAND) == datetime(2017, 1, 1, tzinfo=UTC)


def test_a_time_without_seconds_is_understood() -> None:
    assert understand("2026-11-23 20:32 +1300", AUCKLAND) == SEEN - timedelta(seconds=24)


def test_up_to_day_12_only_the_servers_setting_tells_us_from_euro() -> None:
    text = "11-05-2026 20:32:24"
    assert understand(text, UTC_ZONE, month_first=True) == datetime(
        2026, 11, 5, 20, 32, 24, tzinfo=UTC
    )
    assert understand(text, UTC_ZONE, month_first=False) == datetime(
        2026, 5, 11, 20, 32, 24, tzinfo=UTC
    )
    assert understand(text, UTC_ZONE) is None


def test_a_day_that_is_no_month_is_unambiguous_whatever_the_setting_says() -> None:
    for month_first in (True, False, None):
        assert understand("23-11-2026 20:32:24", AUCKLAND, month_first=month_first) == SEEN
        assert understand("11-23-2026 20:32:24", AUCKLAND, month_first=month_first) == SEEN


def test_the_fifth_of_may_reads_the_same_in_both_orders() -> None:
    expected = datetime(2026, 5, 5, 1, 2, 3, tzinfo=UTC)
    assert understand("05-05-2026 01:02:03", UTC_ZONE) == expected


class TestDaylightSaving:
    """Clocks in Auckland go back on 5 April 2026 at 03:00, and forward on 27 September at 02:00."""

    def test_a_local_time_that_occurs_twice_is_the_first(self) -> None:
        assert understand("2026-04-05 02:30:00", AUCKLAND) == datetime(
            2026, 4, 4, 13, 30, tzinfo=UTC
        )

    def test_nagios_abbreviation_tells_the_two_apart(self) -> None:
        first = understand("Sun Apr 05 02:30:00 NZDT 2026", AUCKLAND)
        second = understand("Sun Apr 05 02:30:00 NZST 2026", AUCKLAND)
        assert first == datetime(2026, 4, 4, 13, 30, tzinfo=UTC)
        assert second == datetime(2026, 4, 4, 14, 30, tzinfo=UTC)

    def test_a_local_time_that_is_skipped_is_read_as_if_clocks_had_not_moved_yet(self) -> None:
        skipped = understand("2026-09-27 02:30:00", AUCKLAND)
        assert skipped == datetime(2026, 9, 26, 14, 30, tzinfo=UTC)
        assert skipped == understand("2026-09-27 03:30:00", AUCKLAND)

    def test_gmt_in_london_picks_the_second_one_o_clock(self) -> None:
        assert understand("Sun Oct 25 01:30:00 BST 2026", LONDON) == datetime(
            2026, 10, 25, 0, 30, tzinfo=UTC
        )
        assert understand("Sun Oct 25 01:30:00 GMT 2026", LONDON) == datetime(
            2026, 10, 25, 1, 30, tzinfo=UTC
        )

    def test_a_foreign_abbreviation_is_no_offset_and_is_passed_over(self) -> None:
        assert understand("Mon Nov 23 20:32:24 EST 2026", AUCKLAND) == SEEN

    def test_a_zone_without_letters_is_understood_by_its_numbers(self) -> None:
        expected = datetime(2026, 11, 23, 23, 32, 24, tzinfo=UTC)
        assert understand("Mon Nov 23 20:32:24 -03 2026", SAO_PAULO) == expected


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "99999-01-01T00:00:00Z",
        "2026-02-30 00:00:00",
        "2026-11-23 24:00:00",
        "2026-11-23 20:61:00",
        "2026-11-23 20:32:61",
        "2026-11-23T20:32:24+99:00",
        "2026-11-23T20:32:24+13:60:00",
        "2026-11-23",
        "20:32:24",
        "2026-11-23 08:32:24 PM",
        "Mon Foo 23 20:32:24 NZDT 2026",
        "31-31-2026 20:32:24",
        "yesterday",
        "",
        "-1",
        "1e999",
        "\uff11\uff17\uff19\uff15\uff14\uff11\uff19\uff11\uff14\uff14",
        "1_795_419_144",
        "9" * 5000,
        "2026-11-23 20:32:24" + " " * 100,
        True,
        False,
        None,
        -1,
        -(10**400),
        10**400,
        math.inf,
        -math.inf,
        math.nan,
        1e300,
        [],
        {},
        ["2026-11-23 20:32:24"],
        b"1795419144",
        SEEN,
    ],
)
def test_what_means_no_plausible_moment_is_not_understood(value: object) -> None:
    assert understand(value, AUCKLAND) is None


def test_a_naive_moment_cannot_go_out() -> None:
    with pytest.raises(ValueError, match="time zone"):
        outgoing(datetime(2026, 11, 23))


def test_a_moment_of_any_zone_goes_out_in_utc_with_six_digits() -> None:
    there = SEEN.astimezone(timezone(timedelta(hours=13)))
    assert outgoing(there) == "2026-11-23 07:32:24.000000"


@given(moments, zones, st.none() | st.booleans())
def test_what_goes_out_comes_in_unchanged(
    moment: datetime, zone: ZoneInfo, month_first: bool | None
) -> None:
    text = outgoing(moment)
    assert understand(text, UTC_ZONE, month_first=month_first) == moment
    assert understand(text + " +0000", zone, month_first=month_first) == moment
    assert understand(moment.astimezone(zone).isoformat(), zone) == moment


@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31)), zones)
def test_nagios_long_form_means_the_local_time_and_fold_that_it_names(
    clock: datetime, zone: ZoneInfo
) -> None:
    """Each hour, also both hours when clocks go back, as `date` in that zone would print it."""
    moment = clock.replace(microsecond=0, tzinfo=UTC)
    text = moment.astimezone(zone).strftime("%a %b %d %H:%M:%S %Z %Y")
    assert understand(text, zone) == moment


FRAGMENTS = """
    0 1 12 13 23 31 59 60 61 99 1969 1970 2026 9999 10000 - / . : , T Z + +13 +1300 e9 nan inf
    Mon Nov NZDT UTC AM $TIMET$
"""
fragments = st.lists(
    st.sampled_from([*FRAGMENTS.split(), " ", "\n", "\0", "\ud800", "\u0663"]), max_size=20
).map("".join)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | fragments,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=400)
@example(value="9998-12-31T23:59:60-23:59", month_first=None)
@example(value="1970-01-01 00:00:00", month_first=None)
@given(value=anything, month_first=st.none() | st.booleans())
def test_nothing_makes_it_raise_and_what_is_understood_is_plausible_and_utc(
    value: object, month_first: bool | None
) -> None:
    moment = understand(value, AUCKLAND, month_first=month_first)
    if moment is not None:
        assert moment.tzinfo is UTC
        assert 1970 <= moment.year < 9999
