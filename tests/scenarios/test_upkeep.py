"""What keeps the tables in shape."""

from __future__ import annotations

import psycopg2
import pytest_twisted
from twisted.logger import LogEvent

from tests.world import World

WEEK = 7 * 86_400


def partitions(world: World, parent: str) -> list[str]:
    """The partitions of a table, by name."""
    rows = world.sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = %s::regclass ORDER BY 1",
        parent,
    )
    return [name for (name,) in rows]


@pytest_twisted.ensureDeferred
async def test_partitions_are_made_thirty_days_ahead(world: World) -> None:
    """The world begins on Monday, the 23rd of November 2026."""
    await world.settle()
    weeks = ["20261123", "20261130", "20261207", "20261214", "20261221"]
    for parent in ("heartbeat", "receipt", "history"):
        made = partitions(world, parent)
        assert [name for name in made if "2026112" <= name.split("_")[1] <= "20261222"] == [
            f"{parent}_{week}" for week in weeks
        ]
    await world.advance(WEEK, step=WEEK)
    assert partitions(world, "history")[-2:] == ["history_20261228", "history_default"]


@pytest_twisted.ensureDeferred
async def test_rows_go_into_the_partition_of_their_week(world: World) -> None:
    await world.heartbeat()
    await world.advance(WEEK + 3600, step=3600 * 12)
    await world.heartbeat()
    assert world.sql("SELECT count(*) FROM heartbeat_20261123") == [(1,)]
    assert world.sql("SELECT count(*) FROM heartbeat_20261130") == [(1,)]
    assert world.sql("SELECT count(*) FROM heartbeat_default") == [(0,)]


@pytest_twisted.ensureDeferred
async def test_after_a_long_absence_the_default_partition_keeps_what_it_took(world: World) -> None:
    """Nobody made partitions for ten weeks; what came before they were made is still there."""
    await world.stop_daemon()
    await world.advance(10 * WEEK, step=10 * WEEK)
    world.sql("INSERT INTO history (kind, sentence) VALUES ('test', 'who was faster')")
    await world.start_daemon()
    await world.settle()
    made = partitions(world, "history")
    assert "history_20270201" not in made
    assert "history_20270208" in made
    assert "who was faster" in world.story()
    await world.notify()
    await world.settle()
    assert len(world.texts()) == 1


@pytest_twisted.ensureDeferred
async def test_who_is_in_the_way_of_new_partitions_holds_up_nothing_else(
    world: World, logged: list[LogEvent]
) -> None:
    """A long report reads the history; partitions have time, and old keys are forgotten."""
    await world.notify(idempotency="one")
    await world.settle()
    report = psycopg2.connect(world.database_url)
    try:
        report.cursor().execute("LOCK TABLE history IN ACCESS SHARE MODE")
        await world.advance(WEEK + 1, step=WEEK + 1)
    finally:
        report.close()
    assert world.sql("SELECT count(*) FROM idempotency") == [(0,)]
    assert any("partitions are left" in str(event.get("log_format")) for event in logged)
    assert "history_20261228" not in partitions(world, "history")
    await world.advance(3600, step=3600)
    assert "history_20261228" in partitions(world, "history")


@pytest_twisted.ensureDeferred
async def test_an_idempotency_key_is_remembered_for_seven_days(world: World) -> None:
    first = await world.notify(idempotency="one")
    await world.advance(WEEK - 60, step=WEEK)
    assert (await world.notify(idempotency="one"))["id"] == first["id"]
    await world.advance(3700, step=3700)
    assert world.sql("SELECT count(*) FROM idempotency") == [(0,)]
    assert (await world.notify(idempotency="one"))["id"] != first["id"]


@pytest_twisted.ensureDeferred
async def test_much_to_forget_is_forgotten_in_pieces(world: World) -> None:
    await world.notify()
    await world.settle()
    world.sql(
        "INSERT INTO idempotency (server_id, key_digest, tenant_id, content_digest,"
        "                         notification_id, created_at)"
        " SELECT server_id, sha256(n::text::bytea), tenant_id, sha256('x'), id,"
        "        hotpotato_now() - interval '8 days'"
        "   FROM notification, generate_series(1, 2500) AS n"
    )
    await world.advance(3600, step=3600)
    assert world.sql("SELECT count(*) FROM idempotency") == [(1500,)]
    await world.advance(3, step=1)
    assert world.sql("SELECT count(*) FROM idempotency") == [(0,)]
