"""What comes back from providers and people: stored first, then judged."""

from __future__ import annotations

from collections.abc import Callable

import phonenumbers
from twisted.logger import Logger
from zope.interface import implementer

from hotpotato.interfaces import IInbox, ReceiptFact, ReplyFact
from hotpotato.rules import delivery
from hotpotato.store import messages, replies
from hotpotato.store.database import Database, Transaction
from hotpotato.vocabulary import Outcome, Progress


@implementer(IInbox)
class Inbox:
    """The inbox of one configured sender, named `sender`. `report` is for metrics."""

    def __init__(
        self,
        database: Database,
        sender: str,
        report: Callable[[str, str], None] = lambda sender, kind: None,
    ) -> None:
        self._database = database
        self._sender = sender
        self._report = report
        self._log = Logger()

    async def receipt(self, fact: ReceiptFact) -> None:
        """See IInbox."""
        receipt = messages.Receipt(
            sender=self._sender,
            provider_id=_text(fact.provider_id),
            reference=_text(fact.reference),
            status=_text(fact.status) or "",
            progress=fact.progress,
            detail=_text(fact.detail),
        )
        await self._database.transaction(lambda transaction: apply(transaction, receipt))
        self._report(self._sender, fact.progress.value)

    async def reply(self, fact: ReplyFact) -> None:
        """See IInbox."""
        reply = replies.Reply(
            sender=self._sender,
            provider_id=_text(fact.provider_id) or "",
            source=_text(fact.source) or "",
            address=e164(fact.source),
            content=_text(fact.content) or "",
            encoding=_text(fact.encoding),
            reply_to=_text(fact.reply_to),
            operator=_text(fact.operator),
        )
        if await replies.store(self._database, reply):
            self._report(self._sender, "reply")


async def apply(transaction: Transaction, receipt: messages.Receipt) -> None:
    """Store a receipt and take its attempt and message forward, never back."""
    await messages.lock_provider_ids(transaction, [(receipt.sender, receipt.provider_id)])
    attempt = await messages.attempt_of(transaction, receipt)
    await messages.store_receipt(transaction, receipt, attempt)
    if attempt is None:
        return
    (message,) = await messages.lock(transaction, [attempt.message_id])
    attempt = next(known for known in message.attempts if known.id == attempt.id)
    progress = delivery.advanced(attempt.progress, receipt.progress)
    # A receipt says that the provider has it, whatever we know of the answer to the send.
    await messages.accepted_by_receipt(transaction, attempt.id, receipt.provider_id)
    if attempt.provider_id is None:
        # By the id that is known only now, others may have been meant that came before.
        for _, said in await messages.early_receipts(transaction, [attempt.id]):
            progress = delivery.advanced(progress, said)
    await messages.set_progress(transaction, [(attempt.id, progress)])
    standing = _standing(message, attempt.id, progress)
    if standing.status is not message.status:
        await messages.stand(transaction, [standing])


def _standing(message: messages.Locked, attempt_id: int, progress: Progress) -> messages.Standing:
    facts = [
        delivery.AttemptFacts(Outcome.ACCEPTED, progress)
        if attempt.id == attempt_id
        else delivery.AttemptFacts(attempt.outcome, attempt.progress)
        for attempt in message.attempts
    ]
    return messages.Standing(
        id=message.id,
        status=delivery.status(facts, current=message.status, expired=message.expired),
        due_in=delivery.WAIT_FOR_RECEIPT,
        keep_lease=True,
        sentence=None,
    )


def e164(source: str) -> str | None:
    """A phone number as it is stored for a contact, or None if this isn't one."""
    try:
        number = phonenumbers.parse(source if source.startswith("+") else f"+{source}", None)
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _text(value: str | None) -> str | None:
    return None if value is None else messages.storable(value)
