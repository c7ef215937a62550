"""A service that comes and goes.

It says CRITICAL, OK, CRITICAL, OK, and so on, all night. Anna hears of the first time as always, at
the fourth change that it flaps, and then what became of it every quarter of an hour, until it has
been stable for as long.
"""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, World


async def flap(world: World, changes: int, every: float = 60.0) -> None:
    """It changes so many times, from bad to good and back."""
    for number in range(changes):
        await world.notify("OK" if number % 2 else "CRITICAL")
        await world.advance(every, step=30)


@pytest_twisted.ensureDeferred
async def test_the_fourth_change_is_told_as_flapping_and_the_rest_in_digests(
    world: World,
) -> None:
    """Here the fourth change is the recovery."""
    await flap(world, 4)
    assert [text.split()[0] for text in world.texts(ANNA)] == [
        "CRITICAL",
        "OK",
        "CRITICAL",
        "FLAPPING",
    ]
    assert world.texts(ANNA)[-1].startswith("FLAPPING db1/Postgres, now OK")
    world.phone.forget()
    await flap(world, 13)
    assert world.texts(ANNA) == []
    await world.advance(200, step=10)
    (digest,) = world.texts(ANNA)
    assert digest.startswith("1 open, 6 over: CRITICAL db1/Postgres, was CRITICAL db1/Postgres")


@pytest_twisted.ensureDeferred
async def test_where_the_fourth_change_is_the_problem_it_is_a_page_and_has_a_code(
    world: World,
) -> None:
    await world.notify("CRITICAL")
    await world.advance(840, step=60)
    await world.notify("OK")
    await world.advance(70, step=10)
    for state in ("CRITICAL", "OK", "CRITICAL"):
        await world.notify(state)
        await world.advance(100, step=10)
    text = world.texts(ANNA)[-1]
    assert text.startswith("FLAPPING db1/Postgres, now CRITICAL\nReply ack ")
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")


@pytest_twisted.ensureDeferred
async def test_after_a_quiet_quarter_of_an_hour_it_pages_as_always(world: World) -> None:
    await flap(world, 6)
    await world.advance(1200, step=60)
    world.phone.forget()
    await world.notify("CRITICAL", output="gone")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL"]
    assert world.texts(ANNA)[0].startswith("CRITICAL db1/Postgres: gone")


@pytest_twisted.ensureDeferred
async def test_what_stays_bad_is_told_within_the_quarter_of_an_hour_and_paged_again(
    world: World,
) -> None:
    await flap(world, 4)
    world.phone.forget()
    await world.notify("CRITICAL")
    await world.advance(910, step=10)
    assert len(world.texts(ANNA)) == 1
    assert "CRITICAL db1/Postgres" in world.texts(ANNA)[0]
    await world.advance(600, step=60)
    assert world.texts(ANNA)[-1].startswith("STILL CRITICAL db1/Postgres")


@pytest_twisted.ensureDeferred
async def test_three_changes_are_no_flapping(world: World) -> None:
    await flap(world, 3)
    assert not any("FLAPPING" in text for text in world.texts())


@pytest_twisted.ensureDeferred
async def test_one_that_flaps_keeps_no_other_waiting(world: World) -> None:
    await flap(world, 6)
    world.phone.forget()
    await world.notify("CRITICAL", hostname="other")
    await world.settle()
    assert [text.split()[1] for text in world.texts(ANNA)] == ["other/Postgres"]


@pytest_twisted.ensureDeferred
async def test_the_tenant_says_what_flapping_is(world: World) -> None:
    await world.policy(flapping_changes=2, flapping_within=300)
    await flap(world, 2)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "FLAPPING"]
