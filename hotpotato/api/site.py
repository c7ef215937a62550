"""The root of the API: limits, routing, and errors into envelopes.

Every handler takes a `Request` of ours and returns an `Answer`, or raises; it is bounded in time
and counted while it is under way, so that a stop can wait for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.iweb import IRequest

from hotpotato.api.answers import RETRY_AFTER, Answer, Refused, error, refusal, write
from hotpotato.patience import within

MOST_BODY = 1024 * 1024
"""Bytes of a request's body; past it the request is answered 413."""

_GIVE_UP_AT = 8 * MOST_BODY

ANSWER_WITHIN = 5.0
"""Seconds within which a request is answered; what can't be promised by then is a 503."""

IDLE = 60.0
"""Seconds after which a connection without a request, or amid one, is closed."""


class Request(msgspec.Struct, frozen=True):
    """What a handler gets to see of a request. Header names are lower case."""

    path: bytes
    headers: dict[str, list[str]]
    body: bytes
    too_large: bool
    parameters: dict[str, Any]

    def header(self, name: str) -> str | None:
        """The value of a header that is there exactly once."""
        values = self.headers.get(name, [])
        return values[0] if len(values) == 1 else None


Handler = Callable[[Request], Awaitable[Answer]]


class Endpoint(msgspec.Struct, frozen=True):
    """A method, a path in werkzeug's notation, and what answers it."""

    method: str
    path: str
    handle: Handler


class Application:
    """The endpoints as one twisted.web site. `clock` bounds the answers.

    `endpoints` are answered 503 while `trouble` says why nothing can be done now, `always` are
    answered all the same. `report` is told the method, path, status and seconds of every answer, for metrics.
    """

    def __init__(
        self,
        clock: Any,
        endpoints: Sequence[Endpoint],
        always: Sequence[Endpoint] = (),
        trouble: Callable[[], str | None] = lambda: None,
        report: Callable[[str, str, int, float], None] = lambda method, path, status, took: None,
    ) -> None:
        self._clock = clock
        self._report = report
        self._under_way = 0
        self._drained: Deferred[None] | None = None
        self._trouble = trouble
        self._app = Klein()
        for endpoint in endpoints:
            self._mount(endpoint, self._unless_in_trouble(endpoint.handle))
        for endpoint in always:
            self._mount(endpoint, endpoint.handle)
        self._app.handle_errors(Exception)(self._failed)

    def site(self) -> server.Site:
        """The factory to listen with."""
        site = server.Site(self._app.resource(), requestFactory=BoundedRequest, timeout=IDLE)
        site.displayTracebacks = False
        site.protocol = Channel
        site.log = lambda request: None
        return site

    async def drain(self) -> None:
        """Wait until no request is being answered."""
        if self._under_way:
            self._drained = Deferred()
            await self._drained

    def _unless_in_trouble(self, handle: Handler) -> Handler:
        async def guarded(request: Request) -> Answer:
            if (trouble := self._trouble()) is not None:
                raise Refused(503, trouble, {"Retry-After": RETRY_AFTER})
            return await handle(request)

        return guarded

    def _mount(self, endpoint: Endpoint, handle: Handler) -> None:
        def answer(request: IRequest, **parameters: Any) -> Deferred[bytes]:
            started = self._clock.seconds()
            self._under_way += 1
            working = within(
                self._clock, ANSWER_WITHIN, _handled(handle, _seen(request, parameters))
            )

            def finished(result: Answer | Failure) -> bytes:
                self._finished()
                if isinstance(result, Failure):
                    result = error(request.path, refusal(result))
                self._report(
                    endpoint.method, endpoint.path, result.status, self._clock.seconds() - started
                )
                return write(request, result)

            return working.addBoth(finished)

        # Klein keeps handlers by name, and of two of one name both addresses would get the second.
        name = f"{endpoint.method} {endpoint.path}"
        self._app.route(
            endpoint.path, methods=[endpoint.method], endpoint=name, strict_slashes=False
        )(answer)

    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        # What gets here never reached a handler: no such path, or no such method.
        answer = error(request.path, refusal(failure))
        self._report("", "(no such path)", answer.status, 0.0)
        return write(request, answer)

    def _finished(self) -> None:
        self._under_way -= 1
        if not self._under_way and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)


async def _handled(handle: Handler, request: Request) -> Answer:
    return await handle(request)


def _seen(request: Any, parameters: dict[str, Any]) -> Request:
    headers = {
        name.decode("latin-1").lower(): [value.decode("utf-8", "replace") for value in values]
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    body = b"" if request.too_large else request.content.read()
    return Request(request.path, headers, body, request.too_large, parameters)


class BoundedRequest(server.Request):
    """A request that keeps at most MOST_BODY bytes of its body.

    It reads on to answer 413, since a client that is still sending would not see the answer, and
    gives up on what is many times too large.
    """

    too_large = False
    _seen_bytes = 0

    def gotLength(self, length: int | None) -> None:
        """Note what the client announces."""
        self.too_large = length is not None and length > MOST_BODY
        super().gotLength(0 if self.too_large else length)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, while there is room."""
        self._seen_bytes += len(data)
        self.too_large = self.too_large or self._seen_bytes > MOST_BODY
        if not self.too_large:
            super().handleContentChunk(data)
        elif self._seen_bytes > _GIVE_UP_AT:
            self.channel.forceAbortClient()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer. Bodies are JSON whatever they are called, so nothing is parsed here."""
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)


class Channel(http.HTTPChannel):
    """HTTP/1.1 that answers with an envelope also what it can't read as HTTP at all."""

    def _respondToBadRequestAndDisconnect(self) -> None:
        answer = error(b"", Refused(400, "this is not a well-formed HTTP/1.1 request"))
        head = (
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + answer.body)
        self.loseConnection()
