"""Counts for /metrics and for `hotpotato check`."""

from __future__ import annotations

from hotpotato.store.database import Transaction


async def counts(transaction: Transaction) -> dict[str, float]:
    """How much is open, waiting and overdue, by name."""
    rows = await transaction.rows(
        """
        SELECT (SELECT count(*) FROM alert WHERE status = 'triggered'),
               (SELECT count(*) FROM alert WHERE status = 'acknowledged'),
               (SELECT count(*) FROM message WHERE due_at IS NOT NULL),
               (SELECT coalesce(greatest(extract(epoch FROM hotpotato_now() - min(due_at)), 0), 0)
                  FROM message WHERE due_at IS NOT NULL)::float,
               (SELECT count(*) FROM server WHERE silent_since IS NOT NULL)
        """
    )
    names = (
        "alerts_triggered",
        "alerts_acknowledged",
        "messages_waiting",
        "messages_overdue_seconds",
        "servers_silent",
    )
    return {name: float(value) for name, value in zip(names, rows[0], strict=True)}


async def uncovered(transaction: Transaction) -> list[str]:
    """Sentences about tenants that would not be told as they think."""
    rows = await transaction.rows(
        """
        SELECT tenant.name, holder.name,
               EXISTS (SELECT FROM contact WHERE contact.person_id = holder.id
                                             AND contact.removed_at IS NULL),
               holder.disabled_at IS NOT NULL,
               (SELECT count(DISTINCT person.id) FROM person
                  JOIN contact ON contact.person_id = person.id AND contact.removed_at IS NULL
                 WHERE person.tenant_id = tenant.id AND person.disabled_at IS NULL)
          FROM tenant
          LEFT JOIN schedule ON schedule.tenant_id = tenant.id AND schedule.name = 'primary'
          LEFT JOIN shift ON shift.schedule_id = schedule.id AND shift.during @> hotpotato_now()
          LEFT JOIN person AS holder ON holder.id = shift.person_id
         ORDER BY tenant.name LIMIT 10000
        """
    )
    sentences = []
    for tenant, holder, has_contact, disabled, reachable in rows:
        if not reachable:
            sentences.append(f"{tenant}: nobody can be told, no person has a contact")
        elif holder is None:
            sentences.append(f"{tenant}: nobody is on call, everybody would be paged")
        elif disabled or not has_contact:
            sentences.append(f"{tenant}: {holder} is on call and can't be reached")
    return sentences


async def never_heard(transaction: Transaction) -> list[str]:
    """The servers that never sent a heartbeat, and so are not judged, as tenant/name."""
    rows = await transaction.rows(
        """
        SELECT tenant.name || '/' || server.name FROM server JOIN tenant ON tenant.id = tenant_id
         WHERE last_heartbeat_at IS NULL AND disabled_at IS NULL
         ORDER BY 1 LIMIT 10000
        """
    )
    return [name for (name,) in rows]
