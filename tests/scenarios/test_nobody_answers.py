"""Nobody answers.

A database dies at three in the morning. Anna has the pager and sleeps, Bob is the secondary and
has left his phone in the car, Cleo is on a plane. Hot Potato does not give up: Anna every five
minutes, Bob from the tenth on, everyone from the twentieth, every ten minutes until it is over.
"""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World


def minutes(world: World, number: str) -> list[int]:
    """The minutes of the hour at which pages came to a phone."""
    began = world.gateway.messages[0].at
    return [round((one.at - began) / 60) for one in world.gateway.messages if one.number == number]


@pytest_twisted.ensureDeferred
async def test_for_an_hour(world: World) -> None:
    await world.put_on_call("Bob", "secondary")
    await world.notify(output="connection refused")
    await world.advance(3600, step=60)
    assert minutes(world, ANNA) == [0, 5, 10, 15, 20, 30, 40, 50, 60]
    assert minutes(world, BOB) == [10, 20, 30, 40, 50, 60]
    assert minutes(world, CLEO) == [20, 30, 40, 50, 60]
    assert world.texts(ANNA)[0].startswith("CRITICAL db1/Postgres: connection refused\nReply ack ")
    assert all(text.startswith("STILL CRITICAL") for text in world.texts(ANNA)[1:])
    assert world.texts(CLEO)[0].startswith("CRITICAL")
    story = world.story()
    assert "on call (primary): Anna paged" in story
    assert (
        "on call (primary), on call (secondary): Anna, Bob paged again,"
        " since nobody has acknowledged" in story
    )
    assert "everyone: Anna, Bob, Cleo paged again, since nobody has acknowledged" in story


@pytest_twisted.ensureDeferred
async def test_until_cleo_lands_and_takes_it(world: World) -> None:
    await world.put_on_call("Bob", "secondary")
    await world.notify()
    await world.advance(1500, step=60)
    await world.reply(CLEO, f"ack {world.code(CLEO)}")
    assert world.alert() == ("acknowledged", "Cleo")
    assert world.texts(ANNA)[-1] == "Cleo has acknowledged CRITICAL db1/Postgres"
    world.phone.forget()
    await world.advance(1740, step=60)
    assert world.texts() == []


@pytest_twisted.ensureDeferred
async def test_a_monitoring_program_that_repeats_itself_keeps_nobody_from_being_paged(
    world: World,
) -> None:
    """It says so every four minutes, and the others have their turn all the same."""
    for _ in range(6):
        await world.notify()
        await world.advance(240, step=60)
    assert len(world.texts(CLEO)) == len(world.texts(BOB)) >= 1
    assert world.sql("SELECT count(*) FROM alert") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_a_worse_state_begins_anew_with_the_person_on_call(world: World) -> None:
    await world.notify("WARNING")
    await world.advance(1260, step=60)
    world.phone.forget()
    await world.notify("CRITICAL")
    await world.advance(240, step=60)
    assert [text.split()[0] for text in world.texts()] == ["CRITICAL"]
    await world.advance(60, step=60)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "STILL"]
