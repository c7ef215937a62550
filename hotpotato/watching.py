"""The process looks after itself, once a second: whether it is late, and what systemd should know.

It waits by the real clock, also where a daemon's own time is a test's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hotpotato.daemon import Daemon
from hotpotato.rules import wellness
from hotpotato.systemd import Notifier

EVERY = 1.0
"""Seconds between looks."""

LATE = 1.0
"""Seconds by which a look may be late before that is said."""

STOOD_STILL = 10.0
"""Seconds from which on nothing of ours is to blame: the process was stopped, or the machine."""

HUNG_AFTER = 180.0
"""Seconds that one turn of a loop may take: dozens of statements of a database that is slow, each
within its limit of some seconds, are no reason to be killed.
"""

START_WITHIN = 30
"""Seconds by which a start that waits for its database asks for more time, again and again."""


def boot_time() -> float:
    """Seconds since the machine started, those in which it slept included.

    The monotonic clock, by which the reactor waits, stands still meanwhile.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watching:
    """Looks after one daemon's process. `now` is a clock that goes on while the machine sleeps."""

    def __init__(
        self,
        daemon: Daemon,
        clock: IReactorTime,
        notifier: Notifier,
        now: Callable[[], float] = boot_time,
    ) -> None:
        self._daemon = daemon
        self._notifier = notifier
        self._now = now
        self._log = Logger()
        self._looking = LoopingCall(self._guarded)
        self._looking.clock = clock
        self._looked_at = now()
        self._ready = False
        self._told: tuple[str, ...] = ()

    def start(self) -> None:
        """Begin to look."""
        self._looked_at = self._now()
        self._looking.start(EVERY)

    def stopping(self) -> None:
        """Say that the end has begun, and go on looking: it has its time limit."""
        self._notifier.tell("STOPPING=1", "STATUS=stopping")

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _guarded(self) -> None:
        # A LoopingCall would die of an exception for good, and systemd then kill us.
        try:
            self._look()
        except Exception:
            self._log.failure("looking after ourselves failed, it goes on")

    def _look(self) -> None:
        now = self._now()
        late, self._looked_at = max(now - self._looked_at - EVERY, 0.0), now
        self._daemon.telemetry.late(late)
        if late >= LATE:
            self._say_late(late)
        hung = self._daemon.hung(HUNG_AFTER)
        if hung != self._told:
            self._told = hung
            self._say_hung(hung)
        if not self._daemon.stopping:
            self._tell_systemd(hung)

    def _say_late(self, late: float) -> None:
        if late >= STOOD_STILL:
            self._log.warn(
                "this process stood still for {late:.1f} s: it was stopped, or the machine slept;"
                " what it had under way may be with others now, and if nobody looked at heartbeats"
                " meanwhile, the watchdog postpones its judgement",
                late=late,
            )
        else:
            self._log.warn(
                "this process was late by {late:.1f} s: something kept it from its work, or the"
                " machine has too much of it",
                late=late,
            )

    def _say_hung(self, hung: tuple[str, ...]) -> None:
        if hung:
            self._log.error("no turn comes to an end in: {loops}", loops=", ".join(hung))
        else:
            self._log.info("every loop takes turns again")

    def _tell_systemd(self, hung: tuple[str, ...]) -> None:
        self._notifier.status(wellness.status(self._daemon.facts()))
        if hung:
            return
        if self._daemon.ready and not self._ready:
            self._ready = True
            self._notifier.tell("READY=1")
        if not self._ready:
            self._notifier.tell(f"EXTEND_TIMEOUT_USEC={START_WITHIN * 1_000_000}")
        elif self._notifier.watchdog is not None:
            self._notifier.tell("WATCHDOG=1")
