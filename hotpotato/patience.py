"""Waiting for something no longer than a given time, by a clock that is handed in."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


def within(
    clock: IReactorTime, seconds: float, work: Coroutine[Deferred[Any], Any, T]
) -> Deferred[T]:
    """What `work` returns, or the builtin TimeoutError after `seconds`.

    Unlike Deferred.addTimeout it does not depend on `work` to obey: it is cancelled, and what it
    does after that, or raises, concerns nobody any more. Cancelling the Deferred cancels `work`.
    """
    running = Deferred.fromCoroutine(work)
    answer: Deferred[T] = Deferred(lambda _: running.cancel())

    def expire() -> None:
        running.cancel()
        answer.errback(TimeoutError(f"nothing within {seconds:g} s"))

    timer = clock.callLater(seconds, expire)

    def finished(result: T | Failure) -> None:
        if timer.active():
            timer.cancel()
            answer.callback(result)  # type: ignore[arg-type]

    running.addBoth(finished)
    return answer
