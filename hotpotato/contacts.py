"""Contacts switched off and on, and verified: by an SMS from the phone, or by a command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hotpotato.rules import answers, keys, text
from hotpotato.store import contacts
from hotpotato.store.contacts import Switched
from hotpotato.store.database import Transaction


async def stop(
    transaction: Transaction, contact_ids: Sequence[int], by: str | None
) -> list[Switched]:
    """Switch contacts off, in somebody's name (None: their own), and tell the tenant's others.

    Returns those that were on. Where that leaves somebody who is on call without a contact, the
    escalation looks at once at what nobody has taken, and passes them over.
    """
    switched = await contacts.switch(transaction, contact_ids, by, off=True)
    for one in switched:
        words = answers.others_of_stop(
            one.person,
            one.address,
            by or one.person,
            on_call=bool(one.schedules),
            reachable=one.reachable,
        )
        await _tell_others(transaction, one, switched, words)
        if stranded(one):
            await contacts.look_at_alerts(transaction, one.tenant_id)
    return switched


async def start(
    transaction: Transaction, contact_ids: Sequence[int], by: str | None
) -> list[Switched]:
    """Switch contacts on again, and tell the tenant's others. Returns those that were off."""
    switched = await contacts.switch(transaction, contact_ids, by, off=False)
    for one in switched:
        words = answers.others_of_start(one.person, one.address, by or one.person)
        await _tell_others(transaction, one, switched, words)
    return switched


def stranded(one: Switched) -> bool:
    """Whether they are on call, and no message reaches them any more."""
    return bool(one.schedules) and not one.reachable


async def _tell_others(
    transaction: Transaction, one: Switched, switched: Iterable[Switched], words: str
) -> None:
    theirs = [each.person_id for each in switched]
    await contacts.tell(transaction, one.tenant_id, words, text.segments(words), but=theirs)


async def verify(transaction: Transaction, contact_ids: Iterable[int], code: str) -> bool | None:
    """Try a code that came back from contacts; None if none of them waits for one."""
    given = {each: keys.verification_digest(each, code) for each in contact_ids}
    tried = await contacts.verify(transaction, given)
    return any(matched for _, matched in tried) if tried else None
