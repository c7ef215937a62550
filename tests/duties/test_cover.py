"""The daily warning of what is not covered, in virtual time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest_twisted
from twisted.logger import LogEvent, LogLevel, formatEvent

from hotpotato import rota
from hotpotato.rules.schedule import Layer, Rotation, Window
from hotpotato.store import people, schedules
from tests.world import ANNA, START, World

NINE = datetime(2026, 11, 23, 20, tzinfo=UTC)  # Tuesday, in Auckland
TO_NINE = (NINE - START).total_seconds()


def due(world: World, at: datetime = NINE) -> None:
    """Let cover be told in this world, from then on."""
    world.sql("UPDATE tenant SET cover_due_at = %s", at)


def heard(world: World) -> None:
    """Let the monitoring server have been heard of, and not be missed for years."""
    world.sql("UPDATE server SET last_heartbeat_at = %s, silent_after = '2090-01-01'", START)


async def evenings_left_open(world: World) -> None:
    window = Window(since=time(9), until=time(17))
    layer = Layer(
        name="days",
        rotation=Rotation(
            participants=(world.person("Anna"),),
            unit="days",
            first=date(2026, 11, 23),
            at=time(9),
            windows=(window,),
        ),
    )

    async def work(transaction: Any) -> None:
        (known,) = await schedules.find(transaction)
        await schedules.set_layers(
            transaction, known.tenant_id, known.id, [rota.stored_layer(layer)]
        )
        await rota.clear_on_call(transaction, known.tenant_id)

    await world.store(work)


def announced(world: World) -> list[str]:
    return [
        output
        for (output,) in world.sql(
            "SELECT output FROM notification WHERE state = 'UNCOVERED' ORDER BY id"
        )
    ]


@pytest_twisted.ensureDeferred
async def test_the_person_on_call_hears_at_nine_once_a_day_what_is_not_covered(
    world: World, logged: list[LogEvent]
) -> None:
    """Evenings are left open, a server was never heard of: one message, and the log counts them."""
    await evenings_left_open(world)
    due(world)
    await world.advance(TO_NINE - 60, step=1200)
    assert (announced(world), world.texts()) == ([], [])
    await world.advance(120, step=60)
    (output,) = announced(world)
    assert output == (
        "nobody is on call from Tue 2026-11-24 17:00 until Wed 2026-11-25 09:00 NZDT,"
        " and 13 more times within 14 days;"
        " icinga1 has never sent a heartbeat, so nobody would miss it"
    )
    (text,) = world.texts()
    assert world.texts(ANNA) == [text]
    assert text.startswith("CUSTOM cover (UNCOVERED): nobody is on call from Tue 2026-11-24 17:00")
    warnings = [formatEvent(each) for each in logged if each.get("log_level") is LogLevel.warn]
    assert "acme: 2 things are not covered ahead; `hotpotato check` says what" in warnings
    await world.advance(20 * 3600, step=3600)
    assert len(announced(world)) == 1
    await world.advance(4 * 3600, step=1800)
    assert len(announced(world)) == 2


@pytest_twisted.ensureDeferred
async def test_where_all_is_covered_nobody_is_told_anything(world: World) -> None:
    heard(world)
    due(world)
    await world.advance(TO_NINE + 60, step=1200)
    assert (announced(world), world.texts()) == ([], [])
    assert world.sql("SELECT cover_due_at FROM tenant") == [(NINE + timedelta(days=1),)]


@pytest_twisted.ensureDeferred
async def test_a_new_tenant_is_not_told_in_the_night_but_at_its_next_nine_o_clock(
    world: World,
) -> None:
    due(world, START)
    world.daemons[0].cover.wake()
    await world.settle()
    assert announced(world) == []
    assert world.sql("SELECT cover_due_at FROM tenant") == [(NINE,)]
    await world.advance(TO_NINE + 5, step=1200)
    assert announced(world) == ["icinga1 has never sent a heartbeat, so nobody would miss it"]


@pytest_twisted.ensureDeferred
async def test_what_fell_due_while_no_daemon_ran_is_told_late(world: World) -> None:
    due(world)
    await world.stop_daemon()
    await world.advance(TO_NINE + 7200, step=3600)
    await world.start_daemon()
    await world.settle()
    assert len(announced(world)) == 1
    assert world.sql("SELECT cover_due_at FROM tenant") == [(NINE + timedelta(days=1),)]


@pytest_twisted.ensureDeferred
async def test_a_tenant_with_nobody_and_nothing_in_it_is_told_nothing(world: World) -> None:
    await world.store(lambda transaction: people.add_tenant(transaction, "empty", "UTC"))
    world.sql("UPDATE tenant SET cover_due_at = '2026-11-23 09:00+00' WHERE name = 'empty'")
    world.daemons[0].cover.wake()
    await world.settle()
    assert announced(world) == []
    assert world.sql("SELECT cover_due_at FROM tenant WHERE name = 'empty'") == [
        (datetime(2026, 11, 24, 9, tzinfo=UTC),)
    ]


@pytest_twisted.ensureDeferred
async def test_several_daemons_tell_it_once(world: World) -> None:
    due(world)
    await world.start_daemon()
    await world.start_daemon()
    await world.advance(TO_NINE + 60, step=1200)
    assert len(announced(world)) == 1
    assert len(world.texts()) == 1


@pytest_twisted.ensureDeferred
async def test_a_phone_that_said_stop_and_one_that_is_not_verified_are_told(world: World) -> None:
    heard(world)
    world.sql("UPDATE contact SET stopped_at = %s WHERE address = %s", START, "+64217654321")
    world.sql("UPDATE contact SET verified_at = NULL WHERE address = %s", ANNA)
    due(world)
    await world.advance(TO_NINE + 60, step=1200)
    assert announced(world) == [
        "Anna is on call, and has no verified contact;"
        " switched off by an SMS that said stop: Bob (+64217654321)"
    ]


@pytest_twisted.ensureDeferred
async def test_a_tenant_whose_time_zone_is_gone_keeps_no_other_waiting(
    world: World, logged: list[LogEvent]
) -> None:
    await world.store(lambda transaction: people.add_tenant(transaction, "broken", "UTC"))
    await world.settle()
    world.sql(
        "UPDATE tenant SET timezone = 'Nowhere/Atlantis', cover_due_at = '2026-11-23 01:00+00'"
        " WHERE name = 'broken'"
    )
    world.sql("UPDATE tenant SET cover_due_at = '2026-11-22 20:00+00' WHERE name = 'acme'")
    world.daemons[0].cover.wake()
    await world.settle()
    (failure,) = [event for event in logged if "log_failure" in event]
    assert formatEvent(failure) == "the cover of broken can't be looked at"
    logged.remove(failure)
    assert len(announced(world)) == 1
    assert dict(world.sql("SELECT name, cover_due_at FROM tenant")) == {
        "acme": NINE,
        "broken": START + timedelta(hours=1),
    }
