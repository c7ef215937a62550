"""Somebody says that it is over, before monitoring does."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, World


@pytest_twisted.ensureDeferred
async def test_who_was_told_of_the_problem_hears_who_says_that_it_is_over(world: World) -> None:
    """Not the problem's last words again, which read like a page."""
    await world.put_on_call(None)
    await world.notify(output="connection refused")
    await world.settle()
    await world.reply(ANNA, f"resolve {world.code(ANNA)}")
    await world.settle()
    assert world.texts(BOB)[1:] == ["RESOLVED db1/Postgres, says Anna"]
    assert world.texts(ANNA)[1:] == ["Resolved: CRITICAL db1/Postgres"]
    await world.notify("OK", output="answers again")
    await world.settle()
    assert len(world.texts(BOB)) == 2, "nothing was open, so nothing is told"


@pytest_twisted.ensureDeferred
async def test_a_silence_that_somebody_called_over_is_told_again_if_it_lasts(world: World) -> None:
    await world.heartbeat()
    await world.advance(190, step=5)
    assert world.alert() == ("triggered", None)
    await world.reply(ANNA, f"resolve {world.code(ANNA)}")
    await world.advance(170, step=10)
    silent = "SELECT count(*) FROM alert WHERE state = 'SILENT' AND status = 'triggered'"
    assert world.sql(silent) == [(0,)]
    await world.advance(20, step=5)
    assert world.sql(silent) == [(1,)]
