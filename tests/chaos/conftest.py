"""What the tests with real processes share, and which of them are for `make chaos` only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.chaos.site import Site, furnished
from tests.world import World


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: only where --seconds says how long chaos goes on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless a time is given."""
    if config.getoption("seconds") is None:
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest_twisted.async_yield_fixture()
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A world with a gateway, and with no daemon yet."""
    made = await furnished(Site(World(database_url, virtual=False), tmp_path))
    yield made
    await made.stop()
