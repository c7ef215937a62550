"""Policies: whom an alert is taken to, when, and what can wait.

A policy is a list of steps on a line of time that begins with the alert. Where an alert is on that
line is its place; a step whose people can't be reached moves it ahead to the next.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

PRIMARY = "primary"
"""The schedule that every tenant has, and that stands for «on call» where none is named."""


class Whom(enum.StrEnum):
    """Whom a step is for."""

    ON_CALL = "on call"
    PERSON = "person"
    EVERYONE = "everyone"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to page `after` seconds, and `again` every so many seconds until the last step begins.

    The last step goes on for ever. `schedule` is whose person on call is meant, `person` an id.
    With `all_contacts` each person's contacts are tried at once, else one after the other.
    """

    after: float
    whom: Whom
    again: float | None = None
    schedule: str | None = None
    person: int | None = None
    all_contacts: bool = False


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How much one contact is sent, in SMS segments.

    `burst` at once, one more each `every` seconds, and never more than `hourly` within an hour.
    """

    burst: int = 3
    every: float = 60.0
    hourly: int = 20


class Calm(msgspec.Struct, frozen=True, kw_only=True):
    """What can wait: these states, on these days, at these times by the tenant's clocks.

    No states means any, no days every day ("mon" …), no times the whole day; `until` before `from`
    goes over midnight, and then `days` says when it begins.
    """

    states: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    since: time | None = msgspec.field(default=None, name="from")
    until: time | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant wants to be told. Times are seconds.

    `acknowledged_for` 0: an acknowledgement does not run out. `undelivered_after`: when a message
    without a receipt is as good as undelivered. A problem that changed `flapping_changes` times
    within `flapping_within` flaps, until it has been stable for that long. `digest_at`: when what
    can wait is told.
    """

    steps: tuple[Step, ...]
    acknowledged_for: float = 1800.0
    undelivered_after: float = 60.0
    pace: Pace = Pace()
    flapping_changes: int = 4
    flapping_within: float = 900.0
    digest_at: time = time(8)
    calm: tuple[Calm, ...] = ()


SHIPPED = Policy(
    steps=(
        Step(after=0, whom=Whom.ON_CALL, schedule=PRIMARY, again=300),
        Step(after=600, whom=Whom.ON_CALL, schedule="secondary"),
        Step(after=1200, whom=Whom.EVERYONE, again=600),
    )
)
"""What a tenant has that has said nothing else."""

AGAIN_AT_LEAST = 600.0
"""Seconds between pages of a last step that does not say how often it comes again."""


def laid_over(given: Mapping[str, Any]) -> Policy:
    """The shipped policy with what a tenant has said in its place; None means nothing was said.

    Keys are the policy's, but that the pace's stand beside them: `pace_burst` and so on.
    """
    said = {key: value for key, value in given.items() if value is not None}
    pace = paced(SHIPPED.pace, said)
    known = {key: said[key] for key in Policy.__struct_fields__ if key in said}
    if not known.get("steps"):
        known.pop("steps", None)
    if "calm" in known:
        known["calm"] = [_with_times(each) for each in known["calm"]]
    return msgspec.convert(
        {**msgspec.to_builtins(SHIPPED), **known, "pace": msgspec.to_builtins(pace)}, Policy
    )


def _with_times(calm: Mapping[str, Any]) -> dict[str, Any]:
    """As people write them, "22:00", and with seconds."""
    return {
        key: time.fromisoformat(value)
        if key in ("from", "until") and isinstance(value, str)
        else value
        for key, value in calm.items()
    }


def paced(pace: Pace, given: Mapping[str, Any]) -> Pace:
    """A pace with `pace_burst`, `pace_every` and `pace_hourly` in its place where they are said."""
    said = {
        field: value
        for field in Pace.__struct_fields__
        if (value := given.get(f"pace_{field}")) is not None
    }
    return msgspec.structs.replace(pace, **said)


class Turn(msgspec.Struct, frozen=True):
    """A moment on the line of time, and the steps whose turn it is, in order."""

    at: float
    steps: tuple[Step, ...]


