"""Fixtures, and what every test is held to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted

from hotpotato.testing.database import drop_database, fresh_database
from tests.world import World, migrated


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
