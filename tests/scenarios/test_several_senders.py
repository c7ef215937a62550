"""Two ways to the same phones: what one fails the other sends; one that is sick is passed over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent

from hotpotato.interfaces import Accepted, FailedForNow, OutgoingMessage, Rejected, SendOutcome
from tests.scenarios.script import Script
from tests.world import World


@pytest_twisted.async_yield_fixture()
async def world(database_url: str, script: Script) -> AsyncIterator[World]:
    """Modica first, then the script's sender."""
    made = World(database_url)
    made.plugins.append(script)
    made.more_senders["script"] = {}
    await made.start()
    yield made
    await made.stop()


def states(world: World) -> list[tuple[str, str]]:
    """Every attempt, by its sender, and what became of it."""
    return [
        (sender, outcome)
        for sender, outcome in world.sql("SELECT sender, outcome FROM attempt ORDER BY id")
    ]


def sick(world: World) -> list[str]:
    """The senders that are sick."""
    rows = world.sql("SELECT name FROM sender WHERE sick_since IS NOT NULL ORDER BY name")
    return [name for (name,) in rows]


@pytest_twisted.ensureDeferred
async def test_what_the_first_sender_refuses_the_second_sends_at_once(
    world: World, script: Script
) -> None:
    world.gateway.misbehave("400")
    await world.notify()
    await world.settle()
    assert states(world) == [("modica", "rejected"), ("script", "accepted")]
    assert len(script.texts) == 1
    assert any("script is tried now" in sentence for sentence in world.story())
    assert world.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["rejected", "failed", "dead", "expired"])
async def test_what_the_first_could_not_deliver_the_second_sends(
    world: World, script: Script, how: str
) -> None:
    world.gateway.misbehave(how)
    await world.notify()
    await world.advance(3, step=1)
    assert states(world) == [("modica", "accepted"), ("script", "accepted")]
    assert len(script.texts) == 1
    assert world.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
async def test_only_when_both_have_failed_somebody_else_is_paged(
    world: World, script: Script
) -> None:
    def refuse(message: OutgoingMessage) -> Deferred[SendOutcome]:
        return succeed(Rejected("no such number"))

    script.then = refuse
    world.gateway.misbehave("400")
    await world.notify()
    await world.settle()
    assert states(world)[:2] == [("modica", "rejected"), ("script", "rejected")]
    assert world.messages()[0] == ("page", "Anna", "failed")
    assert {person for _, person, _ in world.messages()} == {"Anna", "Bob", "Cleo"}


@pytest_twisted.ensureDeferred
async def test_a_sender_that_fails_five_times_is_passed_over_until_a_probe_gets_through(
    world: World, script: Script, logged: list[LogEvent]
) -> None:
    """The provider is down for minutes: the first page waits, the later ones go the other way."""
    world.gateway.misbehave("503")
    await world.notify(hostname="db1")
    await world.advance(40, step=1)
    assert sick(world) == ["modica"]
    assert len(script.texts) == 1, "what waited goes the other way"
    await world.notify(hostname="db2")
    await world.settle()
    assert len(script.texts) == 2
    assert states(world)[-1] == ("script", "accepted")
    world.gateway.behave()
    await world.advance(120, step=5)
    await world.notify(hostname="db3")
    await world.advance(15, step=5)
    assert sick(world) == []
    assert "db3/Postgres" in world.texts()[-1]
    errors = [event for event in logged if event["log_level"].name == "error"]
    assert [event["sender"] for event in errors] == ["modica"]
    for event in errors:
        logged.remove(event)


@pytest_twisted.ensureDeferred
async def test_a_sick_sender_without_another_is_still_tried(
    world: World, script: Script, logged: list[LogEvent]
) -> None:
    """Both are down: nothing is dropped, and both come back."""

    def fail(message: OutgoingMessage) -> Deferred[SendOutcome]:
        return succeed(FailedForNow("down"))

    script.then = fail
    world.gateway.misbehave("503")
    await world.notify()
    await world.advance(1500, step=15)
    assert sick(world) == ["modica", "script"]
    script.then = lambda message: succeed(Accepted("id"))
    world.gateway.behave()
    await world.advance(240, step=15)
    assert ("page", "Anna", "delivered") in world.messages() or len(script.texts) > 5
    assert any(outcome == "accepted" for _, outcome in states(world))
    for event in [event for event in logged if event["log_level"].name == "error"]:
        logged.remove(event)


@pytest_twisted.ensureDeferred
async def test_a_sender_whose_receipts_stop_is_sick_too(
    world: World, script: Script, logged: list[LogEvent]
) -> None:
    """Receipts came until today; for five messages in a row there is none."""
    await world.notify(hostname="db0")
    await world.advance(10, step=1)
    world.gateway.misbehave("never")
    for number in range(1, 7):
        await world.notify(hostname=f"db{number}")
        await world.advance(61, step=5)
    await world.advance(70, step=5)
    assert sick(world) == ["modica"]
    world.gateway.behave()
    await world.advance(180, step=5)
    await world.notify(hostname="db9")
    await world.advance(30, step=1)
    assert sick(world) == []
    for event in [event for event in logged if event["log_level"].name == "error"]:
        logged.remove(event)


@pytest_twisted.ensureDeferred
async def test_a_probe_keeps_nothing_else_waiting(world: World, script: Script) -> None:
    """One message tries the sick sender; the other three go the other way in the same moment."""
    await world.without_pace()
    world.sql(
        "INSERT INTO sender (name, sick_since, why, probe_at)"
        " VALUES ('modica', hotpotato_now(), 'the last 5 attempts failed', hotpotato_now())"
        " ON CONFLICT (name) DO UPDATE SET sick_since = excluded.sick_since, why = excluded.why,"
        "                                  probe_at = excluded.probe_at"
    )
    world.gateway.misbehave("503")
    world.freeze()
    for number in range(4):
        await world.notify(hostname=f"db{number}")
    world.thaw()
    await world.advance(3, step=1)
    assert [sender for sender, _ in states(world)].count("modica") == 1
    assert len(script.texts) == 4


@pytest_twisted.ensureDeferred
async def test_a_message_that_every_sender_has_failed_is_given_up(
    world: World, script: Script
) -> None:
    """Also where the configuration has changed since: nobody would ever choose it again."""
    script.then = lambda message: succeed(FailedForNow("down"))
    world.gateway.misbehave("400")
    await world.notify()
    await world.settle()
    world.sql("UPDATE message SET failed_senders = '{modica,script}'")
    await world.advance(5, step=1)
    assert world.messages()[0] == ("page", "Anna", "failed")
    assert "no sender is left to try" in world.story()
