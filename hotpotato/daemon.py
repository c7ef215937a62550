"""One daemon: everything it is made of, built from the settings, started and stopped in order.

`service` hands it the real reactor; a test hands it another clock.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from hotpotato.api import callbacks
from hotpotato.api.calendars import Calendars
from hotpotato.api.intake import Intake
from hotpotato.api.openapi import OpenApi
from hotpotato.api.operations import Duty, Operations, stalled
from hotpotato.api.people import People
from hotpotato.api.site import Application
from hotpotato.api.v1 import V1
from hotpotato.api.v2 import V2
from hotpotato.duties import upkeep
from hotpotato.duties.aside import Aside
from hotpotato.duties.canary import LONGEST_SLEEP, Canary
from hotpotato.duties.cover import Cover
from hotpotato.duties.deadman import DeadMan
from hotpotato.duties.dispatch import Dispatch, Lane
from hotpotato.duties.escalation import Escalation
from hotpotato.duties.handover import HandOver
from hotpotato.duties.health import Health
from hotpotato.duties.loop import Loop
from hotpotato.duties.mute import Mute
from hotpotato.duties.pacing import Pacing
from hotpotato.duties.queueing import Limits
from hotpotato.duties.replies import Replies
from hotpotato.duties.rota import Rota
from hotpotato.duties.upkeep import Upkeep
from hotpotato.duties.watchdog import Watchdog
from hotpotato.inbox import Inbox
from hotpotato.interfaces import SenderContext
from hotpotato.patience import within
from hotpotato.rules import wellness
from hotpotato.rules.wellness import Facts
from hotpotato.senders.http import Answer, exchange
from hotpotato.senders.registry import ConfiguredSender, Registry
from hotpotato.settings import DeadMan as DeadManSettings
from hotpotato.settings import Settings
from hotpotato.store import schema
from hotpotato.store.database import Database, DatabaseError, Unavailable
from hotpotato.store.messages import Served
from hotpotato.telemetry import Telemetry

LOOK_AGAIN = 2.0
"""Seconds until a schema that did not fit is looked at again."""

LOOK_SOON = 0.2
"""Seconds until a database that is away is asked for again, which costs nothing."""

STEP_WITHIN = 2.2
"""Seconds that one step of a start or a stop may take."""

STOP_WITHIN = 8.5
"""Seconds that a whole stop may take; it is to be over within 10 whatever hangs."""

_AWAY = "the database is away"
_LEAST_STEP = 0.1
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
        self.telemetry = Telemetry()
        self._connections = _connections(reactor)
        self.database = Database(
            url,
            reactor=reactor,
            password=settings.database.password,
            size=settings.database.connections,
        )
        self.senders = registry.build(settings, self._context)
        self.lanes = [
            Dispatch(self.database, clock, lane, self.telemetry.attempted)
            for lane in lanes(self.senders)
        ]
        self._trouble: str | None = "the database was not reached yet"
        self._beginning: Deferred[None] | None = None
        self._stop_by: float | None = None
        self.listening: list[IListeningPort] = []
        self._build_duties(settings)
        self._build_api()

    def _build_duties(self, settings: Settings) -> None:
        database, clock = self.database, self._clock
        limits = Limits(text_limits(self.senders))
        self._rota = Rota(database)
        self.rota = Loop("rota", clock, self._rota.turn)
        self.escalation = Loop(
            "escalation", clock, self._rota.before(Escalation(database, limits).turn)
        )
        self.pacing = Loop("pacing", clock, Pacing(database, limits).turn)
        self.hand_over = Loop("hand-over", clock, HandOver(database, limits).turn)
        self.replies = Loop("replies", clock, Replies(database).turn)
        self.cover = Loop("cover", clock, Cover(database).turn)
        with_canary = [sender.name for sender in self.senders if sender.canary is not None]
        self._health = Health(database, routes(self.senders), self.telemetry.judged, with_canary)
        self.health = Loop("health", clock, self._health.turn)
        self._mute = Mute(database, routes(self.senders), settings.watchdog.undelivered)
        self.mute = Loop("mute", clock, self._mute.turn)
        keeping = Upkeep(database, msgspec.structs.asdict(settings.retention))
        self.upkeep = Loop("upkeep", clock, keeping.turn, longest_sleep=upkeep.EVERY)
        self.watchdog = Watchdog(database, clock, settings.watchdog.interval)
        self.dispatch = [
            Loop(f"dispatch-{sender.name}", clock, lane.turn)
            for sender, lane in zip(self.senders, self.lanes, strict=True)
        ]
        for lane, loop in zip(self.lanes, self.dispatch, strict=True):
            lane.freed = loop.wake
        self.loops = [
            self.escalation,
            self.pacing,
            self.hand_over,
            self.replies,
            *self.dispatch,
            self.health,
            self.mute,
            self.rota,
            self.cover,
            self.upkeep,
        ]
        # Upkeep takes a turn an hour, and nobody's page waits for it.
        self._watched: list[Duty] = [loop for loop in self.loops if loop is not self.upkeep]
        self._watched.append(self.watchdog)
        self._build_canaries()
        self._build_deadman(settings.deadman)

    def _build_canaries(self) -> None:
        self.canaries = [
            Canary(
                self.database,
                self._clock,
                sender.name,
                sender.sender,
                sender.deadline,
                sender.canary,
                self.telemetry.flown,
            )
            for sender in self.senders
            if sender.canary is not None
        ]
        self._asides: list[Aside] = [canary.sending for canary in self.canaries]
        self.loops += [
            Loop(canary.sending.name, self._clock, canary.turn, longest_sleep=LONGEST_SLEEP)
            for canary in self.canaries
        ]

    def _build_deadman(self, settings: DeadManSettings) -> None:
        if settings.url is None:
            return
        ping = functools.partial(_ping, self._context("deadman"), settings.url, settings)
        deadman = DeadMan(settings.interval, self._unwell, ping, self.telemetry.pinged)
        self._asides.append(deadman.pinging)
        self.loops.append(
            Loop("deadman", self._clock, deadman.turn, longest_sleep=settings.interval)
        )

    def _build_api(self) -> None:
        self.intake = Intake(self.database, self._reactor)
        endpoints = [
            *V1(self.intake).endpoints(),
            *V2(self.intake).endpoints(),
            *Calendars(self.database).endpoints(),
            *People(self.database).endpoints(),
            *callbacks.endpoints(
                (sender.name, sender.sender.routes())
                for sender in self.senders
                if hasattr(sender.sender, "routes")
            ),
        ]
        operations = Operations(self.database, self._watched, self.telemetry, self.facts)
        always = operations.endpoints()
        described = OpenApi([*endpoints, *always]).endpoints()
        self.application = Application(
            self._reactor,
            endpoints,
            [*always, *described],
            trouble=lambda: self._trouble,
            report=self.telemetry.answered,
            not_let_in=self.telemetry.not_let_in,
        )

    # --- life

    @property
    def ready(self) -> bool:
        """Whether the database is there, its schema fits, and the duties have begun."""
        return self._trouble is None

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""
        return self._stop_by is not None

    def facts(self) -> Facts:
        """What it knows of itself now, without asking the database."""
        away = not self.database.available and not self.stopping
        return Facts(
            trouble=_AWAY if away else self._trouble,
            stalled=stalled(self._watched) if self._trouble is None else (),
            senders=[sender.name for sender in self.senders],
            sick=self._health.sick,
            undelivered=self._mute.undelivered,
        )

    async def _unwell(self) -> tuple[str, ...]:
        """Why nobody outside may be told that all is well, with a look at the database."""
        trouble: str | None = None
        try:
            await schema.check(self.database)
        except (schema.SchemaMismatch, DatabaseError) as error:
            trouble = str(error) if isinstance(error, schema.SchemaMismatch) else _AWAY
        facts = self.facts()
        return wellness.unwell(msgspec.structs.replace(facts, trouble=trouble or facts.trouble))

    def hung(self, allowed: float) -> tuple[str, ...]:
        """The loops in which one turn lasts for more than `allowed` seconds.

        Whatever a turn waits for, a database that is away too, has a limit of its own.
        """
        duties: list[Duty] = [*self.loops, self.watchdog]
        return tuple(duty.name for duty in duties if duty.hung(allowed))

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

        A database that is away keeps nobody from listening: requests are answered 503 until it is
        there.
        """
        for sender in self.senders:
            await self._step(f"start sender {sender.name}", getattr(sender.sender, "start", None))
        if self._stop_by is not None:
            return
        self.database.start()
        self._beginning = Deferred.fromCoroutine(self._begin_when_it_fits())
        self._beginning.addErrback(self._begun_for_nothing)
        for port in self.listening:
            if hasattr(port, "startReading"):
                port.startReading()

    async def stop(self) -> None:
        """Stop accepting, finish what is under way, and close everything, in that order.

        What does not finish in time is left to whoever runs next: leases run out. It may be called
        before `start` is done, and then `start` goes no further.
        """
        self._stop_by = self._reactor.seconds() + STOP_WITHIN
        self._trouble = "the daemon is stopping"
        if self._beginning is not None:
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
        told: type[Exception] | None = None
        while (misfit := await self._misfit()) is not None:
            self._trouble = _for_clients(misfit)
            # That the database is away, and why, is said by its pool.
            if told is not type(misfit) and not isinstance(misfit, Unavailable):
                self._log.error("waiting: {why}", why=str(misfit))
            told = type(misfit)
            await deferLater(self._reactor, LOOK_AGAIN if self.database.available else LOOK_SOON)
        self.database.listen(self._heard)
        for lane in self.lanes:
            lane.start()
        for loop in self.loops:
            loop.start()
        self.watchdog.start()
        self._trouble = None
        self._log.info("ready")

    async def _misfit(self) -> Exception | None:
        try:
            await schema.check(self.database)
            # Whoever has slept for months knows again who is on call before anybody asks.
            await self._rota.extend()
        except schema.SchemaMismatch as mismatch:
            return mismatch
        except DatabaseError as error:
            return error
        return None

    def _begun_for_nothing(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._trouble = "the daemon could not start, its log says why"
            self._log.failure("the start failed", failure)

    def _heard(self, duties: frozenset[str] | None) -> None:
        """Wake those whose rows are said to be due; all of them where something may be missed."""
        wakes: dict[str, list[Callable[[], None]]] = {
            "escalation": [self.escalation.wake],
            "pacing": [self.pacing.wake],
            "hand-over": [self.hand_over.wake],
            "replies": [self.replies.wake],
            "health": [self.health.wake],
            "watchdog": [self.watchdog.wake],
            "dispatch": [loop.wake for loop in self.dispatch],
        }
        for duty in wakes if duties is None else duties & wakes.keys():
            for wake in wakes[duty]:
                wake()

    async def _stop_duties(self) -> None:
        await _all(
            [
                self.watchdog.stop(),
                *(loop.stop() for loop in self.loops),
                *(aside.stop() for aside in self._asides),
            ]
        )

    async def _stop_lanes(self) -> None:
        await _all([lane.stop() for lane in self.lanes])

    async def _step(self, what: str, step: Callable[[], object] | None) -> None:
        """One step of a start or a stop, bounded in time; a failure is told and passed over."""
        if step is None:
            return
        limit = STEP_WITHIN
        if self._stop_by is not None:
            limit = max(min(limit, self._stop_by - self._reactor.seconds()), _LEAST_STEP)
        try:
            await within(self._reactor, limit, _awaited(step))
        except TimeoutError:
            self._log.warn("{what}: not done after {limit:.1f} s", what=what, limit=limit)
        except Exception:
            self._log.failure("{what}: failed", what=what)

    def _context(self, name: str) -> SenderContext:
        return SenderContext(
            name=name,
            http=HTTPClient(Agent(self._reactor, pool=self._connections, connectTimeout=5.0)),
            clock=self._clock,
            log=Logger(namespace=f"hotpotato.senders.{name}"),
            inbox=Inbox(
                self.database, name, self.telemetry.came_back, lambda: routes(self.senders)
            ),
        )


async def _ping(context: SenderContext, url: str, settings: DeadManSettings) -> str | None:
    """Tell somebody outside that all is well. Returns what went wrong, None for nothing."""
    answer = await exchange(context, settings.method, url, deadline=settings.within, headers={})
    if not isinstance(answer, Answer):
        return answer.why
    return None if 200 <= answer.status < 300 else f"answered {answer.status}"


def routes(senders: Sequence[ConfiguredSender]) -> dict[str, tuple[str, ...]]:
    """By contact method, the senders that serve it, in the order of the configuration file."""
    found: dict[str, tuple[str, ...]] = {}
    for sender in senders:
        for method in sender.methods:
            found[method] = (*found.get(method, ()), sender.name)
    return found


def lanes(senders: Sequence[ConfiguredSender]) -> list[Lane]:
    """A lane for each sender."""
    served = routes(senders)
    return [
        Lane(
            name=sender.name,
            served=tuple(Served(method, served[method]) for method in sender.methods),
            sender=sender.sender,
            concurrency=sender.concurrency,
            deadline=sender.deadline,
        )
        for sender in senders
    ]


def text_limits(senders: Sequence[ConfiguredSender]) -> dict[str, int]:
    """The longest text by contact method, in segments, that every sender of it takes."""
    limits: dict[str, int] = {}
    for sender in senders:
        for method in sender.methods:
            limits[method] = min(sender.segments, limits.get(method, sender.segments))
    return limits


def _connections(reactor: Any) -> HTTPConnectionPool:
    pool = HTTPConnectionPool(reactor)
    # What failed may have got through: whether it is tried again is not decided here.
    pool.retryAutomatically = False
    pool.maxPersistentPerHost = 64
    pool.cachedConnectionTimeout = _KEPT_ALIVE  # type: ignore[assignment]
    return pool


def _for_clients(misfit: Exception) -> str:
    """What anybody may hear of it: not the hosts and accounts that a database's errors name."""
    if isinstance(misfit, schema.SchemaMismatch):
        return str(misfit)
    if isinstance(misfit, Unavailable):
        return f"{_AWAY}; repeat it with the same Idempotency-Key"
    return "the schema can't be looked at; the log says why"


async def _all(stops: Sequence[Coroutine[Deferred[Any], Any, None]]) -> None:
    """Begin with all of them at once: one that hangs keeps none of the others going."""
    stopping = [Deferred.fromCoroutine(stop) for stop in stops]
    for _, result in await DeferredList(stopping, consumeErrors=True):
        if isinstance(result, Failure):
            result.raiseException()


async def _awaited(step: Callable[[], object]) -> None:
    result = step()
    if isinstance(result, Deferred | Coroutine | Awaitable):
        await result
