"""Notifications as monitoring servers and people look them up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from hotpotato.store.database import Database, Transaction


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification, and how far it got.

    `status` is the furthest that any message for it got: `pending`, `sent`, `delivered`, `failed`,
    or `none` if it needs none. `alert_status` is that of its alert, None without one.
    """

    id: int
    tenant_id: int
    tenant: str
    server_id: int | None
    server_name: str | None
    person: str | None
    alert_id: int | None
    received_at: datetime
    effect: str
    is_service: bool
    event: str | None
    state: str
    hostname: str
    service_name: str | None
    display_name: str | None
    trouble_code: str | None
    output: str | None
    sent_at: datetime | None
    author: str | None
    comment: str | None
    number: str | None
    late: bool
    remark: str | None
    status: str
    alert_status: str | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of history."""

    at: datetime
    kind: str
    sentence: str
    message_id: int | None


# A page tells of all that had joined its alert when it was queued, so a notification's messages are
# those of its alert from itself on. `pending` while one is to come and nobody has decided yet.
_SELECT = """
SELECT n.id, n.tenant_id, tenant.name, n.server_id, server.name, person.name, n.alert_id,
       n.received_at, n.effect, n.is_service, n.event, n.state, n.hostname, n.service_name,
       n.display_name, n.trouble_code, n.output, n.sent_at, n.author, n.comment, n.number, n.late,
       n.remark,
       CASE WHEN sent.furthest = 3 THEN 'delivered'
            WHEN sent.furthest = 2 THEN 'sent'
            WHEN sent.furthest = 1 THEN 'pending'
            WHEN (n.effect, alert.status) IN (('open', 'triggered'), ('resolve', 'resolved'))
                 AND alert.due_at IS NOT NULL AND alert.told_notification_id < n.id THEN 'pending'
            WHEN announcement.due_at IS NOT NULL THEN 'pending'
            WHEN sent.furthest = 0 THEN 'failed'
            ELSE 'none' END,
       alert.status
  FROM notification AS n
  JOIN tenant ON tenant.id = n.tenant_id
  LEFT JOIN server ON server.id = n.server_id
  LEFT JOIN person ON person.id = n.person_id
  LEFT JOIN alert ON alert.id = n.alert_id
  LEFT JOIN announcement ON announcement.notification_id = n.id,
  LATERAL (
      SELECT max(CASE message.status WHEN 'delivered' THEN 3 WHEN 'sent' THEN 2
                                     WHEN 'failed' THEN 0 WHEN 'cancelled' THEN NULL
                                     ELSE 1 END) AS furthest
        FROM message
       WHERE message.notification_id = n.id
          OR n.effect = 'open' AND message.alert_id = n.alert_id AND message.kind = 'page'
             AND message.notification_id > n.id) AS sent
"""


async def get(database: Database, tenant_id: int, notification_id: int) -> Notification | None:
    """One notification of a tenant, or None."""
    rows = await database.statement(
        _SELECT + " WHERE n.tenant_id = %s AND n.id = %s", [tenant_id, notification_id]
    )
    return _notification(rows[0]) if rows else None


async def exists(database: Database, tenant_id: int, notification_id: int) -> bool:
    """Whether a tenant has a notification of this id."""
    rows = await database.statement(
        "SELECT EXISTS (SELECT FROM notification WHERE tenant_id = %s AND id = %s)",
        [tenant_id, notification_id],
    )
    return bool(rows[0][0])


async def find(
    transaction: Transaction, *, tenant: str | None, most: int, id: int | None = None
) -> list[Notification]:
    """The newest notifications, at most `most`, the newest first; or the one of an id."""
    rows = await transaction.rows(
        _SELECT
        + """
         WHERE (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
           AND (%(id)s::bigint IS NULL OR n.id = %(id)s)
         ORDER BY n.id DESC LIMIT %(most)s
        """,
        {"tenant": tenant, "most": most, "id": id},
    )
    return [_notification(row) for row in rows]


async def story(transaction: Transaction, notification: Notification) -> list[Line]:
    """What happened because of a notification, or to its alert from then on, in order."""
    rows = await transaction.rows(
        """
        SELECT at, kind, sentence, message_id FROM history
         WHERE notification_id = %(id)s
            OR alert_id = %(alert_id)s AND at >= %(since)s
         ORDER BY at, id LIMIT 10000
        """,
        {
            "id": notification.id,
            "alert_id": notification.alert_id,
            "since": notification.received_at,
        },
    )
    return [Line(**dict(zip(Line.__struct_fields__, row, strict=True))) for row in rows]


def _notification(row: tuple[Any, ...]) -> Notification:
    return Notification(**dict(zip(Notification.__struct_fields__, row, strict=True)))
