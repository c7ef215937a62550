"""The databases that tests get: their own, quickly, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest

from hotpotato.testing.database import drop_database, fresh_database, server_url

CHECKOUT = Path(__file__).parents[2]

ONE_RUN = """
import sys
from hotpotato.testing.database import fresh_database
print(fresh_database(lambda url: None), flush=True)
sys.stdin.read()
"""


def do(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            connection.commit()
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def databases(url: str) -> set[object]:
    return {name for (name,) in do(url, "SELECT datname FROM pg_database")}


def a_run(**environment: str) -> subprocess.Popen[str]:
    """A test run of its own, with one database, that goes on until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", ONE_RUN],
        env={**os.environ, **environment, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_every_database_is_a_new_copy_of_one_that_was_migrated_once() -> None:
    migrated: list[str] = []

    def migrate(url: str) -> None:
        migrated.append(url)
        do(url, "CREATE TABLE migrated ()")

    one, other = fresh_database(migrate), fresh_database(migrate)
    do(one, "CREATE TABLE only_here ()")

    assert len({one, other, *migrated}) == 3
    assert do(other, "SELECT to_regclass('migrated'), to_regclass('only_here')") == [
        ("migrated", None)
    ]
    drop_database(one)
    drop_database(other)


def test_a_connection_left_in_the_template_is_no_hindrance() -> None:
    left = []

    def careless(url: str) -> None:
        left.append(psycopg2.connect(url))

    url = fresh_database(careless)

    assert do(url, "SELECT 1") == [(1,)]
    drop_database(url)
    left[0].close()


def test_a_database_can_be_dropped_while_somebody_is_connected() -> None:
    url = fresh_database()
    connection = psycopg2.connect(url)

    drop_database(url)

    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(url)
    connection.close()


@pytest.mark.skipif(
    "HOTPOTATO_TEST_DATABASE_URL" in os.environ, reason="the server is not the tests' own"
)
def test_a_run_that_is_killed_leaves_no_server_behind() -> None:
    with a_run() as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        assert do(url, "SELECT 1") == [(1,)]
        home = Path(parse_qs(urlsplit(url).query)["host"][0]).parent
        run.kill()

    deadline = time.monotonic() + 30
    while home.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not home.exists()


def test_a_server_that_runs_already_can_be_named_and_is_left_as_it_was() -> None:
    before = databases(server_url())
    with a_run(HOTPOTATO_TEST_DATABASE_URL=server_url()) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        assert urlsplit(url).query == urlsplit(server_url()).query
        during = databases(server_url())
        run.stdin.close()

    assert len(during - before) == 2
    assert not databases(server_url()) & (during - before)
