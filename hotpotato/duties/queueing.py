"""From a decision to the queue: what goes at once, and what is held for its contact's pace.

`duties.escalation` hands in what it decided; `duties.pacing` lets go what was held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hotpotato.duties import coding
from hotpotato.duties.wording import words
from hotpotato.rules import pacing, text
from hotpotato.rules.policy import Pace, Policy, paced
from hotpotato.rules.severity import severity
from hotpotato.store import queue
from hotpotato.store.database import Transaction
from hotpotato.store.queue import About, Contact, Placed, Wanted
from hotpotato.vocabulary import MessageKind

SEGMENTS = 2
"""The longest text, in segments, for a method that no sender serves now."""

CODED = (MessageKind.PAGE, MessageKind.FLAPPING, MessageKind.RECOVERY)
"""The kinds whose text carries the code of their alert."""


class Limits(msgspec.Struct, frozen=True):
    """The longest text by contact method, in segments: what every sender of it takes."""

    segments: Mapping[str, int] = {}

    def of(self, method: str) -> int:
        """For one method."""
        return self.segments.get(method, SEGMENTS)


async def put(
    transaction: Transaction,
    wanted: Sequence[Wanted],
    policies: Mapping[int, Policy],
    limits: Limits,
) -> None:
    """Queue what the pace of its contact allows, the worst first, and hold the rest."""
    if not wanted:
        return
    contacts = await queue.lock(transaction, {one.contact_id for one in wanted})
    by_contact: dict[int, list[Wanted]] = {}
    for one in wanted:
        if one.contact_id in contacts:
            by_contact.setdefault(one.contact_id, []).append(one)
    candidates = {
        contact_id: _candidates(contacts[contact_id], each, policies)
        for contact_id, each in by_contact.items()
    }
    chosen = [one for each in candidates.values() for one in each]
    texts = await _texts(transaction, chosen, contacts, limits)
    placed: list[Placed] = []
    looks: list[tuple[int, float]] = []
    for contact_id, each in by_contact.items():
        contact = contacts[contact_id]
        released, pause = _released(
            pace(contact, policies), contact.sent, candidates[contact_id], texts
        )
        held = [one for one in each if one not in released]
        placed += [Placed(wanted=one, text=t, segments=s) for one, (t, s) in released.items()]
        placed += [Placed(wanted=one, text=one.text, segments=None) for one in held]
        looks += [(contact_id, max(pause, one.hold or 0.0)) for one in held]
    await queue.put(transaction, placed)
    await queue.due(transaction, _soonest(looks))


def pace(contact: Contact, policies: Mapping[int, Policy]) -> Pace:
    """A contact's pace: its own, else its tenant's."""
    return paced(policies[contact.tenant_id].pace, msgspec.structs.asdict(contact))


def sent(contact: Contact) -> list[pacing.Sent]:
    """What counts for its pace."""
    return [pacing.Sent(ago, segments) for ago, segments in contact.sent]


def _candidates(
    contact: Contact, wanted: Iterable[Wanted], policies: Mapping[int, Policy]
) -> list[Wanted]:
    """What may go now, the worst first: no more than a burst, since each takes a segment.

    If not all of it may, what is not new is told together, and leaves room for what is.
    """
    if contact.holding:
        return []
    burst = pace(contact, policies).burst
    now = sorted((one for one in wanted if one.hold is None), key=lambda one: -severity(one.state))
    return (now if len(now) <= burst else [one for one in now if not one.again])[:burst]


def _released(
    allowed: Pace,
    before: Iterable[tuple[float, int]],
    candidates: Sequence[Wanted],
    texts: Mapping[Wanted, str],
) -> tuple[dict[Wanted, tuple[str, int]], float]:
    """Those that go now, with their text and segments; and the seconds until the next may."""
    lately = [pacing.Sent(ago, segments) for ago, segments in before]
    released: dict[Wanted, tuple[str, int]] = {}
    for one in candidates:
        count = text.segments(texts[one])
        if pacing.pause(allowed, lately, count) > 0:
            break
        released[one] = (texts[one], count)
        lately.append(pacing.Sent(0.0, count))
    return released, pacing.pause(allowed, lately, 1)


async def _texts(
    transaction: Transaction,
    wanted: Sequence[Wanted],
    contacts: Mapping[int, Contact],
    limits: Limits,
) -> dict[Wanted, str]:
    abouts = await queue.about(
        transaction, [one.notification_id for one in wanted if one.notification_id is not None]
    )
    codes = await coding.of_alerts(
        transaction,
        [
            (one.tenant_id, one.alert_id)
            for one in wanted
            if one.alert_id is not None and one.kind in CODED
        ],
    )
    return {
        one: one.text
        if one.text is not None
        else _text(one, abouts, codes, limits.of(contacts[one.contact_id].method))
        for one in wanted
    }


def _text(one: Wanted, abouts: Mapping[int, About], codes: Mapping[int, str], segments: int) -> str:
    assert one.notification_id is not None, "who queues a message gives it words, or what has them"
    return words(
        abouts[one.notification_id],
        one.kind,
        segments,
        code=codes.get(one.alert_id or 0, ""),
        again=one.again,
        because=one.because,
    )


def _soonest(looks: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    soonest: dict[int, float] = {}
    for contact_id, seconds in looks:
        soonest[contact_id] = min(seconds, soonest.get(contact_id, seconds))
    return sorted(soonest.items())
