"""A whole small world for tests: a database, a daemon on a socket, a gateway with phones, a clock.

Everything is real but time: the daemon's clock and the database's are moved together by `advance`,
and nothing waits for the wall clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import treq
from pytest_twisted import blockon
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from hotpotato import settings
from hotpotato.daemon import Daemon
from hotpotato.rules import keys
from hotpotato.sandbox import Gateway
from hotpotato.senders.registry import Registry
from hotpotato.store import people, schema, servers
from hotpotato.store.database import Database

START = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
"""When every test begins: three in the morning in Auckland."""

ANNA, BOB, CLEO = "+64211234567", "+64217654321", "+64219876543"

_PATIENCE = 20.0

_VIRTUAL_NOW = """
CREATE TABLE test_clock (now timestamptz NOT NULL);
INSERT INTO test_clock VALUES ('2026-11-23 14:00:00+00');
CREATE OR REPLACE FUNCTION hotpotato_now() RETURNS timestamptz
    LANGUAGE sql STABLE AS 'SELECT now FROM test_clock';
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
            self.sql(_VIRTUAL_NOW)
        self._pool = HTTPConnectionPool(reactor)
        self.http = HTTPClient(Agent(reactor, pool=self._pool))
        self.gateway = Gateway(
            self.clock,
            self.http,
            callback_username="modica",
            callback_password="callback-secret",
        )
        self.phone = self.gateway
        self.daemons: list[Daemon] = []
        self.ports: list[Any] = []
        self.tenant_id = 0
        self.key = ""
        self.watchdog_interval = 5.0
        self.sender: dict[str, Any] = {}

    # --- life

    async def start(self) -> None:
        """Build the people of a small company, and start a daemon."""
        await self.gateway.start(reactor)
        await self._populate()
        await self.start_daemon()

    async def stop(self) -> None:
        """Stop everything."""
        while self.daemons:
            await self.stop_daemon()
        await self.gateway.stop()
        await self._pool.closeCachedConnections()
        self._connection.close()

    async def start_daemon(self, **changes: Any) -> Daemon:
        """Start one more daemon on the same database."""
        daemon = Daemon(
            self.settings(**changes), self.database_url, Registry.discover(), reactor, self.clock
        )
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        await daemon.bind([endpoint])
        await daemon.start()
        port = daemon.listening[0].getHost().port
        self.daemons.append(daemon)
        self.ports.append(port)
        self.gateway.callback_url = f"http://127.0.0.1:{port}/api/senders/modica"
        await until(lambda: daemon.ready, "the daemon to be ready")
        return daemon

    async def stop_daemon(self, index: int = -1) -> None:
        """Stop a daemon in order."""
        self.ports.pop(index)
        await self.daemons.pop(index).stop()

    def settings(self, **changes: Any) -> settings.Settings:
        """The configuration of a daemon; `changes` replace whole sections."""
        return settings.from_mapping(
            {
                "database": {"url": self.database_url, "connections": 4},
                "watchdog": {"interval": self.watchdog_interval},
                "senders": {
                    "modica": {
                        "url": self.gateway.url,
                        "application": "sandbox",
                        "password": "sandbox",
                        "callback_username": "modica",
                        "callback_password": "callback-secret",
                        **self.sender,
                    }
                },
                **changes,
            },
            Path("test.toml"),
        )

    async def _populate(self) -> None:
        async def work(transaction: Any) -> None:
            self.tenant_id = await people.add_tenant(transaction, "acme", "Pacific/Auckland")
            for name, number in (("Anna", ANNA), ("Bob", BOB), ("Cleo", CLEO)):
                person = await people.add_person(
                    transaction, self.tenant_id, name, [("sms", number)]
                )
                if name == "Anna":
                    await people.set_on_call(transaction, self.tenant_id, person)

        await self.store(work)
        self.key = await self.add_server_now("icinga1")

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

    async def advance(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass, in steps, and let everything that falls due happen."""
        await self.settle()
        left = seconds
        while left > 0:
            now = min(step, left)
            left -= now
            self.sql("UPDATE test_clock SET now = now + make_interval(secs => %s)", now)
            self.clock.advance(now)
            await self.settle()

    async def settle(self) -> None:
        """Wait, in real time, until nothing is due and nothing is under way."""
        quiet = 0
        deadline = reactor.seconds() + _PATIENCE
        while quiet < 3:
            assert reactor.seconds() < deadline, f"it does not become quiet: {self._busy()}"
            if self.virtual:
                self.clock.advance(0)
            await deferLater(reactor, 0.004)
            quiet = 0 if self._busy() else quiet + 1

    def _busy(self) -> list[str]:
        found = []
        for daemon in self.daemons:
            found += [loop.name for loop in [*daemon.loops, daemon.watchdog] if not loop.asleep]
            found += ["sending" for lane in daemon.lanes if lane.under_way and not self.hanging]
            found += ["database"] if daemon.database.usage[1] else []
        if not found and self.daemons:
            found += [name for name, count in self._due() if count]
        return found

    hanging = False
    """Set while a test keeps attempts under way on purpose."""

    def _due(self) -> Sequence[tuple[str, int]]:
        rows = self.sql(
            """
            SELECT (SELECT count(*) FROM alert WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM announcement WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM message WHERE due_at <= hotpotato_now()),
                   (SELECT count(*) FROM reply WHERE due_at <= hotpotato_now())
            """
        )
        return list(zip(("alert", "announcement", "message", "reply"), rows[0], strict=True))

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
        response = await self.http.request(
            method, self.url + path, data=body, headers=dict(headers or {}), allow_redirects=False
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

    # --- what is seen

    def texts(self, number: str | None = None) -> list[str]:
        """What arrived at a phone, or at all, oldest first."""
        return self.gateway.texts(number)

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
