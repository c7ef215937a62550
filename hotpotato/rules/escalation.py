"""Whom to tell, and when to look again.

An alert walks along its tenant's policy (`rules.policy`) until somebody acknowledges it or it is
over. A contact that fails, or does not confirm in time, is followed by the person's next one;
people of whom no contact is left are followed by the next step, at once. Silences hold it back,
what can wait waits for its hour, what comes and goes is told once and then in digests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from hotpotato.rules.policy import PRIMARY, SHIPPED, Policy, Step, Turn, Whom, next_step, next_turn
from hotpotato.rules.severity import severity
from hotpotato.vocabulary import AlertStatus, Silence

UNTIL_SOMEBODY = 600.0
"""Seconds between looks at an announcement that can be told to nobody."""

UNTIL_SETTLED = 1.0
"""Seconds between looks at an alert that is over, while a page of it is just being sent."""

UNTIL_DIGEST = 5.0
"""Seconds between looks at an alert that is over, while a digest with it is still to be sent."""

SOON = 0.1
"""The least seconds until the next look."""


class Person(msgspec.Struct, frozen=True):
    """Somebody who can be reached: their contacts by id, in the order in which they are tried."""

    name: str
    contacts: tuple[int, ...]


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """A page to one contact.

    `held_for`: the seconds that it is held at least, 0 if only for the contact's pace, None if it
    isn't; `waiting`: it is still to be sent, or just being sent. `delivered` and `failed` are
    final. `age`: seconds since it was let go, None while it is held.
    """

    contact: int
    held_for: float | None = None
    waiting: bool = False
    delivered: bool = False
    failed: bool = False
    age: float | None = None


class Paged(msgspec.Struct, frozen=True):
    """Somebody who was paged: what became of it in the last round, contact by contact, in order."""

    person: int
    round: int
    tries: tuple[Try, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one alert, or one announcement, when it is due.

    `people` are those of the tenant who can be reached, by id. `on_call` is who has each schedule,
    whether or not they can be reached. `news`: there is something that nobody was told of yet;
    `state` is the state now, `told_state` the one that was told last. `place` is how far along the
    policy it is, None before the first step, since `place_age` seconds. `paged`: whoever was paged.
    `told`: who may have received any page. `sending`: a page is with a sender at this moment;
    `in_digest`: one is in a digest that is to be sent yet, whatever becomes of the alert.
    `failed`: a page that will not arrive was noticed since the last look. `acknowledged_left`:
    seconds until the acknowledgement runs out, None if it doesn't; `acknowledged_by` is a person's
    id, None if it is nobody that we know. `resolved_by`: the name of who called it over, and needs
    not be told; None if monitoring did. `silence` holds it back now, and did at the last look if
    `silenced`. `waits`: seconds until what can wait is told, None if it is urgent. `flapping`: it
    comes and goes; `flapping_told` if that was said.
    """

    status: AlertStatus
    people: Mapping[int, Person]
    on_call: Mapping[str, int]
    policy: Policy = SHIPPED
    news: bool = False
    state: str = "CRITICAL"
    told_state: str | None = None
    place: float | None = None
    place_age: float = 0.0
    paged: tuple[Paged, ...] = ()
    told: frozenset[int] = frozenset()
    sending: bool = False
    in_digest: bool = False
    failed: bool = False
    acknowledged_left: float | None = None
    acknowledged_by: int | None = None
    acknowledgement_told: bool = True
    resolved_by: str | None = None
    silence: Silence | None = None
    silenced: bool = False
    waits: float | None = None
    flapping: bool = False
    flapping_told: bool = False


