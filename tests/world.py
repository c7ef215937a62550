"""A whole small world for tests: a database, a daemon on a socket, a gateway with phones, a clock.

Everything is real but time: the daemons' clocks, the gateway's and the database's are moved
together by `advance`, and nothing waits for the wall clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import treq
from pytest_twisted import blockon
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from hotpotato import daemon as daemon_module
from hotpotato import rota, settings
from hotpotato.daemon import Daemon
from hotpotato.duties.loop import SHORTEST_SLEEP
from hotpotato.interfaces import ISenderPlugin
from hotpotato.rules import keys
from hotpotato.sandbox import Gateway
from hotpotato.senders.registry import Registry
from hotpotato.store import people, policies, schedules, schema, servers, silences
from hotpotato.store.database import Database
from hotpotato.testing.database import server_url

START = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
"""When every test begins: three in the morning in Auckland."""

ANNA, BOB, CLEO = "+64211234567", "+64217654321", "+64219876543"

_PATIENCE = 20.0

_NO_HINT = 0.05
"""Seconds of real time after which no NOTIFY is to be expected any more."""

# A daemon asks for its database this often; a tenth of a second in every test adds up.
daemon_module.LOOK_SOON = 0.01

VIRTUAL_NOW = """
CREATE TABLE test_clock (now timestamptz NOT NULL);
INSERT INTO test_clock VALUES ('2026-11-23 14:00:00+00');
CREATE OR REPLACE FUNCTION hotpotato_now() RETURNS timestamptz
    LANGUAGE sql STABLE AS 'SELECT now FROM test_clock';
-- Of cover only its own tests tell.
ALTER TABLE tenant ALTER COLUMN cover_due_at SET DEFAULT '2100-01-01';
"""


def migrated(url: str) -> None:
    """Bring a new test database up to date, as `hotpotato migrate` does."""
    blockon(Deferred.fromCoroutine(_migrated(url)))


async def _migrated(url: str) -> None:
    database = Database(url, reactor=reactor, size=1)
    database.start()
    await until(lambda: database.available, "the database to answer")
    await schema.migrate(database)
    await database.stop()


async def until(done: Callable[[], object], what: str, patience: float = _PATIENCE) -> None:
    """Wait, in real time, until something is true."""
    deadline = reactor.seconds() + patience
    while not done():
        assert reactor.seconds() < deadline, f"waited {patience:g} s for {what}"
        await deferLater(reactor, 0.005)


def step(after: float, whom: str = "on call", **more: Any) -> policies.Step:
    """A step of a policy: of whoever has the schedule "primary", unless it is said otherwise."""
    schedule = "primary" if whom == "on call" else None
    given = {"again": None, "schedule": schedule, "person": None, "all_contacts": False, **more}
    return policies.Step(after=after, whom=whom, **given)


@implementer(IAgentEndpointFactory)
class _Loopback:
    """To loopback: the usual way to a host takes 0.3 s to say that it is refused there."""

    def endpointForURI(self, uri: Any) -> TCP4ClientEndpoint:
        return TCP4ClientEndpoint(reactor, "127.0.0.1", uri.port)


class Response:
    """An answer of the daemon."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """V2's data."""
        return self.json["data"]


