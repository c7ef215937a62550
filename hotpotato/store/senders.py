"""Senders: how their last attempts went, and which of them are sick."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import Outcome


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One of a sender's last attempts; `age` in seconds. `after`: it began since it is sick."""

    sender: str
    outcome: Outcome | None
    age: float
    answered: bool
    why: str | None
    after: bool


class Sick(msgspec.Struct, frozen=True, kw_only=True):
    """A sender that is passed over where there is another, since when, and why."""

    name: str
    since: datetime
    why: str


async def lock(transaction: Transaction, names: Sequence[str]) -> None:
    """Let one daemon at a time judge these senders."""
    await transaction.execute(
        "INSERT INTO sender (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        [sorted(names)],
    )
    await transaction.rows(
        "SELECT name FROM sender WHERE name = ANY(%s) ORDER BY name FOR UPDATE", [sorted(names)]
    )


async def recent(transaction: Transaction, names: Sequence[str], most: int) -> list[Attempted]:
    """The last attempts of these senders, the newest first, at most `most` of each.

    Of a sick one those since then are beside them, whatever their number.
    """
    rows = await transaction.rows(
        """
        SELECT sender.name, last.outcome,
               extract(epoch FROM hotpotato_now() - last.started_at)::float,
               last.progress <> 'underway'
               OR EXISTS (SELECT FROM receipt WHERE receipt.attempt_id = last.id), last.why,
               coalesce(last.started_at >= sender.sick_since, false)
          FROM sender, LATERAL (SELECT * FROM attempt WHERE attempt.sender = sender.name
                                 ORDER BY id DESC LIMIT %s) AS last
         WHERE sender.name = ANY(%s)
         ORDER BY sender.name, last.id DESC
        """,
        [most, list(names)],
    )
    return [
        msgspec.convert(dict(zip(Attempted.__struct_fields__, row, strict=True)), Attempted)
        for row in rows
    ]


async def with_receipts(transaction: Transaction, names: Sequence[str]) -> set[str]:
    """Those of the senders through which a receipt came within the last seven days."""
    rows = await transaction.rows(
        """
        SELECT name FROM unnest(%s::text[]) AS name
         WHERE EXISTS (SELECT FROM receipt WHERE receipt.sender = name
                          AND received_at > hotpotato_now() - interval '7 days')
        """,
        [list(names)],
    )
    return {name for (name,) in rows}


async def sick(transaction: Transaction) -> list[Sick]:
    """The senders that are sick."""
    rows = await transaction.rows(
        "SELECT name, sick_since, why FROM sender WHERE sick_since IS NOT NULL ORDER BY name"
    )
    return [Sick(name=row[0], since=row[1], why=row[2]) for row in rows]


async def call_sick(
    transaction: Transaction, name: str, why: str, pause: float, elsewhere: Sequence[str]
) -> None:
    """Pass a sender over from now on, but for a message every `pause` seconds.

    What waits for another attempt at it, by a method that is served `elsewhere` too, is due now.
    """
    await transaction.execute(
        """
        WITH changed AS (
            UPDATE sender
               SET sick_since = hotpotato_now(), why = %(why)s,
                   probe_at = hotpotato_now() + make_interval(secs => %(pause)s)
             WHERE name = %(name)s
        )
        INSERT INTO history (kind, sentence)
        VALUES ('sender', 'sender ' || %(name)s || ' is sick: ' || %(why)s)
        """,
        {"name": name, "why": why, "pause": pause},
    )
    await transaction.execute(
        """
        UPDATE message SET due_at = hotpotato_now()
         WHERE id IN (SELECT message.id FROM message
                       WHERE status = 'queued' AND due_at > hotpotato_now()
                         AND method = ANY(%s)
                         AND EXISTS (SELECT FROM attempt
                                      WHERE attempt.message_id = message.id
                                        AND attempt.number = message.tries
                                        AND attempt.sender = %s)
                       ORDER BY message.id FOR UPDATE OF message)
        """,
        [list(elsewhere), name],
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")


async def call_well(transaction: Transaction, name: str) -> None:
    """Use a sender again as before."""
    await transaction.execute(
        """
        WITH changed AS (
            UPDATE sender SET sick_since = NULL, why = NULL, probe_at = NULL WHERE name = %(name)s
        )
        INSERT INTO history (kind, sentence)
        VALUES ('sender', 'sender ' || %(name)s || ' is well again')
        """,
        {"name": name},
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")


async def look(transaction: Transaction) -> None:
    """Have the senders looked at soon: an attempt went wrong."""
    await transaction.rows("SELECT pg_notify('hotpotato', 'health')")
