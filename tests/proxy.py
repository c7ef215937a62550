"""A TCP proxy in the test's own process, whose connections can be cut and frozen."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import ClientCreator, Protocol, ServerFactory


class Proxy:
    """Listens on the loopback interface and hands everything on to `target`, a port there.

    `accepted` counts the connections ever made to it.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._listening: Any = None
        self.ends: set[_End] = set()
        self.frozen = False
        self.open()

    def open(self) -> None:
        """Accept connections, at the same port as before."""
        self._listening = reactor.listenTCP(self.port, _Ends(self), interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def close(self) -> None:
        """Refuse connections, and cut those that there are."""
        await self._listening.stopListening()
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        for end in list(self.ends):
            end.transport.abortConnection()

    def freeze(self, *, future: bool = False) -> None:
        """Hand nothing on any more, of the connections there are, or of `future` ones too."""
        self.frozen = future
        for end in self.ends:
            end.transport.pauseProducing()


class _End(Protocol):
    transport: Any

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.other: _End | None = None

    def connectionMade(self) -> None:
        self._proxy.ends.add(self)
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:
        self._proxy.ends.discard(self)
        if self.other in self._proxy.ends:
            self.other.transport.abortConnection()


class _Near(_End):
    """The client's end."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self._proxy.accepted += 1
        self.transport.pauseProducing()
        if not self._proxy.frozen:
            creator = ClientCreator(reactor, _End, self._proxy)
            creator.connectTCP("127.0.0.1", self._proxy.target).addCallbacks(
                self._joined, lambda failure: self.transport.abortConnection()
            )

    def _joined(self, far: _End) -> None:
        self.other, far.other = far, self
        if not self.connected:
            far.transport.abortConnection()
        elif not self._proxy.frozen:
            self.transport.resumeProducing()


class _Ends(ServerFactory):
    noisy = False

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, address: object) -> _End:
        return _Near(self._proxy)
