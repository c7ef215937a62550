"""The facade over PostgreSQL, against servers that restart, freeze, die and change places."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import pytest_twisted
from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import LogEvent

from hotpotato.store.database import (
    BadUrl,
    Database,
    DatabaseError,
    Limits,
    OutcomeUnknown,
    Prepared,
    StatementRefused,
    Transaction,
    Unavailable,
)
from tests.cluster import Cluster, free_port, running
from tests.leftovers import nothing_left
from tests.proxy import Proxy
from tests.world import until

AT_ONCE = 0.25
"""Seconds; much less than any limit of a pool."""

RECOVERED_WITHIN = 5.0

QUICK = Limits(connect=0.6, statement=0.8, borrow=0.5, stale=0.2, ping=0.4, listen=0.5)
"""For tests in which a limit has to pass."""

Make = Callable[..., Database]


def with_debian_too(test: Any) -> Any:
    """Run a test, in which PostgreSQL's behaviour matters, with Debian's as well."""
    test.with_debian_too = True
    return test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        programs = ["wheel"]
        if hasattr(metafunc.function, "with_debian_too"):
            programs.append("debian")
        metafunc.parametrize("cluster", programs, indirect=True, scope="module")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[LogEvent]]:
    with nothing_left() as events:
        yield events


@pytest.fixture
def make(logged: list[LogEvent]) -> Iterator[Make]:
    """Make and start a Database; stopped afterwards."""
    made: list[Database] = []

    def one(url: str, **options: Any) -> Database:
        database = Database(url, reactor=options.pop("reactor", reactor), **options)
        database.start()
        made.append(database)
        return database

    yield one
    for database in made:
        blockon(Deferred.fromCoroutine(database.stop()))


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    made = Proxy(cluster.port)
    yield made
    blockon(Deferred.fromCoroutine(made.close()))


@pytest.fixture
def table(cluster: Cluster) -> Iterator[None]:
    """An empty table `t` with a unique `a`."""
    cluster.sql("CREATE TABLE t (a integer CONSTRAINT only_once UNIQUE, b integer)")
    yield
    cluster.terminate_backends()
    cluster.sql("DROP TABLE t CASCADE")


async def ready(database: Database, connections: int = 1) -> Database:
    await until(lambda: database.usage[0] >= connections, "connections")
    return database


async def works(database: Database, patience: float = RECOVERED_WITHIN) -> float:
    """Wait until a statement is answered, and return how long that took."""
    began = reactor.seconds()
    while True:
        try:
            assert await database.statement("SELECT 1") == [(1,)]
        except Unavailable:
            assert reactor.seconds() - began < patience, database.trouble
            await deferLater(reactor, 0.02)
        else:
            return took(began)


async def failure_of(work: Deferred[Any]) -> BaseException:
    """What it fails with."""
    try:
        result = await work
    except Exception as error:
        return error
    raise AssertionError(f"it did not fail, but returned {result!r}")


def took(began: float) -> float:
    elapsed: float = reactor.seconds() - began
    return elapsed


def inserts(*rows: int) -> Callable[[Transaction], Any]:
    async def work(transaction: Transaction) -> None:
        for row in rows:
            await transaction.execute("INSERT INTO t VALUES (%s)", [row])

    return work


def backends(cluster: Cluster) -> list[int]:
    rows = cluster.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'hotpotato' ORDER BY pid"
    )
    return [pid for (pid,) in rows]


# ------------------------------------------------------------------ statements and transactions


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_statement_is_committed_when_it_is_answered(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    rows = await database.statement(
        "INSERT INTO t VALUES (1), (2); SELECT a + %(more)s FROM t ORDER BY a", {"more": 10}
    )
    assert rows == [(11,), (12,)]
    assert cluster.sql("SELECT count(*) FROM t") == [(2,)]


@pytest_twisted.ensureDeferred
async def test_a_statement_without_rows_has_none_and_is_committed(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    assert await database.statement("INSERT INTO t VALUES (1)") == []
    assert cluster.sql("SELECT a FROM t") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_several_statements_in_one_string_are_one_transaction(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    error = await failure_of(database.statement("INSERT INTO t VALUES (1); SELECT 1 / 0"))
    assert isinstance(error, StatementRefused)
    assert cluster.sql("SELECT a FROM t") == []


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_what_is_prepared_is_known_to_each_connection_also_to_one_that_is_new(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=1))
    double = Prepared(
        "double", "integer", "SELECT 2 * $1, count(*)::int FROM pg_prepared_statements"
    )
    for number in (1, 2):
        rows = await database.statement("EXECUTE double(%s)", [number], double)
        assert rows == [(2 * number, 1)]
    cluster.terminate_backends()
    await works(database)
    assert await database.statement("EXECUTE double(%s)", [3], double) == [(6, 1)]


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_prepared_is_refused_and_spares_the_connection(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=1))
    wrong = Prepared("wrong", "integer", "SELECT $1 FROM nowhere")
    for _ in range(2):
        error = await failure_of(database.statement("EXECUTE wrong(%s)", [1], wrong))
        assert isinstance(error, StatementRefused)
        assert error.sqlstate == "42P01"
    assert await database.statement("SELECT 1") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_a_transaction_returns_what_its_work_does_and_is_committed(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))

    async def work(transaction: Transaction) -> tuple[int, list[tuple[int]]]:
        count = await transaction.execute("INSERT INTO t VALUES (1), (2)")
        return count, await transaction.rows("SELECT a FROM t ORDER BY a")

    assert await database.transaction(work) == (2, [(1,), (2,)])
    assert cluster.sql("SELECT count(*) FROM t") == [(2,)]


@pytest_twisted.ensureDeferred
async def test_any_exception_rolls_a_transaction_back_and_comes_out_as_it_is(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))

    async def work(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO t VALUES (1)")
        raise LookupError("not so")

    error = await failure_of(database.transaction(work))
    assert isinstance(error, LookupError)
    assert await database.statement("SELECT a FROM t") == []


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_an_error_swallowed_in_a_transaction_is_no_success(
    cluster: Cluster, make: Make, table: None
) -> None:
    """PostgreSQL would answer COMMIT with ROLLBACK, and everything would be lost without a word."""
    database = await ready(make(cluster.url(), size=1))

    async def work(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO t VALUES (1)")
        with contextlib.suppress(StatementRefused):
            await transaction.execute("INSERT INTO t VALUES (1)")

    error = await failure_of(database.transaction(work))
    assert isinstance(error, StatementRefused)
    assert "swallowed" in str(error)
    assert await database.statement("SELECT a FROM t") == []


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_refused_statement_says_which_constraint_and_why(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    error = await failure_of(database.transaction(inserts(1, 1)))
    assert isinstance(error, StatementRefused)
    assert (error.sqlstate, error.constraint) == ("23505", "only_once")
    assert str(error).startswith("23505: duplicate key value")
    syntax = await failure_of(database.statement("SELEC"))
    assert isinstance(syntax, StatementRefused)
    assert (syntax.sqlstate, syntax.constraint) == ("42601", None)


@pytest.mark.parametrize("value", [object(), "NUL \0", "a lone \ud800 surrogate"])
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_sent_is_a_defect_and_not_an_absent_database(
    cluster: Cluster, make: Make, value: object
) -> None:
    """Else it would be tried again for ever. The connection is as good as before."""
    database = await ready(make(cluster.url(), size=1))
    before = backends(cluster)
    error = await failure_of(database.statement("SELECT %s", [value]))
    assert isinstance(error, DatabaseError)
    assert not isinstance(error, Unavailable)
    assert await database.statement("SELECT 1") == [(1,)]
    assert backends(cluster) == before


# ------------------------------------------------------------------ repeated by itself


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_of_two_transactions_that_deadlock_both_are_done_in_the_end(
    cluster: Cluster, make: Make, table: None
) -> None:
    cluster.sql("INSERT INTO t VALUES (1, 0), (2, 0)")
    database = await ready(make(cluster.url(), size=2), 2)
    calls: list[int] = []
    having_one: list[int] = []
    both_have_one: Deferred[None] = Deferred()

    def in_order(*order: int) -> Callable[[Transaction], Any]:
        async def work(transaction: Transaction) -> None:
            calls.append(order[0])
            await transaction.execute("UPDATE t SET b = b + 1 WHERE a = %s", [order[0]])
            having_one.append(order[0])
            if len(having_one) == 2:
                both_have_one.callback(None)
            await until(lambda: both_have_one.called, "the other")
            await transaction.execute("UPDATE t SET b = b + 1 WHERE a = %s", [order[1]])

        return work

    await gatherResults(
        [database.transaction(in_order(1, 2)), database.transaction(in_order(2, 1))]
    )
    assert cluster.sql("SELECT b FROM t") == [(2,), (2,)]
    assert len(calls) == 3


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_serialization_failure_is_repeated(
    cluster: Cluster, make: Make, table: None
) -> None:
    cluster.sql("INSERT INTO t VALUES (1, 0)")
    database = await ready(make(cluster.url(), size=2), 2)
    seen: list[int] = []

    async def work(transaction: Transaction) -> None:
        await transaction.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ((value,),) = await transaction.rows("SELECT b FROM t")
        seen.append(value)
        if len(seen) == 1:
            await database.statement("UPDATE t SET b = 100")
        await transaction.execute("UPDATE t SET b = %s", [value + 1])

    await database.transaction(work)
    assert seen == [0, 100]
    assert cluster.sql("SELECT b FROM t") == [(101,)]


@pytest.mark.parametrize(("failures", "succeeds"), [(2, True), (3, False)])
@pytest_twisted.ensureDeferred
async def test_a_statement_too_is_repeated_but_not_for_ever(
    cluster: Cluster, make: Make, table: None, failures: int, succeeds: bool
) -> None:
    """Three times in all, and none of those that failed has left anything."""
    cluster.sql("CREATE SEQUENCE tries OWNED BY t.a")
    cluster.sql(
        f"""
        CREATE OR REPLACE FUNCTION try_it() RETURNS integer LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('tries') <= {failures} THEN
                RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN 7;
        END $$
        """
    )
    database = await ready(make(cluster.url(), size=1))
    began = reactor.seconds()
    statement = database.statement("INSERT INTO t VALUES (1); SELECT try_it()")
    if succeeds:
        assert await statement == [(7,)]
    else:
        error = await failure_of(statement)
        assert isinstance(error, StatementRefused)
        assert error.sqlstate == "40001"
    # Repeated at once, two that deadlocked could do so again and again.
    assert took(began) >= 0.75 * (0.1 + 0.2)
    assert cluster.sql("SELECT count(*), (SELECT last_value FROM tries) FROM t") == [
        (int(succeeds), 3)
    ]


# ----------------------------------------------------------------- cancelled by an impatient client


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_cancelled_statement_goes_on_and_poisons_nothing(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    before = backends(cluster)
    statement = database.statement("INSERT INTO t VALUES (1); SELECT pg_sleep(0.1)")
    statement.cancel()
    assert isinstance(await failure_of(statement), CancelledError)
    assert await database.statement("SELECT a FROM t") == [(1,)]
    assert backends(cluster) == before


@pytest_twisted.ensureDeferred
async def test_a_cancelled_transaction_goes_on_and_is_committed(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    before = backends(cluster)
    transaction = database.transaction(inserts(1, 2, 3))
    await deferLater(reactor, 0)
    transaction.cancel()
    assert isinstance(await failure_of(transaction), CancelledError)
    assert await database.statement("SELECT count(*) FROM t") == [(3,)]
    assert backends(cluster) == before


@pytest_twisted.ensureDeferred
async def test_a_caller_who_is_cancelled_while_waiting_takes_nobodys_turn(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=1))
    busy = database.statement("SELECT pg_sleep(0.1)")
    cancelled = database.statement("SELECT 'given up'")
    after = database.statement("SELECT 'after'")
    cancelled.cancel()
    await failure_of(cancelled)
    await busy
    assert await after == [("after",)]
    assert database.usage == (1, 0, 0)


# ------------------------------------------------------------------ bounded in time and number


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_statement_that_takes_too_long_ends_in_time_and_spares_its_connection(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=1, limits=QUICK))
    before, began = backends(cluster), reactor.seconds()
    error = await failure_of(database.statement("SELECT pg_sleep(9)"))
    assert isinstance(error, Unavailable)
    assert not isinstance(error, OutcomeUnknown)
    assert took(began) < QUICK.statement
    assert await database.statement("SELECT 1") == [(1,)]
    assert backends(cluster) == before


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_the_wait_for_a_lock_ends_in_time(cluster: Cluster, make: Make, table: None) -> None:
    cluster.sql("INSERT INTO t VALUES (1, 0)")
    database = await ready(make(cluster.url(), size=2, limits=QUICK), 2)
    errors: list[BaseException] = []

    async def work(transaction: Transaction) -> None:
        await transaction.execute("UPDATE t SET b = 1")
        errors.append(await failure_of(database.statement("UPDATE t SET b = 2")))

    await database.transaction(work)
    assert isinstance(errors[0], Unavailable)
    assert cluster.sql("SELECT b FROM t") == [(1,)]


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_work_that_dawdles_in_a_transaction_loses_it_and_the_locks(
    cluster: Cluster, make: Make, table: None
) -> None:
    limits = Limits(statement=0.3)
    database = await ready(make(cluster.url(), size=1, limits=limits))

    async def work(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO t VALUES (1)")
        await deferLater(reactor, 1.0)
        await transaction.execute("INSERT INTO t VALUES (2)")

    error = await failure_of(database.transaction(work))
    assert isinstance(error, Unavailable)
    await works(database)
    assert cluster.sql("SELECT a FROM t") == []


@pytest_twisted.ensureDeferred
async def test_while_all_connections_are_busy_callers_wait_a_while_and_only_so_many(
    cluster: Cluster, make: Make
) -> None:
    limits = Limits(statement=3.0, borrow=0.3, waiting=2)
    database = await ready(make(cluster.url(), size=1, limits=limits))
    busy = database.statement("SELECT pg_sleep(0.8)")
    began = reactor.seconds()
    waiting = [database.statement("SELECT 1") for _ in range(2)]
    assert "too many" in str(await failure_of(database.statement("SELECT 1")))
    assert took(began) < AT_ONCE
    assert database.usage == (1, 1, 2)
    for each in waiting:
        error = await failure_of(each)
        assert isinstance(error, Unavailable)
        assert "busy" in str(error)
    assert 0.3 <= took(began) < 0.8
    await busy
    assert database.usage == (1, 0, 0)


@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_connection_is_told_at_once_when_the_last_one_is_lost(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=1))
    busy = database.statement("SELECT pg_sleep(2)").addErrback(lambda failure: failure.value)
    waiting = database.statement("SELECT 1")
    cluster.terminate_backends()
    began = reactor.seconds()
    error = await failure_of(waiting)
    assert isinstance(error, Unavailable)
    assert "lost" in str(error)
    assert took(began) < AT_ONCE
    assert isinstance(await busy, OutcomeUnknown)


@pytest_twisted.ensureDeferred
async def test_a_transaction_that_is_left_open_is_not_handed_to_the_next(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    assert await database.statement("BEGIN; INSERT INTO t VALUES (1); SELECT 7") == [(7,)]
    await works(database)
    assert await database.statement("INSERT INTO t VALUES (1) RETURNING a") == [(1,)]
    assert cluster.sql("SELECT a FROM t") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_callers_are_served_in_the_order_in_which_they_came(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=2), 2)
    served: list[int] = []

    async def call(caller: int) -> None:
        await database.statement("SELECT pg_sleep(0.005)")
        served.append(caller)

    await gatherResults([Deferred.fromCoroutine(call(caller)) for caller in range(50)])
    # Of two connections the second may answer first, so neighbours may change places.
    assert all(abs(place - caller) <= 2 for place, caller in enumerate(served))


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_commit_that_takes_too_long_is_unknown_in_time(
    cluster: Cluster, make: Make, table: None
) -> None:
    """A constraint looked at late: PostgreSQL's own time limit ends before the commit begins."""
    cluster.sql(
        """
        CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(9); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION dawdle()
        """
    )
    database = await ready(make(cluster.url(), size=1, limits=QUICK))
    began = reactor.seconds()
    assert isinstance(await failure_of(database.transaction(inserts(1))), OutcomeUnknown)
    assert QUICK.statement <= took(began) < QUICK.statement + AT_ONCE


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_commit_that_postgresql_refuses_is_known_not_to_be_there(
    cluster: Cluster, make: Make, table: None
) -> None:
    cluster.sql("ALTER TABLE t ADD CONSTRAINT late UNIQUE (b) DEFERRABLE INITIALLY DEFERRED")
    database = await ready(make(cluster.url(), size=1))

    async def work(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO t VALUES (1, 1), (2, 1)")

    error = await failure_of(database.transaction(work))
    assert isinstance(error, StatementRefused)
    assert (error.sqlstate, error.constraint) == ("23505", "late")
    assert await database.statement("SELECT a FROM t") == []


@pytest.mark.parametrize("way", ["statement", "transaction"])
@pytest_twisted.ensureDeferred
async def test_a_commit_that_nobody_confirms_in_time_is_unknown(
    cluster: Cluster, make: Make, proxy: Proxy, table: None, way: str
) -> None:
    """The answer is lost on the way: what is on disk can't be told, and isn't."""
    database = await ready(make(cluster.url(port=proxy.port), size=1, limits=QUICK))
    began = reactor.seconds()
    if way == "statement":
        outcome: Deferred[Any] = database.statement("INSERT INTO t VALUES (1)")
        proxy.freeze(future=True)
    else:

        async def work(transaction: Transaction) -> None:
            await transaction.execute("INSERT INTO t VALUES (1)")
            proxy.freeze(future=True)

        outcome = database.transaction(work)
    assert isinstance(await failure_of(outcome), OutcomeUnknown)
    assert took(began) < QUICK.statement + AT_ONCE


@pytest.fixture
def absent_standby(cluster: Cluster) -> Iterator[None]:
    """Every commit waits for a standby that is not there."""
    cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    cluster.sql("SELECT pg_reload_conf()")
    while cluster.sql("SHOW synchronous_standby_names") != [("nobody",)]:
        pass
    yield
    cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
    cluster.sql("SELECT pg_reload_conf()")


@with_debian_too
@pytest.mark.parametrize("way", ["statement", "transaction"])
@pytest_twisted.ensureDeferred
async def test_a_commit_that_waits_for_an_absent_standby_is_unknown_in_time(
    cluster: Cluster, make: Make, table: None, absent_standby: None, way: str
) -> None:
    """PostgreSQL's own time limit does not cover that wait."""
    database = await ready(make(cluster.url(), size=1, limits=QUICK))
    began = reactor.seconds()
    if way == "statement":
        error = await failure_of(database.statement("INSERT INTO t VALUES (1)"))
    else:
        error = await failure_of(database.transaction(inserts(1)))
    assert isinstance(error, OutcomeUnknown)
    assert QUICK.statement <= took(began) < QUICK.statement + AT_ONCE


@with_debian_too
@pytest.mark.parametrize("way", ["statement", "transaction"])
@pytest_twisted.ensureDeferred
async def test_a_commit_that_is_only_on_the_primary_is_unknown(
    cluster: Cluster, make: Make, table: None, absent_standby: None, way: str
) -> None:
    """PostgreSQL says COMMIT, with a warning that it may not have been replicated."""
    database = await ready(make(cluster.url(), size=1))
    before = backends(cluster)
    if way == "statement":
        outcome: Deferred[Any] = database.statement("INSERT INTO t VALUES (1)")
    else:
        outcome = database.transaction(inserts(1))
    outcome.addErrback(lambda failure: failure.value)
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    await until(lambda: cluster.sql(waiting), "the commit to wait")
    cluster.sql("SELECT pg_cancel_backend(%s)", before[0])
    error = await outcome
    assert isinstance(error, OutcomeUnknown)
    assert "replicated" in str(error)
    assert await database.statement("SELECT a FROM t") == [(1,)]
    assert backends(cluster) == before


# ------------------------------------------------------------------ absent, lost and found again


@pytest_twisted.ensureDeferred
async def test_without_a_database_the_answer_is_unavailable_at_once(make: Make) -> None:
    """Before the first attempt to connect, and after it, with the reason."""
    database = make(f"postgresql://hotpotato@127.0.0.1:{free_port()}/hotpotato")
    began = reactor.seconds()
    assert isinstance(await failure_of(database.statement("SELECT 1")), Unavailable)
    await until(lambda: "refused" in database.trouble, "the reason")
    error = await failure_of(database.transaction(inserts(1)))
    assert isinstance(error, Unavailable)
    assert "refused" in str(error)
    assert took(began) < AT_ONCE
    assert not database.available


@pytest_twisted.ensureDeferred
async def test_a_daemon_started_before_its_database_waits_and_says_so_once(
    cluster: Cluster, make: Make, proxy: Proxy, logged: list[LogEvent]
) -> None:
    await proxy.close()
    database = make(cluster.url(port=proxy.port))
    await until(lambda: "refused" in database.trouble, "the reason")
    await deferLater(reactor, 1.0)
    told = [event["log_format"] for event in logged if "database" in event["log_format"]]
    assert told == ["database unavailable, trying again: {why}"]
    proxy.open()
    assert await works(database) < RECOVERED_WITHIN
    told = [event["log_format"] for event in logged if "database" in event["log_format"]]
    assert told[1:] == ["database available"]


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_database_that_does_not_exist_yet_is_waited_for(
    cluster: Cluster, make: Make
) -> None:
    database = make(cluster.url("later"))
    await until(lambda: 'database "later" does not exist' in database.trouble, "the reason")
    cluster.sql("CREATE DATABASE later")
    assert await works(database) < RECOVERED_WITHIN
    await database.stop()
    cluster.sql("DROP DATABASE later WITH (FORCE)")


@with_debian_too
@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest_twisted.ensureDeferred
async def test_after_a_restart_it_works_again_by_itself(
    cluster: Cluster, make: Make, end: str
) -> None:
    database = await ready(make(cluster.url(), size=3), 3)
    getattr(cluster, end)()
    await until(lambda: not database.available, "the loss to be noticed", AT_ONCE)
    await deferLater(reactor, 1.0)
    began = reactor.seconds()
    assert isinstance(await failure_of(database.statement("SELECT 1")), Unavailable)
    assert took(began) < AT_ONCE
    cluster.start()
    assert await works(database) < RECOVERED_WITHIN
    await ready(database, 3)


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_when_all_connections_are_ended_new_ones_take_their_places(
    cluster: Cluster, make: Make
) -> None:
    """Idle ones and busy ones, and none is lost from the pool for good."""
    database = await ready(make(cluster.url(), size=3), 3)
    for _ in range(3):
        busy = [database.statement("SELECT pg_sleep(2)") for _ in range(2)]
        await deferLater(reactor, 0.02)
        cluster.terminate_backends()
        for each in busy:
            assert isinstance(await failure_of(each), Unavailable)
        assert await works(database) < RECOVERED_WITHIN
        await until(lambda: database.usage == (3, 0, 0), "a full pool")
        assert len(backends(cluster)) == 3


@with_debian_too
@pytest.mark.parametrize("way", ["statement", "transaction", "idle"])
@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_reset_is_replaced(
    cluster: Cluster, make: Make, proxy: Proxy, table: None, way: str
) -> None:
    """By a firewall, say: PostgreSQL had no last word."""
    database = await ready(make(cluster.url(port=proxy.port), size=1))
    if way == "statement":
        statement = database.statement("INSERT INTO t VALUES (1); SELECT pg_sleep(2)")
        await deferLater(reactor, 0.05)
        proxy.cut()
        assert isinstance(await failure_of(statement), OutcomeUnknown)
    elif way == "transaction":

        async def work(transaction: Transaction) -> None:
            await transaction.execute("INSERT INTO t VALUES (1)")
            proxy.cut()
            await transaction.execute("INSERT INTO t VALUES (2)")

        error = await failure_of(database.transaction(work))
        assert type(error) is Unavailable
    else:
        proxy.cut()
        await until(lambda: not database.available, "the loss to be noticed", AT_ONCE)
    assert await works(database) < RECOVERED_WITHIN
    assert database.usage == (1, 0, 0)


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_connection_lost_in_a_transaction_commits_nothing_and_frees_its_place(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))

    async def work(transaction: Transaction) -> None:
        await transaction.execute("INSERT INTO t VALUES (1)")
        cluster.terminate_backends()
        await transaction.execute("INSERT INTO t VALUES (2)")

    error = await failure_of(database.transaction(work))
    assert isinstance(error, Unavailable)
    assert not isinstance(error, OutcomeUnknown)
    await works(database)
    assert cluster.sql("SELECT a FROM t") == []
    assert database.usage == (1, 0, 0)


