"""The watchdog: notices when a monitoring server falls silent, and when it is heard again."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hotpotato.duties.loop import ended
from hotpotato.store import heartbeats
from hotpotato.store.database import Database, Unavailable


class Watchdog:
    """Looks every `interval` seconds of the clock, for as long as this process hears heartbeats."""

    name = "watchdog"

    def __init__(self, database: Database, clock: IReactorTime, interval: float) -> None:
        self._database = database
        self._clock = clock
        self._interval = interval
        self._log = Logger()
        self._loop = LoopingCall(self._turn)
        self._loop.clock = clock
        self._looking: Deferred[None] | None = None
        self._began_at = 0.0
        self.finished_at: float | None = None

    def start(self) -> None:
        """Look now, and from then on."""
        self._loop.start(self._interval)

    async def stop(self) -> None:
        """Look no more, and wait for the look under way."""
        if self._loop.running:
            self._loop.stop()
        if self._looking is not None:
            await ended(self._looking)

    def wake(self) -> None:
        """Look now: a silent server has just been heard."""
        if self._loop.running and self.asleep:
            self._loop.reset()
            self._turn()

    async def look(self) -> heartbeats.Verdicts:
        """Look once: who is silent, who is heard again."""
        return await self._database.transaction(
            lambda transaction: heartbeats.look(transaction, self._interval)
        )

    @property
    def asleep(self) -> bool:
        """Whether no look is under way."""
        return self._looking is None

    def stalled(self, allowed: float) -> bool:
        """Whether no look was finished within the last `allowed` seconds, or two intervals."""
        allowed = max(allowed, 2 * self._interval)
        return self.finished_at is None or self._clock.seconds() - self.finished_at > allowed

    def hung(self, allowed: float) -> bool:
        """Whether the look under way lasts for more than `allowed` seconds."""
        return self._looking is not None and self._clock.seconds() - self._began_at > allowed

    def _turn(self) -> Deferred[None]:
        """Look, unless a look is under way; fires when it is over and never fails.

        A LoopingCall would die of a failure for good.
        """
        looking = self._looking
        if looking is None:
            self._began_at = self._clock.seconds()
            # In this order: without a database the look is over before it is kept.
            looking = self._looking = Deferred.fromCoroutine(self._guarded())
            looking.addCallback(self._looked)
        return ended(looking)

    def _looked(self, _: None) -> None:
        self._looking = None

    async def _guarded(self) -> None:
        try:
            verdicts = await self.look()
        except Unavailable as error:
            self._log.debug("watchdog: database unavailable: {why}", why=str(error))
        except Exception:
            self._log.failure("watchdog: a look failed, it goes on")
        else:
            self.finished_at = self._clock.seconds()
            self._tell(verdicts)

    def _tell(self, verdicts: heartbeats.Verdicts) -> None:
        if verdicts.blind:
            self._log.warn(
                "nobody looked at heartbeats for {blind:.1f} s; judgement is postponed by that",
                blind=verdicts.blind,
            )
        for server in verdicts.silent:
            self._log.warn("server {server} is silent", server=server)
        for server in verdicts.heard_again:
            self._log.info("server {server} is heard again", server=server)
