"""A world whose daemon dies, again and again, and is asked to keep every promise all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import Clock
from twisted.web.client import ResponseFailed

from hotpotato import rota
from hotpotato.daemon import Daemon
from hotpotato.rules import delivery
from hotpotato.senders.registry import Registry
from hotpotato.store import people, policies
from tests.chaos.account import Account
from tests.chaos.mortal import Life
from tests.world import ANNA, Response, World, step, until

T = TypeVar("T")

SECOND = "+64211111111"
"""Anna's second phone."""

DORA = "+64215555555"
"""Of another tenant, whose policy sends her phone no more than one message in twenty seconds."""

_PAST_THE_LEASE = delivery.LEASE + 1
_PAST_THE_WAIT = delivery.WAIT_FOR_RECEIPT + 1

_UNPACED: dict[str, Any] = {"pace_burst": 10_000, "pace_every": 0.001, "pace_hourly": 100_000}

_OPEN = "SELECT 1 FROM message WHERE status IN ('held', 'queued', 'sending') LIMIT 1"

_BACKENDS = """
SELECT 1 FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'hotpotato' LIMIT 1
"""

_FORGET = """
UPDATE contact SET due_at = NULL;
DELETE FROM sender; DELETE FROM history; DELETE FROM receipt; DELETE FROM heartbeat;
DELETE FROM idempotency; DELETE FROM announcement; DELETE FROM attempt; DELETE FROM code;
DELETE FROM message; DELETE FROM reply;
DELETE FROM notification; UPDATE server SET silence_alert_id = NULL, silent_since = NULL;
DELETE FROM alert; DELETE FROM server WHERE name LIKE 'beats%';
"""


class Died(Exception):
    """The daemon died before the step was done."""


