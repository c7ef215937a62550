"""What can go wrong with the database, as the rest of the house needs to tell it apart."""

from __future__ import annotations

import psycopg2
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone


class DatabaseError(Exception):
    """Anything that went wrong with the database."""


class Unavailable(DatabaseError):
    """There is no database now, or it did not answer in time. Nothing was committed."""


class OutcomeUnknown(Unavailable):
    """The connection was lost while committing: it may or may not be on disk."""


class StatementRefused(DatabaseError):
    """PostgreSQL refused a statement, and the transaction is rolled back.

    `sqlstate` is its five-character code; `constraint` the name of the violated constraint.
    """

    def __init__(self, sqlstate: str, text: str, constraint: str | None) -> None:
        super().__init__(f"{sqlstate}: {text}")
        self.sqlstate = sqlstate
        self.constraint = constraint

    @property
    def worth_repeating(self) -> bool:
        """Whether the same transaction may succeed now: serialization failure or deadlock."""
        return self.sqlstate in {"40001", "40P01"}


# 08 connection, 53 resources (disk full, too many connections), 57P operator intervention,
# 57014 statement_timeout, 55P03 lock_timeout, 25006 a standby that we took for the primary,
# 58 system error. All of them pass, or pass on another server.
_PASSING = ("08", "53", "57P", "57014", "55P03", "25006", "58")


def translated(error: BaseException, *, closed: bool) -> DatabaseError:
    """One of ours for whatever psycopg2, txpostgres or the timer raised.

    `closed` says whether the connection is gone. Surfacing of a server-side time-out as
    CancelledError is txpostgres's doing (`_handleCancellation`).
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, CancelledError):
        return Unavailable("the statement was cancelled by the server's time limit")
    if isinstance(error, psycopg2.Error):
        sqlstate = error.pgcode
        text = _first_line(error)
        if sqlstate is None or closed or sqlstate.startswith(_PASSING):
            return Unavailable(text)
        return StatementRefused(sqlstate, text, error.diag.constraint_name)
    if isinstance(error, ConnectionDone):
        return Unavailable("the connection was closed")
    return DatabaseError(f"{type(error).__name__}: {error}")


def _first_line(error: psycopg2.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
