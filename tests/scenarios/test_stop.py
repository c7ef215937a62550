"""A phone says "stop" while there is more to tell it."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, World


def pages(world: World) -> list[tuple[str, str]]:
    """Whom pages were for, and what became of each."""
    return [(person, status) for kind, person, status in world.messages() if kind == "page"]


@pytest_twisted.ensureDeferred
async def test_what_was_held_for_it_is_not_sent_and_the_others_are_told(world: World) -> None:
    """Five problems: three pages and two that wait; then Anna's phone is off, for all of them."""
    for number in range(5):
        await world.notify(hostname=f"db{number}")
    await world.settle()
    assert [status for _, status in pages(world)].count("held") == 2
    told = len(world.texts(ANNA))
    await world.reply(ANNA, "stop")
    await world.advance(180, step=5)
    assert len(world.texts(ANNA)) == told + 1, "only the answer"
    assert ("Anna", "held") not in pages(world)
    hosts = {f"db{number}" for number in range(5)}
    heard = " ".join(world.texts(BOB))
    open_ = world.sql("SELECT hostname FROM alert WHERE status = 'triggered'")
    assert {host for (host,) in open_} == hosts
    assert "5 open" in heard or all(host in heard for host in hosts)


@pytest_twisted.ensureDeferred
async def test_what_waited_for_another_attempt_is_not_sent_either(world: World) -> None:
    world.gateway.misbehave("503", number=ANNA)
    await world.notify()
    await world.settle()
    assert pages(world) == [("Anna", "queued")]
    world.gateway.behave()
    world.sql("UPDATE contact SET stopped_at = hotpotato_now() WHERE address = %s", ANNA)
    await world.advance(5, step=1)
    assert world.texts(ANNA) == []
    assert pages(world)[0] == ("Anna", "failed")
    assert "not sent: the phone was switched off" in world.story()
    assert len(world.texts(BOB)) == 1
