"""Upkeep: partitions made ahead, and what may be forgotten, forgotten, in small pieces."""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato.store import upkeep
from hotpotato.store.database import Database, StatementRefused, Transaction, Unavailable

EVERY = 3600.0
"""Seconds between rounds."""

AT_ONCE = 1000
"""How many rows of a kind are forgotten in one transaction."""


class Upkeep:
    """Its turns, for a loop; one an hour, more while there is much to forget."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = Logger()

    async def turn(self) -> float | None:
        """Do one round."""
        try:
            await self._database.transaction(upkeep.make_partitions)
        except (StatementRefused, Unavailable) as error:
            # Somebody may be in the way; there are 30 days for it.
            self._log.warn("no partitions were made, again in an hour: {why}", why=str(error))
        forgotten = await self._database.transaction(self._forget)
        return 1.0 if forgotten else EVERY

    async def _forget(self, transaction: Transaction) -> bool:
        return AT_ONCE in await upkeep.forget(transaction, AT_ONCE)
