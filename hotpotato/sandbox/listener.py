"""A web site on a TCP port that leaves nothing open when it stops."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTCP
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import IResource
from twisted.web.server import Site


class Listener:
    """Serves `resource`, and knows its port: a free one for 0. Raises CannotListenError."""

    def __init__(
        self,
        reactor: IReactorTCP,
        resource: IResource,
        port: int = 0,
        interface: str = "127.0.0.1",
    ) -> None:
        self.interface = interface
        self._factory = _Connections(Site(resource, reactor=reactor))
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
        return self._factory.emptied()

    async def stop(self) -> None:
        """Close the port and every connection, and wait until they are; again, nothing happens."""
        await maybeDeferred(self._stop_listening)
        for connection in list(self._factory.protocols):
            connection.transport.abortConnection()
        await self._factory.emptied()


class _Connections(WrappingFactory):
    """Knows its connections and who waits for their end."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]
        self._waiters: list[Deferred[None]] = []

    def emptied(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        self._tell()
        return waiter

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        self._tell()

    def _tell(self) -> None:
        while self._waiters and not self.protocols:
            self._waiters.pop().callback(None)
