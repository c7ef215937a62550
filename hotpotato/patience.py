"""Waiting for something no longer than a given time, by a clock that is handed in."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


def within(
    clock: IReactorTime, seconds: float, work: Coroutine[Deferred[Any], Any, T]
) -> Deferred[T]:
    """What `work` returns, or the builtin TimeoutError after `seconds`.

    Unlike Deferred.addTimeout it does not depend on `work` to obey: it is cancelled, and what it
    does after that, or raises, concerns nobody any more. Cancelling the Deferred cancels `work` in
    the same way.
    """
    running = Deferred.fromCoroutine(work)

    def end(why: Exception) -> None:
        if timer.active():
            timer.cancel()
        # First, since what is cancelled may bring its result in that moment.
        answer.errback(why)
        running.cancel()

    def finished(result: T | Failure) -> None:
        if not answer.called:
            timer.cancel()
            answer.callback(result)

    answer: Deferred[T] = Deferred(lambda _: end(CancelledError()))
    timer = clock.callLater(seconds, end, TimeoutError(f"nothing within {seconds:g} s"))
    running.addBoth(finished)
    return answer
