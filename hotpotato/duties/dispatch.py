"""Dispatch: takes due messages to their sender, one lane per configured sender.

A lane claims no more than its sender may have under way, so a sender that hangs delays only itself.
What a process has under way is leased for seconds; if it dies, the lease runs out and the message
is due again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from hotpotato.duties import attempts
from hotpotato.duties.loop import ended
from hotpotato.interfaces import (
    Accepted,
    FailedForNow,
    ISender,
    OutgoingMessage,
    Rejected,
    SendOutcome,
    Unknown,
    masked,
)
from hotpotato.patience import within
from hotpotato.rules import delivery, health, keys
from hotpotato.store import messages
from hotpotato.store.database import Database, Transaction, Unavailable
from hotpotato.store.groups import Groups
from hotpotato.store.messages import Served
from hotpotato.vocabulary import Outcome

SETTLE_AGAIN = 1.0
"""Seconds until an outcome is written down again, while the database is away."""


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A sender, and how it is to be used: attempts at once, seconds for one.

    `served` are its methods, each with all the senders that serve it, in order.
    """

    name: str
    served: tuple[Served, ...]
    sender: ISender
    concurrency: int
    deadline: float


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that is written down, and to be made now; `number` counts those of its message."""

    attempt_id: int
    message_id: int
    number: int
    outgoing: OutgoingMessage


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
        self._sending = 0
        self._settling: Groups[messages.Settled, None] = Groups(
            clock, self._settle, lambda settled: (), under_way=1
        )
        self._renewing = LoopingCall(self._renew)
        self._renewing.clock = clock
        self._stopping = False
        self.freed: Callable[[], None] = lambda: None
        """Called when a place in the lane is free again; the loop's `wake`."""

    @property
    def under_way(self) -> int:
        """How many attempts are being made, or written down."""
        return len(self._under_way)

    def start(self) -> None:
        """Begin to renew the leases of what is under way."""
        self._renewing.start(delivery.RENEW_EVERY, now=False)

    async def stop(self) -> None:
        """Wait for the attempts under way, each of which ends within its deadline.

        Cancelled, it cancels them; whoever runs next takes them over.
        """
        self._stopping = True
        try:
            while self._under_way:
                await ended(next(iter(self._under_way.values())))
        finally:
            for attempt in list(self._under_way.values()):
                attempt.cancel()
            if self._renewing.running:
                self._renewing.stop()

    async def turn(self) -> float | None:
        """Begin attempts for due messages, as many as the lane has places for."""
        free = self._lane.concurrency - self._sending
        if free <= 0:
            return None
        tries, seconds = await self._database.transaction(
            lambda transaction: self._claim(transaction, free)
        )
        self._sending += len(tries)
        for one in tries:
            making = self._under_way[one.attempt_id] = Deferred.fromCoroutine(self._make(one))
            making.addBoth(self._made, one)
        return seconds

    async def _claim(self, transaction: Transaction, most: int) -> tuple[list[Try], float | None]:
        """Look at each due message once more, and write down the attempts to be made now.

        Returns them, and the seconds until there may be more.
        """
        name, served = self._lane.name, self._lane.served
        due = await messages.claim(transaction, name, served, most, health.PROBE_EVERY)
        if not due:
            return [], await messages.next_due(transaction, name, served)
        await attempts.take_over(transaction, [one for one in due if one.lease is not None])
        waiting = [one for one in due if one.lease is None]
        dropped = {one.id: standing for one in waiting if (standing := attempts.unwanted(one))}
        await messages.stand(transaction, list(dropped.values()))
        begun = await self._begin(transaction, [one for one in waiting if one.id not in dropped])
        more = len(due) >= most
        return begun, 0 if more else await messages.next_due(transaction, name, served)

    async def _begin(
        self, transaction: Transaction, wanted: Sequence[messages.DueMessage]
    ) -> list[Try]:
        outgoing = {
            message.id: OutgoingMessage(
                address=message.address,
                text=message.text,
                reference=keys.new_reference(),
                deadline=self._lane.deadline,
            )
            for message in wanted
        }
        begun = [
            messages.Begun(
                message_id=message.id,
                tenant_id=message.tenant_id,
                sender=self._lane.name,
                reference=outgoing[message.id].reference,
            )
            for message in wanted
        ]
        return [
            Try(
                attempt_id=attempt_id,
                message_id=message_id,
                number=number,
                outgoing=outgoing[message_id],
            )
            for message_id, attempt_id, number in await messages.begin(
                transaction, begun, delivery.LEASE
            )
        ]

    async def _make(self, one: Try) -> None:
        started = self._clock.seconds()
        try:
            outcome = await self._send(one)
        finally:
            # What is still to be written down is no load for the sender.
            self._sending -= 1
            self.freed()
        settled = attempts.settled(
            attempt_id=one.attempt_id,
            message_id=one.message_id,
            number=one.number,
            outcome=outcome,
        )
        self._log.info(
            "attempt {attempt_id} of message {message_id} through {sender} to {address}: {outcome}",
            attempt_id=one.attempt_id,
            message_id=one.message_id,
            sender=self._lane.name,
            address=masked(one.outgoing.address),
            outcome=settled.outcome.value,
            why=settled.why,
        )
        self._report(self._lane.name, settled.outcome, self._clock.seconds() - started)
        await self._write_down(settled)
        # Only now it is known when the message is due again.
        self.freed()

    def _made(self, result: Failure | None, one: Try) -> None:
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure(
                "attempt {attempt_id} could not be settled", result, attempt_id=one.attempt_id
            )
        del self._under_way[one.attempt_id]

    async def _send(self, one: Try) -> SendOutcome:
        """What the sender says within its deadline; anything unexpected counts as unknown."""
        try:
            sending = _called(self._lane.sender, one.outgoing)
            outcome = await within(self._clock, self._lane.deadline, sending)
        except TimeoutError:
            return Unknown(f"no outcome within {self._lane.deadline:g} s")
        except CancelledError:
            return Unknown("given up, since the daemon stops")
        except Exception as error:
            _mask(error, one.outgoing.address)
            self._log.failure(
                "sender {sender} raised on attempt {attempt_id}",
                sender=self._lane.name,
                attempt_id=one.attempt_id,
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

    async def _write_down(self, settled: messages.Settled) -> None:
        """Settle an attempt, for as long as it takes: forgotten, it would be made once more."""
        while True:
            try:
                return await self._settling.add(settled)
            except Unavailable as error:
                self._log.warn(
                    "attempt {attempt_id} can't be settled, the database is away: {why}",
                    attempt_id=settled.attempt_id,
                    why=str(error),
                )
            if self._stopping:
                # The lease runs out, and whoever is there then takes it from there.
                return None
            await deferLater(self._clock, SETTLE_AGAIN)

    async def _settle(self, group: Sequence[messages.Settled]) -> Sequence[None]:
        await self._database.transaction(
            lambda transaction: attempts.settle(
                transaction,
                self._lane.name,
                {each.method: each.senders for each in self._lane.served},
                group,
            )
        )
        return [None] * len(group)

    async def _renew(self) -> None:
        held = list(self._under_way)
        if not held:
            return
        try:
            await self._database.transaction(
                lambda transaction: messages.renew(transaction, held, delivery.LEASE)
            )
        except Unavailable as error:
            self._log.debug("leases could not be renewed: {why}", why=str(error))
        except Exception:
            # A LoopingCall would die of it for good.
            self._log.failure("leases could not be renewed")


def _mask(error: Exception, address: str) -> None:
    """Keep the whole address out of the log, which a library's error may have in its words."""
    number, shown = address.lstrip("+"), masked(address).lstrip("+")
    error.args = tuple(
        each.replace(number, shown) if isinstance(each, str) else each for each in error.args
    )


async def _called(sender: ISender, message: OutgoingMessage) -> Any:
    # Within a coroutine, so that a sender that raises before it returns is no different.
    return await sender.send(message)
