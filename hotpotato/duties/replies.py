"""Replies: what people wrote back is judged here, once, after it was stored."""

from __future__ import annotations

from collections.abc import Sequence

from hotpotato.duties.batches import Batches
from hotpotato.duties.obeying import Verdict, obey
from hotpotato.rules import replies as rules
from hotpotato.store import messages, replies
from hotpotato.store.database import Database, Transaction
from hotpotato.vocabulary import MessageKind


class Replies:
    """Its turns, for a loop: one reply each."""

    def __init__(self, database: Database) -> None:
        self._batches: Batches[replies.DueReply] = Batches(
            database,
            1,
            claim=replies.claim,
            work=_judge_each,
            next_due=replies.next_due,
            postpone=replies.postpone,
            named=lambda reply: f"reply {reply.id}",
        )

    async def turn(self) -> float | None:
        """Judge a reply that is due. Returns the seconds until the next is."""
        return await self._batches.turn()


async def _judge_each(transaction: Transaction, due: Sequence[replies.DueReply]) -> None:
    for reply in due:
        await _judge(transaction, reply)


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
