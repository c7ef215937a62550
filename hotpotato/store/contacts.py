"""Contacts: how people are reached, which are switched off, which are verified, at what pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from hotpotato.store.database import Transaction


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """One way to reach a person. `pace_…`: None where the tenant's policy says it.

    `verifiable_until`: a code was sent to it, which is good until then. `pace_every`: seconds.
    """

    id: int
    tenant_id: int
    tenant: str
    person_id: int
    person: str
    method: str
    address: str
    verified_at: datetime | None
    stopped_at: datetime | None
    verifiable_until: datetime | None
    pace_burst: int | None
    pace_every: float | None
    pace_hourly: int | None


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose contact was switched off or on just now.

    `reachable`: they have a contact that is on. `schedules` are those that they have the pager of.
    """

    tenant_id: int
    person_id: int
    person: str
    contact_id: int
    address: str
    reachable: bool
    schedules: tuple[str, ...]


async def find(
    transaction: Transaction, *, tenant: str | None = None, person_id: int | None = None
) -> list[Contact]:
    """The contacts by tenant and person, in the order in which they are tried."""
    rows = await transaction.rows(
        """
        SELECT contact.id, contact.tenant_id, tenant.name, contact.person_id, person.name,
               contact.method, contact.address, contact.verified_at, contact.stopped_at,
               contact.verification_until, contact.pace_burst,
               extract(epoch FROM contact.pace_every)::float, contact.pace_hourly
          FROM contact JOIN person ON person.id = contact.person_id
          JOIN tenant ON tenant.id = contact.tenant_id
         WHERE contact.removed_at IS NULL
           AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
           AND (%(person_id)s::bigint IS NULL OR person.id = %(person_id)s)
         ORDER BY tenant.name, person.name, contact.position, contact.id LIMIT 10000
        """,
        {"tenant": tenant, "person_id": person_id},
    )
    fields = Contact.__struct_fields__
    return [Contact(**dict(zip(fields, row, strict=True))) for row in rows]


async def switch(
    transaction: Transaction, contacts: Sequence[int], by: str | None, *, off: bool
) -> list[Switched]:
    """Switch contacts off or on; returns those that were not so already.

    `by` is for the history, None: whose phone it is.
    """
    rows = await transaction.rows(
        """
        WITH wanted AS MATERIALIZED (
            SELECT id FROM contact
             WHERE id = ANY(%(contacts)s) AND removed_at IS NULL
               AND (stopped_at IS NULL) = %(off)s
             ORDER BY id FOR NO KEY UPDATE
        ), switched AS (
            UPDATE contact SET stopped_at = CASE WHEN %(off)s THEN hotpotato_now() END
              FROM wanted WHERE contact.id = wanted.id
            RETURNING contact.id, contact.tenant_id, contact.person_id, contact.address
        ), noted AS (
            INSERT INTO history (tenant_id, kind, sentence)
            SELECT switched.tenant_id, 'contact',
                   coalesce(%(by)s, person.name) || ' switched '
                   || CASE WHEN %(off)s THEN 'off' ELSE 'on' END
                   || ' the phone ' || address || ' of ' || person.name
              FROM switched JOIN person ON person.id = switched.person_id
        )
        SELECT switched.tenant_id, person.id, person.name, switched.id, switched.address,
               NOT %(off)s OR EXISTS (
                   SELECT FROM contact AS other
                    WHERE other.person_id = person.id AND other.removed_at IS NULL
                      AND other.stopped_at IS NULL AND other.id <> ALL(%(contacts)s)),
               ARRAY(SELECT schedule.name FROM shift
                       JOIN schedule ON schedule.id = shift.schedule_id
                      WHERE shift.person_id = person.id AND shift.during @> hotpotato_now()
                        AND schedule.removed_at IS NULL ORDER BY schedule.name)
          FROM switched JOIN person ON person.id = switched.person_id
         ORDER BY switched.id
        """,
        {"contacts": list(contacts), "by": by, "off": off},
    )
    fields = Switched.__struct_fields__
    return [msgspec.convert(dict(zip(fields, row, strict=True)), Switched) for row in rows]


