"""Whom to tell, and when to look again: the first form of the escalation.

Every problem pages the person on call, or everybody where nobody is on call. A message that will
not arrive pages all others. Until somebody acknowledges or it recovers, the person on call is paged
again every ten minutes. Whoever was told of a problem is told of its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from hotpotato.vocabulary import AlertStatus

REPEAT_AFTER = 600.0
"""Seconds until the person on call is paged again."""

UNTIL_SETTLED = 1.0
"""Seconds between looks at an alert that is over, while a page of it is just being sent."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one alert, or one announcement, when it is due.

    `people` are those of the tenant who can be reached, by id, with their names; `on_call` is one
    of them, or None, and then `on_call_trouble` says why. `news`: there is something that nobody
    was told of yet. `repeat_in` is the seconds until the person on call is paged again, None before
    the first page. A round begins with each page to the person on call; `paged_in_round` are those
    who were paged in this one. `waiting`: to whom an earlier page is still being tried. `told`: who
    may have received any page. `sending`: a page is with a sender at this moment. `failed`: a page
    that will not arrive was noticed since the last look; `failed_names` are those not reached.
    """

    status: AlertStatus
    people: Mapping[int, str]
    on_call: int | None
    on_call_trouble: str = "nobody is on call"
    news: bool = False
    repeat_in: float | None = None
    paged_in_round: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()
    told: frozenset[int] = frozenset()
    sending: bool = False
    failed: bool = False
    failed_names: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now.

    `page` and `tell_recovery` are people by id. `because` is a few words for the page, where it is
    not simply this person's turn. `new_round`: this is the page to the person on call, which is
    repeated at the next look. `look_in` is the seconds until the next look, None for never.
    `sentence` is for the history, None where there was nothing to decide.
    """

    page: tuple[int, ...] = ()
    tell_recovery: tuple[int, ...] = ()
    because: str | None = None
    new_round: bool = False
    look_in: float | None = None
    sentence: str | None = None


def decide(facts: Facts) -> Decision:
    """The next step of an alert that is due."""
    if facts.status is AlertStatus.ACKNOWLEDGED:
        return Decision()
    if facts.status is AlertStatus.RESOLVED:
        # Only when no page is just being sent is it known who was told, and does the end come last.
        return Decision(look_in=UNTIL_SETTLED) if facts.sending else _recovered(facts)
    if facts.news or facts.repeat_in is None or facts.repeat_in <= 0:
        return _regular_page(facts)
    if facts.failed:
        return _page_others(facts)
    return Decision(look_in=facts.repeat_in)


def announce(facts: Facts) -> Decision:
    """The next step of what is told without opening an alert: once, to others if that fails."""
    if facts.news:
        decision = _regular_page(facts)
    elif facts.failed:
        decision = _page_others(facts)
    else:
        return Decision()
    return msgspec.structs.replace(decision, new_round=False, look_in=None)


def _regular_page(facts: Facts) -> Decision:
    because, page = _whose_turn(facts)
    if not facts.news:
        # Whose last page is still being tried would get two at once.
        page -= facts.waiting
    return Decision(
        page=tuple(sorted(page)),
        because=because,
        new_round=True,
        look_in=REPEAT_AFTER,
        sentence=_said(facts, because, page),
    )


def _whose_turn(facts: Facts) -> tuple[str | None, set[int]]:
    if facts.failed:
        return _not_reached(facts), set(facts.people)
    if facts.on_call is None:
        return facts.on_call_trouble, set(facts.people)
    return None, {facts.on_call}


def _said(facts: Facts, because: str | None, page: set[int]) -> str:
    if not facts.people:
        return "nobody can be told: nobody of the tenant has a contact"
    if not page:
        return "the last page is still being tried, so there is no other"
    again = "" if facts.news else " again, since nobody has acknowledged"
    if because is not None:
        return f"{because}: {_names(facts, page)} paged{again}"
    return f"{_names(facts, page)} is on call and is paged{again}"


def _page_others(facts: Facts) -> Decision:
    others = set(facts.people) - facts.paged_in_round
    because = _not_reached(facts)
    return Decision(
        page=tuple(sorted(others)),
        because=because,
        look_in=facts.repeat_in,
        sentence=f"{because}: {_names(facts, others)} paged too"
        if others
        else f"{because}; everybody has been paged already",
    )


def _recovered(facts: Facts) -> Decision:
    told = facts.told & set(facts.people)
    return Decision(
        tell_recovery=tuple(sorted(told)),
        sentence=f"it is over, and {_names(facts, told)} will hear so"
        if told
        else "it is over; nobody had been told of it",
    )


def _not_reached(facts: Facts) -> str:
    return f"{', '.join(facts.failed_names) or 'the person paged'} not reached"


def _names(facts: Facts, people: Iterable[int]) -> str:
    return ", ".join(facts.people[person] for person in sorted(people))
