"""LISTEN on a connection of its own, since one in the pool would hear late or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from hotpotato.store.database.connector import Connector
from hotpotato.store.database.errors import DatabaseError
from hotpotato.store.database.keeper import Keeper, pauses
from hotpotato.store.database.limits import Limits

CHANNEL = "hotpotato"

Heard = Callable[[frozenset[str] | None], None]


class Listener:
    """Calls `heard` with the payloads that came in together, until it is stopped.

    The first is told at once; those that come on its heels are told together a moment later, since
    in a storm there are hundreds a second, and each would cost a look. `heard(None)`, after each
    connecting: something may have been missed.
    """

    def __init__(self, connector: Connector, reactor: Any, limits: Limits, heard: Heard) -> None:
        self._connector = connector
        self._reactor = reactor
        self._limits = limits
        self._heard = heard
        self._log = Logger()
        self._resting: Deferred[None] | None = None
        self._gathered: frozenset[str] = frozenset()
        self._gathering: IDelayedCall | None = None
        self._pauses = pauses(limits)
        self._keeper = Keeper(reactor, limits, self._keep_listening)

    def start(self) -> None:
        """Begin to connect, and keep trying for ever."""
        self._keeper.start()

    def stop(self) -> None:
        """Hear nothing more, and close the connection."""
        self._keeper.stop()
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except DatabaseError as error:
                self._log.debug("listening was interrupted: {why}", why=str(error))
            await self._rest(next(self._pauses))

    async def _listen(self) -> None:
        """Connect and listen until the connection is lost, which raises."""
        link = await self._connector.connect(self.hear)
        try:
            link.when_lost(lambda link: self._wake())
            await link.execute(f"LISTEN {CHANNEL}", None, self._limits.ping)
            self._pauses = pauses(self._limits)
            self._tell(None)
            while True:
                # It hears nothing from a dead peer either: ask.
                await self._rest(self._limits.listen)
                await link.execute("SELECT 1", None, self._limits.ping)
        finally:
            link.close()

    def hear(self, payloads: frozenset[str]) -> None:
        """Tell these, now or with others a moment later."""
        self._gathered |= payloads
        if self._gathering is None:
            self._tell_gathered()

    def _tell_gathered(self) -> None:
        self._gathering = None
        if self._gathered:
            told, self._gathered = self._gathered, frozenset()
            self._gathering = self._reactor.callLater(self._limits.hints, self._tell_gathered)
            self._tell(told)

    def _tell(self, payloads: frozenset[str] | None) -> None:
        try:
            self._heard(payloads)
        except Exception:
            self._log.failure("what was heard could not be told")

    async def _rest(self, seconds: float) -> None:
        """Wait, or until woken."""
        resting: Deferred[None] = Deferred()
        self._resting = resting
        timer = self._reactor.callLater(seconds, resting.callback, None)
        try:
            await resting
        finally:
            self._resting = None
            if timer.active():
                timer.cancel()

    def _wake(self) -> None:
        if self._resting is not None:
            self._resting.callback(None)
