"""How long what may take, and how much may wait."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Seconds of the reactor's clock, but for `waiting`.

    `connect` bounds one try to look up a name or to connect. `statement` bounds each statement and
    each commit; PostgreSQL itself gives up a little sooner on a statement, so that the connection
    survives it. `borrow` bounds the wait for a connection while all are busy, `waiting` the number
    of those who wait. A connection unused for `stale` seconds is asked whether it lives before it
    is handed out, and has `ping` seconds to answer; the one that listens is asked every `listen`
    seconds. What it hears within `hints` seconds of the last that was told is told together, then.
    From one try to connect, or at one transaction, to the next there are at the least `retry_least`
    seconds, then twice as many and so on up to `retry_most`.
    """

    connect: float = 3.0
    statement: float = 5.0
    borrow: float = 3.0
    waiting: int = 1000
    stale: float = 1.0
    ping: float = 1.0
    listen: float = 5.0
    hints: float = 0.04
    retry_least: float = 0.1
    retry_most: float = 2.0
