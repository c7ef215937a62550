"""Whatever roster is applied, it is what is so afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from hotpotato.commands import roster_store
from hotpotato.rules.roster import Difference, Layer, Person, Roster, Schedule, Tenant, difference
from hotpotato.store.database import Database, Transaction
from hotpotato.testing.database import drop_database, fresh_database
from tests import rosters as any_
from tests.world import migrated, until


class Enough(Exception):
    """Rolls a transaction back."""


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    url = fresh_database(migrated)
    made = Database(url, reactor=reactor, size=1)
    made.start()
    blockon(Deferred.fromCoroutine(until(lambda: made.available, "the database to answer")))
    yield made
    blockon(Deferred.fromCoroutine(made.stop()))
    drop_database(url)


@given(any_.rosters, any_.rosters)
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_roster_that_was_applied_is_what_is_so(
    database: Database, first: Roster, second: Roster
) -> Any:
    """Also over another one; and what was exported, applied again, changes nothing."""

    async def work(transaction: Transaction) -> None:
        await _apply(transaction, first)
        assert await roster_store.current(transaction) == first
        await _apply(transaction, second)
        now = await roster_store.current(transaction)
        assert difference(now, second, prune=True).changes == ()
        assert difference(now, now, prune=True) == Difference((), ())
        raise Enough

    # Hypothesis and the reactor meet only in a test that returns a Deferred.
    return database.transaction(work).addErrback(lambda failure: failure.trap(Enough) and None)


@pytest_twisted.ensureDeferred
async def test_what_was_so_only_while_it_was_applied_is_in_no_record(database: Database) -> None:
    """Anna is enabled and taken out of the layer at once: she was on call at no time."""

    def acme(holder: str, *, disabled: bool) -> Roster:
        layer = Layer(name="all", people=(holder,), unit="days", first=date(2026, 1, 1), at=time(9))
        return Roster(
            {
                "acme": Tenant(
                    timezone="UTC",
                    people={"Anna": Person(disabled=disabled), "Bob": Person()},
                    schedules={"primary": Schedule(layers=(layer,))},
                )
            }
        )

    async def work(transaction: Transaction) -> None:
        await _apply(transaction, acme("Anna", disabled=True))
        await _apply(transaction, acme("Bob", disabled=False))
        assert await transaction.rows(
            "SELECT DISTINCT name FROM shift JOIN person ON person.id = person_id"
        ) == [("Bob",)]
        raise Enough

    with pytest.raises(Enough):
        await database.transaction(work)


async def _apply(transaction: Any, wanted: Roster) -> None:
    found = difference(await roster_store.current(transaction), wanted, prune=True)
    await roster_store.apply(transaction, found.changes)
    # Checks made at the end of the transaction are made now, since it has none.
    await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
