"""A phone says "stop" while there is more to tell it."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, BOB, World

SECOND = "+64211111111"


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
    assert any("not sent: the phone is switched off" in sentence for sentence in world.story())
    assert len(world.texts(BOB)) == 1


@pytest_twisted.ensureDeferred
async def test_what_was_held_goes_to_her_other_phone_at_once(world: World) -> None:
    """Announcements too, which nothing would look at again."""
    await world.set_numbers("Anna", ANNA, SECOND)
    for number in range(3):
        await world.notify(hostname=f"db{number}")
    await world.settle()
    await world.notify(hostname="db3")
    await world.notify("OK", hostname="db4", event="CUSTOM", comment="I reboot it now")
    await world.settle()
    world.sql("UPDATE contact SET stopped_at = hotpotato_now() WHERE address = %s", ANNA)
    await world.advance(61, step=1)
    told = " ".join(world.texts(SECOND))
    assert "db3" in told
    assert "db4" in told


@pytest_twisted.ensureDeferred
async def test_who_is_disabled_is_sent_nothing_more_and_the_others_are(world: World) -> None:
    for number in range(5):
        await world.notify(hostname=f"db{number}")
    await world.settle()
    before = len(world.texts(ANNA))
    world.sql("UPDATE person SET disabled_at = hotpotato_now() WHERE name = 'Anna'")
    await world.advance(125, step=5)
    assert len(world.texts(ANNA)) == before
    assert any("db3" in text or "db4" in text for text in world.texts(BOB))
