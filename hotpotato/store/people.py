"""Tenants, people and their contacts, and who is on call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from hotpotato.store.database import Transaction


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One organisation's people and servers, apart from every other's."""

    id: int
    name: str
    timezone: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can be on call; `contacts` are (method, address) in the order they are tried.

    `timezone` None: the tenant's.
    """

    id: int
    tenant_id: int
    tenant: str
    name: str
    contacts: tuple[tuple[str, str], ...]
    disabled_at: datetime | None
    timezone: str | None


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """One way to reach a person."""

    id: int
    method: str
    address: str


class OnCall(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and who has it now; `person` None: nobody. `until` None: until changed."""

    tenant: str
    schedule: str
    person: str | None
    since: datetime | None
    until: datetime | None


async def tenants(transaction: Transaction, name: str | None = None) -> list[Tenant]:
    """The tenants by name, all or the one."""
    rows = await transaction.rows(
        """
        SELECT id, name, timezone FROM tenant
         WHERE %(name)s::text IS NULL OR name = %(name)s ORDER BY name LIMIT 10000
        """,
        {"name": name},
    )
    return [Tenant(id=row[0], name=row[1], timezone=row[2]) for row in rows]


async def add_tenant(transaction: Transaction, name: str, timezone: str) -> int:
    """Add a tenant with its primary schedule. StatementRefused (23505) if the name is taken."""
    rows = await transaction.rows(
        "INSERT INTO tenant (name, timezone) VALUES (%s, %s) RETURNING id", [name, timezone]
    )
    tenant_id: int = rows[0][0]
    await transaction.execute(
        "INSERT INTO schedule (tenant_id, name) VALUES (%s, 'primary')", [tenant_id]
    )
    return tenant_id


async def lock_tenants(transaction: Transaction) -> None:
    """Let nobody else who asks for it have the tenants until the transaction ends.

    Notifications come in, and are told, all the same.
    """
    await transaction.execute("LOCK TABLE tenant IN SHARE ROW EXCLUSIVE MODE")


async def set_tenant_timezone(transaction: Transaction, name: str, timezone: str) -> None:
    """Give a tenant another time zone."""
    await transaction.execute("UPDATE tenant SET timezone = %s WHERE name = %s", [timezone, name])


async def set_person_timezone(
    transaction: Transaction, person_id: int, timezone: str | None
) -> None:
    """Give a person another time zone; None: the tenant's."""
    await transaction.execute(
        "UPDATE person SET timezone = %s WHERE id = %s", [timezone, person_id]
    )


async def people(
    transaction: Transaction, name: str | None = None, tenant: str | None = None
) -> list[Person]:
    """The people by tenant and name, all or those of a name or a tenant."""
    rows = await transaction.rows(
        """
        SELECT person.id, person.tenant_id, tenant.name, person.name,
               coalesce(array_agg(contact.method ORDER BY contact.position)
                        FILTER (WHERE contact.id IS NOT NULL), '{}'),
               coalesce(array_agg(contact.address ORDER BY contact.position)
                        FILTER (WHERE contact.id IS NOT NULL), '{}'),
               person.disabled_at, person.timezone
          FROM person JOIN tenant ON tenant.id = person.tenant_id
          LEFT JOIN contact ON contact.person_id = person.id AND contact.removed_at IS NULL
         WHERE (%(name)s::text IS NULL OR person.name = %(name)s)
           AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
         GROUP BY person.id, tenant.name
         ORDER BY tenant.name, person.name LIMIT 10000
        """,
        {"name": name, "tenant": tenant},
    )
    return [
        Person(
            id=row[0],
            tenant_id=row[1],
            tenant=row[2],
            name=row[3],
            contacts=tuple(zip(row[4], row[5], strict=True)),
            disabled_at=row[6],
            timezone=row[7],
        )
        for row in rows
    ]


