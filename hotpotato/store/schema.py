"""The schema: plain SQL files, forward only, safe to apply from several hosts at once.

The first line of each file says `-- works-with: N`: the number of the oldest migration whose
daemon still works once this one is applied. So hosts are upgraded one after the other, and a daemon
refuses only a schema that is older than it needs, or one that has left it behind.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

import msgspec

from hotpotato.store.database import Database, StatementRefused, Transaction

# Any number: every daemon and every `hotpotato migrate` of one database must use the same.
_LOCK = 7_450_273_115

# A migration may rewrite a big table; it does not hold up the start of a daemon.
_TIMEOUT = 3600.0


class SchemaMismatch(Exception):
    """The daemon does not fit the schema; the text says which command helps."""


class Migration(msgspec.Struct, frozen=True):
    """One file. `works_with`: see this module's docstring."""

    number: int
    name: str
    works_with: int
    sql: str


@functools.cache
def migrations() -> tuple[Migration, ...]:
    """The migrations that came with this program, in order."""
    files = resources.files("hotpotato.store").joinpath("migrations").iterdir()
    found = [
        _parsed(file.name, file.read_text("utf-8")) for file in files if _FILE.match(file.name)
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


async def migrate(
    database: Database, wanted: tuple[Migration, ...] | None = None
) -> tuple[Migration, ...]:
    """Bring the schema up to date and return what was applied now.

    All or nothing. Run twice, or from two hosts at once, the second finds nothing to do. Raises
    TooSlow where it would have to wait for somebody's lock, since daemons would wait behind it.
    """
    known = migrations() if wanted is None else wanted

    async def work(transaction: Transaction) -> tuple[Migration, ...]:
        await transaction.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await transaction.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        await transaction.execute("SET LOCAL lock_timeout = '10s'")
        await transaction.execute(
            """
            CREATE TABLE IF NOT EXISTS migration (
                number     integer PRIMARY KEY,
                name       text NOT NULL,
                works_with integer NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        done = {number for (number,) in await transaction.rows("SELECT number FROM migration")}
        missing = tuple(migration for migration in known if migration.number not in done)
        for migration in missing:
            await transaction.execute(migration.sql)
            await transaction.execute(
                "INSERT INTO migration (number, name, works_with) VALUES (%s, %s, %s)",
                [migration.number, migration.name, migration.works_with],
            )
        return missing

    return await database.transaction(work, timeout=_TIMEOUT)


async def check(database: Database, needed: int | None = None) -> None:
    """Raise SchemaMismatch unless this daemon and the schema fit each other.

    `needed` is the migration that the daemon was written for: its last.
    """
    mine = migrations()[-1].number if needed is None else needed
    try:
        rows = await database.statement(
            "SELECT max(number), max(works_with) FILTER (WHERE number > %s) FROM migration", [mine]
        )
    except StatementRefused as refused:
        if refused.sqlstate != "42P01":
            raise
        raise SchemaMismatch("the database has no schema yet: run `hotpotato migrate`") from refused
    newest, oldest_that_works = rows[0]
    if newest is None or newest < mine:
        raise SchemaMismatch(
            f"the schema is at migration {newest or 0} and this daemon needs {mine}:"
            " run `hotpotato migrate`"
        )
    if oldest_that_works is not None and oldest_that_works > mine:
        raise SchemaMismatch(
            f"the schema is at migration {newest}, which works with daemons from migration"
            f" {oldest_that_works} on; this one is of {mine}: install the newer Hot Potato here"
        )


_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
_FIRST_LINE = re.compile(r"^-- works-with: (\d+)\n")


def _parsed(file: str, sql: str) -> Migration:
    name = _FILE.match(file)
    head = _FIRST_LINE.match(sql)
    if name is None or head is None:
        raise ValueError(f"migration {file} must begin with a line `-- works-with: N`")
    return Migration(int(name[1]), name[2], int(head[1]), sql)
