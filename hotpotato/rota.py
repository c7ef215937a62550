"""From a schedule's layers and overrides to its stored shifts: where the rules meet the store.

Whoever changes a schedule writes its shifts again in the same transaction; `duties.rota` does it
once a day for all, so that they always reach far enough ahead. What is past is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from hotpotato.rules import schedule as rules
from hotpotato.rules.cover import next_morning
from hotpotato.store import people, schedules
from hotpotato.store.database import Transaction
from hotpotato.store.schedules import Definition, Schedule

AHEAD = timedelta(days=90)
"""How far ahead shifts are written, at least."""

NEAR = timedelta(days=7)
"""With no more than this left of what was written ahead, nobody waits for the daily turn."""

WARN_AHEAD = timedelta(days=14)
"""How far ahead hours with nobody on call are looked for."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule whose shifts were written just now.

    `shifts` are those that have not ended. `gaps`: when nobody is on call within WARN_AHEAD.
    `planned`: whether it has layers, so that gaps are not meant.
    """

    schedule: Schedule
    now: datetime
    shifts: tuple[rules.Shift, ...]
    gaps: tuple[rules.Gap, ...]
    planned: bool


async def write(transaction: Transaction, schedule_id: int) -> Written:
    """Make a schedule's shifts, from now on, what its layers and overrides say."""
    known = await schedules.lock(transaction, schedule_id)
    wanted = _wanted(known)
    change = rules.rewrite([_shift(each) for each in known.shifts], wanted, known.now)
    await schedules.change_shifts(
        transaction,
        known.schedule,
        delete=[shift.since for shift in change.delete],
        end_at=None if change.current is None else (change.current.since, change.current.until),
        insert=[_stored(shift) for shift in change.insert],
    )
    morning = next_morning(known.now, known.schedule.timezone)
    await schedules.postpone(transaction, schedule_id, morning)
    return Written(
        schedule=known.schedule,
        now=known.now,
        shifts=wanted,
        gaps=rules.gaps(wanted, known.now, known.now + WARN_AHEAD),
        planned=bool(known.layers),
    )


async def write_all(transaction: Transaction, schedule_ids: Iterable[int]) -> list[Written]:
    """The same for several, in an order in which nobody waits for each other."""
    return [await write(transaction, each) for each in sorted(set(schedule_ids))]


async def gaps_ahead(
    transaction: Transaction, known: Schedule, now: datetime | None = None
) -> tuple[rules.Gap, ...]:
    """When nobody is on call within WARN_AHEAD of now, going by the stored shifts."""
    now = now or await schedules.now(transaction)
    found = await schedules.held(transaction, now, now + WARN_AHEAD, schedule_id=known.id)
    spans = [rules.Shift(0, each.since, each.until, each.source) for each in found]
    return rules.gaps(spans, now, now + WARN_AHEAD)


# --- the pager by hand


async def set_on_call(
    transaction: Transaction,
    tenant_id: int,
    person_id: int,
    *,
    schedule: str = "primary",
    author: str = "hotpotato oncall set",
) -> Written:
    """Give this person the pager of a schedule, from now until changed."""
    known = await _locked(transaction, tenant_id, schedule)
    await schedules.end_overrides(
        transaction, known.now, schedule_id=known.schedule.id, only_open=True
    )
    override = rules.Override(person=person_id, since=known.now, source="set by hand")
    return await _override(transaction, known, [override], author)


async def clear_on_call(
    transaction: Transaction, tenant_id: int, *, schedule: str = "primary"
) -> Written:
    """End whatever was set by hand and lasts now; then the layers say who has the pager."""
    known = await _locked(transaction, tenant_id, schedule)
    await schedules.end_overrides(transaction, known.now, schedule_id=known.schedule.id)
    return await write(transaction, known.schedule.id)


async def override(
    transaction: Transaction,
    schedule_id: int,
    person_id: int,
    since: datetime,
    until: datetime,
    author: str,
) -> Written:
    """Give this person the pager for that time. ValueError if it would end before it begins."""
    known = await schedules.lock(transaction, schedule_id)
    wanted = rules.Override(person=person_id, since=since, until=until)
    return await _override(transaction, known, [wanted], author)


async def take(transaction: Transaction, schedule_id: int, person_id: int, author: str) -> Written:
    """Give this person the pager now, for what is left of the shift that runs, or of the gap."""
    known = await schedules.lock(transaction, schedule_id)
    wanted = rules.take(_wanted(known), person_id, known.now)
    return await _override(transaction, known, [wanted], author)


