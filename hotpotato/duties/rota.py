"""The rota: writes every schedule's shifts ahead once a day.

Whoever changes a schedule writes its shifts at once; this keeps them reaching far enough. Of hours
with nobody `duties.cover` warns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from hotpotato import rota
from hotpotato.store import schedules
from hotpotato.store.database import Database, Transaction, Unavailable

AFTER_FAILURE = 3600.0
"""Seconds until a schedule that can't be written is tried again."""

BEHIND = (rota.AHEAD - rota.NEAR).total_seconds()
"""Seconds that a schedule has been due for when the end of its shifts is near."""

Turn = Callable[[], Awaitable[float | None]]


class Rota:
    """Its turns, for a loop: one schedule each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = Logger()

    async def turn(self) -> float | None:
        """Write the shifts of a schedule that is due. Returns the seconds until the next is."""
        claimed: list[int] = []

        async def work(transaction: Transaction) -> rota.Written | None:
            claimed.clear()
            schedule_id = await schedules.claim(transaction)
            if schedule_id is None:
                return None
            claimed.append(schedule_id)
            return await rota.write(transaction, schedule_id)

        try:
            written = await self._database.transaction(work)
        except Unavailable:
            raise
        except Exception:
            # One schedule that can't be written, for its time zone is gone, keeps no other waiting.
            if not claimed:
                raise
            await self._put_off(claimed[0])
            return 0
        if written is None:
            return await self._database.transaction(schedules.next_due)
        self._tell(written)
        return 0

    def before(self, turn: Turn) -> Turn:
        """The turn of another duty, which asks who is on call: it finds shifts, whatever happened.

        In good order that costs a look at an index.
        """

        async def both() -> float | None:
            await self.extend()
            return await turn()

        return both

    async def extend(self) -> None:
        """Write the shifts whose end is near: no turn has done it for months.

        That is so after a long rest of the whole installation, or where an old backup came back.
        """
        for schedule_id in await schedules.behind(self._database, BEHIND):
            try:
                work = partial(rota.write, schedule_id=schedule_id)
                written = await self._database.transaction(work)
            except (Unavailable, CancelledError):
                raise
            except Exception:
                await self._put_off(schedule_id)
            else:
                self._tell(written)

    async def _put_off(self, schedule_id: int) -> None:
        self._log.failure("the shifts of schedule {id} can't be written", id=schedule_id)
        await self._database.transaction(
            lambda transaction: schedules.put_off(transaction, schedule_id, AFTER_FAILURE)
        )

    def _tell(self, written: rota.Written) -> None:
        self._log.info(
            "{tenant}/{schedule}: {count} shifts are written ahead",
            tenant=written.schedule.tenant,
            schedule=written.schedule.name,
            count=len(written.shifts),
        )
