"""What people wrote back: stored once per provider id, then judged as due work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from hotpotato.store.database import Database, Transaction
from hotpotato.vocabulary import AlertStatus


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
    sender: str
    address: str | None
    content: str
    encoding: str | None
    reply_to: str | None
    received_at: datetime


class Phone(msgspec.Struct, frozen=True, kw_only=True):
    """A contact with the address of a reply, and whose it is.

    `timezone` is the person's, or else the tenant's. `stopped`: it is switched off.
    """

    tenant_id: int
    tenant: str
    person_id: int
    name: str
    timezone: str
    contact_id: int
    method: str
    stopped: bool


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that was in a message to the phone before its reply, now under lock.

    `person_id` is whom the newest such message was for. `code`: the alert's own, or that of the
    digest it was in.
    """

    alert_id: int
    tenant_id: int
    person_id: int
    status: AlertStatus
    state: str
    hostname: str
    service_name: str | None
    acknowledged_by: str | None
    code: str | None


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


async def claim(transaction: Transaction, most: int) -> list[DueReply]:
    """The oldest replies that wait to be judged, at most `most`, under lock."""
    rows = await transaction.rows(
        """
        SELECT id, sender, address, content, encoding, reply_to, received_at FROM reply
         WHERE due_at <= hotpotato_now() ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED
        """,
        [most],
    )
    return [DueReply(**dict(zip(DueReply.__struct_fields__, row, strict=True))) for row in rows]


async def postpone(transaction: Transaction, due: Iterable[DueReply], seconds: float) -> None:
    """Judge these replies no sooner than in so many seconds."""
    await transaction.execute(
        """
        UPDATE reply SET due_at = hotpotato_now() + make_interval(secs => %s)
         WHERE id = ANY(%s) AND due_at IS NOT NULL
        """,
        [seconds, [one.id for one in due]],
    )


async def phones(transaction: Transaction, address: str | None) -> list[Phone]:
    """The contacts that have this address, of people who are not disabled."""
    rows = await transaction.rows(
        """
        SELECT contact.tenant_id, tenant.name, contact.person_id, person.name,
               coalesce(person.timezone, tenant.timezone), contact.id, contact.method,
               contact.stopped_at IS NOT NULL
          FROM contact JOIN person ON person.id = contact.person_id
          JOIN tenant ON tenant.id = contact.tenant_id
         WHERE contact.address = %s AND contact.removed_at IS NULL AND person.disabled_at IS NULL
         ORDER BY contact.id LIMIT 100
        """,
        [address],
    )
    fields = Phone.__struct_fields__
    return [Phone(**dict(zip(fields, row, strict=True))) for row in rows]


# A reply means nothing that was not in a message to its phone when it came in: directly, or in a
# digest (`part` is then what the digest stands for, `sent` the digest; else they are one). A
# message was sent when its first attempt began. Nor does a reply mean anything of a tenant that the
# phone is no longer in.
_TOLD = """
SELECT alert.id, alert.tenant_id, told.person_id, alert.status, alert.state, alert.hostname,
       alert.service_name, alert.acknowledged_by, told.code
  FROM (SELECT DISTINCT ON (part.alert_id)
               part.alert_id, sent.person_id, coalesce(own.code, shared.code) AS code
          FROM message AS part
          JOIN message AS sent ON sent.id = coalesce(part.digest_id, part.id)
          JOIN attempt AS first ON first.message_id = sent.id AND first.number = 1
          LEFT JOIN code AS own ON own.alert_id = part.alert_id
          LEFT JOIN code AS shared ON shared.message_id = sent.id
         WHERE part.address = %(address)s AND sent.address = %(address)s
           AND part.kind <> 'confirmation' AND part.alert_id IS NOT NULL
           AND sent.tries > 0 AND first.started_at <= %(received_at)s
           AND sent.tenant_id = ANY(%(tenants)s)
           AND {which}
         ORDER BY part.alert_id, first.started_at DESC, sent.id DESC) AS told
  JOIN alert ON alert.id = told.alert_id
 WHERE {open}
 ORDER BY alert.id
   FOR NO KEY UPDATE OF alert
"""

_OF_CODE = _TOLD.format(
    which="""
    (part.alert_id = (SELECT alert_id FROM code WHERE code.code = %(code)s)
     OR part.digest_id = (SELECT message_id FROM code WHERE code.code = %(code)s))
    """,
    open="true",
)

