"""Stories of a rota: who is paged, and what is written ahead."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest_twisted
from twisted.logger import LogEvent, formatEvent

from hotpotato import rota
from hotpotato.rules.schedule import Layer, Rotation, Window
from hotpotato.store import schedules
from tests.world import ANNA, BOB, CLEO, START, World

MONDAY = date(2026, 11, 23)  # the world begins on Tuesday at three in the morning, in Auckland
HAND_OVER = datetime(2026, 11, 23, 20, tzinfo=UTC)  # Tuesday at nine


def ids(world: World) -> dict[str, int]:
    return dict(world.sql("SELECT name, id FROM person"))


async def give_layers(world: World, *layers: Layer, schedule: str = "primary") -> rota.Written:
    """Make these the schedule's layers, and let nobody have the pager by hand."""

    async def work(transaction: Any) -> rota.Written:
        (known,) = await schedules.find(transaction, name=schedule)
        stored = [rota.stored_layer(layer) for layer in layers]
        await schedules.set_layers(transaction, known.tenant_id, known.id, stored)
        return await rota.clear_on_call(transaction, known.tenant_id, schedule=schedule)

    written: rota.Written = await world.store(work)
    return written


def daily(world: World, *names: str, name: str = "all", windows: tuple[Window, ...] = ()) -> Layer:
    """These people from Monday on, each from nine to nine."""
    known = ids(world)
    return Layer(
        name=name,
        rotation=Rotation(
            participants=tuple(known[each] for each in names),
            unit="days",
            first=MONDAY,
            at=time(9),
            windows=windows,
        ),
    )


def shifts(world: World, schedule: str = "primary") -> list[Any]:
    return world.sql(
        """
        SELECT person.name, lower(during), upper(during), source
          FROM shift JOIN person ON person.id = person_id
          JOIN schedule ON schedule.id = schedule_id
         WHERE schedule.name = %s ORDER BY during
        """,
        schedule,
    )


@pytest_twisted.ensureDeferred
async def test_after_a_hand_over_in_the_middle_the_next_page_goes_to_the_new_person(
    world: World,
) -> None:
    """Anna is paged at night; at nine it is Bob's turn, and the same alert pages him."""
    await give_layers(world, daily(world, "Anna", "Bob"))
    await world.notify("CRITICAL")
    await world.settle()
    assert (len(world.texts(ANNA)), world.texts(BOB)) == (1, [])
    await world.advance((HAND_OVER - START).total_seconds() - 1, step=600)
    before = len(world.texts(ANNA))
    assert world.texts(BOB) == []
    await world.advance(1200, step=60)
    assert len(world.texts(ANNA)) == before
    assert world.texts(BOB)[0].startswith("STILL CRITICAL db1/Postgres")
    assert world.texts(CLEO) == []


@pytest_twisted.ensureDeferred
async def test_shifts_are_written_ninety_days_ahead_every_day(world: World) -> None:
    """A day later they reach a day further, and what is past stays as it was."""
    await give_layers(world, daily(world, "Anna", "Bob"))
    first = shifts(world)
    assert first[-1][2] >= START + timedelta(days=90)
    await world.advance(86_400 * 2, step=7200)
    later = shifts(world)
    assert later[-1][2] >= START + timedelta(days=92)
    # The last one was cut where the writing ended.
    assert later[: len(first) - 1] == first[:-1]


@pytest_twisted.ensureDeferred
async def test_writing_again_changes_nothing(world: World) -> None:
    await give_layers(world, daily(world, "Anna", "Bob", "Cleo"))
    before = world.sql("SELECT id, during FROM shift ORDER BY id")

    async def work(transaction: Any) -> None:
        (known,) = await schedules.find(transaction)
        await rota.write(transaction, known.id)

    await world.store(work)
    assert world.sql("SELECT id, during FROM shift ORDER BY id") == before