def turns(policy: Policy, after: float | None = None) -> Iterator[Turn]:
    """The turns later than `after`, without an end; from the first one if it is None."""
    *earlier, last = policy.steps
    ahead = -1.0 if after is None else after
    moments = {moment for step in earlier for moment in _moments(step, last.after)}
    for at in sorted(moment for moment in moments if moment > ahead):
        yield Turn(at, tuple(step for step in earlier if at in _moments(step, last.after)))
    again = last.again or AGAIN_AT_LEAST
    begun = 0 if ahead < last.after else int((ahead - last.after) // again) + 1
    for number in count(begun):
        yield Turn(last.after + number * again, (last,))


@lru_cache(maxsize=1024)
def next_turn(policy: Policy, place: float | None) -> Turn:
    """The turn that follows a place; there always is one."""
    return next(turns(policy, place))


def next_step(policy: Policy, place: float) -> Step | None:
    """The first step that begins later than a place; None in the last one."""
    return next((step for step in policy.steps if step.after > place), None)


def _moments(step: Step, end: float) -> Sequence[float]:
    """When a step has its turns before the last step begins, at `end`."""
    if step.again is None:
        return (step.after,) if step.after < end else ()
    number = max(0, -int((step.after - end) // step.again))
    return [step.after + each * step.again for each in range(number)]


def waits(policy: Policy, state: str, now: datetime, zone: ZoneInfo) -> float | None:
    """Seconds until a problem in this state is told, if it can wait; None if it is urgent."""
    local = now.astimezone(zone)
    if not any(_calm(each, state, local) for each in policy.calm):
        return None
    day = local.date()
    moment = _on_the_wall(day, policy.digest_at, zone)
    if moment <= now:
        moment = _on_the_wall(day + timedelta(days=1), policy.digest_at, zone)
    return (moment - now).total_seconds()


def _on_the_wall(day: date, at: time, zone: ZoneInfo) -> datetime:
    # In UTC, since two times of one zone are subtracted as clocks show them.
    return datetime.combine(day, at, zone).astimezone(UTC)


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _calm(calm: Calm, state: str, local: datetime) -> bool:
    if calm.states and state.upper() not in {each.upper() for each in calm.states}:
        return False
    since, until = calm.since or time(0), calm.until or time(0)
    now, today = local.time(), _DAYS[local.weekday()]
    if since < until:
        return since <= now < until and _on(calm, today)
    yesterday = _DAYS[local.weekday() - 1]
    return (now >= since and _on(calm, today)) or (now < until and _on(calm, yesterday))


def _on(calm: Calm, day: str) -> bool:
    return not calm.days or day in calm.days


# --- in words


def outlook(policy: Policy, place: float | None, age: float, names: Mapping[int, str]) -> str:
    """What the policy does next, and then, if nobody takes the alert: «in 4 min: …; at 10 min: …».

    `place` is how far along its line the alert is, since `age` seconds; `names` are people's, by
    id. «in» counts from now, «at» on the line.
    """
    turn = next_turn(policy, place)
    wait = 0.0 if place is None else turn.at - place - age
    who = " and ".join(
        f"{whom(step, names)} again" if step.after < turn.at else whom(step, names)
        for step in turn.steps
    )
    begun = f"in {length(wait)}: {who}" if wait >= 1 else f"now: {who}"
    later = [
        f"at {length(step.after)}: {whom(step, names)}"
        for step in policy.steps
        if step.after > turn.at
    ]
    end = f", every {length(again_of(policy, policy.steps[-1]) or 0)} until somebody takes it"
    return "; ".join([begun, *later]) + end


def told(step: Step, names: Mapping[int, str]) -> str:
    """«after 10 min on call (secondary), again every 5 min»."""
    begin = f"after {length(step.after)}" if step.after else "at once"
    again = f", again every {length(step.again)}" if step.again else ""
    return f"{begin} {whom(step, names)}{again}"


def again_of(policy: Policy, step: Step) -> float | None:
    """How often a step of the policy comes again, in seconds; None: it doesn't."""
    return step.again or (AGAIN_AT_LEAST if step == policy.steps[-1] else None)


def whom(step: Step, names: Mapping[int, str]) -> str:
    """«on call (primary)», a person's name, or «everyone»."""
    if step.whom is Whom.ON_CALL:
        return with_contacts(f"on call ({step.schedule or PRIMARY})", step.all_contacts)
    if step.whom is Whom.PERSON:
        return with_contacts(names.get(step.person or 0, "somebody unknown"), step.all_contacts)
    return with_contacts("everyone", step.all_contacts)


def with_contacts(who: str, all_contacts: bool) -> str:
    """Whom, and that it is by all their contacts if it is."""
    return f"{who}, all contacts at once" if all_contacts else who


def waiting(calm: Calm) -> str:
    """«WARNING, sat sun, 22:00–07:00»: what can wait, of one entry."""
    clocks = (calm.since or time(0), calm.until or time(0))
    parts = [
        " ".join(calm.states) or "anything",
        " ".join(calm.days),
        "–".join(f"{each:%H:%M}" for each in clocks) if calm.since or calm.until else "",
    ]
    return ", ".join(filter(None, parts))


_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def length(seconds: float) -> str:
    """«1 h 30 min»: a length of time, to the second."""
    left, parts = round(seconds), []
    for size, unit in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"
