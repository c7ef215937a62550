"""Messages under lock: what nobody else may do while one is claimed or settled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from hotpotato.store import messages, people
from hotpotato.testing.database import drop_database, fresh_database
from hotpotato.vocabulary import AlertStatus
from tests.direct import Direct, run
from tests.world import ANNA, migrated

OPEN_AN_ALERT = """
WITH anna AS (
    SELECT person.tenant_id, person.id AS person_id, contact.id AS contact_id
      FROM person JOIN contact ON contact.person_id = person.id
), opened AS (
    INSERT INTO alert (tenant_id, subject, hostname, state, status, opened_at,
                       last_notification_id, due_at)
    SELECT tenant_id, sha256('db1'), 'db1', 'DOWN', 'triggered', hotpotato_now(), 1,
           hotpotato_now()
      FROM anna RETURNING id
)
INSERT INTO message (tenant_id, kind, alert_id, person_id, contact_id, method, address, text,
                     status, created_at, expires_at, released_at, due_at)
SELECT anna.tenant_id, 'page', opened.id, person_id, contact_id, 'sms', %s, 'DOWN db1', 'queued',
       hotpotato_now(), hotpotato_now() + interval '1 day', hotpotato_now(), hotpotato_now()
  FROM anna, opened
"""

SERVED = [messages.Served("sms", ("modica",))]


@pytest.fixture
def database() -> Iterator[Direct]:
    url = fresh_database(migrated)
    direct = Direct(url)

    async def work(transaction: Any) -> None:
        tenant = await people.add_tenant(transaction, "acme", "UTC")
        await people.add_person(transaction, tenant, "Anna", [("sms", ANNA)])

    run(direct.transaction(work))
    direct.sql(OPEN_AN_ALERT, ANNA)
    yield direct
    direct.close()
    drop_database(url)


@pytest.fixture
def other(database: Direct) -> Iterator[Any]:
    """Another daemon's connection, which waits for no lock."""
    connection = psycopg2.connect(database.url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("SET lock_timeout = '50ms'")
    yield cursor
    connection.close()


def test_an_alert_cannot_end_between_the_look_at_it_and_the_attempt(
    database: Direct, other: Any
) -> None:
    """Else the escalation would not know that this person is being told."""

    async def work(transaction: Any) -> None:
        (due,) = await messages.claim(transaction, "modica", SERVED, 10, 60.0)
        assert due.alert_status is AlertStatus.TRIGGERED
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            other.execute("SELECT id FROM alert FOR UPDATE")

    run(database.transaction(work))
    other.execute("SELECT id FROM alert FOR UPDATE")


def test_what_one_daemon_has_claimed_another_passes_over(database: Direct, other: Any) -> None:
    second = Direct(database.url, virtual=False)

    async def look(transaction: Any) -> list[messages.DueMessage]:
        return await messages.claim(transaction, "modica", SERVED, 10, 60.0)

    async def work(transaction: Any) -> int:
        assert len(await look(transaction)) == 1
        return len(run(second.transaction(look)))

    try:
        assert run(database.transaction(work)) == 0
    finally:
        second.close()


def test_a_receipt_and_an_answer_for_one_id_come_one_after_the_other(
    database: Direct, other: Any
) -> None:
    """Else both could miss the other, and the receipt would be of no use."""

    async def work(transaction: Any) -> None:
        await messages.lock_provider_ids(transaction, [("modica", "7"), ("modica", None)])
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            other.execute("SELECT pg_advisory_xact_lock(hashtextextended('modica:7', 0))")
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('modica:8', 0))")

    run(database.transaction(work))


def test_only_what_waits_can_be_withdrawn(database: Direct) -> None:
    async def withdraw(transaction: Any) -> bool:
        return await messages.withdraw(transaction, 1)

    assert run(database.transaction(withdraw)) is True
    assert run(database.transaction(withdraw)) is False
    assert database.sql("SELECT status, due_at FROM message") == [("cancelled", None)]


@pytest.mark.parametrize(
    ("text", "kept"), [("plain", "plain"), ("a\0b", "a\ufffdb"), ("a\udc00b", "a?b"), ("", "")]
)
def test_any_text_can_be_kept(text: str, kept: str) -> None:
    assert messages.storable(text) == kept
