"""What Hot Potato answers to a reply, and what it tells the others of one.

Every answer fits `SEGMENTS` parts, whatever names are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from hotpotato.rules.text import Subject, brief, fit, listing, named

SEGMENTS = 2
_CODE_WIDTH = 12
_NAME_WIDTH = 20


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and who has it; `person` None: nobody. `until` None: until changed."""

    schedule: str
    person: str | None
    until: datetime | None


# --- alerts


def acknowledged(taken: Sequence[Subject], held: int = 0, over: int = 0) -> str:
    """What was acknowledged; of how many others somebody has taken care, or they are over."""
    rest = [f"{held} taken by others"] if held else []
    rest += [f"{over} over already"] if over else []
    tail = f" ({', '.join(rest)})" if rest else ""
    return listing("Acknowledged: ", _plain(taken), tail, SEGMENTS)


def resolved(done: Sequence[Subject]) -> str:
    """What was called over."""
    return listing("Resolved: ", _plain(done), "", SEGMENTS)


def over_already(subject: Subject) -> str:
    """It is over: there was nothing to do."""
    return fit("", named(subject), " is over already, nothing is open.", SEGMENTS)


def taken_already(subject: Subject, by: str) -> str:
    """The acknowledgement came second, and this is who has it."""
    who = brief(by, _NAME_WIDTH)
    return fit("", named(subject), f" was acknowledged already, by {who}.", SEGMENTS)


def none_acknowledged(held: int) -> str:
    """Of several alerts none was to be had: all are over, or somebody's."""
    others = f", {held} taken by others already" if held else ""
    return f"Nothing is acknowledged: none of these is open{others}."


def no_digest() -> str:
    """The answer to «ack all» without a digest before it."""
    return "No digest was sent to this phone. Reply ack and the code of a page, like: ack KWT"


def no_such_code(code: str) -> str:
    """The code means nothing from this phone; one segment."""
    return fit(
        "No open alert has the code ", brief(code, _CODE_WIDTH), ": over already, or mistyped?", 1
    )


def which(choices: Sequence[tuple[str, Subject]]) -> str:
    """The question after an «ack» that may mean several: each (code, alert)."""
    items = [(f"ack {code} for ", subject) for code, subject in choices]
    return listing("Which one? ", items, "", SEGMENTS)


def nothing_open() -> str:
    """The answer to an «ack» when this phone was told of nothing that is open; one segment."""
    return "Nothing that was sent to this phone is open, so nothing is acknowledged."


# --- the pager


def on_call(tenants: Sequence[tuple[str, Sequence[Held]]], timezone: str) -> str:
    """Who is on call, by tenant and schedule; the tenants are named where there are several."""
    lines = [
        f"{f'{tenant} ' if len(tenants) > 1 else ''}{held.schedule}: {_holder(held, timezone)}"
        for tenant, schedules in tenants
        for held in schedules
    ]
    return fit("On call: ", "; ".join(lines), "", SEGMENTS)


def has_pager(tenant: str, until: datetime | None, timezone: str) -> str:
    """The pager was taken."""
    return fit("You have the pager of ", tenant, f"{_until(until, timezone)}.", SEGMENTS)


def had_pager(tenant: str, until: datetime | None, timezone: str) -> str:
    """The pager was there already."""
    return fit("You have the pager of ", tenant, f" already{_until(until, timezone)}.", SEGMENTS)


def take_which(labels: Iterable[str]) -> str:
    """The question after a «take» from a phone that could take several pagers."""
    return fit("Which one? Reply ", " or ".join(f"take {label}" for label in labels), "", SEGMENTS)


def cannot_take() -> str:
    """The pager of somebody whose phone is off reaches nobody."""
    return "This phone is switched off and can't have the pager. Reply start, then take."


def taken_from_you(name: str, tenant: str) -> str:
    """To whoever had the pager until somebody took it."""
    return fit(
        f"{brief(name, _NAME_WIDTH)} has taken the pager of ", tenant, " from you.", SEGMENTS
    )


# --- phones


def stopped(stranded: bool) -> str:
    """This phone is off now. `stranded`: somebody on call can't be reached any more."""
    told = " You are on call without a phone: your team is told, and paged instead of you."
    return (
        "Switched off: you get no more pages on this phone."
        f"{told if stranded else ''} To switch it on: start"
    )


def stopped_already() -> str:
    """This phone was off before."""
    return "This phone is switched off already. To switch it on: start"


def started() -> str:
    """This phone is on again."""
    return "Switched on: you get pages on this phone again. To switch it off: stop"


def started_already() -> str:
    """This phone was on before."""
    return "This phone is switched on. To switch it off: stop"


def others_of_stop(name: str, address: str, by: str, *, on_call: bool, reachable: bool) -> str:
    """To the others of a tenant: somebody's phone was switched off.

    `on_call`: they have a pager at this moment. `reachable`: through another contact.
    """
    head = f"{_by(by)} switched off the phone {address}{_of(name, by)}."
    if reachable:
        return fit(head, "", "", SEGMENTS)
    if on_call:
        return fit(head, "", " On call, not reachable: you are paged too.", SEGMENTS)
    return fit(head, "", " There is no other.", SEGMENTS)


def others_of_start(name: str, address: str, by: str) -> str:
    """To the others of a tenant: somebody's phone is on again."""
    return fit(f"{_by(by)} switched on the phone {address}{_of(name, by)}.", "", "", SEGMENTS)


def verification(code: str, name: str) -> str:
    """The message that carries a verification code; one segment."""
    return fit(
        f"{code} is the code that verifies this phone for Hot Potato. Reply with it, ",
        brief(name, _NAME_WIDTH),
        ", or type it in where you were asked.",
        1,
    )


def verified() -> str:
    """The code was right."""
    return "Verified: Hot Potato knows that this phone gets its messages."


def not_verified() -> str:
    """The code was wrong, or too late, or tried too often; one segment."""
    return "That is not the code that verifies this phone, or it is too old: ask for another."


# --- the rest


def usage() -> str:
    """Every command."""
    return (
        "ack CODE or resolve CODE: of a page or a digest. ack all: the last digest. ack: if only"
        " one is open. who: is on call. take: the pager. stop, start: this phone."
    )


def not_understood() -> str:
    """The answer to a reply that is no command; one segment."""
    return 'Not understood. Reply "ack" and the code of the page, like: ack KWT. For more: help'


def _by(name: str) -> str:
    return brief(name, _NAME_WIDTH)


def _of(name: str, by: str) -> str:
    return "" if name == by else f" of {brief(name, _NAME_WIDTH)}"


def _plain(subjects: Sequence[Subject]) -> list[tuple[str, Subject]]:
    return [("", subject) for subject in subjects]


def _holder(held: Held, timezone: str) -> str:
    if held.person is None:
        return "nobody"
    return f"{brief(held.person, _NAME_WIDTH)}{_until(held.until, timezone)}"


def _until(until: datetime | None, timezone: str) -> str:
    if until is None:
        return ""
    return f" until {until.astimezone(ZoneInfo(timezone)):%a %d %b %H:%M}"
