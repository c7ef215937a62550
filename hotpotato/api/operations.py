"""For whoever runs it: health, readiness and metrics (CONTRACT section 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from hotpotato.api.answers import Answer, Refused, envelope
from hotpotato.api.site import PLAIN, About, Endpoint, Request
from hotpotato.rules import wellness
from hotpotato.rules.wellness import Facts
from hotpotato.store import operations, schema
from hotpotato.store.database import Database, DatabaseError
from hotpotato.telemetry import Telemetry

LOOPS_WITHIN = 30.0
"""Seconds within which every loop must have finished a turn."""


class Duty(Protocol):
    """Something that takes turns, and can tell whether it still does."""

    name: str

    def stalled(self, allowed: float) -> bool:
        """Whether no turn was finished within the last `allowed` seconds."""

    def hung(self, allowed: float) -> bool:
        """Whether it takes no turns any more, or one lasts for more than `allowed` seconds."""


def stalled(duties: Sequence[Duty]) -> tuple[str, ...]:
    """Those that finished no turn lately."""
    return tuple(duty.name for duty in duties if duty.stalled(LOOPS_WITHIN))


class Operations:
    """The endpoints for whoever runs it; `duties` are the loops to watch."""

    def __init__(
        self,
        database: Database,
        duties: Sequence[Duty],
        telemetry: Telemetry,
        facts: Callable[[], Facts],
    ) -> None:
        self._database = database
        self._duties = duties
        self._telemetry = telemetry
        self._facts = facts

    def endpoints(self) -> Sequence[Endpoint]:
        """What to mount."""
        return (
            Endpoint("GET", "/healthz", self.alive),
            Endpoint("GET", "/readyz/ingest", self.ready_for_ingest),
            Endpoint("GET", "/readyz", self.ready),
            Endpoint("GET", "/metrics", self.metrics, About({200: PLAIN})),
        )

    async def alive(self, request: Request) -> Answer:
        """The process answers, and nothing more is said."""
        return envelope(200, None)

    async def ready_for_ingest(self, request: Request) -> Answer:
        """For load balancers: notifications sent here now would be committed."""
        await self._check_schema()
        return envelope(200, None)

    async def ready(self, request: Request) -> Answer:
        """For people and monitoring: everything is done that should be."""
        await self._check_schema()
        if reasons := wellness.unready(self._facts()):
            raise Refused(503, "; ".join(reasons))
        return envelope(200, None)

    async def metrics(self, request: Request) -> Answer:
        """Prometheus text. What only the database knows is left out while it is away."""
        registry: CollectorRegistry = self._telemetry.registry
        self._telemetry.counted(await self._counts())
        self._telemetry.pool(*self._database.usage)
        for duty in self._duties:
            self._telemetry.stalled(duty.name, duty.stalled(LOOPS_WITHIN))
        return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)

    async def _counts(self) -> dict[str, float]:
        try:
            return await self._database.transaction(operations.counts)
        except DatabaseError:
            return {}

    async def _check_schema(self) -> None:
        try:
            await schema.check(self._database)
        except schema.SchemaMismatch as mismatch:
            raise Refused(503, str(mismatch)) from mismatch