@pytest_twisted.ensureDeferred
async def test_a_server_that_throws_everybody_out_is_not_asked_at_full_speed(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    database = make(cluster.url(port=proxy.port), size=2)
    end = reactor.seconds() + 1.0
    while reactor.seconds() < end:
        if database.available:
            proxy.cut()
        await deferLater(reactor, 0.001)
    assert 2 <= proxy.accepted <= 12


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_frozen_server_is_given_up_in_time_and_found_again(
    cluster: Cluster, make: Make
) -> None:
    """Its sockets stay open and nothing is ever answered."""
    database = await ready(make(cluster.url(), size=3, limits=QUICK), 3)
    under_way = database.statement("SELECT pg_sleep(0.2)")
    await deferLater(reactor, 0.05)
    cluster.freeze()
    try:
        began = reactor.seconds()
        assert isinstance(await failure_of(under_way), Unavailable)
        assert took(began) < QUICK.statement + AT_ONCE
        await failure_of(database.statement("SELECT 1"))
        for _ in range(3):
            began = reactor.seconds()
            assert isinstance(await failure_of(database.statement("SELECT 1")), Unavailable)
            assert took(began) < AT_ONCE
            await deferLater(reactor, 0.3)
    finally:
        cluster.thaw()
    assert await works(database) < RECOVERED_WITHIN
    await ready(database, 3)


@pytest_twisted.ensureDeferred
async def test_connections_that_died_without_a_word_are_never_handed_out(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    """After a while of disuse they are asked first, and nobody's statement is lost on them."""
    database = await ready(make(cluster.url(port=proxy.port), size=6, limits=QUICK), 6)
    proxy.freeze()
    await deferLater(reactor, QUICK.stale)
    began = reactor.seconds()
    answers = 0
    while answers < 20:
        try:
            await database.statement("SELECT 1")
            answers += 1
        except OutcomeUnknown:
            raise
        except Unavailable:
            # None is left and the new ones are not there yet: said at once, nothing was sent.
            await deferLater(reactor, 0.02)
    assert took(began) < QUICK.ping + 1.0


@pytest_twisted.ensureDeferred
async def test_of_many_dead_connections_only_one_has_to_be_asked(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    """One after the other they would cost a caller more time than it has."""
    database = await ready(make(cluster.url(port=proxy.port), size=6, limits=QUICK), 6)
    proxy.freeze(future=True)
    await deferLater(reactor, QUICK.stale)
    began = reactor.seconds()
    assert isinstance(await failure_of(database.statement("SELECT 1")), Unavailable)
    assert took(began) < QUICK.ping + AT_ONCE
    assert not database.available


@pytest_twisted.ensureDeferred
async def test_when_one_connection_fails_the_others_are_asked_before_they_are_used(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    """Also those that were good a moment ago: they most likely went the same way."""
    limits = Limits(statement=0.8, ping=0.3, stale=60.0)
    database = await ready(make(cluster.url(port=proxy.port), size=3, limits=limits), 3)
    proxy.freeze()
    assert isinstance(await failure_of(database.statement("SELECT 1")), OutcomeUnknown)
    began = reactor.seconds()
    while True:
        try:
            await database.statement("SELECT 1")
            break
        except OutcomeUnknown:
            raise
        except Unavailable:
            await deferLater(reactor, 0.02)
    assert took(began) < limits.statement


# ------------------------------------------------------------------ LISTEN


def words(heard: list[Any]) -> set[str]:
    return set().union(*(payloads for payloads in heard if payloads))


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_notifications_are_heard_also_after_the_connection_was_lost(
    cluster: Cluster, make: Make
) -> None:
    """And as something may have been missed meanwhile, it is said that everything is due a look."""
    database = await ready(make(cluster.url(), size=1))
    heard: list[frozenset[str] | None] = []
    database.listen(heard.append)
    await until(lambda: heard, "the beginning")
    assert heard == [None]
    for word in ("one", "two", "three"):
        heard.clear()
        cluster.sql("SELECT pg_notify('hotpotato', %s)", word)
        await until(lambda: heard, "the word", 2.0)
        assert words(heard) == {word}
        heard.clear()
        cluster.terminate_backends()
        await until(lambda: heard, "a new beginning", 2.0)
        assert heard == [None]
    await ready(database)
    await database.statement(
        "SELECT pg_notify('hotpotato', 'four'), pg_notify('hotpotato', 'five')"
    )
    await until(lambda: words(heard) >= {"four", "five"}, "what is sent together", 2.0)


@pytest_twisted.ensureDeferred
async def test_a_hint_is_heard_by_its_own_process_only_and_what_follows_at_once_is_told_together(
    cluster: Cluster, make: Make
) -> None:
    mine, other = make(cluster.url(), size=1), make(cluster.url(), size=1)
    heard: list[frozenset[str] | None] = []
    elsewhere: list[frozenset[str] | None] = []
    mine.listen(heard.append)
    other.listen(elsewhere.append)
    await until(lambda: heard and elsewhere, "the beginning")
    mine.hint("one")
    assert heard == [None, frozenset({"one"})]
    for word in ("two", "three", "two"):
        mine.hint(word)
    await until(lambda: len(heard) > 2, "what is told together", 2.0)
    assert heard[2:] == [frozenset({"two", "three"})]
    cluster.sql("SELECT pg_notify('hotpotato', 'all')")
    await until(lambda: "all" in words(elsewhere), "what all are told", 2.0)
    assert words(elsewhere) == {"all"}


@pytest_twisted.ensureDeferred
async def test_the_one_who_listens_notices_a_peer_that_is_gone_without_a_word(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    database = make(cluster.url(port=proxy.port), size=1, limits=QUICK)
    heard: list[frozenset[str] | None] = []
    database.listen(heard.append)
    await until(lambda: heard, "the beginning")
    proxy.freeze()
    await until(lambda: len(heard) > 1, "a new beginning", QUICK.listen + QUICK.ping + 2.0)
    cluster.sql("SELECT pg_notify('hotpotato', 'again')")
    await until(lambda: "again" in words(heard), "what is said now", 2.0)


@pytest_twisted.ensureDeferred
async def test_a_listener_that_raises_is_told_of_and_goes_on_listening(
    cluster: Cluster, make: Make, logged: list[LogEvent]
) -> None:
    database = make(cluster.url(), size=1)
    heard: list[frozenset[str] | None] = []

    def listener(payloads: frozenset[str] | None) -> None:
        heard.append(payloads)
        if len(heard) < 3:
            raise LookupError("what?")

    database.listen(listener)
    await until(lambda: heard, "the beginning")
    for word in ("one", "two"):
        before = len(heard)
        cluster.sql("SELECT pg_notify('hotpotato', %s)", word)
        await until(lambda: len(heard) > before, "the word", 2.0)  # noqa: B023
    assert heard == [None, frozenset({"one"}), frozenset({"two"})]
    failures = [event for event in logged if "log_failure" in event]
    assert [event["log_failure"].type for event in failures] == [LookupError, LookupError]
    logged[:] = [event for event in logged if event not in failures]


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_where_listening_is_refused_it_is_not_tried_at_full_speed(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    """As on a standby, which a URL may allow."""
    cluster.become_standby()
    try:
        url = cluster.url(port=proxy.port) + "?target_session_attrs=any"
        database = await ready(make(url, size=1))
        before = proxy.accepted
        database.listen(lambda payloads: None)
        await deferLater(reactor, 1.0)
        assert 2 <= proxy.accepted - before <= 10
    finally:
        cluster.sql("SELECT pg_promote()")


# ------------------------------------------------------------------ several servers


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest_twisted.ensureDeferred
async def test_a_dead_first_server_is_passed_over(cluster: Cluster, make: Make) -> None:
    url = f"postgresql://hotpotato@127.0.0.1:{free_port()},127.0.0.1:{cluster.port}/hotpotato"
    assert await works(make(url)) < 1.0


@pytest_twisted.ensureDeferred
async def test_a_silent_first_server_costs_its_time_once_and_not_for_each_connection(
    cluster: Cluster, make: Make, black_hole: int
) -> None:
    url = f"postgresql://hotpotato@127.0.0.1:{black_hole},127.0.0.1:{cluster.port}/hotpotato"
    began = reactor.seconds()
    await ready(make(url, size=5, limits=QUICK), 5)
    assert QUICK.connect <= took(began) < QUICK.connect + 1.0


@pytest_twisted.ensureDeferred
async def test_while_a_silent_server_costs_its_time_there_is_no_pause_on_top(
    make: Make, black_hole: int
) -> None:
    """A standby may have been promoted meanwhile, and waits to be asked."""
    with socket.create_server(("127.0.0.1", 0)) as closing:
        closing.setblocking(False)
        standby = closing.getsockname()[1]
        limits = msgspec.structs.replace(QUICK, connect=0.3, retry_least=0.3, retry_most=0.3)
        began = reactor.seconds()
        make(f"postgresql://u@127.0.0.1:{black_hole},127.0.0.1:{standby}/d", limits=limits)
        for _ in range(6):
            await until(lambda: asked(closing), "to be asked")
    assert took(began) < 6 * 0.3 + 1.0


def asked(listening: socket.socket) -> bool:
    """Turn away one who connects, if somebody does."""
    with contextlib.suppress(BlockingIOError):
        listening.accept()[0].close()
        return True
    return False


@pytest_twisted.ensureDeferred
async def test_when_all_servers_are_away_it_says_what_is_wrong_with_each(
    make: Make, black_hole: int
) -> None:
    port = free_port()
    database = make(
        f"postgresql://u:secret@127.0.0.1:{port},127.0.0.1:{black_hole}/d", limits=QUICK
    )
    await until(lambda: ";" in database.trouble, "the reasons")
    refused, silent = database.trouble.split("; ")
    assert str(port) in refused
    assert "refused" in refused
    assert silent == f"127.0.0.1:{black_hole}: no connection within 0.6 s"
    assert "secret" not in database.trouble


@with_debian_too
@pytest.mark.parametrize("asked", ["", "?target_session_attrs=read-write"])
@pytest_twisted.ensureDeferred
async def test_a_standby_is_not_used_until_it_is_promoted(
    cluster: Cluster, make: Make, asked: str
) -> None:
    """Asked for or not: a daemon can do nothing on a server that only reads."""
    cluster.become_standby()
    try:
        database = make(cluster.url() + asked)
        await until(lambda: "read-only" in database.trouble, "the reason")
        assert not database.available
    finally:
        cluster.sql("SELECT pg_promote()")
    assert await works(database) < RECOVERED_WITHIN


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_when_the_primary_dies_and_the_standby_is_promoted_work_goes_on_there(
    cluster: Cluster, make: Make
) -> None:
    with running() as standby:
        standby.become_standby()
        url = (
            f"postgresql://hotpotato@127.0.0.1:{standby.port},127.0.0.1:{cluster.port}/hotpotato"
            "?target_session_attrs=read-write"
        )
        database = await ready(make(url, size=3), 3)
        where = "SELECT current_setting('port')::integer"
        assert await database.statement(where) == [(cluster.port,)]
        cluster.kill()
        try:
            await until(lambda: "read-only" in database.trouble, "the reason")
            standby.sql("SELECT pg_promote()")
            assert await works(database) < RECOVERED_WITHIN
            assert await database.statement(where) == [(standby.port,)]
        finally:
            await database.stop()
            cluster.start()


@with_debian_too
@pytest_twisted.ensureDeferred
async def test_a_connection_whose_server_only_reads_by_now_is_not_kept(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=1))
    before = backends(cluster)
    cluster.sql("ALTER DATABASE hotpotato SET default_transaction_read_only = on")

    async def work(transaction: Transaction) -> None:
        await transaction.execute("SET TRANSACTION READ ONLY")
        await transaction.execute("INSERT INTO t VALUES (1)")

    try:
        assert isinstance(await failure_of(database.transaction(work)), Unavailable)
        await until(lambda: "read-only" in database.trouble, "the reason")
        assert not set(backends(cluster)) & set(before)
    finally:
        cluster.sql("ALTER DATABASE hotpotato RESET default_transaction_read_only")


# ------------------------------------------------------------------ names


class Resolver:
    """Answers with the addresses it is given, when told to."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []
        self.silent = False

    def resolveHostName(self, receiver: Any, name: str, *rest: Any, **more: Any) -> Any:
        self.asked.append(name)
        receiver.resolutionBegan(self)
        if not self.silent:
            for address in self.addresses:
                receiver.addressResolved(IPv4Address("TCP", address, 0))
            receiver.resolutionComplete()
        return self


class NamesResolvedBy:
    """The reactor, with another resolver."""

    def __init__(self, resolver: Resolver) -> None:
        self.nameResolver = resolver

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@pytest_twisted.ensureDeferred
async def test_names_are_resolved_by_the_reactor_and_every_address_is_tried(
    cluster: Cluster, make: Make
) -> None:
    """libpq would resolve them itself, and hold everything up meanwhile."""
    resolver = Resolver(["127.0.0.2", "127.0.0.1"])
    url = f"postgresql://hotpotato@db.example.org:{cluster.port}/hotpotato"
    database = make(url, size=2, reactor=NamesResolvedBy(resolver))
    await works(database)
    assert set(resolver.asked) == {"db.example.org"}
    resolver.addresses = []
    cluster.terminate_backends()
    await until(lambda: "db.example.org" in database.trouble, "the reason")
    assert database.trouble == f"db.example.org:{cluster.port}: no such name"
    resolver.addresses = ["127.0.0.1"]
    assert await works(database) < RECOVERED_WITHIN


@pytest_twisted.ensureDeferred
async def test_a_name_server_that_is_silent_holds_nothing_up_for_long(
    cluster: Cluster, make: Make
) -> None:
    resolver = Resolver([])
    resolver.silent = True
    url = f"postgresql://hotpotato@db.example.org,127.0.0.1:{cluster.port}/hotpotato"
    url = url.replace("db.example.org", f"db.example.org:{cluster.port}")
    database = make(url, size=2, limits=QUICK, reactor=NamesResolvedBy(resolver))
    began = reactor.seconds()
    assert isinstance(await failure_of(database.statement("SELECT 1")), Unavailable)
    assert took(began) < AT_ONCE
    await ready(database, 2)
    assert QUICK.connect <= took(began) < QUICK.connect + 1.0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "it is empty"),
        ("u:hunter2@h/db", 'missing "="'),
        ("postgresql://u:hunter2@[::1/db", "IPv6"),
        ("postgresql://u:hunter%2@h/db", "invalid percent-encoded token"),
        ("postgresql://u:hunter2@h/db?colour=red", 'invalid URI query parameter: "colour"'),
        ("postgresql://u:hun@ter2@h/db", "an @ in the name"),
        ("postgresql://u:hunter2/x@h/db", "a port is not a number"),
        ("postgresql://u:hunter2@h:99999/db", "a port is not a number"),
        ("postgresql://u:hunter2@a:1,b:2,c:3/db?port=1,2", "one port, or one for each host"),
        ("postgresql://u:hunter2@a,b/db?hostaddr=127.0.0.1,127.0.0.2,::1", "one host, or one"),
    ],
)
def test_a_url_that_cannot_be_understood_is_refused_without_telling_the_password(
    url: str, said: str
) -> None:
    with pytest.raises(BadUrl) as raised:
        Database(url, reactor=reactor)
    assert said in str(raised.value)
    assert "hun" not in str(raised.value)
    assert "ter" not in str(raised.value).replace("character", "").replace("parameter", "")
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------ the end


@pytest_twisted.ensureDeferred
async def test_stop_finishes_what_is_under_way_and_closes_everything(
    cluster: Cluster, make: Make, table: None
) -> None:
    database = await ready(make(cluster.url(), size=2), 2)
    heard: list[frozenset[str] | None] = []
    database.listen(heard.append)
    await until(lambda: heard, "the beginning")
    busy = [database.transaction(inserts(row, row + 10)) for row in (1, 2)]
    waiting = database.transaction(inserts(3)).addErrback(lambda failure: failure.value)
    await database.stop()
    assert [await each for each in busy] == [None, None]
    error = await waiting
    assert isinstance(error, Unavailable)
    assert "stopping" in str(error)
    assert "stopping" in str(await failure_of(database.statement("SELECT 1")))
    assert database.usage == (0, 0, 0)
    assert cluster.sql("SELECT a FROM t ORDER BY a") == [(1,), (2,), (11,), (12,)]
    await until(lambda: not backends(cluster), "PostgreSQL to notice")


@pytest_twisted.ensureDeferred
async def test_stop_ends_an_attempt_to_connect(make: Make, black_hole: int) -> None:
    """Nothing is left open: `logged` looks at that after each of these tests."""
    database = make(f"postgresql://u@127.0.0.1:{black_hole}/d")
    database.listen(lambda payloads: None)
    await deferLater(reactor, 0.05)
    began = reactor.seconds()
    await database.stop()
    assert took(began) < AT_ONCE


@pytest_twisted.ensureDeferred
async def test_stop_ends_the_looking_up_of_a_name(make: Make) -> None:
    resolver = Resolver([])
    resolver.silent = True
    database = make("postgresql://u@db.example.org/d", reactor=NamesResolvedBy(resolver))
    await until(lambda: resolver.asked, "the question")
    began = reactor.seconds()
    await database.stop()
    assert took(began) < AT_ONCE


@pytest_twisted.ensureDeferred
async def test_stop_ends_the_pause_before_another_attempt(make: Make) -> None:
    database = make(f"postgresql://u@127.0.0.1:{free_port()}/d")
    await until(lambda: "refused" in database.trouble, "the reason")
    await deferLater(reactor, 0.5)
    await database.stop()


@pytest_twisted.ensureDeferred
async def test_stop_does_not_wait_for_a_peer_that_does_not_answer_the_listener(
    cluster: Cluster, make: Make, proxy: Proxy
) -> None:
    limits = Limits(listen=0.1, ping=5.0)
    database = make(cluster.url(port=proxy.port), size=1, limits=limits)
    heard: list[frozenset[str] | None] = []
    database.listen(heard.append)
    await until(lambda: heard and database.available, "the beginning")
    proxy.freeze(future=True)
    await deferLater(reactor, 0.3)
    began = reactor.seconds()
    await database.stop()
    assert took(began) < AT_ONCE


@pytest_twisted.ensureDeferred
async def test_a_stop_that_is_cancelled_closes_everything_at_once(
    cluster: Cluster, make: Make
) -> None:
    database = await ready(make(cluster.url(), size=2), 2)
    busy = database.statement("SELECT pg_sleep(4)")
    stopping = Deferred.fromCoroutine(database.stop())
    assert database.usage == (2, 1, 0)
    stopping.cancel()
    assert isinstance(await failure_of(stopping), CancelledError)
    assert isinstance(await failure_of(busy), Unavailable)
    assert database.usage == (0, 0, 0)
