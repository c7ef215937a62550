"""Daemons that die, freeze, or lose the database while they send; and two that share the work."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from hotpotato.interfaces import Accepted, Rejected
from tests.scenarios.script import Script, hung
from tests.world import ANNA, World


async def taken_over(world: World) -> float:
    """Let time pass until a second attempt is made, and return when that was, in seconds."""
    for seconds in range(60):
        if len(world.attempts()) == 2:
            return seconds
        await world.advance(1, step=1)
    raise AssertionError(f"nobody took over: {world.story()}")


# --- a daemon dies


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["hang-before", "hang-after"])
async def test_what_a_dead_daemon_was_sending_is_sent_by_another_within_half_a_minute(
    world: World, how: str
) -> None:
    """At most one duplicate: whether the first got through can't be known without a receipt."""
    world.gateway.misbehave(how, times=1)
    world.gateway.misbehave("never")
    await world.notify()
    await world.held()
    await world.start_daemon()
    await world.crash(0)
    assert 18 <= await taken_over(world) <= 30
    world.hanging = 0
    await world.advance(200, step=10)
    assert len(world.texts()) == (2 if how == "hang-after" else 1)
    assert world.attempts() == [("unknown", "underway"), ("accepted", "underway")]
    assert world.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
async def test_a_receipt_saves_the_duplicate_after_a_death(world: World) -> None:
    """The gateway had taken it, and its receipts come to whoever is there."""
    world.gateway.misbehave("hang-after", times=1)
    await world.notify()
    await world.held()
    await world.start_daemon()
    await world.crash(0)
    await world.advance(200, step=5)
    assert len(world.texts()) == 1
    assert world.messages() == [("page", "Anna", "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_comes_back_takes_over_what_it_left(world: World) -> None:
    world.gateway.misbehave("hang-before", times=1)
    await world.notify()
    await world.held()
    await world.crash()
    await world.advance(5)
    await world.start_daemon()
    assert 10 <= await taken_over(world) <= 25
    world.hanging = 0
    await world.settle()
    assert len(world.texts()) == 1
    assert any("its process is gone, the outcome is unknown" in line for line in world.story())


@pytest_twisted.ensureDeferred
async def test_what_was_taken_in_before_a_death_is_sent_after_it(world: World) -> None:
    """It died after the 201 and before anything else."""
    await world.without_pace()
    world.freeze()
    for number in range(20):
        await world.notify(hostname=f"db{number}")
    await world.crash()
    assert world.texts() == []
    await world.start_daemon()
    await world.settle()
    assert len(world.texts(ANNA)) == 20


@pytest_twisted.ensureDeferred
async def test_a_reply_that_was_taken_in_before_a_death_counts_after_it(world: World) -> None:
    await world.notify()
    await world.settle()
    world.freeze()
    assert await world.gateway.reply(ANNA, f"ack {world.code()}") == 200
    await world.crash()
    await world.start_daemon()
    await world.settle()
    assert world.alert() == ("acknowledged", "Anna")


# --- a daemon is slow, or frozen


@pytest_twisted.ensureDeferred
async def test_the_lease_of_a_slow_attempt_is_renewed_and_nobody_else_makes_it(
    scripted: World, script: Script
) -> None:
    """A minute and a half, nine leases long."""
    slow: Deferred[object] = Deferred()
    script.then = lambda message: slow
    await scripted.stop_daemon()
    for _ in range(2):
        await scripted.start_daemon(senders={"script": {"deadline": 100}})
    scripted.hanging = 1
    await scripted.notify()
    await scripted.advance(90, step=2)
    assert len(script.sent) == 1
    slow.callback(Accepted("1"))
    await scripted.settle()
    assert scripted.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
async def test_who_lost_the_lease_while_frozen_changes_nothing_wrongly(
    scripted: World, script: Script, outcome: str
) -> None:
    """The first daemon wakes up when the second has sent it long ago."""
    slow = await hung(scripted, script)
    await scripted.start_daemon(senders={"script": {}})
    scripted.freeze(0)
    scripted.hanging = 0
    script.then = lambda message: script.accept()
    assert 18 <= await taken_over(scripted) <= 30
    slow.callback(Accepted("late") if outcome == "accepted" else Rejected("late"))
    await scripted.advance(60, step=5)
    scripted.thaw(0)
    await scripted.advance(60, step=5)
    assert len(script.sent) == 2
    assert scripted.messages() == [("page", "Anna", "sent")]
    first = "accepted" if outcome == "accepted" else "unknown"
    assert scripted.attempts() == [(first, "underway"), ("accepted", "underway")]
    assert any(line.startswith(f"attempt 1: {outcome}") for line in scripted.story())


@pytest_twisted.ensureDeferred
async def test_a_late_acceptance_saves_the_second_attempt(scripted: World, script: Script) -> None:
    """It comes in the ten seconds in which a receipt is waited for."""
    slow = await hung(scripted, script)
    await scripted.start_daemon(senders={"script": {}})
    scripted.freeze(0)
    await scripted.advance(14, step=1)
    assert scripted.attempts() == [("unknown", "underway")]
    scripted.thaw(0)
    slow.callback(Accepted("late"))
    scripted.hanging = 0
    await scripted.advance(60, step=5)
    assert len(script.sent) == 1
    assert scripted.messages() == [("page", "Anna", "sent")]


# --- the database goes away


@pytest_twisted.ensureDeferred
async def test_a_short_absence_of_the_database_costs_no_duplicate(
    scripted: World, script: Script
) -> None:
    """The provider's answer comes while there is nowhere to write it down."""
    slow: Deferred[object] = Deferred()
    script.then = lambda message: slow
    scripted.hanging = 1
    await scripted.notify()
    await scripted.advance(1, step=1)
    await scripted.database_away()
    slow.callback(Accepted("1"))
    await scripted.advance(15, step=1)
    await scripted.database_back()
    await scripted.advance(2, step=1)
    scripted.hanging = 0
    await scripted.advance(200, step=5)
    assert len(script.sent) == 1
    assert scripted.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
async def test_every_duty_goes_on_after_the_database_was_away(world: World) -> None:
    """Escalation, dispatch, replies and the watchdog, which had all begun before."""
    await world.heartbeat()
    await world.notify(hostname="before")
    await world.settle()
    await world.database_away()
    await world.advance(30, step=1)
    await world.database_back()
    await world.advance(30, step=1)
    await world.notify(hostname="after")
    await world.settle()
    assert len(world.texts(ANNA)) == 2
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    await world.advance(300, step=5)
    assert any(text.startswith("SILENT icinga1") for text in world.texts(ANNA))
    response = await world.request("GET", "/readyz")
    assert response.status == 200


@pytest_twisted.ensureDeferred
async def test_a_daemon_without_its_database_answers_503_and_keeps_what_it_promised(
    world: World,
) -> None:
    await world.database_away()
    response = await world.post(
        "/api/servers/v2/notifications/send", {"hostname": "db1", "state": "CRITICAL"}
    )
    assert response.status == 503
    assert "retry-after" in response.headers
    await world.database_back()
    await world.notify()
    await world.settle()
    assert len(world.texts()) == 1


# --- two daemons


@pytest_twisted.ensureDeferred
async def test_two_daemons_share_the_work_and_send_nothing_twice(world: World) -> None:
    await world.without_pace()
    await world.start_daemon()
    for number in range(60):
        await world.notify(hostname=f"db{number}")
    await world.advance(3, step=1)
    assert len(world.texts(ANNA)) == 60
    assert len(set(world.texts(ANNA))) == 60
    await world.advance(300, step=60)
    assert len(world.texts(ANNA)) == 120


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_stops_in_order_leaves_nothing_to_take_over(world: World) -> None:
    """What is being sent is finished first, and what is not taken in is the next one's."""
    await world.without_pace()
    world.gateway.misbehave("slow", seconds=0.5)
    await world.start_daemon()
    for number in range(10):
        await world.notify(hostname=f"db{number}")
    await world.stop_daemon(0)
    world.gateway.behave()
    await world.advance(600, step=5)
    assert len({text.removeprefix("STILL ") for text in world.texts(ANNA)}) == 10
    assert ("unknown", "underway") not in world.attempts()


@pytest_twisted.ensureDeferred
async def test_a_daemon_whose_sender_hangs_stops_all_the_same(
    scripted: World, script: Script
) -> None:
    """What it was sending is left to the next one."""
    await hung(scripted, script)
    await scripted.stop_daemon()
    scripted.hanging = 0
    script.then = lambda message: script.accept()
    await scripted.start_daemon(senders={"script": {}})
    assert await taken_over(scripted) <= 30
