"""From what is stored to a roster, and from a roster's changes to what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import time

import msgspec

from hotpotato import rota
from hotpotato.rules import keys
from hotpotato.rules.policy import Whom
from hotpotato.rules.roster import (
    Calm,
    Change,
    Contact,
    Flapping,
    Layer,
    Pace,
    Person,
    Policy,
    Roster,
    Schedule,
    Server,
    Step,
    Tenant,
)
from hotpotato.rules.schedule import Window
from hotpotato.store import people, policies, schedules, servers
from hotpotato.store.database import Transaction


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new server's key, which is to be shown this once."""

    tenant: str
    server: str
    api_key: str


async def current(transaction: Transaction, tenant: str | None = None) -> Roster:
    """What is so now, of all tenants or of one; nobody else applies a roster in the meantime."""
    await people.lock_tenants(transaction)
    return Roster(
        {
            each.name: Tenant(
                timezone=each.timezone,
                people=await _people(transaction, each.name),
                schedules=await _schedules(transaction, each.name),
                servers=await _servers(transaction, each.name),
                policy=await policy_of(transaction, each),
            )
            for each in await people.tenants(transaction, tenant)
        }
    )


async def apply(
    transaction: Transaction,
    changes: Sequence[Change],
    *,
    new_key: Callable[[], str] = keys.new_key,
) -> list[NewKey]:
    """Make the changes of a difference to `current`, in its transaction; returns new keys.

    Shifts are written once, when all is changed: a state in between must not get into the record.
    """
    tenants = {each.tenant for each in changes}
    await schedules.hold(transaction, await _ids(transaction, tenants))
    given = []
    for change in changes:
        match change.after or change.before:
            case Tenant() as tenant:
                await _apply_tenant(transaction, change.name, tenant.timezone)
            case Person() as person:
                await _apply_person(transaction, change, person)
            case Schedule() as schedule:
                await _apply_schedule(transaction, change, schedule)
            case Server() as server:
                given += await _apply_server(transaction, change, server, new_key)
            case Policy() as policy:
                await _apply_policy(transaction, change.tenant, policy)
    await rota.write_all(transaction, await _ids(transaction, tenants))
    return given


# --- reading


async def _people(transaction: Transaction, tenant: str) -> dict[str, Person]:
    return {
        each.name: Person(
            timezone=each.timezone,
            contacts=tuple(
                Contact(address) for method, address in each.contacts if method == "sms"
            ),
            disabled=each.disabled_at is not None,
        )
        for each in await people.people(transaction, tenant=tenant)
    }


async def _schedules(transaction: Transaction, tenant: str) -> dict[str, Schedule]:
    names = {each.id: each.name for each in await people.people(transaction, tenant=tenant)}
    return {
        each.name: Schedule(
            timezone=each.own_timezone,
            layers=tuple(
                _layer(layer, names) for layer in await schedules.layers(transaction, each.id)
            ),
        )
        for each in await schedules.find(transaction, tenant=tenant)
    }


def _layer(stored: schedules.Layer, names: dict[int, str]) -> Layer:
    return msgspec.convert(
        {
            "name": stored.name,
            "people": tuple(names[person] for person in stored.participants),
            "every": stored.every,
            "unit": stored.unit,
            "first": stored.first_on,
            "at": stored.hand_over,
            "from": stored.begins_on,
            "until": stored.ends_on,
            "windows": msgspec.convert(stored.windows, tuple[Window, ...]),
        },
        Layer,
    )


async def _servers(transaction: Transaction, tenant: str) -> dict[str, Server]:
    return {
        each.name: Server(
            heartbeat_interval=each.heartbeat_interval,
            missed=each.missed,
            timezone=each.own_timezone,
            disabled=each.disabled_at is not None,
        )
        for each in await servers.find(transaction, tenant=tenant)
    }


async def policy_of(transaction: Transaction, tenant: people.Tenant) -> Policy | None:
    """What a tenant has said of its policy; None if it is as shipped."""
    stored = (await policies.of(transaction, [tenant.id])).get(tenant.id)
    if stored is None or stored == policies.Stored():
        return None
    names = {each.id: each.name for each in await people.people(transaction, tenant=tenant.name)}
    return Policy(
        acknowledged_for=stored.acknowledged_for,
        undelivered_after=stored.undelivered_after,
        pace=Pace(burst=stored.pace_burst, every=stored.pace_every, hourly=stored.pace_hourly),
        flapping=Flapping(changes=stored.flapping_changes, within=stored.flapping_within),
        digest_at=None if stored.digest_at is None else time.fromisoformat(stored.digest_at),
        calm=msgspec.convert(stored.calm, tuple[Calm, ...]),
        steps=tuple(
            Step(
                after=step.after,
                again=step.again,
                schedule=step.schedule,
                person=None if step.person is None else names[step.person],
                everyone=step.whom == Whom.EVERYONE,
                all_contacts=step.all_contacts,
            )
            for step in stored.steps
        ),
    )


