"""One daemon: everything it is made of, built from the settings, started and stopped in order.

`service` hands it the real reactor; a test hands it another clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool

from hotpotato.api import callbacks
from hotpotato.api.intake import Intake
from hotpotato.api.operations import Operations
from hotpotato.api.site import Application
from hotpotato.api.v1 import V1
from hotpotato.api.v2 import V2
from hotpotato.duties.dispatch import Dispatch, Lane
from hotpotato.duties.escalation import Escalation
from hotpotato.duties.loop import Loop
from hotpotato.duties.replies import Replies
from hotpotato.duties.upkeep import Upkeep
from hotpotato.duties.watchdog import Watchdog
from hotpotato.inbox import Inbox
from hotpotato.interfaces import SenderContext
from hotpotato.patience import within
from hotpotato.senders.registry import ConfiguredSender, Registry
from hotpotato.settings import Settings
from hotpotato.store import schema
from hotpotato.store.database import Database, DatabaseError
from hotpotato.telemetry import Telemetry

LOOK_AGAIN = 2.0
"""Seconds until a database that was away, or a schema that did not fit, is looked at again."""

STOP_STEPS = 2.2
"""Seconds that each step of a stop may take; four of them, so that the whole is done within 10."""

_KEPT_ALIVE = 15.0


class Daemon:
    """A whole Hot Potato, but for the entrance.

    `reactor` is for sockets and for the database's time limits, `clock` for everything that waits.
    Raises SettingsError or BadUrl if it can't be built.
    """

    def __init__(
        self, settings: Settings, url: str, registry: Registry, reactor: Any, clock: IReactorTime
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._log = Logger()
        self._telemetry = Telemetry()
        self._connections = HTTPConnectionPool(reactor)
        self.database = Database(
            url,
            reactor=reactor,
            password=settings.database.password,
            size=settings.database.connections,
        )
        self.senders = registry.build(settings, self._context)
        self.lanes = [
            Dispatch(self.database, clock, lane, self._telemetry.attempted)
            for lane in lanes(self.senders)
        ]
        self._trouble: str | None = "the database was not reached yet"
        self.listening: list[IListeningPort] = []
        self._build_duties(settings)
        self._build_api()

    def _build_duties(self, settings: Settings) -> None:
        database, clock = self.database, self._clock
        self.escalation = Loop("escalation", clock, Escalation(database).turn)
        self.replies = Loop("replies", clock, Replies(database).turn)
        self.upkeep = Loop("upkeep", clock, Upkeep(database).turn)
        self.watchdog = Watchdog(database, clock, settings.watchdog.interval)
        self.dispatch = [
            Loop(f"dispatch-{sender.name}", clock, lane.turn)
            for sender, lane in zip(self.senders, self.lanes, strict=True)
        ]
        for lane, loop in zip(self.lanes, self.dispatch, strict=True):
            lane.freed = loop.wake
        self.loops = [self.escalation, self.replies, *self.dispatch, self.upkeep]

    def _build_api(self) -> None:
        self.intake = Intake(self.database, self._reactor)
        # Upkeep takes a turn an hour, and nobody's page waits for it.
        watched = [loop for loop in self.loops if loop is not self.upkeep]
        self.application = Application(
            self._reactor,
            [
                *V1(self.intake).endpoints(),
                *V2(self.intake).endpoints(),
                *callbacks.endpoints(
                    (sender.name, sender.sender.routes())
                    for sender in self.senders
                    if hasattr(sender.sender, "routes")
                ),
            ],
            Operations(self.database, [*watched, self.watchdog], self._telemetry).endpoints(),
            trouble=lambda: self._trouble,
            report=self._telemetry.answered,
        )

    # --- life

    @property
    def ready(self) -> bool:
        """Whether the database is there, its schema fits, and the duties have begun."""
        return self._trouble is None

    async def bind(self, endpoints: Sequence[IStreamServerEndpoint]) -> None:
        """Open the ports, and let connections wait in the kernel until `start`."""
        site = self.application.site()
        for endpoint in endpoints:
            port = await endpoint.listen(site)
            self.listening.append(port)
            if hasattr(port, "stopReading"):
                port.stopReading()

    async def start(self) -> None:
        """Start everything, and accept connections last.

        A database that is away keeps nobody from listening: requests are answered 503 until it is there.
        """
        for sender in self.senders:
            await self._step(f"start sender {sender.name}", getattr(sender.sender, "start", None))
        self.database.start()
        self._beginning = Deferred.fromCoroutine(self._begin_when_it_fits())
        for port in self.listening:
            if hasattr(port, "startReading"):
                port.startReading()

    async def stop(self) -> None:
        """Stop accepting, finish what is under way, and close everything, in that order.

        What does not finish in time is left to whoever runs next: leases run out.
        """
        self._beginning.addErrback(lambda failure: failure.trap(CancelledError))
        self._beginning.cancel()
        for port in self.listening:
            await self._step("stop listening", port.stopListening)
        await self._step("answer the last requests", self.application.drain)
        await self._step("finish the turns under way", self._stop_duties)
        await self._step("finish the attempts under way", self._stop_lanes)
        for sender in self.senders:
            await self._step(f"stop sender {sender.name}", getattr(sender.sender, "stop", None))
        await self._step("close idle connections", self._connections.closeCachedConnections)
        await self._step("close the database", self.database.stop)

    async def _begin_when_it_fits(self) -> None:
        """Wait for the database and a schema that fits, then begin with the duties."""
        told: str | None = None
        while True:
            try:
                await schema.check(self.database)
            except schema.SchemaMismatch as mismatch:
                self._trouble = str(mismatch)
            except DatabaseError as error:
                self._trouble = f"the database is away: {error}"
            else:
                break
            if told is None:
                self._log.error("waiting: {trouble}", trouble=self._trouble)
                told = self._trouble
            await deferLater(self._reactor, LOOK_AGAIN if self.database.available else 0.2)
        self.database.listen(self._heard)
        for lane in self.lanes:
            lane.start()
        for loop in self.loops:
            loop.start()
        self.watchdog.start()
        self._trouble = None
        self._log.info("ready")

    def _heard(self, duties: frozenset[str] | None) -> None:
        """Wake those whose rows are said to be due; all of them where something may be missed."""
        wakes: dict[str, list[Callable[[], None]]] = {
            "escalation": [self.escalation.wake],
            "replies": [self.replies.wake],
            "watchdog": [self.watchdog.wake],
            "dispatch": [loop.wake for loop in self.dispatch],
        }
        for duty in wakes if duties is None else duties & wakes.keys():
            for wake in wakes[duty]:
                wake()

    async def _stop_duties(self) -> None:
        await self.watchdog.stop()
        for loop in self.loops:
            await loop.stop()

    async def _stop_lanes(self) -> None:
        for lane in self.lanes:
            await lane.stop()

    async def _step(self, what: str, step: Callable[[], object] | None) -> None:
        """One step of a start or a stop, bounded in time; a failure is told and passed over."""
        if step is None:
            return
        try:
            await within(self._reactor, STOP_STEPS, _awaited(step))
        except TimeoutError:
            self._log.warn("{what}: not done after {limit} s", what=what, limit=STOP_STEPS)
        except Exception:
            self._log.failure("{what}: failed", what=what)

    def _context(self, name: str) -> SenderContext:
        self._connections.retryAutomatically = False
        self._connections.maxPersistentPerHost = 64
        self._connections.cachedConnectionTimeout = _KEPT_ALIVE
        return SenderContext(
            name=name,
            http=HTTPClient(Agent(self._reactor, pool=self._connections, connectTimeout=5.0)),
            clock=self._clock,
            log=Logger(namespace=f"hotpotato.senders.{name}"),
            inbox=Inbox(self.database, name, self._telemetry.came_back),
        )


def lanes(senders: Sequence[ConfiguredSender]) -> list[Lane]:
    """A lane for each sender: each contact method is served by the first sender that can."""
    served: set[str] = set()
    found = []
    for sender in senders:
        methods = tuple(method for method in sender.methods if method not in served)
        served.update(methods)
        found.append(
            Lane(
                name=sender.name,
                methods=methods,
                sender=sender.sender,
                concurrency=sender.concurrency,
                deadline=sender.deadline,
                segments=sender.segments,
            )
        )
    return found


async def _awaited(step: Callable[[], object]) -> None:
    result = step()
    if isinstance(result, Deferred | Coroutine | Awaitable):
        await result
