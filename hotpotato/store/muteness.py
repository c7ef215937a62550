"""Whether anything can be delivered, from what is on record; and telling everybody if not.

Each call is part of a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hotpotato.store.database import Transaction

STATE = "UNDELIVERED"
"""The state of the notifications by which it is told."""


class Known(msgspec.Struct, frozen=True):
    """See `rules.muteness.Traffic`; and whether everybody was told already."""

    waiting: bool
    refused: float | None
    accepted: float | None
    since: float | None
    told: bool


async def look(transaction: Transaction, senders: Sequence[str], methods: Sequence[str]) -> Known:
    """What is known now of these senders, and of the methods they serve.

    One daemon at a time may look.
    """
    await transaction.rows("SELECT FROM installation FOR UPDATE")
    rows = await transaction.rows(_LOOK, {"senders": list(senders), "methods": list(methods)})
    return Known(*rows[0])


# A message that was let go some seconds ago should have been taken, unless it was tried in vain
# before others were taken: then a bad number may be to blame. One that was refused for good
# waits for nothing, but the newest attempt of its sender says so. What was told of this very thing
# is no sign that anything else gets through. And while nobody looked, perhaps nobody tried.
_LOOK = """
WITH accepted AS MATERIALIZED (
    SELECT attempt.settled_at
      FROM attempt JOIN message ON message.id = attempt.message_id
      LEFT JOIN notification ON notification.id = message.notification_id
     WHERE attempt.outcome = 'accepted'
       AND attempt.settled_at > hotpotato_now() - interval '1 day'
       AND (notification.id IS NULL OR notification.server_id IS NOT NULL
            OR notification.state <> 'UNDELIVERED')
     ORDER BY attempt.settled_at DESC LIMIT 1
)
SELECT EXISTS (SELECT FROM message
                WHERE due_at IS NOT NULL AND status IN ('queued', 'sending')
                  AND released_at <= hotpotato_now() - interval '10 seconds'
                  AND method = ANY(%(methods)s)
                  AND NOT EXISTS (SELECT FROM attempt
                                   WHERE attempt.message_id = message.id
                                     AND attempt.settled_at <= (SELECT settled_at FROM accepted))),
       (SELECT min(extract(epoch FROM hotpotato_now() - last.settled_at))::float
          FROM unnest(%(senders)s::text[]) AS name,
               LATERAL (SELECT outcome, settled_at FROM attempt
                         WHERE attempt.sender = name ORDER BY id DESC LIMIT 1) AS last
         WHERE last.outcome = 'rejected'),
       (SELECT extract(epoch FROM hotpotato_now() - settled_at)::float FROM accepted),
       CASE WHEN undelivered_seen_at > hotpotato_now() - interval '1 minute'
            THEN extract(epoch FROM hotpotato_now() - undelivered_since)::float END,
       undelivered_told_at IS NOT NULL
  FROM installation
"""


async def remember(transaction: Transaction, since: float | None, told: bool) -> None:
    """Note for how many seconds it has been so, and whether everybody was told."""
    await transaction.execute(
        """
        UPDATE installation
           SET undelivered_since = hotpotato_now() - make_interval(secs => %(since)s),
               undelivered_seen_at = hotpotato_now(),
               undelivered_told_at = CASE WHEN %(told)s
                                          THEN coalesce(undelivered_told_at, hotpotato_now()) END
        """,
        {"since": since, "told": told},
    )


async def failing(transaction: Transaction, senders: Sequence[str], since: float) -> list[str]:
    """Those of the senders that are sick, or were tried within these seconds, in vain."""
    rows = await transaction.rows(
        """
        SELECT given.name
          FROM unnest(%s::text[]) WITH ORDINALITY AS given(name, place)
         WHERE EXISTS (SELECT FROM sender
                        WHERE sender.name = given.name AND sick_since IS NOT NULL)
            OR EXISTS (SELECT FROM (SELECT started_at FROM attempt WHERE attempt.sender = given.name
                                     ORDER BY id DESC LIMIT 1) AS last
                        WHERE last.started_at
                              >= hotpotato_now() - make_interval(secs => %s) - interval '1 minute')
         ORDER BY place
        """,
        [list(senders), since],
    )
    return [name for (name,) in rows]


async def tell(
    transaction: Transaction,
    methods: Sequence[str],
    failing: Sequence[str],
    text: str,
    since: float,
) -> int:
    """Tell everybody of the tenants whose messages wait or were refused; returns how many.

    `since` is the seconds for which it has been so.

    `methods` are those that still have a sender which does not fail. Each person is told by their
    first contact of these. It is recorded for each tenant, also where nobody can be told.
    """
    await transaction.execute("SELECT pg_notify('hotpotato', 'dispatch')")
    return await transaction.execute(
        _TELL,
        {
            "methods": list(methods),
            "failing": list(failing),
            "text": text,
            "state": STATE,
            "since": since,
        },
    )


# Past every pace: there is one of these in an outage.
_TELL = """
WITH affected AS MATERIALIZED (
    SELECT tenant_id FROM message
     WHERE due_at IS NOT NULL AND status IN ('queued', 'sending')
    UNION
    SELECT last.tenant_id
      FROM unnest(%(failing)s::text[]) AS name,
           LATERAL (SELECT tenant_id, outcome, settled_at FROM attempt
                     WHERE attempt.sender = name ORDER BY id DESC LIMIT 50) AS last
     WHERE last.outcome = 'rejected'
       AND last.settled_at
           > hotpotato_now() - make_interval(secs => %(since)s) - interval '1 minute'
), stored AS (
    INSERT INTO notification (tenant_id, received_at, effect, is_service, event, state, hostname,
                              output, late)
    SELECT tenant_id, hotpotato_now(), 'announce', false, 'CUSTOM', %(state)s, 'Hot Potato',
           %(text)s, false
      FROM affected
    RETURNING id, tenant_id
), noted AS (
    INSERT INTO history (tenant_id, kind, notification_id, sentence)
    SELECT tenant_id, 'undelivered', id, %(text)s FROM stored
)
INSERT INTO message (tenant_id, kind, notification_id, person_id, contact_id, method, address, text,
                     failed_senders, status, created_at, expires_at, released_at, due_at)
SELECT DISTINCT ON (person.id)
       stored.tenant_id, 'announcement', stored.id, person.id, contact.id, contact.method,
       contact.address, %(text)s, %(failing)s::text[], 'queued', hotpotato_now(),
       hotpotato_now() + interval '1 hour', hotpotato_now(), hotpotato_now()
  FROM stored JOIN person ON person.tenant_id = stored.tenant_id AND person.disabled_at IS NULL
  JOIN contact ON contact.person_id = person.id AND contact.method = ANY(%(methods)s)
       AND num_nonnulls(contact.stopped_at, contact.removed_at) = 0
 ORDER BY person.id, contact.position, contact.id
"""


async def over(transaction: Transaction) -> None:
    """Record that things are delivered again, or that nothing is due any more."""
    await transaction.execute(
        """
        INSERT INTO history (kind, sentence)
        SELECT 'undelivered', 'what is due can be delivered again, after '
               || date_trunc('second', hotpotato_now() - undelivered_since)
          FROM installation
        """
    )
