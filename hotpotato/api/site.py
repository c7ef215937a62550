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
from twisted.web.iweb import IRequest

from hotpotato.api.answers import RETRY_AFTER, Answer, Refused, error, refusal, write
from hotpotato.api.wire import Site
from hotpotato.patience import within

ANSWER_WITHIN = 5.0
"""Seconds within which a request is answered; what can't be promised by then is a 503."""


class Request(msgspec.Struct, frozen=True):
    """What a handler gets to see of a request.

    Header names are lower case, and a value has one character for each of its bytes. Of a body
    that is `too_large`, `body` is only the beginning.
    """

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
    answered all the same. `report` is told the method, path, status and seconds of every answer,
    for metrics.
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

    def site(self) -> Site:
        """The factory to listen with."""
        return Site(self._app.resource(), self._clock)

    @property
    def under_way(self) -> int:
        """How many requests are being answered."""
        return self._under_way

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
            return self._answered(endpoint, handle, request, parameters)

        # Klein keeps handlers by name, and of two of one name both addresses would get the second.
        name = f"{endpoint.method} {endpoint.path}"
        self._app.route(
            endpoint.path, methods=[endpoint.method], endpoint=name, strict_slashes=False
        )(answer)

    def _answered(
        self, endpoint: Endpoint, handle: Handler, request: IRequest, parameters: dict[str, Any]
    ) -> Deferred[bytes]:
        started = self._clock.seconds()
        self._under_way += 1
        working = within(self._clock, ANSWER_WITHIN, _handled(handle, _seen(request, parameters)))

        def finished(result: Answer | Failure) -> bytes:
            self._finished()
            if isinstance(result, Failure):
                result = error(request.path, refusal(result))
            took = self._clock.seconds() - started
            self._report(endpoint.method, endpoint.path, result.status, took)
            return write(request, result)

        return working.addBoth(finished)

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
        name.decode("latin-1").lower(): [value.decode("latin-1") for value in values]
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    return Request(request.path, headers, request.content.read(), request.too_large, parameters)
