"""What people wrote back: stored once per provider id, then judged as due work."""

from __future__ import annotations

import msgspec

from hotpotato.store.database import Database, Transaction


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply to be stored. `address` is its source as E.164, None if it can't be one."""

    sender: str
    provider_id: str
    source: str
    address: str | None
    content: str
    encoding: str | None
    reply_to: str | None
    operator: str | None


class DueReply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply that waits to be judged, under lock."""

    id: int
    address: str | None
    content: str
    encoding: str | None


class Phone(msgspec.Struct, frozen=True, kw_only=True):
    """A contact with the address of a reply, and whose it is."""

    tenant_id: int
    person_id: int
    name: str
    contact_id: int
    method: str


class Coded(msgspec.Struct, frozen=True, kw_only=True):
    """The alert that a code stands for, for a phone that got a message of it."""

    alert_id: int
    tenant_id: int
    status: str
    state: str
    hostname: str
    service_name: str | None
    acknowledged_by: str | None
    person_id: int


async def store(database: Database, reply: Reply) -> bool:
    """Store a reply; False if the provider's id was there already. Fires when it is on disk."""
    rows = await database.statement(
        """
        WITH kept AS (
            INSERT INTO reply (sender, provider_id, source, address, content, encoding, reply_to,
                               operator, received_at, due_at)
            VALUES (%(sender)s, %(provider_id)s, %(source)s, %(address)s, %(content)s,
                    %(encoding)s, %(reply_to)s, %(operator)s, hotpotato_now(), hotpotato_now())
            ON CONFLICT (sender, provider_id) DO NOTHING
            RETURNING id
        )
        SELECT count(kept.id), count(pg_notify('hotpotato', 'replies')) FROM kept
        """,
        msgspec.to_builtins(reply),
    )
    return bool(rows[0][0])


async def claim(transaction: Transaction) -> DueReply | None:
    """The oldest reply that waits to be judged, under lock; None without any."""
    rows = await transaction.rows(
        """
        SELECT id, address, content, encoding FROM reply
         WHERE due_at <= hotpotato_now() ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
        """
    )
    return DueReply(**dict(zip(DueReply.__struct_fields__, rows[0], strict=True))) if rows else None


async def postpone(transaction: Transaction, reply_id: int, seconds: float) -> None:
    """Judge a reply no sooner than in so many seconds."""
    await transaction.execute(
        """
        UPDATE reply SET due_at = hotpotato_now() + make_interval(secs => %s)
         WHERE id = %s AND due_at IS NOT NULL
        """,
        [seconds, reply_id],
    )


async def phones(transaction: Transaction, address: str | None) -> list[Phone]:
    """The contacts that have this address, of people who are not disabled."""
    rows = await transaction.rows(
        """
        SELECT contact.tenant_id, contact.person_id, person.name, contact.id, contact.method
          FROM contact JOIN person ON person.id = contact.person_id
         WHERE contact.address = %s AND contact.removed_at IS NULL AND person.disabled_at IS NULL
         ORDER BY contact.id LIMIT 100
        """,
        [address],
    )
    fields = Phone.__struct_fields__
    return [Phone(**dict(zip(fields, row, strict=True))) for row in rows]


async def coded(transaction: Transaction, code: str, address: str) -> Coded | None:
    """The alert of a code, under lock, if a message of it went to this address; else None."""
    rows = await transaction.rows(
        """
        SELECT alert.id, alert.tenant_id, alert.status, alert.state, alert.hostname,
               alert.service_name, alert.acknowledged_by,
               (SELECT person_id FROM message
                 WHERE message.alert_id = alert.id AND message.address = %(address)s
                   AND message.tries > 0 ORDER BY message.id DESC LIMIT 1)
          FROM code JOIN alert ON alert.id = code.alert_id
         WHERE code.code = %(code)s
           AND EXISTS (SELECT FROM message WHERE message.alert_id = alert.id
                          AND message.address = %(address)s AND message.tries > 0)
         FOR UPDATE OF alert
        """,
        {"code": code, "address": address},
    )
    if not rows:
        return None
    return Coded(**dict(zip(Coded.__struct_fields__, rows[0], strict=True)))


async def confirmations(transaction: Transaction, address: str, within: float) -> int:
    """How many answers to replies went to this address within the last `within` seconds."""
    rows = await transaction.rows(
        """
        SELECT count(*) FROM message
         WHERE address = %s AND kind = 'confirmation'
           AND created_at > hotpotato_now() - make_interval(secs => %s)
        """,
        [address, within],
    )
    count: int = rows[0][0]
    return count


async def judged(
    transaction: Transaction,
    reply_id: int,
    verdict: str,
    *,
    tenant_id: int | None = None,
    alert_id: int | None = None,
) -> None:
    """Note what was made of a reply."""
    await transaction.execute(
        """
        WITH reply AS (
            UPDATE reply SET verdict = %(verdict)s, due_at = NULL, tenant_id = %(tenant_id)s
             WHERE id = %(id)s
        )
        INSERT INTO history (tenant_id, kind, alert_id, sentence)
        SELECT %(tenant_id)s, 'reply', %(alert_id)s, %(verdict)s
        """,
        {"id": reply_id, "verdict": verdict, "tenant_id": tenant_id, "alert_id": alert_id},
    )


async def next_due(transaction: Transaction) -> float | None:
    """Seconds until the next reply is to be judged; None without any."""
    rows = await transaction.rows(
        """
        SELECT extract(epoch FROM min(due_at) - hotpotato_now())::float FROM reply
         WHERE due_at IS NOT NULL
        """
    )
    seconds: float | None = rows[0][0]
    return seconds
