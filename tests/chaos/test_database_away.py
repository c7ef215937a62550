"""The database goes away under load, in every way there is, and comes back.

Daemons and PostgreSQL are real processes here. What was answered 2xx is there, nothing is sent
twice, since no daemon dies, and ingest recovers by itself.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psycopg2
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.chaos.site import ANSWERED_WITHIN, HURRIED, Site, furnished
from tests.chaos.table import note
from tests.cluster import Cluster, free_port, running
from tests.world import World, _migrated, until

BACK_WITHIN = 5.0
"""Seconds after the database's return within which notifications are taken again.

Of a server that fell silent nobody knows that it is away until `NOTICED_WITHIN`.
"""

AT_ONCE = 2.0
"""Seconds within which a daemon says no that knows there is no database; and what this process
itself was late by, on a busy machine.
"""

NOTICED_WITHIN = ANSWERED_WITHIN + 1.0
"""Seconds after which it knows that a silent one is away."""

AWAY = 1.0
"""Seconds for which the database stays away."""


class Outside(World):
    """A world that looks at the database anew when it comes back."""

    def look_anew(self) -> None:
        """Connect again, to whichever server is the primary now."""
        self._connection.close()
        self._connection = psycopg2.connect(
            self.database_url, connect_timeout=2, target_session_attrs="read-write"
        )
        self._connection.autocommit = True


class Phase(msgspec.Struct):
    """What came of one fault. `accepted` are the hosts that were taken from its beginning on."""

    name: str
    began: float
    accepted: set[str]
    outage: float = 0.0
    back: float = 0.0
    """Seconds from the database's return to the first 2xx."""


class Trial:
    """A site whose database is put to the test."""

    def __init__(self, world: Outside, directory: Path) -> None:
        self.site = Site(world, directory)
        self._world = world
        self.phases: list[Phase] = []

    async def begin(self, daemons: int, changes: str) -> None:
        """Start the daemons and the load."""
        self.site.changes = changes
        self.site.world.gateway.misbehave("slow", seconds=0.3)
        self.site.world.gateway.misbehave("never", chance=0.3)
        for _ in range(daemons):
            await self.site.start()
        self.site.load()
        await until(lambda: len(self.site.arrived) > 3, "the first pages")

    @contextlib.asynccontextmanager
    async def fault(self, name: str, noticed_within: float = AT_ONCE) -> AsyncIterator[None]:
        """A fault, which is over when the context ends; and measure how it is got over."""
        site = self.site
        site.outage, site.lag, site.refusals = 0.0, 0.0, []
        phase = Phase(name, reactor.seconds(), set(site.accepted))
        yield
        returned = reactor.seconds()
        await until(lambda: site.answered_at > returned, "ingest to recover")
        phase.back = reactor.seconds() - returned
        await threaded(self._world.look_anew)
        await deferLater(reactor, AWAY)
        phase.outage = site.outage
        phase.accepted = site.accepted - phase.accepted
        self.phases.append(phase)
        late_by = (returned + phase.back) - max(returned, phase.began + noticed_within)
        at_once = AT_ONCE + site.lag
        assert late_by < BACK_WITHIN + site.lag, f"{name}: back after {phase.back:.1f} s"
        assert site.refusals or name == "cut", f"{name}: nothing was refused"
        assert not site.unanswered, f"{name}: requests without an answer"
        slow = [took for _, took, _ in site.refusals if took > ANSWERED_WITHIN + at_once]
        assert not slow, f"{name}: 503 after {slow} s"
        late = [
            took
            for began, took, _ in site.refusals
            if phase.began + noticed_within < began < returned and took > at_once
        ]
        assert not late, f"{name}: known to be away, and 503 only after {late} s"

    async def end(self, request: pytest.FixtureRequest) -> None:
        """Wait for everything, and put a row for each kind of fault into the table."""
        site = self.site
        await site.unload()
        await site.all_arrived()
        whole = site.account(0)
        arrived = site.arrived
        for name in dict.fromkeys(phase.name for phase in self.phases):
            mine = [phase for phase in self.phases if phase.name == name]
            accepted = {host for phase in mine for host in phase.accepted}
            note(
                request,
                {
                    "fault": name,
                    "accepted": len(accepted),
                    "delivered": len(accepted & arrived.keys()),
                    "lost": len(accepted - arrived.keys()),
                    "duplicates": sum(arrived[host] - 1 for host in accepted),
                    "crashes": len(mine),
                    "longest outage of ingest": f"{max(phase.outage for phase in mine):.1f} s",
                    "back after": f"{max(phase.back for phase in mine):.1f} s",
                },
            )
        assert whole["lost"] == 0
        assert whole["duplicates"] == 0


async def made_at(cluster: Cluster, place: Path, url: str | None = None) -> Trial:
    await _migrated(cluster.url())
    trial = Trial(Outside(url or cluster.url(), virtual=False), place)
    await furnished(trial.site)
    return trial


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


