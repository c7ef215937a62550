"""What a roster file says, and how it differs from what is so.

A roster names what it is about: tenants, and in each its people, schedules and servers, by name.
What it does not name is not its business, unless it is asked to be the whole truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import msgspec

from hotpotato.rules import policy, schedule


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to reach a person."""

    sms: str


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who can be on call; `contacts` in the order in which they are tried."""

    timezone: str | None = None
    contacts: tuple[Contact, ...] = ()
    disabled: bool = False

    def __post_init__(self) -> None:
        if len(set(self.contacts)) < len(self.contacts):
            raise ValueError("the same contact is there twice")


class Layer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}
):
    """One rotation, with its people by name: see `schedule.Layer` and `schedule.Rotation`."""

    name: str
    people: tuple[str, ...]
    every: int = 1
    unit: Literal["hours", "days", "weeks"] = "weeks"
    first: date
    at: time
    since: date | None = None
    until: date | None = None
    windows: tuple[schedule.Window, ...] = ()

    def __post_init__(self) -> None:
        # What the rules refuse is refused here already.
        self.rule({name: number for number, name in enumerate(self.people)})

    def rule(self, ids: Mapping[str, int]) -> schedule.Layer:
        """The same for the rules, who know people by their ids."""
        return schedule.Layer(
            name=self.name,
            rotation=schedule.Rotation(
                participants=tuple(ids[name] for name in self.people),
                every=self.every,
                unit=self.unit,
                first=self.first,
                at=self.at,
                windows=self.windows,
            ),
            since=self.since,
            until=self.until,
        )


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Layers of rotations, the last on top. `timezone` None: the tenant's."""

    timezone: str | None = None
    layers: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError("two layers have the same name")


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A monitoring server, without its key. `timezone` None: the tenant's."""

    heartbeat_interval: float = 60.0
    missed: int = 3
    timezone: str | None = None
    disabled: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.heartbeat_interval <= 30 * 86400:
            raise ValueError("a heartbeat_interval is from 1 second to 30 days")
        if not 1 <= self.missed <= 1000:
            raise ValueError("missed is from 1 to 1000")


def _within(
    name: str,
    value: float | None,
    least: float,
    most: float,
    text: Callable[[Any], str] = policy.length,
    *,
    or_0: bool = False,
) -> None:
    """ValueError if there is a value and it is beyond its bounds."""
    if value is not None and not least <= value <= most:
        either = "0 or " if or_0 else ""
        raise ValueError(f"{name}: expected {either}from {text(least)} to {text(most)}")


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a policy, in seconds, for one of three: see `policy.Step`. People by name."""

    after: float
    again: float | None = None
    schedule: str | None = None
    person: str | None = None
    everyone: bool = False
    all_contacts: bool = False

    def __post_init__(self) -> None:
        if [self.schedule is None, self.person is None, not self.everyone].count(False) != 1:
            raise ValueError("a step is for one of schedule, person, or everyone = true")
        _within("after", self.after, 0, 7 * 86_400)
        _within("again", self.again, 30, 7 * 86_400)

    def rule(self, ids: Mapping[str, int]) -> policy.Step:
        """The same for the rules, who know people by their ids."""
        whom = policy.Whom.ON_CALL if self.person is None else policy.Whom.PERSON
        return policy.Step(
            after=self.after,
            again=self.again,
            whom=policy.Whom.EVERYONE if self.everyone else whom,
            schedule=self.schedule,
            person=None if self.person is None else ids[self.person],
            all_contacts=self.all_contacts,
        )


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `policy.Pace`; None: as shipped."""

    burst: int | None = None
    every: float | None = None
    hourly: int | None = None

    def __post_init__(self) -> None:
        _within("burst", self.burst, 1, 1000, str)
        _within("every", self.every, 1, 86_400)
        _within("hourly", self.hourly, 1, 10_000, str)


class Flapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many changes within how many seconds are too many; None: as shipped."""

    changes: int | None = None
    within: float | None = None

    def __post_init__(self) -> None:
        _within("changes", self.changes, 2, 20, str)
        _within("within", self.within, 60, 86_400)


class Calm(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}
):
    """See `policy.Calm`."""

    states: tuple[Literal["WARNING", "CRITICAL", "UNKNOWN", "DOWN", "UNREACHABLE"], ...] = ()
    days: tuple[schedule.Day, ...] = ()
    since: time | None = None
    until: time | None = None

    def __post_init__(self) -> None:
        if not self.states and not self.days and self.since is None and self.until is None:
            raise ValueError("nothing would be urgent: expected states, days, from or until")

    def rule(self) -> policy.Calm:
        """The same for the rules."""
        return policy.Calm(states=self.states, days=self.days, since=self.since, until=self.until)


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant has said of its policy: see `policy.Policy`. None, or nothing: as shipped."""

    acknowledged_for: float | None = None
    undelivered_after: float | None = None
    pace: Pace = Pace()
    flapping: Flapping = Flapping()
    digest_at: time | None = None
    calm: tuple[Calm, ...] = ()
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _within("acknowledged_for", self.acknowledged_for or None, 60, 30 * 86_400, or_0=True)
        _within("undelivered_after", self.undelivered_after, 5, 86_400)
        if self.steps and self.steps[0].after != 0:
            raise ValueError("steps[0].after: the first step is at once, expected 0")
        for number, (one, other) in enumerate(pairwise(self.steps), start=1):
            if one.after >= other.after:
                raise ValueError(
                    f"steps[{number}].after: expected more than the step before it has,"
                    f" {policy.length(one.after)}"
                )


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One organisation. `policy` None: nothing is said of it; `Policy()` is the shipped one."""

    timezone: str
    people: dict[str, Person] = {}
    schedules: dict[str, Schedule] = {}
    servers: dict[str, Server] = {}
    policy: Policy | None = None


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a roster file says."""

    tenants: dict[str, Tenant] = {}