class World:
    """See the module. `virtual` False leaves the clocks alone, for tests with real programs."""

    def __init__(self, database_url: str, *, virtual: bool = True) -> None:
        self.virtual = virtual
        self.database_url = database_url
        self.clock: Any = Clock() if virtual else reactor
        self._connection = psycopg2.connect(self.database_url)
        self._connection.autocommit = True
        if virtual:
            self.sql(VIRTUAL_NOW)
        self._pool = HTTPConnectionPool(reactor)
        self.http = HTTPClient(Agent.usingEndpointFactory(reactor, _Loopback(), pool=self._pool))
        self.gateway = Gateway(
            self.clock,
            self.http,
            callback_username="modica",
            callback_password="callback-secret",
        )
        self.phone = self.gateway
        self.daemons: list[Daemon] = []
        self.ports: list[int] = []
        self._clocks: dict[Daemon, Any] = {}
        self._frozen: dict[Daemon, float] = {}
        self.tenant_id = 0
        self.key = ""
        self.watchdog_interval = 5.0
        self.sender: dict[str, Any] = {}
        """More keys for the section of the one sender, "modica"."""
        self.more_senders: dict[str, dict[str, Any]] = {}
        """Sections of senders that come after it."""
        self.plugins: list[ISenderPlugin] = []
        """More sender plugins, for the daemons that are started from now on."""
        self.pause = 0.002
        """Seconds of real time between two looks whether it is quiet."""
        self.hanging = 0
        """How many attempts a test keeps under way on purpose, so that `settle` waits for none."""

    # --- life

    async def start(self, **changes: Any) -> None:
        """Build the people of a small company, and start a daemon: see `start_daemon`."""
        await self.gateway.start(reactor)
        await self._populate()
        await self.start_daemon(**changes)

    async def stop(self) -> None:
        """Stop everything. Attempts that hang reach their deadline."""
        await self.gateway.stop()
        for daemon in list(self._frozen):
            self.thaw(self.daemons.index(daemon))
        for daemon in self.daemons:
            if self.virtual and any(lane.under_way for lane in daemon.lanes):
                self._clocks[daemon].advance(1000)
        while self.daemons:
            await self.stop_daemon()
        await self._pool.closeCachedConnections()
        self._connection.close()

    async def start_daemon(self, **changes: Any) -> Daemon:
        """Start one more daemon on this database; `changes` replace sections of its settings."""
        clock: Any = self.clock
        if self.virtual:
            clock = Clock()
            clock.rightNow = self.clock.seconds()
        registry = Registry([*Registry.discover().plugins.values(), *self.plugins])
        daemon = Daemon(self.settings(**changes), self.database_url, registry, reactor, clock)
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        await daemon.bind([endpoint])
        await daemon.start()
        self._clocks[daemon] = clock
        self.daemons.append(daemon)
        address: Any = daemon.listening[0].getHost()
        self.ports.append(address.port)
        self._call_back()
        await until(lambda: daemon.ready, "the daemon to be ready")
        return daemon

    async def stop_daemon(self, index: int = -1) -> None:
        """Stop a daemon in order."""
        daemon = self._forget(index)
        await daemon.stop()

    async def crash(self, index: int = -1) -> None:
        """End a daemon like kill -9: without a word, in the middle of whatever it was doing.

        Its time stands still for ever; its sockets, those to the database included, are closed.
        """
        daemon = self._forget(index)
        for port in daemon.listening:
            await maybeDeferred(port.stopListening)
        # Cancelled, it waits for nobody.
        Deferred.fromCoroutine(daemon.database.stop()).addErrback(lambda _: None).cancel()
        await daemon._connections.closeCachedConnections()

    def freeze(self, index: int = -1) -> None:
        """Stop a daemon's time, as SIGSTOP or a suspended virtual machine does."""
        self._frozen[self.daemons[index]] = self.clock.seconds()

    def thaw(self, index: int = -1) -> None:
        """Let a frozen daemon go on: for it, all the time passes at once."""
        daemon = self.daemons[index]
        since = self._frozen.pop(daemon)
        self._clocks[daemon].advance(self.clock.seconds() - since)

    def _forget(self, index: int) -> Daemon:
        self.ports.pop(index)
        daemon = self.daemons.pop(index)
        del self._clocks[daemon]
        self._frozen.pop(daemon, None)
        self._call_back()
        return daemon

    def _call_back(self) -> None:
        """Have the gateway's callbacks go to the newest daemon."""
        if self.ports:
            self.gateway.callback_url = f"{self.url}/api/senders/modica"

    async def database_away(self) -> None:
        """Take the database away from the daemons, and only from them."""
        self._allow_connections(False)
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await until(
            lambda: not any(daemon.database.available for daemon in self.daemons),
            "the daemons to notice",
        )

    async def database_back(self) -> None:
        """Give it back."""
        self._allow_connections(True)
        await until(
            lambda: all(daemon.database.available for daemon in self.daemons),
            "the daemons to notice",
        )

    def _allow_connections(self, allowed: bool) -> None:
        # From another database: PostgreSQL won't do it to the one that asks.
        administrator = psycopg2.connect(server_url())
        administrator.autocommit = True
        with administrator.cursor() as cursor:
            name = self._connection.info.dbname
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
        administrator.close()

    def settings(self, **changes: Any) -> settings.Settings:
        """The configuration of a daemon; `changes` replace whole sections."""
        return settings.from_mapping(
            {
                "database": {"url": self.database_url, "connections": 4},
                "watchdog": {"interval": self.watchdog_interval},
                "senders": {"modica": self.modica, **self.more_senders},
                **changes,
            },
            Path("test.toml"),
        )

    @property
    def modica(self) -> dict[str, Any]:
        """The section of the sender "modica", which talks to the gateway."""
        return {
            "url": self.gateway.url,
            "application": "sandbox",
            "password": "sandbox",
            "callback_username": "modica",
            "callback_password": "callback-secret",
            **self.sender,
        }

    async def _populate(self) -> None:
        async def work(transaction: Any) -> None:
            self.tenant_id = await people.add_tenant(transaction, "acme", "Pacific/Auckland")
            for name, number in (("Anna", ANNA), ("Bob", BOB), ("Cleo", CLEO)):
                person = await people.add_person(
                    transaction, self.tenant_id, name, [("sms", number)]
                )
                if name == "Anna":
                    await rota.set_on_call(transaction, self.tenant_id, person)

        await self.store(work)
        # Their phones are known to work, and of hand-overs only their own tests tell: Anna would be
        # told now and then that she has the pager, with whatever is open by then.
        self.sql("UPDATE contact SET verified_at = hotpotato_now()")
        self.sql("UPDATE shift SET handed_over_at = hotpotato_now()")
        self.key = await self.add_server_now("icinga1")

    def person(self, name: str) -> int:
        """A person's id."""
        return int(self.sql("SELECT id FROM person WHERE name = %s", name)[0][0])

    async def put_on_call(self, name: str | None, schedule: str = "primary") -> None:
        """Give the pager of a schedule to somebody, or the first one to nobody."""

        async def work(transaction: Any) -> None:
            if name is None:
                await rota.clear_on_call(transaction, self.tenant_id)
            else:
                await schedules.add(transaction, self.tenant_id, schedule, None)
                person = self.person(name)
                await rota.set_on_call(transaction, self.tenant_id, person, schedule=schedule)

        await self.store(work)

    async def policy(self, *steps: policies.Step, **said: Any) -> None:
        """Give the tenant a policy; what is not said is as shipped."""
        wanted = policies.Stored(steps=steps, **said)
        await self.store(lambda tx: policies.write(tx, self.tenant_id, wanted))

    async def without_pace(self, *steps: policies.Step, **said: Any) -> None:
        """Send every phone whatever comes, at once, in messages of their own."""
        unpaced = {"pace_burst": 10_000, "pace_every": 0.001, "pace_hourly": 100_000}
        await self.policy(*steps, **unpaced, **said)

    async def set_numbers(self, name: str, *numbers: str) -> None:
        """Give a person these numbers, in this order, in place of the ones before."""
        contacts = [("sms", number) for number in numbers]
        person = self.person(name)
        await self.store(lambda tx: people.set_contacts(tx, self.tenant_id, person, contacts))

    async def silence(self, host: str, seconds: float, service: str | None = None) -> int:
        """Have Bob silence what matches, from now on for so long; returns its id."""

        async def work(transaction: Any) -> int:
            return await silences.add(
                transaction,
                tenant_id=self.tenant_id,
                server_id=None,
                host=host,
                service=service,
                since=self.now,
                until=self.now + timedelta(seconds=seconds),
                author="Bob",
                reason="moving racks",
            )

        number: int = await self.store(work)
        return number

    async def end_silence(self, number: int) -> None:
        """Have Bob end it."""
        assert await self.store(lambda tx: silences.end(tx, number, "Bob"))

    async def add_server_now(self, name: str, interval: float = 60.0, missed: int = 3) -> str:
        """Add a monitoring server and return its key."""
        key = keys.new_key()

        async def work(transaction: Any) -> None:
            await servers.add(
                transaction,
                tenant_id=self.tenant_id,
                name=name,
                digest=keys.key_digest(key),
                heartbeat_interval=interval,
                missed=missed,
                timezone=None,
            )

        await self.store(work)
        return key

    async def store(self, work: Callable[[Any], Any]) -> Any:
        """Run something through the store, as a command does."""
        database = Database(self.database_url, reactor=reactor, size=1)
        database.start()
        await until(lambda: database.available, "the database to answer")
        try:
            return await database.transaction(work)
        finally:
            await database.stop()

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Look at, or change, the database from outside."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    # --- time

    @property
    def now(self) -> datetime:
        """The time in this world."""
        found: datetime = self.sql("SELECT hotpotato_now()")[0][0]
        return found

    async def advance(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass, in steps, and let everything that falls due happen.

        Within a step nothing happens but at its end: whoever wants to see something in between
        takes smaller ones.
        """
        await self.settle()
        left = seconds
        while left > 0:
            now = min(step, left)
            left -= now
            self.sql("UPDATE test_clock SET now = now + make_interval(secs => %s)", now)
            self.clock.advance(now)
            for clock in self._running_clocks():
                clock.advance(now)
            await self.settle()

    async def settle(self) -> None:
        """Wait, in real time, until nothing is due and nothing is under way."""
        started = last_busy = reactor.seconds()
        while True:
            for clock in self._running_clocks():
                clock.advance(0)
            await deferLater(reactor, self.pause)
            now = reactor.seconds()
            if busy := self._busy():
                last_busy = now
            elif not (busy := self._due()):
                return
            elif now - last_busy > _NO_HINT:
                # A loop that found its rows in another's hands sleeps for a moment, of its time.
                last_busy = now
                for clock in self._running_clocks():
                    clock.advance(SHORTEST_SLEEP)
            assert now - started < _PATIENCE, f"it does not become quiet: {busy}"

    async def held(self, arrivals: int = 1) -> None:
        """Wait until that many messages came to the gateway, which was asked to hold one back."""
        self.hanging = 1
        await self.settle()
        await self.gateway.arrived(arrivals)

    def _running_clocks(self) -> list[Any]:
        if not self.virtual:
            return []
        return [clock for daemon, clock in self._clocks.items() if daemon not in self._frozen]

    def _busy(self) -> list[str]:
        found: list[str] = []
        running = [daemon for daemon in self.daemons if daemon not in self._frozen]
        for daemon in running:
            found += [loop.name for loop in daemon.loops if not loop.asleep]
            found += [] if daemon.watchdog.asleep else ["watchdog"]
            found += ["database"] if daemon.database.usage[1] else []
            found += [one.sending.name for one in daemon.canaries if one.sending.under_way]
        sending = sum(lane.under_way for daemon in running for lane in daemon.lanes)
        found += ["sending"] if sending > self.hanging else []
        found += ["calling back"] if self.gateway._busy else []
        return found

    def _due(self) -> list[str]:
        running = [daemon for daemon in self.daemons if daemon not in self._frozen]
        if not any(daemon.ready and daemon.database.available for daemon in running):
            return []
        lanes = [lane for daemon in running for lane in daemon.lanes]
        free = [lane._lane for lane in lanes if lane.under_way < lane._lane.concurrency]
        rows = self.sql(
            """
            SELECT (SELECT count(*) FROM alert WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM announcement WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM message
                     WHERE due_at <= hotpotato_now() AND method = ANY(%s)),
                   (SELECT count(*) FROM reply WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM server
                     WHERE last_heartbeat_at > silent_since),
                   (SELECT count(*) FROM schedule WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM contact WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM shift
                     WHERE handed_over_at IS NULL AND lower(during) <= hotpotato_now()),
                   (SELECT count(*) FROM tenant WHERE cover_due_at <= hotpotato_now())
            """,
            [served.method for lane in free for served in lane.served],
        )
        names = (
            "alert",
            "announcement",
            "message",
            "reply",
            "silence",
            "schedule",
            "contact",
            "shift",
            "cover",
        )
        return [name for name, count in zip(names, rows[0], strict=True) if count]

    # --- what a monitoring server does

    @property
    def url(self) -> str:
        """Where the newest daemon listens."""
        return f"http://127.0.0.1:{self.ports[-1]}"

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Response:
        """Any request, through a real socket."""
        sent: Any = dict(headers or {})
        response = await self.http.request(
            method, self.url + path, data=body, headers=sent, allow_redirects=False
        )
        content = await treq.content(response)
        found = {
            name.decode().lower(): values[0].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Response(response.code, found, content)

    async def post(
        self,
        path: str,
        body: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """POST with a key; `body` is sent as it is if it is bytes, else as JSON."""
        sent = {"Authorization": f"Apikey {key or self.key}", **(headers or {})}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", path, content, sent)

    async def notify(
        self,
        state: str = "CRITICAL",
        hostname: str = "db1",
        service_name: str | None = "Postgres",
        *,
        idempotency: str | None = None,
        **fields: object,
    ) -> Any:
        """Send a notification that must be taken; returns the answer's data."""
        body = {"hostname": hostname, "state": state, "service_name": service_name, **fields}
        headers = {"Idempotency-Key": idempotency} if idempotency else {}
        response = await self.post("/api/servers/v2/notifications/send", body, headers=headers)
        assert response.status == 201, response.body
        return response.data

    async def heartbeat(self, key: str | None = None) -> None:
        """Send a heartbeat that must be taken."""
        response = await self.post("/api/servers/v2/heartbeats/create", b"", key=key)
        assert response.status == 201, response.body

    # --- what people do

    def code(self, number: str | None = None) -> str:
        """The code in the newest page of a phone."""
        pages = [text for text in self.texts(number) if "Reply ack " in text]
        return pages[-1].split()[-1]

    async def reply(self, number: str, text: str, **more: Any) -> None:
        """Write an SMS from a phone, and wait for what comes of it."""
        assert await self.gateway.reply(number, text, **more) == 200
        await self.settle()

    # --- what is seen

    def texts(self, number: str | None = None) -> list[str]:
        """What arrived at a phone, or at all, oldest first."""
        return self.gateway.texts(number)

    def alert(self) -> tuple[str, str | None]:
        """The newest alert's status, and who acknowledged it."""
        rows = self.sql("SELECT status, acknowledged_by FROM alert ORDER BY id DESC LIMIT 1")
        return rows[0][0], rows[0][1]

    def messages(self) -> list[tuple[str, str, str]]:
        """Every message, oldest first: (kind, person, status)."""
        return [
            (kind, person, status)
            for kind, person, status in self.sql(
                "SELECT kind, person.name, status"
                "  FROM message JOIN person ON person.id = person_id ORDER BY message.id"
            )
        ]

    def attempts(self) -> list[tuple[str | None, str]]:
        """Every attempt, oldest first: (outcome, progress)."""
        rows = self.sql("SELECT outcome, progress FROM attempt ORDER BY id")
        return [(outcome, progress) for outcome, progress in rows]

    def story(self) -> list[str]:
        """Every line of history."""
        return [sentence for (sentence,) in self.sql("SELECT sentence FROM history ORDER BY id")]

    def add_server(self, name: str) -> str:
        """`add_server_now` for tests outside the reactor's greenlet."""
        key = keys.new_key()
        self.sql(
            "INSERT INTO server (tenant_id, name, key_digest, heartbeat_interval, missed)"
            " VALUES (%s, %s, %s, interval '60 s', 3)",
            self.tenant_id,
            name,
            keys.key_digest(key),
        )
        return key
