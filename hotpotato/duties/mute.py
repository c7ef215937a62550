"""Muteness: notices that nothing can be delivered, and tells everybody by whatever way is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from twisted.logger import Logger

from hotpotato.rules import muteness as rules
from hotpotato.rules import text
from hotpotato.store import muteness
from hotpotato.store.database import Database, Transaction

LOOK_EVERY = 10.0
"""Seconds between looks."""


class _Seen(msgspec.Struct, frozen=True):
    """What one look found: the seconds, whether it is an alarm, and since this look or until it.

    `told`: how many people are told now, since the senders that are `failing` can't.
    """

    seconds: float | None
    alarm: bool
    began: bool
    ended: bool
    told: int = 0
    failing: Sequence[str] = ()


class Mute:
    """Its turns, for a loop. `routes`: by contact method, the senders that serve it, in order.

    `after`: the seconds in which nothing is taken, though something is due, until it is an alarm.
    """

    def __init__(
        self, database: Database, routes: Mapping[str, Sequence[str]], after: float
    ) -> None:
        self._database = database
        self._routes = routes
        self._names = list(dict.fromkeys(name for names in routes.values() for name in names))
        self._after = after
        self._log = Logger()
        self.undelivered: float | None = None
        """The seconds for which nothing could be delivered; None while that is no alarm."""

    async def turn(self) -> float | None:
        """Look once. Returns the seconds until the next look."""
        seen = await self._database.transaction(self._look)
        self.undelivered = seen.seconds if seen.alarm else None
        if seen.began:
            self._log.error(
                "nothing could be delivered for {seconds:.0f} s, by {failing}; {told} people are"
                " told by another sender",
                seconds=seen.seconds,
                failing=", ".join(seen.failing) or "anybody",
                told=seen.told or "no",
            )
        if seen.ended:
            self._log.info("what is due can be delivered again")
        return LOOK_EVERY

    async def _look(self, transaction: Transaction) -> _Seen:
        known = await muteness.look(transaction, self._names, list(self._routes))
        traffic = rules.Traffic(
            waiting=known.waiting,
            refused=known.refused,
            accepted=known.accepted,
            since=known.since,
        )
        seconds = rules.undelivered_for(traffic, self._after)
        alarm = rules.is_alarm(traffic, seconds, self._after)
        seen = _Seen(seconds, alarm, alarm and not known.told, known.told and not alarm)
        if seen.ended:
            await muteness.over(transaction)
        if seen.began and seconds is not None:
            seen = await self._tell(transaction, seen, seconds)
        if seconds is not None or known.since is not None or known.told:
            await muteness.remember(transaction, seconds, alarm)
        return seen

    async def _tell(self, transaction: Transaction, seen: _Seen, seconds: float) -> _Seen:
        failing = await muteness.failing(transaction, self._names, seconds)
        methods = [
            method
            for method, names in self._routes.items()
            if any(name not in failing for name in names)
        ]
        words = _words(seconds, failing)
        told = await muteness.tell(transaction, methods, failing, words, seconds)
        return msgspec.structs.replace(seen, told=told, failing=failing)


def _words(seconds: float, failing: Sequence[str]) -> str:
    return text.fit(
        f"Hot Potato: nothing could be delivered for {seconds / 60:.0f} minutes (",
        ", ".join(failing) or "no sender",
        "). Pages are missing: look at your monitoring yourself",
        1,
    )
