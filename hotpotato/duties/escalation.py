"""The escalation: asks the rules what to do about each alert that is due, and queues the messages.

One turn is one transaction: claimed, decided and written together, so a process that dies in
between leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from hotpotato.duties.loop import STEP_ASIDE
from hotpotato.rules import escalation, keys
from hotpotato.store import alerts
from hotpotato.store.database import Database, Transaction, Unavailable
from hotpotato.vocabulary import AlertStatus, MessageKind

AT_ONCE = 500
"""How many alerts one turn takes."""


class Escalation:
    """Its turns, for a loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = Logger()
        self._most = AT_ONCE
        self._due: Sequence[alerts.Due] = ()

    async def turn(self) -> float | None:
        """Decide about what is due. Returns the seconds until the next is.

        Should one alert be such that nothing can be decided about it, all are taken one by one, and
        that one is passed over for a while: nobody else's page waits for it.
        """
        try:
            seconds = await self._database.transaction(self._work)
        except Unavailable:
            raise
        except Exception:
            self._log.failure("{count} alerts could not be decided about", count=len(self._due))
            if self._most == 1:
                await self._database.transaction(self._step_aside)
            self._most = 1
            return 0
        if not self._due:
            self._most = AT_ONCE
        return seconds

    async def _work(self, transaction: Transaction) -> float | None:
        self._due = await alerts.claim(transaction, self._most)
        if not self._due:
            return await alerts.next_due(transaction)
        steps = [_step(one) for one in self._due]
        await _give_codes(transaction, steps)
        await alerts.settle(transaction, steps)
        return 0

    async def _step_aside(self, transaction: Transaction) -> None:
        await alerts.postpone(transaction, self._due, STEP_ASIDE)


async def _give_codes(transaction: Transaction, steps: Sequence[alerts.Step]) -> None:
    """Give those without one that somebody is told of a code; draw until each has a free one."""
    wanted = {
        message.alert_id
        for step in steps
        for message in step.messages
        if message.alert_id is not None
    }
    missing = {
        alert_id: (tenant_id, keys.codes())
        for tenant_id, alert_id in await alerts.without_code(transaction, wanted)
    }
    while missing:
        given = await alerts.give_codes(
            transaction,
            [(tenant, alert, next(codes)) for alert, (tenant, codes) in missing.items()],
        )
        for alert_id in given:
            del missing[alert_id]


def _step(due: alerts.Due) -> alerts.Step:
    facts = _facts(due)
    if due.alert_id is None:
        kind, decision = MessageKind.ANNOUNCEMENT, escalation.announce(facts)
    else:
        kind, decision = MessageKind.PAGE, escalation.decide(facts)
    wanted = [
        *((kind, person) for person in decision.page),
        *((MessageKind.RECOVERY, person) for person in decision.tell_recovery),
    ]
    return alerts.Step(
        due=due,
        messages=tuple(
            alerts.Queued(
                kind=kind,
                tenant_id=due.tenant_id,
                person_id=person,
                alert_id=due.alert_id,
                notification_id=due.notification_id,
                because=decision.because,
                again=decision.new_round and not facts.news,
            )
            for kind, person in wanted
        ),
        new_round=decision.new_round,
        look_in=decision.look_in,
        sentence=decision.sentence,
    )


def _facts(due: alerts.Due) -> escalation.Facts:
    def those(what: str) -> frozenset[int]:
        return frozenset(one.person_id for one in due.paged if getattr(one, what))

    return escalation.Facts(
        status=due.status,
        people=due.people,
        on_call=due.holder if due.holder in due.people else None,
        on_call_trouble="nobody is on call"
        if due.holder is None
        else "the person on call can't be reached",
        news=due.news and due.status is AlertStatus.TRIGGERED,
        repeat_in=due.repeat_in,
        paged_in_round=those("in_round"),
        waiting=those("waiting"),
        told=those("told"),
        sending=bool(those("sending")),
        failed=due.page_failed,
        failed_names=tuple(one.name for one in due.paged if one.failed),
    )