@pytest_twisted.async_yield_fixture()
async def trial(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Trial]:
    """A site with a PostgreSQL of its own."""
    made = await made_at(cluster, tmp_path)
    yield made
    await made.site.stop()


async def threaded(work: Callable[[], object]) -> None:
    """The load goes on meanwhile."""
    await deferToThread(work)


async def restart(trial: Trial, cluster: Cluster, dice: random.Random) -> None:
    async with trial.fault("restart"):
        await threaded(cluster.stop)
        await deferLater(reactor, AWAY * dice.random())
        await threaded(cluster.start)


async def kill(trial: Trial, cluster: Cluster, dice: random.Random) -> None:
    async with trial.fault("kill -9"):
        await threaded(cluster.kill)
        await deferLater(reactor, AWAY * dice.random())
        await threaded(cluster.start)


async def cut(trial: Trial, cluster: Cluster, dice: random.Random) -> None:
    async with trial.fault("cut"):
        for _ in range(3):
            await threaded(lambda: cluster.terminate_some(dice.random()))
            await deferLater(reactor, AWAY * dice.random() / 3)


async def freeze(trial: Trial, cluster: Cluster, dice: random.Random) -> None:
    """For so long that whoever waits for an answer gives up."""
    async with trial.fault("frozen", noticed_within=NOTICED_WITHIN):
        cluster.freeze()
        await deferLater(reactor, NOTICED_WITHIN + AT_ONCE + AWAY * dice.random())
        cluster.thaw()


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
async def test_a_database_that_goes_away_and_comes_back_costs_nothing_but_its_time(
    trial: Trial, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    """Restarted, killed, connections cut at random, and, where there is time for it, frozen."""
    seconds = request.config.getoption("seconds")
    dice = random.Random(request.config.getoption("seed"))
    await trial.begin(2 if seconds else 1, "" if seconds else HURRIED)
    ends_at = reactor.seconds() + (seconds or 0)
    ways = [restart, kill, cut]
    dice.shuffle(ways)
    if seconds:
        ways.append(freeze)
    while ways or reactor.seconds() < ends_at:
        way = ways.pop() if ways else dice.choice([restart, kill, cut, freeze])
        await way(trial, cluster, dice)
    await trial.end(request)


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
@pytest.mark.long
async def test_a_full_disk_is_an_absent_database_until_there_is_room_again(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with running(megabytes=320) as cluster:
        trial = await made_at(cluster, tmp_path)
        try:
            await trial.begin(2, "")
            async with trial.fault("disk full", noticed_within=60):
                await threaded(cluster.fill_disk)
                await until(lambda: len(trial.site.refusals) > 20, "refusals", 60)
                await threaded(cluster.free_disk)
            await trial.end(request)
        finally:
            await trial.site.stop()


class Pair:
    """A primary and its synchronous standby, at two ports that stay theirs."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.primary = stack.enter_context(running())
        self._port = free_port()
        self._make_standby()

    def _make_standby(self) -> None:
        self.standby = self._stack.enter_context(running(port=self._port, follows=self.primary))
        self.primary.confirm(by_standby=True)

    @property
    def url(self) -> str:
        """Of both."""
        first, second = sorted([self.primary.port, self.standby.port])
        return f"postgresql://hotpotato@127.0.0.1:{first},127.0.0.1:{second}/hotpotato"

    def promote(self) -> None:
        """Make the standby the primary, as Patroni does when the primary is lost."""
        self.standby.confirm(by_standby=False)
        self.standby.sql("SELECT pg_promote()")

    def renew(self) -> None:
        """Make the new primary a standby, in place of what was the primary."""
        self._port = self.primary.port
        self.primary = self.standby
        self._make_standby()


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
async def test_when_the_primary_is_lost_the_synchronous_standby_has_everything(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Killed, or its host gone without a word; the URL names both."""
    seconds = request.config.getoption("seconds")
    dice = random.Random(request.config.getoption("seed"))
    with contextlib.ExitStack() as stack:
        pair = Pair(stack)
        trial = await made_at(pair.primary, tmp_path, pair.url)
        try:
            await trial.begin(2 if seconds else 1, "" if seconds else HURRIED)
            ends_at = reactor.seconds() + (seconds or 0)
            ways = ["primary silent", "primary killed"] if seconds else ["primary killed"]
            while ways or reactor.seconds() < ends_at:
                way = ways.pop() if ways else dice.choice(["primary killed", "primary silent"])
                noticed_within = AT_ONCE if "killed" in way else NOTICED_WITHIN
                async with trial.fault(way, noticed_within):
                    lose = pair.primary.kill if "killed" in way else pair.primary.freeze
                    await threaded(lose)
                    away = 1 if "killed" in way else NOTICED_WITHIN
                    await deferLater(reactor, (away + AWAY) * dice.random())
                    await threaded(pair.promote)
                await threaded(pair.primary.remove)
                if seconds:
                    await threaded(pair.renew)
            await trial.end(request)
        finally:
            await trial.site.stop()
