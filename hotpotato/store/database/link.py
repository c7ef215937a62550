"""One connection to PostgreSQL, which either answers in time or is closed for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from txpostgres import txpostgres

from hotpotato.store.database.addresses import Parameters
from hotpotato.store.database.errors import Unavailable, translated

Row: TypeAlias = tuple[Any, ...]

# What a peer that vanished without a word costs: seconds, not the kernel's two hours.
_KEEPALIVE: Parameters = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}


class _Connection(txpostgres.Connection):  # type: ignore[misc]
    """txpostgres's connection, with its loss and its notifications told to one listener each.

    It has no reconnector of txpostgres's: a lost connection is thrown away whole, and the pool
    makes another.
    """

    def __init__(
        self, reactor: Any, lost: Callable[[], None], notified: Callable[[frozenset[str]], None]
    ) -> None:
        super().__init__(reactor=reactor, cooperator=object())
        self._lost = lost
        self._notified = notified

    def continuePolling(self, swallowErrors: bool = False) -> None:
        # An idle connection that breaks has nobody waiting, and txpostgres would raise into the
        # reactor, which logs it as an unhandled error.
        super().continuePolling(swallowErrors=True)
        if self.pollable().closed:
            self._lost()

    def doRead(self) -> None:
        super().doRead()
        if self.pollable().closed:
            self._lost()

    def checkForNotifies(self) -> None:
        # txpostgres's own observers run in the global reactor's cooperator.
        if self._connection.notifies:
            payloads = frozenset(notify.payload for notify in self._connection.notifies)
            del self._connection.notifies[:]
            self._notified(payloads)


class Link:
    """One connection. Statements are given one at a time; the pool sees to that.

    `lost` is called once, when the connection ends, whoever ended it. `notified` is called with
    the payloads of the NOTIFYs that came in together.
    """

    def __init__(
        self,
        reactor: Any,
        lost: Callable[[Link], None],
        notified: Callable[[frozenset[str]], None] = lambda payloads: None,
    ) -> None:
        self._clock: IReactorTime = reactor
        self._connection = _Connection(reactor, self._ended, notified)
        self._lost: Callable[[Link], None] | None = lost
        self.last_used = 0.0

    async def connect(self, server: Parameters, options: str, timeout: float) -> None:
        """Connect to one server within `timeout` seconds, or raise Unavailable."""
        parameters = _KEEPALIVE | {"application_name": "hotpotato"} | server
        parameters["options"] = f"{server.get('options', '')} {options}".strip()
        try:
            connecting = self._connection.connect(**parameters)
            await self._bounded(connecting, timeout, "connecting took too long")
        except Exception as error:
            self.close()
            raise translated(error, closed=True) from error
        self.last_used = self._clock.seconds()

    async def execute(self, sql: str, args: Sequence[Any] | None, timeout: float) -> Any:
        """Run a query string within `timeout` seconds and return its cursor.

        Past the time the connection is closed: an answer that comes later can't be told from the
        answer to the next statement. Raises a DatabaseError.
        """
        if self.closed:
            raise Unavailable("the connection was closed")
        try:
            cursor = self._connection.cursor()
            late = f"no answer within {timeout:g} s"
            await self._bounded(cursor.execute(sql, args), timeout, late)
        except Exception as error:
            raise translated(error, closed=self.closed) from error
        self.last_used = self._clock.seconds()
        return cursor

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return bool(self._connection.pollable() is None or self._connection.closed)

    @property
    def idle(self) -> bool:
        """Whether it stands between transactions, ready for the next."""
        status = self._connection.get_transaction_status
        return not self.closed and status() == TRANSACTION_STATUS_IDLE

    def take_warnings(self) -> list[str]:
        """The warnings since the last call. Notices below a warning are switched off."""
        notices: list[str] = self._connection.notices
        taken = list(notices)
        del notices[:]
        return taken

    def close(self) -> None:
        """End the connection now, whatever it is doing."""
        if self._connection.pollable() is not None:
            self._connection.close()
        self._ended()

    def _ended(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self)

    def _bounded(self, answer: Deferred[Any], timeout: float, late: str) -> Deferred[Any]:
        # Not Deferred.addTimeout: that cancels, and a cancelled query poisons its connection.
        expired: list[bool] = []

        def expire() -> None:
            expired.append(True)
            self.close()

        timer: IDelayedCall = self._clock.callLater(timeout, expire)

        def finished(result: Any) -> Any:
            if expired:
                raise Unavailable(late)
            timer.cancel()
            return result

        return answer.addBoth(finished)
