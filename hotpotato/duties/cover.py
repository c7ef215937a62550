"""Cover: warns each tenant once a day of what is not covered within the next 14 days."""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato import cover
from hotpotato.rules import cover as rules
from hotpotato.store import cover as store
from hotpotato.store import schedules
from hotpotato.store.cover import DueTenant
from hotpotato.store.database import Database, Transaction, Unavailable

AFTER_FAILURE = 3600.0
"""Seconds until a tenant that can't be judged, for its time zone is gone, is looked at again."""


class Cover:
    """Its turns, for a loop: one tenant each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = Logger()

    async def turn(self) -> float | None:
        """Warn a tenant that is due, if there is something. Returns the seconds until the next is.

        One that is new is not due at once, in the night perhaps, but at its next nine o'clock.
        """
        claimed: list[DueTenant] = []

        async def work(transaction: Transaction) -> tuple[rules.Lack, ...]:
            claimed.clear()
            due = await store.claim(transaction)
            if due is None:
                return ()
            claimed.append(due)
            now, zone = await schedules.now(transaction), due.tenant.timezone
            await store.postpone(transaction, due.tenant.id, rules.next_morning(now, zone))
            if not rules.is_morning(due.due_at, zone):
                return ()
            found = await cover.lacks(transaction, due.tenant)
            if found:
                said = "; ".join(each.sentence for each in found)
                await store.announce(transaction, due.tenant.id, said)
            return found

        try:
            found = await self._database.transaction(work)
        except Unavailable:
            raise
        except Exception:
            if not claimed:
                raise
            tenant = claimed[0].tenant
            self._log.failure("the cover of {tenant} can't be looked at", tenant=tenant.name)
            await self._database.transaction(
                lambda transaction: store.put_off(transaction, tenant.id, AFTER_FAILURE)
            )
            return 0
        if not claimed:
            return await self._database.transaction(store.next_due)
        if found:
            # In full they stand in the history: names and numbers are none of the log's business.
            self._log.warn(
                "{tenant}: {count} things are not covered ahead; `hotpotato check` says what",
                tenant=claimed[0].tenant.name,
                count=len(found),
            )
        return 0
