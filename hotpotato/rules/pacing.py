"""Pace: how much a phone is sent, so that a storm does not bury the page that matters."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hotpotato.rules.policy import Pace

HOUR = 3600.0

INSTANT = 1e-4
"""Seconds that are none: what floating point leaves over, and less than a clock can tell."""


class Sent(msgspec.Struct, frozen=True):
    """What went to a contact within the last hour: how many seconds ago, how many segments."""

    ago: float
    segments: int


def pause(pace: Pace, sent: Iterable[Sent], segments: int) -> float:
    """Seconds until a message of so many segments may go to a contact; 0: now.

    Whatever the pace is, there is such a time, within the hour; and to a contact that got nothing
    for an hour it is now, whatever the message's size.
    """
    recent = sorted((one for one in sent if one.ago < HOUR), key=lambda one: -one.ago)
    if not recent:
        return 0.0
    wait = max(_for_burst(pace, recent, segments), _for_hour(pace, recent, segments))
    return wait if wait >= INSTANT else 0.0


def _for_burst(pace: Pace, recent: list[Sent], segments: int) -> float:
    """A bucket of `burst` segments, into which one more comes each `every` seconds."""
    level, before = float(pace.burst), recent[0].ago
    for one in recent:
        level = min(pace.burst, level + (before - one.ago) / pace.every) - one.segments
        before = one.ago
    level = min(pace.burst, level + before / pace.every)
    wanted = min(segments, pace.burst)
    # Of an hour's history more can't be known, and in an hour nothing is left of it.
    return min(max(0.0, (wanted - level) * pace.every), HOUR - recent[-1].ago)


def _for_hour(pace: Pace, recent: list[Sent], segments: int) -> float:
    over = sum(one.segments for one in recent) + min(segments, pace.hourly) - pace.hourly
    wait = 0.0
    for one in recent:
        if over <= 0:
            break
        wait = HOUR - one.ago
        over -= one.segments
    return wait
