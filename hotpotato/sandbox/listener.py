"""A web site on a TCP port that leaves nothing open when it stops."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import IResource
from twisted.web.server import Site

from hotpotato.sandbox.waiters import Waiters


class Listener:
    """Serves `resource`, and knows its port: a free one for 0. Raises CannotListenError.

    `reactor` provides IReactorTCP and IReactorTime.
    """

    def __init__(
        self,
        reactor: Any,
        resource: IResource,
        port: int = 0,
        interface: str = "127.0.0.1",
    ) -> None:
        self.interface = interface
        self._waiters = Waiters(reactor)
        self._factory = _Connections(Site(resource, reactor=reactor), self._waiters)
        factory: Any = self._factory
        listening: Any = reactor.listenTCP(port, factory, interface=interface)
        self._stop_listening = listening.stopListening
        self.port: int = listening.getHost().port

    @property
    def url(self) -> str:
        """Its root, without a slash at the end."""
        return f"http://{self.interface}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._factory.protocols)

    def emptied(self) -> Deferred[None]:
        """Fires when no connection is open."""
        return self._waiters.until(lambda: not self._factory.protocols)

    async def stop(self) -> None:
        """Close the port and every connection, and wait until they are; again, nothing happens."""
        await maybeDeferred(self._stop_listening)
        for connection in list(self._factory.protocols):
            connection.transport.abortConnection()
        await self.emptied()


class _Connections(WrappingFactory):
    """Knows its connections and tells of their end."""

    def __init__(self, site: Site, waiters: Waiters) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]
        self._waiters = waiters

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        self._waiters.look()
