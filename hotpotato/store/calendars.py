"""Secret calendar addresses: only a digest of each is kept."""

from __future__ import annotations

from datetime import datetime

import msgspec

from hotpotato.store.database import Transaction


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """The address of one schedule's shifts or of one person's; the other of the two is None."""

    id: int
    tenant: str
    schedule_id: int | None
    schedule: str | None
    person_id: int | None
    person: str | None
    timezone: str
    created_at: datetime
    revoked_at: datetime | None


async def add(
    transaction: Transaction,
    tenant_id: int,
    digest: bytes,
    *,
    schedule_id: int | None = None,
    person_id: int | None = None,
) -> int:
    """Add an address for a schedule or a person; returns its id."""
    rows = await transaction.rows(
        """
        INSERT INTO calendar (tenant_id, schedule_id, person_id, token_digest)
        VALUES (%s, %s, %s, %s) RETURNING id
        """,
        [tenant_id, schedule_id, person_id, digest],
    )
    calendar_id: int = rows[0][0]
    return calendar_id


async def find(
    transaction: Transaction, tenant: str | None = None, number: int | None = None
) -> list[Calendar]:
    """The addresses, revoked ones too: all, those of a tenant, or the one of that id."""
    rows = await transaction.rows(
        _CALENDARS
        + """
 WHERE (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
   AND (%(id)s::bigint IS NULL OR calendar.id = %(id)s)
 ORDER BY tenant.name, calendar.id LIMIT 10000
""",
        {"tenant": tenant, "id": number},
    )
    return [Calendar(**dict(zip(Calendar.__struct_fields__, row, strict=True))) for row in rows]


async def by_digest(transaction: Transaction, digest: bytes) -> Calendar | None:
    """The address whose secret has this digest; None if it is unknown, or revoked."""
    rows = await transaction.rows(
        _CALENDARS + " WHERE calendar.token_digest = %s AND calendar.revoked_at IS NULL", [digest]
    )
    if not rows:
        return None
    return Calendar(**dict(zip(Calendar.__struct_fields__, rows[0], strict=True)))


async def revoke(transaction: Transaction, number: int) -> None:
    """Let the address lead nowhere from now on."""
    await transaction.execute(
        "UPDATE calendar SET revoked_at = coalesce(revoked_at, hotpotato_now()) WHERE id = %s",
        [number],
    )


_CALENDARS = """
SELECT calendar.id, tenant.name, schedule.id, schedule.name, person.id, person.name,
       coalesce(schedule.timezone, person.timezone, tenant.timezone), calendar.created_at,
       calendar.revoked_at
  FROM calendar JOIN tenant ON tenant.id = calendar.tenant_id
  LEFT JOIN schedule ON schedule.id = calendar.schedule_id
  LEFT JOIN person ON person.id = calendar.person_id
"""
