"""Hosts are upgraded one after the other, under load, across a migration that only adds."""

from __future__ import annotations

import signal

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from hotpotato.store import schema
from hotpotato.store.database import Database
from tests.chaos.site import HURRIED, Process, Site
from tests.chaos.table import note
from tests.world import until

NOW = schema.migrations()[-1].number

NEXT = schema.Migration(
    number=NOW + 1,
    name="wider",
    works_with=NOW,
    sql="ALTER TABLE message ADD COLUMN colour text NOT NULL DEFAULT 'red'; CREATE TABLE wider ()",
)
"""A column in the table that is in use most, and a table."""

NEWER = f"""
from hotpotato.store import schema
known = schema.migrations()
schema.migrations = lambda: (*known, schema.Migration({NEXT.number}, "wider", {NOW}, ""))
"""
"""For the process of a version that needs the next migration."""


async def migrate(site: Site) -> None:
    """As the newer `hotpotato migrate` does it."""
    database = Database(site.world.database_url, reactor=reactor, size=1)
    database.start()
    await until(lambda: database.available, "the database to answer")
    assert await schema.migrate(database, (*schema.migrations(), NEXT)) == (NEXT,)
    await database.stop()


async def takes(site: Site, process: Process, count: int = 4) -> None:
    """Wait until a daemon has taken some more."""
    enough = site.taken[process.port] + count
    await until(lambda: site.taken[process.port] >= enough, "more to be taken")


@pytest_twisted.ensureDeferred
async def test_an_upgrade_host_by_host_loses_nothing_and_sends_nothing_twice(
    site: Site, request: pytest.FixtureRequest
) -> None:
    """The old daemon works on with the newer schema until it is stopped."""
    site.world.gateway.misbehave("slow", seconds=0.3)
    site.changes = HURRIED
    old = await site.start()
    site.load()
    await takes(site, old)

    new = site.begin(changes=HURRIED + NEWER)
    await until(lambda: any(port == new.port for _, _, port in site.refusals), "a refusal")
    assert not site.taken[new.port], "taken with a schema that it does not know"
    await migrate(site)
    await site.ready(new)
    await takes(site, new)
    await takes(site, old)
    old.signal(signal.SIGTERM)
    await until(lambda: old.status is not None, "the old one to end")
    assert old.status == 0, old.log
    await takes(site, new)
    await deferLater(reactor, 0.5)
    await site.unload()
    await site.all_arrived()

    row = site.account(1)
    note(request, row)
    assert row["lost"] == 0
    assert row["duplicates"] == 0