async def tell(
    transaction: Transaction,
    tenant_id: int,
    text: str,
    segments: int,
    *,
    only: Sequence[int] | None = None,
    but: Sequence[int] = (),
) -> list[str]:
    """Queue a notice for the tenant's people, by their first contact that is on; returns who.

    `only` these, and not the ones in `but`.
    """
    rows = await transaction.rows(
        """
        WITH whom AS MATERIALIZED (
            SELECT person.id AS person_id, person.name, contact.id AS contact_id, contact.method,
                   contact.address
              FROM person, LATERAL (
                       SELECT id, method, address FROM contact
                        WHERE contact.person_id = person.id AND removed_at IS NULL
                          AND stopped_at IS NULL
                        ORDER BY position, id LIMIT 1) AS contact
             WHERE person.tenant_id = %(tenant_id)s AND person.disabled_at IS NULL
               AND (%(only)s::bigint[] IS NULL OR person.id = ANY(%(only)s))
               AND person.id <> ALL(%(but)s::bigint[])
        ), queued AS (
            INSERT INTO message (tenant_id, kind, person_id, contact_id, method, address, text,
                                 segments, status, created_at, released_at, expires_at, due_at)
            SELECT %(tenant_id)s, 'notice', person_id, contact_id, method, address, %(text)s,
                   %(segments)s, 'queued', hotpotato_now(), hotpotato_now(),
                   hotpotato_now() + interval '24 hours', hotpotato_now()
              FROM whom
        )
        SELECT name, pg_notify('hotpotato', 'dispatch') FROM whom ORDER BY name
        """,
        {
            "tenant_id": tenant_id,
            "text": text,
            "segments": segments,
            "only": None if only is None else list(only),
            "but": list(but),
        },
    )
    return [name for name, _ in rows]


async def look_at_alerts(transaction: Transaction, tenant_id: int) -> None:
    """Have the escalation look at once at every alert of the tenant that nobody has taken.

    Whatever was sent for it may have reached nobody.
    """
    await transaction.execute(
        """
        UPDATE alert SET page_failed = true, due_at = hotpotato_now()
         WHERE id IN (SELECT id FROM alert WHERE tenant_id = %s AND status = 'triggered'
                       ORDER BY id FOR NO KEY UPDATE)
        """,
        [tenant_id],
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'escalation')")


async def set_pace(
    transaction: Transaction,
    contact_id: int,
    burst: int | None,
    every: float | None,
    hourly: int | None,
) -> None:
    """Give a contact a pace of its own; None: as the tenant's policy has it. `every`: seconds."""
    await transaction.execute(
        """
        UPDATE contact
           SET pace_burst = %s, pace_every = make_interval(secs => %s), pace_hourly = %s
         WHERE id = %s
        """,
        [burst, every, hourly, contact_id],
    )


# --- verification

VERIFIABLE_FOR = 900.0
"""Seconds for which a code that was sent to a contact is good."""

MOST_TRIES = 5
"""How often it may be given wrong."""


async def begin_verification(transaction: Transaction, contact_id: int, digest: bytes) -> None:
    """Keep the digest of the code that is sent to a contact; one that was sent before is void."""
    await transaction.execute(
        """
        UPDATE contact
           SET verification_digest = %s, verification_tries = 0,
               verification_until = hotpotato_now() + make_interval(secs => %s)
         WHERE id = %s
        """,
        [digest, VERIFIABLE_FOR, contact_id],
    )


async def verify(transaction: Transaction, given: Mapping[int, bytes]) -> list[tuple[int, bool]]:
    """Try codes, as digests by contact; returns for each contact that waits for one if it is right.

    Each time counts as a try. A contact whose code is too old, or was tried too often, waits for
    none.
    """
    rows = await transaction.rows(
        """
        WITH tried AS MATERIALIZED (
            SELECT contact.id, contact.verification_digest = given.digest AS matched
              FROM unnest(%(ids)s::bigint[], %(digests)s::bytea[]) AS given(id, digest)
              JOIN contact ON contact.id = given.id
             WHERE contact.removed_at IS NULL AND contact.verification_until > hotpotato_now()
               AND contact.verification_tries < %(most)s
             ORDER BY contact.id FOR NO KEY UPDATE OF contact
        ), judged AS (
            UPDATE contact
               SET verified_at = CASE WHEN matched THEN hotpotato_now() ELSE verified_at END,
                   verification_digest = CASE WHEN NOT matched THEN verification_digest END,
                   verification_until = CASE WHEN NOT matched THEN verification_until END,
                   verification_tries = CASE WHEN matched THEN 0 ELSE verification_tries + 1 END
              FROM tried WHERE contact.id = tried.id
            RETURNING contact.id, contact.tenant_id, contact.person_id, contact.address, matched
        ), noted AS (
            INSERT INTO history (tenant_id, kind, sentence)
            SELECT judged.tenant_id, 'contact',
                   'the phone ' || address || ' of ' || person.name || ' is verified'
              FROM judged JOIN person ON person.id = judged.person_id
             WHERE matched
        )
        SELECT id, matched FROM judged ORDER BY id
        """,
        {
            "ids": list(given),
            "digests": list(given.values()),
            "most": MOST_TRIES,
        },
    )
    return [(contact_id, matched) for contact_id, matched in rows]
