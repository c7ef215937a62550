"""Real daemon processes are killed, or told to stop, in the middle of their work.

What was answered 2xx is a promise that the page arrives. The database, the processes, the signals
and the time are real here: leases run out after 10 s, and an unknown outcome waits 10 s more.
"""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from tests.chaos.table import Row, note
from tests.cluster import free_port
from tests.commands.conftest import surroundings
from tests.world import ANNA, World, step, until

STEADY, BURST = 150, 50
"""Notifications that are answered before the signal, and those that it hits half-way."""

SLOW = 1.0
"""Seconds that the gateway takes for a message."""

LOST = 10
"""Messages that the gateway has before the kill, and does nothing with."""

KILLS = 8
"""How many, at the least, are at random."""

RECOVERED_WITHIN = 60.0
"""Seconds, far more than the 20 of a lease and an unknown outcome: the machine may be busy."""

# Tests in a container run as root, where nobody else may be able to read the checkout, and the
# service refuses root. Apart from that refusal it is twistd as it is installed. Standard input ends
# with the test run, however that dies, and the process with it.
TWISTD = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
os.geteuid = lambda: 65534
sys.argv[0] = "twistd"
from twisted.scripts.twistd import run
run()
"""


class Process:
    """A daemon in a process of its own, at a port of its own."""

    def __init__(self, world: World, directory: Path, sender: str, port: int) -> None:
        self.port = port
        self._log = directory / f"{sender}-{port}.log"
        config = directory / f"{sender}-{port}.toml"
        options = "".join(f"{key} = {json.dumps(each)}\n" for key, each in world.modica.items())
        config.write_text(
            f'[api]\nlisten = ["tcp:{port}:interface=127.0.0.1"]\n'
            f'[database]\nurl = "{world.database_url}"\n'
            f'[senders.{sender}]\nplugin = "modica"\n{options}'
        )
        program = [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "hotpotato"]
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                [*program, "--config", str(config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=surroundings(),
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """What it ended with, or None."""
        return self._running.poll()

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def end(self) -> None:
        """Leave nothing running, whatever the test came to."""
        self._running.kill()
        self._running.communicate()


class Site:
    """A world whose daemons are processes; `accepted` are the hosts whose request got a 2xx."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.accepted: set[str] = set()
        self.outage = 0.0
        """The longest time without a 2xx, while somebody was asking for one."""
        self._answered_at = 0.0
        self._directory = directory
        self._processes: list[Process] = []
        self._requests: list[Deferred[None]] = []

    def begin(self, port: int | None = None, sender: str = "modica") -> Process:
        """Begin to start a daemon. The gateway calls the newest back."""
        process = Process(self.world, self._directory, sender, port or free_port())
        self._processes.append(process)
        self.world.ports.append(process.port)
        self.world.gateway.callback_url = f"{self.world.url}/api/senders/{sender}"
        return process

    async def start(self, port: int | None = None, sender: str = "modica") -> Process:
        """Start a daemon, and wait until it is ready."""
        process = self.begin(port, sender)
        await self.ready(process)
        return process

    async def ready(self, process: Process) -> None:
        """Wait until a daemon is ready."""
        deadline = reactor.seconds() + RECOVERED_WITHIN
        while not await self._is_ready(process):
            assert process.status is None, process.log
            assert reactor.seconds() < deadline, f"not ready:\n{process.log}"
            await deferLater(reactor, 0.02)

    async def _is_ready(self, process: Process) -> bool:
        try:
            answer = await self.world.http.get(f"http://127.0.0.1:{process.port}/readyz")
            await treq.content(answer)
        except (ConnectError, ConnectionClosed, ResponseFailed):
            return False
        return bool(answer.code == 200)

    async def ended(self, process: Process, within: float) -> int:
        """Wait until a process has ended and its database connections with it."""
        await until(lambda: process.status is not None, "the process to end", within)
        others = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        await until(lambda: not self.world.sql(others), "its transactions to end")
        assert process.status is not None
        return process.status

    def notify(self, first: int, count: int = 1, at_once: int = 1) -> None:
        """Send notifications of hosts that have these numbers, so many at a time."""
        hosts = [f"host-{number:03}" for number in range(first, first + count)]
        for start in range(at_once):
            work = self._notify(hosts[start::at_once])
            self._requests.append(Deferred.fromCoroutine(work))

    async def _notify(self, hosts: list[str]) -> None:
        for host in hosts:
            body = {"hostname": host, "state": "CRITICAL", "service_name": "Postgres"}
            try:
                answer = await self.world.post("/api/servers/v2/notifications/send", body)
            except Exception:
                # No answer promises nothing, whatever stood in its way; nobody is there any more.
                return
            if 200 <= answer.status < 300:
                self.accepted.add(host)
                now = reactor.seconds()
                self.outage = max(self.outage, now - (self._answered_at or now))
                self._answered_at = now

    async def answered(self) -> None:
        """Wait until every request has been answered, or has failed."""
        waiting = DeferredList(self._requests, fireOnOneErrback=True, consumeErrors=True)
        await waiting.addTimeout(RECOVERED_WITHIN, reactor)

    @property
    def arrived(self) -> Counter[str]:
        """How often each host's page is on Anna's phone."""
        return Counter(
            found[0] for text in self.world.texts(ANNA) if (found := re.search(r"host-\d+", text))
        )

    @property
    def duplicates(self) -> int:
        """How many pages arrived that had arrived before."""
        return self.arrived.total() - len(self.arrived)

    def in_flight(self) -> set[str]:
        """The hosts whose page is being sent, as far as the database knows."""
        rows = self.world.sql(
            "SELECT hostname FROM attempt JOIN message ON message.id = message_id"
            " JOIN notification ON notification.id = notification_id WHERE outcome IS NULL"
        )
        return {host for (host,) in rows}

    def count(self, table: str, condition: str) -> int:
        number: int = self.world.sql(f"SELECT count(*) FROM {table} WHERE {condition}")[0][0]
        return number

    async def all_arrived(self) -> None:
        """Wait until each page is on the phone and nothing is sent any more."""
        await until(
            lambda: self.accepted <= self.arrived.keys(), "what was accepted", RECOVERED_WITHIN
        )
        open_ones = "status IN ('queued', 'sending')"
        await until(
            lambda: not self.count("message", open_ones), "nothing to be due", RECOVERED_WITHIN
        )

    async def stop(self) -> None:
        for process in self._processes:
            process.end()
        for request in self._requests:
            request.cancel()
        await self.world.stop()


@pytest_twisted.async_yield_fixture()
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A world with a gateway, and with no daemon yet."""
    world = World(database_url, virtual=False)
    world.sender = {"concurrency": 30}
    await world.gateway.start(reactor)
    await world._populate()
    # Each page in a message of its own, and only one for each host.
    await world.without_pace(step(0, again=86_400))
    made = Site(world, tmp_path)
    yield made
    await made.stop()


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
    gateway._messages = deque()
    gateway.misbehave("slow", seconds=0.5)
    gateway.misbehave("never", chance=0.2)
    process = await site.start()
    until_then = reactor.seconds() + (seconds or 0)
    loading = Deferred.fromCoroutine(steady(site, 0.05)).addErrback(lambda _: None)
    kills = 0
    in_flight: Counter[str] = Counter()
    while kills < KILLS or (seconds and reactor.seconds() < until_then):
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
