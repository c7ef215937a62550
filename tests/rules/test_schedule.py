"""Who is on call when, told as stories, and held to its rules in every zone there is."""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpotato.rules.schedule import (
    DAYS,
    Gap,
    Handover,
    Layer,
    Override,
    Rewrite,
    Rotation,
    Shift,
    Window,
    gaps,
    handovers,
    instant,
    on_call,
    rewrite,
    shifts,
    swap,
    take,
)

NAMES = {1: "Ana", 2: "Ben", 3: "Cyd", 4: "Dee"}
ANA, BEN, CYD, DEE = NAMES

AUCKLAND = ZoneInfo("Pacific/Auckland")
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def rotation(
    *participants: int, first: date = date(2026, 3, 30), at: time = time(0), **rest: Any
) -> Rotation:
    return Rotation(participants=participants, first=first, at=at, **rest)


def layer(name: str, of: Rotation, **rest: date) -> Layer:
    return Layer(name=name, rotation=of, **rest)


WEEKLY = layer("weekly", rotation(ANA, BEN, CYD, at=time(8)))
NIGHTS = layer(
    "nights",
    rotation(CYD, DEE, unit="days", at=time(20), windows=(Window(since=time(20), until=time(8)),)),
)


def at(text: str, zone: ZoneInfo = AUCKLAND) -> datetime:
    """The instant that a person there means by this."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def told(found: Iterable[Shift], zone: ZoneInfo = AUCKLAND) -> list[str]:
    """The shifts as a person there would read them off the wall."""
    return [
        f"{NAMES[shift.person]} {shown(shift.since, zone)} to "
        f"{shown(shift.until, zone) if shift.until else 'until changed'}, {shift.source}"
        for shift in found
    ]


def shown(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%a %d %b %H:%M%z")


def between(
    since: str, until: str, *layers: Layer, overrides: Sequence[Override] = ()
) -> tuple[Shift, ...]:
    return shifts(layers, overrides, AUCKLAND, at(since), at(until))


class TestStories:
    def test_three_people_take_turns_at_eight_whatever_the_clocks_do_in_autumn(self) -> None:
        """Ana's week has 169 hours, and nobody's hand-over moves to seven."""
        found = between("2026-03-30 08:00", "2026-04-20 08:00", WEEKLY)
        assert told(found) == [
            "Ana Mon 30 Mar 08:00+1300 to Mon 06 Apr 08:00+1200, layer weekly",
            "Ben Mon 06 Apr 08:00+1200 to Mon 13 Apr 08:00+1200, layer weekly",
            "Cyd Mon 13 Apr 08:00+1200 to Mon 20 Apr 08:00+1200, layer weekly",
        ]
        assert found[0].until is not None
        assert found[0].until - found[0].since == 169 * HOUR

    def test_and_in_spring_a_week_has_167_hours(self) -> None:
        found = between("2026-09-21 08:00", "2026-10-05 08:00", WEEKLY)
        assert told(found) == [
            "Ben Mon 21 Sep 08:00+1200 to Mon 28 Sep 08:00+1300, layer weekly",
            "Cyd Mon 28 Sep 08:00+1300 to Mon 05 Oct 08:00+1300, layer weekly",
        ]

    def test_a_hand_over_in_the_hour_that_comes_twice_is_in_the_first_of_the_two(self) -> None:
        sundays = rotation(ANA, BEN, first=date(2026, 3, 29), at=time(2, 30))
        found = handovers(sundays, AUCKLAND, at("2026-04-01"), at("2026-04-14"))
        assert [shown(each.at, AUCKLAND) for each in found] == [
            "Sun 05 Apr 02:30+1300",
            "Sun 12 Apr 02:30+1200",
        ]
        assert [each.person for each in found] == [BEN, ANA]

    def test_a_hand_over_in_the_hour_that_is_left_out_is_at_the_first_instant_after_it(
        self,
    ) -> None:
        sundays = rotation(ANA, BEN, first=date(2026, 9, 20), at=time(2, 30))
        found = handovers(sundays, AUCKLAND, at("2026-09-20"), at("2026-10-05"))
        assert [shown(each.at, AUCKLAND) for each in found] == [
            "Sun 20 Sep 02:30+1200",
            "Sun 27 Sep 03:00+1300",
            "Sun 04 Oct 02:30+1300",
        ]

    def test_who_takes_turns_by_the_hour_loses_the_hour_that_is_left_out(self) -> None:
        """It was Cyd's. The others keep theirs, and their order."""
        hourly = layer("hourly", rotation(ANA, BEN, CYD, unit="hours", first=date(2026, 9, 27)))
        found = between("2026-09-27 00:00", "2026-09-27 06:00", hourly)
        assert told(found) == [
            "Ana Sun 27 Sep 00:00+1200 to Sun 27 Sep 01:00+1200, layer hourly",
            "Ben Sun 27 Sep 01:00+1200 to Sun 27 Sep 03:00+1300, layer hourly",
            "Ana Sun 27 Sep 03:00+1300 to Sun 27 Sep 04:00+1300, layer hourly",
            "Ben Sun 27 Sep 04:00+1300 to Sun 27 Sep 05:00+1300, layer hourly",
            "Cyd Sun 27 Sep 05:00+1300 to Sun 27 Sep 06:00+1300, layer hourly",
        ]

        two, three = handovers(
            hourly.rotation, AUCKLAND, at("2026-09-27 01:00"), found[2].since + HOUR
        )
        assert (two.person, three) == (BEN, Handover(found[2].since, ANA))

    def test_and_has_two_hours_when_one_comes_twice(self) -> None:
        hourly = layer("hourly", rotation(ANA, BEN, CYD, unit="hours", first=date(2026, 4, 5)))
        found = between("2026-04-05 01:00", "2026-04-05 04:00", hourly)
        assert told(found) == [
            "Ben Sun 05 Apr 01:00+1300 to Sun 05 Apr 02:00+1300, layer hourly",
            "Cyd Sun 05 Apr 02:00+1300 to Sun 05 Apr 03:00+1200, layer hourly",
            "Ana Sun 05 Apr 03:00+1200 to Sun 05 Apr 04:00+1200, layer hourly",
        ]

    def test_every_twelve_hours_stays_at_eight_and_eight(self) -> None:
        twice = layer("halves", rotation(ANA, BEN, unit="hours", every=12, at=time(8)))
        found = between("2026-09-26 20:00", "2026-09-27 20:00", twice)
        assert told(found) == [
            "Ben Sat 26 Sep 20:00+1200 to Sun 27 Sep 08:00+1300, layer halves",
            "Ana Sun 27 Sep 08:00+1300 to Sun 27 Sep 20:00+1300, layer halves",
        ]

    def test_the_night_lies_on_top_and_leaves_the_day_visible(self) -> None:
        """The night in which clocks go back is an hour longer, and it is all Cyd's."""
        found = between("2026-04-04 08:00", "2026-04-06 20:00", WEEKLY, NIGHTS)
        assert told(found) == [
            "Ana Sat 04 Apr 08:00+1300 to Sat 04 Apr 20:00+1300, layer weekly",
            "Dee Sat 04 Apr 20:00+1300 to Sun 05 Apr 08:00+1200, layer nights",
            "Ana Sun 05 Apr 08:00+1200 to Sun 05 Apr 20:00+1200, layer weekly",
            "Cyd Sun 05 Apr 20:00+1200 to Mon 06 Apr 08:00+1200, layer nights",
            "Ben Mon 06 Apr 08:00+1200 to Mon 06 Apr 20:00+1200, layer weekly",
        ]

    def test_a_weekend_of_several_windows_is_one_shift(self) -> None:
        weekend = layer(
            "weekend",
            rotation(
                DEE,
                first=date(2026, 4, 3),
                at=time(17),
                windows=(
                    Window(days=("fri",), since=time(17), until=time(0)),
                    Window(days=("sat", "sun"), since=time(0), until=time(0)),
                    Window(days=("mon",), since=time(0), until=time(8)),
                ),
            ),
        )
        found = between("2026-04-10 08:00", "2026-04-13 12:00", WEEKLY, weekend)
        assert told(found) == [
            "Ben Fri 10 Apr 08:00+1200 to Fri 10 Apr 17:00+1200, layer weekly",
            "Dee Fri 10 Apr 17:00+1200 to Mon 13 Apr 08:00+1200, layer weekend",
            "Cyd Mon 13 Apr 08:00+1200 to Mon 13 Apr 12:00+1200, layer weekly",
        ]

    def test_windows_may_lie_within_each_other(self) -> None:
        windows = (
            Window(days=("mon",), since=time(8), until=time(18)),
            Window(since=time(12), until=time(13)),
        )
        office = layer("office", rotation(ANA, at=time(8), windows=windows))
        assert told(between("2026-04-13 00:00", "2026-04-15 00:00", office)) == [
            "Ana Mon 13 Apr 08:00+1200 to Mon 13 Apr 18:00+1200, layer office",
            "Ana Tue 14 Apr 12:00+1200 to Tue 14 Apr 13:00+1200, layer office",
        ]

    def test_in_the_middle_of_the_night_its_window_is_open(self) -> None:
        assert told(between("2026-04-04 03:00", "2026-04-04 10:00", NIGHTS)) == [
            "Cyd Sat 04 Apr 03:00+1300 to Sat 04 Apr 08:00+1300, layer nights"
        ]

    def test_a_hand_over_to_oneself_is_on_record_too(self) -> None:
        alone = layer("alone", rotation(ANA, first=date(2026, 3, 30), at=time(8)))
        assert told(between("2026-03-30 08:00", "2026-04-13 08:00", alone)) == [
            "Ana Mon 30 Mar 08:00+1300 to Mon 06 Apr 08:00+1200, layer alone",
            "Ana Mon 06 Apr 08:00+1200 to Mon 13 Apr 08:00+1200, layer alone",
        ]

    def test_dee_stands_in_for_bens_holiday(self) -> None:
        holiday = Override(person=DEE, since=at("2026-04-08 18:00"), until=at("2026-04-11 18:00"))
        found = between("2026-04-06 08:00", "2026-04-13 08:00", WEEKLY, overrides=[holiday])
        assert told(found) == [
            "Ben Mon 06 Apr 08:00+1200 to Wed 08 Apr 18:00+1200, layer weekly",
            "Dee Wed 08 Apr 18:00+1200 to Sat 11 Apr 18:00+1200, override",
            "Ben Sat 11 Apr 18:00+1200 to Mon 13 Apr 08:00+1200, layer weekly",
        ]

    def test_the_override_made_last_wins(self) -> None:
        first = Override(person=DEE, since=at("2026-04-08 18:00"), until=at("2026-04-10 18:00"))
        later = Override(person=CYD, since=at("2026-04-09 18:00"), until=at("2026-04-09 20:00"))
        found = between("2026-04-08 18:00", "2026-04-10 18:00", WEEKLY, overrides=[first, later])
        assert told(found) == [
            "Dee Wed 08 Apr 18:00+1200 to Thu 09 Apr 18:00+1200, override",
            "Cyd Thu 09 Apr 18:00+1200 to Thu 09 Apr 20:00+1200, override",
            "Dee Thu 09 Apr 20:00+1200 to Fri 10 Apr 18:00+1200, override",
        ]

    def test_cyd_takes_the_pager_at_three_in_the_morning_and_bens_week_ends_as_before(
        self,
    ) -> None:
        """What is stored of Ben's shift so far stays, and what is to come is written anew."""
        stored = between("2026-04-06 08:00", "2026-04-20 08:00", WEEKLY)
        now = at("2026-04-09 03:12")
        taken = take(stored, CYD, now)
        wanted = shifts([WEEKLY], [taken], AUCKLAND, now, at("2026-04-20 08:00"))
        change = rewrite(stored, wanted, now)
        assert change.current is not None
        assert told([change.current]) == [
            "Ben Mon 06 Apr 08:00+1200 to Thu 09 Apr 03:12+1200, layer weekly"
        ]
        assert told(change.insert) == ["Cyd Thu 09 Apr 03:12+1200 to Mon 13 Apr 08:00+1200, take"]
        assert change.delete == ()

    def test_taken_when_nobody_is_on_call_it_is_for_the_rest_of_the_gap(self) -> None:
        weekly = between("2026-03-23 08:00", "2026-04-20 08:00", WEEKLY)
        taken = take(weekly, DEE, at("2026-03-28 03:00"))
        assert (taken.since, taken.until) == (at("2026-03-28 03:00"), at("2026-03-30 08:00"))

    def test_taken_where_nothing_follows_it_is_until_changed(self) -> None:
        assert take((), DEE, at("2026-03-28 03:00")).until is None

    def test_ana_and_cyd_swap_their_weeks(self) -> None:
        weeks = between("2026-03-30 08:00", "2026-04-20 08:00", WEEKLY)
        swapped = swap(weeks[0], weeks[2])
        found = between("2026-03-30 08:00", "2026-04-20 08:00", WEEKLY, overrides=swapped)
        assert told(found) == [
            "Cyd Mon 30 Mar 08:00+1300 to Mon 06 Apr 08:00+1200, swap",
            "Ben Mon 06 Apr 08:00+1200 to Mon 13 Apr 08:00+1200, layer weekly",
            "Ana Mon 13 Apr 08:00+1200 to Mon 20 Apr 08:00+1200, swap",
        ]

    def test_a_swap_is_the_same_whoever_is_named_first(self) -> None:
        weeks = between("2026-03-30 08:00", "2026-04-20 08:00", WEEKLY)
        assert set(swap(weeks[0], weeks[2])) == set(swap(weeks[2], weeks[0]))

    def test_nobody_swaps_alone_or_at_the_same_time(self) -> None:
        weeks = between("2026-03-30 08:00", "2026-04-27 08:00", WEEKLY)
        with pytest.raises(ValueError, match="two people"):
            swap(weeks[0], weeks[3])
        with pytest.raises(ValueError, match="overlap"):
            swap(weeks[0], msgspec.structs.replace(weeks[0], person=BEN))

    def test_nobody_is_on_call_at_lunch(self) -> None:
        office = layer(
            "office",
            rotation(
                ANA,
                first=date(2026, 4, 6),
                at=time(8),
                windows=(
                    Window(days=DAYS[:5], since=time(8), until=time(12)),
                    Window(days=DAYS[:5], since=time(13), until=time(17)),
                ),
            ),
        )
        since, until = at("2026-04-07 08:00"), at("2026-04-07 17:00")
        found = shifts([office], [], AUCKLAND, since, until)
        lunch = Gap(at("2026-04-07 12:00"), at("2026-04-07 13:00"))
        assert gaps(found, since, until) == (lunch,)
        assert gaps(found, at("2026-04-07 12:30"), at("2026-04-07 16:00")) == (
            Gap(at("2026-04-07 12:30"), lunch.until),
        )
        assert on_call(found, lunch.since) is None
        assert on_call(found, lunch.since - SECOND) == found[0]
        assert on_call(found, lunch.until) == found[1]

    def test_before_its_first_hand_over_a_rotation_has_nobody(self) -> None:
        since, until = at("2026-03-01 00:00"), at("2026-03-31 00:00")
        found = shifts([WEEKLY], [], AUCKLAND, since, until)
        assert gaps(found, since, until) == (Gap(since, at("2026-03-30 08:00")),)

    def test_next_months_rota_begins_on_top_and_ends_at_the_hour_of_its_hand_overs(self) -> None:
        may = layer(
            "may",
            rotation(DEE, ANA, first=date(2026, 4, 20), at=time(8)),
            since=date(2026, 4, 29),
            until=date(2026, 5, 6),
        )
        found = between("2026-04-27 08:00", "2026-05-11 08:00", WEEKLY, may)
        assert told(found) == [
            "Ben Mon 27 Apr 08:00+1200 to Wed 29 Apr 08:00+1200, layer weekly",
            "Ana Wed 29 Apr 08:00+1200 to Mon 04 May 08:00+1200, layer may",
            "Dee Mon 04 May 08:00+1200 to Wed 06 May 08:00+1200, layer may",
            "Cyd Wed 06 May 08:00+1200 to Mon 11 May 08:00+1200, layer weekly",
        ]

    def test_an_override_without_an_end_has_none_in_its_shift_either(self) -> None:
        by_hand = Override(person=DEE, since=at("2026-04-08 18:00"), source="set by hand")
        found = between("2026-04-06 08:00", "2026-04-13 08:00", WEEKLY, overrides=[by_hand])
        assert told(found) == [
            "Ben Mon 06 Apr 08:00+1200 to Wed 08 Apr 18:00+1200, layer weekly",
            "Dee Wed 08 Apr 18:00+1200 to until changed, set by hand",
        ]
        assert gaps(found, at("2026-04-06 08:00"), at("2036-04-06 08:00")) == ()
        assert on_call(found, at("2036-04-06 08:00")) == found[1]

    def test_unless_something_later_covers_it(self) -> None:
        by_hand = Override(person=DEE, since=at("2026-04-08 18:00"), source="set by hand")
        later = Override(person=ANA, since=at("2026-05-01 18:00"), until=at("2026-05-02 18:00"))
        found = between("2026-04-08 18:00", "2026-04-13 08:00", WEEKLY, overrides=[by_hand, later])
        assert told(found) == [
            "Dee Wed 08 Apr 18:00+1200 to Mon 13 Apr 08:00+1200, set by hand",
        ]


