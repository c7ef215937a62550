"""Whom to tell, and when to look again: the first form of the escalation.

Every problem pages the person on call, or everybody where nobody is on call. A message that will not
arrive pages all others. Until somebody acknowledges or it recovers, the person on call is paged again
every ten minutes. Whoever was told of a problem is told of its end.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hotpotato.vocabulary import AlertStatus

REPEAT_AFTER = 600.0
"""Seconds until the person on call is paged again."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one alert when it is due.

    `people` are those of the tenant who can be reached, by id, with their names; `on_call` is one of
    them, or None, and then `on_call_trouble` says why. `news`: a problem notification came that
    nobody was told of yet. `paged_in_round`: who was paged since the last regular page. `waiting`:
    to whom an earlier page is still being tried. `told`: who may have received any page of this
    alert. `failures` counts the pages that will not arrive, `failures_told` those that were
    escalated already; `failed_names` names who was not reached.
    """

    status: AlertStatus
    people: Mapping[int, str]
    on_call: int | None
    on_call_trouble: str = "nobody is on call"
    news: bool = False
    repeat_due: bool = False
    paged_in_round: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()
    told: frozenset[int] = frozenset()
    failures: int = 0
    failures_told: int = 0
    failed_names: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now.

    `page` and `tell_recovery` are people by id. `because` is a few words for the page, where it is
    not simply this person's turn. `new_round`: this was the regular page, the next is due in
    REPEAT_AFTER seconds. `look_again`: whether the alert stays due. `sentence` is for the history,
    None where there was nothing to decide.
    """

    page: tuple[int, ...] = ()
    tell_recovery: tuple[int, ...] = ()
    because: str | None = None
    new_round: bool = False
    look_again: bool = False
    sentence: str | None = None


def decide(facts: Facts) -> Decision:
    """The next step of an alert that is due."""
    match facts.status:
        case AlertStatus.ACKNOWLEDGED:
            return Decision()
        case AlertStatus.RESOLVED:
            return _recovered(facts)
    failed = facts.failures > facts.failures_told
    if facts.news or facts.repeat_due:
        return _regular_page(facts, everybody=failed)
    if failed:
        return _others(facts)
    return Decision(look_again=True)


def announce(facts: Facts) -> Decision:
    """The next step of what is told without opening an alert: once, to others if that fails."""
    if facts.news:
        decision = _regular_page(facts, everybody=False)
        return msgspec.structs.replace(decision, new_round=False, look_again=False)
    if facts.failures > facts.failures_told:
        return msgspec.structs.replace(_others(facts), look_again=False)
    return Decision()


def _regular_page(facts: Facts, *, everybody: bool) -> Decision:
    because = None
    if everybody:
        page, because = set(facts.people), _not_reached(facts)
        sentence = f"{because}: everybody is paged"
    elif facts.on_call is None:
        page, because = set(facts.people), facts.on_call_trouble
        sentence = f"{because}: everybody is paged"
    else:
        page = {facts.on_call}
        sentence = f"{facts.people[facts.on_call]} is on call and is paged"
        if not facts.news:
            sentence += " again, since nobody has acknowledged"
    if not facts.news:
        # Whoever's last page is still being tried would get two at once.
        still = page & facts.waiting
        page -= still
        if still and not page:
            sentence = "the last page is still being tried, so there is no other"
    if not facts.people:
        sentence = "nobody can be told: nobody of the tenant has a contact"
    return Decision(
        page=tuple(sorted(page)),
        because=because,
        new_round=True,
        look_again=True,
        sentence=sentence,
    )


def _others(facts: Facts) -> Decision:
    others = sorted(set(facts.people) - facts.paged_in_round)
    because = _not_reached(facts)
    names = ", ".join(facts.people[person] for person in others)
    return Decision(
        page=tuple(others),
        because=because,
        look_again=True,
        sentence=f"{because}: {names} paged too"
        if others
        else f"{because}; everybody has been paged already",
    )


def _recovered(facts: Facts) -> Decision:
    told = sorted(facts.told & set(facts.people))
    names = ", ".join(facts.people[person] for person in told)
    return Decision(
        tell_recovery=tuple(told),
        sentence=f"it is over, and {names} will hear so"
        if told
        else "it is over; nobody had been told of it",
    )


def _not_reached(facts: Facts) -> str:
    names = ", ".join(facts.failed_names) or "the person paged"
    return f"{names} not reached"
