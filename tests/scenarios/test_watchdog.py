"""Servers that fall silent, and Hot Potato's honesty about its own absence."""

from __future__ import annotations

import pytest_twisted

from tests.world import ANNA, World


async def beats(world: World, count: int, every: float = 60.0, key: str | None = None) -> None:
    """Heartbeats, and the time between them."""
    for _ in range(count):
        await world.heartbeat(key)
        await world.advance(every)


def silent(world: World) -> list[str]:
    """The pages that somebody is silent, STILL ones aside."""
    return [text for text in world.texts(ANNA) if text.startswith("SILENT")]


@pytest_twisted.ensureDeferred
async def test_a_server_is_silent_after_its_interval_times_the_missed_and_not_sooner(
    world: World,
) -> None:
    """60 s and three missed: 180 s after the last heartbeat, and one page."""
    await beats(world, 5)
    await world.heartbeat()
    await world.advance(179.5, step=0.5)
    assert silent(world) == []
    await world.advance(5)
    (text,) = silent(world)
    assert text.startswith("SILENT icinga1: no heartbeat for 00:03:0")
    assert "expected every 00:01:00" in text
    await world.advance(500)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_a_silence_escalates_like_any_other_problem(world: World) -> None:
    await world.heartbeat()
    await world.advance(185)
    await world.advance(600, step=10)
    assert world.texts(ANNA)[1].startswith("STILL SILENT icinga1")
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")


@pytest_twisted.ensureDeferred
async def test_the_first_heartbeat_ends_a_silence_and_says_how_long_it_was(world: World) -> None:
    await world.heartbeat()
    await world.advance(1000)
    world.phone.forget()
    await world.heartbeat()
    await world.settle()
    (text,) = world.texts()
    assert text.startswith("OK icinga1: heard again after 00:16:40 of silence")
    assert world.alert() == ("resolved", None)
    await world.advance(100)
    assert len(world.texts()) == 1
    await world.advance(100)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_a_server_that_was_never_heard_is_not_judged(world: World) -> None:
    await world.advance(3600, step=10)
    assert world.texts() == []


@pytest_twisted.ensureDeferred
async def test_a_disabled_server_is_not_judged(world: World) -> None:
    await world.heartbeat()
    world.sql("UPDATE server SET disabled_at = hotpotato_now()")
    await world.advance(600, step=10)
    assert world.texts() == []


@pytest_twisted.ensureDeferred
async def test_disabling_a_silent_server_ends_its_alert(world: World) -> None:
    await world.heartbeat()
    await world.advance(200)
    world.sql("UPDATE server SET disabled_at = hotpotato_now()")
    await world.advance(10)
    assert world.texts(ANNA)[1].startswith("OK icinga1: no longer watched")
    assert world.alert() == ("resolved", None)


@pytest_twisted.ensureDeferred
async def test_several_silent_in_one_look_are_one_page_that_wonders(world: World) -> None:
    """And its end comes when the last of them is heard again."""
    keys = {name: await world.add_server_now(name) for name in ("icinga2", "nagios")}
    await world.heartbeat()
    for key in keys.values():
        await world.heartbeat(key)
    await world.advance(200)
    (text,) = silent(world)
    assert text.startswith(
        "SILENT 3 monitoring servers: no heartbeat from icinga1, icinga2, nagios."
        " Perhaps Hot Potato itself is cut off"
    )
    world.phone.forget()
    await world.heartbeat()
    await world.heartbeat(keys["nagios"])
    await world.advance(10)
    assert world.texts() == []
    assert any(
        line.startswith("icinga1 is heard again") and line.endswith("its page are still silent")
        for line in world.story()
    )
    await world.heartbeat(keys["icinga2"])
    await world.settle()
    (text,) = world.texts()
    assert text.startswith("OK icinga2: heard again after ")


@pytest_twisted.ensureDeferred
async def test_who_falls_silent_again_before_the_others_are_back_has_a_page_of_its_own(
    world: World,
) -> None:
    key = await world.add_server_now("nagios")
    await world.heartbeat()
    await world.heartbeat(key)
    await world.advance(200)
    await world.heartbeat()
    await world.advance(200)
    assert [text.split(":")[0] for text in silent(world)] == [
        "SILENT 2 monitoring servers",
        "SILENT icinga1",
    ]


@pytest_twisted.ensureDeferred
async def test_another_tenants_servers_are_not_named(world: World) -> None:
    await world.heartbeat()
    world.sql("INSERT INTO tenant (name, timezone) VALUES ('other', 'UTC')")
    world.tenant_id = world.sql("SELECT id FROM tenant WHERE name = 'other'")[0][0]
    await world.heartbeat(await world.add_server_now("theirs"))
    await world.advance(200)
    (text,) = silent(world)
    assert text.startswith("SILENT icinga1: ")


