"""Dispatch: takes due messages to their sender, one lane per configured sender.

A lane claims no more than its sender may have under way, so a sender that hangs delays only itself.
What a process has under way is leased for seconds; if it dies, the lease runs out and the message is
due again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hotpotato.interfaces import (
    Accepted,
    FailedForNow,
    ISender,
    OutgoingMessage,
    Rejected,
    SendOutcome,
    Unknown,
)
from hotpotato.patience import within
from hotpotato.rules import delivery, keys, text
from hotpotato.store import messages
from hotpotato.store.database import Database, DatabaseError, Transaction, Unavailable
from hotpotato.store.groups import Groups
from hotpotato.vocabulary import AlertStatus, MessageKind, MessageStatus, Outcome, Progress


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A sender, and how it is to be used: attempts at once, seconds for one, segments of a text."""

    name: str
    methods: tuple[str, ...]
    sender: ISender
    concurrency: int
    deadline: float
    segments: int


class Dispatch:
    """One lane's turns, for a loop. `report` is told the outcome of each attempt, for metrics."""

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        lane: Lane,
        report: Callable[[str, Outcome, float], None] = lambda sender, outcome, seconds: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._lane = lane
        self._report = report
        self._log = Logger()
        self._under_way: dict[int, Deferred[None]] = {}
        self._settling: Groups[messages.Settled, None] = Groups(
            clock, self._settle, lambda settled: (), under_way=1
        )
        self._renewing = LoopingCall(self._renew)
        self._renewing.clock = clock
        self.freed: Callable[[], None] = lambda: None
        """Called when a place in the lane is free again; the loop's `wake`."""

    @property
    def under_way(self) -> int:
        """How many attempts are being made."""
        return len(self._under_way)

    def start(self) -> None:
        """Begin to renew the leases of what is under way."""
        self._renewing.start(delivery.RENEW_EVERY, now=False)

    async def stop(self) -> None:
        """Wait for the attempts under way, each of which ends within its deadline."""
        while self._under_way:
            done: Deferred[None] = Deferred()
            next(iter(self._under_way.values())).addBoth(lambda _: done.callback(None))
            await done
        if self._renewing.running:
            self._renewing.stop()

    async def turn(self) -> float | None:
        """Begin attempts for due messages, as many as the lane has places for."""
        free = self._lane.concurrency - len(self._under_way)
        if free <= 0:
            return None

        async def work(
            transaction: Transaction,
        ) -> tuple[int, list[tuple[messages.Begun, messages.DueMessage, int, int]], float | None]:
            due = await messages.claim(transaction, self._lane.methods, free)
            if not due:
                return 0, [], await messages.next_due(transaction, self._lane.methods)
            begun = await self._begin(transaction, due)
            return len(due), begun, None

        claimed, begun, seconds = await self._database.transaction(work)
        for attempt, message, attempt_id, number in begun:
            self._under_way[attempt_id] = Deferred.fromCoroutine(
                self._attempt(attempt, message, attempt_id, number)
            )
        return 0 if claimed else seconds

    async def _begin(
        self, transaction: Transaction, due: Sequence[messages.DueMessage]
    ) -> list[tuple[messages.Begun, messages.DueMessage, int, int]]:
        """Look at each due message once more, and write down the attempts to be made now."""
        begun: list[messages.Begun] = []
        standings: list[messages.Standing] = []
        lost: list[messages.Settled] = []
        for message in due:
            if message.lease is not None:
                lost.append(_lost(message))
                standings.append(_waiting_for_receipt(message))
            elif (unwanted := _unwanted(message)) is not None:
                standings.append(unwanted)
            else:
                begun.append(self._attempt_of(message))
        if lost:
            await messages.record(transaction, lost)
        if standings:
            await messages.stand(transaction, standings)
        if not begun:
            return []
        by_id = {message.id: message for message in due}
        started = {attempt.message_id: attempt for attempt in begun}
        return [
            (started[message_id], by_id[message_id], attempt_id, number)
            for message_id, attempt_id, number in await messages.begin(
                transaction, begun, delivery.LEASE
            )
        ]

    def _attempt_of(self, message: messages.DueMessage) -> messages.Begun:
        return messages.Begun(
            message_id=message.id,
            tenant_id=message.tenant_id,
            sender=self._lane.name,
            reference=keys.new_reference(),
            text=message.text or words(message, self._lane.segments),
        )

    async def _attempt(
        self, begun: messages.Begun, message: messages.DueMessage, attempt_id: int, number: int
    ) -> None:
        started = self._clock.seconds()
        try:
            outcome = await self._send(begun, message, attempt_id)
            settled = _settled(message.id, attempt_id, number, outcome)
            self._report(self._lane.name, settled.outcome, self._clock.seconds() - started)
            self._log.info(
                "attempt {attempt_id} of message {message_id} through {sender} to {address}:"
                " {outcome}",
                attempt_id=attempt_id,
                message_id=message.id,
                sender=self._lane.name,
                address=keys.masked(message.address),
                outcome=settled.outcome.value,
                why=settled.why,
            )
            await self._settling.add(settled)
        except Unavailable:
            # The lease runs out, and whoever is there then takes it from there.
            self._log.warn(
                "attempt {attempt_id} could not be settled, the database is away",
                attempt_id=attempt_id,
            )
        except Exception:
            self._log.failure("attempt {attempt_id} could not be settled", attempt_id=attempt_id)
        finally:
            del self._under_way[attempt_id]
            self.freed()

    async def _send(
        self, begun: messages.Begun, message: messages.DueMessage, attempt_id: int
    ) -> SendOutcome:
        outgoing = OutgoingMessage(
            address=message.address,
            text=begun.text,
            reference=begun.reference,
            deadline=self._lane.deadline,
        )
        sending = _called(self._lane.sender, outgoing)
        try:
            outcome = await within(self._clock, self._lane.deadline, sending)
        except (TimeoutError, CancelledError):
            return Unknown(f"no outcome within {self._lane.deadline:g} s")
        except Exception as error:
            self._log.failure(
                "sender {sender} raised on attempt {attempt_id}",
                sender=self._lane.name,
                attempt_id=attempt_id,
            )
            return Unknown(f"the sender raised {type(error).__name__}")
        if not isinstance(outcome, Accepted | Rejected | FailedForNow | Unknown):
            self._log.error(
                "sender {sender} returned {kind}, which is no outcome",
                sender=self._lane.name,
                kind=type(outcome).__name__,
            )
            return Unknown("the sender returned something that is no outcome")
        return outcome

    async def _settle(self, group: Sequence[messages.Settled]) -> Sequence[None]:
        async def work(transaction: Transaction) -> None:
            await settle(transaction, self._lane.name, group)

        await self._database.transaction(work)
        return [None] * len(group)

    async def _renew(self) -> None:
        held = list(self._under_way)
        if not held:
            return
        try:
            await self._database.transaction(
                lambda transaction: messages.renew(transaction, held, delivery.LEASE)
            )
        except DatabaseError as error:
            self._log.warn("leases could not be renewed: {why}", why=str(error))


