"""One world for each module of tests that don't disturb each other, and an eye on the log."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import implementer

from hotpotato.testing.database import drop_database, fresh_database
from tests.world import World, migrated


@pytest.fixture(scope="module")
def shared_database_url() -> Iterator[str]:
    """A database for the tests of one module."""
    url = fresh_database(migrated)
    yield url
    drop_database(url)


@pytest_twisted.async_yield_fixture(scope="module")
async def shared(shared_database_url: str) -> AsyncIterator[World]:
    """A running world in virtual time, for the tests of one module: they use names of their own."""
    made = World(shared_database_url)
    await made.start()
    await made.without_pace()
    yield made
    await made.stop()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[LogEvent]]:
    """Everything that is logged. A failure that a test expects, it removes from this list.

    In place of the one for all tests: a shared world opens and closes things while a test runs,
    and these tests are too many to collect garbage after each.
    """
    log = _Log()
    globalLogPublisher.addObserver(log)
    yield log.events
    globalLogPublisher.removeObserver(log)
    log.check()


@pytest.fixture(scope="module", autouse=True)
def nothing_unhandled() -> Iterator[None]:
    """A Deferred's failure that nobody handled is logged when it is collected: in its module."""
    yield
    log = _Log()
    globalLogPublisher.addObserver(log)
    gc.collect()
    globalLogPublisher.removeObserver(log)
    log.check()


@implementer(ILogObserver)
class _Log:
    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)

    def check(self) -> None:
        failures = [
            f"{formatEvent(event)}\n{event.get('log_failure', '')}"
            for event in self.events
            if "log_failure" in event or event.get("log_level") is LogLevel.critical
        ]
        assert not failures, "\n".join(failures)
