"""A server that takes what a monitoring program's client sends, and shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import cast

import msgspec
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTCP

from hotpotato.testing.standin import Answer, Request, StandIn

from .monitoring import until

_WAIT_SECONDS = 20.0


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came. `body` is the JSON object in it."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, str]

    @property
    def is_heartbeat(self) -> bool:
        """Whether it was sent to an address for heartbeats."""
        return "heartbeat" in self.path


class Recorder:
    """Answers everything with 201 in the shape of its version; `received` has it in order."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._server = StandIn(cast(IReactorTCP, reactor), self._take)
        self.url = self._server.url

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._server.stop()

    async def wait_for(self, is_wanted: Callable[[Received], bool]) -> Received:
        """The first request that is wanted, once it has come; AssertionError if none does."""

        def wanted() -> list[Received]:
            return [one for one in self.received if is_wanted(one)]

        try:
            await until(lambda: bool(wanted()), _WAIT_SECONDS, "the request")
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {self.received}") from None
        return wanted()[0]

    async def _take(self, request: Request) -> Answer:
        body = json.loads(request.body or b"{}")
        self.received.append(Received(path=request.path, headers=request.headers, body=body))
        data = {"id": len(self.received)}
        envelope = {"success": True, "code": 201, "message": None, "data": data}
        return Answer(201, json.dumps(envelope if "/v2/" in request.path else data).encode())