Thing: TypeAlias = Tenant | Person | Schedule | Server | Policy
Kind = Literal["tenant", "user", "schedule", "server", "policy"]

SECTIONS: dict[Kind, str] = {"user": "people", "schedule": "schedules", "server": "servers"}
"""What a tenant has by name, as it is called in a file; in an order in which it can be made."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be made, changed, or (a schedule, with `after` None) removed.

    A tenant's people, schedules and servers have changes of their own, and so has its policy, which
    is made or, with `after` the shipped one, unmade.
    """

    kind: Kind
    tenant: str
    name: str
    before: Thing | None
    after: Thing | None

    def sentences(self) -> list[str]:
        """What changes, for people, a line each."""
        if isinstance(self.after, Policy):
            before = self.before if isinstance(self.before, Policy) else Policy()
            return [f"{self.tenant}: policy: {each}" for each in _said(before, self.after)]
        thing = f"{self.kind} {self.name}"
        where = thing if self.kind == "tenant" else f"{self.tenant}: {thing}"
        if self.after is None:
            return [f"{where}: removed"]
        if self.before is None:
            details = "; ".join(_fields(None, self.after))
            return [f"{where}: new" + (f", {details}" if details else "")]
        return [f"{where}: {each}" for each in _fields(self.before, self.after)]


class Difference(msgspec.Struct, frozen=True):
    """What to change, in an order that works, and what the roster says nothing about."""

    changes: tuple[Change, ...]
    left: tuple[str, ...]


def difference(now: Roster, wanted: Roster, *, prune: bool = False) -> Difference:
    """How to make what is so what is wanted.

    With `prune` the wanted roster is the whole truth about the tenants that it names: whom and what
    it doesn't name there is disabled, and schedules are removed; the primary one is emptied. A
    policy that it doesn't name is the shipped one again.
    """
    changes: list[Change] = []
    left: list[str] = []
    for name, tenant in wanted.tenants.items():
        known = now.tenants.get(name)
        if known is None or known.timezone != tenant.timezone:
            changes.append(
                Change(
                    kind="tenant",
                    tenant=name,
                    name=name,
                    before=known and _bare(known),
                    after=_bare(tenant),
                )
            )
        for kind, section in SECTIONS.items():
            have: Mapping[str, Thing] = getattr(known, section, {})
            want: Mapping[str, Thing] = getattr(tenant, section)
            changes += [
                Change(kind=kind, tenant=name, name=each, before=have.get(each), after=after)
                for each, after in want.items()
                if have.get(each) != after
            ]
            for each in sorted(have.keys() - want.keys()):
                before = have[each]
                after = _pruned(each, before)
                if after == before:
                    continue
                if prune:
                    changes.append(
                        Change(kind=kind, tenant=name, name=each, before=before, after=after)
                    )
                else:
                    left.append(f"{name}: {kind} {each}")
        said = known and known.policy
        if tenant.policy is None and said is not None and not prune:
            left.append(f"{name}: policy")
        elif (tenant.policy or Policy()) != (said or Policy()):
            changes.append(
                Change(
                    kind="policy",
                    tenant=name,
                    name="policy",
                    before=said,
                    after=tenant.policy or Policy(),
                )
            )
    left += [f"tenant {name}" for name in sorted(now.tenants.keys() - wanted.tenants.keys())]
    return Difference(tuple(changes), tuple(left))


class Stranger(msgspec.Struct, frozen=True):
    """A user or schedule that is named at a key of a tenant, and is neither in the file nor known.

    `known` are those that could have been meant.
    """

    tenant: str
    key: str
    kind: Kind
    name: str
    known: tuple[str, ...]


def strangers(now: Roster, wanted: Roster) -> Iterator[Stranger]:
    """Who is in a layer or a step, or what in a step, and can't be found."""
    for name, tenant in wanted.tenants.items():
        had = now.tenants.get(name)
        for key, kind, one in _named(tenant):
            section = SECTIONS[kind]
            # Every tenant has this one.
            known = {"primary"} if kind == "schedule" else set()
            known |= {*getattr(tenant, section), *getattr(had, section, {})}
            if one not in known:
                yield Stranger(name, key, kind, one, tuple(sorted(known)))


