"""The real database without a reactor: for property tests, which can't wait.

`Direct` stands where `store.database.Database` does, and its transactions where `Transaction` does:
the same SQL goes to the same PostgreSQL, over a connection that blocks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from hotpotato.store.database.link import Prepared
from tests.world import VIRTUAL_NOW

T = TypeVar("T")

Arguments = Sequence[Any] | Mapping[str, Any] | None


def run(work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
    """What `work` returns; it must not wait for anything."""
    results: list[Any] = []
    answer = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    answer.addBoth(results.append)
    assert results, "it waits for something"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    result: T = results[0]
    return result


class DirectTransaction:
    """See `Transaction`."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def rows(self, sql: str, args: Arguments = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        self._cursor.execute(sql, args)
        found: list[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    async def execute(self, sql: str, args: Arguments = None) -> int:
        """Run a statement and return how many rows it touched."""
        self._cursor.execute(sql, args)
        count: int = self._cursor.rowcount
        return count


class Direct:
    """See the module. Its clock is virtual, and stands still but for `advance`.

    With `virtual` False the database's clock is left as it is.
    """

    def __init__(self, url: str, *, virtual: bool = True) -> None:
        self.url = url
        self._connection = psycopg2.connect(url)
        self._prepared: set[str] = set()
        if virtual:
            self.sql(VIRTUAL_NOW)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def sql(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run a statement of a test's own."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(sql, args or None)
            return cursor.fetchall() if cursor.description else []

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.sql("UPDATE test_clock SET now = now + make_interval(secs => %s)", seconds)

    def statement(
        self, sql: str, args: Arguments = None, prepared: Prepared | None = None
    ) -> Deferred[list[tuple[Any, ...]]]:
        """See `Database.statement`."""
        with self._connection, self._connection.cursor() as cursor:
            if prepared is not None and prepared.name not in self._prepared:
                cursor.execute(f"PREPARE {prepared.name}({prepared.types}) AS {prepared.sql}")
                self._prepared.add(prepared.name)
            cursor.execute(sql, args)
            return succeed(cursor.fetchall())

    def hint(self, payload: str) -> None:
        """See `Database.hint`; there is no loop to hear it."""

    def transaction(self, work: Callable[[Any], Awaitable[T]]) -> Deferred[T]:
        """See `Database.transaction`."""

        async def working() -> T:
            with self._connection, self._connection.cursor() as cursor:
                return await work(DirectTransaction(cursor))

        return Deferred.fromCoroutine(working())
