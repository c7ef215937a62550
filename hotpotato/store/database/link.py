"""One connection to PostgreSQL, which either answers in time or is closed for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from txpostgres import txpostgres

from hotpotato.store.database.addresses import Parameters
from hotpotato.store.database.errors import Unavailable, is_read_only, translated

Row: TypeAlias = tuple[Any, ...]

Arguments: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
"""What stands for `%s`, or for `%(name)s`, in a statement; with None a `%` is just that."""

_CONNECTION_OK = 0

# What a peer that vanished without a word costs: seconds, not the kernel's two hours.
_KEEPALIVE: Parameters = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}


class Answer(msgspec.Struct, frozen=True):
    """What PostgreSQL said to a query string: of several statements, to the last.

    `rows` is empty where the statement returns none, `count` is how many it touched, `tag` what
    was done ("COMMIT").
    """

    rows: list[Row]
    count: int
    tag: str


class Prepared(msgspec.Struct, frozen=True):
    """A statement that a connection parses and plans once, and then knows by its name.

    `types` are those of its parameters $1, $2 and so on. Once it is known, a query string may have
    `EXECUTE name(%s)` in it.
    """

    name: str
    types: str
    sql: str


class _Cursor(txpostgres.Cursor):  # type: ignore[misc]
    """txpostgres's cursor, whose errors stay what they are."""

    def _handleCancellation(self, failure: Failure) -> Failure:
        # Else the server's time limit could not be told from a Deferred that was cancelled.
        return failure


class _Connection(txpostgres.Connection):  # type: ignore[misc]
    """txpostgres's connection, with its loss and its notifications told to one listener each.

    It has no reconnector of txpostgres's: a lost connection is thrown away whole, and the pool
    makes another.
    """

    cursorFactory = _Cursor

    def __init__(
        self, reactor: Any, lost: Callable[[], None], notified: Callable[[frozenset[str]], None]
    ) -> None:
        super().__init__(reactor=reactor, cooperator=object())
        self._lost = lost
        self._notified = notified

    def continuePolling(self, swallowErrors: bool = False) -> None:
        # An idle connection that breaks has nobody waiting: txpostgres would raise into the reactor
        # and go on with it, since psycopg2 does not always call it closed.
        try:
            super().continuePolling()
        except Exception:
            self._lost()
        else:
            if self.pollable().closed:
                self._lost()

    def doRead(self) -> None:
        # txpostgres's would go on reading from a connection that failed, but is not called closed,
        # and has no descriptor any more.
        self.reactor.removeReader(self)
        if not self.pollable().closed:
            self.continuePolling()
        self.checkForNotifies()
        if self._pollingD is None and self.fileno() >= 0:
            self.reactor.addReader(self)

    def checkForNotifies(self) -> None:
        # txpostgres's own observers run in the global reactor's cooperator.
        if self._connection.notifies:
            payloads = frozenset(notify.payload for notify in self._connection.notifies)
            del self._connection.notifies[:]
            self._notified(payloads)


class Link:
    """One connection. Statements are given one at a time; the pool sees to that.

    `notified` is called with the payloads of the NOTIFYs that came in together, and must not
    raise. A Deferred of it that is cancelled takes the connection along: what comes back later
    could not be told from the answer to the next statement.
    """

    def __init__(
        self, reactor: Any, notified: Callable[[frozenset[str]], None] = lambda payloads: None
    ) -> None:
        self._clock: IReactorTime = reactor
        self._connection = _Connection(reactor, self.close, notified)
        self._when_lost: list[Callable[[Link], None]] = []
        self._last_used = 0.0
        self._prepared: set[str] = set()

    async def connect(self, server: Parameters, options: str, timeout: float) -> None:
        """Connect to one server within `timeout` seconds, or raise Unavailable."""
        parameters = _KEEPALIVE | {"application_name": "hotpotato"} | server
        parameters["options"] = f"{server.get('options', '')} {options}".strip()
        late = f"no connection within {timeout:g} s"
        try:
            await self._bounded(self._connection.connect(**parameters), timeout, late)
        except CancelledError:
            raise
        except Exception as error:
            self.close()
            raise translated(error, closed=True) from error
        self._last_used = self._clock.seconds()

    async def execute(self, sql: str, args: Arguments, timeout: float) -> Answer:
        """Run a query string within `timeout` seconds; past it the connection is closed.

        Raises a DatabaseError.
        """
        if self.closed:
            raise Unavailable("the connection was closed")
        try:
            cursor = self._connection.cursor()
            late = f"no answer within {timeout:g} s"
            await self._bounded(cursor.execute(sql, args), timeout, late)
            self._last_used = self._clock.seconds()
            rows = cursor.fetchall() if cursor.description else []
            return Answer(rows, cursor.rowcount, cursor.statusmessage)
        except CancelledError:
            raise
        except Exception as error:
            if self._connection.info.status != _CONNECTION_OK or is_read_only(error):
                self.close()
            raise translated(error, closed=self.closed) from error

    async def prepare(self, statement: Prepared, timeout: float) -> None:
        """Make a statement known here, unless it is. Raises a DatabaseError."""
        if statement.name not in self._prepared:
            sql = f"PREPARE {statement.name}({statement.types}) AS {statement.sql}"
            await self.execute(sql, None, timeout)
            self._prepared.add(statement.name)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return bool(self._connection.pollable() is None or self._connection.closed)

    @property
    def idle(self) -> bool:
        """Whether it stands between transactions, ready for the next."""
        status = self._connection.get_transaction_status
        return not self.closed and status() == TRANSACTION_STATUS_IDLE

    @property
    def last_used(self) -> float:
        """When it last answered, by the reactor's clock."""
        return self._last_used

    def distrust(self) -> None:
        """Forget that it has answered lately."""
        self._last_used = float("-inf")

    def take_warnings(self) -> list[str]:
        """The warnings since the last call. Notices below a warning are switched off."""
        notices: list[str] = self._connection.notices
        taken = list(notices)
        del notices[:]
        return taken

    def when_lost(self, tell: Callable[[Link], None]) -> None:
        """Call `tell` once the connection has ended, whoever ended it; now, if it has."""
        self._when_lost.append(tell)
        if self.closed:
            self._ended()

    def close(self) -> None:
        """End the connection now, whatever it is doing."""
        if self._connection.pollable() is not None:
            self._connection.close()
        self._ended()

    def _ended(self) -> None:
        waiting, self._when_lost = self._when_lost, []
        for tell in waiting:
            tell(self)

    def _bounded(self, answer: Deferred[Any], timeout: float, late: str) -> Deferred[None]:
        # Not Deferred.addTimeout: that cancels, and txpostgres then asks the server to cancel, for
        # which libpq blocks, and leaves the connection in the middle of the statement.
        ended: list[Exception] = []

        def end(why: Exception) -> None:
            ended.append(why)
            self.close()

        timer: IDelayedCall = self._clock.callLater(timeout, end, Unavailable(late))
        bounded: Deferred[None] = Deferred(lambda _: end(CancelledError()))

        def finished(result: Any) -> None:
            if timer.active():
                timer.cancel()
            if bounded.called:
                return
            if ended:
                bounded.errback(ended[0])
            elif isinstance(result, Failure):
                bounded.errback(result)
            else:
                bounded.callback(None)

        answer.addBoth(finished)
        return bounded