class TestRewriting:
    NOW = at("2026-04-09 03:12")
    STORED = between("2026-03-30 08:00", "2026-04-27 08:00", WEEKLY)

    def test_what_stays_the_same_is_not_touched(self) -> None:
        wanted = shifts([WEEKLY], [], AUCKLAND, self.NOW, at("2026-04-27 08:00"))
        assert rewrite(self.STORED, wanted, self.NOW) == Rewrite()
        assert rewrite(self.STORED, self.STORED, self.NOW) == Rewrite()
        assert rewrite(self.STORED, self.STORED, self.STORED[1].since) == Rewrite()

    def test_the_end_of_the_running_shift_may_move(self) -> None:
        by_hand = Override(person=DEE, since=at("2026-04-11 00:00"), source="set by hand")
        wanted = shifts([WEEKLY], [by_hand], AUCKLAND, self.NOW, at("2026-04-27 08:00"))
        change = rewrite(self.STORED, wanted, self.NOW)
        assert change.current is not None
        assert told([change.current]) == [
            "Ben Mon 06 Apr 08:00+1200 to Sat 11 Apr 00:00+1200, layer weekly"
        ]
        assert told(change.delete) == told(self.STORED[2:])
        assert told(change.insert) == ["Dee Sat 11 Apr 00:00+1200 to until changed, set by hand"]

    def test_a_schedule_that_is_emptied_ends_now(self) -> None:
        change = rewrite(self.STORED, (), self.NOW)
        assert change.current == msgspec.structs.replace(self.STORED[1], until=self.NOW)
        assert (change.delete, change.insert) == (self.STORED[2:], ())

    def test_a_shift_that_begins_this_instant_is_no_record_yet(self) -> None:
        now = self.STORED[1].since
        assert rewrite(self.STORED, (), now) == Rewrite(delete=self.STORED[1:])

    def test_a_gap_that_runs_may_be_filled_from_now_on(self) -> None:
        wanted = shifts([WEEKLY], [], AUCKLAND, at("2026-03-30 08:00"), at("2026-04-27 08:00"))
        change = rewrite((), wanted, self.NOW)
        assert change.current is None
        assert change.insert[0] == msgspec.structs.replace(wanted[1], since=self.NOW)
        assert change.insert[1:] == wanted[2:]


