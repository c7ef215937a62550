"""What cover is judged by: who is on call ahead, with which contacts, and the servers; and telling.

Each call is part of a transaction.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.store.people import Tenant


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """A person who is not disabled, and each contact as (address, verified, stopped), in order.

    `on_call_from` is when they are on call next, in the past if they are; None: not in the time.
    """

    name: str
    contacts: tuple[tuple[str, bool, bool], ...]
    on_call_from: datetime | None


class DueTenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant whose cover is to be looked at, under lock; `due_at` is since when."""

    tenant: Tenant
    due_at: datetime


async def claim(transaction: Transaction) -> DueTenant | None:
    """Lock the tenant that has been due for longest; None if none is, or others have them."""
    rows = await transaction.rows(
        """
        SELECT id, name, timezone, cover_due_at FROM tenant
         WHERE cover_due_at <= hotpotato_now()
         ORDER BY cover_due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        """
    )
    if not rows:
        return None
    ((tenant_id, name, timezone, due_at),) = rows
    return DueTenant(tenant=Tenant(id=tenant_id, name=name, timezone=timezone), due_at=due_at)


async def postpone(transaction: Transaction, tenant_id: int, due_at: datetime) -> None:
    """Say when the tenant's cover is looked at next."""
    await transaction.execute(
        "UPDATE tenant SET cover_due_at = %s WHERE id = %s", [due_at, tenant_id]
    )


async def put_off(transaction: Transaction, tenant_id: int, seconds: float) -> None:
    """Let a tenant wait, since its cover can't be looked at."""
    await transaction.execute(
        "UPDATE tenant SET cover_due_at = hotpotato_now() + make_interval(secs => %s)"
        " WHERE id = %s",
        [seconds, tenant_id],
    )


async def next_due(transaction: Transaction) -> float | None:
    """Seconds until the next tenant is due, negative if one is; None without any."""
    rows = await transaction.rows(
        "SELECT extract(epoch FROM min(cover_due_at) - hotpotato_now())::float FROM tenant"
    )
    seconds: float | None = rows[0][0]
    return seconds


async def reach(
    transaction: Transaction, tenant_id: int, since: datetime, until: datetime
) -> list[Reach]:
    """The tenant's people, by name, and when they are on call first in that time."""
    rows = await transaction.rows(
        """
        SELECT person.name,
               ARRAY(SELECT json_build_array(address, verified_at IS NOT NULL,
                                             stopped_at IS NOT NULL)
                       FROM contact WHERE contact.person_id = person.id AND removed_at IS NULL
                      ORDER BY position, id),
               (SELECT min(lower(shift.during))
                  FROM shift JOIN schedule ON schedule.id = shift.schedule_id
                 WHERE shift.person_id = person.id AND schedule.removed_at IS NULL
                   AND shift.during && tstzrange(%s, %s))
          FROM person
         WHERE person.tenant_id = %s AND person.disabled_at IS NULL
         ORDER BY person.name LIMIT 10000
        """,
        [since, until, tenant_id],
    )
    return [
        msgspec.convert({"name": name, "contacts": contacts, "on_call_from": since}, Reach)
        for name, contacts, since in rows
    ]


async def servers(transaction: Transaction, tenant_id: int) -> tuple[int, list[str]]:
    """How many servers the tenant has in use, and which of them never sent a heartbeat."""
    rows = await transaction.rows(
        """
        SELECT name, last_heartbeat_at IS NULL FROM server
         WHERE tenant_id = %s AND disabled_at IS NULL ORDER BY name LIMIT 10000
        """,
        [tenant_id],
    )
    return len(rows), [name for name, unheard in rows if unheard]


async def steps(
    transaction: Transaction, tenant_id: int
) -> list[tuple[float, str | None, str | None]]:
    """The steps of the tenant's own policy: after how many seconds, and which schedule or person.

    There are none if it has the shipped one, which is meant to pass over what nobody has.
    """
    return await transaction.rows(
        """
        SELECT extract(epoch FROM step.after)::float, step.schedule, person.name
          FROM step LEFT JOIN person ON person.id = step.person_id
         WHERE step.tenant_id = %s ORDER BY step.position
        """,
        [tenant_id],
    )


async def announce(transaction: Transaction, tenant_id: int, output: str) -> None:
    """Tell the tenant what is not covered, as an announcement of our own."""
    await transaction.execute(
        """
        WITH stored AS (
            INSERT INTO notification (tenant_id, received_at, effect, is_service, event, state,
                                      hostname, output, late, person_id)
            SELECT %(tenant_id)s, hotpotato_now(), 'announce', false, 'CUSTOM', 'UNCOVERED',
                   'cover', %(output)s, false,
                   (SELECT shift.person_id FROM shift JOIN schedule
                           ON schedule.id = shift.schedule_id
                     WHERE schedule.tenant_id = %(tenant_id)s AND schedule.name = 'primary'
                       AND shift.during @> hotpotato_now())
            RETURNING id, tenant_id
        ), announced AS (
            INSERT INTO announcement (notification_id, tenant_id, due_at)
            SELECT id, tenant_id, hotpotato_now() FROM stored
        )
        INSERT INTO history (tenant_id, kind, notification_id, sentence)
        SELECT tenant_id, 'cover', id, %(output)s FROM stored
        """,
        {"tenant_id": tenant_id, "output": output},
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'escalation')")
