"""The hand-over: whoever gets the pager is told of what is open, and of what others have taken."""

from __future__ import annotations

from collections.abc import Iterable

from hotpotato.duties import queueing
from hotpotato.duties.policies import policies_of
from hotpotato.duties.queueing import SEGMENTS, Limits
from hotpotato.rules import text
from hotpotato.rules.policy import Policy, next_turn
from hotpotato.store import handovers
from hotpotato.store.database import Database, Transaction
from hotpotato.store.handovers import Begun, Open
from hotpotato.store.queue import Wanted
from hotpotato.vocabulary import AlertStatus, MessageKind

AT_ONCE = 20
"""How many shifts one turn takes."""

BECAUSE = "you have the pager now"


class HandOver:
    """Its turns, for a loop."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def turn(self) -> float | None:
        """Tell the people whose shifts have begun. Returns the seconds until the next begins."""
        return await self._database.transaction(self._work)

    async def _work(self, transaction: Transaction) -> float | None:
        claimed = await handovers.claim(transaction, AT_ONCE)
        if not claimed:
            return await handovers.next_due(transaction)
        policies = await policies_of(transaction, {one.tenant_id for one in claimed})
        begun = [one for one in claimed if one.news and _pages(policies[one.tenant_id], one)]
        alerts = await handovers.unresolved(transaction, [one.id for one in begun])
        wanted: list[Wanted] = []
        for one in begun:
            if theirs := [alert for alert in alerts if alert.shift_id == one.id]:
                wanted += _wanted(one, theirs)
                await handovers.note(transaction, one.tenant_id, _said(one, theirs))
        await queueing.put(transaction, wanted, policies, self._limits)
        return 0


def _pages(policy: Policy, begun: Begun) -> bool:
    """Whether alerts go to this schedule's person first."""
    return any(step.schedule == begun.schedule for step in next_turn(policy, None).steps)


def _wanted(begun: Begun, alerts: Iterable[Open]) -> list[Wanted]:
    if begun.contact_id is None:
        return []
    return [
        Wanted(
            kind=MessageKind.PAGE if alert.status is AlertStatus.TRIGGERED else MessageKind.NOTICE,
            tenant_id=begun.tenant_id,
            person_id=begun.person_id,
            contact_id=begun.contact_id,
            alert_id=alert.id,
            notification_id=alert.notification_id,
            state=alert.state,
            round=alert.round,
            because=BECAUSE,
            # Held for no time at all: together they make one text.
            hold=0.0,
            text=None
            if alert.status is AlertStatus.TRIGGERED
            else text.taken_by_another(
                text.Subject(
                    state=alert.state, hostname=alert.hostname, service_name=alert.service_name
                ),
                alert.acknowledged_by or "somebody",
                SEGMENTS,
            ),
        )
        for alert in alerts
    ]


def _said(begun: Begun, alerts: Iterable[Open]) -> str:
    states = [alert.status for alert in alerts]
    taken = states.count(AlertStatus.ACKNOWLEDGED)
    told = f"{len(states) - taken} open and {taken} acknowledged alerts"
    if begun.contact_id is None:
        return f"{begun.name} has {begun.schedule} now, and can't be told of {told}: no contact"
    return f"{begun.name} has {begun.schedule} now, and is told of {told}"