class Page(msgspec.Struct, frozen=True):
    """A page to one contact of one person; `round` None: in the newest round.

    `again`: there is nothing new in it for this person, only nobody's answer.
    """

    person: int
    contact: int
    round: int | None = None
    again: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now.

    `pages`, and people by id whom to tell of the end (`recovery`), or that somebody else has taken
    it (`notice`). `hold` None: as the pace allows; else the seconds to wait for what can be told
    together with it. `flapping`: it comes and goes, and that is known to who was told, or said by
    these pages or recoveries if `say_flapping`. `because` is a few words for the page, where it is
    not simply this person's turn. `new_round`: this is a turn of the policy, or news, and no second
    contact. `place` is where it is on the policy's line now, if it moved. `reopened`: its
    acknowledgement ran out. `look_in` is the seconds until the next look, None for never.
    `sentence` is for the history, None where there was nothing to decide.
    """

    pages: tuple[Page, ...] = ()
    recovery: tuple[int, ...] = ()
    notice: tuple[int, ...] = ()
    hold: float | None = None
    flapping: bool = False
    say_flapping: bool = False
    silenced: bool = False
    because: str | None = None
    new_round: bool = False
    place: float | None = None
    reopened: bool = False
    look_in: float | None = None
    sentence: str | None = None


def decide(facts: Facts) -> Decision:
    """The next step of an alert that is due."""
    if facts.status is AlertStatus.RESOLVED:
        # Only when no page is just being sent is it known who was told, and does the end come last.
        if facts.sending or facts.in_digest:
            look_in = UNTIL_SETTLED if facts.sending else UNTIL_DIGEST
            return Decision(look_in=look_in, flapping=_known_to_flap(facts))
        return _over(facts)
    ran_out = facts.status is AlertStatus.ACKNOWLEDGED
    if ran_out and (facts.acknowledged_left is None or facts.acknowledged_left > 0):
        return _taken(facts)
    return msgspec.structs.replace(_open(facts, ran_out), reopened=ran_out)


def _open(facts: Facts, ran_out: bool) -> Decision:
    if facts.silence is not None:
        return _held_back(facts, facts.silence)
    if facts.waits is not None:
        return _later(facts, facts.waits)
    if ran_out:
        return _begin(facts, "the acknowledgement ran out")
    if facts.silenced:
        return _begin(facts, "the silence is over", hold=0.0)
    if facts.place is None or _worse(facts):
        return _begin(facts, None)
    return _go_on(facts, facts.place)


def announce(facts: Facts) -> Decision:
    """The next step of what is told without opening an alert: once, to others if that fails."""
    if not facts.people:
        return Decision(look_in=UNTIL_SOMEBODY)
    if facts.news or (facts.failed and not facts.paged):
        decision = _turn(facts, next_turn(facts.policy, None))
    elif facts.failed and (pages := _next_contacts(facts, only_failed=True)):
        decision = _followed(facts, pages)
    elif facts.failed and all(_dead(facts, paged) for paged in facts.paged):
        decision = _others(facts)
    else:
        return Decision()
    return msgspec.structs.replace(decision, place=None, look_in=None, flapping=False)


# --- the line of the policy


def _begin(facts: Facts, because: str | None, hold: float | None = None) -> Decision:
    """Start from the first step."""
    return _turn(facts, next_turn(facts.policy, None), because, hold=hold)


def _go_on(facts: Facts, place: float) -> Decision:
    """Whatever comes first: news, another contact, another step, or the next turn."""
    turn = next_turn(facts.policy, place)
    is_due = turn.at - place <= facts.place_age
    if facts.news:
        # Where it is on the line is not changed by a monitoring program that repeats itself.
        return _turn(facts, turn) if is_due else _turn(facts, _current(facts, place), moves=False)
    if pages := _next_contacts(facts):
        decision = _followed(facts, pages)
        return msgspec.structs.replace(decision, look_in=_look_in(facts, place, pages))
    if facts.failed and not facts.paged:
        # What was held for somebody can't be told to them any more.
        return _turn(facts, _current(facts, place), moves=False)
    if facts.failed and all(_dead(facts, paged) for paged in facts.paged):
        return _step_ahead(facts, place)
    if is_due:
        return _turn(facts, turn)
    return Decision(look_in=_look_in(facts, place), flapping=_known_to_flap(facts))


def _current(facts: Facts, place: float) -> Turn:
    """The steps that have begun: all of them until the last one has, which ends the others."""
    begun = tuple(step for step in facts.policy.steps if step.after <= place)
    last = facts.policy.steps[-1]
    return Turn(place, (last,) if last in begun else begun or facts.policy.steps[:1])


def _turn(
    facts: Facts,
    turn: Turn,
    because: str | None = None,
    *,
    hold: float | None = None,
    moves: bool = True,
    without: Collection[int] = (),
) -> Decision:
    """Page those whose turn it is, `without` some; `moves`: it is at this place now."""
    turn = _with_somebody(facts, turn)
    wanted: dict[int, bool] = {}
    for step in turn.steps:
        people, trouble = _whom(facts, step)
        because = because or trouble
        for person in people:
            wanted[person] = wanted.get(person, False) or step.all_contacts
    if _known_to_flap(facts) and not _worse(facts):
        hold = max(hold or 0.0, facts.policy.flapping_within)
    chosen = {
        person: at_once
        for person, at_once in sorted(wanted.items())
        if person not in without and not _in_hand(facts, person, hold)
    }
    pages = tuple(
        page for person, at_once in chosen.items() for page in _pages(facts, person, at_once)
    )
    say = facts.flapping and not facts.flapping_told and bool(pages)
    decision = Decision(
        pages=pages,
        because=because,
        new_round=bool(pages),
        flapping=say or _known_to_flap(facts),
        say_flapping=say,
        hold=hold,
        sentence=_said(facts, turn, because, wanted, pages),
    )
    if not moves:
        look_in = _look_in(facts, turn.at if facts.place is None else facts.place, pages)
        return msgspec.structs.replace(decision, look_in=look_in)
    moved = msgspec.structs.replace(facts, place_age=0.0)
    look_in = _look_in(moved, turn.at, pages)
    return msgspec.structs.replace(decision, place=turn.at, look_in=look_in)


def _with_somebody(facts: Facts, turn: Turn) -> Turn:
    """This turn, or the first step after it that finds somebody; else everybody, now."""
    if not facts.people or any(_whom(facts, step)[0] for step in turn.steps):
        return turn
    for step in facts.policy.steps:
        if step.after > turn.at and _whom(facts, step)[0]:
            return Turn(step.after, (step,))
    return Turn(turn.at, (Step(after=turn.at, whom=Whom.EVERYONE),))


def _pages(facts: Facts, person: int, at_once: bool) -> tuple[Page, ...]:
    """To the first contact, or to all; with news, to the next one if the last gave no sign."""
    paged, contacts = _paged(facts, person), facts.people[person].contacts
    unheard = paged is not None and facts.news and not at_once and _unheard(facts, paged)
    if paged is not None and unheard and (left := _left(facts, paged)):
        return (Page(person, left[0], paged.round),)
    again = paged is not None and not _new(facts)
    return tuple(
        Page(person, contact, again=again) for contact in contacts[: None if at_once else 1]
    )


def _step_ahead(facts: Facts, place: float) -> Decision:
    """Nobody paged was reached: the next step that knows somebody else, now."""
    tried = {paged.person for paged in facts.paged}
    because = _not_reached(facts)
    at = place
    while (step := next_step(facts.policy, at)) is not None:
        at = step.after
        people, _ = _whom(facts, step)
        if set(people) - tried:
            return _turn(facts, Turn(at, (step,)), because, without=tried)
    others = _others(facts)
    return msgspec.structs.replace(others, look_in=_look_in(facts, place, others.pages))


def _others(facts: Facts) -> Decision:
    """Everybody who was not paged yet."""
    because = _not_reached(facts)
    others = sorted(set(facts.people) - {paged.person for paged in facts.paged})
    if not others:
        return Decision(
            flapping=_known_to_flap(facts),
            sentence=f"{because}; everybody has been paged already",
        )
    return Decision(
        pages=tuple(Page(person, facts.people[person].contacts[0]) for person in others),
        because=because,
        new_round=True,
        flapping=_known_to_flap(facts),
        sentence=f"{because}: {_names(facts, others)} paged too",
    )


def _whom(facts: Facts, step: Step) -> tuple[tuple[int, ...], str | None]:
    """The people of a step who can be reached; and what is the matter, if it is not as meant."""
    if step.whom is Whom.EVERYONE:
        return tuple(facts.people), None
    if step.whom is Whom.PERSON:
        assert step.person is not None
        return ((step.person,) if step.person in facts.people else ()), None
    holder = facts.on_call.get(step.schedule or PRIMARY)
    if holder in facts.people:
        assert holder is not None
        return (holder,), None
    if step.schedule != PRIMARY:
        return (), None
    trouble = "nobody is on call" if holder is None else "the person on call can't be reached"
    return tuple(facts.people), trouble


# --- contact after contact


def _next_contacts(facts: Facts, only_failed: bool = False) -> tuple[Page, ...]:
    """The next contact of everybody whose last one failed, or did not confirm in time."""
    return tuple(
        Page(paged.person, left[0], paged.round)
        for paged in facts.paged
        if (left := _left(facts, paged)) and _unheard(facts, paged, only_failed)
    )


def _unheard(facts: Facts, paged: Paged, only_failed: bool = False) -> bool:
    if any(one.delivered for one in paged.tries):
        return False
    last = paged.tries[-1]
    if last.failed or only_failed:
        return last.failed
    return last.age is not None and last.age >= facts.policy.undelivered_after


def _left(facts: Facts, paged: Paged) -> tuple[int, ...]:
    """The contacts of a paged person that were not tried."""
    person = facts.people.get(paged.person)
    tried = {one.contact for one in paged.tries}
    return tuple(one for one in person.contacts if one not in tried) if person else ()


def _dead(facts: Facts, paged: Paged) -> bool:
    """Whether a page to somebody will not arrive, and no contact is left that works."""
    gone = paged.person not in facts.people
    return gone or (all(one.failed for one in paged.tries) and not _left(facts, paged))


def _in_hand(facts: Facts, person: int, hold: float | None) -> bool:
    """Whether somebody gets an earlier page anyway, in time, and would get two.

    One that is held tells the newest; one that is already on its way does not tell news.
    """
    paged = _paged(facts, person)
    if paged is None:
        return False
    last = paged.tries[-1]
    if last.held_for is not None:
        return last.held_for <= (hold or 0.0)
    return last.waiting and not facts.news


def _paged(facts: Facts, person: int) -> Paged | None:
    return next((paged for paged in facts.paged if paged.person == person), None)


def _followed(facts: Facts, pages: tuple[Page, ...]) -> Decision:
    names = _names(facts, [page.person for page in pages])
    return Decision(
        pages=pages,
        flapping=_known_to_flap(facts),
        sentence=f"no sign that {names} got it: the next contact is tried",
    )


def _look_in(facts: Facts, place: float, pages: Iterable[Page] = ()) -> float:
    """Seconds until the next turn, or until a contact is due to have confirmed."""
    limit = facts.policy.undelivered_after
    waits = [next_turn(facts.policy, place).at - place - facts.place_age]
    fresh = {}
    for page in pages:
        fresh[page.person] = page.contact
        tried = {one.contact for p in facts.paged if p.person == page.person for one in p.tries}
        if set(facts.people[page.person].contacts) - tried - {page.contact}:
            waits.append(limit)
    for paged in facts.paged:
        last = paged.tries[-1]
        over = last.failed or any(one.delivered for one in paged.tries)
        if paged.person not in fresh and not over and _left(facts, paged):
            waits.append(limit - (last.age or 0.0))
    return max(min(waits), SOON)


# --- what holds it back, and how it ends


def _held_back(facts: Facts, silence: Silence) -> Decision:
    known = facts.silenced and not facts.news
    return Decision(
        silenced=True,
        flapping=_known_to_flap(facts),
        look_in=max(silence.ends_in, SOON),
        sentence=None
        if known
        else f"silence {silence.id} of {silence.author} holds it back ({silence.reason})",
    )


def _later(facts: Facts, waits: float) -> Decision:
    """What can wait is told in a digest at its hour, which is its first turn."""
    first = next_turn(facts.policy, None)
    look_in = waits + next_turn(facts.policy, first.at).at - first.at
    if not facts.news and (pages := _next_contacts(facts)):
        return msgspec.structs.replace(_followed(facts, pages), look_in=look_in)
    decision = _turn(facts, first, hold=waits)
    sentence = "it can wait: it is told in a digest at its hour" if decision.pages else None
    return msgspec.structs.replace(decision, look_in=look_in, sentence=sentence)


def _taken(facts: Facts) -> Decision:
    """The person on call is told if somebody else has acknowledged what they were paged for."""
    holder = facts.on_call.get(PRIMARY)
    decision = Decision(look_in=facts.acknowledged_left, flapping=_known_to_flap(facts))
    if facts.acknowledgement_told or holder is None or holder == facts.acknowledged_by:
        return decision
    if holder not in facts.told or holder not in facts.people:
        return decision
    sentence = f"{facts.people[holder].name} is told that somebody has taken it"
    return msgspec.structs.replace(decision, notice=(holder,), sentence=sentence)


def _over(facts: Facts) -> Decision:
    told = sorted(
        person
        for person in facts.told & set(facts.people)
        if facts.people[person].name != facts.resolved_by
    )
    say = facts.flapping and not facts.flapping_told and bool(told)
    return Decision(
        recovery=tuple(told),
        flapping=say or _known_to_flap(facts),
        say_flapping=say,
        hold=facts.policy.flapping_within if _known_to_flap(facts) else None,
        sentence=f"it is over, and {_names(facts, told)} will hear so"
        if told
        else "it is over; nobody has to be told",
    )


def _worse(facts: Facts) -> bool:
    told = facts.told_state
    return facts.news and told is not None and severity(facts.state) > severity(told)


def _new(facts: Facts) -> bool:
    """Whether there is something to tell beside nobody's answer."""
    return facts.news or (facts.told_state or facts.state).upper() != facts.state.upper()


