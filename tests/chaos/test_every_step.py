"""A daemon dies at each step of its work, and the next one keeps what it promised."""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import LogEvent, LogLevel

from tests.chaos.house import House
from tests.chaos.mortal import bury, statements_counted
from tests.chaos.scenes import SCENES, play
from tests.chaos.table import note

DEATHS = 38
"""In each scene, at operations that are spread over it. `make chaos` has one at each operation."""

LIVES = 4_000
"""How many daemons live for a time at random, at the least, in each lane of `make chaos`."""

MEAN_LIFE = 300
"""Operations that a daemon lives at random: often it does not see the end of its taking over."""

NEVER_MIND = ("never", "early", "twice", "reversed")
"""What a provider does with receipts that makes nobody be told twice."""


@pytest_twisted.async_yield_fixture()
async def house(database_url: str, logged: list[LogEvent]) -> AsyncIterator[House]:
    """A house whose daemons can die."""
    gc.disable()
    with statements_counted():
        made = House(database_url)
        await made.start()
        yield made
        await made.stop()
    funeral(logged)
    gc.enable()


def funeral(logged: list[LogEvent]) -> None:
    """Bury the dead, and forget what was logged but for failures."""
    logged[:] = [
        event
        for event in logged
        if "log_failure" in event or event.get("log_level") is LogLevel.critical
    ]
    bury()


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("name", SCENES)
async def test_a_death_at_any_step_loses_nothing(
    house: House, name: str, logged: list[LogEvent], request: pytest.FixtureRequest
) -> None:
    """Each operation is the last of a daemon once; its heirs live."""
    before = house.life.operations
    await play(house, name)
    last = list(range(1, house.life.operations - before + 1))
    if request.config.getoption("seconds") is None:
        last = sorted(random.Random(name).sample(last, DEATHS))
    for number in last:
        house.gateway.behave()
        house.life.live_for(number)
        await play(house, name)
        house.life.dies_at = None
        assert not house.account.faults, f"at operation {number}: {house.account.faults}"
        if number % 20 == 0:
            funeral(logged)
    note(request, house.account.row)


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
@pytest.mark.parametrize("lane", range(2))
async def test_lives_of_any_length_lose_nothing(
    house: House, lane: int, logged: list[LogEvent], request: pytest.FixtureRequest
) -> None:
    """Daemons die again while they take over from the dead, and receipts come as they like."""
    seconds = request.config.getoption("seconds")
    lives = LIVES if seconds else 0
    dice = random.Random(f"{request.config.getoption('seed')}-{lane}")
    house.next_life = lambda: 1 + int(dice.expovariate(1 / MEAN_LIFE))
    house.life.live_for(MEAN_LIFE)
    until = reactor.seconds() + (seconds or 5.0)
    scene = 0
    while reactor.seconds() < until or house.account.crashes < lives:
        scene += 1
        name = dice.choice(list(SCENES))
        house.gateway.behave()
        if dice.random() < 0.5:
            house.gateway.misbehave(dice.choice(NEVER_MIND), chance=0.5)
        await play(house, name)
        assert not house.account.faults, f"in scene {scene}: {house.account.faults}"
        if scene % 10 == 0:
            funeral(logged)
    house.next_life = lambda: None
    house.life.dies_at = None
    note(request, house.account.row)
