"""The one facade over txpostgres: nothing else imports it or psycopg2.

`Database` hands out transactions on connections that are alive, bounds every statement and commit
in time, and answers `Unavailable` at once while there is no database. Behind it: a `Link` is one
connection, the `Connector` makes them, the `Pool` keeps enough of them and lends them out, the
`Listener` has one of its own for NOTIFY.
"""

from hotpotato.store.database.addresses import BadUrl
from hotpotato.store.database.errors import (
    DatabaseError,
    OutcomeUnknown,
    StatementRefused,
    TooSlow,
    Unavailable,
)
from hotpotato.store.database.facade import Database, Transaction
from hotpotato.store.database.limits import Limits
from hotpotato.store.database.link import Prepared, Row

__all__ = [
    "BadUrl",
    "Database",
    "DatabaseError",
    "Limits",
    "OutcomeUnknown",
    "Prepared",
    "Row",
    "StatementRefused",
    "TooSlow",
    "Transaction",
    "Unavailable",
]
