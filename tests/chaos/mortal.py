"""A process that can die at full speed: a daemon's reactor of its own, which ends when it is told.

Everything by which a daemon touches the outside goes through the reactor that it is handed. This
one counts what goes out and comes in, and at the chosen operation it is dead: its sockets are
closed without a word, as the kernel does it after kill -9, its timers never fire, and whatever of
its code still runs reaches nobody.

Operations are: a statement sent, a statement answered (and the answer seen by nobody, if it dies
there), a request or an answer sent, and a request or an answer received (likewise).
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from twisted.internet import tcp
from twisted.internet.defer import DebugInfo, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogPublisher
from zope.interface import directlyProvides, providedBy

from hotpotato.store.database.link import Answer, Arguments, Link

SENT_TO = {tcp.Server: "answer sent", tcp.Client: "request sent"}
CAME_FROM = {tcp.Server: "request received", tcp.Client: "response received"}


class Life:
    """The life of one process; for the daemon in it, the reactor.

    It dies at its operation number `dies_at`, counted from one; None: at none. `clock` is its
    virtual time, which ends with it. `ended` is called at its death, in the middle of whatever is
    being done.
    """

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self._reactor = reactor
        self.clock = clock
        self.dies_at: int | None = None
        self.operations = 0
        self.dead = False
        self.last = "nothing"
        """What was done last, for people."""
        self.ended: Callable[[], None] = lambda: None
        self._watched: dict[int, _Watched] = {}
        self._timers: list[Any] = []
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def live_for(self, operations: int) -> None:
        """Die after so many more operations."""
        self.dies_at = self.operations + operations

    def operation(self, what: str) -> bool:
        """Count an operation; returns whether the process is dead."""
        if not self.dead:
            self.operations += 1
            self.last = what
            if self.operations == self.dies_at:
                self.die()
        return self.dead

    def die(self) -> None:
        """End now, like kill -9."""
        self.dead = True
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self.clock.calls.clear()
        for watched in self._watched.values():
            self._reactor.removeReader(watched)
            self._reactor.removeWriter(watched)
        for watched in self._watched.values():
            watched.sever()
        self._watched.clear()
        self.ended()

    # --- the reactor

    def callLater(self, seconds: float, call: Any, *args: Any, **more: Any) -> Any:
        if self.dead:
            return Clock().callLater(seconds, call, *args, **more)
        timer = self._reactor.callLater(seconds, call, *args, **more)
        self._timers = [each for each in self._timers if each.active()]
        self._timers.append(timer)
        return timer

    def addReader(self, selectable: Any) -> None:
        if not self.dead:
            self._reactor.addReader(self._watch(selectable))

    def addWriter(self, selectable: Any) -> None:
        if not self.dead:
            self._reactor.addWriter(self._watch(selectable))

    def removeReader(self, selectable: Any) -> None:
        if id(selectable) in self._watched:
            self._reactor.removeReader(self._watched[id(selectable)])

    def removeWriter(self, selectable: Any) -> None:
        if id(selectable) in self._watched:
            self._reactor.removeWriter(self._watched[id(selectable)])

    def connectTCP(
        self, host: Any, port: Any, factory: Any, timeout: Any = 30, bindAddress: Any = None
    ) -> Any:
        connector = tcp.Connector(host, port, factory, timeout, bindAddress, self)
        if not self.dead:
            connector.connect()
        return connector

    def listenTCP(self, port: Any, factory: Any, backlog: Any = 50, interface: Any = "") -> Any:
        listening = tcp.Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def _watch(self, selectable: Any) -> _Watched:
        return self._watched.setdefault(id(selectable), _Watched(self, selectable))


class _Watched:
    """What the real reactor knows of a socket of a process."""

    def __init__(self, life: Life, selectable: Any) -> None:
        self._life = life
        self._selectable = selectable
        directlyProvides(self, providedBy(selectable))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selectable, name)

    def doRead(self) -> Any:
        came = CAME_FROM.get(type(self._selectable))
        if came and self._life.operation(came):
            return None
        return self._selectable.doRead()

    def doWrite(self) -> Any:
        result = self._selectable.doWrite()
        sent = SENT_TO.get(type(self._selectable))
        if sent and self._life.operation(sent):
            return None
        return result

    def connectionLost(self, reason: Any) -> None:
        if not self._life.dead:
            self._selectable.connectionLost(reason)

    def readConnectionLost(self, reason: Any) -> None:
        if not self._life.dead:
            self._selectable.readConnectionLost(reason)

    def sever(self) -> None:
        """Close the socket as the kernel does; nothing of the program has a say."""
        if isinstance(self._selectable, tcp.Connection | tcp.Port):
            if hasattr(self._selectable, "socket"):  # else it was closed already
                self._selectable.socket.close()
        elif self._selectable.fileno() >= 0:
            # psycopg2 would say goodbye.
            with socket.socket(fileno=os.dup(self._selectable.fileno())) as mine:
                mine.shutdown(socket.SHUT_RDWR)
            self._selectable.pollable().close()


@contextlib.contextmanager
def statements_counted() -> Iterator[None]:
    """Count the statements of processes that can die."""
    execute = Link.execute

    async def counted(link: Link, sql: str, args: Arguments, timeout: float) -> Answer:
        life: Any = link._clock
        if not isinstance(life, Life):
            return await execute(link, sql, args, timeout)
        if life.dead:
            await _for_ever()
        sending = Deferred.fromCoroutine(execute(link, sql, args, timeout))
        what = " ".join(sql.split())[:60]
        if life.operation(f"statement sent: {what}"):
            sending.addErrback(lambda _: None)
            await _for_ever()
        answer = await sending
        if life.operation(f"statement answered: {what}"):
            await _for_ever()
        return answer

    with mock.patch.object(Link, "execute", counted):
        yield


async def _for_ever() -> None:
    await Deferred()


def bury() -> None:
    """Let go of what is left of dead processes.

    Python gives their coroutines a last say, and they complain of what they find; the dead are not
    listened to. What cannot be let go yet is kept for ever, so that no later test hears of it.
    """

    def unheard(*complaint: object) -> None:
        pass

    with (
        mock.patch.object(sys, "unraisablehook", unheard),
        mock.patch.object(DebugInfo, "__del__", unheard),
        mock.patch.object(LogPublisher, "__call__", unheard),
        warnings.catch_warnings(action="ignore"),
    ):
        while gc.collect():
            pass
    gc.freeze()
