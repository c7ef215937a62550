"""Failed authentications wait for their answers, and nobody else does."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hotpotato.api import doorman
from hotpotato.api.answers import Answer, NotLetIn, Refused
from hotpotato.api.site import Application, Endpoint, Request
from hotpotato.rules import failures, keys
from hotpotato.rules.failures import ALLOWED, LONGEST
from hotpotato.store import calendars
from tests.api.talk import BEAT, GET, SEND, V1
from tests.api.test_callbacks import GOOD, basic
from tests.api.test_operations import metrics
from tests.api.test_people import token
from tests.world import Response, World

WRONG = b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Apikey wrong\r\n\r\n"
RIGHT = WRONG.replace(b"wrong", b"right")
HELD = 'hotpotato_failed_authentications_total{held="yes"}'
NONE = WRONG.replace(b"Authorization: Apikey wrong\r\n", b"")


async def guarded(request: Request) -> Answer:
    """Let in who says `right`."""
    match request.header("authorization"):
        case None:
            raise Refused(401, "missing")
        case "Apikey right":
            return Answer(200, b"{}")
        case _:
            raise NotLetIn(401, "wrong")


class House:
    """An application whose clock the test holds, and connections from addresses of its choice."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reported: list[bool] = []
        self.application = Application(
            self.clock, [Endpoint("GET", "/x", guarded)], not_let_in=self.reported.append
        )

    def connection(self, host: str = "192.0.2.1") -> Line:
        """A connection from an address."""
        return Line(self.application.site(), host)

    def fail(self, times: int, host: str = "192.0.2.1") -> None:
        """Fail so often, each time on a connection of its own."""
        for _ in range(times):
            self.connection(host).say(WRONG)


class Line:
    """One connection."""

    def __init__(self, site: Any, host: str) -> None:
        address = IPv4Address("TCP", host, 1)
        self.channel = site.buildProtocol(address)
        self._transport = StringTransport(peerAddress=address)
        self.channel.makeConnection(self._transport)

    def say(self, request: bytes) -> None:
        """Ask."""
        self.channel.dataReceived(request)

    @property
    def heard(self) -> list[str]:
        """The statuses of the answers until now."""
        text = self._transport.value().decode()
        return [part[:3] for part in text.split("HTTP/1.1 ")[1:]]


def test_after_many_failures_the_next_one_waits_and_says_the_same_as_ever() -> None:
    house = House()
    house.fail(ALLOWED)
    assert house.reported == [False] * ALLOWED
    one = house.connection()
    one.say(WRONG)
    assert one.heard == []
    house.clock.advance(0.9)
    assert one.heard == []
    house.clock.advance(0.1)
    assert one.heard == ["401"]
    assert house.reported[ALLOWED:] == [True]


def test_who_is_let_in_never_waits_whoever_fails_from_the_same_address() -> None:
    house = House()
    house.fail(3 * ALLOWED)
    for _ in range(10):
        good = house.connection()
        good.say(RIGHT)
        assert good.heard == ["200"]


def test_who_shows_no_credentials_guesses_nothing_and_never_waits() -> None:
    house = House()
    house.fail(3 * ALLOWED)
    other = house.connection()
    other.say(NONE)
    assert other.heard == ["401"]
    assert len(house.reported) == 3 * ALLOWED


def test_nobody_waits_for_what_another_address_does() -> None:
    house = House()
    house.fail(3 * ALLOWED)
    other = house.connection("192.0.2.2")
    other.say(WRONG)
    assert other.heard == ["401"]


def test_only_so_many_answers_are_held_back_so_that_there_are_connections_for_others() -> None:
    house = House()
    house.fail(ALLOWED + doorman.MOST_HELD)
    one = house.connection()
    one.say(WRONG)
    assert one.heard == ["401"]
    assert house.reported == [False] * ALLOWED + [True] * doorman.MOST_HELD + [False]


def test_what_a_header_says_of_the_address_is_not_believed() -> None:
    house = House()
    house.fail(ALLOWED + 10)
    liar = house.connection()
    liar.say(WRONG.replace(b"Host", b"X-Forwarded-For: 203.0.113.9\r\nForwarded: for=x\r\nHost"))
    assert liar.heard == []
    house.clock.advance(LONGEST)
    assert liar.heard == ["401"]


