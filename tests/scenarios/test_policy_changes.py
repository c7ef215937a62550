"""A policy that changes while alerts are open: they go on from where they are."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World, step


def places(world: World) -> list[float]:
    return [
        row[0]
        for row in world.sql("SELECT extract(epoch FROM place)::float FROM alert ORDER BY id")
    ]


@pytest_twisted.ensureDeferred
async def test_a_shorter_policy_takes_effect_at_once(world: World) -> None:
    """Everyone would have been paged 20 minutes in; now it is two, and that is over."""
    await world.notify()
    await world.advance(180, step=60)
    assert len(world.texts(BOB)) == 0
    await world.policy(step(0, again=300), step(120, "everyone"))
    await world.settle()
    assert len(world.texts(BOB)) == len(world.texts(CLEO)) == 1
    assert places(world) == [120.0]


@pytest_twisted.ensureDeferred
async def test_a_longer_policy_lets_an_alert_wait_for_its_turn(world: World) -> None:
    await world.policy(step(0), step(120, "everyone"))
    await world.notify()
    await world.advance(60, step=60)
    await world.policy(step(0), step(600, "everyone"))
    await world.advance(300, step=60)
    assert len(world.texts(ANNA)) == 1
    assert world.texts(BOB) == []
    await world.advance(300, step=60)
    assert len(world.texts(BOB)) == 1


@pytest_twisted.ensureDeferred
async def test_an_alert_beyond_the_end_of_its_new_policy_is_told_on_and_on(world: World) -> None:
    """The place is further than the last step begins: its turns go on from there."""
    await world.notify()
    await world.advance(1260, step=60)
    assert places(world) == [1200.0]
    before = len(world.texts(CLEO))
    await world.policy(step(0), step(60, "person", person=world.person("Cleo"), again=700))
    await world.advance(300, step=60)
    assert len(world.texts(CLEO)) == before + 1
    assert places(world) == [1460.0]  # 60, 760, 1460
    await world.advance(720, step=60)
    assert len(world.texts(CLEO)) == before + 2


@pytest_twisted.ensureDeferred
async def test_a_policy_that_is_reset_goes_on_too_and_what_is_acknowledged_stays_so(
    world: World,
) -> None:
    await world.policy(step(0, "person", person=world.person("Bob"), again=1800))
    await world.notify()
    await world.settle()
    assert (len(world.texts(BOB)), len(world.texts(ANNA))) == (1, 0)
    await world.advance(360, step=60)
    await world.policy()
    await world.settle()
    assert len(world.texts(ANNA)) == 1
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.policy(step(0, "everyone", again=30))
    await world.advance(120, step=30)
    assert world.alert() == ("acknowledged", "Anna")
    assert world.texts(CLEO) == []


@pytest_twisted.ensureDeferred
async def test_what_is_held_goes_at_once_when_the_pace_is_lifted(world: World) -> None:
    for number in range(6):
        await world.notify(hostname=f"db{number}")
    await world.settle()
    held = "SELECT count(*) FROM message WHERE status = 'held'"
    assert world.sql(held) == [(3,)]
    await world.without_pace()
    await world.advance(1, step=1)
    assert world.sql(held) == [(0,)]
