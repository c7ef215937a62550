"""One world for each module of tests that don't disturb each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted

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
    yield made
    await made.stop()
