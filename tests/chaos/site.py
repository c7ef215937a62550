"""A site of real daemon processes, with a gateway, phones, and monitoring that goes on telling.

The database, the processes, the signals and the time are real here: leases run out after 10 s, and
an unknown outcome waits 10 s more; in processes that are `HURRIED`, a fifth of that.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
from collections import Counter, deque
from datetime import datetime
from pathlib import Path

import treq
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from tests.chaos.table import Row
from tests.cluster import free_port
from tests.commands.conftest import surroundings
from tests.world import ANNA, World, step, until

RECOVERED_WITHIN = 60.0
"""Seconds, far more than the 20 of a lease and an unknown outcome: the machine may be busy."""

TELL_EVERY = 0.1
"""Seconds between two notifications of a load."""

TELL_AGAIN = 0.5
"""Seconds after which a monitoring program tells again what nobody took."""

ANSWERED_WITHIN = 5.0
"""Seconds within which a daemon answers whatever is wrong with its database."""

NOBODY_THERE = (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    RequestTransmissionFailed,
    ResponseFailed,
)

HURRIED = """
from hotpotato.rules import delivery
delivery.LEASE, delivery.RENEW_EVERY, delivery.WAIT_FOR_RECEIPT = 2.0, 0.6, 2.0
"""
"""For a process whose leases are short, so that a test is."""

SHIFTED = """
import datetime, time
real, wall, nanoseconds = datetime.datetime, time.time, time.time_ns
class Kind(type):
    def __instancecheck__(cls, thing): return isinstance(thing, real)
class Shifted(real, metaclass=Kind):
    now = classmethod(lambda cls, tz=None: real.now(tz) + datetime.timedelta(seconds={seconds}))
    utcnow = classmethod(lambda cls: cls.now(datetime.timezone.utc).replace(tzinfo=None))
time.time = lambda: wall() + {seconds}
time.time_ns = lambda: nanoseconds() + {seconds} * 1_000_000_000
datetime.datetime = Shifted
"""
"""For a process whose wall clock is wrong by so many seconds."""

# Tests in a container run as root, where nobody else may be able to read the checkout, and the
# service refuses root. Apart from that refusal it is twistd as it is installed. It does not outlive
# the test run, however that dies, and in whatever state it is then.
TWISTD = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
os.geteuid = lambda: 65534
sys.argv[0] = "twistd"
{changes}
from twisted.scripts.twistd import run
run()
"""


class Process:
    """A daemon in a process of its own, at a port of its own."""

    def __init__(
        self, world: World, directory: Path, sender: str, port: int, changes: str = ""
    ) -> None:
        self.port = port
        self.frozen = False
        self._log = directory / f"{sender}-{port}.log"
        config = directory / f"{sender}-{port}.toml"
        options = "".join(f"{key} = {json.dumps(each)}\n" for key, each in world.modica.items())
        config.write_text(
            f'[api]\nlisten = ["tcp:{port}:interface=127.0.0.1"]\n'
            f'[database]\nurl = "{world.database_url}"\n'
            f'[senders.{sender}]\nplugin = "modica"\n{options}'
        )
        code = TWISTD.format(changes=changes)
        program = [sys.executable, "-c", code, "-n", "--pidfile=", "hotpotato"]
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                [*program, "--config", str(config)],
                stdin=subprocess.DEVNULL,
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

    def wall_clock(self) -> datetime:
        """What it believes the time is, or was when it last logged something."""
        return datetime.fromisoformat(self.log.splitlines()[-1].split()[0])

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def freeze(self) -> None:
        """Stop it from running, as the suspension of a virtual machine does."""
        self.signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """Let it run on."""
        self.signal(signal.SIGCONT)
        self.frozen = False

    def end(self) -> None:
        """Leave nothing running, whatever the test came to."""
        self._running.kill()
        self._running.wait()


