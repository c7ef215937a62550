"""Waiting no longer than that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from hotpotato.patience import within


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock on which no timer may be left."""
    made = Clock()
    yield made
    assert made.getDelayedCalls() == []


def told(answer: Deferred[Any]) -> list[Any]:
    heard: list[Any] = []
    answer.addCallbacks(heard.append, lambda failure: heard.append(failure.value))
    return heard


async def at_once() -> str:
    return "done"


async def later(clock: Clock, seconds: float) -> str:
    await deferLater(clock, seconds)
    return "done"


def test_what_is_done_at_once_is_there_at_once(clock: Clock) -> None:
    assert told(within(clock, 5.0, at_once())) == ["done"]


def test_what_is_done_in_time_is_returned(clock: Clock) -> None:
    heard = told(within(clock, 5.0, later(clock, 4.9)))
    assert heard == []
    clock.advance(4.9)
    assert heard == ["done"]


def test_what_it_raises_is_raised(clock: Clock) -> None:
    async def fails() -> None:
        await deferLater(clock, 1.0)
        raise LookupError("nothing there")

    heard = told(within(clock, 5.0, fails()))
    clock.advance(1.0)
    assert isinstance(heard[0], LookupError)


def test_what_takes_too_long_is_a_timeout_and_is_cancelled(clock: Clock) -> None:
    ended: list[str] = []

    async def patient() -> None:
        try:
            await Deferred()
        except CancelledError:
            ended.append("cancelled")
            raise

    heard = told(within(clock, 5.0, patient()))
    clock.advance(5.0)
    assert isinstance(heard[0], TimeoutError)
    assert str(heard[0]) == "nothing within 5 s"
    assert ended == ["cancelled"]


@pytest.mark.parametrize("afterwards", ["returns", "raises", "goes on"])
def test_what_it_does_after_that_concerns_nobody(clock: Clock, afterwards: str) -> None:
    async def stubborn() -> str:
        try:
            await Deferred()
        except CancelledError:
            if afterwards == "raises":
                raise LookupError("so there") from None
            if afterwards == "goes on":
                await deferLater(clock, 100.0)
        return "too late"

    heard = told(within(clock, 5.0, stubborn()))
    clock.advance(5.0)
    clock.advance(200.0)
    assert [type(each) for each in heard] == [TimeoutError]


def test_what_cannot_be_cancelled_is_given_up_all_the_same(clock: Clock) -> None:
    """A plugin's Deferred may raise when it is cancelled."""

    def refuse(deferred: Deferred[None]) -> None:
        raise LookupError("not me")

    async def uncancellable() -> None:
        await Deferred(refuse)

    heard = told(within(clock, 5.0, uncancellable()))
    clock.advance(5.0)
    assert [type(each) for each in heard] == [TimeoutError]


def test_who_gives_up_earlier_cancels_it(clock: Clock) -> None:
    work: Deferred[None] = Deferred()

    async def waits() -> None:
        await work

    answer = within(clock, 5.0, waits())
    heard = told(answer)
    answer.cancel()
    assert [type(each) for each in heard] == [CancelledError]
    assert work.called


def test_who_gives_up_earlier_waits_for_nobody_who_does_not_obey(clock: Clock) -> None:
    async def stubborn() -> str:
        try:
            await Deferred()
        except CancelledError:
            await deferLater(clock, 100.0)
        return "too late"

    answer = within(clock, 5.0, stubborn())
    heard = told(answer)
    answer.cancel()
    assert [type(each) for each in heard] == [CancelledError]
    clock.advance(200.0)
    assert len(heard) == 1


def test_whoever_was_answered_in_time_is_not_told_again(clock: Clock) -> None:
    heard = told(within(clock, 5.0, at_once()))
    clock.advance(10.0)
    assert heard == ["done"]


def test_an_answer_in_the_moment_of_giving_up_comes_too_late(clock: Clock) -> None:
    """Cancelled, it returns at once: the caller has been told otherwise by then."""

    async def prompt() -> str:
        with contextlib.suppress(CancelledError):
            await Deferred()
        return "after all"

    heard = told(within(clock, 5.0, prompt()))
    clock.advance(5.0)
    assert [type(each) for each in heard] == [TimeoutError]
