"""The process looks after itself: what it says when it is late, and what systemd hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from hotpotato.daemon import Daemon
from hotpotato.senders.registry import Registry
from hotpotato.systemd import Notifier
from hotpotato.watching import HUNG_AFTER, LATE, STOOD_STILL, Watching
from tests.systemd import Systemd
from tests.world import World, until


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Somebody who listens."""
    with Systemd(tmp_path / "notify") as made:
        yield made


class Watched:
    """A daemon's watching, with a clock of its own; `sleep` is time in which nothing runs."""

    def __init__(self, daemon: Daemon, systemd: Systemd, watchdog: float | None = 30.0) -> None:
        self.clock = Clock()
        self._systemd = systemd
        self._asleep = 0.0
        notifier = Notifier(str(systemd.path), watchdog)
        self.watching = Watching(
            daemon, self.clock, notifier, lambda: self.clock.seconds() + self._asleep
        )

    def live(self, seconds: int) -> None:
        """Let time pass as it should."""
        for _ in range(seconds):
            self.clock.advance(1)
            assert self._systemd.lines, "read, or there is soon no room for more"

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep: the reactor's clock does not notice."""
        self._asleep += seconds


Watch = Callable[..., Watched]


@pytest.fixture
def watch(systemd: Systemd) -> Iterator[Watch]:
    """Begin to watch a daemon."""
    begun: list[Watched] = []

    def one(daemon: Daemon, **more: Any) -> Watched:
        made = Watched(daemon, systemd, **more)
        begun.append(made)
        made.watching.start()
        return made

    yield one
    for made in begun:
        made.watching.stop()


def said(logged: list[LogEvent], word: str) -> list[str]:
    """The lines of the log with this in them."""
    return [line for event in logged if word in (line := formatEvent(event))]


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_works_is_ready_and_feeds_the_watchdog(
    world: World, systemd: Systemd, watch: Watch
) -> None:
    await world.settle()
    watched = watch(world.daemons[0])
    watched.live(3)
    assert systemd.lines.count("READY=1") == 1
    assert systemd.lines.count("STATUS=ready") == 1
    assert systemd.lines.count("WATCHDOG=1") == 4
    assert not any("EXTEND" in line for line in systemd.lines)
    watched.watching.stopping()
    assert systemd.heard("STOPPING=1")


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_waits_for_its_database_asks_for_time_and_is_not_ready(
    world: World, systemd: Systemd, watch: Watch
) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    daemon = Daemon(world.settings(), nowhere, Registry.discover(), reactor, world.clock)
    await daemon.bind([serverFromString(reactor, "tcp:0:interface=127.0.0.1")])
    await daemon.start()
    watched = watch(daemon)
    watched.live(200)
    assert systemd.lines.count("EXTEND_TIMEOUT_USEC=30000000") == 201
    assert not systemd.heard("READY=1") and not systemd.heard("WATCHDOG=1")
    assert [line for line in systemd.lines if "STATUS" in line] == ["STATUS=the database is away"]
    await daemon.stop()


@pytest_twisted.ensureDeferred
async def test_a_database_that_goes_away_is_no_reason_to_be_killed(
    world: World, systemd: Systemd, watch: Watch
) -> None:
    await world.settle()
    watched = watch(world.daemons[0])
    await world.database_away()
    clock: Any = world.daemons[0]._clock
    for _ in range(20):
        clock.advance(10)
        await until(lambda: not world._busy(), "the turns to fail")
    systemd.forget()
    watched.live(5)
    assert systemd.lines.count("WATCHDOG=1") == 5
    assert systemd.heard("STATUS=the database is away")
    await world.database_back()
    await world.advance(10)
    watched.live(1)
    assert systemd.lines[-2:] == ["STATUS=ready", "WATCHDOG=1"]


@pytest_twisted.ensureDeferred
async def test_a_loop_that_hangs_is_named_and_the_watchdog_goes_hungry(
    world: World, systemd: Systemd, watch: Watch, logged: list[LogEvent]
) -> None:
    await world.settle()
    daemon = world.daemons[0]
    endless: Deferred[float | None] = Deferred()
    real, daemon.rota._turn = daemon.rota._turn, lambda: endless
    daemon.rota.wake()
    clock: Any = daemon._clock
    clock.advance(0)
    watched = watch(daemon)
    clock.rightNow += HUNG_AFTER
    watched.live(2)
    assert systemd.lines.count("WATCHDOG=1") == 3
    clock.rightNow += 1
    watched.live(60)
    assert systemd.lines.count("WATCHDOG=1") == 3
    assert said(logged, "no turn comes to an end in: rota") != []
    assert len(said(logged, "no turn comes to an end")) == 1, "it is said once"
    daemon.rota._turn = real
    endless.callback(None)
    watched.live(1)
    assert systemd.lines.count("WATCHDOG=1") == 4
    assert said(logged, "every loop takes turns again") != []
    await world.settle()


@pytest_twisted.ensureDeferred
async def test_every_loop_that_hangs_is_noticed(world: World) -> None:
    """Also the one that takes a turn an hour, and the watchdog, whose looks are no loop's turns."""
    await world.settle()
    daemon = world.daemons[0]
    duties: list[Any] = [*daemon.loops, daemon.watchdog]
    for duty in duties:
        name = "_looking" if duty is daemon.watchdog else "_running"
        before = getattr(duty, name)
        setattr(duty, name, Deferred())
        duty._began_at = daemon._clock.seconds() - HUNG_AFTER - 1
        assert daemon.hung(HUNG_AFTER) == (duty.name,)
        setattr(duty, name, before)
    assert daemon.hung(HUNG_AFTER) == ()


@pytest_twisted.ensureDeferred
async def test_a_loop_without_a_next_turn_hangs_and_one_that_was_stopped_does_not(
    world: World,
) -> None:
    await world.settle()
    rota: Any = world.daemons[0].rota
    timer, rota._timer = rota._timer, None
    assert world.daemons[0].hung(HUNG_AFTER) == ("rota",)
    rota._timer = timer
    await rota.stop()
    assert world.daemons[0].hung(HUNG_AFTER) == ()


@pytest.mark.parametrize(
    ("seconds", "word"),
    [(LATE + 0.3, "was late by 1.3 s"), (STOOD_STILL + 30, "stood still for 40.0 s")],
)
@pytest_twisted.ensureDeferred
async def test_a_process_that_stood_still_says_so_and_counts_it(
    world: World, watch: Watch, logged: list[LogEvent], seconds: float, word: str
) -> None:
    await world.settle()
    watched = watch(world.daemons[0])
    watched.live(5)
    assert said(logged, "this process") == []
    watched.sleep(seconds)
    watched.live(5)
    assert [word in line for line in said(logged, "this process")] == [True]
    metrics = (await world.request("GET", "/metrics")).body.decode()
    assert f"hotpotato_late_seconds_sum {seconds}" in metrics
    assert "hotpotato_late_seconds_count 11.0" in metrics


@pytest_twisted.ensureDeferred
async def test_a_look_that_fails_is_not_the_last(
    world: World, systemd: Systemd, watch: Watch, logged: list[LogEvent]
) -> None:
    await world.settle()
    daemon: Any = world.daemons[0]
    watched = watch(daemon)
    daemon.facts = lambda: 1 / 0
    watched.live(1)
    del daemon.facts
    watched.live(1)
    assert systemd.lines[-1] == "WATCHDOG=1"
    failures = [event for event in logged if "log_failure" in event]
    assert len(failures) == 1
    logged.remove(failures[0])
