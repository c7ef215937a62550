"""Silences.

Bob moves racks tonight and says so. What breaks meanwhile is held back and recorded, and when the
silence ends whatever is still broken is told in one digest.
"""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, World


@pytest_twisted.ensureDeferred
async def test_what_is_still_there_at_the_end_is_told_in_one_digest(world: World) -> None:
    await world.silence("rack*", 1800)
    for number in range(5):
        await world.notify(hostname=f"rack{number}")
    await world.notify(hostname="db1")
    await world.settle()
    await world.notify("OK", hostname="rack4")
    await world.advance(1790, step=60)
    assert world.texts()
    assert not any("rack" in text for text in world.texts())
    assert world.story().count("silence 1 of Bob holds it back (moving racks)") == 5
    world.phone.forget()
    await world.advance(200, step=5)
    digests = [text for text in world.texts(ANNA) if "rack" in text]
    assert len(digests) == 1
    assert digests[0].startswith("4 open (the silence is over): CRITICAL rack0/Postgres")
    assert "rack4" not in digests[0]


@pytest_twisted.ensureDeferred
async def test_what_came_and_went_during_it_is_told_to_nobody(world: World) -> None:
    await world.silence("*", 600)
    await world.notify()
    await world.advance(60, step=30)
    await world.notify("OK")
    await world.advance(900, step=60)
    assert world.texts() == []
    assert "it is over; nobody has to be told" in world.story()


@pytest_twisted.ensureDeferred
async def test_the_end_of_what_was_told_before_is_told_in_it_too(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.silence("*", 600)
    await world.advance(400, step=60)
    await world.notify("OK")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "OK"]


@pytest_twisted.ensureDeferred
async def test_ended_early_it_is_told_then(world: World) -> None:
    number = await world.silence("*", 36_000)
    await world.notify()
    await world.advance(600, step=60)
    assert world.texts() == []
    await world.end_silence(number)
    await world.advance(5, step=1)
    (text,) = world.texts(ANNA)
    assert text.startswith("CRITICAL db1/Postgres (the silence is over)")


@pytest_twisted.ensureDeferred
async def test_it_goes_on_from_the_first_step_then(world: World) -> None:
    await world.silence("*", 600)
    await world.notify()
    await world.advance(600, step=60)
    await world.advance(300, step=60)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "STILL"]


@pytest_twisted.ensureDeferred
async def test_a_worse_state_in_it_is_held_back_too_and_told_as_it_is_then(world: World) -> None:
    await world.notify("WARNING")
    await world.settle()
    await world.silence("*", 600)
    await world.notify("CRITICAL")
    await world.advance(590, step=60)
    assert [text.split()[0] for text in world.texts()] == ["WARNING"]
    await world.advance(20, step=5)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["WARNING", "CRITICAL"]


@pytest_twisted.ensureDeferred
async def test_other_services_of_the_host_are_not_meant(world: World) -> None:
    await world.silence("db1", 600, service="Disk*")
    await world.notify(service_name="Disk /var")
    await world.notify(service_name="Postgres")
    await world.settle()
    assert [text.split()[1] for text in world.texts(ANNA)] == ["db1/Postgres"]
