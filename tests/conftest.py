"""Fixtures, and what every test is held to."""

from __future__ import annotations

import gc
import inspect
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.logger import LogEvent

from hotpotato.testing.database import drop_database, fresh_database
from tests.chaos.table import pytest_addoption, pytest_terminal_summary  # noqa: F401
from tests.leftovers import nothing_left
from tests.world import World, migrated

# How long an example takes says something about the machine, nothing about us.
settings.register_profile("hotpotato", deadline=None)
settings.load_profile("hotpotato")

# A run in the background is one that ignores Ctrl-C, and what it starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = {"shared", "cluster"}
"""Fixtures that live longer than a test, and may open and close things while it runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that would pass without having run."""
    for item in items:
        test = getattr(item, "function", None)
        if inspect.iscoroutinefunction(test) and not hasattr(test, "_pytest_twisted_mark"):
            raise pytest.UsageError(f"{item.nodeid}: expected @pytest_twisted.ensureDeferred")


def pytest_collection_finish() -> None:
    """Let the collections after each test look at nothing that was there before."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logged(request: pytest.FixtureRequest) -> Iterator[list[LogEvent]]:
    """Everything that is logged. A failure that a test expects, it removes from this list."""
    with nothing_left(
        open_ones=SHARED.isdisjoint(request.fixturenames),
        deferreds=hasattr(request.function, "_pytest_twisted_mark"),
    ) as events:
        yield events


@pytest.fixture
def database_url() -> Iterator[str]:
    """A database of its own, with the schema."""
    url = fresh_database(migrated)
    yield url
    drop_database(url)


@pytest_twisted.async_yield_fixture()
async def world(database_url: str) -> AsyncIterator[World]:
    """A running world in virtual time."""
    made = World(database_url)
    await made.start()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture()
async def daemon(database_url: str) -> AsyncIterator[World]:
    """A running world in real time, for tests with other programs."""
    made = World(database_url, virtual=False)
    await made.start()
    yield made
    await made.stop()
