"""Debian's icinga2, with the snippet from etc/icinga2/, pages through Hot Potato."""

from __future__ import annotations

import pytest_twisted

from tests.world import World

from .monitoring import Icinga2, needs_icinga2, running
from .story import Night, a_night_with_two_problems


@needs_icinga2
@pytest_twisted.ensureDeferred
async def test_a_real_icinga2_s_problems_and_recoveries_reach_the_phone(daemon: World) -> None:
    """From the plugin's exit status to the text, with nothing between them that is not real."""
    await daemon.without_pace()
    async with running(Icinga2, daemon.url, daemon.add_server("icinga2")) as program:
        await a_night_with_two_problems(program, Night(daemon, "icinga2"))
