"""What of the days ahead is not covered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.cover import (
    Contact,
    Facts,
    Person,
    Schedule,
    Step,
    is_morning,
    lacks,
    next_morning,
)
from hotpotato.rules.schedule import Gap

NOW = datetime(2026, 11, 23, 20, tzinfo=UTC)  # Tuesday at nine in Auckland
UNTIL = NOW + timedelta(days=14)
AUCKLAND = "Pacific/Auckland"
WORKS = Contact("+64211234567", True, False)
UNVERIFIED = Contact("+64217654321", False, False)
STOPPED = Contact("+64219876543", True, True)


def anna(*contacts: Contact, on_call_from: datetime | None = NOW - timedelta(hours=3)) -> Person:
    return Person(name="Anna", contacts=contacts, on_call_from=on_call_from)


def primary(*gaps: Gap) -> Schedule:
    return Schedule(name="primary", timezone=AUCKLAND, gaps=gaps, matters=True)


def secondary(*gaps: Gap, matters: bool) -> Schedule:
    return Schedule(name="secondary", timezone=AUCKLAND, gaps=gaps, matters=matters)


def said(
    *people: Person,
    schedules: tuple[Schedule, ...] = (),
    servers: int = 1,
    unheard: tuple[str, ...] = (),
    steps: tuple[Step, ...] = (),
) -> list[str]:
    facts = Facts(
        now=NOW,
        until=UNTIL,
        timezone=AUCKLAND,
        schedules=schedules,
        people=people,
        servers=servers,
        unheard=unheard,
        steps=steps,
    )
    return [each.sentence for each in lacks(facts)]


def evening(day: int) -> Gap:
    """From eight hours after nine until midnight, so many days ahead."""
    since = NOW + timedelta(days=day, hours=8)
    return Gap(since, since + timedelta(hours=7))


def test_where_all_is_covered_nothing_is_said() -> None:
    assert said(anna(WORKS), schedules=(primary(),)) == []


def test_nothing_is_said_of_a_tenant_with_nobody_and_nothing_in_it() -> None:
    assert said(schedules=(primary(Gap(NOW, UNTIL)),), servers=0) == []


def test_a_tenant_with_a_server_and_nobody_hears_that_nobody_can_be_told() -> None:
    alone = "nobody can be told, no person has a contact"
    assert said(schedules=(primary(Gap(NOW, UNTIL)),)) == [alone]
    assert said(anna(on_call_from=None), schedules=(primary(Gap(NOW, UNTIL)),)) == [alone]


def test_hours_with_nobody_are_told_by_the_clocks_of_the_schedule() -> None:
    assert said(anna(WORKS), schedules=(primary(evening(0)),)) == [
        "nobody is on call from Tue 2026-11-24 17:00 until Wed 2026-11-25 00:00 NZDT"
    ]
    many = tuple(evening(day) for day in range(14))
    assert said(anna(WORKS), schedules=(primary(*many),)) == [
        "nobody is on call from Tue 2026-11-24 17:00 until Wed 2026-11-25 00:00 NZDT,"
        " and 13 more times within 14 days"
    ]
    assert said(anna(WORKS), schedules=(primary(evening(1), evening(2)),))[0].endswith(
        "and 1 more time within 14 days"
    )


def test_nobody_at_all_is_told_without_dates() -> None:
    whole = Gap(NOW, UNTIL)
    assert said(anna(WORKS, on_call_from=None), schedules=(primary(whole),)) == [
        "nobody is on call, everybody would be paged"
    ]


def test_another_schedule_counts_once_something_is_planned_in_it() -> None:
    whole = Gap(NOW, UNTIL)
    assert said(anna(WORKS), schedules=(primary(), secondary(whole, matters=False))) == []
    assert said(anna(WORKS), schedules=(primary(), secondary(whole, matters=True))) == [
        "nobody is on call in secondary"
    ]


@pytest.mark.parametrize(
    ("contacts", "why"),
    [
        ((UNVERIFIED,), "has no verified contact"),
        ((UNVERIFIED, STOPPED), "has no verified contact"),
        ((STOPPED,), "has no contact that did not say stop"),
        ((), "has no contact"),
    ],
)
def test_who_is_on_call_and_out_of_reach_is_named(contacts: tuple[Contact, ...], why: str) -> None:
    bob = Person(name="Bob", contacts=(WORKS,), on_call_from=None)
    tomorrow = NOW + timedelta(days=1)
    assert said(bob, anna(*contacts))[0] == f"Anna is on call, and {why}"
    assert said(bob, anna(*contacts, on_call_from=tomorrow))[0] == (
        f"Anna is on call from Wed 2026-11-25 09:00, and {why}"
    )


def test_one_working_contact_is_enough_and_who_is_not_on_call_needs_none() -> None:
    assert said(anna(UNVERIFIED, WORKS)) == []
    bob = Person(name="Bob", contacts=(UNVERIFIED,), on_call_from=None)
    assert said(anna(WORKS), bob) == []


def test_phones_that_said_stop_are_told_whoever_is_on_call() -> None:
    assert said(anna(WORKS, STOPPED, on_call_from=None)) == [
        "switched off by an SMS that said stop: Anna (+64219876543)"
    ]


def test_servers_never_heard_of_are_told_in_one_sentence() -> None:
    assert said(anna(WORKS), unheard=("icinga1",)) == [
        "icinga1 has never sent a heartbeat, so nobody would miss it"
    ]
    assert said(anna(WORKS), unheard=("icinga1", "icinga2")) == [
        "icinga1 and icinga2 have never sent a heartbeat, so nobody would miss them"
    ]
    many = tuple(f"s{number}" for number in range(14))
    assert " s9 and 4 more have never sent" in said(anna(WORKS), unheard=many)[0]


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(
        [
            AUCKLAND,
            "UTC",
            "America/Sao_Paulo",
            "Africa/Casablanca",
            "Asia/Kathmandu",
            "Pacific/Apia",
        ]
    ),
)
def test_the_next_morning_is_within_a_day_or_so_and_is_one(moment: datetime, zone: str) -> None:
    now = moment.replace(tzinfo=UTC)
    morning = next_morning(now, zone)
    assert now < morning <= now + timedelta(hours=25)
    assert is_morning(morning, zone)
    assert is_morning(now, zone) == (next_morning(now - timedelta(microseconds=1), zone) == now)


def test_a_time_that_is_no_morning_is_known_as_such() -> None:
    assert is_morning(NOW, AUCKLAND)
    assert not is_morning(NOW, "UTC")
    assert not is_morning(NOW + timedelta(seconds=1), AUCKLAND)
    assert next_morning(NOW, AUCKLAND) == NOW + timedelta(days=1)


def test_a_step_for_a_schedule_is_told_only_if_nobody_has_it_and_nothing_is_planned() -> None:
    steps = (Step(after=0, schedule="primary"), Step(after=600, schedule="secondary"))
    always, once = Gap(NOW, UNTIL), Gap(NOW + timedelta(days=1), UNTIL)
    for gap, matters, expected in (
        (always, False, ["the step after 10 min finds nobody, nobody is on call in secondary"]),
        (once, False, []),
        (always, True, ["nobody is on call in secondary"]),
    ):
        schedules = (primary(), secondary(gap, matters=matters))
        assert said(anna(WORKS), schedules=schedules, steps=steps) == expected


def test_a_step_for_a_person_is_told_if_no_phone_of_theirs_works() -> None:
    steps = (Step(after=60, person="Bob"),)
    bob = Person(name="Bob", contacts=(), on_call_from=None)
    for people, why in (
        ([anna(WORKS), bob], ["the step after 1 min finds nobody, Bob has no contact"]),
        ([anna(WORKS)], ["the step after 1 min finds nobody, Bob is disabled"]),
        ([anna(WORKS), Person(name="Bob", contacts=(WORKS,), on_call_from=None)], []),
    ):
        assert said(*people, steps=steps) == why
