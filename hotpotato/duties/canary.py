"""Canaries: finds out by a message to a number that answers whether one sender still delivers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hotpotato.duties.aside import Aside
from hotpotato.interfaces import Accepted, ISender, OutgoingMessage, SendOutcome, Unknown, masked
from hotpotato.patience import within
from hotpotato.rules import health, keys
from hotpotato.settings import Canary as CanarySettings
from hotpotato.store import canaries, messages, senders
from hotpotato.store.database import Database, Transaction

LOOK_EVERY = 5.0
"""Seconds between looks while one is out; how long it took is told by when its receipt came."""

LONGEST_SLEEP = 60.0
"""Seconds between looks while none is: another daemon may have sent one."""


class _Seen(msgspec.Struct, frozen=True):
    """What one look found: the last one, how it ended if that is news, and what to send now."""

    again: float
    back: float | None = None
    lost: str | None = None
    begun: tuple[int, str] | None = None


class Canary:
    """Its turns, for a loop; one sender's. `deadline`: the seconds that an attempt may take.

    `report` is told how each ended: after how many seconds it came back, None if it did not.
    """

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        name: str,
        sender: ISender,
        deadline: float,
        settings: CanarySettings,
        report: Callable[[str, float | None], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._sender = sender
        self._deadline = deadline
        self._settings = settings
        self._report = report
        self._log = Logger()
        self.sending = Aside(f"canary-{name}")

    async def turn(self) -> float | None:
        """Look for the one that is out, and send one that is due. Returns the seconds until then.

        Several daemons send one between them.
        """
        seen = await self._database.transaction(self._look)
        if seen.back is not None:
            self._report(self._name, seen.back)
            self._log.info(
                "the canary through {sender} came back after {seconds:.1f} s",
                sender=self._name,
                seconds=seen.back,
            )
        elif seen.lost is not None:
            self._report(self._name, None)
            self._log.warn("the canary through {sender} {why}", sender=self._name, why=seen.lost)
        if seen.begun is not None and not self.sending.under_way:
            self.sending.begin(self._send(*seen.begun))
        return seen.again

    async def _look(self, transaction: Transaction) -> _Seen:
        await senders.lock(transaction, [self._name])
        before = await self._flown(transaction)
        seen = _Seen(LOOK_EVERY)
        if before and before[0].back is None:
            seen = await self._look_for(transaction, before[0])
        flown = await self._flown(transaction)
        facts = [health.Canary(one.age, one.back, one.failed) for one in flown]
        due = health.canary_due(facts, self._settings.interval, self._settings.within)
        if due <= 0 and not self.sending.under_way:
            reference = keys.new_reference()
            number = await canaries.begin(transaction, self._name, reference, self._settings.to)
            return msgspec.structs.replace(seen, begun=(number, reference))
        out = bool(flown) and flown[0].back is None and flown[0].failed is None
        return msgspec.structs.replace(seen, again=LOOK_EVERY if out else max(due, LOOK_EVERY))

    async def _look_for(self, transaction: Transaction, out: canaries.Flown) -> _Seen:
        """Whether it came back, also late; or is given up now."""
        refused = await canaries.come_back(transaction, out.id, self._settings.answer)
        (now, *_) = await self._flown(transaction)
        if now.back is not None:
            return _Seen(LOOK_EVERY, back=now.back)
        why: str | None = None
        if refused is not None:
            why = f"was not delivered: {refused}"
        elif now.age >= self._settings.within:
            why = f"did not come back within {self._settings.within:g} s"
        if why is None or out.failed is not None:
            return _Seen(LOOK_EVERY)
        await canaries.fail(transaction, out.id, why)
        return _Seen(LOOK_EVERY, lost=why)

    async def _flown(self, transaction: Transaction) -> list[canaries.Flown]:
        return await canaries.recent(transaction, [self._name])

    async def _send(self, number: int, reference: str) -> None:
        """One attempt. What may have got through may still come back."""
        outgoing = OutgoingMessage(
            address=self._settings.to,
            text=f"Hot Potato canary {number}",
            reference=reference,
            deadline=self._deadline,
        )
        try:
            outcome: SendOutcome = await within(
                self._clock, self._deadline, _called(self._sender, outgoing)
            )
        except TimeoutError:
            outcome = Unknown(f"no outcome within {self._deadline:g} s")
        self._log.info(
            "canary {number} through {sender} to {address}: {outcome}",
            number=number,
            sender=self._name,
            address=masked(self._settings.to),
            outcome=type(outcome).__name__,
        )
        if isinstance(outcome, Accepted):
            provider_id = messages.storable(str(outcome.provider_id))
            await self._database.transaction(
                lambda transaction: canaries.taken(transaction, number, provider_id)
            )
        elif not isinstance(outcome, Unknown):
            why = messages.storable(f"was not taken: {outcome.why}")
            self._report(self._name, None)
            await self._database.transaction(
                lambda transaction: canaries.fail(transaction, number, why)
            )


async def _called(sender: ISender, outgoing: OutgoingMessage) -> SendOutcome:
    # Within a coroutine, so that a sender that raises before it returns is no different.
    return await sender.send(outgoing)
