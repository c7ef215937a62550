"""HTTP as it comes over the wire: read within limits, and answered with an envelope in any case.

Twisted answers what it can't read as HTTP with an empty 400, or not at all; and Klein answers odd
paths and hosts with plain text or HTML, and logs them as failures. Here neither happens.
"""

from __future__ import annotations

import re
from functools import cached_property
from io import BytesIO
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource

from hotpotato.api.answers import RETRY_AFTER, Refused, error

MOST_BODY = 1024 * 1024
"""Bytes of a request's body; past it the request is answered 413."""

GIVE_UP_AT = 8 * MOST_BODY
"""Bytes of a body after which its end is not waited for."""

MOST_HELD = 64 * MOST_BODY
"""Bytes of the bodies of all requests that are being read or answered; past it, 503."""

MOST_CONNECTIONS = 800
"""Connections at once: with everything else a process has open, less than the usual 1024 files."""

IDLE = 60.0
"""Seconds that a connection may take for a request, the pause before it included."""

_LENGTH = b"content-length"
_MOST_DIGITS = 18
_LONGEST_LENGTH = len(_LENGTH + b":") + _MOST_DIGITS
_NORMAL = re.compile(rb"(?:/[A-Za-z0-9_.~-]+)+(?:\?.*)?", re.DOTALL)
_ABSOLUTE = re.compile(rb"^https?://[^/?#]*", re.IGNORECASE)


