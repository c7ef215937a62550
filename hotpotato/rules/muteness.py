"""Whether anything can be delivered: the pages that never left are the ones that nobody misses."""

from __future__ import annotations

import msgspec

LATELY = 3
"""A refusal counts for so many times as long as it takes to an alarm: pages come again by then."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of all senders together; times are in seconds ago.

    `waiting`: something is due that no provider takes. `refused`: when the last attempt of some
    sender was refused for good, if it was. `accepted`: when a provider last took something.
    `since`: when nothing was taken any more, as known so far.
    """

    waiting: bool
    refused: float | None
    accepted: float | None
    since: float | None


def undelivered_for(traffic: Traffic, after: float) -> float | None:
    """For how many seconds nothing could be delivered though something was due; None: it can be.

    Counts from the look that notices it first. `after` is as in `is_alarm`.
    """
    refused = traffic.refused is not None and traffic.refused < LATELY * after
    if not traffic.waiting and not refused:
        return None
    if traffic.since is None:
        return 0.0
    if traffic.accepted is not None and traffic.accepted < traffic.since:
        return 0.0
    return traffic.since


def is_alarm(traffic: Traffic, undelivered: float | None, after: float) -> bool:
    """Whether everybody is to be told: it has been so for `after` seconds.

    Where nothing waits, one refusal is none, a bad number perhaps; another, much later, is.
    """
    if undelivered is None or undelivered < after:
        return False
    return traffic.waiting or (
        traffic.refused is not None and undelivered - traffic.refused >= after / 2
    )
