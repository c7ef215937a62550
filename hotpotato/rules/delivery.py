"""What became of a message: its attempts, their outcomes, their receipts, and when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from hotpotato.vocabulary import MessageStatus, Outcome, Progress

LEASE = 10.0
"""Seconds for which an attempt belongs to the process that makes it, unless it is renewed."""

RENEW_EVERY = 3.0
"""Seconds between renewals of the leases of a process."""

WAIT_FOR_RECEIPT = 10.0
"""Seconds for which an attempt of unknown outcome waits for a receipt with its reference."""

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 120.0
"""Seconds before the first and between the later attempts, doubled each time in between."""

_FORWARD = {Progress.UNDERWAY: 0, Progress.FAILED: 1, Progress.DELIVERED: 2}


class AttemptFacts(msgspec.Struct, frozen=True):
    """One attempt: its outcome (None while under way) and what its receipts say."""

    outcome: Outcome | None
    progress: Progress = Progress.UNDERWAY


def advanced(known: Progress, said: Progress) -> Progress:
    """What is known after one more receipt.

    It only goes forward, so the order and the number of receipts don't matter. «Delivered»
    outweighs «failed»: a text that is on the handset is there, whatever else was said of it.
    """
    return max(known, said, key=_FORWARD.__getitem__)


def status(
    attempts: Iterable[AttemptFacts],
    *,
    current: MessageStatus = MessageStatus.QUEUED,
    expired: bool = False,
    others: bool = False,
) -> MessageStatus:
    """The state of a message that has these attempts, in order.

    `current` is its state so far. A message that was cancelled, or failed, gets no further attempt,
    nor one whose time has `expired`; what arrives all the same is still told. `others`: there are
    senders that have not failed it.
    """
    tried = list(attempts)
    if any(attempt.progress is Progress.DELIVERED for attempt in tried):
        return MessageStatus.DELIVERED
    if any(_alive(attempt) for attempt in tried):
        return MessageStatus.SENT
    if current in (MessageStatus.CANCELLED, MessageStatus.FAILED):
        return current
    if any(attempt.outcome is None for attempt in tried):
        return MessageStatus.SENDING
    last = tried[-1].outcome if tried else None
    if expired or (last in (Outcome.REJECTED, Outcome.ACCEPTED) and not others):
        return MessageStatus.FAILED
    return MessageStatus.SENDING if last is Outcome.UNKNOWN else MessageStatus.QUEUED


def _alive(attempt: AttemptFacts) -> bool:
    return attempt.outcome is Outcome.ACCEPTED and attempt.progress is not Progress.FAILED


def given_up(status: MessageStatus, last: AttemptFacts) -> bool:
    """Whether a message with this state waits for another sender: the last attempt failed it."""
    for_good = last.outcome in (Outcome.REJECTED, Outcome.ACCEPTED)
    return status is MessageStatus.QUEUED and for_good


def remaining(senders: Sequence[str], failed: Iterable[str]) -> tuple[str, ...]:
    """The senders, in order, that may still be tried for a message that those have failed."""
    given_up = set(failed)
    return tuple(sender for sender in senders if sender not in given_up)


def pause(tries: int, outcome: Outcome, retry_after: float | None, chance: float) -> float:
    """Seconds until the next attempt, after `tries` of them.

    Doubles up to LONGEST_PAUSE. `chance`, from 0 to 1, takes up to a quarter off, so that what
    failed together does not come back together. A provider's Retry-After is never undercut, up to
    a day. An unknown outcome waits at least for its receipt.
    """
    doubled: float = FIRST_PAUSE * 2.0 ** min(tries - 1, 16)
    seconds = min(doubled, LONGEST_PAUSE) * (1 - chance / 4)
    if retry_after is not None and retry_after > 0:
        seconds = max(seconds, min(retry_after, 86_400.0))
    if outcome is Outcome.UNKNOWN:
        seconds = max(seconds, WAIT_FOR_RECEIPT)
    return seconds
