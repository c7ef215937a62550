"""Debian's nagios4, with the snippet from etc/nagios/ and version 1 of the API, pages too."""

from __future__ import annotations

import pytest_twisted

from tests.world import World

from .monitoring import Nagios4V1, needs_nagios4, running
from .story import Night, a_night_with_two_problems


@needs_nagios4
@pytest_twisted.ensureDeferred
async def test_a_real_nagios4_s_problems_and_recoveries_reach_the_phone(daemon: World) -> None:
    """From the plugin's exit status to the text, through `--v1`."""
    await daemon.without_pace()
    async with running(Nagios4V1, daemon.url, daemon.add_server("nagios4")) as program:
        await a_night_with_two_problems(program, Night(daemon, "nagios4"))