class TestDefinitions:
    ROSTER = """
        [[layers]]
        name = "weekly"
        [layers.rotation]
        participants = [1, 2, 3]
        first = 2026-03-30
        at = 08:00:00

        [[layers]]
        name = "nights"
        from = 2026-05-01
        until = 2027-05-01
        [layers.rotation]
        participants = [3, 4]
        unit = "days"
        every = 2
        first = 2026-03-30
        at = 20:00:00
        windows = [{ days = ["mon", "tue"], from = 20:00:00, until = 08:00:00 }]
    """
    MEANT = (
        WEEKLY,
        layer(
            "nights",
            rotation(
                CYD,
                DEE,
                unit="days",
                every=2,
                at=time(20),
                windows=(Window(days=("mon", "tue"), since=time(20), until=time(8)),),
            ),
            since=date(2026, 5, 1),
            until=date(2027, 5, 1),
        ),
    )

    def test_a_roster_says_it_in_toml(self) -> None:
        said = tomllib.loads(self.ROSTER)["layers"]
        assert msgspec.convert(said, tuple[Layer, ...]) == self.MEANT

    def test_and_it_is_kept_as_json(self) -> None:
        kept = msgspec.json.encode(self.MEANT)
        assert msgspec.json.decode(kept, type=tuple[Layer, ...]) == self.MEANT

    def test_so_is_an_override(self) -> None:
        said = tomllib.loads("person = 4\nfrom = 2026-04-08T18:00:00+12:00")
        override = msgspec.convert(said, Override)
        assert override == Override(person=DEE, since=at("2026-04-08 18:00"))
        assert msgspec.json.decode(msgspec.json.encode(override), type=Override) == override

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"participants": []}, r"needs a participant - at `\$.rotation`"),
            ({"every": 0}, "from 1 to 1000"),
            ({"every": 1001}, "from 1 to 1000"),
            ({"unit": "months"}, r"'months' - at `\$.rotation.unit`"),
            ({"first": date(1969, 12, 31)}, "from 1970 to 9000"),
            ({"at": time(8, tzinfo=UTC)}, "no zone"),
            ({"at": time(8, 0, 0, 5)}, "no fraction"),
            ({"window": []}, "unknown field `window`"),
            ({"windows": [{"days": [], "from": time(8), "until": time(9)}]}, "needs a day"),
            ({"windows": [{"from": time(8, tzinfo=UTC), "until": time(9)}]}, "no zone"),
            ({"windows": [{"from": time(8), "until": time(9, tzinfo=UTC)}]}, "no zone"),
            ({"windows": [{"days": ["Mon"], "from": time(8), "until": time(9)}]}, "'Mon'"),
        ],
    )
    def test_what_can_not_be_meant_is_refused_and_said_where(
        self, change: dict[str, object], complaint: str
    ) -> None:
        said = msgspec.to_builtins(WEEKLY, builtin_types=(date, time))
        said["rotation"].update(change)
        with pytest.raises(msgspec.ValidationError, match=complaint):
            msgspec.convert(said, Layer)

    def test_a_layer_has_a_name_and_ends_after_it_begins(self) -> None:
        with pytest.raises(ValueError, match="needs a name"):
            layer("", WEEKLY.rotation)
        with pytest.raises(ValueError, match="ends after it begins"):
            layer("never", WEEKLY.rotation, since=date(2026, 5, 1), until=date(2026, 5, 1))
        with pytest.raises(ValueError, match="from 1970 to 9000"):
            layer("for ever", WEEKLY.rotation, until=date(9999, 12, 31))

    def test_an_override_ends_after_it_begins_whatever_the_wall_says(self) -> None:
        """From 02:45 until 02:15 is half an hour where clocks go back in between."""
        early = datetime(2026, 4, 5, 2, 45, tzinfo=AUCKLAND)
        late = datetime(2026, 4, 5, 2, 15, fold=1, tzinfo=AUCKLAND)
        override = Override(person=ANA, since=early, until=late)
        found = between("2026-04-05", "2026-04-06", overrides=[override])
        assert found[0].until is not None
        assert found[0].until - found[0].since == 0.5 * HOUR
        with pytest.raises(ValueError, match="ends after it begins"):
            Override(person=ANA, since=late, until=early)

    @pytest.mark.parametrize("moment", [datetime(2026, 4, 5), datetime(9999, 12, 31, tzinfo=UTC)])
    def test_an_override_names_moments_that_exist(self, moment: datetime) -> None:
        with pytest.raises(ValueError, match=r"time zone|9000"):
            Override(person=ANA, since=moment)

    def test_a_moment_without_a_zone_is_refused_everywhere(self) -> None:
        naive = datetime(2026, 4, 5)
        with pytest.raises(ValueError, match="time zone"):
            shifts([WEEKLY], [], AUCKLAND, naive, at("2026-05-01"))
        with pytest.raises(ValueError, match="time zone"):
            on_call((), naive)


