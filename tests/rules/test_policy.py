"""Policies: the line of time, and what can wait."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.policy import (
    AGAIN_AT_LEAST,
    PRIMARY,
    SHIPPED,
    Calm,
    Pace,
    Policy,
    Step,
    Whom,
    laid_over,
    next_step,
    next_turn,
    paced,
    turns,
    waits,
)

AUCKLAND, BERLIN = ZoneInfo("Pacific/Auckland"), ZoneInfo("Europe/Berlin")


def everyone(after: float, again: float | None = None) -> Step:
    """A step."""
    return Step(after=after, whom=Whom.EVERYONE, again=again)


class TestTurns:
    def test_the_shipped_policy(self) -> None:
        """At once, every 5 minutes; "secondary" after 10; everyone after 20, then every 10."""
        found = [
            (turn.at / 60, [step.schedule or str(step.whom) for step in turn.steps])
            for turn in islice(turns(SHIPPED), 7)
        ]
        assert found == [
            (0, ["primary"]),
            (5, ["primary"]),
            (10, ["primary", "secondary"]),
            (15, ["primary"]),
            (20, ["everyone"]),
            (30, ["everyone"]),
            (40, ["everyone"]),
        ]

    def test_a_last_step_that_does_not_say_how_often_comes_every_ten_minutes(self) -> None:
        policy = Policy(steps=(everyone(30),))
        assert [turn.at for turn in islice(turns(policy), 3)] == [30, 630, 1230]
        assert AGAIN_AT_LEAST == 600.0

    def test_the_next_step_is_the_next_that_begins(self) -> None:
        assert next_step(SHIPPED, 0.0) is SHIPPED.steps[1]
        assert next_step(SHIPPED, 600.0) is SHIPPED.steps[2]
        assert next_step(SHIPPED, 1200.0) is None

    def test_steps_that_begin_together_have_one_turn(self) -> None:
        policy = Policy(steps=(everyone(0), everyone(0), everyone(60, 60)))
        first, second = islice(turns(policy), 2)
        assert (first.at, len(first.steps)) == (0, 2)
        assert second.at == 60


steps = st.builds(everyone, after=st.integers(0, 7200), again=st.none() | st.integers(30, 3600))
some_policies = st.lists(steps, min_size=1, max_size=5).map(
    lambda some: Policy(steps=tuple(sorted(some, key=lambda step: step.after)))
)


@given(some_policies)
def test_turns_have_no_end_and_each_is_later_than_the_one_before(policy: Policy) -> None:
    found = list(islice(turns(policy), 300))
    assert len(found) == 300
    assert all(before.at < after.at for before, after in pairwise(found))
    assert all(turn.steps for turn in found)


@given(some_policies, st.none() | st.floats(0, 1e7))
def test_the_turn_after_a_place_is_later_and_not_far(policy: Policy, place: float | None) -> None:
    turn = next_turn(policy, place)
    if place is not None:
        assert turn.at > place
    else:
        assert turn.at == policy.steps[0].after
    longest = max(policy.steps[-1].again or AGAIN_AT_LEAST, policy.steps[-1].after)
    assert turn.at - (place or 0.0) <= longest


@given(some_policies, st.integers(0, 300))
def test_from_any_place_the_turns_are_the_same_ones(policy: Policy, number: int) -> None:
    found = list(islice(turns(policy), number + 2))
    assert next_turn(policy, found[number].at) == found[number + 1]


@given(some_policies)
def test_every_step_has_its_turn_unless_the_last_begins_with_it(policy: Policy) -> None:
    last = policy.steps[-1]
    until = [turn for turn in islice(turns(policy), 1500) if turn.at <= last.after]
    for step in policy.steps:
        if step.after < last.after:
            assert any(turn.at == step.after and step in turn.steps for turn in until)
    assert any(turn.at == last.after and last in turn.steps for turn in until)


class TestLaidOver:
    def test_what_is_not_said_is_as_shipped(self) -> None:
        assert laid_over({}) == SHIPPED
        assert laid_over({"acknowledged_for": None, "steps": (), "calm": ()}) == SHIPPED

    def test_what_is_said_stands_in_its_place(self) -> None:
        found = laid_over(
            {
                "acknowledged_for": 0,
                "pace_burst": 5,
                "digest_at": "07:30:00",
                "steps": [{"after": 0, "whom": "person", "person": 7}],
                "calm": [{"states": ["WARNING"], "from": "22:00", "until": "07:00"}],
            }
        )
        assert found.acknowledged_for == 0
        assert found.pace == Pace(burst=5)
        assert found.digest_at == time(7, 30)
        assert found.steps == (Step(after=0, whom=Whom.PERSON, person=7),)
        assert found.calm == (Calm(states=("WARNING",), since=time(22), until=time(7)),)
        assert found.undelivered_after == SHIPPED.undelivered_after

    def test_a_contacts_own_pace_stands_over_its_tenants(self) -> None:
        given = {"pace_burst": None, "pace_every": 10.0, "pace_hourly": None}
        assert paced(Pace(burst=7), given) == Pace(burst=7, every=10.0)


NIGHTS = msgspec.structs.replace(
    SHIPPED, calm=(Calm(states=("WARNING",), since=time(22), until=time(7)),)
)


def auckland(hour: int, minute: int = 0, day: int = 24) -> datetime:
    """A time on a day of November 2026; the 24th is a Tuesday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=AUCKLAND)


