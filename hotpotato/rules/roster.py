"""What a roster file says, and how it differs from what is so.

A roster names what it is about: tenants, and in each its people, schedules and servers, by name.
What it does not name is not its business, unless it is asked to be the whole truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from typing import Literal, TypeAlias

import msgspec

from hotpotato.rules import schedule


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


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One organisation."""

    timezone: str
    people: dict[str, Person] = {}
    schedules: dict[str, Schedule] = {}
    servers: dict[str, Server] = {}


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a roster file says."""

    tenants: dict[str, Tenant] = {}


Thing: TypeAlias = Tenant | Person | Schedule | Server
Kind = Literal["tenant", "user", "schedule", "server"]

SECTIONS: dict[Kind, str] = {"user": "people", "schedule": "schedules", "server": "servers"}
"""What a tenant has by name, as it is called in a file; in an order in which it can be made."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be made, changed, or (a schedule, with `after` None) removed.

    A tenant's people, schedules and servers have changes of their own.
    """

    kind: Kind
    tenant: str
    name: str
    before: Thing | None
    after: Thing | None

    def sentences(self) -> list[str]:
        """What changes, for people, a line each."""
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
    it doesn't name there is disabled, and schedules are removed; the primary one is emptied.
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
    left += [f"tenant {name}" for name in sorted(now.tenants.keys() - wanted.tenants.keys())]
    return Difference(tuple(changes), tuple(left))


def strangers(now: Roster, wanted: Roster) -> Iterator[tuple[str, str, int, str]]:
    """Who is in a layer and neither in the file nor known: tenant, schedule, layer, name."""
    for name, tenant in wanted.tenants.items():
        known = now.tenants[name].people if name in now.tenants else {}
        for schedule_name, wanted_schedule in tenant.schedules.items():
            for number, layer in enumerate(wanted_schedule.layers):
                for person in layer.people:
                    if person not in tenant.people and person not in known:
                        yield name, schedule_name, number, person


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
