"""The plan of the ingest, which each connection keeps while the tables grow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hotpotato.store.ingest import INGEST
from hotpotato.testing.database import drop_database, fresh_database
from tests.direct import Direct
from tests.world import migrated


@pytest.fixture
def database() -> Iterator[Direct]:
    url = fresh_database(migrated)
    direct = Direct(url, virtual=False)
    yield direct
    direct.close()
    drop_database(url)


def test_a_plan_made_for_empty_tables_reads_none_of_them_as_a_whole_later(database: Direct) -> None:
    database.sql("ANALYZE")
    database.sql("SET plan_cache_mode = force_generic_plan")
    database.sql(f"PREPARE {INGEST.name}({INGEST.types}) AS {INGEST.sql}")
    explain = f"EXPLAIN EXECUTE {INGEST.name}('[]')"
    plan = database.sql(f"SELECT set_config('enable_seqscan', 'off', true); {explain}")
    lines = [line for (line,) in plan]
    assert any("Index Scan using alert_open" in line for line in lines)
    assert [line for line in lines if "Seq Scan" in line] == []
