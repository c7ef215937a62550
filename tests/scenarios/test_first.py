"""First stories."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World


@pytest_twisted.ensureDeferred
async def test_a_problem_reaches_the_person_on_call_and_its_end_too(world: World) -> None:
    """CRITICAL and OK, with receipts."""
    data = await world.notify("CRITICAL", output="connection refused")
    await world.settle()
    (text,) = world.texts()
    assert text.startswith("CRITICAL db1/Postgres: connection refused")
    await world.advance(10, step=1)
    response = await world.request(
        "GET",
        f"/api/servers/v2/notifications/get/{data['id']}",
        headers={"Authorization": f"Apikey {world.key}"},
    )
    assert response.data["status"] == "delivered", world.story()
    await world.notify("OK", output="fine again")
    await world.settle()
    assert world.texts(ANNA)[1].startswith("OK db1/Postgres: fine again")
    assert world.texts(BOB) == world.texts(CLEO) == []


@pytest_twisted.ensureDeferred
async def test_ack(world: World) -> None:
    """ack stops the repeats."""
    await world.notify("CRITICAL", output="connection refused")
    await world.settle()
    code = world.texts()[0].split()[-1]
    await world.advance(601, step=60)
    assert len(world.texts(ANNA)) == 2
    assert world.texts(ANNA)[1].startswith("STILL CRITICAL")
    assert await world.gateway.reply(ANNA, f"Ack {code.lower()}!") == 200
    await world.settle()
    assert world.texts(ANNA)[2] == "Acknowledged: CRITICAL db1/Postgres"
    await world.advance(3600, step=60)
    assert len(world.texts()) == 3