# ------------------------------------------------------------------ the clocks of the world

ZONES = tuple(sorted(available_timezones()))
DECADE = datetime(2010, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
AHEAD = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)


class Jump(NamedTuple):
    """The instant at which the clocks of a zone are set, and what they show before and after."""

    at: datetime
    before: datetime
    after: datetime


def local(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def ahead_of_utc(moment: datetime, zone: ZoneInfo) -> timedelta:
    return local(moment, zone) - moment.replace(tzinfo=None)


@cache
def jumps(zone: ZoneInfo) -> tuple[Jump, ...]:
    """Every time in ten years that the clocks of a zone were set, found by looking at them."""
    weeks = range((DECADE[1] - DECADE[0]).days // 7)
    looks = [DECADE[0] + timedelta(weeks=week) for week in weeks]
    offsets = [ahead_of_utc(look, zone) for look in looks]
    found = []
    for number in weeks[1:]:
        if offsets[number] != offsets[number - 1]:
            low, high = looks[number - 1], looks[number]
            while high - low > SECOND:
                middle = low + (high - low) // 2
                middle -= timedelta(microseconds=middle.microsecond)
                if ahead_of_utc(middle, zone) == offsets[number - 1]:
                    low = middle
                else:
                    high = middle
            clock = high.replace(tzinfo=None)
            found.append(Jump(high, clock + offsets[number - 1], clock + offsets[number]))
    return tuple(found)


def obeys(moment: datetime, wall: datetime, zone: ZoneInfo) -> bool:
    """Whether this is the first instant at which the clocks show `wall` or later.

    As somebody would check it who looks at the clocks alone, then and a second earlier.
    """
    there = moment.astimezone(zone)
    if there.fold:
        return False
    clock = there.replace(tzinfo=None)
    return clock == wall or local(moment - SECOND, zone) < wall < clock


def covers(found: Sequence[Shift], since: datetime, until: datetime) -> bool:
    """Whether at any instant exactly one person is on call."""
    return (
        (found[0].since, found[-1].until) == (since, until)
        and all(one.until == next_.since for one, next_ in pairwise(found))
        and all(shift.until is not None and shift.since < shift.until for shift in found)
    )


class TestClocks:
    @pytest.mark.parametrize(
        ("zone", "wall", "expected"),
        [
            # Half an hour is left out, and comes twice.
            ("Australia/Lord_Howe", "2026-10-04 02:10", "2026-10-03 15:30"),
            ("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45"),
            # Two hours.
            ("Antarctica/Troll", "2026-03-29 01:30", "2026-03-29 01:00"),
            ("Antarctica/Troll", "2026-03-29 02:30", "2026-03-29 01:00"),
            ("Antarctica/Troll", "2026-10-25 01:30", "2026-10-24 23:30"),
            # A whole day, at the date line.
            ("Pacific/Apia", "2011-12-30 08:00", "2011-12-30 10:00"),
            ("Pacific/Apia", "2011-12-31 08:00", "2011-12-30 18:00"),
            ("Pacific/Kwajalein", "1993-08-21 08:00", "1993-08-21 12:00"),
            # A day that came twice.
            ("Pacific/Kwajalein", "1969-09-30 08:00", "1969-09-29 21:00"),
            # No summer time, only a decision.
            ("Asia/Pyongyang", "2015-08-14 23:45", "2015-08-14 14:45"),
            ("Asia/Pyongyang", "2018-05-04 23:45", "2018-05-04 15:00"),
            # By the sun, to the second, until 1972.
            ("Africa/Monrovia", "1972-01-06 23:00", "1972-01-06 23:44:30"),
            ("Africa/Monrovia", "1972-01-07 00:30", "1972-01-07 00:44:30"),
            ("Africa/Monrovia", "1972-01-07 00:44:31", "1972-01-07 00:44:31"),
        ],
    )
    def test_odd_places(self, zone: str, wall: str, expected: str) -> None:
        found = instant(datetime.fromisoformat(wall), ZoneInfo(zone))
        assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)
        assert found.tzinfo is UTC

    def test_in_samoa_the_turn_of_the_day_that_never_was_ends_the_next_morning(self) -> None:
        apia = ZoneInfo("Pacific/Apia")
        daily = layer(
            "daily", rotation(ANA, BEN, CYD, unit="days", first=date(2011, 12, 29), at=time(8))
        )
        found = shifts(
            [daily], [], apia, at("2011-12-29 08:00", apia), at("2012-01-01 08:00", apia)
        )
        assert told(found, apia) == [
            "Ana Thu 29 Dec 08:00-1000 to Sat 31 Dec 00:00+1400, layer daily",
            "Ben Sat 31 Dec 00:00+1400 to Sat 31 Dec 08:00+1400, layer daily",
            "Cyd Sat 31 Dec 08:00+1400 to Sun 01 Jan 08:00+1400, layer daily",
        ]

    def test_and_its_windows_never_open(self) -> None:
        apia = ZoneInfo("Pacific/Apia")
        friday = Window(days=("fri",), since=time(9), until=time(17))
        office = layer("office", rotation(ANA, first=date(2011, 12, 1), windows=(friday,)))
        found = shifts(
            [office], [], apia, at("2011-12-23 00:00", apia), at("2012-01-07 00:00", apia)
        )
        assert [shown(shift.since, apia) for shift in found] == [
            "Fri 23 Dec 09:00-1000",
            "Fri 06 Jan 09:00+1400",
        ]

    def test_in_newfoundland_sunday_has_begun_when_it_is_saturday_again_for_an_hour(self) -> None:
        """Clocks went back from 00:01 to 23:01; what had opened at midnight stays open."""
        newfoundland = ZoneInfo("America/St_Johns")
        sunday = Window(days=("sun",), since=time(0), until=time(8))
        sundays = layer("sundays", rotation(DEE, first=date(2010, 10, 1), windows=(sunday,)))
        since = at("2010-11-06 12:00", newfoundland)
        until = since + 12.5 * HOUR
        assert shown(until, newfoundland) == "Sat 06 Nov 23:30-0330"
        assert told(shifts([sundays], [], newfoundland, since, until), newfoundland) == [
            "Dee Sun 07 Nov 00:00-0230 to Sat 06 Nov 23:30-0330, layer sundays"
        ]

    def test_in_every_zone_each_jump_of_ten_years_is_met_by_the_rule(self) -> None:
        """To the second, at both ends of what is left out or comes twice, and in the middle."""
        seen = 0
        for name in ZONES:
            zone = ZoneInfo(name)
            for jump in jumps(zone):
                middle = jump.before + (jump.after - jump.before) // 2
                for edge in (jump.before, middle, jump.after):
                    for wall in (edge - SECOND, edge, edge + SECOND):
                        if wall < jump.before:
                            expected = jump.at - (jump.before - wall)
                        else:
                            expected = max(jump.at, jump.at + (wall - jump.after))
                        assert instant(wall, zone) == expected, (name, wall)
                seen += 1
        assert seen > 3000

    def test_in_every_zone_people_hand_over_in_order_at_the_worst_of_times(self) -> None:
        """Daily, at the minute in the middle of what is left out or comes twice."""
        people = (ANA, BEN, CYD)
        for name in ZONES:
            zone = ZoneInfo(name)
            for jump in jumps(zone):
                middle = jump.before + (jump.after - jump.before) // 2
                first = middle - timedelta(days=400)
                daily = rotation(*people, unit="days", first=first.date(), at=first.time())
                begin, end = instant(middle - timedelta(days=1), zone), jump.at + 36 * HOUR
                found = shifts([layer("daily", daily)], [], zone, begin, end)
                assert covers(found, begin, end), (name, jump)
                for day, shift in enumerate(found, 399):
                    wall = first + timedelta(days=day)
                    assert shift.person == people[day % 3], (name, wall)
                    assert obeys(shift.since, wall, zone), (name, wall)

    def test_in_every_zone_day_and_night_have_somebody_around_each_jump(self) -> None:
        night = Window(since=time(20), until=time(2, 30))
        nights = rotation(CYD, DEE, unit="days", first=date(2009, 1, 1), windows=(night,))
        always = rotation(ANA, BEN, unit="hours", every=6, first=date(2009, 1, 1))
        layers = [layer("always", always), layer("nights", nights)]
        for name in ZONES:
            zone = ZoneInfo(name)
            for jump in jumps(zone):
                since, until = jump.at - 20 * HOUR, jump.at + 20 * HOUR
                found = shifts(layers, [], zone, since, until)
                assert covers(found, since, until), (name, jump)
                assert {shift.source for shift in found} == {"layer always", "layer nights"}

    def test_in_every_zone_a_weekly_rota_of_ten_years_keeps_its_hour_and_its_order(self) -> None:
        """The hour is one that clocks like to leave out, on the day on which they do it."""
        weekly = layer("weekly", rotation(ANA, BEN, CYD, first=date(2016, 1, 3), at=time(2, 30)))
        weeks = (date(2026, 1, 4) - date(2016, 1, 3)).days // 7
        for name in ZONES:
            zone = ZoneInfo(name)
            found = shifts([weekly], [], zone, *AHEAD)
            assert covers(found, *AHEAD), name
            for number, shift in enumerate(found[1:], weeks):
                wall = datetime(2016, 1, 3, 2, 30) + timedelta(weeks=number)
                assert shift.person == (ANA, BEN, CYD)[number % 3], (name, wall)
                assert obeys(shift.since, wall, zone), (name, wall)


class CountingZone(ZoneInfo):
    """Counts how often it is asked for its offset."""

    asked = 0

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        CountingZone.asked += 1
        return super().utcoffset(dt)


def test_how_long_ago_a_rotation_began_makes_no_difference_to_the_work() -> None:
    zone = CountingZone("Pacific/Auckland")
    now = at("2026-04-01")
    asked = []
    for first in (date(2026, 3, 30), date(1970, 1, 5)):
        CountingZone.asked = 0
        hourly = layer("hourly", rotation(ANA, BEN, unit="hours", first=first))
        shifts([hourly], [], zone, now, now + timedelta(days=10))
        asked.append(CountingZone.asked)
    assert 0 < asked[0] == asked[1] < 1000


# ------------------------------------------------------------------ whatever the schedule

unhurried = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
people = st.sampled_from([ANA, BEN, CYD, DEE])
clocks = st.builds(time, st.integers(0, 23), st.sampled_from([0, 0, 30, 45]))
windows = st.builds(
    Window,
    days=st.just(DAYS) | st.lists(st.sampled_from(DAYS), min_size=1, max_size=4).map(tuple),
    since=clocks,
    until=clocks,
)


class Case(NamedTuple):
    """A schedule and three moments, around a time at which its zone's clocks may be set."""

    layers: list[Layer]
    overrides: list[Override]
    zone: ZoneInfo
    since: datetime
    middle: datetime
    until: datetime

    def shifts(self, since: datetime, until: datetime) -> tuple[Shift, ...]:
        return shifts(self.layers, self.overrides, self.zone, since, until)


@st.composite
def definitions(draw: st.DrawFn, around: datetime) -> tuple[list[Layer], list[Override]]:
    def day(earliest: int, latest: int) -> st.SearchStrategy[date]:
        return st.integers(earliest, latest).map(lambda days: (around + days * 24 * HOUR).date())

    def moment() -> st.SearchStrategy[datetime]:
        return st.integers(-9 * 96, 9 * 96).map(lambda quarters: around + quarters * HOUR / 4)

    rotations = st.builds(
        Rotation,
        participants=st.lists(people, min_size=1, max_size=4).map(tuple),
        every=st.integers(1, 8),
        unit=st.sampled_from(["hours", "hours", "days", "weeks"]),
        first=day(-900, -8) | day(-20, -8) | day(-8, 8),
        at=clocks,
        windows=st.just(()) | st.lists(windows, min_size=1, max_size=3).map(tuple),
    )
    layers = []
    for number in range(draw(st.sampled_from([0, 1, 1, 2, 3]))):
        since = draw(st.none() | st.none() | day(-6, 6))
        until = draw(st.none() | st.none() | day(-5, 7))
        if since and until and since >= until:
            since, until = until, since + timedelta(days=1)
        layers.append(Layer(name=str(number), rotation=draw(rotations), since=since, until=until))
    overrides = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
        begin, end = draw(moment()), draw(st.none() | moment() | moment() | moment())
        if end and begin >= end:
            begin, end = end, begin + HOUR
        overrides.append(Override(person=draw(people), since=begin, until=end))
    return layers, overrides


@st.composite
def cases(draw: st.DrawFn) -> Case:
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    around = draw(st.sampled_from([jump.at for jump in jumps(zone)] or [DECADE[0]]))
    layers, overrides = draw(definitions(around))
    quarters = st.integers(-4 * 96, 4 * 96)
    since, middle, until = sorted(draw(st.lists(quarters, min_size=3, max_size=3, unique=True)))
    return Case(
        layers,
        overrides,
        zone,
        around + since * HOUR / 4,
        around + middle * HOUR / 4,
        around + until * HOUR / 4,
    )


def cut(found: Iterable[Shift], since: datetime, until: datetime) -> list[Shift]:
    """What lies between the two, cut off at both ends."""
    result = []
    for shift in found:
        begin, end = max(shift.since, since), min(shift.until or until, until)
        if begin < end:
            result.append(msgspec.structs.replace(shift, since=begin, until=end))
    return result


class Holder(NamedTuple):
    """Who is on call, by what, and in which turn of it."""

    person: int
    source: str
    which: int
    turn: int


def holder(case: Case, moment: datetime) -> Holder | None:
    """Who is on call at an instant, found out slowly: each rule is asked, from the top."""
    for number, override in reversed(list(enumerate(case.overrides))):
        if override.since <= moment and (override.until is None or moment < override.until):
            return Holder(override.person, override.source, number, 0)
    for number, each in reversed(list(enumerate(case.layers))):
        turn = turn_of(each, case.zone, moment)
        if turn:
            participants = each.rotation.participants
            person = participants[(turn - 1) % len(participants)]
            return Holder(person, f"layer {each.name}", number, turn)
    return None


def turn_of(each: Layer, zone: ZoneInfo, moment: datetime) -> int:
    """The how-manieth turn runs, counted from one; 0 if the layer has nobody then."""
    rotation = each.rotation

    def passed(day: date, clock: time) -> bool:
        return has_been(datetime.combine(day, clock), zone, moment)

    if each.since and not passed(each.since, rotation.at):
        return 0
    if each.until and passed(each.until, rotation.at):
        return 0
    today = local(moment, zone).date()
    days = [today + timedelta(days=days) for days in (-2, -1, 0, 1, 2)]
    if rotation.windows and not any(
        passed(day, window.since)
        and not passed(day + timedelta(days=window.until <= window.since), window.until)
        for day in days
        for window in rotation.windows
        if DAYS[day.weekday()] in window.days
    ):
        return 0
    first = datetime.combine(rotation.first, rotation.at)
    step = timedelta(**{rotation.unit: rotation.every})
    return bisect_left(
        range(24 * 1000),
        True,
        key=lambda number: not has_been(first + number * step, zone, moment),
    )


def has_been(wall: datetime, zone: ZoneInfo, moment: datetime) -> bool:
    """Whether the clocks have shown this time, or a later one, by that moment."""
    readings = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return local(moment, zone) >= wall or any(
        reading <= moment and local(reading, zone) == wall for reading in readings
    )


@unhurried
@given(cases(), st.data())
def test_at_any_instant_it_is_whom_the_rules_say(case: Case, data: st.DataObject) -> None:
    found = case.shifts(case.since, case.until)
    for shift in found:
        end = min(shift.until or case.until, case.until)
        assert case.since <= shift.since < end
        middle = shift.since + (end - shift.since) // 2
        first, *rest = [holder(case, moment) for moment in (shift.since, middle, end - SECOND)]
        assert first is not None
        assert (first.person, first.source) == (shift.person, shift.source)
        assert rest == [first, first], "a hand-over is missing from the record"
    for one, next_ in pairwise(found):
        assert one.until is not None
        assert one.until <= next_.since
        if one.until == next_.since:
            before, after = holder(case, one.until - SECOND), holder(case, one.until)
            assert before != after, "nothing ends there"
    for gap in gaps(found, case.since, case.until):
        for moment in (gap.since, gap.since + (gap.until - gap.since) // 2, gap.until - SECOND):
            assert holder(case, moment) is None
            assert on_call(found, moment) is None
    seconds = st.integers(0, int((case.until - case.since).total_seconds()) - 1)
    for second in data.draw(st.lists(seconds, max_size=5)):
        moment = case.since + second * SECOND
        shift_then, expected = on_call(found, moment), holder(case, moment)
        assert (shift_then and shift_then.person) == (expected and expected.person)


@unhurried
@given(cases())
def test_shifts_and_gaps_share_out_all_the_time(case: Case) -> None:
    found = case.shifts(case.since, case.until)
    missing = gaps(found, case.since, case.until)
    pieces = cut(found, case.since, case.until)
    edges = sorted([*((p.since, p.until) for p in pieces), *((g.since, g.until) for g in missing)])
    assert edges[0][0] == case.since
    assert edges[-1][1] == case.until
    assert all(one[1] == next_[0] for one, next_ in pairwise(edges))
    assert all(begin < (end or begin) for begin, end in edges)
    assert all(one.until != next_.since for one, next_ in pairwise(missing))


@unhurried
@given(cases())
def test_how_far_one_looks_does_not_change_what_one_sees(case: Case) -> None:
    since, middle, until = case.since, case.middle, case.until
    whole = case.shifts(since, until)
    assert cut(whole, since, middle) == cut(case.shifts(since, middle), since, middle)
    assert cut(whole, middle, until) == cut(case.shifts(middle, until), middle, until)


@unhurried
@given(cases())
def test_overrides_win_the_later_ones_first(case: Case) -> None:
    found = case.shifts(case.since, case.until)
    for moment in (case.since, case.middle, *(shift.since for shift in found)):
        wins = [o for o in case.overrides if o.since <= moment < (o.until or case.until)]
        shift = on_call(found, moment)
        if wins:
            assert shift is not None
            assert (shift.person, shift.source) == (wins[-1].person, "override")
        else:
            assert shift is None or shift.source.startswith("layer ")


@unhurried
@given(cases())
def test_only_the_end_of_an_override_without_an_end_is_open(case: Case) -> None:
    found = case.shifts(case.since, case.until)
    assert all(shift.until is not None for shift in found[:-1])
    if found:
        far = datetime(2100, 1, 1, tzinfo=UTC)
        openly = msgspec.structs.replace(found[-1], until=None)
        beyond = shifts([], case.overrides, case.zone, case.since, far)
        assert (found[-1].until is None) == (beyond[-1:] == (openly,))


@unhurried
@given(cases())
def test_hand_overs_are_in_order_and_none_is_at_the_instant_of_another(case: Case) -> None:
    for each in case.layers:
        found = handovers(each.rotation, case.zone, case.since, case.until)
        assert all(one.at < next_.at for one, next_ in pairwise(found))
        bare = Layer(name="bare", rotation=msgspec.structs.replace(each.rotation, windows=()))
        seen = shifts([bare], [], case.zone, case.since, case.until)
        begun = [Handover(shift.since, shift.person) for shift in seen]
        assert tuple(begun[len(begun) - len(found) :]) == found


@unhurried
@given(cases(), st.data())
def test_rewriting_changes_the_future_and_keeps_the_record(case: Case, data: st.DataObject) -> None:
    now = case.middle
    stored = case.shifts(case.since, case.until)
    layers, overrides = data.draw(definitions(now))
    horizon = now + data.draw(st.integers(1, 200)) * HOUR
    wanted = shifts(layers, overrides, case.zone, now, horizon)

    change = rewrite(stored, wanted, now)
    after = applied(change, stored)
    far = datetime(2100, 1, 1, tzinfo=UTC)
    assert all(one.until and one.until <= next_.since for one, next_ in pairwise(after))
    assert cut(after, case.since, now) == cut(stored, case.since, now)
    assert cut(after, now, far) == cut(wanted, now, far)
    assert {shift.since for shift in stored if shift.since < now} == {
        shift.since for shift in after if shift.since < now
    }
    assert rewrite(after, wanted, now) == Rewrite()


def applied(change: Rewrite, stored: Sequence[Shift]) -> list[Shift]:
    """What is stored afterwards, with the database's rule that a beginning names one shift."""
    kept = {shift.since: shift for shift in stored}
    for shift in change.delete:
        assert kept.pop(shift.since) == shift
    if change.current is not None:
        assert change.current.since in kept
        kept[change.current.since] = change.current
    for shift in change.insert:
        assert shift.since not in kept
        kept[shift.since] = shift
    return sorted(kept.values(), key=lambda shift: shift.since)


@unhurried
@given(cases())
def test_a_later_look_at_the_same_schedule_rewrites_nothing(case: Case) -> None:
    stored = case.shifts(case.since, case.until)
    wanted = case.shifts(case.middle, case.until)
    assert rewrite(stored, wanted, case.middle) == Rewrite()


@unhurried
@given(cases(), people)
def test_whoever_takes_it_has_it_and_what_comes_after_is_as_before(case: Case, person: int) -> None:
    before = case.shifts(case.middle, case.until)
    taken = take(before, person, case.middle)
    overrides = [*case.overrides, taken]
    after = shifts(case.layers, overrides, case.zone, case.middle, case.until)
    assert (after[0].person, after[0].source) == (person, "take")
    if taken.until is None:
        assert len(after) == 1
    else:
        assert cut(after, taken.until, case.until) == cut(before, taken.until, case.until)
