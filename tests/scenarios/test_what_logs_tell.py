"""Whatever happens, no secret and no whole phone number is in the log or in the metrics."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import fail
from twisted.logger import LogEvent, eventAsJSON, eventAsText

from hotpotato.interfaces import OutgoingMessage
from hotpotato.rules import keys
from hotpotato.sandbox import Gateway
from hotpotato.store import calendars, servers, tokens
from tests.scenarios.script import Script
from tests.world import ANNA, BOB, CLEO, World

STRANGER = "+64221112223"
DATABASE_PASSWORD, PROVIDER_PASSWORD, CALLBACK_PASSWORD = "DbPass7", "ProvPass8", "CallPass9"
WRONG = {
    "key": "a" * 64,
    "token": "b" * 64,
    "calendar": "c" * 64,
    "password": "not the callback's",
}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class House:
    """A world, every secret in it, and what it logs."""

    def __init__(self, world: World, script: Script) -> None:
        self.world = world
        self.script = script
        self.old_key = world.key
        self.new_key, self.token, self.calendar = (keys.new_key() for _ in range(3))

    async def secrets(self) -> dict[str, str]:
        """Make those that the world has not; returns all, and all numbers, by what they are."""

        async def work(transaction: Any) -> None:
            tenant_id, anna = self.world.tenant_id, self.world.person("Anna")
            await servers.rotate_key(
                transaction, 1, keys.key_digest(self.new_key), revoke_old=False
            )
            await tokens.add(
                transaction,
                tenant_id=tenant_id,
                person_id=anna,
                name="laptop",
                digest=keys.key_digest(self.token),
                scope="act",
                days=90,
            )
            digest = keys.key_digest(self.calendar)
            await calendars.add(transaction, tenant_id, digest, person_id=anna)

        await self.world.store(work)
        numbers = {f"number {number}": number[1:] for number in (ANNA, BOB, CLEO, STRANGER)}
        return {
            "old key": self.old_key,
            "new key": self.new_key,
            "token": self.token,
            "calendar": self.calendar,
            "database's password": DATABASE_PASSWORD,
            "callback's password": CALLBACK_PASSWORD,
            "callback's password in a header": basic("modica", CALLBACK_PASSWORD)[6:],
            "provider's password": PROVIDER_PASSWORD,
            "provider's password in a header": basic("sandbox", PROVIDER_PASSWORD)[6:],
            **{f"wrong {name}": secret for name, secret in WRONG.items()},
            "wrong password in a header": basic("modica", WRONG["password"])[6:],
            **numbers,
            **{f"{name} as written here": f"0{number[2:]}" for name, number in numbers.items()},
        }

    async def story(self) -> None:
        """Everything that there is to log."""
        for part in (self.pages, self.replies, self.requests, self.trouble, self.defects):
            await part()
        await self.cover()

    async def pages(self) -> None:
        """Problems, receipts, another phone, another person, recoveries, a silent server."""
        world = self.world
        await world.heartbeat()
        for state in ("CRITICAL", "OK"):
            await world.notify(state, "db1")
        world.gateway.misbehave("failed", number=ANNA, times=1)
        await world.notify(hostname="db2")
        await world.advance(600, step=30)

    async def replies(self) -> None:
        """From whom we know, from whom we don't, and what can't be understood."""
        world = self.world
        for number in (STRANGER, ANNA, BOB):
            for text in ("who", "help", f"ack {world.code()}", "what?", f"take {number}", "stop"):
                await world.reply(number, text)
        await world.reply(BOB, "start")
        await world.advance(300, step=30)

    async def requests(self) -> None:
        """With right and wrong credentials, at every kind of address."""
        world = self.world
        page = {"hostname": "db3", "state": "CRITICAL", "output": f"call {CLEO}"}
        for key in (self.old_key, self.new_key, WRONG["key"]):
            await world.post("/api/servers/v2/notifications/send", page, key=key)
            await world.post("/api/servers/v2/notifications/send", f"{{{key}".encode(), key=key)
            await world.post("/api/v1/add/heartbeat", {"apikey": key}, key=key)
            await world.post("/api/v1/add/notification", f'{{"apikey": "{key}", '.encode())
            await world.request("GET", f"/no/such/path/{key}")
        for token in (self.token, WRONG["token"]):
            headers = {"Authorization": f"Bearer {token}"}
            await world.request("GET", "/api/people/v1/alerts", headers=headers)
            await world.request("POST", "/api/people/v1/take", b"{", headers=headers)
        for address in (self.calendar, WRONG["calendar"]):
            await world.request("GET", f"/calendars/{address}.ics")
        for password in (CALLBACK_PASSWORD, WRONG["password"]):
            headers = {"Authorization": basic("modica", password)}
            for body in ({"id": 1, "source": STRANGER, "content": "hm"}, {"source": ANNA}, {}):
                for path in ("mo-messages", "dlr-status"):
                    content = json.dumps(body).encode()
                    await world.request("POST", f"/api/senders/modica/{path}", content, headers)
        await world.settle()

    async def trouble(self) -> None:
        """A provider that refuses, one that is broken, and a database that is away."""
        world = self.world
        for word in ("401", "400", "500", "302", "reset-before", "garbage"):
            world.gateway.misbehave(word, times=4)
            await world.notify(hostname=f"with{word}")
            await world.advance(60, step=10)
        world.gateway.behave()
        await world.database_away()
        await world.post("/api/servers/v2/heartbeats/create", b"")
        await world.database_back()

    async def defects(self) -> None:
        """What nobody foresaw: in a sender, in a handler, in a duty."""
        world = self.world
        world.gateway.misbehave("500")
        self.script.then = lambda message: fail(ValueError(f"{message.address} is no pigeon"))
        await world.notify(hostname="pigeons")
        await world.advance(120, step=10)
        self.script.then = self._raise
        await world.notify(hostname="more pigeons")
        await world.advance(120, step=10)
        world.gateway.behave()
        self.script.then = lambda message: self.script.accept()
        for table, column in (("reply", "source"), ("message", "address")):
            world.sql(f"ALTER TABLE {table} ADD CONSTRAINT no CHECK ({column} = '') NOT VALID")
            assert await world.gateway.reply(CLEO, "help") == (500 if table == "reply" else 200)
            await world.settle()
            world.sql(f"ALTER TABLE {table} DROP CONSTRAINT no")
        await world.advance(120, step=10)

    async def cover(self) -> None:
        """What is told each morning: of Anna's phone, too, which is off."""
        self.world.sql("UPDATE tenant SET cover_due_at = '2026-11-22 20:00+00'")
        await self.world.advance(60, step=10)

    def _raise(self, message: OutgoingMessage) -> Any:
        raise ValueError(f"no pigeon for {message.address[1:]}")


