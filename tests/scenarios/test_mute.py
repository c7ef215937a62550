"""Nothing can be delivered: everybody is told by the way that is left, once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted
from twisted.logger import LogEvent, formatEvent

from tests.scenarios.script import Script
from tests.world import ANNA, BOB, CLEO, World


@pytest_twisted.async_yield_fixture()
async def world(database_url: str) -> AsyncIterator[World]:
    """SMS by the gateway; mail, which Bob and Cleo have beside it, by the script."""
    made = World(database_url)
    mail = Script(["mail"])
    made.plugins.append(mail)
    made.more_senders["script"] = {}
    made.mail = mail  # type: ignore[attr-defined]
    await made.start()
    made.sql(
        "INSERT INTO contact (tenant_id, person_id, method, address, position, verified_at)"
        " SELECT tenant_id, id, 'mail', name || '@example.com', 2, hotpotato_now()"
        "   FROM person WHERE name <> 'Anna'"
    )
    yield made
    await made.stop()


def told(world: World) -> list[str]:
    """Who was told by mail that nothing can be delivered."""
    mail: Script = world.mail  # type: ignore[attr-defined]
    return sorted(
        message.address for message in mail.sent if "nothing could be delivered" in message.text
    )


def lines(logged: list[LogEvent]) -> list[str]:
    """What the log says of it."""
    return [line for event in logged if "deliver" in (line := formatEvent(event))]


def undelivered(world: World) -> float | None:
    """Since how long it is an alarm, as the daemon says."""
    seconds: float | None = world.daemons[-1].facts().undelivered
    return seconds


async def metric(world: World) -> float:
    """The seconds that the metrics name."""
    text = (await world.request("GET", "/metrics")).body.decode()
    (line,) = [line for line in text.splitlines() if 'what="undelivered_seconds"' in line]
    return float(line.split()[1])


async def without_mail(world: World) -> None:
    """Leave nobody a second contact, so that no page finds another way by itself."""
    world.sql("UPDATE contact SET removed_at = hotpotato_now() WHERE method = 'mail'")


@pytest_twisted.ensureDeferred
async def test_everybody_who_can_be_told_another_way_is_told_once(
    world: World, logged: list[LogEvent]
) -> None:
    world.sql("UPDATE contact SET stopped_at = hotpotato_now() WHERE method = 'mail'")
    world.gateway.misbehave("503")
    await world.notify()
    await world.advance(280, step=10)
    assert undelivered(world) is None and 200 < await metric(world) < 300
    world.sql("UPDATE contact SET stopped_at = NULL WHERE method = 'mail'")
    await world.advance(60, step=10)
    assert told(world) == ["Bob@example.com", "Cleo@example.com"]
    seconds = undelivered(world)
    assert seconds is not None and seconds >= 300
    reasons = await world.daemons[0]._unwell()
    assert any("nothing could be delivered" in why for why in reasons), "no dead-man ping is sent"
    assert [line for line in lines(logged) if "by modica; 2 people" in line] != []
    notified = world.sql("SELECT hostname, output FROM notification WHERE state = 'UNDELIVERED'")
    assert len(notified) == 1 and "modica" in notified[0][1]
    assert len([line for line in world.story() if line.startswith("Hot Potato: nothing")]) == 1
    world.sql("UPDATE contact SET stopped_at = hotpotato_now() WHERE method = 'mail'")
    await world.advance(900, step=15)
    assert len(told(world)) == 2, "told once, and that mail was taken ends nothing"
    assert undelivered(world) is not None
    world.gateway.behave()
    await world.advance(300, step=10)
    assert undelivered(world) is None and await metric(world) == 0
    assert [line for line in lines(logged) if line == "what is due can be delivered again"] != []
    assert len([line for line in world.story() if "can be delivered again, after" in line]) == 1


@pytest_twisted.ensureDeferred
async def test_a_second_outage_is_told_again(world: World) -> None:
    await without_mail(world)
    for number in (1, 2):
        world.gateway.misbehave("503")
        await world.notify(hostname=f"db{number}")
        await world.advance(400, step=10)
        assert len(world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")) == number
        world.gateway.behave()
        await world.advance(300, step=10)
        assert undelivered(world) is None


@pytest_twisted.ensureDeferred
async def test_a_provider_that_refuses_everything_is_one_that_delivers_nothing(
    world: World,
) -> None:
    """Nothing waits then: each message fails at once, and the alert is paged again and again."""
    await without_mail(world)
    world.gateway.misbehave("400")
    await world.notify()
    await world.advance(900, step=10)
    assert undelivered(world) is not None
    assert len(world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")) == 1


@pytest_twisted.ensureDeferred
async def test_without_another_sender_it_is_still_recorded_and_said(
    world: World, logged: list[LogEvent]
) -> None:
    await without_mail(world)
    world.gateway.misbehave("503")
    await world.notify()
    await world.advance(400, step=10)
    assert any("by modica; no people are told" in line for line in lines(logged))
    assert undelivered(world) is not None
    assert told(world) == []


@pytest_twisted.ensureDeferred
async def test_one_message_that_is_refused_in_a_quiet_night_is_no_alarm(world: World) -> None:
    await without_mail(world)
    world.gateway.misbehave("400")
    await world.notify(event="CUSTOM")
    await world.settle()
    world.gateway.behave()
    await world.advance(1200, step=10)
    assert not world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")


@pytest_twisted.ensureDeferred
async def test_a_bad_number_is_to_blame_itself_once_others_are_reached(world: World) -> None:
    """Anna's is tried in vain for an hour. At first it looks as if nothing could be delivered."""
    await without_mail(world)
    world.gateway.misbehave("503", number=ANNA)
    await world.notify()
    await world.advance(3600, step=20)
    assert world.texts(BOB), "he was paged when she could not be"
    assert world.sql("SELECT id FROM message WHERE due_at IS NOT NULL"), "hers is still to be sent"
    assert len(world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")) == 1
    assert undelivered(world) is None


@pytest_twisted.ensureDeferred
async def test_what_no_sender_serves_is_not_held_against_those_there_are(world: World) -> None:
    world.sql("UPDATE contact SET method = 'pigeon', address = 'loft 3' WHERE address = %s", ANNA)
    await world.notify()
    await world.advance(1200, step=10)
    assert ("page", "Anna", "queued") in world.messages()
    assert not world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")


@pytest_twisted.ensureDeferred
async def test_our_own_outage_is_not_held_against_the_senders(world: World) -> None:
    """A message waited when everything stopped; half an hour later nobody had tried in vain."""
    await without_mail(world)
    world.gateway.misbehave("503")
    await world.notify()
    await world.advance(60, step=10)
    world.freeze()
    await world.advance(1800, step=600)
    world.gateway.behave()
    world.thaw()
    await world.advance(300, step=10)
    assert not world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")


@pytest_twisted.ensureDeferred
async def test_two_daemons_tell_it_once(world: World) -> None:
    await without_mail(world)
    await world.start_daemon()
    world.gateway.misbehave("503")
    await world.notify()
    await world.advance(500, step=10)
    assert len(world.sql("SELECT id FROM notification WHERE state = 'UNDELIVERED'")) == 1
    assert [daemon.facts().undelivered is not None for daemon in world.daemons] == [True, True]


@pytest_twisted.ensureDeferred
async def test_a_sender_of_the_same_method_that_was_not_tried_is_the_one_that_is_left(
    database_url: str,
) -> None:
    """What is said goes past the one that fails, which it would be for first."""
    world, second = World(database_url), Script()
    world.plugins.append(second)
    world.more_senders["script"] = {}
    try:
        await world.start()
        world.gateway.misbehave("503")
        await world.notify()
        world.sql("UPDATE message SET failed_senders = '{script}'")
        await world.advance(15, step=5)
        world.sql(
            "UPDATE installation SET undelivered_since = hotpotato_now() - interval '299 s',"
            " undelivered_seen_at = hotpotato_now()"
        )
        await world.advance(20, step=5)
        words = "nothing could be delivered for 5 minutes (modica)"
        told = sorted(message.address for message in second.sent if words in message.text)
        assert told == [ANNA, BOB, CLEO]
    finally:
        await world.stop()
