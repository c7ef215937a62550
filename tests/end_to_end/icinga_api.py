"""Icinga 2's own API, through which its web interface does what the command pipe can't.

A downtime that is removed through the pipe ends without a notification.
"""

from __future__ import annotations

import base64
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import treq
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

_USER, _PASSWORD = "web", "w3b"


class Api:
    """The API of an Icinga that runs on this machine, at a port that was free a moment ago."""

    def __init__(self, node: str, certificates: Path) -> None:
        """`node` is the Icinga's NodeName; in `certificates` it looks for its own."""
        self._node = node
        self._certificates = certificates
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])

    def configuration(self) -> str:
        """What the Icinga's configuration has to say; the certificates are written with it."""
        self._certificates.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self._node)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self._certificate.write_bytes(certificate)
        (self._certificates / "ca.crt").write_bytes(certificate)
        (self._certificates / f"{self._node}.key").write_bytes(private)
        return f"""
object Endpoint "{self._node}" {{ }}
object Zone "{self._node}" {{ endpoints = [ "{self._node}" ] }}
object ApiListener "api" {{ bind_host = "127.0.0.1", bind_port = {self._port} }}
object ApiUser "{_USER}" {{ password = "{_PASSWORD}", permissions = [ "*" ] }}
"""

    async def act(self, action: str, **what: object) -> None:
        """Do one of the API's actions; raises AssertionError if Icinga won't."""
        trusted = trustRootFromCertificates([Certificate.loadPEM(self._certificate.read_bytes())])
        policy: Any = BrowserLikePolicyForHTTPS(trustRoot=trusted)
        credentials = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
        headers: dict[bytes | str, bytes | str] = {
            "Accept": "application/json",
            "Authorization": f"Basic {credentials}",
        }
        response = await HTTPClient(Agent(reactor, policy)).post(
            f"https://localhost:{self._port}/v1/actions/{action}",
            data=json.dumps(what).encode(),
            headers=headers,
        )
        said = await treq.content(response)
        assert response.code == 200, said

    @property
    def _certificate(self) -> Path:
        return self._certificates / f"{self._node}.crt"