def test_on_one_connection_guesses_are_answered_one_after_the_other() -> None:
    """What is sent ahead is not even looked at before its turn."""
    house = House()
    house.fail(ALLOWED)
    one = house.connection()
    one.say(WRONG * 30)
    house.clock.pump([0.5] * 20)
    assert one.heard == ["401"] * 10


def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    house = House()
    house.fail(ALLOWED)
    one = house.connection()
    one.say(WRONG)
    one.channel.connectionLost(Failure(ConnectionDone()))
    house.clock.advance(0)
    assert house.application._doorman._holding == {}


def test_addresses_are_remembered_in_bounded_memory_and_who_still_fails_stays() -> None:
    house = House()
    house.fail(ALLOWED)
    many = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(doorman.MOST_ADDRESSES))
    for count, host in enumerate(many):
        house.application._doorman.failed(IPv4Address("TCP", host, 1))
        if count == doorman.MOST_ADDRESSES // 2:
            house.fail(1)
    known = house.application._doorman._forgiven_at
    assert len(known) == doorman.MOST_ADDRESSES
    assert "192.0.2.1" in known
    assert "10.0.0.0" not in known


@pytest.fixture
def everybody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first failure on, and for longer than any test."""
    monkeypatch.setattr(failures, "ALLOWED", 0)
    monkeypatch.setattr(failures, "EVERY", 600.0)
    monkeypatch.setattr(failures, "LONGEST", 600.0)


@pytest_twisted.ensureDeferred
async def test_keys_tokens_calendars_and_callbacks_wait_when_wrong_and_never_when_right(
    world: World, everybody_waits: None
) -> None:
    """And when the daemon stops, who waits is answered."""
    calendar, tok = keys.new_key(), await token(world)
    await world.store(
        lambda tx: calendars.add(
            tx, world.tenant_id, keys.key_digest(calendar), person_id=world.person("Anna")
        )
    )
    bodies: dict[str, bytes] = {
        "/add/heartbeat": b'{"apikey": "KEY"}',
        "/add/notification": b'{"apikey": "KEY", "hostname": "h", "state": "OK"}',
        "/check/notification": b'{"apikey": "KEY", "id": 1}',
    }
    receipt = b'{"message_id": 1, "status": "received"}'

    async def asked(what: str, secret: str) -> Response:
        kind, _, path = what.partition(" ")
        match kind:
            case "v2":
                headers = {"Authorization": f"Apikey {secret or world.key}"}
                method = "GET" if path.startswith(GET) else "POST"
                return await world.request(method, path, b'{"hostname":"h","state":"OK"}', headers)
            case "v1":
                body = bodies[path].replace(b"KEY", (secret or world.key).encode())
                return await world.request("POST", V1 + path, body)
            case "token":
                headers = {"Authorization": f"Bearer {secret or tok}"}
                return await world.request("GET", f"/api/people/v1{path}", None, headers)
            case "calendar":
                return await world.request("GET", f"/calendars/{secret or calendar}.ics")
            case _:
                headers = {"Authorization": basic("modica", secret) if secret else GOOD}
                return await world.request("POST", path, receipt, headers)

    expected = {
        f"v2 {SEND}": (201, 401),
        f"v2 {BEAT}": (201, 401),
        f"v2 {GET}/9999": (404, 401),
        "v1 /add/heartbeat": (201, 403),
        "v1 /add/notification": (201, 403),
        "v1 /check/notification": (200, 403),
        "token /alerts": (200, 401),
        "token /oncall": (200, 401),
        "calendar": (200, 404),
        "callback /api/senders/modica/dlr-status": (200, 401),
        "callback /api/v1/modica/dlr-status": (200, 401),
    }
    waiting: dict[str, Deferred[Response]] = {}
    for count, what in enumerate(expected, start=1):
        waiting[what] = Deferred.fromCoroutine(asked(what, "wrong"))
        while (await metrics(world)).get(HELD, 0) < count:
            await deferLater(reactor, 0.01)
    for what, (right, _) in expected.items():
        response = await asked(what, "")
        assert response.status == right, (what, response.body)
    assert not any(answer.called for answer in waiting.values())
    await world.daemons[0].application.drain()
    for what, (_, wrong) in expected.items():
        assert (await waiting[what]).status == wrong, what
