"""What of the days ahead is not covered: hours without anybody, people and servers out of reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from hotpotato.rules import schedule
from hotpotato.rules.policy import length
from hotpotato.rules.schedule import Gap

DAILY_AT = time(9)
"""When a tenant is warned, by its own clocks."""

_MOST_NAMED = 10


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and when nobody is on call; `matters`: that is not meant so."""

    name: str
    timezone: str
    gaps: tuple[Gap, ...]
    matters: bool


class Contact(msgspec.Struct, frozen=True):
    """A way to reach somebody; `stopped`: that phone said stop."""

    address: str
    verified: bool
    stopped: bool


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is not disabled; `on_call_from` None: not within the days ahead."""

    name: str
    contacts: tuple[Contact, ...]
    on_call_from: datetime | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the tenant's own policy, `after` seconds, that is for a schedule or a person."""

    after: float
    schedule: str | None = None
    person: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one tenant for the days from `now` until `until`.

    `unheard` are the servers that never sent a heartbeat, of `servers` in use.
    """

    now: datetime
    until: datetime
    timezone: str
    schedules: tuple[Schedule, ...]
    people: tuple[Person, ...]
    servers: int
    unheard: tuple[str, ...]
    steps: tuple[Step, ...] = ()


class Lack(msgspec.Struct, frozen=True):
    """Something that is not covered, as a sentence.

    `about`: "on call", "policy", "phones" or "servers".
    """

    about: str
    sentence: str


def lacks(facts: Facts) -> tuple[Lack, ...]:
    """What the tenant should know, the worst first; nothing where there is nobody and nothing."""
    if not facts.people and not facts.servers:
        return ()
    return (
        *(Lack("on call", each) for each in _of_people(facts)),
        *(Lack("policy", each) for each in _of_steps(facts)),
        *(Lack("phones", each) for each in _of_phones(facts)),
        *(Lack("servers", each) for each in _of_servers(facts)),
    )


def next_morning(now: datetime, timezone: str) -> datetime:
    """The next time after `now` at which a tenant is warned, in UTC."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    mornings = (
        schedule.instant(datetime.combine(today + timedelta(days=day), DAILY_AT), zone)
        for day in range(3)
    )
    return next(morning for morning in mornings if morning > now)


def is_morning(due_at: datetime, timezone: str) -> bool:
    """Whether that is when a tenant is warned; if not, it is new, or its clocks have changed."""
    return next_morning(due_at - timedelta(microseconds=1), timezone) == due_at


def _of_people(facts: Facts) -> Iterator[str]:
    if not any(_reachable(person) for person in facts.people):
        yield "nobody can be told, no person has a contact"
    else:
        for each in facts.schedules:
            if each.matters and each.gaps:
                yield _gaps(each, facts)
    for why, names in _unready(facts).items():
        yield f"{_listed(names)}, and {why}"


def _of_steps(facts: Facts) -> Iterator[str]:
    """Steps that find nobody. That a planned schedule has gaps is said of the schedule."""
    schedules = {each.name: each for each in facts.schedules}
    people = {each.name: each for each in facts.people}
    for step in facts.steps:
        at = f"the step {f'after {length(step.after)}' if step.after else 'at once'} finds nobody"
        if step.schedule is not None:
            known = schedules.get(step.schedule)
            if known is None:
                yield f"{at}, there is no schedule {step.schedule}"
            elif not known.matters and Gap(facts.now, facts.until) in known.gaps:
                yield f"{at}, nobody is on call in {step.schedule}"
        if step.person is not None:
            person = people.get(step.person)
            if person is None:
                yield f"{at}, {step.person} is disabled"
            elif not _reachable(person):
                yield f"{at}, {step.person} {_trouble(person)}"


def _of_phones(facts: Facts) -> Iterator[str]:
    stopped = [
        f"{person.name} ({contact.address})"
        for person in facts.people
        for contact in person.contacts
        if contact.stopped
    ]
    if stopped:
        yield f"switched off by an SMS that said stop: {_listed(stopped)}"


def _of_servers(facts: Facts) -> Iterator[str]:
    if facts.unheard:
        have, them = ("has", "it") if len(facts.unheard) == 1 else ("have", "them")
        yield f"{_listed(facts.unheard)} {have} never sent a heartbeat, so nobody would miss {them}"


def _gaps(known: Schedule, facts: Facts) -> str:
    where = "" if known.name == "primary" else f" in {known.name}"
    everybody = ", everybody would be paged" if known.name == "primary" else ""
    first, *more = known.gaps
    if (first.since, first.until) == (facts.now, facts.until):
        return f"nobody is on call{where}{everybody}"
    days = (facts.until - facts.now).days
    times = "time" if len(more) == 1 else "times"
    others = f", and {len(more)} more {times} within {days} days" if more else ""
    return f"nobody is on call{where} {spoken(first, known.timezone)}{others}"


def _unready(facts: Facts) -> dict[str, list[str]]:
    """Who is on call, and from when, by what is wrong with their contacts."""
    found: dict[str, list[str]] = {}
    for person in facts.people:
        if person.on_call_from is not None and (why := _trouble(person)) is not None:
            found.setdefault(why, []).append(_holder(person, facts))
    return found


def _holder(person: Person, facts: Facts) -> str:
    assert person.on_call_from is not None
    if person.on_call_from <= facts.now:
        return f"{person.name} is on call"
    since = person.on_call_from.astimezone(ZoneInfo(facts.timezone))
    return f"{person.name} is on call from {since:%a %Y-%m-%d %H:%M}"


def _trouble(person: Person) -> str | None:
    if not person.contacts:
        return "has no contact"
    if not _reachable(person):
        return "has no contact that did not say stop"
    if not any(each.verified and not each.stopped for each in person.contacts):
        return "has no verified contact"
    return None


def _reachable(person: Person) -> bool:
    return any(not contact.stopped for contact in person.contacts)


def spoken(gap: Gap, timezone: str) -> str:
    """«from Mon 2026-11-30 09:00 until Tue 2026-12-01 09:00 NZDT»."""
    zone = ZoneInfo(timezone)
    since, until = gap.since.astimezone(zone), gap.until.astimezone(zone)
    return f"from {since:%a %Y-%m-%d %H:%M} until {until:%a %Y-%m-%d %H:%M %Z}"


def _listed(names: Sequence[str]) -> str:
    """«A, B and C»; of many only the first, and how many more."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
