"""Whom to tell, and when to look again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules import escalation
from hotpotato.rules.escalation import Facts, announce, decide
from hotpotato.vocabulary import AlertStatus

ANNA, BOB, CLEO = 1, 2, 3
TEAM = {ANNA: "Anna", BOB: "Bob", CLEO: "Cleo"}


def triggered(**changes: Any) -> Facts:
    """A problem that Anna, who is on call, was paged of three minutes ago."""
    facts: dict[str, Any] = {
        "status": AlertStatus.TRIGGERED,
        "people": TEAM,
        "on_call": ANNA,
        "repeat_in": 420.0,
        "paged_in_round": frozenset({ANNA}),
        "told": frozenset({ANNA}),
    }
    return Facts(**{**facts, **changes})


def test_a_new_problem_pages_the_person_on_call() -> None:
    decision = decide(triggered(news=True, repeat_in=None, paged_in_round=frozenset()))
    assert decision.page == (ANNA,)
    assert decision.sentence == "Anna is on call and is paged"
    assert decision.look_in == escalation.REPEAT_AFTER


def test_nobody_on_call_pages_everybody_and_the_history_says_why() -> None:
    decision = decide(triggered(news=True, on_call=None))
    assert decision.page == (ANNA, BOB, CLEO)
    assert decision.because == "nobody is on call"
    assert "nobody is on call: Anna, Bob, Cleo paged" in (decision.sentence or "")


def test_a_page_that_will_not_arrive_pages_all_others_at_once() -> None:
    decision = decide(triggered(failed=True, failed_names=("Anna",)))
    assert decision.page == (BOB, CLEO)
    assert decision.because == "Anna not reached"
    assert decision.look_in == 420.0


def test_when_nobody_can_be_reached_nobody_is_paged_twice_in_a_round() -> None:
    """Three wrong numbers would otherwise page each other for ever."""
    decision = decide(
        triggered(
            failed=True, failed_names=("Bob", "Cleo"), paged_in_round=frozenset({ANNA, BOB, CLEO})
        )
    )
    assert decision.page == ()
    assert "everybody has been paged already" in (decision.sentence or "")
    assert decision.look_in == 420.0


def test_after_ten_minutes_without_an_answer_the_person_on_call_is_paged_again() -> None:
    decision = decide(triggered(repeat_in=0.0))
    assert decision.page == (ANNA,)
    assert decision.new_round
    assert "again, since nobody has acknowledged" in (decision.sentence or "")


def test_no_second_page_is_queued_behind_one_that_is_still_being_tried() -> None:
    decision = decide(triggered(repeat_in=-5.0, waiting=frozenset({ANNA})))
    assert decision.page == ()
    assert decision.look_in == escalation.REPEAT_AFTER


def test_acknowledged_means_silence() -> None:
    assert decide(triggered(status=AlertStatus.ACKNOWLEDGED, failed=True, repeat_in=0.0)) == (
        escalation.Decision()
    )


def test_the_end_is_told_to_those_who_were_told_of_the_problem() -> None:
    decision = decide(triggered(status=AlertStatus.RESOLVED, told=frozenset({ANNA, CLEO})))
    assert decision.tell_recovery == (ANNA, CLEO)
    assert decision.look_in is None


def test_the_end_waits_for_a_page_that_is_just_being_sent() -> None:
    decision = decide(triggered(status=AlertStatus.RESOLVED, sending=True))
    assert decision.tell_recovery == ()
    assert decision.look_in == escalation.UNTIL_SETTLED


def test_an_announcement_is_told_once_and_to_the_others_if_that_fails() -> None:
    first = announce(triggered(news=True, paged_in_round=frozenset()))
    assert first.page == (ANNA,)
    assert first.look_in is None
    then = announce(triggered(failed=True, failed_names=("Anna",)))
    assert then.page == (BOB, CLEO)
    assert announce(triggered()).page == ()


people = st.dictionaries(st.integers(1, 6), st.sampled_from(["Anna", "Bob", "Cleo"]), max_size=4)


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Whatever the database could say, sensible or not."""
    team = draw(people)
    some = st.frozensets(st.integers(1, 6))
    return Facts(
        status=draw(st.sampled_from(list(AlertStatus))),
        people=team,
        on_call=draw(st.sampled_from([None, *team])),
        news=draw(st.booleans()),
        repeat_in=draw(st.none() | st.floats(-1e5, 600)),
        paged_in_round=draw(some),
        waiting=draw(some),
        told=draw(some),
        sending=draw(st.booleans()),
        failed=draw(st.booleans()),
        failed_names=tuple(draw(st.lists(st.sampled_from(["Anna", "Bob"]), max_size=2))),
    )


@given(any_facts())
def test_while_nobody_has_taken_it_there_is_always_a_next_look(facts: Facts) -> None:
    decision = decide(facts)
    if facts.status is AlertStatus.TRIGGERED:
        assert decision.look_in is not None
        assert 0 < decision.look_in <= escalation.REPEAT_AFTER
    else:
        assert not decision.page


@given(any_facts())
def test_only_people_who_can_be_reached_are_told_and_each_once(facts: Facts) -> None:
    for decision in (decide(facts), announce(facts)):
        told = [*decision.page, *decision.tell_recovery]
        assert len(told) == len(set(told))
        assert set(told) <= set(facts.people)


@given(any_facts())
def test_a_failure_alone_pages_nobody_twice_in_a_round(facts: Facts) -> None:
    decision = decide(facts)
    if not decision.new_round:
        assert not set(decision.page) & facts.paged_in_round


@given(any_facts())
def test_news_reaches_somebody_wherever_there_is_somebody(facts: Facts) -> None:
    if facts.status is AlertStatus.TRIGGERED and facts.news and facts.people:
        assert decide(facts).page
