"""The drill of docs/operating.md: dumped in the middle of a page, restored, and it goes on."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg2
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from hotpotato.testing.database import drop_database, fresh_database
from tests.commands.conftest import CHECKOUT, configured_for
from tests.programs import program
from tests.world import ANNA, World

DUMP = ("pg_dump", "--format=custom")
RESTORE = ("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction")


def run(name: str, *arguments: object) -> str:
    """One of PostgreSQL's programs, which must be content."""
    return subprocess.run(
        [program(name), *map(str, arguments)], check=True, capture_output=True, text=True
    ).stdout


async def restored(world: World, directory: Path) -> str:
    """What the manual says: dump while the daemon works, and restore into an empty database."""
    dump = directory / "hotpotato.dump"
    await deferToThread(run, *DUMP, f"--file={dump}", world.database_url)
    url = fresh_database()
    await deferToThread(run, *RESTORE, f"--dbname={url}", dump)
    # The next world brings its own clock.
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE test_clock")
    connection.close()
    return url


@pytest_twisted.async_yield_fixture()
async def second(world: World, tmp_path: Path) -> AsyncIterator[World]:
    """A world restored from one in the middle of its work; its phones are empty."""
    await world.heartbeat()
    await world.notify(hostname="taken", idempotency="taken")
    await world.settle()
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.notify(hostname="open")
    await world.settle()
    # The gateway has this one, and has not said so yet.
    world.gateway.misbehave("hang-after", times=1)
    await world.notify(hostname="under-way")
    await world.held(len(world.gateway.messages) + 1)
    url = await restored(world, tmp_path)
    other = World(url)
    other.sql("UPDATE test_clock SET now = %s", world.now)
    other.key = world.key
    await other.gateway.start(reactor)
    yield other
    await other.stop()
    drop_database(url)


@pytest_twisted.ensureDeferred
async def test_a_restored_installation_goes_on_where_the_backup_was_made(
    second: World, tmp_path: Path
) -> None:
    world = second
    await world.start_daemon()
    await world.advance(90)
    # Nobody knows what became of the attempt that was under way, so it is made once more.
    assert [text.splitlines()[0] for text in world.texts()] == ["CRITICAL under-way/Postgres"]
    check = configured_for(world, tmp_path)
    said = await deferToThread(lambda: check.json("check", status=1))
    # The sandbox speaks no TLS; nothing else is wrong.
    assert [each["about"] for each in said["problems"]] == ["senders.modica"]
    assert "is not https" in said["problems"][0]["problem"]

    # What is open is told again when its time comes, and what was taken is not.
    await world.advance(900, step=10)
    told = " ".join(world.texts())
    assert "open" in told
    assert "taken" not in told
    (code,) = world.sql(
        "SELECT code FROM code JOIN alert ON alert.id = alert_id WHERE hostname = 'open'"
    )[0]
    await world.reply(ANNA, f"ack {code}")
    status = "SELECT status, acknowledged_by FROM alert WHERE hostname = %s"
    assert world.sql(status, "open") == [("acknowledged", "Anna")]
    # What was answered before the backup is known, and what comes is taken.
    first = world.sql("SELECT id FROM notification WHERE hostname = 'taken'")
    assert [((await world.notify(hostname="taken", idempotency="taken"))["id"],)] == first
    await world.notify(hostname="after")
    await world.settle()
    assert any("after" in text for text in world.texts(ANNA))


def test_the_manual_shows_the_commands_of_this_drill() -> None:
    manual = (CHECKOUT / "docs/operating.md").read_text()
    for command in (DUMP, RESTORE):
        assert " ".join(command) in manual
