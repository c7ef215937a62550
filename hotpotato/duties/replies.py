"""Replies: what people wrote back is judged here, once, after it was stored."""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato.duties.loop import STEP_ASIDE
from hotpotato.duties.obeying import Verdict, obey
from hotpotato.rules import replies as rules
from hotpotato.store import messages, replies
from hotpotato.store.database import Database, Transaction, Unavailable
from hotpotato.vocabulary import MessageKind


class Replies:
    """Its turns, for a loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = Logger()
        self._judging = 0

    async def turn(self) -> float | None:
        """Judge one reply. Returns the seconds until the next is to be judged.

        Should one be such that it can't be judged, it is passed over for a while.
        """
        try:
            return await self._database.transaction(self._work)
        except Unavailable:
            raise
        except Exception:
            self._log.failure("reply {reply_id} could not be judged", reply_id=self._judging)
            await self._database.transaction(self._step_aside)
            return 0

    async def _work(self, transaction: Transaction) -> float | None:
        due = await replies.claim(transaction)
        if due is None:
            return await replies.next_due(transaction)
        self._judging = due.id
        await _judge(transaction, due)
        return 0

    async def _step_aside(self, transaction: Transaction) -> None:
        await replies.postpone(transaction, self._judging, STEP_ASIDE)


async def _judge(transaction: Transaction, reply: replies.DueReply) -> None:
    phones = await replies.phones(transaction, reply.address)
    if not phones:
        sentence = f"reply {reply.id} came from a phone that nobody has; not answered"
        await replies.judged(transaction, reply.id, sentence)
        return
    content = "" if reply.encoding == "base64" else reply.content
    verdict = await obey(transaction, rules.understood(content), reply, phones)
    sentence = verdict.sentence
    if not await _answer(transaction, reply, verdict):
        sentence += "; not answered, that phone had enough answers for now"
    await replies.judged(
        transaction,
        reply.id,
        sentence,
        tenant_id=verdict.phone.tenant_id,
        alerts=verdict.alerts,
        acknowledges=verdict.acknowledges,
    )


async def _answer(transaction: Transaction, reply: replies.DueReply, verdict: Verdict) -> bool:
    """Queue the answer; False if this phone got as many as it gets for now."""
    assert reply.address is not None, "it is somebody's"
    recent = await replies.confirmations(transaction, reply.address, rules.CONFIRMATIONS_WITHIN)
    if recent >= rules.MOST_CONFIRMATIONS:
        return False
    await messages.queue_text(
        transaction,
        kind=MessageKind.CONFIRMATION,
        tenant_id=verdict.phone.tenant_id,
        person_id=verdict.phone.person_id,
        contact_id=verdict.phone.contact_id,
        method=verdict.phone.method,
        address=reply.address,
        text=verdict.answer,
        reply_id=reply.id,
        alert_id=verdict.alerts[0] if len(verdict.alerts) == 1 else None,
    )
    return True
