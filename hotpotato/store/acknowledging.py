"""What people do about alerts: acknowledge, resolve, note; and what they are shown of them.

Each call is part of a transaction. Rows of alerts are locked in order of their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as people see it. `code` None: no message of it went out alone yet."""

    id: int
    tenant: str
    status: AlertStatus
    state: str
    hostname: str
    service_name: str | None
    code: str | None
    opened_at: datetime
    acknowledged_by: str | None
    acknowledged_until: datetime | None
    resolved_at: datetime | None
    resolved_by: str | None
    next_look_at: datetime | None
    output: str | None


_SHOWN = """
SELECT alert.id, tenant.name, alert.status, alert.state, alert.hostname, alert.service_name,
       code.code, alert.opened_at, alert.acknowledged_by, alert.acknowledged_until,
       alert.resolved_at, alert.resolved_by, alert.due_at, notification.output
  FROM alert JOIN tenant ON tenant.id = alert.tenant_id
  LEFT JOIN code ON code.alert_id = alert.id
  LEFT JOIN notification ON notification.id = alert.last_notification_id
"""


async def find(transaction: Transaction, tenant_id: int, alert_id: int) -> Shown | None:
    """One alert of the tenant, or None."""
    rows = await transaction.rows(
        _SHOWN + " WHERE alert.tenant_id = %s AND alert.id = %s", [tenant_id, alert_id]
    )
    return _shown(rows[0]) if rows else None


async def unresolved(transaction: Transaction, tenant_id: int, most: int = 1000) -> list[Shown]:
    """The tenant's alerts that are not over, the oldest first."""
    rows = await transaction.rows(
        _SHOWN
        + " WHERE alert.tenant_id = %s AND alert.status <> 'resolved' ORDER BY alert.id LIMIT %s",
        [tenant_id, most],
    )
    return [_shown(row) for row in rows]


async def search(
    transaction: Transaction,
    *,
    statuses: Sequence[AlertStatus],
    most: int,
    tenant: str | None = None,
) -> list[Shown]:
    """The newest alerts with one of these statuses, the newest first; of all tenants or of one."""
    rows = await transaction.rows(
        _SHOWN
        + """
         WHERE alert.status = ANY(%(statuses)s)
           AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
         ORDER BY alert.id DESC LIMIT %(most)s
        """,
        {"statuses": [str(each) for each in statuses], "tenant": tenant, "most": most},
    )
    return [_shown(row) for row in rows]


async def known(transaction: Transaction, alerts: Sequence[int]) -> list[Shown]:
    """The alerts of these ids, whosever they are, in order; 10000 at most."""
    rows = await transaction.rows(
        _SHOWN + " WHERE alert.id = ANY(%s) ORDER BY alert.id LIMIT 10000", [list(alerts)]
    )
    return [_shown(row) for row in rows]


async def coded(transaction: Transaction, code: str) -> list[int]:
    """The alerts that a code stands for, by id: one, those of a digest, or none."""
    rows = await transaction.rows(
        """
        SELECT alert_id FROM code WHERE code = %(code)s AND alert_id IS NOT NULL
         UNION
        SELECT message.alert_id FROM code JOIN message ON message.digest_id = code.message_id
         WHERE code.code = %(code)s AND message.alert_id IS NOT NULL
         ORDER BY 1
        """,
        {"code": code},
    )
    return [row[0] for row in rows]


