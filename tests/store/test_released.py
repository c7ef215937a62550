"""From every released schema, with data in it, to the newest: nothing is lost, and it goes on."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from hotpotato.store import schema
from hotpotato.store.database import Database
from hotpotato.testing.database import drop_database, fresh_database
from tests.programs import program
from tests.store.released import story
from tests.world import ANNA, World, until

RELEASED = Path(__file__).with_name("released")
FILES = sorted(RELEASED.glob("*.sql"))
NUMBERS = [int(file.stem) for file in FILES]
NEWEST = schema.migrations()[-1].number


@pytest.mark.skipif(
    "HOTPOTATO_WRITE_RELEASED" not in os.environ, reason="only for whoever adds a migration"
)
@pytest_twisted.ensureDeferred
async def test_the_data_of_the_newest_schema_is_written(world: World) -> None:
    await story.play(world)
    story.dump(world, program("pg_dump"), RELEASED / f"{NEWEST:04}.sql")


def test_the_newest_schema_has_data_to_migrate_from() -> None:
    """See tests/store/released: whoever adds a migration adds what the next one is tested with."""
    assert NUMBERS[:3] == [1, 2, 3]
    assert NUMBERS[-1] == NEWEST, f"there is no tests/store/released/{NEWEST:04}.sql"


class Old:
    """A database at one schema, with its data."""

    def __init__(self, number: int) -> None:
        file = RELEASED / f"{number:04}.sql"
        self.sql_file = file.read_text(encoding="utf-8")
        self.now = datetime.fromisoformat(self._said("now"))
        self.key = self._said("key")
        self.url = fresh_database()
        blockon(Deferred.fromCoroutine(self.migrate(upto=number)))
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica; DELETE FROM installation")
            cursor.execute(self.sql_file)
        connection.close()

    def _said(self, name: str) -> str:
        found = re.search(f"^-- {name}: (.*)$", self.sql_file, re.MULTILINE)
        assert found
        return found[1]

    async def migrate(self, upto: int) -> list[int]:
        """Bring the schema up to a migration, as `hotpotato migrate` of that time did."""
        database = Database(self.url, reactor=reactor, size=1)
        database.start()
        await until(lambda: database.available, "the database to answer")
        wanted = tuple(each for each in schema.migrations() if each.number <= upto)
        applied = await schema.migrate(database, wanted)
        await database.stop()
        return [each.number for each in applied]

    def rows(self) -> dict[str, list[Any]]:
        """Every row of every table, as JSON."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
                "   AND relnamespace = 'public'::regnamespace AND relname <> 'migration'"
            )
            found = {}
            for (table,) in cursor.fetchall():
                cursor.execute(f"SELECT to_jsonb(whole.*) FROM {table} AS whole")
                found[table] = [row for (row,) in cursor.fetchall()]
        connection.close()
        return found


@pytest.fixture(params=NUMBERS, ids=[f"{number:04}" for number in NUMBERS])
def old(request: pytest.FixtureRequest) -> Iterator[Old]:
    """A database at each of the released schemas."""
    made = Old(request.param)
    yield made
    drop_database(made.url)


@pytest_twisted.async_yield_fixture()
async def upgraded(old: Old) -> AsyncIterator[World]:
    """The world that it came from, half a minute later, on the newest schema, without a daemon."""
    await old.migrate(upto=NEWEST)
    world = World(old.url)
    world.sql("UPDATE test_clock SET now = %s + interval '30 s'", old.now)
    world.key = old.key
    await world.gateway.start(reactor)
    yield world
    await world.stop()


def test_there_is_a_row_in_every_table_to_lose(old: Old) -> None:
    assert [table for table, rows in old.rows().items() if not rows] == []


CHANGED = {
    # See 0003_escalation: what had no words yet is held once more, and its contact looked at.
    "message": {"status", "due_at"},
    "alert": {"repeat_at"},
}
"""What a migration may change of a row that was there."""


@pytest_twisted.ensureDeferred
async def test_a_migration_loses_no_row_and_changes_none_that_it_need_not(old: Old) -> None:
    before = old.rows()
    await old.migrate(upto=NEWEST)
    after = old.rows()
    for table, rows in before.items():
        columns = rows[0].keys() - CHANGED.get(table, set())
        kept = [{name: row[name] for name in columns} for row in after[table]]
        lost = [row for row in rows if {name: row[name] for name in columns} not in kept]
        assert lost == [], table
        assert len(kept) == len(rows), table


@pytest_twisted.ensureDeferred
async def test_what_was_under_way_goes_on_after_the_upgrade(upgraded: World) -> None:
    world = upgraded
    (code,) = world.sql(
        "SELECT code FROM code JOIN alert ON alert.id = alert_id WHERE hostname = 'open'"
    )[0]
    await world.start_daemon()
    await world.advance(120)
    # The message that could not be sent is sent, and nothing that was is sent again.
    assert any(text.startswith("CRITICAL unsent") for text in world.texts(ANNA))
    assert not any("hello" in text or "over/" in text for text in world.texts())
    # The open alert is told again, to her and then to others, and a reply ends that.
    await world.advance(1500, step=50)
    told = [text for text in world.texts() if "open" in text]
    assert told
    await world.reply(ANNA, f"ack {code}")
    status = "SELECT status, acknowledged_by FROM alert WHERE hostname = %s"
    assert world.sql(status, "open") == [("acknowledged", "Anna")]
    assert world.sql(status, "taken") == [("acknowledged", "Anna")]
    # The servers' keys are good, Idempotency-Keys are remembered, and alerts are joined.
    again = await world.notify(hostname="over", idempotency="over")
    assert world.sql("SELECT count(*) FROM notification WHERE hostname = 'over'") == [(2,)]
    assert again["hostname"] == "over"
    await world.notify("OK", hostname="open")
    assert world.sql("SELECT status FROM alert WHERE hostname = 'open'") == [("resolved",)]


@pytest_twisted.ensureDeferred
async def test_a_daemon_goes_on_while_the_schema_is_expanded_under_it(world: World) -> None:
    """So the hosts that are not upgraded yet keep working, and may be restarted meanwhile."""
    later = schema.Migration(
        NEWEST + 1, "later", NEWEST, "ALTER TABLE notification ADD COLUMN mood text DEFAULT 'calm'"
    )
    await world.notify(hostname="before")
    database = Database(world.database_url, reactor=reactor, size=1)
    database.start()
    await until(lambda: database.available, "the database to answer")
    assert await schema.migrate(database, (*schema.migrations(), later)) == (later,)
    await database.stop()
    await world.notify(hostname="meanwhile")
    await world.settle()
    await world.stop_daemon()
    await world.start_daemon()
    await world.notify(hostname="after")
    await world.settle()
    assert [mood for (mood,) in world.sql("SELECT mood FROM notification")] == ["calm"] * 3
