"""Stories of a rota: who is paged, and what is written ahead."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogEvent, formatEvent

from hotpotato import rota
from hotpotato.rules.schedule import Layer, Rotation, Window
from hotpotato.store import schedules
from tests.world import ANNA, BOB, CLEO, START, World, step

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
    # Not so often that a page falls due just when the pager changes hands.
    await world.policy(step(0, again=700))
    await give_layers(world, daily(world, "Anna", "Bob"))
    await world.notify("CRITICAL")
    await world.settle()
    assert (len(world.texts(ANNA)), world.texts(BOB)) == (1, [])
    await world.advance((HAND_OVER - START).total_seconds() - 1, step=600)
    before = len(world.texts(ANNA))
    assert world.texts(BOB) == []
    await world.advance(1200, step=60)
    assert len(world.texts(ANNA)) == before
    assert world.texts(BOB)[0].startswith("CRITICAL db1/Postgres (you have the pager now)")
    assert world.texts(BOB)[1].startswith("STILL CRITICAL db1/Postgres")
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
async def test_a_schedule_that_cannot_be_written_keeps_no_other_waiting(
    world: World, logged: list[LogEvent]
) -> None:
    """A time zone is gone with an update of the machine: the others are written all the same."""
    world.sql(
        "INSERT INTO schedule (tenant_id, name, timezone, due_at)"
        " VALUES (%s, 'broken', 'Nowhere/Atlantis', '2026-11-22')",
        world.tenant_id,
    )
    world.sql("UPDATE schedule SET due_at = '2026-11-23' WHERE name = 'primary'")
    world.daemons[0].rota.wake()
    await world.settle()
    (failure,) = [event for event in logged if "log_failure" in event]
    assert formatEvent(failure).endswith("can't be written")
    logged.remove(failure)
    due = dict(world.sql("SELECT name, due_at FROM schedule"))
    assert due == {"broken": START + timedelta(hours=1), "primary": HAND_OVER}


@pytest_twisted.ensureDeferred
async def test_after_months_of_rest_the_first_page_goes_to_whose_turn_it_is(world: World) -> None:
    """What was written ahead has run out, and the rota's own loop stands still: no matter."""
    await give_layers(world, daily(world, "Anna", "Bob"))
    await world.daemons[0].rota.stop()
    rested(world)
    await world.notify("CRITICAL")
    await world.settle()
    assert (len(world.texts(ANNA)), len(world.texts())) == (1, 1)
    assert shifts(world)[-1][2] >= START + timedelta(days=90)


@pytest_twisted.ensureDeferred
async def test_a_daemon_knows_who_is_on_call_before_it_takes_the_first_notification(
    world: World,
) -> None:
    await give_layers(world, daily(world, "Anna", "Bob"))
    await world.stop_daemon()
    rested(world)
    await world.start_daemon()
    assert (await world.notify("CRITICAL"))["user_id"] == ids(world)["Anna"]


@pytest_twisted.ensureDeferred
async def test_nobody_waits_for_a_rota_that_cannot_be_written_after_months(
    world: World, logged: list[LogEvent]
) -> None:
    """It is tried an hour later, and until then everybody is paged."""
    rested(world)
    world.sql("UPDATE schedule SET timezone = 'Nowhere/Atlantis'")
    await world.daemons[0].rota.stop()
    await world.notify("CRITICAL")
    await world.settle()
    assert len(world.texts()) == 3
    (failure,) = [event for event in logged if "log_failure" in event]
    logged.remove(failure)
    assert world.sql("SELECT due_at FROM schedule") == [(START + timedelta(hours=1),)]


def rested(world: World) -> None:
    """Nothing has been written for as long as shifts are written ahead."""
    world.sql("DELETE FROM shift")
    world.sql("UPDATE schedule SET due_at = %s", START - rota.AHEAD)


@pytest_twisted.ensureDeferred
async def test_two_daemons_write_and_warn_as_one(world: World) -> None:
    window = Window(since=time(9), until=time(17))
    await give_layers(world, daily(world, "Anna", windows=(window,)))
    world.sql("UPDATE tenant SET cover_due_at = %s", HAND_OVER)
    await world.start_daemon()
    await world.advance((HAND_OVER - START).total_seconds() + 60, step=600)
    assert len(world.texts()) == 1
    assert world.sql("SELECT count(*) FROM notification") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_who_takes_it_at_the_same_moment_as_another_comes_after_or_before(
    world: World,
) -> None:
    """From several hosts at once, and the rota in the middle: one after the other."""
    await give_layers(world, daily(world, "Anna", "Bob"))
    known = ids(world)

    def taking(name: str) -> Any:
        async def work(transaction: Any) -> None:
            (primary,) = await schedules.find(transaction)
            await rota.take(transaction, primary.id, known[name], name)

        return Deferred.fromCoroutine(world.store(work))

    world.sql("UPDATE schedule SET due_at = hotpotato_now()")
    world.daemons[0].rota.wake()
    await gatherResults([taking(name) for name in ("Bob", "Cleo", "Bob", "Cleo")])
    await world.settle()
    ((last,),) = world.sql("SELECT author FROM override ORDER BY id DESC LIMIT 1")
    assert world.sql("SELECT count(*) FROM override") == [(4,)]
    now = [row for row in shifts(world) if row[1] <= START < row[2]]
    assert now == [(last, START, HAND_OVER, "take")]


@pytest_twisted.ensureDeferred
async def test_what_is_written_keeps_to_the_wall_where_clocks_are_set(world: World) -> None:
    """In Casablanca clocks go back at 03:00 on 7 February 2027, for Ramadan: 02:30 comes twice."""
    world.sql("UPDATE schedule SET timezone = 'Africa/Casablanca'")
    known = ids(world)
    rotation = Rotation(
        participants=(known["Anna"], known["Bob"]), unit="days", first=MONDAY, at=time(2, 30)
    )
    await give_layers(world, Layer(name="all", rotation=rotation))
    since, until = datetime(2027, 2, 5, tzinfo=UTC), datetime(2027, 2, 9, tzinfo=UTC)
    assert [row[1] for row in shifts(world) if since < row[1] < until] == [
        datetime(2027, 2, 5, 1, 30, tzinfo=UTC),
        datetime(2027, 2, 6, 1, 30, tzinfo=UTC),
        datetime(2027, 2, 7, 1, 30, tzinfo=UTC),
        datetime(2027, 2, 8, 2, 30, tzinfo=UTC),
    ]