async def acknowledge(
    transaction: Transaction,
    alerts: Sequence[int],
    by: str,
    person_id: int | None,
    seconds: float | None = None,
) -> list[int]:
    """Acknowledge in somebody's name; returns those that it was done for, by id.

    `seconds` is how long it lasts, None for as long as the tenant's policy says, 0 for ever. Who
    has acknowledged it already may do so again, which renews it; what somebody else has, or is
    over, is left as it is. `by` is for people to read; `person_id` None: nobody that we know, and
    then `by` says whether it is the same one.
    """
    rows = await transaction.rows(
        """
        WITH theirs AS MATERIALIZED (
            SELECT alert.id, CASE WHEN lasts.seconds > 0
                                  THEN hotpotato_now() + make_interval(secs => lasts.seconds)
                             END AS until
              FROM alert LEFT JOIN policy ON policy.tenant_id = alert.tenant_id,
                   LATERAL (SELECT coalesce(
                       %(seconds)s::float, extract(epoch FROM policy.acknowledged_for)::float,
                       %(shipped)s) AS seconds) AS lasts
             WHERE alert.id = ANY(%(alerts)s)
               AND (alert.status = 'triggered' OR alert.status = 'acknowledged'
                    AND alert.acknowledged_by_id IS NOT DISTINCT FROM %(person_id)s
                    AND (%(person_id)s::bigint IS NOT NULL OR alert.acknowledged_by = %(by)s))
             ORDER BY alert.id FOR NO KEY UPDATE OF alert
        ), taken AS (
            UPDATE alert
               SET status = 'acknowledged', acknowledged_at = hotpotato_now(),
                   acknowledged_by = %(by)s, acknowledged_by_id = %(person_id)s,
                   acknowledged_until = theirs.until, acknowledgement_told = false,
                   due_at = hotpotato_now()
              FROM theirs WHERE alert.id = theirs.id
            RETURNING alert.id, alert.tenant_id, alert.acknowledged_until
        ), noted AS (
            INSERT INTO history (tenant_id, kind, alert_id, sentence)
            SELECT tenant_id, 'acknowledged', id, %(by)s || ' acknowledged it'
                   || coalesce(' until '
                       || to_char(acknowledged_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
                       || ' UTC', '')
              FROM taken
        )
        SELECT id, pg_notify('hotpotato', 'escalation') FROM taken ORDER BY id
        """,
        {
            "alerts": list(alerts),
            "by": by,
            "person_id": person_id,
            "seconds": seconds,
            "shipped": SHIPPED_ACKNOWLEDGED_FOR,
        },
    )
    return [row[0] for row in rows]


SHIPPED_ACKNOWLEDGED_FOR = 1800.0
"""Seconds for which an acknowledgement lasts where the tenant's policy does not say."""


async def resolve(transaction: Transaction, alerts: Sequence[int], by: str) -> list[int]:
    """Call alerts over in somebody's name; returns those that were not, by id.

    Should the problem still be there, its next notification opens another alert; and a server that
    stays silent is told again as if it had just been heard.
    """
    rows = await transaction.rows(
        """
        WITH open AS MATERIALIZED (
            SELECT id FROM alert WHERE id = ANY(%(alerts)s) AND status <> 'resolved'
             ORDER BY id FOR NO KEY UPDATE
        ), resolved AS (
            UPDATE alert
               SET status = 'resolved', resolved_at = hotpotato_now(), resolved_by = %(by)s,
                   due_at = hotpotato_now()
              FROM open WHERE alert.id = open.id
            RETURNING alert.id, alert.tenant_id
        ), watched AS (
            UPDATE server
               SET silent_since = NULL, silence_alert_id = NULL,
                   silent_after = hotpotato_now() + heartbeat_interval * missed
             WHERE silence_alert_id IN (SELECT id FROM resolved)
        ), noted AS (
            INSERT INTO history (tenant_id, kind, alert_id, sentence)
            SELECT tenant_id, 'resolved', id, %(by)s || ' resolved it' FROM resolved
        )
        SELECT id, pg_notify('hotpotato', 'escalation') FROM resolved ORDER BY id
        """,
        {"alerts": list(alerts), "by": by},
    )
    return [row[0] for row in rows]


async def note(transaction: Transaction, tenant_id: int, alert_id: int, by: str, text: str) -> None:
    """Keep what somebody has to say about an alert in its history."""
    await transaction.execute(
        """
        INSERT INTO history (tenant_id, kind, alert_id, sentence)
        VALUES (%s, 'note', %s, %s || ' notes: ' || %s)
        """,
        [tenant_id, alert_id, by, text],
    )


def _shown(row: Sequence[Any]) -> Shown:
    return msgspec.convert(dict(zip(Shown.__struct_fields__, row, strict=True)), Shown)
