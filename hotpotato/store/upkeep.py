"""What keeps the tables in shape: partitions made ahead, and what may be forgotten."""

from __future__ import annotations

from hotpotato.store.database import Transaction


async def make_partitions(transaction: Transaction) -> int:
    """Make the partitions of the next 30 days that are missing; returns how many.

    Waits at most a second for its locks: behind it every insert would wait.
    """
    await transaction.execute("SET LOCAL lock_timeout = '1s'")
    rows = await transaction.rows(
        """
        SELECT sum(make_partitions(parent, interval '30 days'))::integer
          FROM unnest(ARRAY['heartbeat', 'receipt', 'history']) AS parent
        """
    )
    made: int = rows[0][0]
    return made


async def forget(transaction: Transaction, most: int) -> tuple[int, int, int]:
    """Forget Idempotency-Keys after 7 days, and free codes; at most `most` of each.

    A code is free when what it stands for is over, and the last message that carried it is 7 days
    old.
    """
    keys = await transaction.execute(
        """
        DELETE FROM idempotency WHERE (server_id, key_digest) IN (
            SELECT server_id, key_digest FROM idempotency
             WHERE created_at <= hotpotato_now() - interval '7 days' LIMIT %s)
        """,
        [most],
    )
    codes = await transaction.execute(
        """
        DELETE FROM code WHERE code IN (
            SELECT code.code FROM code JOIN alert ON alert.id = code.alert_id
             WHERE alert.resolved_at <= hotpotato_now() - interval '7 days'
               AND NOT EXISTS (SELECT FROM message WHERE message.alert_id = alert.id
                                  AND (message.due_at IS NOT NULL OR message.created_at
                                       > hotpotato_now() - interval '7 days'))
             LIMIT %s)
        """,
        [most],
    )
    of_digests = await transaction.execute(
        """
        DELETE FROM code WHERE code IN (
            SELECT code.code FROM code JOIN message AS digest ON digest.id = code.message_id
             WHERE digest.due_at IS NULL
               AND digest.released_at <= hotpotato_now() - interval '7 days'
               AND NOT EXISTS (SELECT FROM message JOIN alert ON alert.id = message.alert_id
                                WHERE message.digest_id = digest.id
                                  AND (alert.resolved_at IS NULL OR alert.resolved_at
                                       > hotpotato_now() - interval '7 days'))
             LIMIT %s)
        """,
        [most],
    )
    return keys, codes, of_digests