async def _called(sender: ISender, message: OutgoingMessage) -> SendOutcome:
    # Within a coroutine, so that a sender that raises before it returns is no different.
    return await sender.send(message)


async def settle(transaction: Transaction, sender: str, group: Sequence[messages.Settled]) -> None:
    """Write outcomes down, with the receipts that were faster, and derive where the messages stand."""
    await messages.lock_provider_ids(
        transaction, [(sender, settled.provider_id) for settled in group]
    )
    locked = {m.id: m for m in await messages.lock(transaction, {s.message_id for s in group})}
    await messages.record(transaction, group)
    known = {a.id: a.progress for message in locked.values() for a in message.attempts}
    said = await messages.early_receipts(transaction, group)
    for attempt_id, progress in said:
        known[attempt_id] = delivery.advanced(known[attempt_id], progress)
    await messages.set_progress(transaction, [(one, known[one]) for one in {i for i, _ in said}])
    standings = [_standing(locked[settled.message_id], settled, known) for settled in group]
    await messages.stand(transaction, standings)


def _standing(
    message: messages.Locked, settled: messages.Settled, known: dict[int, Progress]
) -> messages.Standing:
    facts = []
    for attempt in message.attempts:
        outcome = attempt.outcome
        if attempt.id == settled.attempt_id and messages.overwrites(settled.outcome, outcome):
            outcome = settled.outcome
        facts.append(delivery.AttemptFacts(outcome, known[attempt.id]))
    # Whose lease ran out meanwhile has lost the say about what comes next.
    mine = message.lease == settled.attempt_id
    status = delivery.status(facts, current=message.status, expired=message.expired)
    return messages.Standing(
        id=message.id,
        status=status,
        due_in=settled.retry_in,
        keep_lease=not mine,
        sentence=_told(message, settled, status),
    )