# --- writing


async def _apply_tenant(transaction: Transaction, name: str, timezone: str) -> None:
    if await people.tenants(transaction, name):
        await people.set_tenant_timezone(transaction, name, timezone)
    else:
        await people.add_tenant(transaction, name, timezone)


async def _apply_person(transaction: Transaction, change: Change, person: Person) -> None:
    (tenant,) = await people.tenants(transaction, change.tenant)
    contacts = [("sms", contact.sms) for contact in person.contacts]
    if change.before is None:
        person_id = await people.add_person(transaction, tenant.id, change.name, contacts)
    else:
        found = await people.people(transaction, name=change.name, tenant=change.tenant)
        person_id = found[0].id
        await people.set_contacts(transaction, tenant.id, person_id, contacts)
    await people.set_person_timezone(transaction, person_id, person.timezone)
    if person.disabled:
        await rota.stand_down(transaction, person_id)
    else:
        await people.enable_person(transaction, person_id)


async def _apply_schedule(transaction: Transaction, change: Change, wanted: Schedule) -> None:
    (tenant,) = await people.tenants(transaction, change.tenant)
    found = await schedules.find(transaction, name=change.name, tenant_id=tenant.id)
    if change.after is None:
        await rota.remove(transaction, found[0].id)
        return
    if not found:
        await schedules.add(transaction, tenant.id, change.name, wanted.timezone)
        found = await schedules.find(transaction, name=change.name, tenant_id=tenant.id)
    known = found[0]
    ids = {each.name: each.id for each in await people.people(transaction, tenant=change.tenant)}
    layers = [rota.stored_layer(layer.rule(ids)) for layer in wanted.layers]
    await schedules.set_timezone(transaction, known.id, wanted.timezone)
    await schedules.set_layers(transaction, tenant.id, known.id, layers)


async def _apply_server(
    transaction: Transaction, change: Change, wanted: Server, new_key: Callable[[], str]
) -> list[NewKey]:
    given = []
    if change.before is None:
        key = new_key()
        (tenant,) = await people.tenants(transaction, change.tenant)
        server_id = await servers.add(
            transaction,
            tenant_id=tenant.id,
            name=change.name,
            digest=keys.key_digest(key),
            heartbeat_interval=wanted.heartbeat_interval,
            missed=wanted.missed,
            timezone=wanted.timezone,
        )
        given.append(NewKey(tenant=change.tenant, server=change.name, api_key=key))
    else:
        found = await servers.find(transaction, name=change.name, tenant=change.tenant)
        server_id = found[0].id
        await servers.edit(
            transaction,
            server_id,
            heartbeat_interval=wanted.heartbeat_interval,
            missed=wanted.missed,
        )
        await servers.set_timezone(transaction, server_id, wanted.timezone)
    if wanted.disabled:
        await servers.disable(transaction, server_id)
    else:
        await servers.enable(transaction, server_id)
    return given


async def _apply_policy(transaction: Transaction, name: str, wanted: Policy) -> None:
    (tenant,) = await people.tenants(transaction, name)
    if wanted == Policy():
        await policies.write(transaction, tenant.id, None)
        return
    ids = {each.name: each.id for each in await people.people(transaction, tenant=name)}
    await policies.write(
        transaction,
        tenant.id,
        policies.Stored(
            acknowledged_for=wanted.acknowledged_for,
            undelivered_after=wanted.undelivered_after,
            pace_burst=wanted.pace.burst,
            pace_every=wanted.pace.every,
            pace_hourly=wanted.pace.hourly,
            flapping_changes=wanted.flapping.changes,
            flapping_within=wanted.flapping.within,
            digest_at=None if wanted.digest_at is None else wanted.digest_at.isoformat(),
            calm=tuple(msgspec.to_builtins(each.rule()) for each in wanted.calm),
            steps=tuple(
                msgspec.convert(msgspec.to_builtins(step.rule(ids)), policies.Step)
                for step in wanted.steps
            ),
        ),
    )


async def _ids(transaction: Transaction, tenants: Iterable[str]) -> list[int]:
    return [
        each.id
        for tenant in sorted(tenants)
        for each in await schedules.find(transaction, tenant=tenant)
    ]
