"""What can go wrong with the database, as the rest of the house needs to tell it apart."""

from __future__ import annotations

import psycopg2
from twisted.internet.error import ConnectionDone


class DatabaseError(Exception):
    """Anything that went wrong with the database; nothing was committed, but see OutcomeUnknown."""


class Unavailable(DatabaseError):
    """There is no database now, or it did not answer in time."""


class TooSlow(Unavailable):
    """A statement ran, or waited for a lock, longer than it may: perhaps its own fault."""


class OutcomeUnknown(Unavailable):
    """It may be on disk: the connection was lost while committing, or a standby did not confirm."""


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


_READ_ONLY = "25006"

# statement_timeout, lock_timeout
_TOO_SLOW = ("57014", "55P03")

# 08 connection, 53 resources (disk full, too many connections), 57P operator intervention,
# 25006 a primary that has become a standby, 58 system error. All of them pass, or pass on another
# server.
_PASSING = ("08", "53", "57P", _READ_ONLY, "58")


def translated(error: Exception, *, closed: bool) -> DatabaseError:
    """One of ours for whatever psycopg2, txpostgres or the timer raised.

    `closed` says whether the connection is gone.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, ConnectionDone):
        return Unavailable("the connection was closed")
    if not isinstance(error, psycopg2.Error):
        return DatabaseError(f"{type(error).__name__}: {error}")
    text = _first_line(error)
    sqlstate = error.pgcode
    if not closed and sqlstate in _TOO_SLOW:
        return TooSlow(text)
    if closed or (sqlstate or "").startswith(_PASSING):
        return Unavailable(text)
    if sqlstate is None:
        # Nothing was sent: psycopg2 could not make a query string of it.
        return DatabaseError(text)
    return StatementRefused(sqlstate, text, error.diag.constraint_name)


def is_read_only(error: Exception) -> bool:
    """Whether the server has become one that only reads."""
    return isinstance(error, psycopg2.Error) and error.pgcode == _READ_ONLY


def _first_line(error: psycopg2.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