def _told(message: messages.Locked, settled: messages.Settled, status: MessageStatus) -> str:
    number = next(a.number for a in message.attempts if a.id == settled.attempt_id)
    sentence = f"attempt {number}: {settled.outcome.value}"
    if settled.provider_id:
        sentence += f", the provider's id is {settled.provider_id}"
    if settled.why:
        sentence += f" ({settled.why})"
    if status in (MessageStatus.QUEUED, MessageStatus.SENDING):
        sentence += f"; the next in {settled.retry_in:.0f} s unless a receipt comes first"
    return sentence


def _settled(
    message_id: int, attempt_id: int, number: int, outcome: SendOutcome
) -> messages.Settled:
    match outcome:
        case Accepted(provider_id=provider_id):
            kind, why, wait = Outcome.ACCEPTED, None, None
            return messages.Settled(
                attempt_id=attempt_id,
                message_id=message_id,
                outcome=kind,
                provider_id=str(provider_id),
                why=why,
                retry_in=0,
            )
        case Rejected(why=why):
            kind, wait = Outcome.REJECTED, None
        case FailedForNow(why=why, retry_after=wait):
            kind = Outcome.FAILED
        case Unknown(why=why):
            kind, wait = Outcome.UNKNOWN, None
    return messages.Settled(
        attempt_id=attempt_id,
        message_id=message_id,
        outcome=kind,
        provider_id=None,
        why=why,
        retry_in=delivery.pause(number, kind, wait, random.random()),  # noqa: S311
    )


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


def _unwanted(message: messages.DueMessage) -> messages.Standing | None:
    """Why nothing is to be sent now, if so."""
    may_have_arrived = any(
        attempt.outcome in (None, Outcome.UNKNOWN) for attempt in message.attempts
    )
    if message.kind is MessageKind.PAGE and message.alert_status is not AlertStatus.TRIGGERED:
        status = MessageStatus.CANCELLED
        sentence = f"no longer wanted: the alert is {message.alert_status}"
    elif message.expired:
        status = MessageStatus.FAILED
        sentence = "given up after 24 hours"
    else:
        return None
    if may_have_arrived:
        sentence += "; whether an earlier attempt arrived is unknown"
    return messages.Standing(
        id=message.id, status=status, due_in=None, keep_lease=False, sentence=sentence
    )


def words(message: messages.DueMessage, segments: int) -> str:
    """The text of a message about a notification, fitted to the sender's segments."""
    about = message.about
    assert about is not None
    subject = text.Subject(
        state=about.state,
        hostname=about.hostname,
        service_name=about.service_name,
        display_name=about.display_name,
        output=about.output,
        author=about.author,
        comment=about.comment,
    )
    match message.kind:
        case MessageKind.PAGE:
            return text.page(
                subject,
                about.code or "",
                segments,
                again=message.again,
                because=message.because,
            )
        case MessageKind.RECOVERY:
            return text.recovery(subject, about.code or "", segments)
        case _:
            return text.announcement(subject, segments, about.event or "")
