"""Digests: what is told together, and what no longer has to be told."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules import text
from hotpotato.rules.digests import PAGES, Held, Place, digest, sorted_out
from hotpotato.rules.severity import severity
from hotpotato.vocabulary import AlertStatus, MessageKind

PAGE = Held(
    id=1,
    kind=MessageKind.PAGE,
    alert_id=10,
    alert_status=AlertStatus.TRIGGERED,
    state="CRITICAL",
    hostname="db1",
    service_name="Postgres",
)


def but(**changes: Any) -> Held:
    """The page, with changes."""
    return msgspec.structs.replace(PAGE, **changes)


def told(*held: Held) -> list[tuple[Place, int]]:
    """What is told, in order."""
    return [(place, one.id) for place, one in sorted_out(held).told]


def test_the_worst_is_first_then_the_oldest() -> None:
    found = told(
        but(id=1, alert_id=1, state="WARNING"),
        but(id=3, alert_id=3),
        but(id=2, alert_id=2),
        but(id=4, alert_id=4, state="UNKNOWN"),
    )
    assert [number for _, number in found] == [2, 3, 4, 1]


def test_a_newer_page_of_the_same_alert_stands_for_the_older() -> None:
    found = sorted_out([but(id=1), but(id=2)])
    assert [one.id for _, one in found.told] == [2]
    assert [(one.id, why) for one, why in found.dropped] == [(1, "a newer page tells it")]


def test_what_somebody_has_acknowledged_is_not_told() -> None:
    ((_, why),) = sorted_out([but(alert_status=AlertStatus.ACKNOWLEDGED)]).dropped
    assert why == "no longer wanted: somebody has acknowledged it"


def test_what_came_and_went_is_told_as_over_if_nobody_heard_of_it() -> None:
    """Nothing happens unseen."""
    over = but(alert_status=AlertStatus.RESOLVED)
    assert told(over) == [(Place.OVER, 1)]
    assert told(but(alert_status=AlertStatus.RESOLVED, told=True)) == []


def test_the_end_is_told_to_who_heard_of_the_beginning() -> None:
    over = but(kind=MessageKind.RECOVERY, alert_status=AlertStatus.RESOLVED, state="OK", told=True)
    assert told(msgspec.structs.replace(over, person_told=True)) == [(Place.OVER, 1)]
    assert told(over) == []


def test_what_is_no_alert_is_told_in_between() -> None:
    custom = but(id=5, kind=MessageKind.ANNOUNCEMENT, alert_id=None, alert_status=None)
    over = but(id=6, alert_id=6, alert_status=AlertStatus.RESOLVED)
    assert told(over, custom, PAGE) == [(Place.OPEN, 1), (Place.OTHER, 5), (Place.OVER, 6)]


def test_a_digest_counts_and_names_and_has_one_code() -> None:
    found = sorted_out(
        [
            PAGE,
            but(id=2, alert_id=2, state="WARNING", hostname="web1", service_name="HTTP"),
            but(id=3, alert_id=3, alert_status=AlertStatus.RESOLVED, hostname="mail"),
        ]
    )
    assert digest(found.told, "KWT", 2) == (
        "2 open, 1 over: CRITICAL db1/Postgres, WARNING web1/HTTP, was CRITICAL mail/Postgres"
        "\nReply ack KWT for all"
    )


def test_a_reason_that_all_share_is_said_once() -> None:
    same = [but(id=n, alert_id=n, because="the silence is over") for n in (1, 2)]
    assert digest(sorted_out(same).told, "KWT", 2).startswith("2 open (the silence is over): ")


def test_without_anything_open_there_is_no_code_and_what_flapped_is_named_once() -> None:
    over = [but(id=n, alert_id=n, alert_status=AlertStatus.RESOLVED) for n in (1, 2)]
    assert digest(sorted_out(over).told, "KWT", 2) == "2 over: was CRITICAL db1/Postgres"


def test_three_hundred_alerts_are_counted() -> None:
    many = [but(id=n, alert_id=n, hostname=f"server{n:03}") for n in range(1, 301)]
    words = digest(sorted_out(many).told, "KWT", 2)
    assert text.segments(words) <= 2
    assert words.startswith("300 open: CRITICAL ")
    named = words.count("CRITICAL")
    assert f"and {300 - named} more" in words
    assert words.endswith("\nReply ack KWT for all")


some_held = st.lists(
    st.builds(
        Held,
        id=st.integers(1, 10**6),
        kind=st.sampled_from([*PAGES, MessageKind.RECOVERY, MessageKind.NOTICE]),
        alert_id=st.integers(1, 30),
        alert_status=st.just(AlertStatus.TRIGGERED),
        state=st.sampled_from(["OK", "WARNING", "CRITICAL", "UNKNOWN", "ÄRGER", "状態"]),
        hostname=st.text(min_size=1, max_size=60),
        service_name=st.none() | st.text(min_size=1, max_size=60),
        because=st.none() | st.text(max_size=60),
        told=st.booleans(),
        person_told=st.booleans(),
    ),
    max_size=60,
    unique_by=lambda one: one.id,
)


def with_statuses(held: list[Held], resolved: frozenset[int]) -> list[Held]:
    """An alert has one status, and so have all its messages."""
    return [
        msgspec.structs.replace(
            one,
            alert_status=AlertStatus.RESOLVED
            if one.alert_id in resolved
            else AlertStatus.TRIGGERED,
            told=one.alert_id is not None and one.alert_id % 2 == 0,
        )
        for one in held
    ]


@given(some_held, st.frozensets(st.integers(1, 30)))
def test_every_alert_that_is_open_or_that_nobody_heard_of_is_told_exactly_once(
    held: list[Held], resolved: frozenset[int]
) -> None:
    held = with_statuses(held, resolved)
    pages = [one.alert_id for _, one in sorted_out(held).told if one.kind in PAGES]
    assert len(pages) == len(set(pages))
    wanted = {
        one.alert_id
        for one in held
        if one.kind in PAGES and (one.alert_status is AlertStatus.TRIGGERED or not one.told)
    }
    assert set(pages) == wanted


@given(some_held, st.frozensets(st.integers(1, 30)))
def test_nothing_is_lost_between_told_and_dropped(
    held: list[Held], resolved: frozenset[int]
) -> None:
    found = sorted_out(with_statuses(held, resolved))
    both = [one.id for _, one in found.told] + [one.id for one, _ in found.dropped]
    assert sorted(both) == sorted(one.id for one in held)
    assert all(why for _, why in found.dropped)


@given(some_held, st.frozensets(st.integers(1, 30)))
def test_what_is_open_comes_first_and_the_worst_of_it_before_all(
    held: list[Held], resolved: frozenset[int]
) -> None:
    found = sorted_out(with_statuses(held, resolved)).told
    assert [place for place, _ in found] == sorted(place for place, _ in found)
    open_ = [severity(one.state) for place, one in found if place is Place.OPEN]
    assert open_ == sorted(open_, reverse=True)


@given(some_held, st.integers(1, 6))
def test_a_digest_is_never_longer_than_it_may_and_names_the_first(
    held: list[Held], limit: int
) -> None:
    found = sorted_out(held).told
    if found:
        words = digest(found, "KWTRZ", limit)
        assert text.segments(words) <= limit
        state = found[0][1].state
        # Shortened in its middle where names are in an alphabet that leaves half the room; and
        # GSM-7 has "?" for a character or two that would halve the room of all others.
        forms = [text.brief(was + state, width) for was in ("", "was ") for width in range(4, 16)]
        assert any(form in words for form in forms) or (
            not text.is_gsm7(state) and "?" * len(state) in words
        )
