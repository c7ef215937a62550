"""TLS before a gateway that has none, and how it breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.protocol import Factory, Protocol

from tests.certificates import certificate
from tests.proxy import Proxy, _Ends

HOST = "localhost"


class _Plain(Protocol):
    """What answers a greeting in TLS that it does not understand."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.transport.loseConnection()


class Front(Proxy):
    """Hands on to `target` what comes over TLS.

    `trusted` is the file with the certificate that clients are to trust.
    """

    def __init__(self, target: int, directory: Path) -> None:
        self._certificates = {"right": certificate(HOST), "wrong": certificate(HOST)}
        self._shown = "right"
        self.trusted = directory / "trusted.pem"
        self.trusted.write_bytes(self._certificates["right"])
        super().__init__(target)

    async def show(self, what: str) -> None:
        """Show the "right" certificate from now on, or a "wrong" one; or speak no TLS ("none")."""
        if what != self._shown:
            await self.close()
            self._shown = what
            self.open()

    def open(self) -> None:
        if self._shown == "none":
            plain: Any = Factory.forProtocol(_Plain)
            self._listening = reactor.listenTCP(self.port, plain, interface="127.0.0.1")
            return
        options = ssl.PrivateCertificate.loadPEM(self._certificates[self._shown]).options()
        ends: Any = _Ends(self)
        tls: Any = reactor
        self._listening = tls.listenSSL(self.port, ends, options, interface="127.0.0.1")
        self.port = self._listening.getHost().port