async def swap(
    transaction: Transaction, schedule_id: int, one: rules.Shift, other: rules.Shift, author: str
) -> Written:
    """Let two people do each other's shift. ValueError if that is none: see `rules.swap`."""
    known = await schedules.lock(transaction, schedule_id)
    return await _override(transaction, known, rules.swap(one, other), author)


async def cancel(transaction: Transaction, schedule_id: int, override_id: int) -> Written:
    """Call an override off: what is left of it counts no more."""
    known = await schedules.lock(transaction, schedule_id)
    await schedules.end_overrides(transaction, known.now, override_id=override_id, future=True)
    return await write(transaction, schedule_id)


async def disable(transaction: Transaction, person_id: int) -> list[Written]:
    """Page this person no more, and give their shifts to nobody: what was set by hand ends.

    Returns the schedules in which they would have been on call.
    """
    return await write_all(transaction, await stand_down(transaction, person_id))


async def stand_down(transaction: Transaction, person_id: int) -> list[int]:
    """Do what `disable` does, but for the shifts: returns the schedules that must be written."""
    concerned = await schedules.of_person(transaction, person_id)
    await schedules.hold(transaction, concerned)
    await people.disable_person(transaction, person_id)
    now = await schedules.now(transaction)
    await schedules.end_overrides(transaction, now, person_id=person_id, future=True)
    return concerned


async def enable(transaction: Transaction, person_id: int) -> list[Written]:
    """Let this person be paged again, and have their turns again."""
    await people.enable_person(transaction, person_id)
    return await write_all(transaction, await schedules.of_person(transaction, person_id))


async def remove(transaction: Transaction, schedule_id: int) -> None:
    """Take a schedule out of use. StatementRefused (23514) if it is the primary one."""
    known = await schedules.lock(transaction, schedule_id)
    await schedules.end_overrides(transaction, known.now, schedule_id=schedule_id, future=True)
    await schedules.remove(transaction, schedule_id)
    await write(transaction, schedule_id)


# --- between the two languages


def layer_of(stored: schedules.Layer) -> rules.Layer:
    """A layer as the rules know it."""
    rotation = {
        "participants": stored.participants,
        "every": stored.every,
        "unit": stored.unit,
        "first": stored.first_on,
        "at": stored.hand_over,
        "windows": stored.windows,
    }
    return rules.Layer(
        name=stored.name,
        rotation=msgspec.convert(rotation, rules.Rotation),
        since=stored.begins_on,
        until=stored.ends_on,
    )


def stored_layer(layer: rules.Layer) -> schedules.Layer:
    """A layer as the store knows it."""
    rotation = layer.rotation
    return schedules.Layer(
        name=layer.name,
        participants=rotation.participants,
        every=rotation.every,
        unit=rotation.unit,
        first_on=rotation.first,
        hand_over=rotation.at,
        begins_on=layer.since,
        ends_on=layer.until,
        windows=msgspec.to_builtins(rotation.windows),
    )


def _wanted(known: Definition) -> tuple[rules.Shift, ...]:
    """The shifts from now on. Whoever is disabled is on call at no time, and nobody instead."""
    found = rules.shifts(
        [layer_of(each) for each in known.layers],
        [_rule(each) for each in known.overrides if each.person_id not in known.disabled],
        ZoneInfo(known.schedule.timezone),
        known.now,
        _horizon(known.now),
    )
    return tuple(shift for shift in found if shift.person not in known.disabled)


def _horizon(now: datetime) -> datetime:
    # A whole day, so that writing twice on one day changes nothing; and one more, until the next.
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + AHEAD + timedelta(days=2)


async def _locked(transaction: Transaction, tenant_id: int, name: str) -> Definition:
    (found,) = await schedules.find(transaction, name=name, tenant_id=tenant_id)
    return await schedules.lock(transaction, found.id)


async def _override(
    transaction: Transaction, known: Definition, wanted: Sequence[rules.Override], author: str
) -> Written:
    for each in wanted:
        stored = schedules.Override(
            person_id=each.person, since=each.since, until=each.until, source=each.source
        )
        await schedules.add_override(transaction, known.schedule, stored, author)
    return await write(transaction, known.schedule.id)


def _rule(stored: schedules.Override) -> rules.Override:
    return msgspec.convert(
        {
            "person": stored.person_id,
            "from": stored.since,
            "until": stored.until,
            "source": stored.source,
        },
        rules.Override,
    )


def _shift(stored: schedules.Shift) -> rules.Shift:
    return rules.Shift(
        stored.person_id,
        stored.since.astimezone(UTC),
        None if stored.until is None else stored.until.astimezone(UTC),
        stored.source,
    )


def _stored(shift: rules.Shift) -> schedules.Shift:
    return schedules.Shift(
        person_id=shift.person, since=shift.since, until=shift.until, source=shift.source
    )