class House(World):
    """See the module. There is one daemon at a time.

    Each step of a scene is repeated until it is done by a daemon that lives, as monitoring programs
    with a spool and providers do it.
    """

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url)
        self.pause = 0.001  # PostgreSQL may need this processor meanwhile
        self.account = Account()
        self.life = Life(reactor, Clock())
        self.next_life: Callable[[], int | None] = lambda: None
        """How many operations the next daemon lives; None: as long as it is let."""
        self.host = ""
        """What this scene is about."""
        self.slow_key = ""
        """The key of the server whose problems are Dora's."""
        self._between = False
        self._registry = Registry.discover()
        self._count = 0
        self._stored: list[tuple[str, str, object]] = []
        self.gateway._on_event = self._called_back

    # --- life and death

    async def start(self, **changes: Any) -> None:
        """Furnish it, and start the first daemon."""
        await self.gateway.start(reactor)
        await self._populate()
        await self.store(self._furnish)
        self.slow_key = await self.add_server_now("icinga2")
        self.tenant_id -= 1
        self.sql("UPDATE contact SET verified_at = hotpotato_now()")
        self.sql("UPDATE tenant SET cover_due_at = '2100-01-01'")
        await self.put_on_call("Bob", "secondary")
        await self.start_daemon()
        await self.settle()

    async def _furnish(self, transaction: Any) -> None:
        phones = [("sms", ANNA), ("sms", SECOND)]
        await people.set_contacts(transaction, self.tenant_id, self.person("Anna"), phones)
        fast = policies.Stored(
            steps=(
                step(0, again=60),
                step(40, schedule="secondary"),
                step(600, "everyone", again=600),
            ),
            undelivered_after=20.0,
            **_UNPACED,
        )
        await policies.write(transaction, self.tenant_id, fast)
        self.tenant_id = await people.add_tenant(transaction, "slow", "Pacific/Auckland")
        dora = await people.add_person(transaction, self.tenant_id, "Dora", [("sms", DORA)])
        await rota.set_on_call(transaction, self.tenant_id, dora)
        slow = policies.Stored(
            steps=(step(0, again=600),), pace_burst=1, pace_every=20.0, pace_hourly=1000
        )
        await policies.write(transaction, self.tenant_id, slow)

    async def start_daemon(self, **changes: Any) -> Daemon:
        """Start the next daemon, which may die of it."""
        clock = Clock()
        clock.rightNow = self.clock.seconds()
        life = self.life = Life(reactor, clock)
        self._between = False
        life.dies_at = self.next_life()
        daemon = Daemon(self.settings(), self.database_url, self._registry, life, clock)
        await daemon.bind([serverFromString(life, "tcp:0:interface=127.0.0.1")])
        address: Any = daemon.listening[0].getHost()
        self._clocks[daemon] = clock
        self.daemons.append(daemon)
        self.ports.append(address.port)
        self._call_back()
        life.ended = self._ended
        await daemon.start()
        await until(lambda: life.dead or daemon.ready, "the daemon to be ready")
        return daemon

    def settings(self, **changes: Any) -> Any:
        database = {"url": self.database_url, "connections": 2}
        return super().settings(**{"database": database, **changes})

    def _ended(self) -> None:
        self._forget(-1)

    def _busy(self) -> list[str]:
        if self.life.dead and not self._between:
            raise Died
        return super()._busy()

    async def surely(self, do: Callable[[], Awaitable[T]]) -> T:
        """Do it, and again with the next daemon each time that one dies meanwhile."""
        while True:
            if self.life.dead:
                await self._go_on()
            try:
                return await do()
            except Died:
                pass

    async def _go_on(self) -> None:
        """Take stock of what the dead daemon had in flight, and have the next one take it over."""
        while self.life.dead:
            await until(lambda: not self.sql(_BACKENDS), "what the dead one began to end")
            in_flight = self.sql("SELECT message_id FROM attempt WHERE outcome IS NULL")
            self.account.died(message for (message,) in in_flight)
            self._between = True
            await self.advance(_PAST_THE_LEASE, step=_PAST_THE_LEASE)
            try:
                await self.start_daemon()
                await self.advance(_PAST_THE_WAIT, step=_PAST_THE_WAIT)
            except Died:
                pass

    # --- steps

    def begin(self, name: str) -> None:
        """Begin a scene with nothing that was before."""
        self._count += 1
        self.host = f"{name}-{self._count}"
        self.gateway.forget()
        self.sql(_FORGET)
        self._stored.clear()

    async def tells(self, state: str = "CRITICAL", host: str = "", key: str = "") -> None:
        """The monitoring program tells, until it is answered 2xx."""
        self._count += 1
        headers = {"Idempotency-Key": f"{self.host}-{self._count}"}
        body = {"hostname": host or self.host, "state": state}
        path = "/api/servers/v2/notifications/send"
        answer = await self.surely(lambda: self._posted(path, body, key or self.key, headers))
        assert answer.status == 201, answer.body
        self._stored.append(("notification", "id", answer.data["id"]))

    async def beats(self, key: str) -> None:
        """A heartbeat comes, until it is answered 2xx."""
        path = "/api/servers/v2/heartbeats/create"
        answer = await self.surely(lambda: self._posted(path, {}, key, {}))
        assert answer.status == 201, answer.body
        self._stored.append(("heartbeat", "id", answer.data["id"]))

    async def _posted(self, path: str, body: object, key: str, headers: dict[str, str]) -> Response:
        try:
            return await self.post(path, body, key=key, headers=headers)
        except (ConnectError, ConnectionClosed, ResponseFailed) as error:
            if not self.life.dead:
                raise
            raise Died from error

    async def replies(self, number: str, text: str) -> None:
        """Somebody writes an SMS, which the provider hands over until it is answered 200."""
        provider_id = self.gateway._next_id()

        async def hand_over() -> None:
            status = await self.gateway.reply(number, text, provider_id=provider_id)
            if self.life.dead and status == 0:
                raise Died
            assert status == 200

        await self.surely(hand_over)
        self._stored.append(("reply", "provider_id", str(provider_id)))

    async def passes(self, seconds: float, step: float = 20.0) -> None:
        """Time passes, at least that much."""
        await self.surely(lambda: self.advance(seconds, step))

    async def told(self, within: float = 10) -> None:
        """Wait until the phones have got what was promised, and nothing is on its way.

        At most so many seconds of a life in which nobody dies.
        """
        await self.surely(self.settle)
        left, life = within, self.life
        while left > 0 and (not self.account.kept(self.gateway.messages) or self.sql(_OPEN)):
            await self.passes(5)
            left -= 5
            if life is not self.life:
                left, life = within, self.life

    def expect(self, number: str, begins: str, word: str = "") -> None:
        """Something answered 2xx promises that such a text comes."""
        self.account.promise(number, begins, word or self.host)

    async def end(self) -> None:
        """End a scene: look at what came of it."""
        await self.told()
        await self.passes(2, step=1)
        references = dict(self.sql("SELECT reference, message_id FROM attempt"))
        sent = self.sql("SELECT id FROM message WHERE status IN ('sent', 'delivered')")
        missing = [
            f"{table} {number}"
            for table, column, number in self._stored
            if not self.sql(f"SELECT 1 FROM {table} WHERE {column} = %s", number)
        ]
        messages = self.gateway.messages
        self.account.close(self.host, messages, references, [one for (one,) in sent], missing)

    def _called_back(self, kind: str, facts: Any) -> None:
        if kind == "receipt" and facts["answered"] == 200:
            self._stored.append(("receipt", "provider_id", str(facts["id"])))
