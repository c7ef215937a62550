"""What the tables of rotas refuse, and what becomes of a pager from before there were rotas."""

from __future__ import annotations

from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import pytest_twisted
from twisted.internet import reactor

from hotpotato.store import schema
from hotpotato.store.database import Database
from hotpotato.testing.database import drop_database, fresh_database
from tests.world import until


@pytest.fixture
def acme(database_url: str) -> Any:
    """A connection to a database with the tenants acme (1) and beta (2), Anna (1) and Ben (2)."""
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("""
            INSERT INTO tenant (id, name, timezone) VALUES (1, 'acme', 'UTC'), (2, 'beta', 'UTC');
            INSERT INTO person (id, tenant_id, name) VALUES (1, 1, 'Anna'), (2, 2, 'Ben');
            INSERT INTO schedule (id, tenant_id, name) VALUES (1, 1, 'primary'), (2, 2, 'primary');
        """)
    yield connection
    connection.close()


LAYER = """
    INSERT INTO layer (id, tenant_id, schedule_id, position, name, every, unit, first_on, hand_over)
    VALUES (1, 1, 1, 1, 'all', 1, 'weeks', '2026-11-23', '09:00');
"""
SOMEBODY = """
    INSERT INTO participant (layer_id, position, tenant_id, person_id) VALUES (1, 1, 1, 1);
"""
OVERRIDE = """
    INSERT INTO override (tenant_id, schedule_id, person_id, during, source, author) VALUES
"""


def test_a_layer_with_somebody_in_it_is_taken(acme: Any) -> None:
    with acme, acme.cursor() as cursor:
        cursor.execute(LAYER + SOMEBODY)
        cursor.execute("SELECT windows FROM layer")
        assert cursor.fetchall() == [([],)]


@pytest.mark.parametrize(
    ("why", "statement"),
    [
        ("a layer without anybody", LAYER),
        (
            "somebody of another tenant in a layer",
            LAYER + SOMEBODY.replace("1);", "2);"),
        ),
        ("a layer that never hands over", LAYER.replace("1, 'weeks'", "0, 'weeks'") + SOMEBODY),
        ("a unit that nobody knows", LAYER.replace("weeks", "months") + SOMEBODY),
        ("a hand-over at 24:00", LAYER.replace("09:00", "24:00") + SOMEBODY),
        (
            "a layer that ends before it begins",
            LAYER + SOMEBODY + "UPDATE layer SET begins_on = '2026-11-24', ends_on = '2026-11-24'",
        ),
        ("windows that are no list", LAYER + SOMEBODY + "UPDATE layer SET windows = '{}'"),
        (
            "an override of nobody's time",
            OVERRIDE + "(1, 1, 1, 'empty', 'override', 'a test')",
        ),
        (
            "an override without a beginning",
            OVERRIDE + "(1, 1, 1, tstzrange(NULL, now()), 'override', 'a test')",
        ),
        (
            "an override that includes its end",
            OVERRIDE + "(1, 1, 1, tstzrange(now(), now() + '1h', '[]'), 'override', 'a test')",
        ),
        (
            "an override without an author",
            OVERRIDE + "(1, 1, 1, tstzrange(now(), NULL), 'override', '')",
        ),
        (
            "an override of a kind that nobody knows",
            OVERRIDE + "(1, 1, 1, tstzrange(now(), NULL), 'whim', 'a test')",
        ),
        (
            "an override in another tenant's schedule",
            OVERRIDE + "(1, 2, 1, tstzrange(now(), NULL), 'override', 'a test')",
        ),
        (
            "an override by another tenant's person",
            OVERRIDE + "(1, 1, 2, tstzrange(now(), NULL), 'override', 'a test')",
        ),
        ("a removed primary schedule", "UPDATE schedule SET removed_at = now(), due_at = NULL"),
        (
            "a removed schedule that is written ahead",
            "UPDATE schedule SET name = 'other', removed_at = now() WHERE id = 1",
        ),
        ("a schedule that is never written ahead", "UPDATE schedule SET due_at = NULL"),
        (
            "a calendar of nothing",
            "INSERT INTO calendar (tenant_id, token_digest) VALUES (1, sha256('x'))",
        ),
        (
            "a calendar of a schedule and a person",
            "INSERT INTO calendar (tenant_id, schedule_id, person_id, token_digest)"
            " VALUES (1, 1, 1, sha256('x'))",
        ),
        (
            "a calendar's secret in plain text",
            "INSERT INTO calendar (tenant_id, schedule_id, token_digest) VALUES (1, 1, 'secret')",
        ),
    ],
)
def test_a_state_that_must_not_be_is_refused(acme: Any, why: str, statement: str) -> None:
    with pytest.raises(psycopg2.errors.IntegrityError), acme, acme.cursor() as cursor:
        cursor.execute(statement)


@pytest_twisted.ensureDeferred
async def test_who_had_the_pager_before_has_it_until_changed() -> None:
    """The first schema's open-ended shifts become overrides; what is past stays as it is."""
    first, second = schema.migrations()[:2]
    url = fresh_database()
    database = Database(url, reactor=reactor, size=1)
    database.start()
    try:
        await until(lambda: database.available, "the database to answer")
        await schema.migrate(database, (first,))
        await database.statement("""
            INSERT INTO tenant (id, name, timezone) VALUES (1, 'acme', 'UTC');
            INSERT INTO person (id, tenant_id, name) VALUES (1, 1, 'Anna'), (2, 1, 'Bob');
            INSERT INTO schedule (id, tenant_id, name) VALUES (1, 1, 'primary');
            INSERT INTO shift (tenant_id, schedule_id, person_id, during, source) VALUES
                (1, 1, 2, '[2026-11-01 00:00+00, 2026-11-02 00:00+00)', 'set by hand'),
                (1, 1, 1, '[2026-11-02 00:00+00,)', 'set by hand')
        """)
        assert await schema.migrate(database, (first, second)) == (second,)
        assert await database.statement(
            "SELECT person_id, during::text LIKE '[\"2026-11-02 00:00:00%,)', source FROM override"
        ) == [(1, True, "set by hand")]
        assert await database.statement("SELECT count(*) FROM shift") == [(2,)]
        assert await database.statement("SELECT count(*) FROM schedule WHERE due_at <= now()") == [
            (1,)
        ]
    finally:
        await database.stop()
        drop_database(url)
