"""Upkeep: partitions made ahead, and what may be forgotten, forgotten, in small pieces.

What was queued and no sender takes is given up here, since no lane looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from hotpotato.store import messages, upkeep
from hotpotato.store.database import Database, StatementRefused, Transaction, Unavailable

EVERY = 3600.0
"""Seconds between rounds."""

PAUSE = 1.0
"""Seconds between two turns of a round: everybody else goes first."""

AT_ONCE = 1000
"""How many rows of a kind are looked at in one transaction."""


class Upkeep:
    """Its turns, for a loop; a round an hour, of as many turns as there is much to forget.

    `keep` is for how many days what is over is kept, by the names in the configuration.
    """

    def __init__(self, database: Database, keep: Mapping[str, int]) -> None:
        self._database = database
        self._keep = keep
        self._log = Logger()
        self._next: dict[str, int] = {}

    async def turn(self) -> float | None:
        """Look at the next page of everything, in short transactions, one after the other."""
        # They are tried once in a round, since whoever waits for their locks is waited for.
        more = False if any(self._next.values()) else await self._partitions()
        more |= await self._database.transaction(_give_up)
        more |= await self._database.transaction(self._forget)
        for kind in upkeep.KINDS:
            more |= await self._sweep(kind)
        return PAUSE if more else EVERY

    async def _partitions(self) -> bool:
        try:
            await self._database.transaction(upkeep.make_partitions)
            dropped = await self._database.transaction(
                lambda transaction: upkeep.drop_partition(transaction, self._keep)
            )
        except (StatementRefused, Unavailable) as error:
            # Somebody is in the way, a backup perhaps. They are made 30 days ahead.
            self._log.warn("partitions are left as they are, for an hour: {why}", why=str(error))
            return False
        return dropped is not None

    async def _forget(self, transaction: Transaction) -> bool:
        counts = await upkeep.forget(transaction, AT_ONCE)
        of_defaults = await upkeep.sweep_defaults(transaction, self._keep, AT_ONCE)
        return AT_ONCE in (*counts, of_defaults)

    async def _sweep(self, kind: upkeep.Kind) -> bool:
        swept = await self._database.transaction(
            lambda transaction: upkeep.sweep(
                transaction, kind, self._keep[kind.keep], self._next.get(kind.name, 0), AT_ONCE
            )
        )
        if swept is None:
            return False
        self._next[kind.name] = swept.next
        return swept.next > 0


async def _give_up(transaction: Transaction) -> bool:
    return await messages.expire(transaction, AT_ONCE) == AT_ONCE