def _named(tenant: Tenant) -> Iterator[tuple[str, Kind, str]]:
    """What is named in a tenant, beside where it is described: key, kind and name."""
    for name, wanted in tenant.schedules.items():
        for number, layer in enumerate(wanted.layers):
            for person in layer.people:
                yield f"schedules.{name}.layers[{number}].people", "user", person
    for number, step in enumerate(tenant.policy.steps if tenant.policy else ()):
        if step.person is not None:
            yield f"policy.steps[{number}].person", "user", step.person
        if step.schedule is not None:
            yield f"policy.steps[{number}].schedule", "schedule", step.schedule


def _pruned(name: str, before: Thing) -> Thing | None:
    """What is left of something when it is taken out of use; the same if it is already."""
    if isinstance(before, Person | Server):
        return msgspec.structs.replace(before, disabled=True)
    # Every tenant has this one.
    return Schedule() if name == "primary" else None


def _bare(tenant: Tenant) -> Tenant:
    return Tenant(timezone=tenant.timezone)


def _fields(before: Thing | None, after: Thing) -> Iterator[str]:
    for field in msgspec.structs.fields(after):
        new = getattr(after, field.name)
        old = field.default if before is None else getattr(before, field.name)
        if field.name == "layers":
            yield from _layers(() if before is None else old, new)
        elif before is None and new not in (field.default, {}):
            yield f"{field.encode_name} {_text(new)}"
        elif before is not None and new != old:
            yield f"{field.encode_name} {_text(old)} → {_text(new)}"


def _said(before: Policy, after: Policy) -> Iterator[str]:
    """How a policy changes, where nothing said is as shipped."""
    old, new = _facts(before), _facts(after)
    for name, is_ in new.items():
        if is_ != old[name]:
            yield f"{name} {old[name]} → {is_}"
    yield from _steps(before.steps, after.steps)


def _facts(said: Policy) -> dict[str, str]:
    """Everything of a policy but its steps, by key, in words."""
    shipped = policy.SHIPPED
    return {
        "acknowledged_for": _length(said.acknowledged_for, shipped.acknowledged_for, "for ever"),
        "undelivered_after": _length(said.undelivered_after, shipped.undelivered_after),
        "pace.burst": _or_shipped(said.pace.burst, shipped.pace.burst),
        "pace.every": _length(said.pace.every, shipped.pace.every),
        "pace.hourly": _or_shipped(said.pace.hourly, shipped.pace.hourly),
        "flapping.changes": _or_shipped(said.flapping.changes, shipped.flapping_changes),
        "flapping.within": _length(said.flapping.within, shipped.flapping_within),
        "digest_at": _or_shipped(said.digest_at, shipped.digest_at),
        "calm": "; ".join(policy.waiting(each.rule()) for each in said.calm) or "nothing",
    }


def _length(said: float | None, shipped: float, zero: str = "0 s") -> str:
    text = policy.length(shipped if said is None else said) if said != 0 else zero
    return f"{text} (as shipped)" if said is None else text


def _or_shipped(said: time | int | None, shipped: time | int) -> str:
    return f"{_text(shipped)} (as shipped)" if said is None else _text(said)


def _steps(before: Sequence[Step], after: Sequence[Step]) -> Iterator[str]:
    if bool(before) != bool(after):
        yield "steps of its own" if after else "steps as shipped"
    old, new = (_told(each) for each in (before, after))
    for number in range(max(len(old), len(new))):
        is_, was = (each[number] if number < len(each) else None for each in (new, old))
        if was != is_:
            now = is_ or "removed"
            yield f"step {number + 1}: {f'{was} → {now}' if was else f'new, {now}'}"


def _told(steps: Sequence[Step]) -> list[str]:
    """A line for each step, or for each shipped one where there are none."""
    names = [step.person for step in steps if step.person is not None]
    ids = {name: number for number, name in enumerate(names)}
    rules = [step.rule(ids) for step in steps] or list(policy.SHIPPED.steps)
    return [policy.told(step, dict(enumerate(names))) for step in rules]


def _layers(before: Sequence[Layer], after: Sequence[Layer]) -> Iterator[str]:
    old = {layer.name: layer for layer in before}
    new = {layer.name: layer for layer in after}
    for name, layer in new.items():
        if name not in old:
            yield f"layer {name}: new, {layer.every} {layer.unit}, {_text(layer.people)}"
        elif layer != old[name]:
            parts = (
                f"{field.encode_name} {_text(getattr(old[name], field.name))}"
                f" → {_text(getattr(layer, field.name))}"
                for field in msgspec.structs.fields(layer)
                if getattr(old[name], field.name) != getattr(layer, field.name)
            )
            yield f"layer {name}: {'; '.join(parts)}"
    for name in old:
        if name not in new:
            yield f"layer {name}: removed"
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield f"layers in the order {_text(tuple(new))}"


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, time):
        return f"{value:%H:%M}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(_text(each) for each in value) or "none"
    if isinstance(value, Contact):
        return value.sms
    if isinstance(value, schedule.Window):
        return f"{' '.join(value.days)} {value.since:%H:%M}–{value.until:%H:%M}"
    return str(value)
