"""Shifts that begin, and what their people have to know."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A shift that has begun, and whose person was not told yet.

    `contact_id` is their first contact that works, None without one. `news`: it lasts still, and
    somebody else, or nobody, had the schedule before.
    """

    id: int
    tenant_id: int
    schedule: str
    person_id: int
    name: str
    contact_id: int | None
    news: bool


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that is not over, and that pages, or did until somebody acknowledged it.

    The person of `shift_id` is still to be told of it.
    """

    shift_id: int
    id: int
    status: AlertStatus
    state: str
    hostname: str
    service_name: str | None
    acknowledged_by: str | None
    notification_id: int
    round: int


async def claim(transaction: Transaction, most: int) -> list[Begun]:
    """The shifts that have begun, at most `most`, under lock; each is claimed once and for all."""
    rows = await transaction.rows(
        """
        WITH begun AS (
            UPDATE shift SET handed_over_at = hotpotato_now()
             WHERE id IN (SELECT id FROM shift
                           WHERE handed_over_at IS NULL AND lower(during) <= hotpotato_now()
                           ORDER BY lower(during) LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING *
        )
        SELECT begun.id, begun.tenant_id, schedule.name, begun.person_id, person.name,
               (SELECT contact.id FROM contact
                 WHERE contact.person_id = begun.person_id AND contact.removed_at IS NULL
                   AND contact.stopped_at IS NULL AND person.disabled_at IS NULL
                 ORDER BY contact.position, contact.id LIMIT 1),
               begun.during @> hotpotato_now()
               AND NOT EXISTS (SELECT FROM shift AS before
                                WHERE before.schedule_id = begun.schedule_id
                                  AND before.person_id = begun.person_id
                                  AND before.during -|- begun.during
                                  AND before.during << begun.during)
          FROM begun JOIN schedule ON schedule.id = begun.schedule_id
          JOIN person ON person.id = begun.person_id
         ORDER BY begun.id
        """,
        [most],
    )
    return [Begun(**dict(zip(Begun.__struct_fields__, row, strict=True))) for row in rows]


async def unresolved(transaction: Transaction, shifts: Iterable[int]) -> list[Open]:
    """The alerts that the people of these shifts have to care for from now on, the oldest first.

    Not those that nobody is told of for now, silenced, or such as can wait; nor what they were
    told of already since their shift began.
    """
    rows = await transaction.rows(
        """
        SELECT shift.id, alert.id, alert.status, alert.state, alert.hostname, alert.service_name,
               alert.acknowledged_by, alert.last_notification_id, alert.round
          FROM shift JOIN schedule ON schedule.id = shift.schedule_id
          JOIN alert ON alert.tenant_id = schedule.tenant_id
         WHERE shift.id = ANY(%s) AND alert.status <> 'resolved' AND NOT alert.silenced
           AND (alert.place IS NOT NULL OR alert.status = 'acknowledged')
           AND NOT EXISTS (SELECT FROM message
                            WHERE message.alert_id = alert.id
                              AND message.person_id = shift.person_id
                              AND message.created_at >= lower(shift.during))
         ORDER BY alert.id LIMIT 10000
        """,
        [sorted(set(shifts))],
    )
    return [
        msgspec.convert(dict(zip(Open.__struct_fields__, row, strict=True)), Open) for row in rows
    ]


async def note(transaction: Transaction, tenant_id: int, sentence: str) -> None:
    """Keep a hand-over in the history."""
    await transaction.execute(
        "INSERT INTO history (tenant_id, kind, sentence) VALUES (%s, 'hand-over', %s)",
        [tenant_id, sentence],
    )


async def next_due(transaction: Transaction) -> float | None:
    """Seconds until the next shift begins; None if none is known."""
    rows = await transaction.rows(
        """
        SELECT extract(epoch FROM min(lower(during)) - hotpotato_now())::float FROM shift
         WHERE handed_over_at IS NULL
        """
    )
    seconds: float | None = rows[0][0]
    return seconds
