"""Whether a sender is well: a breaker, so that pages don't wait for a provider that is down."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hotpotato.vocabulary import Outcome

IN_A_ROW = 5
"""How many attempts in a row make a sender sick, by failing or by getting no receipt."""

RECEIPT_WITHIN = 60.0
"""Seconds within which a receipt is expected, from a sender that gets receipts at all."""

PROBE_EVERY = 60.0
"""Seconds between messages that a sick sender is tried with, while there is another."""

PROBE_BESIDE_CANARY = 86_400.0
"""The same, of one that is sick for its canary: the next canary tries it, and no page has to."""


class Recent(msgspec.Struct, frozen=True):
    """One of a sender's last attempts: its outcome, None while under way, and its age in seconds.

    `answered`: at least one receipt came for it.
    """

    outcome: Outcome | None
    age: float
    answered: bool
    why: str | None = None


def sickness(recent: Sequence[Recent], gets_receipts: bool) -> str | None:
    """What is the matter with a sender, by its last attempts, the newest first; None: nothing.

    `gets_receipts`: some came through it within the last days.
    """
    over = [one for one in recent if one.outcome is not None][:IN_A_ROW]
    if len(over) == IN_A_ROW and all(
        one.outcome in (Outcome.FAILED, Outcome.UNKNOWN) for one in over
    ):
        why = f": {over[0].why}" if over[0].why else ""
        return f"the last {IN_A_ROW} attempts failed{why}"
    if not gets_receipts:
        return None
    taken = [one for one in recent if one.outcome is Outcome.ACCEPTED]
    if any(one.answered for one in taken if one.age < RECEIPT_WITHIN):
        return None
    late = [one for one in taken if one.age >= RECEIPT_WITHIN][:IN_A_ROW]
    if len(late) == IN_A_ROW and not any(one.answered for one in late):
        return f"{_SILENCE} for the last {IN_A_ROW} messages"
    return None


_SILENCE = "no receipt came"


def is_silence(why: str) -> bool:
    """Whether it is sick for getting no receipts, by what `sickness` said."""
    return why.startswith(_SILENCE)


def recovered(since: Sequence[Recent], was_silent: bool) -> bool:
    """Whether a sick sender is well again, by its attempts since then.

    One that failed is, when the provider takes a message; one that got no receipts, with a receipt.
    """
    if was_silent:
        return any(one.answered for one in since)
    return any(one.outcome is Outcome.ACCEPTED or one.answered for one in since)


class Canary(msgspec.Struct, frozen=True):
    """A message to a number that answers: its age, and after how long it came back, in seconds.

    `failed`: what became of it instead; one that came back late has both.
    """

    age: float
    back: float | None = None
    failed: str | None = None


_CANARY = "its canary "


def canary_sickness(flown: Sequence[Canary]) -> str | None:
    """What is the matter with a sender, by its canaries, the newest first; None: nothing.

    One that is still out says nothing.
    """
    for canary in flown:
        if canary.back is not None:
            return None
        if canary.failed is not None:
            return _CANARY + canary.failed
    return None


def is_canarys(why: str) -> bool:
    """Whether a sender is sick for its canary, by what `canary_sickness` said."""
    return why.startswith(_CANARY)


FEW = 3
"""Canaries in a row that fail before the next ones are sent RARELY."""

RARELY = 600.0
"""Seconds between canaries after that many have failed."""


def canary_due(flown: Sequence[Canary], interval: float, within: float) -> float:
    """Seconds until the next canary is to be sent, 0 or less for now.

    One each `interval`; after one that failed, more often, to find out when it is over. After
    three in a row less often: a number that answers no more is not to cost one each minute.
    """
    if not flown:
        return 0.0
    failed = [one.failed is not None and one.back is None for one in flown[:FEW]]
    often = RARELY if len(failed) == FEW and all(failed) else PROBE_EVERY
    pause = max(within, min(often, interval)) if failed[0] else interval
    return pause - flown[0].age
