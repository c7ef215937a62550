"""The pager changes hands while something is open."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, World


@pytest_twisted.ensureDeferred
async def test_whoever_takes_over_in_the_middle_is_told_of_what_is_open_and_what_is_taken(
    world: World,
) -> None:
    """Three problems, one of them acknowledged by Anna; then Bob has the pager: one text."""
    await world.notify(hostname="db1", service_name=None, state="DOWN")
    await world.settle()
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.notify("WARNING", hostname="db2")
    await world.notify("CRITICAL", hostname="db3")
    await world.settle()
    assert world.texts(BOB) == []
    await world.put_on_call("Bob")
    await world.advance(11, step=1)
    (told,) = world.texts(BOB)
    assert told.startswith(
        "2 open (you have the pager now): CRITICAL db3/Postgres, WARNING db2/Postgres"
    )
    assert "taken: db1" in told
    assert "Bob has primary now, and is told of 2 open and 1 acknowledged alerts" in world.story()
    await world.reply(BOB, f"ack {world.code(BOB)}")
    await world.settle()


@pytest_twisted.ensureDeferred
async def test_nothing_open_nothing_told(world: World) -> None:
    await world.put_on_call("Bob")
    await world.advance(60)
    assert world.texts() == []
    assert not [sentence for sentence in world.story() if "has primary now" in sentence]


@pytest_twisted.ensureDeferred
async def test_what_came_since_the_shift_began_is_told_once(world: World) -> None:
    """The problem came first to whoever pages, and only then the shift to whoever hands over."""
    await world.put_on_call("Bob")
    await world.settle()
    await world.notify()
    await world.settle()
    world.sql("UPDATE shift SET handed_over_at = NULL WHERE during @> hotpotato_now()")
    world.sql("SELECT pg_notify('hotpotato', 'hand-over')")
    await world.advance(60)
    assert not world.sql("SELECT id FROM shift WHERE handed_over_at IS NULL")
    assert len(world.texts(BOB)) == 1


@pytest_twisted.ensureDeferred
async def test_who_goes_on_having_it_is_told_nothing(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.put_on_call("Anna")
    await world.advance(60)
    assert len(world.texts(ANNA)) == 1
