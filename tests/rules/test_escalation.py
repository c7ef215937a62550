"""Whom to tell, and when to look again: stories, and what holds in all of them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hotpotato.rules.escalation import (
    REPEAT_AFTER,
    UNTIL_SETTLED,
    Decision,
    Facts,
    announce,
    decide,
)
from hotpotato.vocabulary import AlertStatus

ANNA, BOB, CLEO = 1, 2, 3
PEOPLE = {ANNA: "Anna", BOB: "Bob", CLEO: "Cleo"}

NEW = Facts(status=AlertStatus.TRIGGERED, people=PEOPLE, on_call=ANNA, news=True)
PAGED = msgspec.structs.replace(
    NEW, news=False, repeat_in=400.0, paged_in_round=frozenset({ANNA}), told=frozenset({ANNA})
)


def but(facts: Facts, **changes: object) -> Facts:
    """The same facts, with changes."""
    return msgspec.structs.replace(facts, **changes)


class TestProblems:
    def test_the_person_on_call_is_paged_and_looked_after_in_ten_minutes(self) -> None:
        decision = decide(NEW)
        assert decision.page == (ANNA,)
        assert decision.because is None
        assert decision.new_round
        assert decision.look_in == REPEAT_AFTER
        assert decision.sentence == "Anna is on call and is paged"

    def test_nobody_on_call_means_everybody(self) -> None:
        decision = decide(but(NEW, on_call=None))
        assert decision.page == (ANNA, BOB, CLEO)
        assert decision.because == "nobody is on call"
        assert decision.sentence == "nobody is on call: Anna, Bob, Cleo paged"

    def test_nobody_at_all_is_said_and_tried_again(self) -> None:
        """Somebody may get a phone meanwhile."""
        decision = decide(but(NEW, on_call=None, people={}))
        assert decision.page == ()
        assert decision.look_in == REPEAT_AFTER
        assert decision.sentence == "nobody can be told: nobody of the tenant has a contact"

    def test_news_pages_also_who_still_waits_for_the_last(self) -> None:
        """It says something else: WARNING has become CRITICAL."""
        facts = but(PAGED, news=True, waiting=frozenset({ANNA}))
        assert decide(facts).page == (ANNA,)

    def test_before_the_ten_minutes_are_over_nothing_happens(self) -> None:
        assert decide(PAGED) == Decision(look_in=400.0)

    @pytest.mark.parametrize("repeat_in", [0.0, -3.0, None])
    def test_then_it_is_the_person_on_calls_turn_again(self, repeat_in: float | None) -> None:
        decision = decide(but(PAGED, repeat_in=repeat_in, on_call=BOB))
        assert decision.page == (BOB,)
        assert decision.new_round
        assert (
            decision.sentence == "Bob is on call and is paged again, since nobody has acknowledged"
        )

    def test_whose_last_page_is_still_being_tried_gets_no_other(self) -> None:
        decision = decide(but(PAGED, repeat_in=0.0, waiting=frozenset({ANNA})))
        assert decision.page == ()
        assert decision.new_round
        assert decision.sentence == "the last page is still being tried, so there is no other"

    def test_acknowledged_is_left_alone(self) -> None:
        facts = but(NEW, status=AlertStatus.ACKNOWLEDGED, failed=True, repeat_in=-5.0)
        assert decide(facts) == Decision()


class TestFailures:
    def test_all_others_are_paged_in_the_same_round(self) -> None:
        decision = decide(but(PAGED, failed=True, failed_names=("Anna",)))
        assert decision.page == (BOB, CLEO)
        assert decision.because == "Anna not reached"
        assert not decision.new_round
        assert decision.look_in == 400.0
        assert decision.sentence == "Anna not reached: Bob, Cleo paged too"

    def test_who_was_paged_in_this_round_is_not_paged_again(self) -> None:
        facts = but(PAGED, failed=True, paged_in_round=frozenset(PEOPLE), failed_names=("Bob",))
        decision = decide(facts)
        assert decision.page == ()
        assert decision.sentence == "Bob not reached; everybody has been paged already"

    def test_a_failure_that_comes_with_news_pages_everybody(self) -> None:
        decision = decide(but(PAGED, news=True, failed=True, failed_names=("Anna",)))
        assert decision.page == (ANNA, BOB, CLEO)
        assert decision.because == "Anna not reached"

    def test_an_unnamed_failure_has_words_too(self) -> None:
        assert decide(but(PAGED, failed=True)).because == "the person paged not reached"


class TestEnds:
    def test_whoever_was_told_of_it_is_told_of_its_end(self) -> None:
        facts = but(PAGED, status=AlertStatus.RESOLVED, told=frozenset({ANNA, CLEO}))
        decision = decide(facts)
        assert decision.tell_recovery == (ANNA, CLEO)
        assert decision.page == ()
        assert decision.look_in is None
        assert decision.sentence == "it is over, and Anna, Cleo will hear so"

    def test_a_page_that_is_just_being_sent_is_waited_for(self) -> None:
        facts = but(PAGED, status=AlertStatus.RESOLVED, sending=True)
        assert decide(facts) == Decision(look_in=UNTIL_SETTLED)

    def test_who_can_no_longer_be_reached_is_left_out(self) -> None:
        facts = but(PAGED, status=AlertStatus.RESOLVED, people={BOB: "Bob"})
        assert decide(facts).tell_recovery == ()

    def test_nobody_was_told(self) -> None:
        facts = but(PAGED, status=AlertStatus.RESOLVED, told=frozenset())
        assert decide(facts).sentence == "it is over; nobody had been told of it"


class TestAnnouncements:
    def test_the_person_on_call_is_told_once(self) -> None:
        decision = announce(NEW)
        assert decision.page == (ANNA,)
        assert decision.look_in is None
        assert not decision.new_round
        assert announce(but(PAGED, repeat_in=-1.0)) == Decision()

    def test_the_others_are_told_if_that_fails_and_then_it_ends(self) -> None:
        decision = announce(but(PAGED, failed=True, failed_names=("Anna",)))
        assert decision.page == (BOB, CLEO)
        assert decision.look_in is None
        assert announce(but(PAGED, failed=True, paged_in_round=frozenset(PEOPLE))).page == ()


some_people = st.frozensets(st.sampled_from([*PEOPLE, 99]))


@st.composite
def situations(draw: st.DrawFn) -> Facts:
    """Any facts at all, likely or not."""
    people = {person: PEOPLE[person] for person in draw(st.sets(st.sampled_from(list(PEOPLE))))}
    return Facts(
        status=draw(st.sampled_from(AlertStatus)),
        people=people,
        on_call=draw(st.sampled_from([None, *people])),
        news=draw(st.booleans()),
        repeat_in=draw(st.none() | st.floats(-1e6, 1e6)),
        paged_in_round=draw(some_people),
        waiting=draw(some_people),
        told=draw(some_people),
        sending=draw(st.booleans()),
        failed=draw(st.booleans()),
        failed_names=draw(st.just(()) | st.just(("Anna",))),
    )


@given(situations())
def test_while_it_is_triggered_there_is_always_a_next_look(facts: Facts) -> None:
    decision = decide(but(facts, status=AlertStatus.TRIGGERED))
    assert decision.look_in is not None
    assert 0 < decision.look_in <= max(REPEAT_AFTER, facts.repeat_in or 0)


@given(situations())
def test_only_people_who_can_be_reached_are_told_and_each_of_them_once(facts: Facts) -> None:
    for decision in (decide(facts), announce(facts)):
        told = [*decision.page, *decision.tell_recovery]
        assert len(told) == len(set(told))
        assert set(told) <= set(facts.people)


@given(situations())
def test_a_triggered_alert_never_leaves_news_to_nobody_while_there_is_somebody(
    facts: Facts,
) -> None:
    decision = decide(but(facts, status=AlertStatus.TRIGGERED, news=True))
    assert bool(decision.page) is bool(facts.people)


@given(situations())
def test_only_what_is_over_is_told_as_over_and_only_to_who_was_told(facts: Facts) -> None:
    decision = decide(facts)
    if decision.tell_recovery:
        assert facts.status is AlertStatus.RESOLVED
        assert not facts.sending
        assert set(decision.tell_recovery) <= facts.told
    if decision.page:
        assert facts.status is AlertStatus.TRIGGERED


@given(situations())
def test_whatever_is_decided_is_said(facts: Facts) -> None:
    decision = decide(facts)
    assert bool(decision.sentence) or not (decision.page or decision.tell_recovery)


class AnAlert(RuleBasedStateMachine):
    """One alert's life, with pages that fail, at the pace of the rule's own decisions."""

    @initialize()
    def opens(self) -> None:
        self.facts = but(NEW)
        self.now = 0.0
        self.repeat_at: float | None = None
        self.pages: list[int] = []
        self.look()

    def look(self) -> None:
        """Look at it now, and note what was decided as the store does."""
        repeat_in = None if self.repeat_at is None else self.repeat_at - self.now
        decision = decide(but(self.facts, repeat_in=repeat_in))
        if decision.new_round:
            self.pages = []
            self.repeat_at = self.now + REPEAT_AFTER
        self.pages += decision.page
        self.decision = decision
        self.facts = but(
            self.facts,
            news=False,
            failed=False,
            paged_in_round=frozenset(self.pages),
            told=self.facts.told | set(decision.page),
        )

    @rule(seconds=st.integers(1, 700))
    def time_passes(self, seconds: int) -> None:
        due = None if self.decision.look_in is None else self.now + self.decision.look_in
        self.now += seconds
        if due is not None and due <= self.now:
            self.look()

    @rule()
    def a_page_fails(self) -> None:
        if self.facts.status is AlertStatus.TRIGGERED and self.pages:
            self.facts = but(self.facts, failed=True)
            self.look()

    @rule()
    def it_is_said_again(self) -> None:
        if self.facts.status is AlertStatus.TRIGGERED:
            self.facts = but(self.facts, news=True)
            self.look()

    @rule(on_call=st.sampled_from([None, *PEOPLE]))
    def the_pager_changes_hands(self, on_call: int | None) -> None:
        self.facts = but(self.facts, on_call=on_call)

    @rule()
    def somebody_takes_it(self) -> None:
        if self.facts.status is AlertStatus.TRIGGERED:
            self.facts = but(self.facts, status=AlertStatus.ACKNOWLEDGED)
            self.look()

    @invariant()
    def nobody_is_paged_twice_in_a_round(self) -> None:
        assert len(self.pages) == len(set(self.pages))

    @invariant()
    def somebody_has_been_paged(self) -> None:
        assert self.pages

    @invariant()
    def it_is_looked_at_again_within_ten_minutes_unless_somebody_has_it(self) -> None:
        if self.facts.status is AlertStatus.TRIGGERED:
            assert self.decision.look_in is not None
            assert self.decision.look_in <= REPEAT_AFTER


TestAnAlert = AnAlert.TestCase
TestAnAlert.settings = settings(max_examples=40, stateful_step_count=30)
