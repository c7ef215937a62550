"""Acknowledged and forgotten.

Anna takes it, half asleep, and sleeps on. An acknowledgement is a promise for half an hour: then
she is paged again, and after her the others, unless she says once more that she is at it.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World


async def taken(world: World) -> None:
    """Anna has acknowledged it."""
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    world.phone.forget()


@pytest_twisted.ensureDeferred
async def test_after_half_an_hour_it_runs_out_and_begins_from_the_first_step(
    world: World,
) -> None:
    await taken(world)
    await world.advance(1799, step=60)
    assert world.texts() == []
    await world.advance(1, step=1)
    (text,) = world.texts(ANNA)
    assert text.startswith("STILL CRITICAL db1/Postgres (the acknowledgement ran out)")
    assert world.alert()[0] == "triggered"
    await world.advance(1200, step=60)
    assert len(world.texts(ANNA)) == 5
    assert len(world.texts(BOB)) == len(world.texts(CLEO)) == 1


@pytest_twisted.ensureDeferred
async def test_said_again_it_lasts_half_an_hour_from_then(world: World) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    await world.reply(ANNA, f"ack {code}")
    await world.advance(1500, step=60)
    await world.reply(ANNA, f"ack {code}")
    world.phone.forget()
    await world.advance(1790, step=60)
    assert world.texts() == []
    await world.advance(20, step=5)
    assert len(world.texts(ANNA)) == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("lasts", "pages"), [(600.0, 1), (0.0, 0)])
async def test_the_tenant_says_how_long_it_lasts_and_whether_it_runs_out(
    world: World, lasts: float, pages: int
) -> None:
    await world.policy(acknowledged_for=lasts)
    await taken(world)
    await world.advance(610, step=61)
    assert len(world.texts(ANNA)) == pages
    if not pages:
        await world.advance(24 * 3600, step=3600)
        assert world.texts() == []


@pytest_twisted.ensureDeferred
async def test_the_monitoring_programs_acknowledgement_never_runs_out(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.notify(event="ACKNOWLEDGEMENT", author="bob")
    await world.settle()
    assert world.texts(ANNA)[-1] == "bob in icinga1 has acknowledged CRITICAL db1/Postgres"
    world.phone.forget()
    await world.advance(24 * 3600, step=3600)
    assert world.texts() == []
    await world.notify("WARNING")
    await world.settle()
    assert world.texts(ANNA)[0].startswith("WARNING db1/Postgres")


@pytest_twisted.ensureDeferred
async def test_a_worse_state_pages_at_once_and_the_same_one_does_not(world: World) -> None:
    await world.notify("WARNING")
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    world.phone.forget()
    await world.notify("WARNING", output="still warm")
    await world.advance(60, step=30)
    assert world.texts() == []
    await world.notify("CRITICAL", output="on fire")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL"]
    assert world.alert()[0] == "triggered"


@pytest_twisted.ensureDeferred
async def test_the_end_of_what_ran_out_is_told_to_who_heard_of_it(world: World) -> None:
    await taken(world)
    await world.advance(1800, step=60)
    await world.notify("OK")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["STILL", "OK"]
    assert world.texts(BOB) == []


@pytest_twisted.ensureDeferred
async def test_what_runs_out_during_a_silence_is_told_when_that_ends(world: World) -> None:
    await taken(world)
    await world.silence("db*", 3600)
    await world.advance(3590, step=60)
    assert world.texts() == []
    await world.advance(15, step=5)
    assert len(world.texts(ANNA)) == 1
