"""Codes, when several want to give them at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hotpotato.duties import coding
from hotpotato.store.alerts import Coded
from hotpotato.testing.database import drop_database, fresh_database
from tests.direct import Direct, run
from tests.world import migrated


@pytest.fixture
def database() -> Iterator[Direct]:
    url = fresh_database(migrated)
    direct = Direct(url)
    direct.sql("INSERT INTO tenant (id, name, timezone) VALUES (1, 'acme', 'UTC')")
    direct.sql(
        "INSERT INTO alert (id, tenant_id, subject, hostname, state, status, opened_at, due_at,"
        "                   last_notification_id)"
        " SELECT n, 1, sha256(n::text::bytea), 'db1', 'DOWN', 'triggered', now(), now(), 1"
        "   FROM generate_series(1, 2) AS n"
    )
    yield direct
    direct.close()
    drop_database(url)


def test_a_code_that_somebody_else_gave_meanwhile_will_do(database: Direct) -> None:
    """Another daemon was faster: drawing on would never end."""
    database.sql("INSERT INTO code (code, tenant_id, alert_id) VALUES ('KWT', 1, 1)")

    async def work(transaction: Any) -> dict[Coded, str]:
        return await coding.give(transaction, [Coded(1, 1), Coded(1, 2)])

    given = run(database.transaction(work))
    assert given[Coded(1, 1)] == "KWT"
    assert database.sql("SELECT code FROM code WHERE alert_id = 2") == [(given[Coded(1, 2)],)]
