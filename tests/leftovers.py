"""What a test must not leave behind: timers, sockets, and errors that nobody expected."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import provider


def _open() -> set[Any]:
    timers = {call for call in reactor.getDelayedCalls() if call.active()}
    return timers | set(reactor.getReaders()) | set(reactor.getWriters())


async def _settled(before: set[Any]) -> set[Any]:
    for _ in range(100):
        if not _open() - before:
            break
        await deferLater(reactor, 0.01)
    return _open() - before


@contextlib.contextmanager
def nothing_left(*, open_ones: bool = True, deferreds: bool = True) -> Iterator[list[LogEvent]]:
    """Fail if anything that was not open before is open after, or if a failure was logged.

    Yields everything that is logged; a failure that a test expects, it removes from that list.
    `open_ones` False minds failures only. `deferreds` False doesn't look for failures of Deferreds
    that nobody has handled: they are told when they are collected, which takes longer than many
    a test.
    """
    logged: list[LogEvent] = []

    @provider(ILogObserver)
    def note(event: LogEvent) -> None:
        logged.append(event)

    blockon(deferLater(reactor, 0))  # what the reactor itself opens when it first runs
    before = _open()
    globalLogPublisher.addObserver(note)
    try:
        yield logged
        left = blockon(Deferred.fromCoroutine(_settled(before)))
        if deferreds:
            gc.collect()
    finally:
        globalLogPublisher.removeObserver(note)
    failures = [
        formatEvent(event) + "\n" + str(event.get("log_failure", ""))
        for event in logged
        if "log_failure" in event or event.get("log_level") is LogLevel.critical
    ]
    assert not failures, "\n".join(failures)
    assert not open_ones or not left, left