@pytest_twisted.async_yield_fixture()
async def house(database_url: str, script: Script) -> AsyncIterator[House]:
    """A world with a secret for everything that can have one."""
    world = World(database_url)
    world.gateway = world.phone = Gateway(
        world.clock,
        world.http,
        password=PROVIDER_PASSWORD,
        callback_username="modica",
        callback_password=CALLBACK_PASSWORD,
    )
    world.sender = {"password": PROVIDER_PASSWORD, "callback_password": CALLBACK_PASSWORD}
    world.plugins.append(script)
    await world.gateway.start(reactor)
    await world._populate()
    await world.start_daemon(
        database={"url": world.database_url, "password": DATABASE_PASSWORD},
        senders={"modica": world.modica, "script": {}, "log": {}},
    )
    yield House(world, script)
    await world.stop()


@pytest_twisted.ensureDeferred
async def test_no_secret_and_no_whole_number_is_in_the_log_or_in_the_metrics(
    house: House, logged: list[LogEvent]
) -> None:
    """As twistd writes it, and every value that a log in JSON would have besides."""
    secrets = await house.secrets()
    await house.story()
    told = [eventAsText(event) for event in logged]
    told += [eventAsJSON(event) for event in logged]
    told += (await house.world.request("GET", "/metrics")).body.decode().splitlines()
    logged[:] = [event for event in logged if "log_failure" not in event]
    found = {
        f"{name}: {line}"
        for name, secret in secrets.items()
        for line in told
        if secret in line or json.dumps(secret)[1:-1] in line
    }
    assert not found, "\n\n".join(sorted(found))
    # Or it would prove nothing.
    whole = "\n".join(told)
    for happened in (
        "+64…4567", "log: to +64…", "raised on attempt", "no pigeon", "incident", "is sick",
        "credentials are not the configured", "database unavailable", "is silent",
        "are not covered ahead",
    ):  # fmt: skip
        assert happened in whole, happened
