"""Real daemon processes are killed, or told to stop, in the middle of their work.

What was answered 2xx is a promise that the page arrives. The database, the processes, the signals
and the time are real here: leases run out after 10 s, and an unknown outcome waits 10 s more.
"""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.chaos.site import RECOVERED_WITHIN, Process, Site
from tests.chaos.table import Row, note
from tests.world import until

STEADY, BURST = 150, 50
"""Notifications that are answered before the signal, and those that it hits half-way."""

SLOW = 1.0
"""Seconds that the gateway takes for a message."""

LOST = 10
"""Messages that the gateway has before the kill, and does nothing with."""

KILLS, MANY_KILLS = 20, 200
"""How many, at the least, are at random: for `make test`, and for `make chaos`."""


async def under_load(site: Site) -> Process:
    """A daemon that sends to a slow gateway and is in the middle of a burst of requests."""
    process = await site.start()
    gateway = site.world.gateway
    gateway.misbehave("slow", seconds=SLOW)
    site.notify(0, STEADY, at_once=STEADY)
    await until(lambda: len(site.accepted) == STEADY, "the steady load", RECOVERED_WITHIN)
    await until(lambda: site.arrived, "the first page", RECOVERED_WITHIN)
    return process


async def burst(site: Site) -> None:
    """More requests, a few at a time; returns when the first of them are answered."""
    site.notify(STEADY, BURST, at_once=5)
    enough = STEADY + BURST // 5
    await until(lambda: len(site.accepted) >= enough, "part of the burst", RECOVERED_WITHIN)


@pytest_twisted.ensureDeferred
async def test_nothing_accepted_is_lost_when_the_daemon_is_killed(site: Site) -> None:
    """Each page arrives, and only those that were under way at the kill may arrive twice."""
    process = await under_load(site)
    gateway = site.world.gateway
    gateway.misbehave("never", chance=0.5)
    gateway.misbehave("hang-before", times=LOST)
    await until(
        lambda: all(asked.do != "hang-before" for asked in gateway.misbehaviours),
        "the messages that get lost",
    )
    await burst(site)
    process.signal(signal.SIGKILL)
    assert await site.ended(process, within=20) == -signal.SIGKILL
    await site.answered()
    in_flight = site.in_flight()
    arrived_before = len(site.arrived)

    await site.start(process.port)
    await site.all_arrived()

    repeated = {host for host, times in site.arrived.items() if times > 1}
    print(
        f"\nkill -9: accepted {len(site.accepted)}, delivered {len(site.arrived)}"
        f" ({arrived_before} before the restart), in flight {len(in_flight)},"
        f" duplicates {site.duplicates}"
    )
    assert len(in_flight) >= LOST, "the kill hit nothing"
    assert arrived_before < len(site.accepted), "the kill came too late"
    assert repeated <= in_flight
    assert site.duplicates <= len(in_flight)


@pytest_twisted.ensureDeferred
async def test_another_daemon_takes_over_within_thirty_seconds(site: Site) -> None:
    """The page of a process that is killed while the gateway holds it comes from the other."""
    gateway = site.world.gateway
    # Their senders' names tell whose attempt it is.
    processes = {name: await site.start(sender=name) for name in ("left", "right")}
    gateway.misbehave("hang-before", times=1)
    site.notify(0)
    await site.answered()
    assert site.accepted == {"host-000"}
    await gateway.arrived(1).addTimeout(RECOVERED_WITHIN, reactor)
    ((holder,),) = site.world.sql("SELECT sender FROM attempt")

    killed = processes.pop(holder)
    killed.signal(signal.SIGKILL)
    started = reactor.seconds()
    await until(lambda: killed.status is not None, "the process to be dead")
    (survivor,) = processes
    gateway.callback_url = f"http://127.0.0.1:{processes[survivor].port}/api/senders/{survivor}"
    assert not site.arrived
    await until(lambda: site.arrived, "the page", 30 - (reactor.seconds() - started))

    print(f"\ntakeover: on the phone {reactor.seconds() - started:.1f} s after the kill")
    await site.all_arrived()
    assert site.arrived == {"host-000": 1}
    assert site.world.sql("SELECT number, sender, outcome FROM attempt ORDER BY number") == [
        (1, holder, "unknown"),
        (2, survivor, "accepted"),
    ]


@pytest_twisted.ensureDeferred
async def test_sigterm_under_load_ends_well_and_loses_nothing(site: Site) -> None:
    """The process ends with status 0 within 10 s; the next one sends what was left."""
    process = await under_load(site)
    await burst(site)
    process.signal(signal.SIGTERM)
    started = reactor.seconds()
    await until(lambda: process.status is not None, "the process to end", 10)
    seconds = reactor.seconds() - started
    assert await site.ended(process, within=0) == 0, process.log
    await site.answered()
    unsettled = site.count("attempt", "outcome IS NULL OR outcome = 'unknown'")
    left = site.count("message", "status IN ('queued', 'sending')")

    await site.start(process.port)
    await site.all_arrived()

    print(
        f"\nSIGTERM: ended after {seconds:.1f} s, accepted {len(site.accepted)},"
        f" delivered {len(site.arrived)} ({left} left to the next), unsettled {unsettled},"
        f" duplicates {site.duplicates}"
    )
    assert left > 0, "the signal came too late"
    assert site.duplicates <= unsettled


async def steady(site: Site, every: float) -> None:
    """One notification after the other, until it is cancelled."""
    number = 0
    while True:
        site.notify(number)
        number += 1
        await deferLater(reactor, every)


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
async def test_kills_at_random_lose_nothing(site: Site, request: pytest.FixtureRequest) -> None:
    """Under load, and now and then before the daemon has come up."""
    seconds = request.config.getoption("seconds")
    dice = random.Random(request.config.getoption("seed"))
    gateway = site.world.gateway
    gateway.misbehave("slow", seconds=0.5)
    gateway.misbehave("never", chance=0.2)
    process = await site.start()
    until_then = reactor.seconds() + (seconds or 0)
    loading = Deferred.fromCoroutine(steady(site, 0.05)).addErrback(lambda _: None)
    kills = 0
    in_flight: Counter[str] = Counter()
    while kills < (MANY_KILLS if seconds else KILLS) or reactor.seconds() < until_then:
        await deferLater(reactor, dice.uniform(0.2, 1.5))
        process.signal(signal.SIGKILL)
        await site.ended(process, within=20)
        kills += 1
        in_flight.update(site.in_flight())
        process = site.begin(process.port)
        if dice.random() < 0.8:
            await site.ready(process)
    loading.cancel()
    await site.ready(process)
    await site.answered()
    await site.all_arrived()

    arrived = site.arrived
    row: Row = {
        "accepted": len(site.accepted),
        "delivered": len(site.accepted & arrived.keys()),
        "lost": len(site.accepted - arrived.keys()),
        "duplicates": site.duplicates,
        "crashes": kills,
        "longest outage of ingest": f"{site.outage:.1f} s",
    }
    note(request, row)
    too_often = {host for host, times in arrived.items() if times - 1 > in_flight[host]}
    assert not too_often
    assert in_flight, "the kills hit nothing"
