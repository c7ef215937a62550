"""What comes back from providers and people: stored first, then judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import phonenumbers
from zope.interface import implementer

from hotpotato.interfaces import IInbox, ReceiptFact, ReplyFact
from hotpotato.rules import delivery
from hotpotato.store import messages, replies
from hotpotato.store.database import Database, Transaction
from hotpotato.store.groups import Claim, Groups
from hotpotato.vocabulary import Outcome, Progress


@implementer(IInbox)
class Inbox:
    """The inbox of one configured sender, named `sender`. `report` is for metrics.

    `routes` tells, by contact method, the senders that serve it, in order: a message that one of
    them could not deliver is for the next.
    Receipts that come while others are written down are written down together.
    """

    def __init__(
        self,
        database: Database,
        sender: str,
        report: Callable[[str, str], None] = lambda sender, kind: None,
        routes: Callable[[], Mapping[str, Sequence[str]]] = dict,
    ) -> None:
        self._database = database
        self._sender = sender
        self._report = report
        self._routes = routes
        self._receipts: Groups[messages.Receipt, None] = Groups(
            None, self._apply, _claims, under_way=1
        )

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
        await self._receipts.add(receipt)
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

    async def _apply(self, group: Sequence[messages.Receipt]) -> Sequence[None]:
        await self._database.transaction(
            lambda transaction: apply(transaction, group, self._routes())
        )
        return [None] * len(group)


async def apply(
    transaction: Transaction,
    receipts: Sequence[messages.Receipt],
    routes: Mapping[str, Sequence[str]],
) -> None:
    """Store receipts and take their attempts and messages forward, never back.

    No two of them may name the same thing, but for the sender: by a reference and an id the first
    would tell what the second is about.
    """
    await messages.lock_provider_ids(
        transaction, [(one.sender, one.provider_id) for one in receipts]
    )
    about = await messages.attempts_of(transaction, receipts)
    pairs = [(one, about.get(place, (None, None))[0]) for place, one in enumerate(receipts)]
    await messages.store_receipts(transaction, pairs)
    if not about:
        return
    locked = await messages.lock(transaction, [message_id for _, message_id in about.values()])
    known = {attempt.id: attempt for message in locked for attempt in message.attempts}
    said = [(attempt_id, one.progress) for one, attempt_id in pairs if attempt_id is not None]
    ids: dict[int, str | None] = {}
    for one, attempt_id in pairs:
        if attempt_id is not None:
            ids[attempt_id] = ids.get(attempt_id) or one.provider_id
    # A receipt says that the provider has it, whatever we know of the answer to the send.
    await messages.accepted_by_receipt(transaction, list(ids.items()))
    if new := [
        one for one, provider_id in ids.items() if provider_id and not known[one].provider_id
    ]:
        # By the id that is known only now, others may have been meant that came before.
        said += await messages.early_receipts(transaction, new)
    progress = {one: known[one].progress for one in ids}
    for attempt_id, news in said:
        progress[attempt_id] = delivery.advanced(progress[attempt_id], news)
    await messages.set_progress(transaction, list(progress.items()))
    standings = [_standing(message, progress, routes) for message in locked]
    changed = [new for new, old in zip(standings, locked, strict=True) if new.status != old.status]
    await messages.stand(transaction, changed)


def _standing(
    message: messages.Locked, progress: Mapping[int, Progress], routes: Mapping[str, Sequence[str]]
) -> messages.Standing:
    facts = [
        delivery.AttemptFacts(Outcome.ACCEPTED, progress[attempt.id])
        if attempt.id in progress
        else delivery.AttemptFacts(attempt.outcome, attempt.progress)
        for attempt in message.attempts
    ]
    last = message.attempts[-1].sender
    others = delivery.remaining(routes.get(message.method, ()), {*message.failed_senders, last})
    status = delivery.status(
        facts, current=message.status, expired=message.expired, others=bool(others)
    )
    failed = delivery.given_up(status, facts[-1]) and status is not message.status
    return messages.Standing(
        id=message.id,
        status=status,
        due_in=0.0,
        keep_lease=not failed,
        sentence=f"{last} could not deliver it; {others[0]} is tried now" if failed else None,
        failed_sender=last if failed else None,
    )


def _claims(receipt: messages.Receipt) -> Sequence[Claim]:
    # What one tells of an attempt, its provider's id, may be what the next is found by.
    named = [("id", receipt.provider_id), ("reference", receipt.reference)]
    return [Claim(f"{kind}:{name}".encode(), last=True) for kind, name in named if name]


def e164(source: str) -> str | None:
    """A phone number as it is stored for a contact, or None if this isn't one."""
    try:
        number = phonenumbers.parse(source if source.startswith("+") else f"+{source}", None)
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _text(value: str | None) -> str | None:
    return None if value is None else messages.storable(value)
