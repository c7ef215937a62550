"""The watchdog's own pace. What it sees is told in tests/scenarios/test_watchdog.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from hotpotato.duties.watchdog import Watchdog
from hotpotato.store.database import Database, Unavailable
from hotpotato.store.heartbeats import Verdicts

NOTHING = Verdicts((), (), 0.0)


class Looks:
    """Lets a test decide what the next look finds, and how long it takes."""

    def __init__(self) -> None:
        self.count = 0
        self.next: Callable[[], Deferred[Verdicts]] = lambda: succeed(NOTHING)

    async def look(self) -> Verdicts:
        self.count += 1
        return await self.next()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def watchdog(clock: Clock, looks: Looks, monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    nowhere = Database("postgresql://nobody@127.0.0.1/nothing", reactor=clock)
    made = Watchdog(nowhere, clock, 5.0)
    monkeypatch.setattr(made, "look", looks.look)
    made.start()
    return made


def test_it_looks_at_once_and_then_in_its_interval(
    watchdog: Watchdog, clock: Clock, looks: Looks
) -> None:
    assert looks.count == 1
    clock.pump([5, 5, 5])
    assert looks.count == 4
    assert watchdog.asleep


def test_a_database_that_is_away_keeps_it_from_no_later_look(
    watchdog: Watchdog, clock: Clock, looks: Looks
) -> None:
    """Without a connection a look fails before it has begun."""

    def away() -> Deferred[Verdicts]:
        raise Unavailable("away")

    looks.next = away
    clock.pump([5, 5])
    looks.next = lambda: succeed(NOTHING)
    clock.advance(5)
    assert looks.count == 4
    assert watchdog.asleep
    assert watchdog.finished_at == 15


def test_a_defect_keeps_it_from_no_later_look_and_is_logged(
    watchdog: Watchdog, clock: Clock, looks: Looks, logged: list[LogEvent]
) -> None:
    def explode() -> Deferred[Verdicts]:
        raise ZeroDivisionError("a defect")

    looks.next = explode
    clock.pump([5, 5])
    assert looks.count == 3
    for event in [event for event in logged if "log_failure" in event]:
        assert event["log_failure"].check(ZeroDivisionError)
        logged.remove(event)
    assert watchdog.finished_at == 0


def test_it_is_woken_and_keeps_its_pace_from_then_on(
    watchdog: Watchdog, clock: Clock, looks: Looks
) -> None:
    clock.advance(3)
    watchdog.wake()
    assert looks.count == 2
    clock.advance(4.9)
    assert looks.count == 2
    clock.advance(0.2)
    assert looks.count == 3


def test_never_two_looks_at_once(watchdog: Watchdog, clock: Clock, looks: Looks) -> None:
    slow: Deferred[Verdicts] = Deferred()
    looks.next = lambda: slow
    clock.advance(5)
    watchdog.wake()
    clock.pump([5, 5])
    assert looks.count == 2
    assert not watchdog.asleep
    looks.next = lambda: succeed(NOTHING)
    slow.callback(NOTHING)
    clock.pump([5])
    assert looks.count == 3


def test_it_is_stalled_when_no_look_was_finished_lately(
    watchdog: Watchdog, clock: Clock, looks: Looks
) -> None:
    looks.next = Deferred
    clock.pump([5] * 6)
    assert not watchdog.stalled(30)
    clock.pump([5])
    assert watchdog.stalled(30)


def test_stopping_waits_for_the_look_under_way(
    watchdog: Watchdog, clock: Clock, looks: Looks
) -> None:
    slow: Deferred[Verdicts] = Deferred()
    looks.next = lambda: slow
    clock.advance(5)
    stopping = Deferred.fromCoroutine(watchdog.stop())
    assert not stopping.called
    slow.callback(NOTHING)
    assert stopping.called
    watchdog.wake()
    clock.advance(100)
    assert looks.count == 2
    assert clock.getDelayedCalls() == []


def test_what_it_saw_is_in_the_log(
    watchdog: Watchdog, clock: Clock, looks: Looks, logged: list[LogEvent]
) -> None:
    looks.next = lambda: succeed(Verdicts(("icinga1",), ("nagios",), 3600.0))
    clock.advance(5)
    told = [(event.get("server"), event.get("blind")) for event in logged]
    assert (None, 3600.0) in told
    assert ("icinga1", None) in told
    assert ("nagios", None) in told
