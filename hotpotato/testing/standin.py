"""A provider on a socket of this machine, as good or as bad as a test wants it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hotpotato.sandbox.listener import Listener
from hotpotato.sandbox.waiters import Waiters

log = Logger()


class Request(msgspec.Struct, frozen=True):
    """What the sender asked of the provider. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What the provider answers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Behaviour(enum.Enum):
    """What the provider does once it has read a request."""

    ANSWER = "answers"
    SILENCE = "never answers"
    RESET = "resets the connection"
    GARBAGE = "answers with something that isn't HTTP"
    BROKEN_OFF = "breaks off just before the end of its answer"


class StandIn:
    """Answers every request with what `answer` returns for it, unless told to `behave` otherwise.

    `reactor` provides IReactorTCP and IReactorTime. `requests` are those that came, oldest first.
    Its `url` has no slash at the end. `answer` may be changed at any time; where it raises, the
    answer is 500, and `failures` keeps why.
    """

    def __init__(self, reactor: Any, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        self.requests: list[Request] = []
        self.failures: list[Failure] = []
        self.behaviour = Behaviour.ANSWER
        self.answer = answer
        self._held: list[Deferred[None]] | None = None
        self._waiters = Waiters(reactor)
        self._listener = Listener(reactor, _Everything(self._serve))
        self.url = self._listener.url

    def behave(self, behaviour: Behaviour) -> None:
        """Treat the coming requests so."""
        self.behaviour = behaviour

    def hold(self) -> None:
        """Keep the answers back until `let_go`."""
        self._held = []

    def let_go(self) -> None:
        """Give the answers that were kept back, and no longer keep any."""
        held, self._held = self._held or [], None
        for waiter in held:
            waiter.callback(None)

    def arrived(self, count: int) -> Deferred[None]:
        """Fires when that many requests have been read, answered or not."""
        return self._waiters.until(lambda: len(self.requests) >= count)

    def emptied(self) -> Deferred[None]:
        """Fires when no connection is open."""
        return self._listener.emptied()

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._listener.stop()

    async def _serve(self, request: Any) -> None:
        came = Request(
            method=request.method.decode(),
            path=request.uri.decode(),
            headers={
                name.decode().lower(): values[-1].decode("latin-1")
                for name, values in request.requestHeaders.getAllRawHeaders()
            },
            body=request.content.read(),
        )
        self.requests.append(came)
        self._waiters.look()
        if self._held is not None:
            waiter: Deferred[None] = Deferred()
            self._held.append(waiter)
            await waiter
        transport = request.channel.transport
        if self.behaviour is Behaviour.SILENCE:
            return
        if self.behaviour is Behaviour.RESET:
            transport.abortConnection()
            return
        if self.behaviour is Behaviour.GARBAGE:
            transport.write(b"\x00\x01 what?\r\n\r\n")
            transport.loseConnection()
            return
        try:
            answer = await self.answer(came)
        except Exception:
            self.failures.append(Failure())
            answer = Answer(500)
        if self.behaviour is Behaviour.BROKEN_OFF:
            transport.write(_as_bytes(answer)[:-1])
            transport.loseConnection()
            return
        request.setResponseCode(answer.status)
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        request.write(answer.body)
        request.finish()


class _Everything(Resource):
    """Hands in every request, whatever its path and method."""

    isLeaf = True

    def __init__(self, serve: Callable[[Any], Any]) -> None:
        Resource.__init__(self)
        self._serve = serve

    def render(self, request: Any) -> int:
        ensureDeferred(self._serve(request)).addErrback(
            lambda failure: log.failure("in the stand-in", failure)
        )
        return NOT_DONE_YET


def _as_bytes(answer: Answer) -> bytes:
    head = [f"HTTP/1.1 {answer.status} -", f"Content-Length: {len(answer.body)}"]
    head += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + answer.body
