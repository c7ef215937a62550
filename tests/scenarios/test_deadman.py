"""Somebody outside is told that all is well, and only then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import LogEvent, formatEvent

from hotpotato.testing.standin import Answer, Behaviour, Request, StandIn
from tests.world import World, until


@pytest_twisted.async_yield_fixture()
async def outside() -> AsyncIterator[StandIn]:
    """Who is told."""

    async def answer(request: Request) -> Answer:
        return Answer(200, b"OK")

    made = StandIn(reactor, answer)
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture()
async def world(database_url: str, outside: StandIn) -> AsyncIterator[World]:
    """A world with a dead-man ping each minute."""
    made = World(database_url)
    await made.start(deadman={"url": f"{outside.url}/ping/secret", "interval": 60, "within": 8})
    yield made
    await made.stop()


async def minutes(world: World, count: int) -> None:
    """Let time pass, and what is pinged answer."""
    for _ in range(count * 12):
        await world.advance(5)
        await over(world)


async def silent_minutes(world: World, outside: StandIn) -> int:
    """Let it notice, then let three minutes pass; returns how many pings came before."""
    await minutes(world, 1)
    told = len(outside.requests)
    await minutes(world, 3)
    return told


async def over(world: World) -> None:
    """Wait until no ping is under way."""
    daemon: Any = world.daemons[0]
    await until(lambda: not any(aside.under_way for aside in daemon._asides), "the ping to end")


async def pings(world: World) -> dict[str, float]:
    """What the metrics say of them."""
    text = (await world.request("GET", "/metrics")).body.decode()
    found = [line.split() for line in text.splitlines() if line.startswith("hotpotato_deadman_")]
    return {name.split('"')[1]: float(value) for name, value in found if "_total{" in name}


def said(logged: list[LogEvent]) -> list[str]:
    """What the log says of pings."""
    return [line for event in logged if "dead-man" in (line := formatEvent(event))]


@pytest_twisted.ensureDeferred
async def test_while_all_is_well_it_is_said_each_minute(
    world: World, outside: StandIn, logged: list[LogEvent]
) -> None:
    await minutes(world, 3)
    assert [(request.method, request.path) for request in outside.requests] == [
        ("GET", "/ping/secret")
    ] * 3
    assert await pings(world) == {"sent": 3}
    assert said(logged) == []


@pytest.mark.parametrize("what", ["loop", "database", "senders", "schema"])
@pytest_twisted.ensureDeferred
async def test_what_is_not_well_is_told_by_silence_and_once_in_the_log(
    world: World, outside: StandIn, logged: list[LogEvent], what: str
) -> None:
    await minutes(world, 1)
    daemon: Any = world.daemons[0]
    if what == "loop":
        await daemon.escalation.stop()
        told = await silent_minutes(world, outside)
        daemon.escalation.start()
        why = "no turn was finished lately by: escalation"
    elif what == "senders":
        world.sql(
            "UPDATE sender SET sick_since = hotpotato_now(), why = 'it fails',"
            " probe_at = hotpotato_now()"
        )
        told = await silent_minutes(world, outside)
        world.sql("UPDATE sender SET sick_since = NULL, why = NULL, probe_at = NULL")
        why = "no sender is well: modica (it fails)"
    elif what == "schema":
        world.sql("UPDATE migration SET number = -number")
        told = await silent_minutes(world, outside)
        world.sql("UPDATE migration SET number = -number")
        why = "run `hotpotato migrate`"
    else:
        told = len(outside.requests)
        await world.database_away()
        for _ in range(36):
            daemon._clock.advance(5)
            await until(lambda: not world._busy(), "the turns to fail")
        await world.database_back()
        why = "the database is away"
    assert len(outside.requests) == told
    assert (await pings(world))["withheld"] >= 3
    lines = said(logged)
    assert len(lines) == 1 and why in lines[0], lines
    await minutes(world, 2)
    assert len(outside.requests) > told
    assert said(logged)[1:] == ["all is well, the dead-man ping is sent again"]


@pytest.mark.parametrize(
    ("behaviour", "status", "why"),
    [
        (Behaviour.ANSWER, 404, "answered 404"),
        (Behaviour.ANSWER, 302, "answered 302"),
        (Behaviour.SILENCE, 200, "no answer within 8 s"),
        (Behaviour.RESET, 200, "no answer: "),
        (Behaviour.GARBAGE, 200, "no answer: "),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_ping_that_fails_does_no_harm_and_is_told_once(
    world: World,
    outside: StandIn,
    logged: list[LogEvent],
    behaviour: Behaviour,
    status: int,
    why: str,
) -> None:
    async def answer(request: Request) -> Answer:
        return Answer(status)

    outside.answer = answer
    outside.behave(behaviour)
    if behaviour is Behaviour.SILENCE:
        daemon: Any = world.daemons[0]
        for number in range(3):
            while not daemon._asides[0].under_way:
                await world.advance(5)
            await outside.arrived(number + 1)
            await world.advance(10)
            await over(world)
    else:
        await minutes(world, 3)
    await world.notify()
    await world.advance(5, step=1)
    assert world.messages() == [("page", "Anna", "delivered")]
    assert (await pings(world)).keys() == {"failed"}
    assert len(outside.requests) >= 3
    lines = said(logged)
    assert len(lines) == 1 and why in lines[0] and "secret" not in lines[0], lines
    assert (await world.request("GET", "/readyz")).status == 200
    outside.behave(Behaviour.ANSWER)
    status = 200
    await minutes(world, 1)
    assert said(logged)[1:] == ["the dead-man ping gets through again"]


@pytest_twisted.ensureDeferred
async def test_a_ping_that_hangs_does_not_hold_up_the_end(world: World, outside: StandIn) -> None:
    outside.behave(Behaviour.SILENCE)
    await world.advance(10)
    await outside.arrived(1)
    began = reactor.seconds()
    await world.stop_daemon()
    assert reactor.seconds() - began < 2


@pytest_twisted.ensureDeferred
async def test_without_a_sender_nobody_is_told_that_all_is_well(
    database_url: str, outside: StandIn, logged: list[LogEvent]
) -> None:
    world = World(database_url)
    try:
        await world.start(deadman={"url": outside.url}, senders={})
        await minutes(world, 2)
        assert outside.requests == []
        assert "no sender is configured" in said(logged)[0]
    finally:
        await world.stop()
