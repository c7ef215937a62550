"""Canaries: messages to a number that answers, and what came back of them.

They are no messages of a tenant, so they have no attempts; their receipts and answers are stored
like everybody's, and looked for there. Each call is part of a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hotpotato.store.database import Transaction


class Flown(msgspec.Struct, frozen=True, kw_only=True):
    """A canary: its age, and after how long it came back, in seconds; or why it can't any more."""

    id: int
    sender: str
    age: float
    back: float | None
    failed: str | None


async def recent(transaction: Transaction, senders: Sequence[str]) -> list[Flown]:
    """The last few of each of these senders, the newest first."""
    rows = await transaction.rows(
        """
        SELECT last.id, last.sender, extract(epoch FROM hotpotato_now() - last.sent_at)::float,
               extract(epoch FROM last.back_at - last.sent_at)::float, last.failed
          FROM unnest(%s::text[]) AS name,
               LATERAL (SELECT * FROM canary WHERE canary.sender = name
                         ORDER BY id DESC LIMIT 3) AS last
         ORDER BY last.id DESC
        """,
        [list(senders)],
    )
    return [Flown(**dict(zip(Flown.__struct_fields__, row, strict=True))) for row in rows]


async def begin(transaction: Transaction, sender: str, reference: str, address: str) -> int:
    """Write down one that is sent now, and forget those of 30 days ago; returns its id."""
    await transaction.execute(
        "DELETE FROM canary WHERE sender = %s AND sent_at < hotpotato_now() - interval '30 days'",
        [sender],
    )
    rows = await transaction.rows(
        """
        INSERT INTO canary (sender, reference, address, sent_at)
        VALUES (%s, %s, %s, hotpotato_now()) RETURNING id
        """,
        [sender, reference, address],
    )
    number: int = rows[0][0]
    return number


async def taken(transaction: Transaction, canary_id: int, provider_id: str) -> None:
    """Note by which id the provider has it."""
    await transaction.execute(
        "UPDATE canary SET provider_id = %s WHERE id = %s", [provider_id, canary_id]
    )


async def fail(transaction: Transaction, canary_id: int, why: str) -> None:
    """Note why it does not come back, and have its sender looked at."""
    await transaction.execute(
        "UPDATE canary SET failed = %s WHERE id = %s AND failed IS NULL", [why, canary_id]
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'health')")


async def come_back(transaction: Transaction, canary_id: int, answer: str | None) -> str | None:
    """Look for what came back of it, and note it; returns the provider's word if it won't arrive.

    `answer` is what a reply from its number must have in it; without one, its receipt is enough.
    """
    rows = await transaction.rows(_LOOK, {"id": canary_id, "answer": answer})
    refused: str | None
    ((came, refused),) = rows
    if came:
        await transaction.rows("SELECT pg_notify('hotpotato', 'health')")
    return None if came else refused


_LOOK = """
WITH told AS MATERIALIZED (
    -- No attempt has these, and that is how few rows are looked at.
    SELECT receipt.progress, receipt.status, receipt.received_at
      FROM canary JOIN receipt ON receipt.sender = canary.sender AND receipt.attempt_id IS NULL
           AND receipt.received_at >= canary.sent_at
           AND (receipt.provider_id = canary.provider_id OR receipt.reference = canary.reference)
     WHERE canary.id = %(id)s
), came AS (
    UPDATE canary SET back_at = found.at
      FROM (SELECT CASE WHEN %(answer)s::text IS NULL
                   THEN (SELECT min(received_at) FROM told WHERE progress = 'delivered')
                   ELSE (SELECT min(reply.received_at)
                           FROM canary JOIN reply ON reply.address = canary.address
                                AND reply.sender = canary.sender
                                AND reply.received_at >= canary.sent_at
                          WHERE canary.id = %(id)s
                            AND strpos(lower(reply.content), lower(%(answer)s::text)) > 0)
                   END AS at) AS found
     WHERE canary.id = %(id)s AND back_at IS NULL AND found.at IS NOT NULL
    RETURNING canary.id
)
SELECT EXISTS (SELECT FROM came), (SELECT min(status) FROM told WHERE progress = 'failed')
"""
