"""Digests: what is told together, when there is more than the pace allows."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import msgspec

from hotpotato.rules import text
from hotpotato.rules.severity import severity
from hotpotato.vocabulary import AlertStatus, MessageKind

PAGES = (MessageKind.PAGE, MessageKind.FLAPPING)
"""What tells a problem."""


_ENOUGH = 3
"""Letters of a state by which people know it."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was held back and may go now.

    What it is about is as it is now. `alert_status` None: no alert. `told`: somebody may have
    received a page of the alert. `person_told`: this message's person did.
    """

    id: int
    kind: MessageKind
    alert_id: int | None
    alert_status: AlertStatus | None
    state: str
    hostname: str
    service_name: str | None
    because: str | None = None
    told: bool = False
    person_told: bool = False


class Place(enum.IntEnum):
    """What a held message is in a digest, in this order."""

    OPEN = 0
    OTHER = 1
    OVER = 2


class Sorted(msgspec.Struct, frozen=True):
    """What is told of what was held, the worst first, and what is not: each with the reason."""

    told: tuple[tuple[Place, Held], ...]
    dropped: tuple[tuple[Held, str], ...]


def sorted_out(held: Iterable[Held]) -> Sorted:
    """Which of these are still to be told, and in which order.

    A problem that nobody was told of is told even when it is over: nothing happens unseen.
    """
    told: list[tuple[Place, Held]] = []
    dropped: list[tuple[Held, str]] = []
    newest: dict[int, int] = {}
    ordered = sorted(held, key=lambda one: one.id)
    for one in ordered:
        if one.alert_id is not None and one.kind in PAGES:
            newest[one.alert_id] = one.id
    for one in ordered:
        verdict = _verdict(one, newest)
        if isinstance(verdict, Place):
            told.append((verdict, one))
        else:
            dropped.append((one, verdict))
    told.sort(key=lambda each: (each[0], -severity(each[1].state), each[1].id))
    return Sorted(tuple(told), tuple(dropped))


def _verdict(one: Held, newest: dict[int, int]) -> Place | str:
    if one.kind is MessageKind.RECOVERY:
        return Place.OVER if one.person_told else "the problem was never told to this person"
    if one.kind not in PAGES or one.alert_id is None:
        return Place.OTHER
    if newest[one.alert_id] != one.id:
        return "a newer page tells it"
    if one.alert_status is AlertStatus.ACKNOWLEDGED:
        return "no longer wanted: somebody has acknowledged it"
    if one.alert_status is AlertStatus.RESOLVED:
        return "no longer wanted: it is over" if one.told else Place.OVER
    return Place.OPEN


def digest(told: Sequence[tuple[Place, Held]], code: str, limit: int) -> str:
    """The text of a digest in at most `limit` segments, with one code for all that is open."""
    places = [place for place, _ in told]
    open_, over = places.count(Place.OPEN), places.count(Place.OVER)
    counts = [f"{open_} open"] * bool(open_) + [f"{over} over"] * bool(over)
    reasons = {one.because for _, one in told if one.because}
    because = f" ({text.brief(reasons.pop(), 40)})" if len(reasons) == 1 else ""
    counted = ", ".join(counts) or f"{len(told)} messages"
    tail = f"\nReply ack {code} for all" if open_ else ""
    # What comes and goes is named once.
    subjects = [("", each) for each in dict.fromkeys(_subject(place, one) for place, one in told)]
    words = text.listing(f"{counted}{because}: ", subjects, tail, limit)
    if because and told[0][1].state[:_ENOUGH] not in words:
        # In a long reason's letters there is half the room: what it is about comes first.
        words = text.listing(f"{counted}: ", subjects, tail, limit)
    return words


def _subject(place: Place, one: Held) -> text.Subject:
    was = "was " if place is Place.OVER and severity(one.state) > 0 else ""
    return text.Subject(state=was + one.state, hostname=one.hostname, service_name=one.service_name)
