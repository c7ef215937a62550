"""What runs for as long as the pool does, and the pauses in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hotpotato.store.database.limits import Limits


class Keeper:
    """Runs a task that has no end until `stop`, again if it dies of something unforeseen.

    `stop` cancels whatever the task waits for, and the task must let that end it at once.
    """

    def __init__(
        self, reactor: Any, limits: Limits, task: Callable[[], Coroutine[Deferred[Any], Any, None]]
    ) -> None:
        self._reactor = reactor
        self._pause = limits.retry_most
        self._task = task
        self._log = Logger()
        self._stopped = False
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin, unless it was stopped before that."""
        if not self._stopped:
            self._running = Deferred.fromCoroutine(self._run())

    def stop(self) -> None:
        """End it now."""
        self._stopped = True
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        try:
            while True:
                await self._guarded()
                await deferLater(self._reactor, self._pause)
        except CancelledError:
            pass

    async def _guarded(self) -> None:
        try:
            await self._task()
        except Exception:
            if self._stopped:
                raise
            self._log.failure("a task of the connection pool died, starting it again")


def pauses(limits: Limits) -> Iterator[float]:
    """Seconds to wait between tries, longer each time.

    With jitter, so that several daemons don't knock at the same moment.
    """
    pause = limits.retry_least
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311
        pause = min(pause * 2, limits.retry_most)
