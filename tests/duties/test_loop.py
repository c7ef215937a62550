"""The one mechanism for what falls due: it sleeps, wakes, survives, and stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from hotpotato.duties.loop import AFTER_TROUBLE, LONGEST_SLEEP, SHORTEST_SLEEP, Loop, ended
from hotpotato.store.database import Unavailable


class Duty:
    """Turns that a test decides about: `next` is what the next one does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.turns: list[float] = []
        self.next: Callable[[], Any] = lambda: succeed(None)

    async def turn(self) -> float | None:
        self.turns.append(self.clock.seconds())
        seconds: float | None = await self.next()
        return seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def duty(clock: Clock) -> Duty:
    return Duty(clock)


@pytest.fixture
def loop(clock: Clock, duty: Duty) -> Loop:
    made = Loop("duty", clock, duty.turn)
    made.start()
    return made


def test_the_first_turn_is_taken_at_once(loop: Loop, clock: Clock, duty: Duty) -> None:
    assert not loop.asleep
    clock.advance(0)
    assert duty.turns == [0]
    assert loop.asleep


@pytest.mark.parametrize(
    ("wanted", "slept"),
    [
        (None, LONGEST_SLEEP),
        (3.0, 3.0),
        (0.001, SHORTEST_SLEEP),
        (-5.0, SHORTEST_SLEEP),  # due, but in somebody else's hands
        (3600.0, LONGEST_SLEEP),
    ],
)
def test_it_sleeps_until_the_next_row_is_due_within_bounds(
    loop: Loop, clock: Clock, duty: Duty, wanted: float | None, slept: float
) -> None:
    duty.next = lambda: succeed(wanted)
    clock.advance(0)
    clock.advance(slept - 0.01)
    assert len(duty.turns) == 1
    clock.advance(0.02)
    assert len(duty.turns) == 2


def test_a_longer_sleep_can_be_allowed(clock: Clock, duty: Duty) -> None:
    loop = Loop("duty", clock, duty.turn, longest_sleep=3600.0)
    duty.next = lambda: succeed(1800.0)
    loop.start()
    clock.pump([0, 1799, 2, 1799])
    assert duty.turns == [0, 1801]


def test_zero_means_at_once_again(loop: Loop, clock: Clock, duty: Duty) -> None:
    answers = iter([0, 0, None])
    duty.next = lambda: succeed(next(answers))
    clock.pump([0, 0, 0, 0])
    assert duty.turns == [0, 0, 0]


def test_it_is_woken_out_of_its_sleep(loop: Loop, clock: Clock, duty: Duty) -> None:
    clock.advance(0)
    clock.advance(4)
    loop.wake()
    assert not loop.asleep
    clock.advance(0)
    assert duty.turns == [0, 4]
    clock.advance(9)
    assert len(duty.turns) == 2  # the old sleep is forgotten
    clock.advance(1)
    assert len(duty.turns) == 3


def test_woken_during_a_turn_it_takes_one_more(loop: Loop, clock: Clock, duty: Duty) -> None:
    """The look may have been too early to see what it was woken for; one more is enough."""
    looking: Deferred[None] = Deferred()
    duty.next = lambda: looking
    clock.advance(0)
    loop.wake()
    loop.wake()
    clock.advance(5)
    assert len(duty.turns) == 1
    duty.next = lambda: succeed(None)
    looking.callback(None)
    clock.pump([0, 0, 0])
    assert len(duty.turns) == 2


def test_never_two_turns_at_once(loop: Loop, clock: Clock, duty: Duty) -> None:
    duty.next = Deferred
    clock.advance(0)
    for _ in range(5):
        loop.wake()
        clock.advance(100)
    assert len(duty.turns) == 1


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError("a defect")])
def test_it_survives_whatever_a_turn_raises(
    loop: Loop, clock: Clock, duty: Duty, logged: list[LogEvent], error: Exception
) -> None:
    """A missing database is said by the pool; a defect is in the log with its traceback."""

    def explode() -> Any:
        raise error

    duty.next = explode
    clock.advance(0)
    assert loop.finished_at is None
    clock.advance(AFTER_TROUBLE - 0.01)
    assert len(duty.turns) == 1
    clock.advance(0.02)
    assert len(duty.turns) == 2
    duty.next = lambda: succeed(None)
    clock.advance(AFTER_TROUBLE)
    assert loop.finished_at == clock.seconds()
    failures = [event for event in logged if "log_failure" in event]
    assert len(failures) == (0 if isinstance(error, Unavailable) else 2)
    for event in failures:
        logged.remove(event)


def test_it_is_woken_out_of_its_trouble(loop: Loop, clock: Clock, duty: Duty) -> None:
    def away() -> Any:
        raise Unavailable("away")

    duty.next = away
    clock.advance(0)
    duty.next = lambda: succeed(None)
    loop.wake()
    clock.advance(0)
    assert loop.finished_at == 0


def test_stopping_waits_for_the_turn_under_way_and_takes_no_other(
    loop: Loop, clock: Clock, duty: Duty
) -> None:
    looking: Deferred[None] = Deferred()
    duty.next = lambda: looking
    clock.advance(0)
    stopping = Deferred.fromCoroutine(loop.stop())
    loop.wake()
    assert not stopping.called
    looking.callback(None)
    assert stopping.called
    clock.advance(100)
    loop.wake()
    clock.advance(100)
    assert len(duty.turns) == 1
    assert clock.getDelayedCalls() == []


def test_stopping_out_of_a_sleep_is_immediate(loop: Loop, clock: Clock) -> None:
    clock.advance(0)
    assert Deferred.fromCoroutine(loop.stop()).called
    assert clock.getDelayedCalls() == []


def test_it_is_stalled_when_no_turn_was_finished_lately(
    loop: Loop, clock: Clock, duty: Duty
) -> None:
    """It lives as long as it makes progress, not as long as it is there."""
    assert loop.stalled(30)
    clock.advance(0)
    assert not loop.stalled(30)
    duty.next = Deferred
    clock.advance(LONGEST_SLEEP)
    clock.advance(30)
    assert loop.stalled(30)


def test_the_end_of_somebody_elses_work_can_be_waited_for_without_disturbing_it() -> None:
    work: Deferred[int] = Deferred()
    first, second = ended(work), ended(work)
    first.addErrback(lambda _: None)
    first.cancel()
    results: list[int] = []
    work.addCallback(results.append)
    work.callback(7)
    assert second.called
    assert results == [7]
