"""Turns over what is due, a batch at a time; what spoils a batch steps aside and harms no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from twisted.logger import Logger

from hotpotato.store.database import Database, TooSlow, Transaction, Unavailable

Row = TypeVar("Row")

STEP_ASIDE = 60.0
"""Seconds for which a row that can't be worked on lets others pass."""

AFTER_SLOWNESS = 5.0
"""The same where it only took too long: the database may be slow just now, or the row locked."""


class Batches(Generic[Row]):
    """One batch is one transaction: claimed, worked on and written together.

    So a process that dies in between leaves nothing behind. `claim` takes at most so many rows
    under lock, `work` does what is to be done with them, and `next_due` says in how many seconds
    there is more; `postpone` has rows wait for some seconds, and `named` says what one is for the
    log. Should the work fail, all are taken one by one, and the one with which it fails then is
    passed over for a while: nobody else waits.
    """

    def __init__(
        self,
        database: Database,
        at_once: int,
        *,
        claim: Callable[[Transaction, int], Awaitable[Sequence[Row]]],
        work: Callable[[Transaction, Sequence[Row]], Awaitable[None]],
        next_due: Callable[[Transaction], Awaitable[float | None]],
        postpone: Callable[[Transaction, Sequence[Row], float], Awaitable[None]],
        named: Callable[[Row], str],
    ) -> None:
        self._database = database
        self._at_once = self._most = at_once
        self._claim = claim
        self._work = work
        self._next_due = next_due
        self._postpone = postpone
        self._named = named
        self._claimed: Sequence[Row] = ()
        self._log = Logger()

    async def turn(self) -> float | None:
        """Work on what is due. Returns the seconds until more is, for a loop."""
        try:
            seconds = await self._database.transaction(self._batch)
        except Exception as error:
            away = isinstance(error, Unavailable) and not isinstance(error, TooSlow)
            if away or not self._claimed:
                raise
            self._log.failure(
                "it could not be worked on {which}, and {count} in all",
                which=self._named(self._claimed[0]),
                count=len(self._claimed),
            )
            if self._most == 1:
                seconds = AFTER_SLOWNESS if isinstance(error, TooSlow) else STEP_ASIDE
                await self._database.transaction(
                    lambda transaction: self._postpone(transaction, self._claimed, seconds)
                )
            self._most = 1
            return 0
        if not self._claimed:
            self._most = self._at_once
        return seconds

    async def _batch(self, transaction: Transaction) -> float | None:
        self._claimed = ()
        self._claimed = await self._claim(transaction, self._most)
        if self._claimed:
            await self._work(transaction, self._claimed)
        if self._claimed and len(self._claimed) >= self._most:
            return 0
        return await self._next_due(transaction)
