"""What of a tenant's next 14 days is not covered: where the rules of cover meet the store."""

from __future__ import annotations

from hotpotato import rota
from hotpotato.rules import cover as rules
from hotpotato.store import cover as store
from hotpotato.store import schedules
from hotpotato.store.database import Transaction
from hotpotato.store.people import Tenant


async def lacks(transaction: Transaction, tenant: Tenant) -> tuple[rules.Lack, ...]:
    """What the tenant should know, the worst first; nothing if all is covered, or it is empty."""
    now = await schedules.now(transaction)
    until = now + rota.WARN_AHEAD
    in_use, unheard = await store.servers(transaction, tenant.id)
    facts = rules.Facts(
        now=now,
        until=until,
        timezone=tenant.timezone,
        schedules=tuple(
            [
                rules.Schedule(
                    name=each.name,
                    timezone=each.timezone,
                    gaps=await rota.gaps_ahead(transaction, each, now),
                    matters=await _matters(transaction, each),
                )
                for each in await schedules.find(transaction, tenant_id=tenant.id)
            ]
        ),
        people=tuple(
            rules.Person(
                name=each.name,
                contacts=tuple(rules.Contact(*contact) for contact in each.contacts),
                on_call_from=each.on_call_from,
            )
            for each in await store.reach(transaction, tenant.id, now, until)
        ),
        servers=in_use,
        unheard=tuple(unheard),
        steps=tuple(
            rules.Step(after=after, schedule=schedule, person=person)
            for after, schedule, person in await store.steps(transaction, tenant.id)
        ),
    )
    return rules.lacks(facts)


async def _matters(transaction: Transaction, known: schedules.Schedule) -> bool:
    """Pages go by the primary schedule; another counts once there is something planned in it."""
    return known.name == "primary" or bool(await schedules.layers(transaction, known.id))
