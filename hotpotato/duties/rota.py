"""The rota: writes every schedule's shifts ahead once a day, and warns of hours with nobody.

Whoever changes a schedule writes its shifts at once; this keeps them reaching far enough.
"""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato import rota
from hotpotato.store import schedules
from hotpotato.store.database import Database, Transaction, Unavailable

AFTER_FAILURE = 3600.0
"""Seconds until a schedule that can't be written is tried again."""


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
            written = await rota.write(transaction, schedule_id)
            if written.planned and written.gaps:
                await schedules.announce(transaction, written.schedule, said(written))
            return written

        try:
            written = await self._database.transaction(work)
        except Unavailable:
            raise
        except Exception:
            # One schedule that can't be written, for its time zone is gone, keeps no other waiting.
            if not claimed:
                raise
            self._log.failure("the shifts of schedule {id} can't be written", id=claimed[0])
            await self._database.transaction(
                lambda transaction: schedules.put_off(transaction, claimed[0], AFTER_FAILURE)
            )
            return 0
        if written is None:
            return await self._database.transaction(schedules.next_due)
        self._log.info(
            "{tenant}/{schedule}: {count} shifts are written ahead",
            tenant=written.schedule.tenant,
            schedule=written.schedule.name,
            count=len(written.shifts),
        )
        for gap in written.gaps if written.planned else ():
            self._log.warn(
                "{tenant}/{schedule}: nobody is on call {gap}",
                tenant=written.schedule.tenant,
                schedule=written.schedule.name,
                gap=rota.spoken(gap, written.schedule.timezone),
            )
        return 0


def said(written: rota.Written) -> str:
    """«nobody is on call from … until …», with how many more such times there are."""
    first, *more = written.gaps
    others = f", and {len(more)} more times within 14 days" if more else ""
    return f"nobody is on call {rota.spoken(first, written.schedule.timezone)}{others}"
