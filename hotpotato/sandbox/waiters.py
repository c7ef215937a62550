"""Deferreds for "when this is so"."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Waiters:
    """Fires Deferreds once their conditions hold.

    Always in a turn of the reactor of its own, never inside whatever made the condition true: who
    waits may go on to stop that very thing.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._looking = False

    def until(self, holds: Callable[[], bool]) -> Deferred[None]:
        """Fires when `holds()`, perhaps at once."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((holds, waiter))
        self.look()
        return waiter

    def look(self) -> None:
        """Say that something has changed."""
        if self._waiting and not self._looking:
            self._looking = True
            self._reactor.callLater(0, self._fire)

    def _fire(self) -> None:
        self._looking = False
        ready = [waiter for holds, waiter in self._waiting if holds()]
        self._waiting = [entry for entry in self._waiting if entry[1] not in ready]
        for waiter in ready:
            if not waiter.called:
                waiter.callback(None)
