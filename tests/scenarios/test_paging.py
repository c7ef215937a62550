"""A problem, whoever should act on it, and its end."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World


@pytest_twisted.ensureDeferred
async def test_a_problem_reaches_the_person_on_call_and_its_end_too(world: World) -> None:
    """CRITICAL and OK, with receipts, and nobody else hears of it."""
    data = await world.notify("CRITICAL", output="connection refused")
    await world.settle()
    (text,) = world.texts()
    assert text.startswith("CRITICAL db1/Postgres: connection refused\nReply ack ")
    await world.advance(2, step=1)
    response = await world.request(
        "GET",
        f"/api/servers/v2/notifications/get/{data['id']}",
        headers={"Authorization": f"Apikey {world.key}"},
    )
    assert response.data["status"] == "delivered"
    await world.notify("OK", output="fine again")
    await world.settle()
    assert world.texts(ANNA)[1].startswith("OK db1/Postgres: fine again")
    assert world.texts(BOB) == world.texts(CLEO) == []


@pytest_twisted.ensureDeferred
async def test_the_first_attempt_is_made_within_a_second(world: World) -> None:
    """Of the world's time, it is made at once; what a real clock adds, the benchmarks measure."""
    await world.notify()
    await world.settle()
    ((waited,),) = world.sql(
        "SELECT extract(epoch FROM attempt.started_at - notification.received_at)::float"
        "  FROM attempt, notification"
    )
    assert waited <= 1.0


@pytest_twisted.ensureDeferred
async def test_every_notification_of_a_problem_pages(world: World) -> None:
    """The monitoring program repeats itself, and changes its mind."""
    for state in ("WARNING", "CRITICAL", "CRITICAL"):
        await world.notify(state)
        await world.advance(60, step=30)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["WARNING", "CRITICAL", "CRITICAL"]
    assert world.sql("SELECT count(*) FROM alert") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_two_problems_are_two_alerts_with_codes_of_their_own(world: World) -> None:
    await world.notify(service_name="Postgres")
    await world.notify(service_name="Disk")
    await world.notify(service_name=None, state="DOWN")
    await world.settle()
    codes = {text.split()[-1] for text in world.texts(ANNA)}
    assert len(codes) == 3
    await world.reply(ANNA, f"ack {world.code()}")
    statuses = world.sql("SELECT status FROM alert ORDER BY status")
    assert statuses == [("acknowledged",), ("triggered",), ("triggered",)]


@pytest_twisted.ensureDeferred
async def test_without_an_answer_it_pages_again_every_five_minutes(world: World) -> None:
    await world.notify()
    await world.advance(299, step=60)
    assert len(world.texts()) == 1
    await world.advance(1)
    assert len(world.texts()) == 2
    assert world.texts(ANNA)[1].startswith("STILL CRITICAL db1/Postgres")
    await world.advance(899, step=60)
    assert len(world.texts(ANNA)) == len(world.texts()) == 4


@pytest_twisted.ensureDeferred
async def test_an_acknowledgement_stops_the_pages_until_the_state_changes(world: World) -> None:
    await world.policy(acknowledged_for=0)
    await world.notify("WARNING")
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    world.phone.forget()
    await world.notify("WARNING", output="the same, said again")
    await world.notify("warning", output="and again")
    await world.advance(3600, step=60)
    assert world.texts() == []

    await world.notify("CRITICAL")
    await world.advance(300, step=60)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "STILL"]
    assert "joins an alert that was acknowledged in another state; open again" in "".join(
        world.story()
    )


