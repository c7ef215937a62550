"""The pool and what the house does through it: statements, transactions, LISTEN."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hotpotato.store.database.addresses import Parameters, resolved, servers
from hotpotato.store.database.errors import (
    DatabaseError,
    OutcomeUnknown,
    StatementRefused,
    Unavailable,
    translated,
)
from hotpotato.store.database.link import Link, Row

T = TypeVar("T")

CHANNEL = "hotpotato"


class Limits(msgspec.Struct, frozen=True):
    """How long what may take, in seconds of the reactor's clock, and how much may wait.

    `statement` bounds each statement and each commit; PostgreSQL itself gives up a little sooner
    on a statement, so that the connection survives it. `borrow` bounds the wait for a connection
    while all are busy, `waiting` the number of those who wait. A connection unused for `stale`
    seconds is asked whether it lives before it is handed out, and has `ping` seconds to answer.
    """

    connect: float = 3.0
    statement: float = 5.0
    borrow: float = 3.0
    waiting: int = 1000
    stale: float = 1.0
    ping: float = 1.0
    retry_least: float = 0.1
    retry_most: float = 2.0


class Transaction:
    """A transaction under way. Use it one statement at a time, and only inside its function."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self.begun = False

    async def rows(self, sql: str, args: Sequence[Any] | None = None) -> list[Row]:
        """Run a statement and return all its rows: give it a LIMIT where there may be many."""
        rows: list[Row] = (await self._run(sql, args)).fetchall()
        return rows

    async def execute(self, sql: str, args: Sequence[Any] | None = None) -> int:
        """Run a statement for its effect and return the number of rows it touched."""
        count: int = (await self._run(sql, args)).rowcount
        return count

    async def _run(self, sql: str, args: Sequence[Any] | None) -> Any:
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
        self._servers = servers(url, password)
        self._reactor = reactor
        self._size = size
        self.limits = limits or Limits()
        self._log = Logger()
        self._idle: list[Link] = []
        self._live: set[Link] = set()
        self._waiting: deque[Deferred[Link]] = deque()
        self._why = "not connected yet"
        self._told_lost = False
        self._stopping = False
        self._changed: Deferred[None] = Deferred()
        self._keepers: list[Deferred[None]] = []
        self._preferred = 0

    # --- life

    def start(self) -> None:
        """Begin to connect, and keep trying for ever."""
        self._keep(self._keep_filled)

    async def stop(self) -> None:
        """Refuse new work, let what is under way finish, then close every connection."""
        self._stopping = True
        self._fail_waiting(Unavailable("the daemon is stopping"))
        while len(self._live) > len(self._idle):
            await self._change()
        for link in list(self._live):
            link.close()
        for keeper in self._keepers:
            keeper.cancel()

    @property
    def available(self) -> bool:
        """Whether there is at least one connection."""
        return bool(self._live)

    @property
    def trouble(self) -> str:
        """Why there is no connection, for people; meaningless while there is one."""
        return self._why

    @property
    def usage(self) -> tuple[int, int, int]:
        """Connections open, connections in use, and callers waiting for one."""
        return len(self._live), len(self._live) - len(self._idle), len(self._waiting)

    # --- work

    def statement(self, sql: str, args: Sequence[Any] | None = None) -> Deferred[list[Row]]:
        """Run one query string as a transaction of its own, in one round trip.

        Several statements in it share the transaction; the rows are those of the last, which must
        return some. Fires when it is committed.
        """
        return _shielded(self._statement(sql, args))

    def transaction(
        self, work: Callable[[Transaction], Awaitable[T]], *, timeout: float | None = None
    ) -> Deferred[T]:
        """Run `work` in a transaction and commit it; any exception rolls it back.

        `work` is called again after a serialization failure or a deadlock, three times in all, so it
        must do nothing but use the transaction. `timeout` replaces the limit for each
        statement.
        """
        return _shielded(self._transaction(work, timeout or self.limits.statement))

    def listen(self, heard: Callable[[frozenset[str] | None], None]) -> None:
        """Call `heard` with the payloads of NOTIFY on the channel, for as long as we live.

        It is a hint and may be lost: `heard(None)` after each connecting means «look at
        everything».
        """
        self._keep(lambda: self._keep_listening(heard))

    def _keep(self, task: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        """Run one of the pool's own loops until `stop`, again if it dies of something unforeseen."""

        def died(failure: Any) -> Deferred[None] | None:
            if self._stopping:
                return None
            self._log.failure("a loop of the connection pool died, starting it again", failure)
            return deferLater(self._reactor, self.limits.retry_most).addCallback(
                lambda _: Deferred.fromCoroutine(task()).addErrback(died)
            )

        self._keepers.append(Deferred.fromCoroutine(task()).addErrback(died))

    async def _statement(self, sql: str, args: Sequence[Any] | None) -> list[Row]:
        link = await self._borrow()
        try:
            link.take_warnings()
            cursor = await link.execute(sql, args, self.limits.statement)
            _confirmed(link)
            rows: list[Row] = cursor.fetchall()
            return rows
        except Unavailable as error:
            if link.closed:
                raise OutcomeUnknown(str(error)) from error
            raise
        finally:
            self._give_back(link)

    async def _transaction(self, work: Callable[[Transaction], Awaitable[T]], timeout: float) -> T:
        for _ in range(2):
            try:
                return await self._once(work, timeout)
            except StatementRefused as refused:
                if not refused.worth_repeating:
                    raise
        return await self._once(work, timeout)

    async def _once(self, work: Callable[[Transaction], Awaitable[T]], timeout: float) -> T:
        link = await self._borrow()
        transaction = Transaction(link, timeout)
        try:
            result = await work(transaction)
            if transaction.begun:
                await self._commit(link)
            return result
        except BaseException:
            await self._roll_back(link)
            raise
        finally:
            self._give_back(link)

    async def _commit(self, link: Link) -> None:
        link.take_warnings()
        try:
            cursor = await link.execute("COMMIT", None, self.limits.statement)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from error
        if cursor.statusmessage != "COMMIT":
            raise StatementRefused("25P02", "an error was swallowed in the transaction", None)
        _confirmed(link)

    async def _roll_back(self, link: Link) -> None:
        if link.closed or link.idle:
            return
        try:
            await link.execute("ROLLBACK", None, self.limits.ping)
        except DatabaseError:
            link.close()

    # --- the pool

    async def _borrow(self) -> Link:
        while True:
            if self._stopping:
                raise Unavailable("the daemon is stopping")
            if self._idle:
                link = self._idle.pop()
            elif not self._live:
                raise Unavailable(self._why)
            else:
                link = await self._wait()
            if await self._lives(link):
                return link

    async def _wait(self) -> Link:
        if len(self._waiting) >= self.limits.waiting:
            raise Unavailable("too many wait for the database")
        turn: Deferred[Link] = Deferred()
        self._waiting.append(turn)

        def give_up() -> None:
            self._waiting.remove(turn)
            turn.errback(Unavailable("all connections to the database are busy"))

        timer = self._reactor.callLater(self.limits.borrow, give_up)
        try:
            return await turn
        finally:
            if timer.active():
                timer.cancel()

    async def _lives(self, link: Link) -> bool:
        """Ask a connection that was long unused; if it is dead, its idle neighbours are too."""
        if link.closed:
            return False
        if self._reactor.seconds() - link.last_used < self.limits.stale:
            return True
        try:
            await link.execute("SELECT 1", None, self.limits.ping)
        except DatabaseError:
            for suspect in [link, *self._idle]:
                suspect.close()
            return False
        return True

    def _give_back(self, link: Link) -> None:
        if not link.closed and not link.idle:
            link.close()
        if not link.closed:
            self._offer(link)
        self._wake()

    def _offer(self, link: Link) -> None:
        if self._waiting:
            self._waiting.popleft().callback(link)
        else:
            self._idle.append(link)

    def _lost(self, link: Link) -> None:
        self._live.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        if not self._live:
            self._why = "the connection was lost"
            self._fail_waiting(Unavailable(self._why))
        self._wake()

    def _fail_waiting(self, error: Unavailable) -> None:
        while self._waiting:
            self._waiting.popleft().errback(error)

    def _wake(self) -> None:
        changed, self._changed = self._changed, Deferred()
        changed.callback(None)

    async def _change(self) -> None:
        # Each waiter has a Deferred of its own: one that is cancelled must not take the others along.
        mine: Deferred[None] = Deferred()
        self._changed.addCallback(lambda _: None if mine.called else mine.callback(None))
        await mine

    async def _keep_filled(self) -> None:
        pauses = self._pauses()
        while not self._stopping:
            if len(self._live) >= self._size:
                await self._change()
                continue
            try:
                link = await self._connect(self._lost)
            except DatabaseError as error:
                self._tell_lost(error)
                await self._pause(next(pauses))
                continue
            pauses = self._pauses()
            self._tell_found()
            self._live.add(link)
            self._offer(link)

    async def _keep_listening(self, heard: Callable[[frozenset[str] | None], None]) -> None:
        pauses = self._pauses()
        while not self._stopping:
            try:
                link = await self._connect(lambda link: None, heard)
            except DatabaseError:
                await self._pause(next(pauses))
                continue
            pauses = self._pauses()
            try:
                await self._listen(link, heard)
            except DatabaseError as error:
                self._log.debug("listening was interrupted: {why}", why=str(error))
            finally:
                link.close()

    async def _listen(self, link: Link, heard: Callable[[frozenset[str] | None], None]) -> None:
        await link.execute(f"LISTEN {CHANNEL}", None, self.limits.ping)
        heard(None)
        while not self._stopping:
            # A listener hears nothing from a dead peer either: ask.
            await self._pause(5.0)
            await link.execute("SELECT 1", None, self.limits.ping)

    def _pauses(self) -> Iterator[float]:
        pause = self.limits.retry_least
        while True:
            yield pause
            pause = min(pause * 2, self.limits.retry_most)

    async def _connect(
        self,
        lost: Callable[[Link], None],
        notified: Callable[[frozenset[str]], None] = lambda payloads: None,
    ) -> Link:
        """Connect to the first server that will have us, beginning with the last that had."""
        trouble: list[str] = []
        count = len(self._servers)
        for index in (*range(self._preferred, count), *range(self._preferred)):
            for server in await self._addresses(index):
                link = Link(self._reactor, lost, notified)
                try:
                    await link.connect(server, self._options(), self.limits.connect)
                except Unavailable as error:
                    trouble.append(str(error))
                    continue
                self._preferred = index
                return link
        raise Unavailable("; ".join(trouble) or "no host name of the database URL is known")

    async def _addresses(self, index: int) -> list[Parameters]:
        # The resolver has no time limit of its own that it keeps to.
        looking = Deferred.fromCoroutine(resolved(self._servers[index], self._reactor.nameResolver))
        looking.addTimeout(self.limits.connect, self._reactor)
        try:
            return await looking
        except TimeoutError:
            return []

    def _options(self) -> str:
        milliseconds = int(self.limits.statement * 900)
        return (
            f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
            f" -c idle_in_transaction_session_timeout={milliseconds * 2}"
            " -c client_min_messages=warning -c timezone=UTC"
        )

    async def _pause(self, seconds: float) -> None:
        # With jitter, so that several daemons don't knock at the same moment.
        await deferLater(self._reactor, seconds * random.uniform(0.75, 1.25))  # noqa: S311

    def _tell_lost(self, error: DatabaseError) -> None:
        if not self._live:
            self._why = str(error)
            if not self._told_lost:
                self._told_lost = True
                self._log.error("database unavailable, trying again: {why}", why=self._why)

    def _tell_found(self) -> None:
        if self._told_lost:
            self._told_lost = False
            self._log.info("database available")


def _confirmed(link: Link) -> None:
    # The only warning a commit can bring is that a synchronous standby did not confirm it
    # ("committed locally, but might not have been replicated"); its words depend on the language.
    warnings = link.take_warnings()
    if warnings:
        raise OutcomeUnknown(warnings[0].strip())


def _shielded(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """A Deferred whose cancellation does not reach `work`."""
    outer: Deferred[T] = Deferred()
    Deferred.fromCoroutine(work).addErrback(_ours).addBoth(outer.callback)
    return outer


def _ours(failure: Any) -> Any:
    if isinstance(failure.value, DatabaseError):
        return failure
    if failure.value.__class__.__module__.startswith(("psycopg2", "txpostgres")):
        raise translated(failure.value, closed=True) from failure.value
    return failure