class Site:
    """A world whose daemons are processes; `accepted` are the hosts whose request got a 2xx.

    `changes` is code that each process begins with.
    """

    def __init__(self, world: World, directory: Path, changes: str = "") -> None:
        self.world = world
        self.changes = changes
        self.accepted: set[str] = set()
        self.ids: dict[str, int] = {}
        """Of those, the notification's id."""
        self.outage = 0.0
        """The longest time without a 2xx, while somebody was asking for one."""
        self.answered_at = 0.0
        """When the last 2xx came."""
        self.lag = 0.0
        """How late this process itself was at the most: as late may a daemon be, beside it."""
        self.refusals: list[tuple[float, float, int]] = []
        """Of every 503: when it was asked, the seconds that it took, and the port."""
        self.taken: Counter[int] = Counter()
        """How many notifications of a load were taken at each port."""
        self.unanswered = 0
        """Requests that got no answer at all."""
        self.in_flight_at_faults: Counter[str] = Counter()
        """How often each host's page was being sent when something happened to a daemon."""
        self._told = 0
        self._stopped = False
        self._load: Deferred[None] | None = None
        self._directory = directory
        self._processes: list[Process] = []
        self._requests: list[Deferred[None]] = []

    def begin(
        self, port: int | None = None, sender: str = "modica", changes: str | None = None
    ) -> Process:
        """Begin to start a daemon. The gateway calls the newest back.

        `changes` are this process's in place of the site's.
        """
        code = self.changes if changes is None else changes
        process = Process(self.world, self._directory, sender, port or free_port(), code)
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
        except NOBODY_THERE:
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
                self._accept(host, answer.data["id"])

    def _accept(self, host: str, number: int) -> None:
        self.accepted.add(host)
        self.ids[host] = number
        now = reactor.seconds()
        self.outage = max(self.outage, now - (self.answered_at or now))
        self.answered_at = now

    # --- a load that goes on

    def load(self) -> None:
        """Begin to tell of one host after the other, each until a daemon has taken it.

        Who asks is a monitoring program with a spool behind a load balancer without health checks:
        it tries the daemons in turn, and always with the same Idempotency-Key for the same host.
        """
        self._load = Deferred.fromCoroutine(self._tell_on())
        self._load.addErrback(lambda failure: failure.trap(CancelledError))

    async def unload(self) -> None:
        """Tell nothing new, and wait until the last has been taken."""
        assert self._load is not None
        self._load.cancel()
        await self.answered()

    @property
    def running(self) -> list[Process]:
        """The processes that have not ended."""
        return [process for process in self._processes if process.status is None]

    async def _tell_on(self) -> None:
        while True:
            self._told += 1
            self._requests = [request for request in self._requests if not request.called]
            work = self._surely(f"host-{self._told:04}", self._told)
            self._requests.append(Deferred.fromCoroutine(work))
            paused = reactor.seconds()
            await deferLater(reactor, TELL_EVERY)
            self.lag = max(self.lag, reactor.seconds() - paused - TELL_EVERY)

    async def _surely(self, host: str, turn: int) -> None:
        for number in itertools.count(turn):
            if self._stopped:
                return
            running = self.running
            if running and await self._taken(host, running[number % len(running)].port):
                return
            if not self._stopped:  # else it was cancelled
                await deferLater(reactor, TELL_AGAIN)

    async def _taken(self, host: str, port: int) -> bool:
        began = reactor.seconds()
        body = {"hostname": host, "state": "CRITICAL", "service_name": "Postgres"}
        headers: dict[bytes | str, bytes | str] = {
            "Authorization": f"Apikey {self.world.key}",
            "Idempotency-Key": host,
        }
        asking = self.world.http.post(
            f"http://127.0.0.1:{port}/api/servers/v2/notifications/send",
            headers=headers,
            data=json.dumps(body).encode(),
        )
        asking.addCallback(lambda answer: treq.content(answer).addCallback(lambda b: (answer, b)))
        try:
            answer, content = await asking.addTimeout(ANSWERED_WITHIN + 2, reactor)
        except (*NOBODY_THERE, TimeoutError):
            self.unanswered += 1
            return False
        if answer.code == 503:
            self.refusals.append((began, reactor.seconds() - began, port))
            return False
        assert answer.code == 201, content
        self.taken[port] += 1
        self._accept(host, json.loads(content)["data"]["id"])
        return True

    # --- what becomes of it
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

    def fault(self) -> None:
        """Something has just happened to a daemon: note what was in flight."""
        self.in_flight_at_faults.update(self.in_flight())

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

    def account(self, faults: int) -> Row:
        """The row for the table; what must not be in it is asserted."""
        arrived = self.arrived
        stored = dict(self.world.sql("SELECT hostname, id FROM notification"))
        forgotten = {host for host, number in self.ids.items() if stored.get(host) != number}
        assert not forgotten, "answered 2xx, and not in the database"
        too_often = {
            host: times
            for host, times in arrived.items()
            if times - 1 > self.in_flight_at_faults[host]
        }
        assert not too_often, "sent again, and not in flight"
        return {
            "accepted": len(self.accepted),
            "delivered": len(self.accepted & arrived.keys()),
            "lost": len(self.accepted - arrived.keys()),
            "duplicates": self.duplicates,
            "crashes": faults,
            "longest outage of ingest": f"{self.outage:.1f} s",
        }

    async def stop(self) -> None:
        self._stopped = True
        if self._load is not None:
            self._load.cancel()
        for process in self._processes:
            process.end()
        for request in self._requests:
            request.cancel()
        await self.world.stop()


async def furnished(site: Site) -> Site:
    """Give a site its people and its gateway, which remembers every message."""
    world = site.world
    world.sender = {"concurrency": 30}
    world.gateway._messages = deque()
    await world.gateway.start(reactor)
    await world._populate()
    # Each page in a message of its own, and only one for each host.
    await world.without_pace(step(0, again=86_400))
    return site
