"""A message to a number that answers finds out whether a sender delivers, before a page has to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.defer import succeed
from twisted.logger import LogEvent, formatEvent

from hotpotato.interfaces import FailedForNow
from tests.scenarios.script import Script
from tests.world import ANNA, World

BIRD = "+64215550000"


@pytest.fixture
def script() -> Script:
    """The sender behind the one with the canary."""
    return Script()


@pytest_twisted.async_yield_fixture()
async def world(database_url: str, script: Script) -> AsyncIterator[World]:
    """A canary through modica each ten minutes; the script's sender comes after it."""
    made = World(database_url)
    made.sender = {"canary_to": BIRD, "canary_interval": 600, "canary_within": 60}
    made.plugins.append(script)
    made.more_senders["script"] = {}
    await made.start()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture()
async def answered(database_url: str) -> AsyncIterator[World]:
    """One that has to be answered with a word."""
    made = World(database_url)
    made.sender = {
        "canary_to": BIRD,
        "canary_interval": 600,
        "canary_within": 60,
        "canary_answer": "Tweet",
    }
    await made.start()
    yield made
    await made.stop()


def sick(world: World) -> list[tuple[str, str]]:
    """Which senders are sick, and why."""
    return [
        (name, why)
        for name, why in world.sql("SELECT name, why FROM sender WHERE sick_since IS NOT NULL")
    ]


async def metrics(world: World) -> dict[str, float]:
    """What the metrics say of canaries."""
    text = (await world.request("GET", "/metrics")).body.decode()
    lines = [line.split() for line in text.splitlines() if line.startswith("hotpotato_canar")]
    return {name: float(value) for name, value in lines if "_created" not in name}


@pytest_twisted.ensureDeferred
async def test_one_is_sent_each_interval_and_how_long_it_took_is_told(world: World) -> None:
    await world.advance(30, step=1)
    assert world.texts(BIRD) == ["Hot Potato canary 1"]
    await world.advance(1800, step=10)
    assert len(world.texts(BIRD)) == 4
    found = await metrics(world)
    assert found['hotpotato_canaries_total{outcome="back",sender="modica"}'] == 4
    assert 0 < found['hotpotato_canary_seconds{sender="modica"}'] <= 10
    assert sick(world) == []
    assert world.messages() == [], "it is nobody's message"


@pytest_twisted.ensureDeferred
async def test_those_of_a_month_ago_are_forgotten(world: World) -> None:
    await world.advance(30, step=10)
    world.sql("UPDATE canary SET sent_at = sent_at - interval '31 days'")
    await world.advance(60, step=10)
    assert [number for (number,) in world.sql("SELECT id FROM canary")] == [2]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("never", "its canary did not come back within 60 s"),
        ("dead", "its canary was not delivered: dead"),
        ("503", "its canary was not taken: "),
        ("reset-before", "its canary did not come back within 60 s"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_sender_whose_canary_is_lost_is_sick_and_well_when_one_comes_back(
    world: World, script: Script, logged: list[LogEvent], how: str, why: str
) -> None:
    await world.advance(30, step=1)
    world.gateway.misbehave(how)
    await world.advance(680, step=10)
    assert [(name, said.startswith(why)) for name, said in sick(world)] == [("modica", True)]
    assert 'hotpotato_canaries_total{outcome="lost",sender="modica"}' in await metrics(world)
    await world.notify()
    await world.settle()
    assert len(script.texts) == 1, "the page does not wait for it"
    count = len(world.texts(BIRD))
    world.gateway.behave()
    await world.advance(140, step=10)
    assert sick(world) == []
    assert len(world.texts(BIRD)) > count, "it is repeated sooner than each ten minutes"
    said = [line for event in logged if "sender modica is" in (line := formatEvent(event))]
    assert [line.split(":")[0] for line in said] == [
        "sender modica is sick",
        "sender modica is well again",
    ]


@pytest_twisted.ensureDeferred
async def test_one_that_comes_back_late_makes_it_well_again(world: World) -> None:
    world.gateway.misbehave("never")
    await world.advance(80, step=10)
    assert [name for name, _ in sick(world)] == ["modica"]
    (reference,) = world.sql("SELECT reference FROM canary ORDER BY id DESC LIMIT 1")[0]
    (bird,) = [one for one in world.gateway.messages if one.reference == reference]
    assert await world.gateway.receipt(bird.id, "received") == 200
    await world.advance(15, step=5)
    assert sick(world) == []


@pytest_twisted.ensureDeferred
async def test_an_answer_is_waited_for_where_one_is_asked_for(answered: World) -> None:
    await answered.advance(20, step=5)
    assert len(answered.texts(BIRD)) == 1
    assert not any("back" in name for name in await metrics(answered)), "a receipt is not enough"
    await answered.reply(BIRD, "what?")
    await answered.reply(ANNA, "tweet")
    await answered.advance(10, step=5)
    assert not any("back" in name for name in await metrics(answered))
    await answered.reply(BIRD, "tweet tweet")
    await answered.advance(10, step=5)
    found = await metrics(answered)
    assert found['hotpotato_canaries_total{outcome="back",sender="modica"}'] == 1
    assert found['hotpotato_canary_seconds{sender="modica"}'] == 30
    await answered.advance(700, step=10)
    assert [why for _, why in sick(answered)] == ["its canary did not come back within 60 s"]


@pytest_twisted.ensureDeferred
async def test_two_daemons_send_one_between_them(world: World) -> None:
    await world.start_daemon()
    await world.advance(1230, step=10)
    assert len(world.texts(BIRD)) == 3


@pytest_twisted.ensureDeferred
async def test_a_sender_without_a_canary_any_more_is_not_sick_for_it(world: World) -> None:
    world.gateway.misbehave("never")
    await world.advance(80, step=10)
    assert [name for name, _ in sick(world)] == ["modica"]
    await world.stop_daemon()
    world.sender = {}
    await world.start_daemon()
    await world.advance(15, step=5)
    assert sick(world) == []


@pytest_twisted.ensureDeferred
async def test_it_goes_through_its_own_sender_and_no_other(world: World, script: Script) -> None:
    script.then = lambda message: succeed(FailedForNow("down"))
    world.gateway.misbehave("503")
    await world.advance(200, step=10)
    assert script.sent == []
