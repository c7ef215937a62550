"""The load: HTTP clients that do as little as possible, so that they are not what is measured."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

PATIENCE = 15.0
"""Seconds for which the last answers of a pace are waited for."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask for what, over how many keep-alive connections.

    Each request is about the host NAME-0000001 and so on; or all about the first, if not
    `distinct`. With `recovering`, so many have a problem one after the other, then the same ones
    recover, then the next have a problem.
    """

    port: int
    path: str
    key: str
    name: str
    distinct: bool
    recovering: int = 0
    connections: int = 64


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered so far: 2xx, and anything else or nothing. `at` is on the monotonic clock.

    `unsent` is what found no connection free at a steady rate. `cpu` is the seconds of CPU that the
    load generator has taken so far.
    """

    confirmed: int
    refused: int
    unsent: int
    at: float
    cpu: float


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """When each request was sent, by host, on the monotonic clock; and how many were refused."""

    sent: dict[str, float]
    refused: int


class Requests:
    """The requests, one after the other, with all that can be prepared prepared."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._number = 0
        body = msgspec.json.encode(
            {
                "notif_type": "service",
                "hostname": self._host("#######"),
                "service_name": "disk /var/lib/postgresql",
                "display_name": "Disk space of the database",
                "state": "CRITICAL",
                "output": "DISK CRITICAL - free space: /var/lib/postgresql 1043 MiB (2% inode=97%);"
                " the oldest WAL segment is 3 h old, archive_command has been failing since 01:12",
                "trouble_code": "DISK-17",
                "timestamp": "2026-11-23 20:32:24 +1300",
                "event": "PROBLEM",
            }
        )
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
            f"Authorization: Apikey {target.key}\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._before, _, self._after = (head.encode() + body).partition(b"#######")
        # The same length, so that the head need not change.
        well = body.replace(b'"CRITICAL"', b'"OK"      ').replace(b'"PROBLEM"', b"null     ")
        self._after_well = (head.encode() + well).partition(b"#######")[2]

    def next(self) -> tuple[str, bytes]:
        """The next one's host, and its bytes."""
        if self._target.distinct or not self._number:
            self._number += 1
        number, after = self._number, self._after
        if each := self._target.recovering:
            block, place = divmod(self._number - 1, each)
            number = block // 2 * each + place + 1
            after = self._after_well if block % 2 else self._after
        digits = f"{number:07}"
        return self._host(digits), self._before + digits.encode() + after

    def _host(self, digits: str) -> str:
        return f"{self._target.name}-{digits}"


class Client(Protocol):
    """One keep-alive connection: one request at a time, and `answered(self, status)` for each.

    Status 0: the connection ended instead.
    """

    def __init__(self, answered: Callable[[Client, int], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._waiting = False

    def send(self, request: bytes) -> None:
        self._buffer = b""
        self._waiting = True
        transport: Any = self.transport
        transport.write(request)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if _is_whole(self._buffer):
            self._waiting = False
            self._answered(self, int(self._buffer[9:12]))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._waiting:
            self._waiting = False
            self._answered(self, 0)


def _is_whole(answer: bytes) -> bool:
    # JSON has no line break as such in it, so the last chunk's end is found without a parser.
    head, _, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"\r\ncontent-length:")[2]
    if length:
        return len(body) >= int(length.split(b"\r\n", 1)[0])
    return body.endswith(b"0\r\n\r\n")


class Load:
    """One load, which floods or keeps a pace."""

    def __init__(self, reactor: Any, target: Target) -> None:
        self._reactor = reactor
        self._target = target
        self._requests = Requests(target)
        self._next: Callable[[Client], None] = self._idle
        self._free: deque[Client] = deque()
        self._under_way = 0
        self._confirmed = 0
        self._refused = 0
        self._unsent = 0

    async def connect(self) -> None:
        """Open the connections."""
        endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", self._target.port)
        for _ in range(self._target.connections):
            self._free.append(await connectProtocol(endpoint, Client(self._answered)))

    def flood(self) -> None:
        """Send on every connection, again as soon as it is answered, for ever."""
        self._next = self._send
        while self._free:
            self._send(self._free.popleft())

    def count(self) -> Count:
        """What was answered so far."""
        return Count(
            confirmed=self._confirmed,
            refused=self._refused,
            unsent=self._unsent,
            at=time.monotonic(),
            cpu=time.process_time(),
        )

    async def pace(self, rate: float, seconds: float) -> Paced:
        """Send `rate` a second for `seconds`, whether or not earlier ones were answered."""
        sent: dict[str, float] = {}
        late: deque[bytes] = deque()
        started = time.monotonic()

        def free(client: Client) -> None:
            if late:
                client.send(late.popleft())
            else:
                self._idle(client)

        self._next = free
        for number in range(round(rate * seconds)):
            await self._pause(started + number / rate - time.monotonic())
            host, request = self._requests.next()
            # Counted from here even if no connection is free: waiting for one is waiting too.
            sent[host] = time.monotonic()
            self._under_way += 1
            late.append(request)
            if self._free:
                self._free.popleft().send(late.popleft())
        until = time.monotonic() + PATIENCE
        while self._under_way and time.monotonic() < until:
            await self._pause(0.05)
        return Paced(sent=sent, refused=self._refused + self._under_way)

    async def steady(self, rate: float) -> None:
        """Send `rate` a second, for ever; what finds no connection free is not sent."""
        self._next = self._idle
        started = time.monotonic()
        number = 0
        while True:
            number += 1
            await self._pause(started + number / rate - time.monotonic())
            if self._free:
                self._send(self._free.popleft())
            else:
                self._unsent += 1

    def _send(self, client: Client) -> None:
        self._under_way += 1
        client.send(self._requests.next()[1])

    def _idle(self, client: Client) -> None:
        self._free.append(client)

    def _answered(self, client: Client, status: int) -> None:
        self._under_way -= 1
        if 200 <= status < 300:
            self._confirmed += 1
        else:
            self._refused += 1
        if status:
            self._next(client)

    async def _pause(self, seconds: float) -> None:
        done: Deferred[None] = Deferred()
        self._reactor.callLater(max(seconds, 0), done.callback, None)
        await done
