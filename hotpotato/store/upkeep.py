"""What keeps the tables in shape: partitions made ahead, and what may be forgotten."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hotpotato.store.database import Transaction

# Any number: every daemon of one database must use the same.
_LOCK = 7_450_273_116

# How long partitions may be waited for. Behind whoever waits, every insert waits too.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"


class Kind(msgspec.Struct, frozen=True):
    """Rows that are forgotten: `sql` looks at a page of them, in order of their ids.

    `keep` is for how long: the name of a number of days in the configuration.
    """

    name: str
    keep: str
    sql: str


PARTITIONED = (
    ("heartbeat", "heartbeats", "received_at"),
    ("receipt", "history", "received_at"),
    ("history", "history", "at"),
)
"""Tables with a partition for each week: for how long each is kept, and its column of time."""


class Swept(msgspec.Struct, frozen=True):
    """A page: how many rows were forgotten, and after which id the next begins, 0 at the end."""

    forgotten: int
    next: int


def _over(name: str, table: str) -> Kind:
    """What lasts for a time, by hand or by a rota, and refers to nothing that goes."""
    page = """
        WITH page AS (
            SELECT id, during FROM {} WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            DELETE FROM {} AS past USING page
             WHERE past.id = page.id AND upper(page.during) <= %(before)s
            RETURNING past.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*),
               bool_and(lower(during) <= %(before)s)
          FROM page
        """
    return Kind(name, "history", page.replace("{}", table))


# Each looks at a page by its ids, since they are in order of age, nearly, and an index by time
# would be one more for every insert. It goes on while a whole page is old enough, and what of it is
# still needed it passes over. A digest goes after what it tells, and an alert after everything
# that is about it.
KINDS: tuple[Kind, ...] = (
    Kind(
        "messages",
        "history",
        """
        WITH page AS (
            SELECT id, alert_id, notification_id, status, due_at, created_at FROM message
             WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            SELECT id FROM page
             WHERE created_at <= %(before)s AND due_at IS NULL AND status <> 'held'
               AND NOT EXISTS (SELECT FROM alert WHERE alert.id = page.alert_id
                                  AND (resolved_at IS NULL OR resolved_at > %(before)s))
               AND NOT EXISTS (SELECT FROM announcement AS told
                                WHERE told.notification_id = page.notification_id
                                  AND told.due_at IS NOT NULL)
               AND NOT EXISTS (SELECT FROM message AS told WHERE told.digest_id = page.id)
               AND NOT EXISTS (SELECT FROM code WHERE code.message_id = page.id)
        ), attempts AS (
            DELETE FROM attempt USING gone WHERE attempt.message_id = gone.id
        ), messages AS (
            DELETE FROM message USING gone WHERE message.id = gone.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*), bool_and(created_at <= %(before)s)
          FROM page
        """,
    ),
    Kind(
        "notifications",
        "history",
        """
        WITH page AS (
            SELECT id, alert_id, received_at FROM notification
             WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            SELECT id FROM page
             WHERE received_at <= %(before)s
               AND NOT EXISTS (SELECT FROM alert WHERE alert.id = page.alert_id
                                  AND (resolved_at IS NULL OR resolved_at > %(before)s))
               AND NOT EXISTS (SELECT FROM announcement WHERE notification_id = page.id
                                  AND due_at IS NOT NULL)
               AND NOT EXISTS (SELECT FROM message WHERE notification_id = page.id)
               AND NOT EXISTS (SELECT FROM idempotency WHERE notification_id = page.id)
        ), announcements AS (
            DELETE FROM announcement USING gone WHERE notification_id = gone.id
        ), notifications AS (
            DELETE FROM notification USING gone WHERE notification.id = gone.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*), bool_and(received_at <= %(before)s)
          FROM page
        """,
    ),
    Kind(
        "alerts",
        "history",
        """
        WITH page AS (
            SELECT id, opened_at, resolved_at, due_at FROM alert
             WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            SELECT id FROM page
             WHERE resolved_at <= %(before)s AND due_at IS NULL
               AND NOT EXISTS (SELECT FROM notification WHERE alert_id = page.id)
               AND NOT EXISTS (SELECT FROM message WHERE alert_id = page.id)
               AND NOT EXISTS (SELECT FROM code WHERE alert_id = page.id)
               AND NOT EXISTS (SELECT FROM server WHERE silence_alert_id = page.id)
        ), alerts AS (
            DELETE FROM alert USING gone WHERE alert.id = gone.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*), bool_and(opened_at <= %(before)s)
          FROM page
        """,
    ),
    Kind(
        "replies",
        "replies",
        """
        WITH page AS (
            SELECT id, received_at, due_at FROM reply
             WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            SELECT id FROM page
             WHERE received_at <= %(before)s AND due_at IS NULL
               AND NOT EXISTS (SELECT FROM message WHERE reply_id = page.id)
        ), replies AS (
            DELETE FROM reply USING gone WHERE reply.id = gone.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*), bool_and(received_at <= %(before)s)
          FROM page
        """,
    ),
    _over("shifts", "shift"),
    _over("overrides", "override"),
    _over("silences", "silence"),
    Kind(
        "tokens",
        "tokens",
        """
        WITH page AS (
            SELECT id, created_at, least(expires_at, revoked_at) AS ended_at FROM token
             WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            DELETE FROM token USING page WHERE token.id = page.id AND ended_at <= %(before)s
            RETURNING token.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*), bool_and(created_at <= %(before)s)
          FROM page
        """,
    ),
    Kind(
        "calendars",
        "tokens",
        """
        WITH page AS (
            SELECT id, created_at, revoked_at FROM calendar
             WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), gone AS (
            DELETE FROM calendar USING page
             WHERE calendar.id = page.id AND page.revoked_at <= %(before)s
            RETURNING calendar.id
        )
        SELECT (SELECT count(*) FROM gone), max(id), count(*), bool_and(created_at <= %(before)s)
          FROM page
        """,
    ),
)


async def make_partitions(transaction: Transaction) -> int:
    """Make the partitions of the next 30 days that are missing; returns how many.

    Raises StatementRefused if it would have to wait for its locks.
    """
    await transaction.execute(_LOCK_TIMEOUT)
    rows = await transaction.rows(
        """
        SELECT sum(make_partitions(parent, interval '30 days'))::integer
          FROM unnest(ARRAY['heartbeat', 'receipt', 'history']) AS parent
        """
    )
    made: int = rows[0][0]
    return made


_SWEEP_DEFAULT = """
DELETE FROM {table} WHERE ctid IN (
    SELECT ctid FROM {table} WHERE {at} <= hotpotato_now() - make_interval(days => %s)
     ORDER BY {at} LIMIT %s)
