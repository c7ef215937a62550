"""The root of the API: limits, routing, and errors into envelopes.

Every handler takes a `Request` of ours and returns an `Answer`, or raises; it is bounded in time
and counted while it is under way, so that a stop can wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest

from hotpotato.api.answers import RETRY_AFTER, Answer, NotLetIn, Refused, error, refusal, write
from hotpotato.api.doorman import Doorman
from hotpotato.api.wire import Site
from hotpotato.patience import within

ANSWER_WITHIN = 5.0
"""Seconds within which a request is answered; what can't be promised by then is a 503."""


class Request(msgspec.Struct, frozen=True):
    """What a handler gets to see of a request.

    Headers are asked for by their name in lower case, and a value has one character for each of its
    bytes, as `query` has, which is what follows the question mark. Of a body that is `too_large`,
    `body` is only the beginning.
    """

    path: bytes
    query: str
    raw_headers: Headers
    body: bytes
    too_large: bool
    parameters: dict[str, Any]

    def header(self, name: str) -> str | None:
        """The value of a header that is there exactly once."""
        values = self.header_values(name)
        return values[0] if len(values) == 1 else None

    def header_values(self, name: str) -> list[str]:
        """All values of a header, in the order in which they came."""
        values: Sequence[bytes] = self.raw_headers.getRawHeaders(name.encode(), ())
        return [value.decode("latin-1") for value in values]

    def single_headers(self) -> dict[str, str]:
        """Every header that is there exactly once, by its name in lower case."""
        return {
            name.decode("latin-1").lower(): values[0].decode("latin-1")
            for name, values in self.raw_headers.getAllRawHeaders()
            if len(values) == 1
        }


Handler = Callable[[Request], Coroutine[Deferred[Any], Any, Answer]]


Kind = tuple[str | None, Any]
"""A kind of answer: its media type, None for no body at all, and the JSON schema of the body."""

ENVELOPE: Kind = ("application/json", {"$ref": "#/components/schemas/Envelope"})
PLAIN: Kind = ("text/plain", {"type": "string"})


class About(msgspec.Struct, frozen=True):
    """What the API's description of itself says of an endpoint, beside its handler's docstring.

    `answers` are the kinds of answers by status; errors need not be named. `body` is the JSON
    schema of the request, `query` those of its parameters. `credentials` names one of the
    description's security schemes, or several of which one will do; None stands for none.
    """

    answers: Mapping[int, Kind] = msgspec.field(default_factory=lambda: {200: ENVELOPE})
    body: Any = None
    query: Mapping[str, Any] = {}
    credentials: Sequence[str | None] = (None,)


class Endpoint(msgspec.Struct, frozen=True):
    """A method, a path in werkzeug's notation, and what answers it."""

    method: str
    path: str
    handle: Handler
    about: About = About()


class Application:
    """The endpoints as one twisted.web site. `clock` bounds the answers.

    `endpoints` are answered 503 while `trouble` says why nothing can be done now, `always` are
    answered all the same. `report` is told the method, path, status and seconds of every answer,
    `not_let_in` of every failed authentication whether its answer is held back; both for metrics.
    """

    def __init__(
        self,
        clock: Any,
        endpoints: Sequence[Endpoint],
        always: Sequence[Endpoint] = (),
        trouble: Callable[[], str | None] = lambda: None,
        report: Callable[[str, str, int, float], None] = lambda method, path, status, took: None,
        not_let_in: Callable[[bool], None] = lambda held: None,
    ) -> None:
        self._clock = clock
        self._doorman = Doorman(clock, not_let_in)
        self._report = report
        self._under_way = 0
        self._drained: Deferred[None] | None = None
        self._app = Klein()
        for endpoint in endpoints:
            self._mount(endpoint, trouble)
        for endpoint in always:
            self._mount(endpoint, lambda: None)
        self._app.handle_errors(Exception)(self._failed)

    def site(self) -> Site:
        """The factory to listen with."""
        return Site(self._app.resource(), self._clock)

    @property
    def under_way(self) -> int:
        """How many requests are being answered."""
        return self._under_way

    async def drain(self) -> None:
        """Wait until no request is being answered; answers that are held back go out now."""
        self._doorman.release()
        if self._under_way:
            self._drained = Deferred()
            await self._drained

    def _mount(self, endpoint: Endpoint, trouble: Callable[[], str | None]) -> None:
        def answer(request: IRequest, **parameters: Any) -> Deferred[bytes] | bytes:
            if (why := trouble()) is not None:
                refused = Refused(503, why, {"Retry-After": RETRY_AFTER})
                return self._write(endpoint, request, error(request.path, refused), 0.0)
            return self._answered(endpoint, request, parameters)

        # Klein keeps handlers by name, and of two of one name both addresses would get the second.
        name = f"{endpoint.method} {endpoint.path}"
        self._app.route(
            endpoint.path, methods=[endpoint.method], endpoint=name, strict_slashes=False
        )(answer)

    def _answered(
        self, endpoint: Endpoint, request: IRequest, parameters: dict[str, Any]
    ) -> Deferred[bytes]:
        started = self._clock.seconds()
        self._under_way += 1
        handling = endpoint.handle(_seen(request, parameters))
        working = within(self._clock, ANSWER_WITHIN, handling)

        def finished(result: Answer | Failure) -> bytes | Deferred[bytes]:
            self._finished()
            held = None
            if isinstance(result, Failure):
                refused = refusal(result)
                if isinstance(refused, NotLetIn):
                    held = self._doorman.failed(request.getClientAddress())
                result = error(request.path, refused)
            body = self._write(endpoint, request, result, self._clock.seconds() - started)
            return body if held is None else held.addCallback(lambda _: body)

        return working.addBoth(finished)

    def _write(self, endpoint: Endpoint, request: IRequest, answer: Answer, took: float) -> bytes:
        self._report(endpoint.method, endpoint.path, answer.status, took)
        return write(request, answer)

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


def _seen(request: Any, parameters: dict[str, Any]) -> Request:
    query = request.uri.partition(b"?")[2].decode("latin-1")
    body = request.content.read()
    return Request(request.path, query, request.requestHeaders, body, request.too_large, parameters)