# The message that the provider says was answered, if it told of alerts; else the last digest.
_OF_LAST_DIGEST = _TOLD.format(
    which="""
    sent.id = coalesce(
        (SELECT answered.id
           FROM attempt JOIN message AS answered ON answered.id = attempt.message_id
          WHERE attempt.sender = %(sender)s AND attempt.provider_id = %(reply_to)s
            AND answered.address = %(address)s AND answered.kind <> 'confirmation'
            AND answered.tenant_id = ANY(%(tenants)s)
            AND (answered.kind = 'digest' OR answered.alert_id IS NOT NULL)
          ORDER BY attempt.id DESC LIMIT 1),
        (SELECT digest.id
           FROM message AS digest
           JOIN attempt AS begun ON begun.message_id = digest.id AND begun.number = 1
          WHERE digest.address = %(address)s AND digest.kind = 'digest' AND digest.tries > 0
            AND digest.tenant_id = ANY(%(tenants)s) AND begun.started_at <= %(received_at)s
          ORDER BY begun.started_at DESC, digest.id DESC LIMIT 1))
    """,
    open="true",
)

# Sent a week after it was queued, at most: so a phone's whole past need not be read.
_SINCE_ACKNOWLEDGED = _TOLD.format(
    which="""
    first.started_at >= %(since)s AND part.created_at >= %(since)s::timestamptz - interval '7 days'
    """,
    open="""
    (alert.status <> 'resolved'
     OR alert.resolved_at > %(received_at)s - make_interval(secs => %(just_over)s))
    """,
)


async def of_code(
    transaction: Transaction, reply: DueReply, tenants: Sequence[int], code: str
) -> list[Told]:
    """The alert of a code, or those of a digest's, if the phone of this reply was told of it."""
    return await _told(transaction, _OF_CODE, reply, tenants, code=code)


async def of_last_digest(
    transaction: Transaction, reply: DueReply, tenants: Sequence[int]
) -> list[Told]:
    """The alerts of the message that was answered, or of the last digest before the reply."""
    return await _told(transaction, _OF_LAST_DIGEST, reply, tenants)


async def since_acknowledged(
    transaction: Transaction, reply: DueReply, tenants: Sequence[int], just_over: float
) -> list[Told]:
    """What the phone was told of since its last acknowledgement, and is open.

    Or was until `just_over` seconds before the reply.
    """
    rows = await transaction.rows(
        """
        SELECT coalesce(max(received_at), '-infinity')::text FROM reply
         WHERE address = %(address)s AND acknowledges AND received_at <= %(received_at)s
        """,
        {"address": reply.address, "received_at": reply.received_at},
    )
    return await _told(
        transaction,
        _SINCE_ACKNOWLEDGED,
        reply,
        tenants,
        since=rows[0][0],
        just_over=just_over,
    )


async def ever_told(
    transaction: Transaction, reply: DueReply, tenants: Sequence[int]
) -> list[Told]:
    """What the phone was told of, whenever, and is open."""
    return await _told(
        transaction, _SINCE_ACKNOWLEDGED, reply, tenants, since="-infinity", just_over=0.0
    )


async def _told(
    transaction: Transaction,
    statement: str,
    reply: DueReply,
    tenants: Sequence[int],
    **more: object,
) -> list[Told]:
    rows = await transaction.rows(
        statement,
        {
            "address": reply.address,
            "sender": reply.sender,
            "reply_to": reply.reply_to,
            "received_at": reply.received_at,
            "tenants": list(tenants),
            **more,
        },
    )
    fields = Told.__struct_fields__
    return [msgspec.convert(dict(zip(fields, row, strict=True)), Told) for row in rows]


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
    alerts: Sequence[int] = (),
    acknowledges: bool = False,
) -> None:
    """Note what was made of a reply, in the history of each alert that it was about."""
    await transaction.execute(
        """
        WITH reply AS (
            UPDATE reply
               SET verdict = %(verdict)s, due_at = NULL, tenant_id = %(tenant_id)s,
                   acknowledges = %(acknowledges)s
             WHERE id = %(id)s
        )
        INSERT INTO history (tenant_id, kind, alert_id, sentence)
        SELECT %(tenant_id)s, 'reply', alert_id, %(verdict)s
          FROM unnest(%(alerts)s::bigint[]) AS alert_id
        """,
        {
            "id": reply_id,
            "verdict": verdict,
            "tenant_id": tenant_id,
            "alerts": list(alerts) or [None],
            "acknowledges": acknowledges,
        },
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
