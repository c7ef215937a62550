"""Enough living connections, and who may use which when."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hotpotato.store.database.connector import Connector
from hotpotato.store.database.errors import DatabaseError, Unavailable
from hotpotato.store.database.keeper import Keeper, pauses
from hotpotato.store.database.limits import Limits
from hotpotato.store.database.link import Link

_STOPPING = "the daemon is stopping"


class Pool:
    """Keeps `size` connections open, and lends each to one at a time, in order of asking."""

    def __init__(self, connector: Connector, reactor: Any, limits: Limits, size: int) -> None:
        self._connector = connector
        self._reactor = reactor
        self._limits = limits
        self._size = size
        self._log = Logger()
        self._keeper = Keeper(reactor, limits, self._keep_filled)
        self._live: set[Link] = set()
        self._idle: list[Link] = []
        self._waiting: deque[Deferred[Link]] = deque()
        self._changed: list[Deferred[None]] = []
        self._why = "not connected yet"
        self._told_lost = False
        self._troubled = False
        self._tried_at = float("-inf")
        self._stopping = False

    @property
    def available(self) -> bool:
        """Whether there is at least one connection."""
        return bool(self._live)

    @property
    def trouble(self) -> str:
        """Why there is no connection; meaningless while there is one."""
        return self._why

    @property
    def usage(self) -> tuple[int, int, int]:
        """Connections open, connections in use, and callers waiting for one."""
        return len(self._live), len(self._live) - len(self._idle), len(self._waiting)

    # --- life

    def start(self) -> None:
        """Begin to connect, and keep trying for ever."""
        self._keeper.start()

    async def stop(self) -> None:
        """Lend no more, wait until everything is given back, then close every connection.

        Cancelled, it doesn't wait.
        """
        self._stopping = True
        self._keeper.stop()
        self._fail_waiting(_STOPPING)
        try:
            while len(self._live) > len(self._idle):
                await self._change()
        finally:
            for link in list(self._live):
                link.close()

    async def _keep_filled(self) -> None:
        waits = pauses(self._limits)
        while True:
            if len(self._live) >= self._size:
                waits = pauses(self._limits)
                self._troubled = False
                await self._change()
            elif self._troubled:
                # A server that takes us in and throws us out again is not asked at full speed. But
                # one that is silent has cost us time enough, while another may have become primary.
                self._troubled = False
                tried = self._reactor.seconds() - self._tried_at
                await deferLater(self._reactor, max(0.0, next(waits) - tried))
            else:
                await self._connect_one()

    async def _connect_one(self) -> None:
        self._tried_at = self._reactor.seconds()
        try:
            link = await self._connector.connect()
        except DatabaseError as error:
            self._troubled = True
            self._tell_lost(error)
        else:
            self._tell_found()
            self._live.add(link)
            link.when_lost(self._lost)
            self._offer(link)

    def _lost(self, link: Link) -> None:
        self._troubled = True
        self._live.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        for neighbour in self._idle:
            neighbour.distrust()
        if not self._live:
            self._why = "the connection was lost"
            self._fail_waiting(self._why)
        self._wake()

    # --- lending

    async def borrow(self) -> Link:
        """A connection that lives; give it back. Raises Unavailable."""
        while True:
            link = await self._next()
            if await self._lives(link):
                return link

    def give_back(self, link: Link) -> None:
        """End a loan. What does not stand between two transactions is closed."""
        if link.idle:
            self._offer(link)
        else:
            link.close()
        if self._stopping:
            self._wake()

    async def _next(self) -> Link:
        if self._stopping:
            raise Unavailable(_STOPPING)
        if self._idle:
            return self._idle.pop()
        if not self._live:
            raise Unavailable(self._why)
        if len(self._waiting) >= self._limits.waiting:
            raise Unavailable("too many wait for the database")
        return await self._turn()

    async def _turn(self) -> Link:
        turn: Deferred[Link] = Deferred()
        self._waiting.append(turn)

        def give_up() -> None:
            self._waiting.remove(turn)
            turn.errback(Unavailable("all connections to the database are busy"))

        timer = self._reactor.callLater(self._limits.borrow, give_up)
        try:
            return await turn
        finally:
            if timer.active():
                timer.cancel()

    async def _lives(self, link: Link) -> bool:
        """Ask a connection that was long unused; if it is dead, its idle neighbours are too."""
        if link.closed:
            return False
        if self._reactor.seconds() - link.last_used < self._limits.stale:
            return True
        try:
            await link.execute("SELECT 1", None, self._limits.ping)
        except DatabaseError:
            for suspect in [link, *self._idle]:
                suspect.close()
            return False
        return True

    def _offer(self, link: Link) -> None:
        if link.closed:
            return
        if self._waiting:
            self._waiting.popleft().callback(link)
        else:
            self._idle.append(link)

    def _fail_waiting(self, why: str) -> None:
        while self._waiting:
            self._waiting.popleft().errback(Unavailable(why))

    # --- waiting for a change

    async def _change(self) -> None:
        mine: Deferred[None] = Deferred()
        self._changed.append(mine)
        await mine

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for each in changed:
            each.callback(None)

    # --- telling people

    def _tell_lost(self, error: DatabaseError) -> None:
        if self._live:
            return
        self._why = str(error)
        if not self._told_lost:
            self._told_lost = True
            self._log.error("database unavailable, trying again: {why}", why=self._why)

    def _tell_found(self) -> None:
        if self._told_lost:
            self._told_lost = False
            self._log.info("database available")