"""


async def drop_partition(transaction: Transaction, keep: Mapping[str, int]) -> str | None:
    """Drop the oldest partition that is older than it is kept; None if there is none.

    Raises StatementRefused if it would have to wait for its locks. `keep` is days by kind.
    """
    await transaction.execute(_LOCK_TIMEOUT)
    for parent, kind, _ in PARTITIONED:
        rows = await transaction.rows(
            "SELECT drop_partition(%s, hotpotato_now() - make_interval(days => %s))",
            [parent, keep[kind]],
        )
        dropped: str | None = rows[0][0]
        if dropped is not None:
            return dropped
    return None


async def sweep_defaults(transaction: Transaction, keep: Mapping[str, int], most: int) -> int:
    """Forget what lies in the default partitions and is older; at most `most` of each.

    Returns the most that were forgotten of one.
    """
    counts = [
        await transaction.execute(
            _SWEEP_DEFAULT.replace("{table}", f"{parent}_default").replace("{at}", at),
            [keep[kind], most],
        )
        for parent, kind, at in PARTITIONED
    ]
    return max(counts)


async def sweep(
    transaction: Transaction, kind: Kind, days: int, after: int, most: int
) -> Swept | None:
    """Forget what is older than `days` on the page of `most` rows after an id.

    None if another daemon is at it.
    """
    ((mine, before),) = await transaction.rows(
        "SELECT pg_try_advisory_xact_lock(%s), hotpotato_now() - make_interval(days => %s)",
        [_LOCK, days],
    )
    if not mine:
        return None
    ((forgotten, last, count, old),) = await transaction.rows(
        kind.sql, {"after": after, "most": most, "before": before}
    )
    return Swept(forgotten, last if old and count == most else 0)


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
