"""Whom to tell, and when to look again: stories, and what holds in all of them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpotato.rules.escalation import (
    UNTIL_SETTLED,
    Decision,
    Facts,
    Page,
    Paged,
    Person,
    Try,
    announce,
    decide,
)
from hotpotato.rules.policy import SHIPPED, Policy, Step, Whom
from hotpotato.vocabulary import AlertStatus, Silence

ANNA, BOB, CLEO = 1, 2, 3
PEOPLE = {
    ANNA: Person("Anna", (11, 12)),
    BOB: Person("Bob", (21,)),
    CLEO: Person("Cleo", (31,)),
}

NEW = Facts(
    status=AlertStatus.TRIGGERED, people=PEOPLE, on_call={"primary": ANNA, "secondary": BOB}
)
"""Not yet looked at."""

ARRIVED = Try(contact=11, delivered=True, age=1.0)
ON_ITS_WAY = Try(contact=11, waiting=True, age=1.0)

OPEN = msgspec.structs.replace(
    NEW,
    place=0.0,
    place_age=1.0,
    told_state="CRITICAL",
    paged=(Paged(ANNA, 1, (ARRIVED,)),),
    told=frozenset({ANNA}),
)
"""Anna was paged a second ago, and has it on her phone."""

SILENCE = Silence(
    id=7, host="*", service=None, server_id=None, author="Bob", reason="moving", ends_in=100.0
)


def but(facts: Facts, **changes: Any) -> Facts:
    """The same facts, with changes."""
    return msgspec.structs.replace(facts, **changes)


def anna(*tries: Try) -> tuple[Paged, ...]:
    """Anna was paged in this round."""
    return (Paged(ANNA, 1, tries),)


def people(decision: Decision) -> list[int]:
    """Who is paged."""
    return [page.person for page in decision.pages]


class TestTheLine:
    def test_the_person_on_call_is_paged_at_once_and_again_in_five_minutes(self) -> None:
        decision = decide(but(NEW, news=True))
        assert decision.pages == (Page(ANNA, 11),)
        assert (decision.place, decision.new_round) == (0.0, True)
        assert decision.look_in == 60.0  # by then the first phone should have it
        assert decision.sentence == "on call (primary): Anna paged"

    def test_with_one_phone_there_is_nothing_to_do_in_between(self) -> None:
        facts = but(NEW, news=True, on_call={"primary": BOB})
        assert decide(facts).look_in == 300.0

    def test_nothing_happens_until_the_next_turn(self) -> None:
        assert decide(but(OPEN, place_age=100.0)) == Decision(look_in=200.0)

    def test_then_she_is_paged_again(self) -> None:
        decision = decide(but(OPEN, place_age=300.0))
        assert decision.pages == (Page(ANNA, 11, again=True),)
        assert decision.place == 300.0
        expected = "on call (primary): Anna paged again, since nobody has acknowledged"
        assert decision.sentence == expected

    def test_after_ten_minutes_the_secondary_is_paged_too(self) -> None:
        decision = decide(but(OPEN, place=300.0, place_age=300.0))
        assert decision.pages == (Page(ANNA, 11, again=True), Page(BOB, 21))
        assert decision.place == 600.0

    def test_without_a_secondary_the_person_on_call_is_paged_alone(self) -> None:
        facts = but(OPEN, place=300.0, place_age=300.0, on_call={"primary": ANNA})
        assert people(decide(facts)) == [ANNA]

    def test_after_twenty_minutes_everyone_is_and_then_every_ten(self) -> None:
        decision = decide(but(OPEN, place=900.0, place_age=300.0))
        assert people(decision) == [ANNA, BOB, CLEO]
        assert decision.place == 1200.0
        last = decide(but(OPEN, place=1200.0, place_age=600.0))
        assert (people(last), last.place) == ([ANNA, BOB, CLEO], 1800.0)

    def test_after_a_week_it_goes_on(self) -> None:
        week = 7 * 86_400.0
        assert decide(but(OPEN, place=week, place_age=600.0)).place == week + 600.0

    def test_nobody_on_call_means_everybody(self) -> None:
        decision = decide(but(NEW, news=True, on_call={}))
        assert people(decision) == [ANNA, BOB, CLEO]
        assert decision.because == "nobody is on call"

    def test_so_does_somebody_who_cannot_be_reached(self) -> None:
        decision = decide(but(NEW, news=True, on_call={"primary": 99}))
        assert people(decision) == [ANNA, BOB, CLEO]
        assert decision.because == "the person on call can't be reached"

    def test_nobody_at_all_is_said_and_tried_again(self) -> None:
        """Somebody may get a phone meanwhile."""
        decision = decide(but(NEW, news=True, people={}, on_call={}))
        assert (decision.pages, decision.look_in) == ((), 300.0)
        assert decision.sentence == "nobody can be told: nobody of the tenant has a contact"

    def test_a_step_that_finds_nobody_is_followed_by_the_next_at_once(self) -> None:
        policy = Policy(
            steps=(
                Step(after=0, whom=Whom.ON_CALL, schedule="night"),
                Step(after=600, whom=Whom.PERSON, person=99),
                Step(after=900, whom=Whom.PERSON, person=CLEO),
            )
        )
        decision = decide(but(NEW, news=True, policy=policy))
        assert (people(decision), decision.place) == ([CLEO], 900.0)

    def test_a_policy_of_people_who_are_gone_pages_everybody(self) -> None:
        policy = Policy(steps=(Step(after=0, whom=Whom.PERSON, person=99, again=300),))
        for facts in (but(NEW, news=True, policy=policy), but(OPEN, policy=policy, place_age=300)):
            assert people(decide(facts)) == [ANNA, BOB, CLEO]

    def test_all_contacts_at_once(self) -> None:
        policy = Policy(
            steps=(Step(after=0, whom=Whom.ON_CALL, schedule="primary", all_contacts=True),)
        )
        decision = decide(but(NEW, news=True, policy=policy))
        assert decision.pages == (Page(ANNA, 11), Page(ANNA, 12))

    def test_whose_page_is_still_to_be_sent_gets_no_other(self) -> None:
        decision = decide(but(OPEN, place_age=300.0, paged=anna(ON_ITS_WAY)))
        assert decision.pages == ()
        assert decision.place == 300.0
        assert decision.sentence == "the last page is still to be sent, so there is no other"


class TestNews:
    def test_the_same_state_again_pages_and_moves_nothing(self) -> None:
        """Else a monitoring program that repeats itself would keep the others from being paged."""
        decision = decide(but(OPEN, news=True, place=600.0, place_age=250.0))
        assert people(decision) == [ANNA, BOB]
        assert decision.place is None
        assert decision.look_in == 50.0
        assert not any(page.again for page in decision.pages)

    def test_in_the_moment_of_a_turn_it_is_that_turn(self) -> None:
        decision = decide(but(OPEN, news=True, place_age=300.0))
        assert (people(decision), decision.place) == ([ANNA], 300.0)

    def test_it_goes_to_the_next_contact_if_the_first_gave_no_sign(self) -> None:
        silent = anna(Try(contact=11, age=61.0))
        assert decide(but(OPEN, news=True, paged=silent)).pages == (Page(ANNA, 12, 1),)

    def test_a_worse_state_begins_anew(self) -> None:
        facts = but(OPEN, news=True, told_state="WARNING", place=1200.0, place_age=5.0)
        decision = decide(facts)
        assert (people(decision), decision.place) == ([ANNA], 0.0)

    def test_news_pages_also_who_still_waits_for_the_last(self) -> None:
        facts = but(OPEN, news=True, told_state="WARNING", paged=anna(ON_ITS_WAY))
        assert people(decide(facts)) == [ANNA]

    def test_but_what_is_held_tells_the_newest_anyway(self) -> None:
        facts = but(OPEN, news=True, paged=anna(Try(contact=11, held_for=0.0, waiting=True)))
        assert decide(facts).pages == ()


class TestFailures:
    def test_a_failure_is_followed_by_the_next_contact_at_once(self) -> None:
        facts = but(OPEN, failed=True, paged=anna(Try(contact=11, failed=True, age=2.0)))
        decision = decide(facts)
        assert decision.pages == (Page(ANNA, 12, 1),)
        assert (decision.new_round, decision.place) == (False, None)
        assert decision.look_in == 299.0

    def test_so_is_a_minute_without_a_receipt(self) -> None:
        facts = but(OPEN, place_age=60.0, paged=anna(Try(contact=11, age=60.0)))
        assert decide(facts).pages == (Page(ANNA, 12, 1),)

    def test_but_not_before(self) -> None:
        facts = but(OPEN, place_age=59.0, paged=anna(Try(contact=11, age=59.0)))
        assert decide(facts) == Decision(look_in=1.0)

    def test_a_late_receipt_of_the_first_phone_is_enough(self) -> None:
        tries = (ARRIVED, Try(contact=12, age=70.0))
        assert decide(but(OPEN, place_age=130.0, paged=anna(*tries))).pages == ()

    def test_all_contacts_failed_means_the_next_step_now(self) -> None:
        dead = anna(Try(contact=11, failed=True, age=5.0), Try(contact=12, failed=True, age=2.0))
        decision = decide(but(OPEN, failed=True, paged=dead))
        assert (people(decision), decision.place) == ([BOB], 600.0)
        assert decision.because == "Anna not reached"
        assert decision.sentence == "Anna not reached: Bob paged"

    def test_a_step_without_anybody_new_is_passed_over(self) -> None:
        dead = anna(Try(contact=11, failed=True, age=5.0), Try(contact=12, failed=True, age=2.0))
        decision = decide(but(OPEN, failed=True, paged=dead, on_call={"primary": ANNA}))
        assert (people(decision), decision.place) == ([BOB, CLEO], 1200.0)

    def test_when_everybody_failed_it_waits_for_the_next_turn(self) -> None:
        dead = tuple(
            Paged(person, 1, tuple(Try(contact=one, failed=True, age=1.0) for one in each.contacts))
            for person, each in PEOPLE.items()
        )
        decision = decide(but(OPEN, failed=True, paged=dead, place=1200.0))
        assert (decision.pages, decision.look_in) == ((), 599.0)
        assert decision.sentence is not None
        assert decision.sentence.endswith("everybody has been paged already")

    def test_while_somebody_else_may_have_it_no_step_is_taken(self) -> None:
        paged = (Paged(BOB, 1, (Try(contact=21, age=3.0),)), Paged(CLEO, 1, (_failed(31),)))
        assert decide(but(OPEN, failed=True, paged=paged)).pages == ()


def _failed(contact: int) -> Try:
    return Try(contact=contact, failed=True, age=2.0)


class TestAcknowledged:
    TAKEN = but(OPEN, status=AlertStatus.ACKNOWLEDGED, acknowledged_left=1800.0)

    def test_it_is_left_alone_until_it_runs_out(self) -> None:
        assert decide(self.TAKEN) == Decision(look_in=1800.0)
        assert decide(but(self.TAKEN, acknowledged_left=None)) == Decision()

    def test_then_it_begins_from_the_first_step(self) -> None:
        decision = decide(but(self.TAKEN, acknowledged_left=0.0, place=1200.0))
        assert decision.reopened
        assert decision.pages == (Page(ANNA, 11, again=True),)
        assert (decision.place, decision.because) == (0.0, "the acknowledgement ran out")

    def test_a_silence_holds_back_what_ran_out(self) -> None:
        decision = decide(but(self.TAKEN, acknowledged_left=0.0, silence=SILENCE))
        assert decision.reopened
        assert (decision.silenced, decision.pages, decision.look_in) == (True, (), 100.0)

    def test_the_person_on_call_is_told_that_somebody_else_took_it(self) -> None:
        facts = but(self.TAKEN, acknowledgement_told=False, acknowledged_by=BOB)
        assert decide(facts).notice == (ANNA,)
        assert decide(but(facts, acknowledged_by=None)).notice == (ANNA,)

    @pytest.mark.parametrize(
        "changes", [{"acknowledged_by": ANNA}, {"told": frozenset()}, {"people": {}}]
    )
    def test_but_not_of_her_own_nor_of_what_she_never_heard_of(
        self, changes: dict[str, Any]
    ) -> None:
        facts = but(self.TAKEN, acknowledgement_told=False, acknowledged_by=BOB)
        assert decide(but(facts, **changes)).notice == ()


class TestHeldBack:
    def test_a_silence_holds_it_back_and_that_is_recorded_once(self) -> None:
        decision = decide(but(NEW, news=True, silence=SILENCE))
        assert decision.pages == ()
        assert (decision.silenced, decision.look_in) == (True, 100.0)
        assert decision.sentence == "silence 7 of Bob holds it back (moving)"
        assert decide(but(NEW, silenced=True, silence=SILENCE)).sentence is None

    def test_when_it_ends_the_problem_is_told_with_others(self) -> None:
        decision = decide(but(NEW, silenced=True))
        assert (people(decision), decision.hold) == ([ANNA], 0.0)
        assert decision.because == "the silence is over"

    def test_what_can_wait_is_held_for_its_hour_which_is_its_first_turn(self) -> None:
        decision = decide(but(NEW, news=True, state="WARNING", waits=3600.0))
        assert decision.pages == (Page(ANNA, 11),)
        assert (decision.hold, decision.place, decision.look_in) == (3600.0, 0.0, 3900.0)

    def test_said_again_it_still_waits_and_is_not_told_twice(self) -> None:
        held = anna(Try(contact=11, held_for=3000.0, waiting=True))
        facts = but(OPEN, news=True, state="WARNING", waits=3000.0, paged=held)
        assert (decide(facts).pages, decide(facts).sentence) == ((), None)

    def test_a_worse_state_is_told_at_once(self) -> None:
        held = anna(Try(contact=11, held_for=3000.0, waiting=True))
        facts = but(OPEN, news=True, told_state="WARNING", paged=held)
        assert (people(decide(facts)), decide(facts).hold) == ([ANNA], None)


class TestFlapping:
    FLAPPING = but(NEW, news=True, flapping=True)

    def test_it_is_said_at_once_and_then_told_in_digests(self) -> None:
        first = decide(self.FLAPPING)
        assert (people(first), first.say_flapping, first.flapping) == ([ANNA], True, True)
        assert first.hold is None
        later = decide(but(self.FLAPPING, flapping_told=True))
        assert (later.hold, later.say_flapping, later.flapping) == (900.0, False, True)

    def test_the_end_says_it_if_nothing_did_before(self) -> None:
        over = but(OPEN, status=AlertStatus.RESOLVED, flapping=True)
        assert decide(over).say_flapping
        assert decide(over).hold is None
        again = decide(but(over, flapping_told=True))
        assert (again.recovery, again.hold, again.say_flapping) == ((ANNA,), 900.0, False)

    def test_what_was_said_to_nobody_was_not_said(self) -> None:
        over = but(OPEN, status=AlertStatus.RESOLVED, flapping=True, told=frozenset())
        assert not decide(over).flapping
        assert not decide(but(self.FLAPPING, silence=SILENCE)).flapping


class TestEnds:
    OVER = but(OPEN, status=AlertStatus.RESOLVED)

    def test_whoever_was_told_of_it_is_told_of_its_end(self) -> None:
        decision = decide(but(self.OVER, told=frozenset({ANNA, CLEO})))
        assert (decision.recovery, decision.pages, decision.look_in) == ((ANNA, CLEO), (), None)
        assert decision.sentence == "it is over, and Anna, Cleo will hear so"

    def test_a_page_that_is_just_being_sent_is_waited_for(self) -> None:
        assert decide(but(self.OVER, sending=True)) == Decision(look_in=UNTIL_SETTLED)

    def test_who_can_no_longer_be_reached_is_left_out(self) -> None:
        assert decide(but(self.OVER, people={BOB: PEOPLE[BOB]})).recovery == ()

    def test_nobody_was_told(self) -> None:
        facts = but(self.OVER, told=frozenset())
        assert decide(facts).sentence == "it is over; nobody has to be told"


class TestAnnouncements:
    def test_the_person_on_call_is_told_once(self) -> None:
        decision = announce(but(NEW, news=True))
        assert (people(decision), decision.look_in) == ([ANNA], None)
        assert announce(but(OPEN, place=None)) == Decision()

    def test_the_next_contact_is_told_if_that_fails_then_the_others_and_then_it_ends(self) -> None:
        first = anna(_failed(11))
        assert announce(but(NEW, failed=True, paged=first)).pages == (Page(ANNA, 12, 1),)
        both = anna(_failed(11), _failed(12))
        decision = announce(but(NEW, failed=True, paged=both))
        assert (people(decision), decision.look_in) == ([BOB, CLEO], None)
        others = tuple(Paged(each, 2, (_failed(PEOPLE[each].contacts[0]),)) for each in (BOB, CLEO))
        assert announce(but(NEW, failed=True, paged=(*both, *others))).pages == ()


# --- what holds whatever the facts


some = settings(max_examples=50)

contacts_of = {person: each.contacts for person, each in PEOPLE.items()} | {99: (91,)}


@st.composite
def tries(draw: st.DrawFn, person: int) -> Paged:
    """What may have become of pages to somebody."""
    theirs = contacts_of[person]
    done = theirs[: draw(st.integers(1, len(theirs)))]
    return Paged(
        person,
        draw(st.integers(1, 5)),
        tuple(
            Try(
                contact=contact,
                held_for=held,
                waiting=held is not None or draw(st.booleans()),
                delivered=outcome == "delivered",
                failed=outcome == "failed",
                age=None if held is not None else draw(st.floats(0, 1e6)),
            )
            for contact in done
            for outcome in [draw(st.sampled_from(["delivered", "failed", ""]))]
            for held in [draw(st.none() | st.floats(0, 1e5)) if not outcome else None]
        ),
    )


whoms = st.one_of(
    st.builds(
        Step,
        after=st.just(0.0),
        whom=st.just(Whom.ON_CALL),
        schedule=st.sampled_from(["primary", "secondary", "night"]),
        again=st.none() | st.floats(30, 3600),
        all_contacts=st.booleans(),
    ),
    st.builds(
        Step,
        after=st.just(0.0),
        whom=st.just(Whom.PERSON),
        person=st.sampled_from([*PEOPLE, 99]),
        again=st.none() | st.floats(30, 3600),
    ),
    st.builds(
        Step, after=st.just(0.0), whom=st.just(Whom.EVERYONE), again=st.none() | st.floats(30, 3600)
    ),
)


@st.composite
def some_policies(draw: st.DrawFn) -> Policy:
    """One to four steps, in order."""
    steps = draw(st.lists(whoms, min_size=1, max_size=4))
    afters = sorted(draw(st.lists(st.integers(0, 7200), min_size=len(steps), max_size=len(steps))))
    return Policy(
        steps=tuple(
            msgspec.structs.replace(step, after=float(after))
            for step, after in zip(steps, afters, strict=True)
        ),
        undelivered_after=draw(st.floats(1, 600)),
    )


@st.composite
def situations(draw: st.DrawFn) -> Facts:
    """Any facts at all, likely or not."""
    present = draw(st.sets(st.sampled_from(list(PEOPLE))))
    paged = draw(st.sets(st.sampled_from([*PEOPLE, 99])))
    return Facts(
        status=draw(st.sampled_from(AlertStatus)),
        people={person: PEOPLE[person] for person in sorted(present)},
        on_call=draw(
            st.dictionaries(
                st.sampled_from(["primary", "secondary"]), st.sampled_from([*PEOPLE, 99])
            )
        ),
        policy=draw(some_policies() | st.just(SHIPPED)),
        news=draw(st.booleans()),
        state=draw(st.sampled_from(["WARNING", "CRITICAL", "odd"])),
        told_state=draw(st.sampled_from([None, "WARNING", "CRITICAL"])),
        place=draw(st.none() | st.floats(0, 1e6)),
        place_age=draw(st.floats(0, 1e5)),
        paged=tuple(draw(tries(person)) for person in sorted(paged)),
        told=draw(st.frozensets(st.sampled_from([*PEOPLE, 99]))),
        sending=draw(st.booleans()),
        failed=draw(st.booleans()),
        acknowledged_left=draw(st.none() | st.floats(-1e5, 1e5)),
        acknowledged_by=draw(st.none() | st.sampled_from(list(PEOPLE))),
        acknowledgement_told=draw(st.booleans()),
        silence=draw(st.none() | st.just(SILENCE)),
        silenced=draw(st.booleans()),
        waits=draw(st.none() | st.floats(1, 90_000)),
        flapping=draw(st.booleans()),
        flapping_told=draw(st.booleans()),
    )


@given(situations())
@some
def test_while_it_is_open_there_is_always_a_next_look_with_a_time(facts: Facts) -> None:
    decision = decide(but(facts, status=AlertStatus.TRIGGERED))
    assert decision.look_in is not None
    assert 0 < decision.look_in < math.inf


@given(situations())
@some
def test_an_acknowledgement_that_runs_out_is_looked_at_when_it_does(facts: Facts) -> None:
    decision = decide(but(facts, status=AlertStatus.ACKNOWLEDGED))
    left = facts.acknowledged_left
    if left is None or left > 0:
        assert decision.look_in == left
    else:
        assert decision.reopened
        assert decision.look_in is not None


@given(situations())
@some
def test_every_page_goes_to_a_contact_of_a_person_who_can_be_reached(facts: Facts) -> None:
    for decision in (decide(facts), announce(facts)):
        assert all(page.contact in facts.people[page.person].contacts for page in decision.pages)
        assert set(decision.recovery) | set(decision.notice) <= set(facts.people)


@given(situations())
@some
def test_no_contact_is_paged_twice_at_once(facts: Facts) -> None:
    for decision in (decide(facts), announce(facts)):
        contacts = [page.contact for page in decision.pages]
        assert len(contacts) == len(set(contacts))


@given(situations())
@some
def test_who_waits_for_a_page_gets_no_second_one_without_news(facts: Facts) -> None:
    decision = decide(but(facts, status=AlertStatus.TRIGGERED, news=False))
    for paged in facts.paged:
        if paged.tries[-1].waiting and paged.tries[-1].held_for in (None, 0.0):
            assert not any(page.person == paged.person and page.again for page in decision.pages)


@given(situations())
@some
def test_the_first_look_pages_somebody_at_once_while_there_is_somebody(facts: Facts) -> None:
    facts = but(facts, status=AlertStatus.TRIGGERED, news=True, place=None, paged=(), silence=None)
    decision = decide(facts)
    assert bool(decision.pages) is bool(facts.people)
    if facts.waits is None and not facts.silenced and not facts.flapping:
        assert decision.hold is None


@given(situations())
@some
def test_only_what_is_over_is_told_as_over_and_only_to_who_was_told(facts: Facts) -> None:
    decision = decide(facts)
    if decision.recovery:
        assert facts.status is AlertStatus.RESOLVED
        assert not facts.sending
        assert set(decision.recovery) <= facts.told
    if decision.pages:
        assert facts.status is AlertStatus.TRIGGERED or decision.reopened


@given(situations())
@some
def test_whatever_is_decided_is_said(facts: Facts) -> None:
    for decision in (decide(facts), announce(facts)):
        if decision.pages or decision.recovery or decision.notice:
            assert decision.sentence


@given(situations())
@some
def test_when_all_failed_somebody_who_was_not_paged_is_paged_now(facts: Facts) -> None:
    """Unless there is nobody; so a chain of failures ends, at the latest with the last person."""
    dead = tuple(
        Paged(each.person, 1, tuple(_failed(contact) for contact in contacts_of[each.person]))
        for each in facts.paged
    )
    facts = but(
        facts,
        status=AlertStatus.TRIGGERED,
        news=False,
        failed=True,
        paged=dead,
        place=100.0,
        silence=None,
        silenced=False,
        waits=None,
        flapping=False,
    )
    others = set(facts.people) - {each.person for each in dead}
    decision = decide(facts)
    if dead and others:
        assert decision.pages
        assert set(people(decision)) <= others
    elif dead:
        assert all(page.again for page in decision.pages)
