"""Silences: what is held back for a time. Whether one matches is decided elsewhere.

When one is added or ends, the tenant's alerts that nobody has taken are looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import Silence


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A silence as it is shown. `server` None: any; `service` None: hosts and their services."""

    id: int
    tenant: str
    host: str
    service: str | None
    server: str | None
    since: datetime
    until: datetime
    author: str
    reason: str
    created_at: datetime
    status: str


async def active(transaction: Transaction, tenants: Sequence[int]) -> dict[int, list[Silence]]:
    """The silences of these tenants that last now, by tenant; those without one are left out."""
    rows = await transaction.rows(
        """
        SELECT tenant_id, id, host, service, server_id, author, reason,
               extract(epoch FROM upper(during) - hotpotato_now())::float
          FROM silence
         WHERE tenant_id = ANY(%s) AND during @> hotpotato_now()
         ORDER BY tenant_id, id
        """,
        [list(tenants)],
    )
    found: dict[int, list[Silence]] = {}
    for tenant_id, *rest in rows:
        silence = Silence(**dict(zip(Silence.__struct_fields__, rest, strict=True)))
        found.setdefault(tenant_id, []).append(silence)
    return found


async def find(
    transaction: Transaction,
    *,
    tenant: str | None = None,
    number: int | None = None,
    over: bool = True,
) -> list[Given]:
    """The silences in order of their begin: all, of a tenant, or the one of that id.

    `status` is "active", "to come" or "over"; without `over` those that are over are left out.
    """
    rows = await transaction.rows(
        """
        SELECT silence.id, tenant.name, silence.host, silence.service, server.name,
               lower(during), upper(during), silence.author, silence.reason, silence.created_at,
               CASE WHEN upper(during) <= hotpotato_now() THEN 'over'
                    WHEN lower(during) > hotpotato_now() THEN 'to come'
                    ELSE 'active' END
          FROM silence JOIN tenant ON tenant.id = silence.tenant_id
          LEFT JOIN server ON server.id = silence.server_id
         WHERE (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
           AND (%(id)s::bigint IS NULL OR silence.id = %(id)s)
           AND (%(over)s OR upper(during) > hotpotato_now())
         ORDER BY tenant.name, lower(during), silence.id LIMIT 10000
        """,
        {"tenant": tenant, "id": number, "over": over},
    )
    return [Given(**dict(zip(Given.__struct_fields__, row, strict=True))) for row in rows]


async def add(
    transaction: Transaction,
    *,
    tenant_id: int,
    server_id: int | None,
    host: str,
    service: str | None,
    since: datetime,
    until: datetime,
    author: str,
    reason: str,
) -> int:
    """Silence what matches, from `since` until `until`, which must be later; returns its id."""
    rows = await transaction.rows(
        """
        INSERT INTO silence (tenant_id, server_id, host, service, during, author, reason)
        VALUES (%(tenant_id)s, %(server_id)s, %(host)s, %(service)s,
                tstzrange(%(since)s, %(until)s), %(author)s, %(reason)s)
        RETURNING id
        """,
        {
            "tenant_id": tenant_id,
            "server_id": server_id,
            "host": host,
            "service": service,
            "since": since,
            "until": until,
            "author": author,
            "reason": reason,
        },
    )
    silence_id: int = rows[0][0]
    await _note(transaction, silence_id, f"{author} silences ")
    await look_again(transaction, tenant_id)
    return silence_id


async def end(transaction: Transaction, silence_id: int, author: str) -> bool:
    """End a silence now, or delete it if it has not begun; False if it is over or not there."""
    rows = await transaction.rows(
        """
        SELECT tenant_id, lower(during) >= hotpotato_now() FROM silence
         WHERE id = %s AND upper(during) > hotpotato_now() FOR UPDATE
        """,
        [silence_id],
    )
    if not rows:
        return False
    ((tenant_id, to_come),) = rows
    await _note(transaction, silence_id, f"{author} ends the silence of ")
    await transaction.execute(
        "DELETE FROM silence WHERE id = %s"
        if to_come
        else "UPDATE silence SET during = tstzrange(lower(during), hotpotato_now()) WHERE id = %s",
        [silence_id],
    )
    await look_again(transaction, tenant_id)
    return True


async def _note(transaction: Transaction, silence_id: int, done: str) -> None:
    """Keep in the history what was done, followed by the silence itself."""
    await transaction.execute(
        """
        INSERT INTO history (tenant_id, kind, server_id, sentence)
        SELECT silence.tenant_id, 'silence', silence.server_id,
               %s || coalesce('service ' || silence.service || ' on ', '') || 'host '
               || silence.host || coalesce(' of ' || server.name, '') || ' from '
               || to_char(lower(during) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' until '
               || to_char(upper(during) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC ('
               || silence.reason || ', by ' || silence.author || ')'
          FROM silence LEFT JOIN server ON server.id = silence.server_id
         WHERE silence.id = %s
        """,
        [done, silence_id],
    )


async def look_again(transaction: Transaction, tenant_id: int) -> None:
    """Have the escalation look now at every alert of the tenant that nobody has taken."""
    await transaction.rows(
        """
        WITH open AS MATERIALIZED (
            SELECT id FROM alert WHERE tenant_id = %s AND status = 'triggered'
             ORDER BY id FOR NO KEY UPDATE
        ), woken AS (
            UPDATE alert SET due_at = least(due_at, hotpotato_now())
              FROM open WHERE alert.id = open.id
        )
        SELECT pg_notify('hotpotato', 'escalation')
        """,
        [tenant_id],
    )
