"""What is written down about attempts at messages: after them, and in place of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from hotpotato.interfaces import Accepted, FailedForNow, Rejected, SendOutcome, Unknown
from hotpotato.rules import delivery
from hotpotato.store import messages, senders
from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageKind, MessageStatus, Outcome, Progress

Routes = Mapping[str, Sequence[str]]
"""By contact method, the senders that serve it, in the order in which they are tried."""


_PROBLEMS = (MessageKind.PAGE, MessageKind.FLAPPING)

_ANSWERS = (MessageKind.CONFIRMATION, MessageKind.VERIFICATION, MessageKind.TEST)
"""What somebody is waiting for, phone in hand."""


def settled(
    *, attempt_id: int, message_id: int, number: int, outcome: SendOutcome
) -> messages.Settled:
    """A sender's outcome of a message's attempt `number`, as it is stored.

    Forgives what a sender's author got wrong inside an outcome: it still says what became of it.
    """
    provider_id: str | None = None
    why: str | None = None
    wait: float | None = None
    match outcome:
        case Accepted():
            kind, provider_id = Outcome.ACCEPTED, messages.storable(str(outcome.provider_id))
        case Rejected():
            kind, why = Outcome.REJECTED, messages.storable(str(outcome.why))
        case Unknown():
            kind, why = Outcome.UNKNOWN, messages.storable(str(outcome.why))
        case FailedForNow(retry_after=wanted):
            kind, why = Outcome.FAILED, messages.storable(str(outcome.why))
            wait = wanted if isinstance(wanted, int | float) else None
    return messages.Settled(
        attempt_id=attempt_id,
        message_id=message_id,
        outcome=kind,
        provider_id=provider_id,
        why=why,
        retry_in=delivery.pause(number, kind, wait, random.random()),  # noqa: S311
    )


async def settle(
    transaction: Transaction, sender: str, routes: Routes, group: Sequence[messages.Settled]
) -> None:
    """Write outcomes down, with the receipts that were faster, and where the messages stand now."""
    await messages.lock_provider_ids(
        transaction, [(sender, settled.provider_id) for settled in group]
    )
    locked = {m.id: m for m in await messages.lock(transaction, {s.message_id for s in group})}
    await messages.record(transaction, group)
    known = {a.id: a.progress for message in locked.values() for a in message.attempts}
    said = await messages.early_receipts(transaction, [settled.attempt_id for settled in group])
    for attempt_id, progress in said:
        known[attempt_id] = delivery.advanced(known[attempt_id], progress)
    await messages.set_progress(transaction, [(one, known[one]) for one in {i for i, _ in said}])
    standings = [_standing(locked[settled.message_id], settled, known, routes) for settled in group]
    await messages.stand(transaction, standings)
    if any(settled.outcome in (Outcome.FAILED, Outcome.UNKNOWN) for settled in group):
        await senders.look(transaction)


def _standing(
    message: messages.Locked,
    settled: messages.Settled,
    known: Mapping[int, Progress],
    routes: Routes,
) -> messages.Standing:
    attempt = next(one for one in message.attempts if one.id == settled.attempt_id)
    counts = messages.overwrites(settled.outcome, attempt.outcome)
    facts = [
        delivery.AttemptFacts(
            settled.outcome if one is attempt and counts else one.outcome, known[one.id]
        )
        for one in message.attempts
    ]
    # Whose lease ran out meanwhile has lost the say about what comes next.
    mine = message.lease == settled.attempt_id
    others = delivery.remaining(
        routes.get(message.method, ()), {*message.failed_senders, attempt.sender}
    )
    status = delivery.status(
        facts, current=message.status, expired=message.expired, others=bool(others)
    )
    failed = attempt.sender if delivery.given_up(status, facts[-1]) else None
    again = mine and status in (MessageStatus.QUEUED, MessageStatus.SENDING) and not failed
    repeated = not mine and settled.outcome is attempt.outcome
    sentence = _told(attempt.number, settled, again)
    if failed:
        sentence += f"; {others[0]} is tried now"
    return messages.Standing(
        id=message.id,
        status=status,
        due_in=0.0 if failed else settled.retry_in,
        keep_lease=not mine,
        sentence=None if repeated else sentence,
        failed_sender=failed,
    )


def _told(number: int, settled: messages.Settled, again: bool) -> str:
    sentence = f"attempt {number}: {settled.outcome.value}"
    if settled.provider_id:
        sentence += f", the provider's id is {settled.provider_id}"
    if settled.why:
        sentence += f" ({settled.why})"
    if again:
        sentence += f"; the next in {settled.retry_in:.0f} s unless a receipt comes first"
    return sentence


async def take_over(transaction: Transaction, due: Sequence[messages.DueMessage]) -> None:
    """Note that the leases of these messages ran out: what became of the attempts is unknown."""
    if not due:
        return
    await messages.record(transaction, [_lost(message) for message in due])
    await messages.stand(transaction, [_waiting_for_receipt(message) for message in due])


def _lost(message: messages.DueMessage) -> messages.Settled:
    assert message.lease is not None
    return messages.Settled(
        attempt_id=message.lease,
        message_id=message.id,
        outcome=Outcome.UNKNOWN,
        provider_id=None,
        why="the process that made it is gone",
        retry_in=delivery.WAIT_FOR_RECEIPT,
    )


def _waiting_for_receipt(message: messages.DueMessage) -> messages.Standing:
    return messages.Standing(
        id=message.id,
        status=MessageStatus.SENDING,
        due_in=delivery.WAIT_FOR_RECEIPT,
        keep_lease=False,
        sentence=f"attempt {message.tries}: its process is gone, the outcome is unknown; the next"
        f" in {delivery.WAIT_FOR_RECEIPT:.0f} s unless a receipt comes first",
    )


def unwanted(message: messages.DueMessage) -> messages.Standing | None:
    """Where a due message stands that is not to be sent any more; None if it is."""
    taken = message.alert_status is AlertStatus.ACKNOWLEDGED
    over = message.alert_status is AlertStatus.RESOLVED
    # What comes and goes is told so at either end.
    if (message.kind in _PROBLEMS and taken) or (message.kind is MessageKind.PAGE and over):
        status = MessageStatus.CANCELLED
        sentence = f"no longer wanted: the alert is {message.alert_status}"
    elif message.over:
        status = MessageStatus.CANCELLED
        sentence = "no longer wanted: nothing in it is open any more"
    elif message.out_of_use and message.kind not in _ANSWERS:
        status = MessageStatus.FAILED
        sentence = "not sent: the phone is switched off, or nobody's who is to be told"
    elif message.refused:
        status = MessageStatus.FAILED
        sentence = "no sender is left to try"
    elif message.expired:
        status = MessageStatus.FAILED
        sentence = "given up after 24 hours"
    else:
        return None
    if any(attempt.outcome in (None, Outcome.UNKNOWN) for attempt in message.attempts):
        sentence += "; whether an earlier attempt arrived is unknown"
    return messages.Standing(
        id=message.id, status=status, due_in=None, keep_lease=False, sentence=sentence
    )