async def add_person(
    transaction: Transaction, tenant_id: int, name: str, contacts: Sequence[tuple[str, str]]
) -> int:
    """Add a person with contacts in order. StatementRefused (23505) if the tenant has the name."""
    rows = await transaction.rows(
        "INSERT INTO person (tenant_id, name) VALUES (%s, %s) RETURNING id", [tenant_id, name]
    )
    person_id: int = rows[0][0]
    await set_contacts(transaction, tenant_id, person_id, contacts)
    return person_id


async def first_contact(transaction: Transaction, person_id: int) -> Contact | None:
    """The contact that a page to this person goes to first; None if there is none that is on."""
    rows = await transaction.rows(
        """
        SELECT id, method, address FROM contact
         WHERE person_id = %s AND removed_at IS NULL AND stopped_at IS NULL
         ORDER BY position, id LIMIT 1
        """,
        [person_id],
    )
    return Contact(id=rows[0][0], method=rows[0][1], address=rows[0][2]) if rows else None


async def rename_person(transaction: Transaction, person_id: int, name: str) -> None:
    """Give a person another name. StatementRefused (23505) if the tenant has one of that name."""
    await transaction.execute("UPDATE person SET name = %s WHERE id = %s", [name, person_id])


async def set_contacts(
    transaction: Transaction, tenant_id: int, person_id: int, contacts: Sequence[tuple[str, str]]
) -> None:
    """Make these the person's contacts, in this order. What was sent to others stays a record.

    One that stays is as verified as it was. One that was taken away is verified anew when it comes
    back; a phone that said stop stays off.
    """
    methods, addresses = [method for method, _ in contacts], [address for _, address in contacts]
    await transaction.execute(
        """
        UPDATE contact
           SET removed_at = hotpotato_now(), verified_at = NULL, verification_digest = NULL,
               verification_until = NULL
         WHERE person_id = %s AND removed_at IS NULL
           AND (method, address) NOT IN (SELECT * FROM unnest(%s::text[], %s::text[]))
        """,
        [person_id, methods, addresses],
    )
    await transaction.execute(
        """
        INSERT INTO contact (tenant_id, person_id, method, address, position)
        SELECT %s, %s, method, address, position
          FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted(method, address, position)
        ON CONFLICT (person_id, method, address)
        DO UPDATE SET position = excluded.position, removed_at = NULL
        """,
        [tenant_id, person_id, methods, addresses],
    )


async def disable_person(transaction: Transaction, person_id: int) -> None:
    """Page this person no more. Their shifts are the rota's business."""
    await transaction.execute(
        "UPDATE person SET disabled_at = coalesce(disabled_at, hotpotato_now()) WHERE id = %s",
        [person_id],
    )


async def enable_person(transaction: Transaction, person_id: int) -> None:
    """Let this person be paged again."""
    await transaction.execute("UPDATE person SET disabled_at = NULL WHERE id = %s", [person_id])


async def on_call(
    transaction: Transaction,
    tenant: str | None = None,
    person: str | None = None,
    at: datetime | None = None,
) -> list[OnCall]:
    """Who has the pager now, or at a time: every schedule of all tenants or of one.

    With `person`, a name, only the schedules that they have.
    """
    rows = await transaction.rows(
        """
        SELECT tenant.name, schedule.name, person.name, lower(shift.during), upper(shift.during)
          FROM schedule JOIN tenant ON tenant.id = schedule.tenant_id
          LEFT JOIN shift ON shift.schedule_id = schedule.id
                         AND shift.during @> coalesce(%(at)s, hotpotato_now())
          LEFT JOIN person ON person.id = shift.person_id
         WHERE schedule.removed_at IS NULL
           AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
           AND (%(person)s::text IS NULL OR person.name = %(person)s)
         ORDER BY tenant.name, schedule.name LIMIT 10000
        """,
        {"tenant": tenant, "person": person, "at": at},
    )
    return [
        OnCall(tenant=row[0], schedule=row[1], person=row[2], since=row[3], until=row[4])
        for row in rows
    ]
