"""Worlds with other senders."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from tests.scenarios.script import Script
from tests.world import World


@pytest.fixture
def script() -> Script:
    """A sender that does whatever the test says."""
    return Script()


@pytest_twisted.async_yield_fixture()
async def scripted(database_url: str, script: Script) -> AsyncIterator[World]:
    """A running world whose only sender is the script's; at most three attempts at once."""
    made = World(database_url)
    made.plugins.append(script)
    await made.start(senders={"script": {"concurrency": 3}})
    yield made
    await made.stop()
