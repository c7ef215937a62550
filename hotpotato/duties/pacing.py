"""Pacing: lets go what was held, when its contact may be sent something again.

What waits together is told together: one text, one code for all that is open in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotpotato.duties import coding, queueing
from hotpotato.duties.batches import Batches
from hotpotato.duties.policies import policies_of
from hotpotato.duties.queueing import CODED, Limits
from hotpotato.duties.wording import words
from hotpotato.rules import digests, pacing, text
from hotpotato.rules.policy import Pace, Policy
from hotpotato.store import queue
from hotpotato.store.alerts import Coded
from hotpotato.store.database import Database, Transaction
from hotpotato.store.queue import Contact, Held

AT_ONCE = 20
"""How many contacts one turn takes."""

_OUT_OF_USE = "not sent: the phone is switched off, or nobody's who is to be told"


class Pacing:
    """Its turns, for a loop."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._limits = limits
        self._batches: Batches[Contact] = Batches(
            database,
            AT_ONCE,
            claim=queue.claim,
            work=self._work,
            next_due=queue.next_due,
            postpone=_postpone,
            named=lambda contact: f"what is held for contact {contact.id}",
        )

    async def turn(self) -> float | None:
        """Look at the contacts that are due. Returns the seconds until the next is."""
        return await self._batches.turn()

    async def _work(self, transaction: Transaction, contacts: Sequence[Contact]) -> None:
        policies = await policies_of(transaction, {one.tenant_id for one in contacts})
        held = await queue.held(transaction, [one.id for one in contacts])
        looked = [
            (contact.id, await self._look(transaction, contact, held.get(contact.id, []), policies))
            for contact in contacts
        ]
        await queue.looked(transaction, looked)

    async def _look(
        self,
        transaction: Transaction,
        contact: Contact,
        held: Sequence[Held],
        policies: Mapping[int, Policy],
    ) -> float | None:
        """Tell what is held for one contact, if its pace allows; else the seconds until it does."""
        if contact.out_of_use:
            await queue.give_up(transaction, [one.id for one in held], _OUT_OF_USE)
            return None
        found = digests.sorted_out([_rule(one) for one in held])
        await queue.drop(transaction, [(one.id, why) for one, why in found.dropped])
        if not found.told:
            return None
        allowed, lately = queueing.pace(contact, policies), queueing.sent(contact)
        # One segment is the least: nothing is worded before that may go.
        if (pause := pacing.pause(allowed, lately, 1)) > 0:
            return pause
        limit = self._limits.of(contact.method)
        place, only = found.told[0]
        # A page of what is over is no page any more: it would be taken back before it is sent.
        if len(found.told) > 1 or (place is digests.Place.OVER and only.kind in digests.PAGES):
            room = _room(allowed, lately, limit)
            await self._together(transaction, contact, found, room)
            return None
        one = next(each for each in held if each.id == only.id)
        words = await self._alone(transaction, contact, one)
        if (pause := pacing.pause(allowed, lately, text.segments(words))) > 0:
            return pause
        await queue.release(transaction, one.id, words, text.segments(words))
        return None

    async def _together(
        self, transaction: Transaction, contact: Contact, found: digests.Sorted, limit: int
    ) -> None:
        """Tell it in at most `limit` segments: a short text now is better than a long one later."""
        digest_id = await queue.new_digest(transaction)
        coded = Coded(contact.tenant_id, None, digest_id)
        code = (await coding.give(transaction, [coded]))[coded]
        words = digests.digest(found.told, code, limit)
        members = [one.id for _, one in found.told]
        await queue.merge(transaction, contact, digest_id, members, words, text.segments(words))

    async def _alone(self, transaction: Transaction, contact: Contact, one: Held) -> str:
        if one.text is not None:
            return one.text
        assert one.notification_id is not None
        code = ""
        if one.alert_id is not None and one.kind in CODED:
            codes = await coding.of_alerts(transaction, [(contact.tenant_id, one.alert_id)])
            code = codes[one.alert_id]
        about = await queue.about(transaction, [one.notification_id])
        return words(
            about[one.notification_id],
            one.kind,
            self._limits.of(contact.method),
            code=code,
            again=one.again,
            because=one.because,
        )


async def _postpone(transaction: Transaction, contacts: Sequence[Contact], seconds: float) -> None:
    await queue.looked(transaction, [(contact.id, seconds) for contact in contacts])


def _rule(one: Held) -> digests.Held:
    return digests.Held(**{field: getattr(one, field) for field in digests.Held.__struct_fields__})


def _room(allowed: Pace, lately: Sequence[pacing.Sent], limit: int) -> int:
    """How many segments may go now, up to `limit`; one may."""
    return max(
        (room for room in range(2, limit + 1) if pacing.pause(allowed, lately, room) == 0),
        default=1,
    )
