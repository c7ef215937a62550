"""Several daemon processes on one database, killed, frozen and restarted at random under load."""

from __future__ import annotations

import random
import signal
from datetime import UTC, datetime

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from hotpotato.rules import delivery
from tests.chaos.site import HURRIED, SHIFTED, Process, Site
from tests.chaos.table import note
from tests.world import until

TWO = pytest.param(2, marks=pytest.mark.long)

HURRIED_LEASE = 2.0
"""What `HURRIED` says."""

APART = (-240, 360, 0)
"""Seconds by which the wall clocks of the daemons' hosts are wrong."""


class Fleet:
    """Daemons that come back at the same port, whatever is done to them."""

    def __init__(self, site: Site, dice: random.Random, lease: float) -> None:
        self.site = site
        self.faults = 0
        self._dice = dice
        self._lease = lease
        self.processes: list[Process] = []

    async def start(self, changes: list[str]) -> None:
        self._changes = changes
        self.processes = [self.site.begin(changes=code) for code in changes]
        for process in self.processes:
            await self.site.ready(process)

    async def kill(self, index: int) -> None:
        """SIGKILL, and another one in its place."""
        self.processes[index].signal(signal.SIGKILL)
        await self._again(index)

    async def freeze(self, index: int) -> None:
        """SIGSTOP for longer than the lease, so that others take over what it had."""
        process = self.processes[index]
        process.freeze()
        await self._noted()
        await deferLater(reactor, self._lease + self._dice.uniform(0.5, 1.5))
        process.thaw()

    async def restart(self, index: int) -> None:
        """SIGTERM, as an upgrade does it."""
        self.processes[index].signal(signal.SIGTERM)
        await self._again(index)

    async def _again(self, index: int) -> None:
        gone = self.processes[index]
        await until(lambda: gone.status is not None, "the process to end")
        await self._noted()
        new = self.site.begin(gone.port, changes=self._changes[index])
        self.processes[index] = new
        if self._dice.random() < 0.8:
            await self.site.ready(new)

    async def _noted(self) -> None:
        self.faults += 1
        self.site.fault()
        # What it had begun in the database ends a moment later.
        await deferLater(reactor, 0.1)
        self._call_back()

    def _call_back(self) -> None:
        """Have the provider call back whoever is awake."""
        awake = [one for one in self.processes if one.status is None and not one.frozen]
        if awake:
            port = self._dice.choice(awake).port
            self.site.world.gateway.callback_url = f"http://127.0.0.1:{port}/api/senders/modica"


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
@pytest.mark.parametrize("count", [TWO, 3])
async def test_daemons_that_are_killed_frozen_and_restarted_lose_nothing(
    site: Site, count: int, request: pytest.FixtureRequest
) -> None:
    """Also where their hosts' clocks are minutes apart: only the database's says what is due."""
    seconds = request.config.getoption("seconds")
    dice = random.Random(f"{request.config.getoption('seed')}-{count}")
    hurry = "" if seconds else HURRIED
    fleet = Fleet(site, dice, delivery.LEASE if seconds else HURRIED_LEASE)
    gateway = site.world.gateway
    gateway.misbehave("slow", seconds=0.5)
    gateway.misbehave("never", chance=0.2)
    clocks = [SHIFTED.format(seconds=apart) + hurry for apart in APART[:count]]
    await fleet.start(clocks)
    for process, apart in zip(fleet.processes, APART, strict=False):
        assert abs((process.wall_clock() - datetime.now(UTC)).total_seconds() - apart) < 60
    site.load()
    ends_at = reactor.seconds() + (seconds or 0)
    ways = [fleet.kill, fleet.freeze, fleet.restart]
    dice.shuffle(ways)
    while ways or reactor.seconds() < ends_at:
        await deferLater(reactor, dice.uniform(0.2, 1.0))
        way = ways.pop() if ways else dice.choice([fleet.kill, fleet.freeze, fleet.restart])
        await way(dice.randrange(count))
    await site.unload()
    for process in fleet.processes:
        await site.ready(process)
    await site.all_arrived()

    row = site.account(fleet.faults)
    note(request, row)
    assert row["lost"] == 0
    assert site.in_flight_at_faults, "nothing was hit"
