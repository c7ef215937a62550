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
               (SELECT count(*) FROM server WHERE silent_since IS NOT NULL),
               (SELECT coalesce(extract(epoch FROM hotpotato_now() - undelivered_since), 0)::float
                  FROM installation)
        """
    )
    names = (
        "alerts_triggered",
        "alerts_acknowledged",
        "messages_waiting",
        "messages_overdue_seconds",
        "servers_silent",
        "undelivered_seconds",
    )
    return {name: float(value) for name, value in zip(names, rows[0], strict=True)}
