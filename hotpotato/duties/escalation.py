"""The escalation: asks the rules what to do about each alert that is due, and queues the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hotpotato.duties import queueing
from hotpotato.duties.batches import Batches
from hotpotato.duties.policies import policies_of
from hotpotato.duties.queueing import SEGMENTS, Limits
from hotpotato.rules import escalation, policy, text
from hotpotato.rules.policy import SHIPPED, Policy
from hotpotato.rules.silences import silencing
from hotpotato.store import alerts, silences
from hotpotato.store.alerts import Due, Known, Step
from hotpotato.store.database import Database, Transaction
from hotpotato.store.queue import Wanted
from hotpotato.vocabulary import AlertStatus, MessageKind, MessageStatus, Silence

AT_ONCE = 1000
"""How many alerts one turn takes."""

_FAILED = (MessageStatus.FAILED,)
_WAITING = (MessageStatus.HELD, MessageStatus.QUEUED, MessageStatus.SENDING)


class Escalation:
    """Its turns, for a loop. `limits`: how long texts may be."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._limits = limits
        self._batches: Batches[Due] = Batches(
            database,
            AT_ONCE,
            claim=self._claim,
            work=self._work,
            next_due=alerts.next_due,
            postpone=alerts.postpone,
            named=_named,
        )

    async def turn(self) -> float | None:
        """Decide about what is due. Returns the seconds until the next is."""
        return await self._batches.turn()

    async def _claim(self, transaction: Transaction, most: int) -> Sequence[Due]:
        return await alerts.claim(transaction, most, SHIPPED.flapping_within)

    async def _work(self, transaction: Transaction, all_due: Sequence[Due]) -> None:
        tenants = {one.tenant_id for one in all_due}
        policies = await policies_of(transaction, tenants)
        known = await alerts.known(transaction, all_due)
        held_back = await silences.active(transaction, sorted(tenants))
        decided = [
            (due, _decision(facts(due, known, policies[due.tenant_id], held_back), due))
            for due in all_due
        ]
        await alerts.settle(transaction, [_step(due, decision) for due, decision in decided])
        wanted = [one for due, decision in decided for one in _wanted(due, decision, known)]
        await queueing.put(transaction, wanted, policies, self._limits)


def _named(due: Due) -> str:
    if due.alert_id is None:
        return f"the announcement of notification {due.notification_id}"
    return f"alert {due.alert_id}"


def facts(
    due: Due, known: Known, its_policy: Policy, held_back: Mapping[int, Iterable[Silence]]
) -> escalation.Facts:
    """What the rules have to know of one alert or announcement."""
    pages = known.pages.get(due.key, ())
    return escalation.Facts(
        status=due.status,
        policy=its_policy,
        people={
            person: escalation.Person(name, contacts)
            for person, (name, contacts) in known.people.get(due.tenant_id, {}).items()
        },
        on_call=known.holders.get(due.tenant_id, {}),
        news=due.news and due.status is AlertStatus.TRIGGERED,
        state=due.state,
        told_state=due.told_state,
        place=due.place,
        place_age=due.place_age,
        paged=_paged(pages),
        told=known.told.get(due.key, frozenset()),
        sending=any(page.sending for page in pages),
        in_digest=any(page.in_digest for page in pages),
        failed=due.page_failed,
        acknowledged_left=due.acknowledged_left,
        acknowledged_by=due.acknowledged_by_id,
        acknowledgement_told=due.acknowledgement_told,
        resolved_by=due.resolved_by,
        silence=silencing(
            held_back.get(due.tenant_id, ()), due.server_id, due.hostname, due.service_name
        ),
        silenced=due.silenced,
        waits=policy.waits(its_policy, due.state, due.now, _zone(due.timezone)),
        flapping=due.was_flapping or due.changes >= its_policy.flapping_changes,
        flapping_told=due.was_flapping,
    )


def _paged(pages: Sequence[alerts.Page]) -> tuple[escalation.Paged, ...]:
    """For each person, what became of the pages of their last round."""
    last: dict[int, int] = {}
    for page in pages:
        last[page.person_id] = max(page.round, last.get(page.person_id, 0))
    tries: dict[int, list[escalation.Try]] = {}
    for page in pages:
        if page.round == last[page.person_id]:
            tries.setdefault(page.person_id, []).append(
                escalation.Try(
                    contact=page.contact_id,
                    held_for=page.held_for,
                    waiting=page.status in _WAITING,
                    delivered=page.status is MessageStatus.DELIVERED,
                    failed=page.status is MessageStatus.FAILED,
                    age=page.age,
                )
            )
    return tuple(
        escalation.Paged(person, last[person], tuple(each)) for person, each in tries.items()
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # This host has no such zone in its tables: better told at an odd hour than not at all.
        return ZoneInfo("UTC")


def _decision(known: escalation.Facts, due: Due) -> escalation.Decision:
    return escalation.announce(known) if due.alert_id is None else escalation.decide(known)


def _step(due: Due, decision: escalation.Decision) -> Step:
    return Step(
        due=due,
        new_round=decision.new_round,
        place=decision.place,
        reopened=decision.reopened,
        flapping=decision.flapping,
        silenced=decision.silenced,
        look_in=decision.look_in,
        sentence=decision.sentence,
    )


def _wanted(due: Due, decision: escalation.Decision, known: Known) -> list[Wanted]:
    newest = due.round + decision.new_round
    contacts = known.people.get(due.tenant_id, {})
    kind = MessageKind.ANNOUNCEMENT if due.alert_id is None else MessageKind.PAGE
    over = MessageKind.RECOVERY
    if decision.say_flapping:
        kind = over = MessageKind.FLAPPING

    def wanted(kind: MessageKind, person: int, contact: int | None = None, **more: Any) -> Wanted:
        _, theirs = contacts[person]
        return Wanted(
            kind=kind,
            tenant_id=due.tenant_id,
            person_id=person,
            contact_id=theirs[0] if contact is None else contact,
            alert_id=due.alert_id,
            notification_id=due.notification_id,
            state=due.state,
            hold=decision.hold,
            joins=decision.flapping,
            **{"round": newest, **more},
        )

    pages = [
        wanted(
            kind,
            page.person,
            page.contact,
            round=newest if page.round is None else page.round,
            because=decision.because,
            again=page.again,
        )
        for page in decision.pages
    ]
    subject = text.Subject(state=due.state, hostname=due.hostname, service_name=due.service_name)
    taken = ""
    if decision.notice:
        taken = text.taken_by_another(subject, due.acknowledged_by or "somebody", SEGMENTS)
    # Where monitoring did not say that it is over, its last words are those of the problem.
    said = text.resolved_by(subject, due.resolved_by, SEGMENTS) if due.resolved_by else None
    return [
        *pages,
        *(wanted(over, person, text=said) for person in decision.recovery),
        *(wanted(MessageKind.NOTICE, person, text=taken) for person in decision.notice),
    ]
