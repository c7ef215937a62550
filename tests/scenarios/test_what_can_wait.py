"""What can wait.

The tenant has said that a WARNING at night is nothing to wake anybody for. It is told at eight, all
of them in one digest. A CRITICAL is told at once, and so is a WARNING that becomes one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest_twisted

from tests.world import ANNA, World

NIGHTS: dict[str, Any] = {"calm": ({"states": ["WARNING"], "from": "22:00", "until": "07:00"},)}
FIVE_HOURS = 5 * 3600
"""From three in the morning, when this begins, until eight."""


@pytest_twisted.ensureDeferred
async def test_warnings_at_night_are_told_at_eight_in_one_digest(world: World) -> None:
    await world.policy(**NIGHTS)
    for number in range(5):
        await world.notify("WARNING", hostname=f"disk{number}")
    await world.advance(FIVE_HOURS - 60, step=600)
    assert world.texts() == []
    await world.advance(65, step=5)
    (text,) = world.texts(ANNA)
    assert text.startswith("5 open: WARNING disk0/Postgres")
    assert "it can wait: it is told in a digest at its hour" in world.story()


@pytest_twisted.ensureDeferred
async def test_then_they_are_alerts_like_others_and_paged_again(world: World) -> None:
    await world.policy(**NIGHTS)
    await world.notify("WARNING")
    await world.advance(FIVE_HOURS + 5, step=600)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["WARNING"]
    await world.advance(285, step=30)
    assert len(world.texts(ANNA)) == 1
    await world.advance(15, step=5)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["WARNING", "STILL"]


@pytest_twisted.ensureDeferred
async def test_a_critical_is_told_at_once(world: World) -> None:
    await world.policy(**NIGHTS)
    await world.notify("CRITICAL")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL"]


@pytest_twisted.ensureDeferred
async def test_a_warning_that_becomes_critical_is_told_then_and_not_again_at_eight(
    world: World,
) -> None:
    await world.policy(acknowledged_for=0, **NIGHTS)
    await world.notify("WARNING")
    await world.advance(600, step=300)
    assert world.texts() == []
    await world.notify("CRITICAL")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL"]
    await world.reply(ANNA, f"ack {world.code()}")
    world.phone.forget()
    await world.advance(FIVE_HOURS, step=600)
    assert world.texts() == []


@pytest_twisted.ensureDeferred
async def test_what_is_over_by_then_is_told_as_that(world: World) -> None:
    """Nothing happens unseen."""
    await world.policy(**NIGHTS)
    await world.notify("WARNING", hostname="disk1")
    await world.notify("WARNING", hostname="disk2")
    await world.advance(600, step=300)
    await world.notify("OK", hostname="disk1")
    await world.advance(FIVE_HOURS - 590, step=600)
    (text,) = world.texts(ANNA)
    assert text.startswith("1 open, 1 over: WARNING disk2/Postgres, was WARNING disk1/Postgres")


@pytest_twisted.ensureDeferred
async def test_during_the_day_a_warning_is_told_at_once(world: World) -> None:
    await world.policy(**NIGHTS)
    await world.advance(timedelta(hours=9).total_seconds(), step=3600)
    await world.notify("WARNING")
    await world.settle()
    assert len(world.texts(ANNA)) == 1


@pytest_twisted.ensureDeferred
async def test_a_policy_that_cannot_be_understood_is_as_good_as_none(
    world: World, logged: list[Any]
) -> None:
    """Better woken for a WARNING than not told of a CRITICAL."""
    await world.policy(calm=({"states": ["WARNING"], "from": "bedtime"},))
    await world.notify("CRITICAL")
    await world.settle()
    assert len(world.texts(ANNA)) == 1
    failures = [event for event in logged if "log_failure" in event]
    assert failures
    for event in failures:
        logged.remove(event)
