"""Work that a turn begins and does not wait for, such as what somebody on the net has to answer."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure


class Aside:
    """One piece of work at a time. What it raises is logged; by its `name`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._log = Logger()
        self._work: Deferred[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether the last piece of work is not over yet."""
        return self._work is not None

    def begin(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Begin with it; only where nothing is under way."""
        assert self._work is None, "one at a time"
        # In this order: it may be over before it is kept.
        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(self._over)

    async def stop(self) -> None:
        """Give up what is under way."""
        if self._work is not None:
            self._work.cancel()

    def _over(self, result: Failure | None) -> None:
        self._work = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure("{name}: what it did aside failed", result, name=self.name)
