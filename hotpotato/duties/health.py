"""Health: notices that a sender's provider fails or stays silent, and that it is well again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.logger import Logger

from hotpotato.rules import health
from hotpotato.store import canaries, senders
from hotpotato.store.database import Database, Transaction
from hotpotato.store.senders import Attempted

LOOK_EVERY = 10.0
"""Seconds between looks; an attempt that fails brings one at once."""

LOOK_BACK = 50
"""How many of a sender's last attempts are looked at."""


class Health:
    """Its turns, for a loop. `routes`: by contact method, the senders that serve it.

    `canaries` are the senders that have one.
    `report` is told whether a sender is sick, for metrics.
    """

    def __init__(
        self,
        database: Database,
        routes: Mapping[str, Sequence[str]],
        report: Callable[[str, bool], None] = lambda sender, sick: None,
        canaries: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._routes = routes
        self._names = sorted({name for names in routes.values() for name in names})
        self._report = report
        self._canaries = canaries
        self._log = Logger()
        self.sick: dict[str, str] = {}
        """The senders that were sick at the last look, with why."""

    async def turn(self) -> float | None:
        """Judge every configured sender. Returns the seconds until the next look."""
        changed, sick = await self._database.transaction(self._work)
        self.sick = sick
        for name, verdict in changed:
            if verdict is None:
                self._log.info("sender {sender} is well again", sender=name)
            else:
                self._log.error("sender {sender} is sick: {why}", sender=name, why=verdict)
        return LOOK_EVERY

    async def _work(
        self, transaction: Transaction
    ) -> tuple[list[tuple[str, str | None]], dict[str, str]]:
        """What changed, each sender with its sickness, None for none any more; and who is sick."""
        await senders.lock(transaction, self._names)
        attempts = await senders.recent(transaction, self._names, LOOK_BACK)
        gets_receipts = await senders.with_receipts(transaction, self._names)
        sick = {one.name: one.why for one in await senders.sick(transaction)}
        changed: list[tuple[str, str | None]] = []
        flown = await canaries.recent(transaction, self._canaries)
        for name in self._names:
            birds = [health.Canary(c.age, c.back, c.failed) for c in flown if c.sender == name]
            lost = health.canary_sickness(birds)
            theirs = [one for one in attempts if one.sender == name]
            if name in sick:
                since = [_recent(one) for one in theirs if one.after]
                if lost is None and _recovered(sick[name], since):
                    await senders.call_well(transaction, name)
                    del sick[name]
                    changed.append((name, None))
            elif why := lost or health.sickness(
                [_recent(one) for one in theirs], name in gets_receipts
            ):
                elsewhere = [m for m, names in self._routes.items() if len(names) > 1]
                pause = health.PROBE_BESIDE_CANARY if lost else health.PROBE_EVERY
                await senders.call_sick(transaction, name, why, pause, elsewhere)
                sick[name] = why
                changed.append((name, why))
            self._report(name, name in sick)
        return changed, {name: why for name, why in sick.items() if name in self._names}


def _recovered(why: str, since: Sequence[health.Recent]) -> bool:
    """Whether what made it sick is over; its canary is well."""
    return health.is_canarys(why) or health.recovered(since, health.is_silence(why))


def _recent(one: Attempted) -> health.Recent:
    return health.Recent(one.outcome, one.age, one.answered, one.why)
