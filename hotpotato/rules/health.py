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