@pytest_twisted.ensureDeferred
async def test_the_end_of_an_acknowledged_problem_is_told_too(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    await world.notify("OK")
    await world.settle()
    assert world.texts(ANNA)[-1].startswith("OK db1/Postgres")


@pytest_twisted.ensureDeferred
async def test_what_comes_back_after_its_end_is_a_new_alert(world: World) -> None:
    """With a code of its own, and no memory of who had the old one."""
    await world.notify()
    await world.settle()
    old = world.code()
    await world.reply(ANNA, f"ack {old}")
    await world.notify("OK")
    await world.notify("CRITICAL")
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert world.code() != old


@pytest_twisted.ensureDeferred
async def test_what_is_over_before_anybody_was_told_is_told_to_nobody(world: World) -> None:
    world.freeze()
    await world.notify("CRITICAL")
    await world.notify("OK")
    world.thaw()
    await world.advance(1200, step=60)
    assert world.texts() == []
    assert "it is over; nobody has to be told" in world.story()


@pytest_twisted.ensureDeferred
async def test_after_the_recovery_there_is_nothing_more(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.notify("OK")
    await world.advance(4 * 3600, step=300)
    await world.notify("OK")
    await world.advance(4 * 3600, step=300)
    assert [text.split()[0] for text in world.texts()] == ["CRITICAL", "OK"]


@pytest_twisted.ensureDeferred
async def test_everybody_who_was_told_of_it_is_told_of_its_end(world: World) -> None:
    """Anna had it first, then the pager went to Bob; Cleo never heard of it."""
    await world.notify()
    await world.settle()
    await world.put_on_call("Bob")
    await world.advance(300, step=60)
    await world.notify("OK")
    await world.settle()
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "OK"]
    assert [text.split()[0] for text in world.texts(BOB)] == ["CRITICAL", "STILL", "OK"]
    assert world.texts(CLEO) == []


# --- the end comes while a page is on its way


@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_a_page_that_is_just_being_sent(world: World) -> None:
    """Else «OK» could be on the phone first, and «CRITICAL» after it."""
    world.gateway.misbehave("slow", seconds=8, times=1)
    await world.notify("CRITICAL")
    await world.held()
    await world.notify("OK")
    await world.advance(4, step=1)
    assert world.texts() == []
    await world.advance(6, step=1)
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL", "OK"]
    world.hanging = 0
    await world.advance(1200, step=60)
    assert len(world.texts()) == 2


@pytest_twisted.ensureDeferred
async def test_who_was_not_told_after_all_is_not_told_of_the_end(world: World) -> None:
    """The page that was being sent is refused for now, and then there is no reason to repeat it."""
    world.gateway.misbehave("slow", seconds=8, times=1)
    world.gateway.misbehave("503", times=1)
    await world.notify("CRITICAL")
    await world.held()
    await world.notify("OK")
    await world.advance(10, step=1)
    world.hanging = 0
    await world.advance(1200, step=60)
    assert world.texts() == []
    assert world.messages() == [("page", "Anna", "cancelled")]
    assert "it is over; nobody has to be told" in world.story()


@pytest_twisted.ensureDeferred
async def test_who_may_have_been_told_is_told_of_the_end_and_not_paged_again(world: World) -> None:
    """The connection broke after the gateway had taken the page: its outcome is unknown."""
    world.gateway.misbehave("never")
    world.gateway.misbehave("reset-after", times=1)
    await world.notify("CRITICAL")
    await world.advance(3, step=1)
    await world.notify("OK")
    await world.advance(1200, step=60)
    assert [text.split()[0] for text in world.texts()] == ["CRITICAL", "OK"]
    assert world.messages() == [("page", "Anna", "cancelled"), ("recovery", "Anna", "sent")]


@pytest_twisted.ensureDeferred
async def test_a_page_that_waits_for_another_attempt_is_dropped_by_the_end(world: World) -> None:
    world.gateway.misbehave("503", times=1)
    await world.notify("CRITICAL")
    await world.settle()
    await world.notify("OK")
    await world.advance(1200, step=60)
    assert world.texts() == []
    assert world.messages() == [("page", "Anna", "cancelled")]
    assert "no longer wanted: the alert is resolved" in world.story()


@pytest_twisted.ensureDeferred
async def test_a_page_that_waits_for_another_attempt_is_dropped_when_acknowledged(
    world: World,
) -> None:
    world.gateway.misbehave("503", times=1)
    await world.notify("CRITICAL")
    await world.settle()
    await world.notify("CRITICAL", event="ACKNOWLEDGEMENT", author="Bob")
    await world.advance(1200, step=60)
    assert world.texts() == []
    assert world.messages() == [("page", "Anna", "cancelled")]


@pytest_twisted.ensureDeferred
async def test_who_was_reported_unreachable_is_not_told_of_the_end(world: World) -> None:
    """Anna's phone is off for good; Bob and Cleo were paged in her place."""
    world.gateway.misbehave("expired", number=ANNA)
    await world.notify()
    await world.advance(5, step=1)
    await world.notify("OK")
    await world.settle()
    assert [text.split()[0] for text in world.texts(BOB)] == ["CRITICAL", "OK"]
    assert [text.split()[0] for text in world.texts(ANNA)] == ["CRITICAL"]


# --- what the monitoring program calls it


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("event", ["PROBLEM", "RECOVERY", None])
async def test_a_problem_is_known_by_its_state(world: World, event: str | None) -> None:
    await world.notify("CRITICAL", event=event)
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert len(world.texts(ANNA)) == 1
    await world.notify("UP", event=event)
    await world.settle()
    assert world.alert() == ("resolved", None)
    assert len(world.texts(ANNA)) == 2


@pytest_twisted.ensureDeferred
async def test_a_recovery_without_an_alert_is_recorded_only(world: World) -> None:
    await world.notify("OK")
    await world.advance(60)
    assert world.texts() == []
    assert world.sql("SELECT count(*) FROM alert") == [(0,)]
    assert "OK came in from icinga1: no alert is open; recorded only" in world.story()
    assert not any("paged" in line for line in world.story())


@pytest_twisted.ensureDeferred
async def test_an_acknowledgement_in_the_monitoring_program_counts(world: World) -> None:
    await world.notify("CRITICAL")
    await world.settle()
    await world.notify("CRITICAL", event="ACKNOWLEDGEMENT", author="bob", comment="mine")
    await world.advance(3600, step=60)
    assert world.alert() == ("acknowledged", "bob in icinga1")
    assert world.texts()[1:] == ["bob in icinga1 has acknowledged CRITICAL db1/Postgres"]
    await world.notify("WARNING")
    await world.settle()
    assert world.texts(ANNA)[2].startswith("WARNING")


@pytest_twisted.ensureDeferred
async def test_an_acknowledgement_with_a_good_state_is_recorded_only(world: World) -> None:
    await world.notify("CRITICAL")
    await world.notify("OK", event="ACKNOWLEDGEMENT", author="bob")
    await world.advance(300, step=60)
    assert world.alert() == ("triggered", None)
    assert len(world.texts()) == 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("state", ["OK", "CRITICAL"])
async def test_a_custom_notification_is_told_once_and_changes_nothing(
    world: World, state: str
) -> None:
    await world.notify("WARNING")
    await world.settle()
    world.phone.forget()
    await world.notify(state, event="CUSTOM", author="bob", comment="I reboot it now")
    await world.advance(200, step=60)
    assert world.texts() == [f"CUSTOM db1/Postgres ({state}): I reboot it now (bob)"]
    assert world.alert() == ("triggered", None)
    assert world.messages()[-1] == ("announcement", "Anna", "delivered")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("state", ["OK", "CRITICAL"])
@pytest.mark.parametrize(
    "event", ["DOWNTIMESTART", "DOWNTIMEEND", "DOWNTIMECANCELLED", "DOWNTIMEREMOVED"]
)
async def test_downtimes_are_recorded_only(world: World, event: str, state: str) -> None:
    await world.notify("CRITICAL", event=event)
    await world.notify("WARNING")
    await world.settle()
    await world.notify(state, event=event)
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert len(world.texts()) == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "event", ["FLAPPINGSTART", "FLAPPINGEND", "FLAPPINGSTOP", "FLAPPINGDISABLED"]
)
async def test_flapping_resolves_in_a_good_state_since_no_recovery_follows(
    world: World, event: str
) -> None:
    await world.notify("WARNING")
    await world.notify("CRITICAL", event=event)
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert len(world.texts()) == 1
    await world.notify("OK", event=event)
    await world.settle()
    assert world.alert() == ("resolved", None)
    assert world.texts(ANNA)[1].startswith("OK db1/Postgres")


@pytest_twisted.ensureDeferred
async def test_what_is_late_changes_nothing(world: World) -> None:
    """A CRITICAL of an hour ago, out of a client's spool, and its OK."""
    await world.notify("CRITICAL", late=True)
    await world.notify("WARNING")
    await world.settle()
    await world.notify("OK", late=True)
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert len(world.texts()) == 1


@pytest_twisted.ensureDeferred
async def test_a_server_that_sends_nonsense_is_told_of_once_an_hour(world: World) -> None:
    """A broken template hides pages: the person on call hears of it, with the beginning of it."""
    for _ in range(3):
        response = await world.post("/api/servers/v2/notifications/send", b'{"hostname": db1}')
        assert response.status == 400
        await world.advance(60, step=30)
    (text,) = world.texts(ANNA)
    assert "UNREADABLE" in text
    assert "icinga1" in text
    assert '{"hostname": db1}' in text
    await world.advance(3600, step=60)
    await world.post("/api/servers/v2/notifications/send", b'{"hostname": db1}')
    await world.settle()
    assert len(world.texts()) == len(world.texts(ANNA)) == 2
