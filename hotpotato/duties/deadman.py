"""The dead-man ping: somebody outside hears again and again that all is well, and misses it if not.

What can't be told any more, because whatever would tell it is what has failed, is told by silence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.logger import Logger

from hotpotato.duties.aside import Aside

BEGIN_AFTER = 5.0
"""Seconds from the start until the first ping: before that, the loops have not shown anything."""


class DeadMan:
    """Its turns, for a loop.

    `unwell` says why no ping must be sent now, if so. `ping` sends one, within a time of its own,
    and returns what went wrong, None for nothing. `report` is told of each whether it was "sent",
    "failed" or "withheld", for metrics.
    """

    def __init__(
        self,
        interval: float,
        unwell: Callable[[], Awaitable[Sequence[str]]],
        ping: Callable[[], Awaitable[str | None]],
        report: Callable[[str], None],
    ) -> None:
        self._interval = interval
        self._unwell = unwell
        self._ping = ping
        self._report = report
        self._log = Logger()
        self._begun = False
        self._withheld = False
        self._trouble: str | None = None
        self.pinging = Aside("deadman")

    async def turn(self) -> float | None:
        """Ping if all is well. Returns the seconds until the next ping is due."""
        if not self._begun:
            self._begun = True
            return min(BEGIN_AFTER, self._interval)
        reasons = await self._unwell()
        if bool(reasons) != self._withheld:
            self._withheld = bool(reasons)
            self._say_withheld(reasons)
        if reasons:
            self._report("withheld")
        elif not self.pinging.under_way:
            self.pinging.begin(self._send())
        return self._interval

    def _say_withheld(self, reasons: Sequence[str]) -> None:
        if reasons:
            self._log.error(
                "no dead-man ping is sent until all is well: {why}", why="; ".join(reasons)
            )
        else:
            self._log.info("all is well, the dead-man ping is sent again")

    async def _send(self) -> None:
        trouble = await self._ping()
        self._report("failed" if trouble else "sent")
        if trouble and trouble != self._trouble:
            self._log.warn("the dead-man ping failed, and is tried again: {why}", why=trouble)
        elif self._trouble and not trouble:
            self._log.info("the dead-man ping gets through again")
        self._trouble = trouble