@pytest_twisted.ensureDeferred
async def test_who_takes_the_pager_has_it_until_the_hand_over(world: World) -> None:
    await give_layers(world, daily(world, "Anna", "Bob"))

    async def work(transaction: Any) -> None:
        (known,) = await schedules.find(transaction)
        await rota.take(transaction, known.id, ids(world)["Cleo"], "Cleo")

    await world.store(work)
    await world.notify("CRITICAL")
    await world.settle()
    assert (len(world.texts(CLEO)), world.texts(ANNA)) == (1, [])
    assert [row[0] for row in shifts(world)[:3]] == ["Cleo", "Bob", "Anna"]
    assert shifts(world)[0][2] == HAND_OVER
    assert any("Cleo has the pager of primary" in line for line in world.story())


@pytest_twisted.ensureDeferred
async def test_what_is_past_stays_when_the_rota_changes(world: World) -> None:
    """The shift under way ends now, and the part that has gone by is still Anna's."""
    await give_layers(world, daily(world, "Anna", "Bob"))
    await world.advance(3600, step=600)
    await give_layers(world, daily(world, "Cleo", name="other"))
    now = START + timedelta(hours=1)
    assert shifts(world)[:2] == [
        ("Anna", START, now, "layer all"),
        ("Cleo", now, HAND_OVER, "layer other"),
    ]


@pytest_twisted.ensureDeferred
async def test_a_disabled_persons_turns_are_nobodys_and_come_back(world: World) -> None:
    await give_layers(world, daily(world, "Anna", "Bob"))
    anna = ids(world)["Anna"]
    await world.store(lambda transaction: rota.disable(transaction, anna))
    await world.notify("CRITICAL")
    await world.settle()
    assert (world.texts(ANNA), len(world.texts(BOB)), len(world.texts(CLEO))) == ([], 1, 1)
    assert {row[0] for row in shifts(world) if row[1] >= START} == {"Bob"}
    await world.store(lambda transaction: rota.enable(transaction, anna))
    assert {row[0] for row in shifts(world) if row[2] and row[2] > START} == {"Anna", "Bob"}


@pytest_twisted.ensureDeferred
async def test_hours_with_nobody_are_told_to_the_tenant_in_the_morning_once_a_day(
    world: World,
) -> None:
    """Evenings are left open: whoever is on call hears it at nine, and not at three."""
    window = Window(since=time(9), until=time(17))
    await give_layers(world, daily(world, "Anna", windows=(window,)))
    await world.settle()
    assert world.texts() == []
    await world.advance((HAND_OVER - START).total_seconds() + 60, step=600)
    (text,) = world.texts()
    assert world.texts(ANNA) == [text]
    assert text.startswith(
        "CUSTOM on call primary (UNCOVERED): nobody is on call from Tue 2026-11-24 17:00 until"
    )
    assert "and 13 more times within 14 days" in text
    await world.advance(3600 * 6, step=1200)
    assert len(world.texts()) == 1


@pytest_twisted.ensureDeferred
async def test_a_schedule_that_cannot_be_written_keeps_no_other_waiting(
    world: World, logged: list[LogEvent]
) -> None:
    """A time zone is gone with an update of the machine: the others are written all the same."""
    world.sql(
        "INSERT INTO schedule (tenant_id, name, timezone, due_at)"
        " VALUES (%s, 'broken', 'Nowhere/Atlantis', '2026-01-01')",
        world.tenant_id,
    )
    world.sql("UPDATE schedule SET due_at = '2026-01-02' WHERE name = 'primary'")
    world.daemons[0].rota.wake()
    await world.settle()
    (failure,) = [event for event in logged if "log_failure" in event]
    assert formatEvent(failure).endswith("can't be written")
    logged.remove(failure)
    due = dict(world.sql("SELECT name, due_at FROM schedule"))
    assert due == {"broken": START + timedelta(hours=1), "primary": HAND_OVER}
