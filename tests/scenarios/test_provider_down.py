"""The provider is down for twenty minutes.

Its gateway answers 503, or nothing at all. Everything that came in meanwhile is told when it is
back: each problem that is still there, once to each person whose turn it was; what is over is not.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["503", "404"])
async def test_what_came_in_meanwhile_is_told_when_it_is_back(world: World, how: str) -> None:
    world.gateway.misbehave(how)
    await world.notify(hostname="db1")
    await world.notify(hostname="db2")
    await world.advance(1200, step=20)
    assert world.texts() == []
    await world.notify("OK", hostname="db2")
    world.gateway.behave()
    await world.advance(180, step=10)
    for number in (ANNA, BOB, CLEO):
        assert [text.split()[1] for text in world.texts(number)] == ["db1/Postgres"]
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    assert world.sql("SELECT status FROM alert ORDER BY id") == [("acknowledged",), ("resolved",)]


@pytest_twisted.ensureDeferred
async def test_meanwhile_nobody_has_more_than_one_page_of_an_alert_waiting(world: World) -> None:
    world.gateway.misbehave("503")
    await world.notify()
    await world.advance(1190, step=30)
    assert world.messages() == [("page", "Anna", "queued")]
    assert "the last page is still to be sent, so there is no other" in world.story()
    world.gateway.behave()
    await world.advance(120, step=10)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL"]
