"""The load: HTTP clients that do as little as possible, in a process of their own.

Run as `python -m benchmarks.load ORDER`, with an `Order` as JSON; prints an `Outcome` as JSON.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any, Literal

import msgspec
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

reactor: Any = installed

PATIENCE = 15.0
"""Seconds for which the last answers are waited for."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask of whom.

    `manner` "flood": every connection sends its next request as soon as the last is answered, and
    what is answered after `warm_up` and within `seconds` is counted. "pace": `rate` requests a second
    are sent, whether or not earlier ones were answered. `distinct`: each request is about another
    host, NAME-0000001 and so on, beginning with `first`; otherwise all are about one.
    """

    port: int
    path: str
    key: str
    manner: Literal["flood", "pace"]
    name: str
    distinct: bool
    connections: int = 64
    warm_up: float = 1.0
    seconds: float = 5.0
    rate: float = 50.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: answers counted by status, seconds measured, CPU seconds spent here.

    `sent` is when each request was sent, by its host, on the machine's monotonic clock ("pace" only).
    """

    answers: dict[int, int]
    seconds: float
    cpu: float
    sent: dict[str, float] = {}

    @property
    def confirmed(self) -> int:
        """How many were answered 2xx."""
        return sum(count for status, count in self.answers.items() if 200 <= status < 300)

    @property
    def refused(self) -> int:
        """How many were answered otherwise, or (status 0) not at all."""
        return sum(self.answers.values()) - self.confirmed


class Requests:
    """The requests, one after the other, with all that can be prepared prepared."""

    def __init__(self, order: Order) -> None:
        self._order = order
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
            f"POST {order.path} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\n"
            f"Authorization: Apikey {order.key}\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._before, _, self._after = (head.encode() + body).partition(b"#######")

    def next(self) -> tuple[str, bytes]:
        """The next one's host, and its bytes."""
        if self._order.distinct or not self._number:
            self._number += 1
        digits = f"{self._number:07}"
        return self._host(digits), self._before + digits.encode() + self._after

    def _host(self, digits: str) -> str:
        return f"{self._order.name}-{digits}"


class Client(Protocol):
    """One keep-alive connection: one request at a time, and `answered(self, status)` for each.

    Status 0: the connection ended instead.
    """

    def __init__(self, answered: Any) -> None:
        self._answered = answered
        self._buffer = b""
        self._waiting = False

    def send(self, request: bytes) -> None:
        self._buffer = b""
        self._waiting = True
        self.transport.write(request)

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
    # JSON has no line break as such in it, so the end of the last chunk is found without a parser.
    head, _, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"\r\ncontent-length:")[2]
    if length:
        return len(body) >= int(length.split(b"\r\n", 1)[0])
    return body.endswith(b"0\r\n\r\n")


class Load:
    """One order carried out."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._requests = Requests(order)
        self._answers: dict[int, int] = {}
        self._sent: dict[str, float] = {}
        self._idle: deque[Client] = deque()
        self._late: deque[bytes] = deque()
        self._under_way = 0
        self._counting = False
        self._sending = True
        self._all_answered: Deferred[None] = Deferred()

    async def run(self) -> Outcome:
        """Connect, send, wait for the last answers."""
        await self._connect()
        flood = self._order.manner == "flood"
        if flood:
            while self._idle:
                self._next(self._idle.popleft())
        else:
            self._begin_pace()
        await _pause(self._order.warm_up)
        self._counting = True
        started, cpu = time.monotonic(), time.process_time()
        await _pause(self._order.seconds)
        self._sending = False
        took, cpu = time.monotonic() - started, time.process_time() - cpu
        if flood:
            self._counting = False
        await self._last_answers()
        return Outcome(answers=self._answers, seconds=took, cpu=cpu, sent=self._sent)

    async def _connect(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._order.port)
        for _ in range(self._order.connections):
            self._idle.append(await connectProtocol(endpoint, Client(self._answered)))

    def _next(self, client: Client) -> None:
        self._under_way += 1
        client.send(self._requests.next()[1])

    def _begin_pace(self) -> None:
        started = time.monotonic()
        count = 0

        def send_what_is_due() -> None:
            nonlocal count
            now = time.monotonic()
            while self._sending and started + count / self._order.rate <= now:
                count += 1
                host, request = self._requests.next()
                # Counted from here even if no connection is free: waiting for one is waiting too.
                if self._counting:
                    self._sent[host] = time.monotonic()
                self._under_way += 1
                if self._idle:
                    self._idle.popleft().send(request)
                else:
                    self._late.append(request)
            if self._sending:
                due = started + count / self._order.rate
                reactor.callLater(max(due - time.monotonic(), 0), send_what_is_due)

        send_what_is_due()

    def _answered(self, client: Client, status: int) -> None:
        self._under_way -= 1
        if self._counting or not status:
            self._answers[status] = self._answers.get(status, 0) + 1
        if status and self._late:
            client.send(self._late.popleft())
        elif status and self._sending and self._order.manner == "flood":
            self._next(client)
        elif status:
            self._idle.append(client)
        if not self._under_way and not self._sending and not self._all_answered.called:
            self._all_answered.callback(None)

    async def _last_answers(self) -> None:
        if self._under_way:
            waiting = self._all_answered.addTimeout(PATIENCE, reactor)
            waiting.addErrback(lambda _: self._give_up())
            await waiting

    def _give_up(self) -> None:
        self._answers[0] = self._answers.get(0, 0) + self._under_way


async def _pause(seconds: float) -> None:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    await done


def main() -> None:
    """Carry out the order on the command line."""
    reactor.seconds = time.monotonic
    order = msgspec.json.decode(sys.argv[1], type=Order)
    running = Deferred.fromCoroutine(Load(order).run())
    running.addCallback(lambda outcome: print(msgspec.json.encode(outcome).decode()))
    running.addErrback(lambda failure: failure.printTraceback())
    running.addBoth(lambda _: reactor.stop())
    reactor.run()


if __name__ == "__main__":
    main()
