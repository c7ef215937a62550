"""Debian's icinga2, with the snippet from etc/icinga2/, pages through Hot Potato."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from .monitoring import Icinga2, find_icinga2, running
from .story import Pages, a_night_with_two_problems


@pytest.mark.skipif(find_icinga2() is None, reason="icinga2 is not installed")
@pytest_twisted.ensureDeferred
async def test_a_real_icinga2_s_problems_and_recoveries_reach_the_phone(daemon: Any) -> None:
    """From the plugin's exit status to the text, with nothing between them that is not real."""
    async with running(Icinga2, daemon.url, daemon.add_server("icinga2")) as program:
        await a_night_with_two_problems(program, Pages(daemon.phone.texts))