class TestWhatCanWait:
    @pytest.mark.parametrize(
        ("state", "now", "seconds"),
        [
            ("WARNING", auckland(3), 5 * 3600),
            ("warning", auckland(22), 10 * 3600),
            ("WARNING", auckland(6, 59), 3660),
            ("WARNING", auckland(7), None),
            ("WARNING", auckland(12), None),
            ("CRITICAL", auckland(3), None),
        ],
    )
    def test_warnings_at_night_are_told_at_eight(
        self, state: str, now: datetime, seconds: float | None
    ) -> None:
        assert waits(NIGHTS, state, now, AUCKLAND) == seconds

    def test_nothing_waits_by_the_shipped_policy(self) -> None:
        assert waits(SHIPPED, "WARNING", auckland(3), AUCKLAND) is None

    def test_over_midnight_the_day_is_the_one_on_which_it_begins(self) -> None:
        saturday_night = Calm(days=("sat",), since=time(22), until=time(7))
        policy = msgspec.structs.replace(SHIPPED, calm=(saturday_night,))
        assert waits(policy, "WARNING", auckland(23, day=28), AUCKLAND) is not None
        assert waits(policy, "WARNING", auckland(3, day=29), AUCKLAND) is not None
        assert waits(policy, "WARNING", auckland(3, day=28), AUCKLAND) is None
        assert waits(policy, "WARNING", auckland(23, day=29), AUCKLAND) is None

    def test_no_states_days_or_times_mean_any(self) -> None:
        policy = msgspec.structs.replace(SHIPPED, calm=(Calm(),))
        assert waits(policy, "CRITICAL", auckland(8), AUCKLAND) == 86_400

    @pytest.mark.parametrize(
        ("day", "hours"), [(datetime(2026, 3, 29), 22.0), (datetime(2026, 10, 25), 24.0)]
    )
    def test_the_night_in_which_the_clocks_change_is_as_long_as_it_is(
        self, day: datetime, hours: float
    ) -> None:
        """From nine in the evening until eight: an hour less in March, one more in October."""
        evening = (day - timedelta(days=1)).replace(hour=9, tzinfo=BERLIN)
        policy = msgspec.structs.replace(SHIPPED, calm=(Calm(),))
        assert waits(policy, "WARNING", evening, BERLIN) == hours * 3600

    def test_a_digests_time_that_does_not_exist_is_told_all_the_same(self) -> None:
        policy = msgspec.structs.replace(SHIPPED, calm=(Calm(),), digest_at=time(2, 30))
        now = datetime(2026, 3, 29, 1, 30, tzinfo=BERLIN)
        assert waits(policy, "WARNING", now, BERLIN) == 3600


zones = st.sampled_from(
    ["Pacific/Auckland", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"]
).map(ZoneInfo)


@given(
    st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=UTC)
    ),
    zones,
    st.times(),
)
def test_what_can_wait_is_told_within_a_day_at_its_hour_on_the_wall(
    now: datetime, zone: ZoneInfo, at: time
) -> None:
    policy = msgspec.structs.replace(SHIPPED, calm=(Calm(),), digest_at=at)
    seconds = waits(policy, "WARNING", now, zone)
    assert seconds is not None
    assert 0 < seconds <= 26 * 3600
    moment = (now + timedelta(seconds=seconds)).astimezone(zone)
    on_the_wall = datetime.combine(moment.date(), at)
    off = abs(moment.replace(tzinfo=None) - on_the_wall)
    assert off <= timedelta(hours=1) or moment.date() == datetime(2011, 12, 31).date()


@given(
    st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=UTC)
    ),
    zones,
    st.sampled_from(["WARNING", "CRITICAL"]),
)
def test_only_what_is_calm_waits(now: datetime, zone: ZoneInfo, state: str) -> None:
    hour = now.astimezone(zone).hour
    calm = state == "WARNING" and (hour >= 22 or hour < 7)
    assert (waits(NIGHTS, state, now, zone) is not None) is calm


def test_the_primary_schedule_is_the_one_that_every_tenant_has() -> None:
    assert SHIPPED.steps[0].schedule == PRIMARY
