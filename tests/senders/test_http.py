"""The line between what surely was not sent and what may have been, over plain sockets and TLS."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from hotpotato.interfaces import FailedForNow, SenderContext, Unknown
from hotpotato.senders.http import BODY_LIMIT, Answer, exchange
from hotpotato.testing import Inbox, patiently
from tests.certificate import certificate

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

Outcome = Answer | FailedForNow | Unknown
REACTOR: Any = reactor
CREATED = b"HTTP/1.1 201 Created\r\n"


class Server(Protocol):
    """Says what it was told to on the first bytes it gets, and notes what becomes of it."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        """Note it."""
        self.factory.connected = True

    def dataReceived(self, data: bytes) -> None:
        """Answer once."""
        first = not self.factory.received
        self.factory.received += data
        if first:
            self.factory.play(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say so."""
        if not self.factory.lost.called:
            self.factory.lost.callback(None)


class Servers(Factory):
    """What they received; `lost` fires when a connection was closed."""

    protocol: Any = Server

    def __init__(self, play: Callable[[Protocol], None]) -> None:
        self.play = play
        self.received = b""
        self.connected = False
        self.lost: Deferred[None] = Deferred()


class NotingClient(HTTPClient):
    """Fires `answered` when the head of an answer has been read."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.answered: Deferred[None] = Deferred()

    def request(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """As the client does it."""

        def note(response: object) -> object:
            reactor.callLater(0, self.answered.callback, None)
            return response

        return super().request(*args, **kwargs).addCallback(note)


class Trial:
    """A server, and an exchange with it."""

    def __init__(self, servers: Servers, url: str, agent: Agent) -> None:
        self.servers = servers
        self.clock = Clock()
        self.http = NotingClient(agent)
        self._url = url

    def post(self) -> Deferred[Outcome]:
        """Begin an exchange with a deadline of 20 seconds."""
        context = SenderContext(
            name="trial",
            http=self.http,
            clock=self.clock,
            log=Logger(),
            inbox=Inbox(),
        )
        return Deferred.fromCoroutine(
            exchange(context, "POST", self._url, deadline=20, headers={}, body=b"a page")
        )


@asynccontextmanager
async def trial(
    play: Callable[[Protocol], None],
    *,
    pem: bytes | None = None,
    trusted: bool = True,
    scheme: str | None = None,
) -> AsyncIterator[Trial]:
    """A server that plays so, over TLS if it has a certificate."""
    servers: Any = Servers(play)
    port: Any
    if pem is None:
        port = reactor.listenTCP(0, servers, interface="127.0.0.1")
        policy = BrowserLikePolicyForHTTPS()
    else:
        options = ssl.PrivateCertificate.loadPEM(pem).options()
        port = REACTOR.listenSSL(0, servers, options, interface="127.0.0.1")
        trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem)] if trusted else [])
        policy = BrowserLikePolicyForHTTPS(trustRoot=trust)
    pool = HTTPConnectionPool(reactor)
    scheme = scheme or ("http" if pem is None else "https")
    url = f"{scheme}://localhost:{port.getHost().port}/messages"
    try:
        yield Trial(servers, url, Agent(reactor, contextFactory=policy, pool=pool))
    finally:
        await pool.closeCachedConnections()
        await port.stopListening()
        if servers.connected:
            await patiently(servers.lost)


def say(text: bytes, then: str = "lose") -> Callable[[Protocol], None]:
    """Write, and lose, abort or keep the connection."""

    def play(server: Protocol) -> None:
        transport: Any = server.transport
        transport.write(text)
        if then == "lose":
            transport.loseConnection()
        if then == "abort":
            transport.abortConnection()

    return play


async def outcome(play: Callable[[Protocol], None]) -> Outcome:
    """What an exchange with such a server leads to."""
    async with trial(play) as tried:
        return await patiently(tried.post())


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\n\r\n[1]",
        b"\r\n[1]",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_answer_is_status_headers_and_body(head: bytes) -> None:
    """With a length, until the end of the connection, and in chunks."""
    answer = await outcome(say(CREATED + b"X-One: 1\r\n" + head))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["x-one"], answer.body) == (201, "1", b"[1]")


@pytest.mark.parametrize("then", ["lose", "abort"])
@pytest_twisted.ensureDeferred
async def test_a_connection_lost_after_the_request_is_unknown(then: str) -> None:
    """Cleanly or not."""
    assert isinstance(await outcome(say(b"", then)), Unknown)


@pytest.mark.parametrize("text", [b"HTTP/1.1 20", b"what?\r\n\r\n", CREATED + b"Content-Len"])
@pytest_twisted.ensureDeferred
async def test_an_answer_without_a_status_is_unknown(text: bytes) -> None:
    """Broken off, or no HTTP."""
    assert isinstance(await outcome(say(text)), Unknown)


@pytest_twisted.ensureDeferred
async def test_the_status_stands_when_the_body_does_not_come() -> None:
    """A 503 is a refusal, however it ends; and an acceptance stays one that can't be read."""
    for status in (b"503 Busy", b"201 Created"):
        answer = await outcome(say(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\n[1]"))
        assert isinstance(answer, Answer)
        assert (answer.status, answer.body) == (int(status[:3]), b"")


@pytest_twisted.ensureDeferred
async def test_an_endless_body_is_not_read_to_its_end() -> None:
    """Nor kept."""
    async with trial(say(CREATED + b"\r\n" + b"x" * (BODY_LIMIT + 1), then="keep")) as tried:
        answer = await patiently(tried.post())
        await patiently(tried.servers.lost)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (201, b"")


@pytest_twisted.ensureDeferred
async def test_a_body_of_just_the_limit_is_read() -> None:
    """64 KiB."""
    answer = await outcome(say(CREATED + b"\r\n" + b"x" * BODY_LIMIT))
    assert isinstance(answer, Answer)
    assert answer.body == b"x" * BODY_LIMIT


@pytest.mark.parametrize("over_tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_body_that_hangs_ends_at_the_deadline(over_tls: bool) -> None:
    """The connection is closed, also over TLS, where the other side would have to agree."""
    pem = certificate("localhost") if over_tls else None
    head = CREATED + b"Content-Length: 9\r\n\r\n[1"
    async with trial(say(head, then="keep"), pem=pem) as tried:
        posting = tried.post()
        await patiently(tried.http.answered)
        tried.clock.advance(19.9)
        assert not posting.called
        tried.clock.advance(0.1)
        answer = await patiently(posting)
        await patiently(tried.servers.lost)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (201, b"")


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_not_found_was_surely_not_reached() -> None:
    """`.invalid` never is."""
    url = "https://gateway.invalid/messages"
    answer = await patiently(Trial(Servers(say(b"")), url, Agent(reactor)).post())
    assert isinstance(answer, FailedForNow)
    assert "gateway.invalid" in answer.why


@contextmanager
def full_port() -> Iterator[int]:
    """A port that takes no more connections: its backlog is full, and packets are dropped."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for filler in fillers:
            filler.close()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_never_made_surely_sent_nothing() -> None:
    """So nothing need be waited for after the deadline."""
    with full_port() as port:
        tried = Trial(Servers(say(b"")), f"http://127.0.0.1:{port}/messages", Agent(reactor))
        posting = tried.post()
        await deferLater(reactor, 0.05)
        assert not posting.called
        tried.clock.advance(20)
        answer = await patiently(posting)
    assert answer == FailedForNow("no connection within 20 s")


@pytest_twisted.ensureDeferred
async def test_over_tls_with_a_good_certificate_it_works() -> None:
    """The tests of bad ones would prove nothing otherwise."""
    async with trial(
        say(CREATED + b"Content-Length: 0\r\n\r\n"), pem=certificate("localhost")
    ) as t:
        answer = await patiently(t.post())
        assert b"a page" in t.servers.received
    assert isinstance(answer, Answer)
    assert answer.status == 201


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("other.example", True)])
@pytest_twisted.ensureDeferred
async def test_a_bad_certificate_ends_it_before_anything_is_sent(host: str, trusted: bool) -> None:
    """One that nobody vouches for, and one for another host."""
    async with trial(say(CREATED), pem=certificate(host), trusted=trusted) as tried:
        answer = await patiently(tried.post())
        assert tried.servers.received == b""
    assert isinstance(answer, FailedForNow)
    assert "no TLS connection" in answer.why


@pytest_twisted.ensureDeferred
async def test_a_server_without_tls_was_surely_not_reached() -> None:
    """It got a greeting that it didn't understand."""
    async with trial(say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), scheme="https") as tried:
        answer = await patiently(tried.post())
        assert b"a page" not in tried.servers.received
    assert isinstance(answer, FailedForNow)
