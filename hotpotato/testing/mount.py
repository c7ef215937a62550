"""A sender's routes on a socket, mounted where Hot Potato mounts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTCP
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hotpotato.interfaces import Callback, CallbackAnswer, Route
from hotpotato.sandbox.listener import Listener


class Mounted:
    """The routes of the sender `name`, and nothing else.

    `url` is the root of the site; `callback_url` is what a provider is told. A handler that fails
    is answered 503, as when the database is away; its failure is kept in `failures`.
    """

    def __init__(self, reactor: IReactorTCP, name: str, routes: Sequence[Route]) -> None:
        self.failures: list[Failure] = []
        places: dict[str, Route] = {}
        for route in routes:
            for place in (f"/api/senders/{name}{route.path}", *route.aliases):
                places[place] = route
        self._listener = Listener(reactor, _Site(places, self.failures))
        self.url = self._listener.url
        self.callback_url = f"{self.url}/api/senders/{name}"

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._listener.stop()


class _Site(Resource):
    isLeaf = True

    def __init__(self, places: dict[str, Route], failures: list[Failure]) -> None:
        Resource.__init__(self)
        self._places = places
        self._failures = failures

    def render(self, request: Any) -> int:
        route = self._places.get(request.path.decode())
        if route is None:
            self._answer(request, CallbackAnswer(404, "no such path"))
        elif request.method != b"POST":
            self._answer(request, CallbackAnswer(405, "expected POST", {"Allow": "POST"}))
        else:
            headers = {
                name.decode().lower(): values[-1].decode("latin-1")
                for name, values in request.requestHeaders.getAllRawHeaders()
            }
            callback = Callback(headers=headers, body=request.content.read())
            ensureDeferred(self._call(request, route, callback))
        return NOT_DONE_YET

    async def _call(self, request: Any, route: Route, callback: Callback) -> None:
        try:
            answer = await route.handle(callback)
        except Exception:
            self._failures.append(Failure())
            answer = CallbackAnswer(503, "unavailable", {"Retry-After": "1"})
        self._answer(request, answer)

    def _answer(self, request: Any, answer: CallbackAnswer) -> None:
        request.setResponseCode(answer.status)
        request.setHeader("Content-Type", "application/json")
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        envelope = {
            "success": answer.status < 400,
            "code": answer.status,
            "message": answer.message,
            "data": None,
        }
        request.write(json.dumps(envelope).encode())
        request.finish()
