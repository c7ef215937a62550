"""The one mechanism for what must happen later: a row has a due time, and a loop looks at it.

A loop sleeps until the next due time that it knows, or until it is woken by a hint. It never
polls fast, and its sleep is bounded, since a hint may be lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from hotpotato.store.database import Unavailable

T = TypeVar("T")

LONGEST_SLEEP = 10.0
"""Seconds after which a loop looks in any case, unless it is told otherwise."""

SHORTEST_SLEEP = 0.1
"""Seconds between turns where the due rows are in somebody else's hands."""

AFTER_TROUBLE = 1.0
"""Seconds until the next turn after one that failed."""


class Loop:
    """Takes turns at `turn`, one at a time, until it is stopped.

    `turn` returns the seconds until its next row is due, 0 to be called again at once, None if it
    knows of none. What it raises is logged, and the loop goes on.
    """

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        turn: Callable[[], Awaitable[float | None]],
        *,
        longest_sleep: float = LONGEST_SLEEP,
    ) -> None:
        self.name = name
        self._longest_sleep = longest_sleep
        self._clock = clock
        self._turn = turn
        self._log = Logger()
        self._timer: IDelayedCall | None = None
        self._running: Deferred[Any] | None = None
        self._again = False
        self._stopped = True
        self._began_at = 0.0
        self.finished_at: float | None = None

    def start(self) -> None:
        """Take the first turn now."""
        self._stopped = False
        self._sleep(0)

    async def stop(self) -> None:
        """Take no further turn, and wait for the one under way."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None:
            await ended(self._running)

    def wake(self) -> None:
        """Take a turn now, or once more after the one under way: it may have looked too early."""
        self._again = True
        if not self._stopped and self._running is None:
            self._sleep(0)

    @property
    def asleep(self) -> bool:
        """Whether no turn is under way or about to begin."""
        now = self._clock.seconds()
        return self._running is None and (self._timer is None or self._timer.getTime() > now)

    def stalled(self, allowed: float) -> bool:
        """Whether no turn was finished within the last `allowed` seconds."""
        return self.finished_at is None or self._clock.seconds() - self.finished_at > allowed

    def hung(self, allowed: float) -> bool:
        """Whether it takes no turns any more, well or badly: one lasts for more than `allowed`
        seconds, or none is to come.
        """
        if self._stopped:
            return False
        if self._running is None:
            return self._timer is None
        return self._clock.seconds() - self._began_at > allowed

    def _sleep(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._again = False
        self._began_at = self._clock.seconds()
        # In this order: a turn may be over before it is kept.
        self._running = Deferred.fromCoroutine(self._guarded())
        self._running.addCallback(self._done)

    def _done(self, seconds: float) -> None:
        self._running = None
        if not self._stopped:
            self._sleep(0 if self._again else seconds)

    async def _guarded(self) -> float:
        """One turn, whatever becomes of it. Returns the seconds until the next."""
        try:
            wanted = await self._turn()
        except Unavailable as error:
            # Said once by the pool; here it would only be repeated every second.
            self._log.debug("{name}: database unavailable: {why}", name=self.name, why=str(error))
        except Exception:
            self._log.failure("{name}: a turn failed, the loop goes on", name=self.name)
        else:
            self.finished_at = self._clock.seconds()
            return self._pause(wanted)
        self._again = False
        return AFTER_TROUBLE

    def _pause(self, wanted: float | None) -> float:
        if wanted is None:
            return self._longest_sleep
        return 0.0 if wanted == 0 else min(max(wanted, SHORTEST_SLEEP), self._longest_sleep)


def ended(work: Deferred[T]) -> Deferred[None]:
    """Fires with None when `work` is over, whatever became of it. Cancelling it disturbs nobody."""
    end: Deferred[None] = Deferred()

    def tell(result: T) -> T:
        end.callback(None)
        return result

    work.addBoth(tell)
    return end
