"""The watchdog's verdict: whatever the heartbeats and our outages, no false alarm, none missed.

The real statements run on a real PostgreSQL; only the way to it is a plain connection, so that
Hypothesis can play many nights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from hotpotato.store import heartbeats
from tests.world import START

LOOK_EVERY = 10
LENGTH = 900
KEY = hashlib.sha256(b"key").digest()


class Directly:
    """A transaction and a database at once, over one plain connection."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def run(self, sql: str, args: Any = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, args)
            return cursor.fetchall() if cursor.description else []

    async def rows(self, sql: str, args: Any = None) -> list[tuple[Any, ...]]:
        return self.run(sql, args)

    async def execute(self, sql: str, args: Any = None) -> int:
        self.run(sql, args)
        return 0

    def statement(self, sql: str, args: Any = None) -> Deferred[list[tuple[Any, ...]]]:
        return succeed(self.run(sql, args))


class Night(msgspec.Struct, frozen=True):
    """A server that beats every `interval` seconds from `phase` on, but for when it is `dead`.

    We are blind during `outages`. Spans are (first second, second after the last). Two outages are
    at least an interval apart, so that a living server is heard in between, and are longer than two
    looks: shorter ones are covered by what a server may miss.
    """

    interval: int
    missed: int
    phase: int
    dead: tuple[int, int]
    outages: tuple[tuple[int, int], ...]

    def beats_at(self, second: int) -> bool:
        return (second - self.phase) % self.interval == 0 and not _within(second, [self.dead])

    def blind_at(self, second: int) -> bool:
        return _within(second, self.outages)


def _within(second: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(begin <= second < end for begin, end in spans)


@st.composite
def nights(draw: st.DrawFn) -> Night:
    interval = draw(st.sampled_from([20, 30, 60]))
    outages: list[tuple[int, int]] = []
    second = draw(st.integers(2 * interval, LENGTH))
    while second < LENGTH and len(outages) < 3:
        length = draw(st.integers(2 * LOOK_EVERY + 1, 200))
        outages.append((second, second + length))
        second += length + draw(st.integers(interval + 1, 400))
    begin = draw(st.integers(interval, LENGTH))
    return Night(
        interval=interval,
        missed=draw(st.integers(1, 3)),
        phase=draw(st.integers(0, interval - 1)),
        dead=(begin, draw(st.integers(begin, LENGTH + 1))),
        outages=tuple(outages),
    )


@pytest.fixture
def directly(database_url: str) -> Iterator[Directly]:
    """A database with one server in it, whose clock is ours."""
    found = Directly(database_url)
    found.run(
        """
        CREATE TABLE test_clock (now timestamptz NOT NULL);
        INSERT INTO test_clock VALUES (now());
        CREATE OR REPLACE FUNCTION hotpotato_now() RETURNS timestamptz
            LANGUAGE sql STABLE AS 'SELECT now FROM test_clock';
        INSERT INTO tenant (name, timezone) VALUES ('acme', 'UTC');
        INSERT INTO server (tenant_id, name, key_digest, heartbeat_interval, missed)
        VALUES (1, 'icinga', sha256('key'), interval '1 minute', 3)
        """
    )
    yield found
    found.connection.close()


def _begin(directly: Directly, night: Night) -> None:
    directly.run(
        """
        UPDATE server SET heartbeat_interval = make_interval(secs => %s), missed = %s,
               last_heartbeat_at = NULL, silent_after = NULL, silent_since = NULL,
               silence_alert_id = NULL;
        UPDATE installation SET last_seen_at = NULL
        """,
        [night.interval, night.missed],
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(night=nights())
def test_no_false_alarm_and_none_missed(directly: Directly, night: Night) -> None:
    """Second by second, against a model that knows what the server really did."""
    _begin(directly, night)
    clock = Clock()
    beats = heartbeats.Heartbeats(directly, clock)  # type: ignore[arg-type]
    silent = False
    heard: int | None = None
    blind_since_heard = 0
    outages_since_heard = 0
    for second in range(LENGTH):
        if night.blind_at(second):
            blind_since_heard += 1
            outages_since_heard += not night.blind_at(second - 1)
            continue
        if not (beating := night.beats_at(second)) and second % LOOK_EVERY:
            continue
        _set_clock(directly, second)
        if beating:
            answer = beats.add(KEY)
            clock.advance(0)
            assert answer.result is not None
            heard, blind_since_heard, outages_since_heard = second, 0, 0
        if second % LOOK_EVERY:
            continue
        verdicts = _look(directly)
        silent = (silent or bool(verdicts.silent)) and not verdicts.heard_again
        if heard is None:
            assert not silent, "it was never heard, and is not judged"
            continue
        if not _within(second, [night.dead]) and heard >= night.dead[1]:
            assert not silent, f"false alarm at {second} s"
        if second < night.dead[0]:
            assert not silent, f"false alarm at {second} s"
        # A blindness is noticed from the look before it, and ends with the look after it.
        slack = 1 + outages_since_heard * (2 + (night.missed == 1) * night.interval / LOOK_EVERY)
        listened = second - heard - blind_since_heard
        if listened >= night.interval * night.missed + slack * LOOK_EVERY:
            assert silent, f"missed at {second} s, last heard at {heard} s"


def _set_clock(directly: Directly, second: int) -> None:
    directly.run("UPDATE test_clock SET now = %s + make_interval(secs => %s)", [START, second])


def _look(directly: Directly) -> heartbeats.Verdicts:
    looking = Deferred.fromCoroutine(
        heartbeats.look(directly, LOOK_EVERY)  # type: ignore[arg-type]
    )
    found: Any = looking.result
    assert isinstance(found, heartbeats.Verdicts), found
    return found
