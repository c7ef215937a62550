"""What the API's tests say, and a client that may say anything."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from hotpotato.rules import keys
from hotpotato.store import people, servers
from tests.world import Response, World, until

SEND = "/api/servers/v2/notifications/send"
BEAT = "/api/servers/v2/heartbeats/create"
GET = "/api/servers/v2/notifications/get"
V1 = "/api/v1"

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")

_numbers = itertools.count(1)


def a_host() -> str:
    """A hostname that no other test uses."""
    return f"host{next(_numbers):04}"


async def send(world: World, key: str | None = None, /, **fields: object) -> Response:
    """Send a notification over V2; `hostname` and `state` need not be given."""
    idempotency = fields.pop("idempotency", None)
    headers = {} if idempotency is None else {"Idempotency-Key": str(idempotency)}
    body = {"hostname": a_host(), "state": "CRITICAL", **fields}
    return await world.post(SEND, body, key=key, headers=headers)


async def taken(world: World, key: str | None = None, /, **fields: object) -> Any:
    """Send a notification that must be taken; returns the whole envelope."""
    response = await send(world, key, **fields)
    assert response.status == 201, response.body
    return response.json


async def look_up(world: World, id: int, key: str | None = None) -> Any:
    """A notification as V2 shows it."""
    response = await get(world, f"{GET}/{id}", key)
    assert response.status == 200, response.body
    return response.data


async def get(world: World, path: str, key: str | None = None) -> Response:
    """GET with a key."""
    return await world.request("GET", path, headers={"Authorization": f"Apikey {key or world.key}"})


def row(world: World, id: int) -> dict[str, Any]:
    """A notification as it is stored."""
    ((found,),) = world.sql("SELECT row_to_json(notification) FROM notification WHERE id = %s", id)
    assert isinstance(found, dict)
    return found


def alerts(world: World, hostname: str) -> list[tuple[Any, ...]]:
    """The alerts of a host and its services, as (status, state), oldest first."""
    return world.sql("SELECT status, state FROM alert WHERE hostname = %s ORDER BY id", hostname)


def stored(world: World) -> int:
    """How many notifications there are."""
    return int(world.sql("SELECT count(*) FROM notification")[0][0])


def is_error(response: Response, code: int, *, v1: bool = False) -> bool:
    """Whether this is the whole envelope of an error, of V2 or of V1."""
    wanted = {"success", "code", "message", "data"} | ({"output"} if v1 else set())
    body = response.json
    return (
        response.status == code
        and response.headers["content-type"] == "application/json"
        and set(body) == wanted
        and body["success"] is False
        and body["code"] == code
        and isinstance(body["message"], str)
        and body["message"] != ""
        and body.get("output", body["message"]) == body["message"]
        and body["data"] is None
    )


async def another_tenant(world: World, name: str, timezone: str = "UTC") -> str:
    """Add a tenant with nobody in it and a server; returns the server's key."""
    key = keys.new_key()

    async def work(transaction: Any) -> None:
        tenant_id = await people.add_tenant(transaction, name, timezone)
        await servers.add(
            transaction,
            tenant_id=tenant_id,
            name=f"{name}'s icinga",
            digest=keys.key_digest(key),
            heartbeat_interval=60.0,
            missed=3,
            timezone=None,
        )

    await world.store(work)
    return key


class Connection(Protocol):
    """A TCP connection that says whatever it is told to, and reads HTTP answers.

    `closed` tells whether the other side has ended it, `heard` what was not yet read of it.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.closed = False

    @classmethod
    async def to(cls, world: World) -> Connection:
        """Connect to the newest daemon of a world."""
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", world.ports[-1])
        connection: Connection = await connectProtocol(endpoint, cls())
        return connection

    def dataReceived(self, data: bytes) -> None:
        """Keep what is heard."""
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.closed = True

    def say(self, *pieces: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.transport.write(b"".join(pieces))

    async def answer(self) -> Response:
        """The next whole answer; it must have a Content-Length."""
        await until(lambda: self.closed or self._next() is not None, "an answer")
        found = self._next()
        assert found is not None, f"closed after {self.heard!r}"
        response, self.heard = found
        return response

    async def the_end(self) -> bytes:
        """Wait until the other side closes; returns what it said until then."""
        await until(lambda: self.closed, "the connection to be closed")
        return self.heard

    def leave(self) -> None:
        """Go away at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    def _next(self) -> tuple[Response, bytes] | None:
        head, end, rest = self.heard.partition(b"\r\n\r\n")
        if not end:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers["content-length"])
        if len(rest) < length:
            return None
        return Response(int(first.split()[1]), headers, rest[:length]), rest[length:]


def request(
    method: str, path: str, body: bytes | None = None, *headers: str, key: str | None = None
) -> bytes:
    """The bytes of a request as a well-behaved client writes them."""
    lines = [f"{method} {path} HTTP/1.1", "Host: hotpotato.example", *headers]
    if key is not None:
        lines.append(f"Authorization: Apikey {key}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def a_notification(**fields: object) -> bytes:
    """The body of a notification that is taken."""
    return json.dumps({"hostname": a_host(), "state": "OK", **fields}).encode()
