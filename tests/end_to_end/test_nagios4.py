"""Debian's nagios4, with the snippet from etc/nagios/ and version 1 of the API, pages too."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from .monitoring import Nagios4V1, find_nagios4, running
from .story import Pages, a_night_with_two_problems


@pytest.mark.skipif(find_nagios4() is None, reason="nagios4 is not installed")
@pytest_twisted.ensureDeferred
async def test_a_real_nagios4_s_problems_and_recoveries_reach_the_phone(daemon: Any) -> None:
    """From the plugin's exit status to the text, through `--v1`."""
    async with running(Nagios4V1, daemon.url, daemon.add_server("nagios4")) as program:
        await a_night_with_two_problems(program, Pages(daemon.phone.texts))
