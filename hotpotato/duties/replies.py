"""Replies: what people wrote back is judged here, once, after it was stored."""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato.duties.loop import STEP_ASIDE
from hotpotato.rules import replies as rules
from hotpotato.rules import text
from hotpotato.store import alerts, messages, replies
from hotpotato.store.database import Database, Transaction, Unavailable
from hotpotato.vocabulary import AlertStatus, MessageKind

CONFIRMATION_SEGMENTS = 2


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
        await self._judge(transaction, due)
        return 0

    async def _step_aside(self, transaction: Transaction) -> None:
        await replies.postpone(transaction, self._judging, STEP_ASIDE)

    async def _judge(self, transaction: Transaction, reply: replies.DueReply) -> None:
        phones = await replies.phones(transaction, reply.address)
        if not phones or reply.address is None:
            verdict = f"reply {reply.id} came from a phone that nobody has; not answered"
            await replies.judged(transaction, reply.id, verdict)
            return
        content = "" if reply.encoding == "base64" else reply.content
        meant = rules.understood(content)
        phone, coded = phones[0], None
        if isinstance(meant, rules.Acknowledge):
            coded = await replies.coded(transaction, meant.code, reply.address)
        if coded is not None:
            phone = _of_person(phones, coded) or phone
            verdict, answer = await self._acknowledge(transaction, phone, coded)
        elif isinstance(meant, rules.Acknowledge):
            verdict = f"{phone.name} replied with the code {meant.code}, which no message had"
            answer = text.no_such_code(meant.code)
        else:
            verdict = f"{phone.name} replied something that was not understood"
            answer = text.not_understood()
        alert_id = coded.alert_id if coded else None
        if not await self._confirm(transaction, reply, phone, answer, alert_id):
            verdict += "; not answered, that phone had enough answers for now"
        await replies.judged(
            transaction, reply.id, verdict, tenant_id=phone.tenant_id, alert_id=alert_id
        )

    async def _acknowledge(
        self, transaction: Transaction, phone: replies.Phone, coded: replies.Coded
    ) -> tuple[str, str]:
        """Acknowledge, and find the words for the history and for the phone."""
        name = (coded.state, coded.hostname, coded.service_name)
        if await alerts.acknowledge(transaction, coded.alert_id, phone.name):
            said = text.acknowledged([name], CONFIRMATION_SEGMENTS)
            return f"{phone.name} acknowledged the alert by SMS", said
        if coded.status == AlertStatus.RESOLVED:
            verdict = f"{phone.name} acknowledged an alert that was over already"
            return verdict, text.over_already(name, CONFIRMATION_SEGMENTS)
        by = coded.acknowledged_by or "somebody"
        verdict = f"{phone.name} acknowledged the alert, which {by} had acknowledged already"
        return verdict, text.taken_already(name, by, CONFIRMATION_SEGMENTS)

    async def _confirm(
        self,
        transaction: Transaction,
        reply: replies.DueReply,
        phone: replies.Phone,
        answer: str,
        alert_id: int | None,
    ) -> bool:
        assert reply.address is not None
        recent = await replies.confirmations(transaction, reply.address, rules.CONFIRMATIONS_WITHIN)
        if recent >= rules.MOST_CONFIRMATIONS:
            return False
        await messages.queue_text(
            transaction,
            kind=MessageKind.CONFIRMATION,
            tenant_id=phone.tenant_id,
            person_id=phone.person_id,
            contact_id=phone.contact_id,
            method=phone.method,
            address=reply.address,
            text=answer,
            reply_id=reply.id,
            alert_id=alert_id,
        )
        return True


def _of_person(phones: list[replies.Phone], coded: replies.Coded) -> replies.Phone | None:
    """The contact through which the message of this alert went: a phone may be in two tenants."""
    for phone in phones:
        if phone.tenant_id == coded.tenant_id and phone.person_id == coded.person_id:
            return phone
    return next((phone for phone in phones if phone.tenant_id == coded.tenant_id), None)
