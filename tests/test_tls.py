"""Requests over TLS: the endpoints that docs/operating.md shows, in the real program."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.certificates import certificate
from tests.cluster import Cluster, free_port
from tests.test_service import (
    AS_ROOT,
    KEY,
    NOBODY,
    PAGE,
    SEND,
    Service,
    Start,
    cluster,
    database,
    needs_root,
    place,
    start,
)

__all__ = ["cluster", "database", "place", "start"]  # fixtures

CHECKOUT = Path(__file__).parents[1]
CONFIG = """
    [api]
    listen = ["{endpoint}", "tcp:{plain}:interface=127.0.0.1"]
    [database]
    url = "{url}"
    [senders.log]
"""
DOCUMENTED = "ssl:8443:privateKey=/etc/hotpotato/key.pem:certKey=/etc/hotpotato/cert.pem"


class Served:
    """What a daemon with a certificate of its own needs, in a directory."""

    def __init__(self, place: Path, owner: int) -> None:
        self.port, self.plain = free_port(), free_port()
        pem = certificate("127.0.0.1")
        secret, begin, public = pem.partition(b"-----BEGIN CERTIFICATE-----")
        self.key, self.certificate = place / "key.pem", place / "cert.pem"
        self.key.write_bytes(secret)
        self.certificate.write_bytes(begin + public)
        self.key.chmod(0o600)
        if AS_ROOT:
            os.chown(self.key, owner, owner)

    def config(self, url: str) -> str:
        endpoint = (
            DOCUMENTED.replace("8443", str(self.port))
            .replace("/etc/hotpotato/key.pem", str(self.key))
            .replace("/etc/hotpotato/cert.pem", str(self.certificate))
        )
        endpoint += ":interface=127.0.0.1"
        return CONFIG.format(endpoint=endpoint, plain=self.plain, url=url)

    def page(self, trusted: bool = True) -> tuple[int, str | None]:
        """Send a notification, and tell the status and the protocol. It blocks."""
        context = ssl.create_default_context(cafile=str(self.certificate) if trusted else None)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, context=context
        )
        try:
            connection.connect()
            version = connection.sock.version()
            headers = {"Authorization": f"Apikey {KEY}"}
            connection.request("POST", SEND, json.dumps(PAGE).encode(), headers)
            return connection.getresponse().status, version
        finally:
            connection.close()

    def page_in_the_clear(self) -> bytes:
        """Send a request without TLS to the port with TLS, and tell what comes back. It blocks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().read()
        except (http.client.HTTPException, ConnectionError) as error:
            return type(error).__name__.encode()
        finally:
            connection.close()


async def is_up(service: Service, served: Served) -> None:
    await service.listening(served.plain)
    deadline = reactor.seconds() + 20
    while (await deferToThread(served.page))[0] != 201:
        assert reactor.seconds() < deadline, service.out
        await deferLater(reactor, 0.05)


@pytest_twisted.ensureDeferred
async def test_a_page_over_tls_is_taken_and_what_is_in_the_clear_is_not(
    cluster: Cluster, database: str, start: Start, place: Path
) -> None:
    served = Served(place, NOBODY)
    service = start(served.config(cluster.url(database)))
    await is_up(service, served)
    assert await deferToThread(served.page_in_the_clear) != b""
    with pytest.raises(ssl.SSLCertVerificationError):
        await deferToThread(served.page, False)
    status, version = await deferToThread(served.page)
    assert status == 201
    assert version in ("TLSv1.2", "TLSv1.3")
    await service.terminated()
    assert "Traceback" not in service.out + service.err


@needs_root
@pytest_twisted.ensureDeferred
async def test_a_key_that_only_root_may_read_is_read_before_root_is_given_up(
    cluster: Cluster, database: str, start: Start, place: Path
) -> None:
    served = Served(place, owner=0)
    arguments = ("--uid", str(NOBODY), "--gid", str(NOBODY))
    service = start(served.config(cluster.url(database)), arguments=arguments, root=True)
    await is_up(service, served)
    await service.terminated()


@pytest_twisted.ensureDeferred
async def test_a_key_that_is_not_there_stops_the_start_with_one_line(
    start: Start, place: Path
) -> None:
    served = Served(place, NOBODY)
    served.key.unlink()
    service = start(served.config("postgresql://h/d"))
    assert await service.ended() == 1
    (line,) = (service.out + service.err).splitlines()
    assert "api.listen" in line
    assert "No such file or directory" in line


@pytest.mark.parametrize("document", ["docs/operating.md", "etc/hotpotato.toml"])
def test_the_endpoint_is_the_one_that_is_documented(document: str) -> None:
    assert f'"{DOCUMENTED}' in (CHECKOUT / document).read_text()