class BoundedRequest(server.Request):
    """A request that keeps at most MOST_BODY bytes of its body, in memory.

    It reads on to answer 413, since a client that is still sending would not see the answer, and
    gives up on what is many times too large.
    """

    too_large = False
    content: BytesIO
    channel: Channel
    _length = 0
    _held = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Make room for the body, whatever the client announces."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, as far as there is room."""
        if self._refused:
            return
        kept = data[: max(MOST_BODY - self._length, 0)]
        self._length += len(data)
        self.too_large = self._length > MOST_BODY
        if self._length > GIVE_UP_AT:
            self._refuse(413, "the body is larger than 1 MiB")
        elif not self.channel.factory.hold(len(kept)):
            self._refuse(503, "too much is being read from others")
        else:
            self._held += len(kept)
            self.content.write(kept)

    def finish(self) -> None:
        """End the answer, and make room for other bodies."""
        self._let_go()
        server.Request.finish(self)

    def connectionLost(self, reason: Failure) -> None:
        """Make room for other bodies, too."""
        self._let_go()
        server.Request.connectionLost(self, reason)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer. Bodies are JSON whatever they are called, so nothing is parsed here."""
        if not self._refused:
            self.requestHeaders.removeHeader(b"content-type")
            server.Request.requestReceived(self, command, normal(path), version)

    def getRequestHostname(self) -> bytes:
        """Any: no route depends on it, and Klein fails on a Host header that is no host name."""
        return b"localhost"

    def _refuse(self, status: int, why: str) -> None:
        self._refused = True
        self._let_go()
        self.channel.refuse(status, why)

    def _let_go(self) -> None:
        self.channel.factory.hold(-self._held)
        self._held = 0


class Channel(HTTPChannel):
    """HTTP/1.1 that answers with an envelope also what it can't read as HTTP at all."""

    factory: Site

    def connectionMade(self) -> None:
        """Begin, if there is room for one more."""
        super().connectionMade()  # type: ignore[no-untyped-call]
        if not self.factory.admit(self):
            self.refuse(503, "too many connections are open")

    def getHost(self) -> IAddress:
        """The address of this end."""
        return self._ends[0]

    def getPeer(self) -> IAddress:
        """The address of the other end."""
        return self._ends[1]

    def isSecure(self) -> bool:
        """Whether this is TLS."""
        return self._secure

    # Every request asks for these, and they stay what they are when the first one has come: not
    # earlier, since a proxy in front may have to say first for whom it asks.

    @cached_property
    def _ends(self) -> tuple[IAddress, IAddress]:
        transport: Any = self.transport
        return transport.getHost(), transport.getPeer()

    @cached_property
    def _secure(self) -> bool:
        return bool(HTTPChannel.isSecure(self))

    def requestDone(self, request: http.Request) -> None:
        """Wait for the next request, now that this one is answered."""
        super().requestDone(request)  # type: ignore[no-untyped-call]
        self.factory.used(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Make room for another."""
        self.factory.left(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def refuse(self, status: int, why: str) -> None:
        """Answer before the request is complete, and close: what follows can't be understood."""
        self._answer(status, why)
        HTTPChannel.loseConnection(self)

    def headerReceived(self, line: bytes) -> bool:
        """See Twisted; a length that Python won't convert is not well-formed either."""
        # Called for every line of every head, so all but this one go the shortest way.
        if len(line) > _LONGEST_LENGTH and line[: len(_LENGTH)].lower() == _LENGTH:
            name, _, value = line.partition(b":")
            if len(name.strip()) == len(_LENGTH) and len(value.strip()) > _MOST_DIGITS:
                self._respondToBadRequestAndDisconnect()
                return False
        received: bool = HTTPChannel.headerReceived(self, line)
        return received

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line of the head that is longer than the whole head may be."""
        self._respondToBadRequestAndDisconnect()

    def resetTimeout(self) -> None:
        """Give no more time for each byte, or a request could take for ever."""

    def timeoutConnection(self) -> None:
        """Close a connection whose time is up, with an answer if a request has begun."""
        if self.requests:
            self._answer(408, f"the request was not complete within {IDLE:g} s")
        HTTPChannel.timeoutConnection(self)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(400, "this is not a well-formed HTTP/1.1 request")

    def _answer(self, status: int, why: str) -> None:
        again = f"Retry-After: {RETRY_AFTER}\r\n" if status == 503 else ""
        answer = error(normal(getattr(self, "_path", b"")), Refused(status, why))
        head = (
            f"HTTP/1.1 {status} {http.RESPONSES[status].decode()}\r\n"
            f"Content-Type: {answer.content_type}\r\n"
            f"{again}Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        )
        HTTPChannel.write(self, head.encode() + answer.body)


class Site(server.Site):
    """The factory to listen with. `clock` ends what takes too long."""

    displayTracebacks = False

    def __init__(self, resource: IResource, clock: IReactorTime) -> None:
        server.Site.__init__(self, resource, BoundedRequest, timeout=IDLE, reactor=clock)
        self.protocol: Any = Channel
        self._held = 0
        self._channels: dict[Channel, None] = {}

    @property
    def connections(self) -> int:
        """How many are open, but for those that are being closed."""
        return len(self._channels)

    @property
    def held(self) -> int:
        """Bytes of bodies in memory."""
        return self._held

    def hold(self, length: int) -> bool:
        """Make room for a piece of a body, if there is any; or give it back, if negative."""
        if length > 0 and self._held + length > MOST_HELD:
            return False
        self._held += length
        return True

    def admit(self, channel: Channel) -> bool:
        """Count a new connection; False if there is no room for it.

        Whoever has been silent longest gives way: a client in the middle of nothing connects again,
        and one that opens connections to say nothing keeps nobody out.
        """
        if len(self._channels) >= MOST_CONNECTIONS:
            silent = next((each for each in self._channels if not each.requests), None)
            if silent is None:
                return False
            self.left(silent)
            HTTPChannel.loseConnection(silent)
        self._channels[channel] = None
        return True

    def used(self, channel: Channel) -> None:
        """Note that a connection was not silent until now."""
        if self._channels.pop(channel, channel) is None:
            self._channels[channel] = None

    def left(self, channel: Channel) -> None:
        """Count a connection no more."""
        self._channels.pop(channel, None)

    def log(self, request: object) -> None:
        """Keep no access log: requests are counted, and the log is for events."""

    def _updateLogDateTime(self) -> None:
        """Keep no clock for it either: it would tick every second."""


def normal(target: bytes) -> bytes:
    """A request's target in its one normal form, in which routes are written.

    Absolute targets are what proxies are sent; a doubled slash comes of pasting an address
    together; and bytes that are no UTF-8 name nothing here.
    """
    if _NORMAL.fullmatch(target):
        return target
    path, question_mark, query = _ABSOLUTE.sub(b"", target).partition(b"?")
    text = unquote_to_bytes(path).decode("utf-8", "replace")
    return quote(re.sub("/+", "/", f"/{text}")).encode() + question_mark + query
