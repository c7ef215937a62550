"""What is too much at once is put off, and costs no memory."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hotpotato.api import wire
from hotpotato.api.answers import Answer
from hotpotato.api.site import Application, Endpoint, Request
from hotpotato.store.servers import Keys
from tests.api.talk import Connection
from tests.api.test_hostile import is_unharmed
from tests.world import World, until

PATH = "/api/servers/v2/x"
REQUEST = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode() + b"y" * 100


class Line:
    """One connection to a site, without a socket."""

    def __init__(self, site: Any) -> None:
        self.channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def say(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def end(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def heard(self) -> bytes:
        return bytes(self.transport.value())

    @property
    def put_off(self) -> bool:
        """Whether it was answered 503, to be tried again, and closed."""
        head, _, body = self.heard.partition(b"\r\n\r\n")
        return (
            head.startswith(b"HTTP/1.1 503 ")
            and b"\r\nRetry-After: 2\r\n" in head + b"\r\n"
            and json.loads(body)["success"] is False
            and bool(self.transport.disconnecting)
        )


class House:
    """A site whose handler answers when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Answer]] = []
        site: Any = Application(Clock(), [Endpoint("POST", PATH, self._handle)]).site()
        self.site = site

    async def _handle(self, request: Request) -> Answer:
        self.waiting.append(Deferred())
        return await self.waiting[-1]

    def answer(self) -> None:
        """Answer the oldest that waits."""
        self.waiting.pop(0).callback(Answer(200, b"{}"))


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    """One that has room for three connections, and for 250 bytes of bodies."""
    monkeypatch.setattr(wire, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(wire, "MOST_HELD", 250)
    return House()


def test_of_too_many_connections_the_one_that_was_silent_longest_gives_way(house: House) -> None:
    first, second, third = (Line(house.site) for _ in range(3))
    first.say(REQUEST)
    house.answer()
    # The first has said something since; the second only began to.
    second.say(b"POST ")
    fourth = Line(house.site)
    assert second.transport.disconnecting
    assert not any(line.transport.disconnecting for line in (first, third, fourth))
    assert house.site.connections == 3
    fourth.say(REQUEST)
    house.answer()
    assert fourth.heard.startswith(b"HTTP/1.1 200 OK\r\n")


def test_where_every_connection_is_in_use_the_next_is_503(house: House) -> None:
    lines = [Line(house.site) for _ in range(3)]
    for line in lines[:2]:
        line.say(REQUEST)
    # A request that has begun is in use, too.
    lines[2].say(REQUEST[:60])
    assert Line(house.site).put_off
    assert house.site.connections == 3
    assert [line.heard for line in lines] == [b"", b"", b""]
    lines[2].end()
    late = Line(house.site)
    assert late.heard == b""
    assert house.site.connections == 3


def test_bodies_have_so_much_room_together_and_what_finds_none_is_503(house: House) -> None:
    first, second, third = (Line(house.site) for _ in range(3))
    first.say(REQUEST)
    second.say(REQUEST[:-1])
    third.say(REQUEST[:-10])
    assert third.put_off
    assert house.site.held == 199
    third.end()
    # Room is made by an answer, and by a client that leaves.
    house.answer()
    assert house.site.held == 99
    second.end()
    assert house.site.held == 0
    fourth = Line(house.site)
    fourth.say(REQUEST)
    house.answer()
    assert fourth.heard.startswith(b"HTTP/1.1 200 OK\r\n")
    assert house.site.held == 0


@pytest_twisted.ensureDeferred
async def test_a_flood_of_connections_keeps_nobody_out(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are real, say nothing, and are many more than there is room for."""
    monkeypatch.setattr(wire, "MOST_CONNECTIONS", 10)
    connections = [await Connection.to(shared) for _ in range(60)]
    port: Any = shared.daemons[0].listening[0]
    site = port.factory
    await until(lambda: site.connections <= 10, "the others to be closed")
    await is_unharmed(shared)
    for connection in connections:
        connection.leave()


@pytest_twisted.ensureDeferred
async def test_a_head_has_a_largest_size(shared: World) -> None:
    """16 KiB in all, 500 lines."""
    for head in (b"X-Long: " + b"x" * 20_000, b"\r\n".join(b"X-%d: y" % n for n in range(600))):
        connection = await Connection.to(shared)
        connection.say(b"POST /api/v1/x HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert (await connection.the_end()).startswith(b"HTTP/1.1 400 ")


@pytest_twisted.ensureDeferred
async def test_only_so_many_keys_are_remembered(world: World) -> None:
    daemon = world.daemons[0]
    remembered = Keys(daemon.database, world.clock, most=2)
    digests = [bytes(world.sql("SELECT sha256(%s)", f"key {number}")[0][0]) for number in range(5)]
    for number, digest in enumerate(digests):
        world.sql(
            "INSERT INTO server (tenant_id, name, key_digest, heartbeat_interval, missed)"
            " VALUES (%s, %s, %s, interval '60 s', 3)",
            world.tenant_id,
            f"server {number}",
            digest,
        )
        known = await remembered.remembered(digest)
        assert known is not None
        assert known.name == f"server {number}"
        assert len(remembered._known) <= 2


@pytest_twisted.ensureDeferred
async def test_more_heartbeats_and_receipts_than_can_wait_are_put_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon: Any = world.daemons[0]
    inbox = daemon.senders[0].sender._context.inbox
    monkeypatch.setattr(daemon.intake._heartbeats._groups, "_most_waiting", 0)
    monkeypatch.setattr(inbox._receipts, "_most_waiting", 0)
    credentials = base64.b64encode(b"modica:callback-secret").decode()
    heartbeat = await world.post("/api/servers/v2/heartbeats/create", {})
    receipt = await world.request(
        "POST",
        "/api/senders/modica/dlr-status",
        b'{"message_id": "1", "status": "received"}',
        {"Authorization": f"Basic {credentials}"},
    )
    for response in (heartbeat, receipt):
        assert response.status == 503
        assert int(response.headers["retry-after"]) > 0