def _known_to_flap(facts: Facts) -> bool:
    return facts.flapping and facts.flapping_told


# --- words


def _said(
    facts: Facts, turn: Turn, because: str | None, wanted: Collection[int], pages: Iterable[Page]
) -> str:
    if not facts.people:
        return "nobody can be told: nobody of the tenant has a contact"
    chosen = sorted({page.person for page in pages})
    if not wanted:
        missing = " and ".join(step.schedule or str(step.whom) for step in turn.steps)
        return f"nobody has {missing}, so this step is passed over"
    if not chosen:
        return "the last page is still to be sent, so there is no other"
    again = any(page.again for page in pages) * " again, since nobody has acknowledged"
    if because is not None:
        return f"{because}: {_names(facts, chosen)} paged{again}"
    return f"{_why(turn.steps)}: {_names(facts, chosen)} paged{again}"


def _why(steps: Iterable[Step]) -> str:
    return ", ".join(
        f"on call ({step.schedule})" if step.whom is Whom.ON_CALL else str(step.whom)
        for step in steps
    )


def _not_reached(facts: Facts) -> str:
    failed = [paged.person for paged in facts.paged if paged.tries[-1].failed]
    return f"{_names(facts, failed) or 'the person paged'} not reached"


def _names(facts: Facts, people: Iterable[int]) -> str:
    known = (facts.people[person].name for person in people if person in facts.people)
    return ", ".join(known)
