"""Who shows credentials that are nobody's waits for the answer, the longer the more often.

Only failures wait: whoever is let in never meets the doorman, and shares nothing with those who
fail from the same address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from hotpotato.rules import failures

MOST_ADDRESSES = 10_000
"""Addresses that are remembered. Beyond, the one that has not failed for longest is forgotten."""


MOST_HELD = 100
"""Answers that are held back at once: each keeps a connection, of which there are so many. Beyond,
failures are answered at once; they are slow enough by then."""


class Doorman:
    """Counts failures by address. `report` is told of each whether it waits, for metrics.

    The address is the connection's own: what a header says of another is not believed.
    """

    def __init__(self, clock: IReactorTime, report: Callable[[bool], None]) -> None:
        self._clock = clock
        self._report = report
        self._forgiven_at: dict[str, float] = {}
        self._holding: dict[IDelayedCall, Deferred[None]] = {}

    def failed(self, address: Any) -> Deferred[None] | None:
        """Count a failure from an address as Twisted has it.

        Returns what fires when it may be answered, or None for now. Cancelled, it fires at once.
        """
        who = failures.counted_as(str(getattr(address, "host", getattr(address, "name", ""))))
        now = self._clock.seconds()
        forgiven = failures.forgiven_at(self._forgiven_at.pop(who, now), now)
        if len(self._forgiven_at) >= MOST_ADDRESSES:
            del self._forgiven_at[next(iter(self._forgiven_at))]
        self._forgiven_at[who] = forgiven
        wait = failures.wait(forgiven, now)
        held = wait > 0 and len(self._holding) < MOST_HELD
        self._report(held)
        return self._hold(wait) if held else None

    def release(self) -> None:
        """Let everybody who waits have the answer now."""
        for timer in list(self._holding):
            self._end(timer)

    def _hold(self, seconds: float) -> Deferred[None]:
        timer = self._clock.callLater(seconds, lambda: self._end(timer))
        held: Deferred[None] = Deferred(lambda _: self._end(timer))
        self._holding[timer] = held
        return held

    def _end(self, timer: IDelayedCall) -> None:
        if timer.active():
            timer.cancel()
        self._holding.pop(timer).callback(None)
