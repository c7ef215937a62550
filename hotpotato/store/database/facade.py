"""What the house does with PostgreSQL: statements, transactions, LISTEN."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from hotpotato.store.database.addresses import servers
from hotpotato.store.database.connector import Connector
from hotpotato.store.database.errors import (
    DatabaseError,
    OutcomeUnknown,
    StatementRefused,
    Unavailable,
)
from hotpotato.store.database.keeper import pauses
from hotpotato.store.database.limits import Limits
from hotpotato.store.database.link import Answer, Arguments, Link, Prepared, Row
from hotpotato.store.database.listener import Heard, Listener
from hotpotato.store.database.pool import Pool

T = TypeVar("T")

_ATTEMPTS = 3


class Transaction:
    """A transaction under way. Use it one statement at a time, and only inside its function."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self.begun = False

    async def rows(self, sql: str, args: Arguments = None) -> list[Row]:
        """Run a statement and return all its rows: give it a LIMIT where there may be many."""
        return (await self._run(sql, args)).rows

    async def execute(self, sql: str, args: Arguments = None) -> int:
        """Run a statement for its effect and return the number of rows it touched."""
        return (await self._run(sql, args)).count

    async def _run(self, sql: str, args: Arguments) -> Answer:
        # BEGIN travels with the first statement: one round trip less.
        statement = sql if self.begun else "BEGIN; " + sql
        self.begun = True
        return await self._link.execute(statement, args, self._timeout)


class Database:
    """PostgreSQL, as everybody else in the house sees it.

    `url` is a libpq URI; several hosts in it are tried in turn. Raises BadUrl if it can't be
    understood. Every method may raise `Unavailable`, at once while there is no database, and
    `OutcomeUnknown` where a commit was begun and not confirmed. Cancelling a returned Deferred
    stops nobody's statement: a cancelled query would poison its connection.
    """

    def __init__(
        self,
        url: str,
        *,
        reactor: Any,
        password: str | None = None,
        size: int = 8,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._reactor = reactor
        self._connector = Connector(servers(url, password), reactor, self.limits)
        self._pool = Pool(self._connector, reactor, self.limits, size)
        self._listeners: list[Listener] = []

    # --- life

    def start(self) -> None:
        """Begin to connect, and keep trying for ever."""
        self._pool.start()

    async def stop(self) -> None:
        """Refuse new work, let what is under way finish, then close every connection.

        Cancelled, it closes them at once.
        """
        for listener in self._listeners:
            listener.stop()
        # What is under way may hint yet, to nobody.
        self._listeners.clear()
        await self._pool.stop()

    @property
    def available(self) -> bool:
        """Whether there is at least one connection."""
        return self._pool.available

    @property
    def trouble(self) -> str:
        """Why there is no connection, for people; meaningless while there is one."""
        return self._pool.trouble

    @property
    def usage(self) -> tuple[int, int, int]:
        """Connections open, connections in use, and callers waiting for one."""
        return self._pool.usage

    # --- work

    def statement(
        self, sql: str, args: Arguments = None, prepared: Prepared | None = None
    ) -> Deferred[list[Row]]:
        """Run one query string as a transaction of its own, in one round trip.

        Several statements in it share the transaction; the rows are those of the last. Fires when
        it is committed. It is sent again after a serialization failure or a deadlock, three times
        in all. It may EXECUTE what is `prepared`, for which a connection that doesn't know it yet
        needs one round trip more.
        """
        return _shielded(self._repeated(lambda: self._statement(sql, args, prepared)))

    def transaction(
        self, work: Callable[[Transaction], Awaitable[T]], *, timeout: float | None = None
    ) -> Deferred[T]:
        """Run `work` in a transaction and commit it; any exception rolls it back.

        `work` is called again after a serialization failure or a deadlock, three times in all, so
        it must do nothing but use the transaction. `timeout` is how long each of its statements is
        waited for, instead of `limits.statement`; for longer than that, it must lift PostgreSQL's
        own limits too.
        """
        return _shielded(self._repeated(lambda: self._transaction(work, timeout)))

    def listen(self, heard: Heard) -> None:
        """Call `heard` with the payloads of NOTIFY on the channel, for as long as we live.

        It is a hint and may be lost: `heard(None)` after each connecting means «look at
        everything».
        """
        listener = Listener(self._connector, self._reactor, self.limits, heard)
        self._listeners.append(listener)
        listener.start()

    def hint(self, payload: str) -> None:
        """Have this process hear what a NOTIFY would tell all of them.

        A commit with a NOTIFY waits for every other commit with one, its fsync included.
        """
        for listener in self._listeners:
            listener.hear(frozenset([payload]))

    async def _repeated(self, once: Callable[[], Awaitable[T]]) -> T:
        waits = pauses(self.limits)
        for _ in range(_ATTEMPTS - 1):
            try:
                return await once()
            except StatementRefused as refused:
                if not refused.worth_repeating:
                    raise
            # At once, it could take the lock that the other one waits for, and deadlock again.
            await deferLater(self._reactor, next(waits))
        return await once()

    async def _statement(self, sql: str, args: Arguments, prepared: Prepared | None) -> list[Row]:
        link = await self._pool.borrow()
        try:
            if prepared is not None:
                await link.prepare(prepared, self.limits.statement)
            return (await self._committing(link, sql, args)).rows
        finally:
            self._pool.give_back(link)

    async def _transaction(
        self, work: Callable[[Transaction], Awaitable[T]], timeout: float | None
    ) -> T:
        link = await self._pool.borrow()
        transaction = Transaction(link, timeout or self.limits.statement)
        try:
            result = await work(transaction)
            if transaction.begun:
                await self._commit(link)
            return result
        except Exception:
            await self._roll_back(link)
            raise
        finally:
            self._pool.give_back(link)

    async def _commit(self, link: Link) -> None:
        if (await self._committing(link, "COMMIT", None)).tag != "COMMIT":
            raise StatementRefused("25P02", "an error was swallowed in the transaction", None)

    async def _committing(self, link: Link, sql: str, args: Arguments) -> Answer:
        """Run what ends with a commit. Only an answer tells what became of it."""
        link.take_warnings()
        try:
            answer = await link.execute(sql, args, self.limits.statement)
        except Unavailable as error:
            if link.closed:
                raise OutcomeUnknown(str(error)) from error
            raise
        # The only warning that a commit brings is that a synchronous standby did not confirm it
        # ("committed locally, but might not have been replicated"), in the server's language.
        if warnings := link.take_warnings():
            raise OutcomeUnknown(warnings[0].strip())
        return answer

    async def _roll_back(self, link: Link) -> None:
        if link.closed or link.idle:
            return
        try:
            await link.execute("ROLLBACK", None, self.limits.ping)
        except DatabaseError:
            link.close()


def _shielded(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """A Deferred whose cancellation does not reach `work`."""
    outer: Deferred[T] = Deferred()
    Deferred.fromCoroutine(work).addBoth(outer.callback)
    return outer
