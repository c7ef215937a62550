"""What Hot Potato makes of the rest that Debian's icinga2 and nagios4 have to say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import pytest_twisted

from tests.world import World

from . import story
from .monitoring import (
    Habits,
    Icinga2,
    Monitoring,
    Nagios4,
    needs_icinga2,
    needs_nagios4,
    running,
)

both = pytest.mark.parametrize(
    "kind",
    [pytest.param(Icinga2, marks=needs_icinga2), pytest.param(Nagios4, marks=needs_nagios4)],
)


async def told(
    daemon: World,
    kind: type[Monitoring],
    tale: Callable[[Monitoring, story.Night], Awaitable[None]],
    habits: Habits | None = None,
) -> None:
    """Let a story happen, without pace and flapping of Hot Potato's own: it tells every text."""
    await daemon.without_pace(flapping_changes=1000)
    async with running(kind, daemon.url, daemon.add_server(kind.name), habits) as program:
        await tale(program, story.Night(daemon, kind.name))


@both
@pytest_twisted.ensureDeferred
async def test_an_acknowledgement_in_the_program_ends_its_reminders_until_it_gets_worse(
    daemon: World, kind: type[Monitoring]
) -> None:
    """Re-notifications page again; an acknowledgement is in its author's name, and told."""
    reminding = Habits(reminder=story.REMINDER)
    await told(daemon, kind, story.a_problem_that_somebody_takes, reminding)


@both
@pytest_twisted.ensureDeferred
async def test_a_custom_notification_is_told_once_and_opens_nothing(
    daemon: World, kind: type[Monitoring]
) -> None:
    """Nor does it change the alert that is open."""
    await told(daemon, kind, story.somebody_has_something_to_say)


@both
@pytest_twisted.ensureDeferred
async def test_a_downtime_is_recorded_and_pages_nobody(
    daemon: World, kind: type[Monitoring]
) -> None:
    """Neither its start nor its end; a problem that it hid pages afterwards."""
    await told(daemon, kind, story.racks_are_moved)


@both
@pytest_twisted.ensureDeferred
async def test_flapping_resolves_in_a_good_state_and_is_recorded_in_a_bad_one(
    daemon: World, kind: type[Monitoring]
) -> None:
    """Nothing else is sent of what flaps, so this is all that tells that a problem is over."""
    await told(daemon, kind, story.it_comes_and_goes, Habits(flapping=True))