@pytest_twisted.ensureDeferred
async def test_a_real_host_of_the_servers_name_neither_joins_nor_ends_the_silence(
    world: World,
) -> None:
    await world.heartbeat()
    await world.advance(200)
    await world.notify("DOWN", hostname="icinga1", service_name=None)
    await world.notify("UP", hostname="icinga1", service_name=None)
    await world.settle()
    assert world.sql("SELECT status FROM alert WHERE state = 'SILENT'") == [("triggered",)]


# --- our own absence


@pytest_twisted.ensureDeferred
async def test_an_hour_without_any_daemon_raises_nothing_and_postpones_by_the_hour(
    world: World,
) -> None:
    """Heard for the last time 100 s before: 80 s of patience are left after it."""
    await world.heartbeat()
    await world.advance(100)
    await world.stop_daemon()
    await world.advance(3600, step=3600)
    await world.start_daemon()
    await world.advance(79, step=1)
    assert silent(world) == []
    await world.advance(6, step=1)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_after_our_absence_a_server_that_lives_is_never_called_silent(world: World) -> None:
    await beats(world, 3)
    await world.stop_daemon()
    await world.advance(3600, step=3600)
    await world.start_daemon()
    await world.advance(55)
    await beats(world, 5)
    assert world.texts() == []


@pytest_twisted.ensureDeferred
async def test_a_server_that_fell_silent_before_our_absence_stays_so(world: World) -> None:
    await world.heartbeat()
    await world.advance(200)
    await world.stop_daemon()
    await world.advance(300, step=300)
    await world.start_daemon()
    await world.advance(60)
    assert len(silent(world)) == 1
    await world.heartbeat()
    await world.settle()
    assert world.texts(ANNA)[-1].startswith("OK icinga1: heard again after 00:09:20")


@pytest_twisted.ensureDeferred
async def test_the_absence_of_the_database_is_our_own(world: World) -> None:
    await world.heartbeat()
    await world.advance(100)
    await world.database_away()
    await world.advance(600)
    await world.database_back()
    await world.advance(79, step=1)
    assert silent(world) == []
    await world.advance(12, step=1)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_a_suspended_machine_is_our_absence_too(world: World) -> None:
    await world.heartbeat()
    await world.advance(100)
    world.freeze()
    await world.advance(3600, step=3600)
    world.thaw()
    await world.advance(79, step=1)
    assert silent(world) == []
    await world.advance(6, step=1)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_restarts_in_a_row_postpone_nothing(world: World) -> None:
    """A daemon that dies every eight seconds looks each time it starts."""
    await world.heartbeat()
    for _ in range(23):
        await world.crash()
        await world.advance(7, step=7)
        await world.start_daemon()
        await world.advance(1, step=1)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_one_of_two_daemons_is_enough_to_be_there(world: World) -> None:
    """While one is frozen the other looks, and nothing is postponed."""
    await world.start_daemon()
    await world.heartbeat()
    await world.advance(60)
    world.freeze(0)
    await world.advance(100)
    world.thaw(0)
    await world.advance(25)
    assert len(silent(world)) == 1


@pytest_twisted.ensureDeferred
async def test_two_daemons_tell_of_a_silence_once_and_of_its_end_once(world: World) -> None:
    await world.start_daemon()
    await world.heartbeat()
    await world.advance(300)
    assert len(silent(world)) == 1
    await world.heartbeat()
    await world.advance(10)
    assert len(world.texts(ANNA)) == 2
    assert world.sql("SELECT count(*) FROM notification") == [(2,)]


@pytest_twisted.ensureDeferred
async def test_a_heartbeat_that_nobody_looked_at_in_time_ends_the_silence_all_the_same(
    world: World,
) -> None:
    """The daemon took it and died; the next one comes after the server would be overdue again."""
    await world.heartbeat()
    await world.advance(190, step=5)
    assert world.texts(ANNA)[0].startswith("SILENT icinga1")
    world.freeze()
    world.sql(
        "UPDATE server SET last_heartbeat_at = hotpotato_now(),"
        " silent_after = hotpotato_now() + heartbeat_interval * missed"
    )
    await world.advance(300, step=300)
    world.thaw()
    await world.advance(10, step=5)
    assert world.texts(ANNA)[1].startswith("OK icinga1")
    assert len(world.texts(ANNA)) == 2, "and our own absence is nobody's silence"
