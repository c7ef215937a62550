"""From a libpq URI to the servers to try, with their names resolved without blocking.

libpq resolves names itself, in the calling thread, so it is given addresses (`hostaddr`); the
name stays in `host`, which TLS verification needs. With several servers in one URI libpq would
wait for a silent one for ever, as `connect_timeout` does nothing in asynchronous mode: so each
server is tried by itself, and `target_session_attrs` works for one as it does for many.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2
from psycopg2.extensions import parse_dsn
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

Parameters = dict[str, str]
"""libpq connection parameters for one server."""


class BadUrl(Exception):
    """The database URL can't be understood; the text says why, without the password."""


def servers(url: str, password: str | None) -> list[Parameters]:
    """The servers of a libpq URI, in its order, each with everything but an address.

    Raises BadUrl.
    """
    try:
        common: Parameters = parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        raise BadUrl(f"not a PostgreSQL URI: {str(error).strip()}") from error
    if password is not None:
        common["password"] = password
    hosts = common.pop("host", "").split(",")
    ports = common.pop("port", "").split(",")
    if len(ports) == 1:
        ports = ports * len(hosts)
    if len(ports) != len(hosts):
        raise BadUrl("expected one port, or one for each host")
    return [
        common | {k: v for k, v in (("host", host), ("port", port)) if v}
        for host, port in zip(hosts, ports, strict=True)
    ]


async def resolved(server: Parameters, resolver: IHostnameResolver) -> list[Parameters]:
    """One server's parameters, once for each of its addresses; none if the name is unknown.

    A unix socket, and a server given by address already, come back as they are.
    """
    host = server.get("host", "")
    if not host or host.startswith(("/", "@")) or "hostaddr" in server:
        return [server]
    addresses = await _lookup(host, resolver)
    return [server | {"hostaddr": address} for address in addresses]


async def _lookup(host: str, resolver: IHostnameResolver) -> Sequence[str]:
    receiver = _Addresses()
    resolver.resolveHostName(receiver, host)
    return await receiver.done


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what the resolver says of one name."""

    def __init__(self) -> None:
        self.done: Deferred[Sequence[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing to prepare."""

    def addressResolved(self, address: IAddress) -> None:
        """Note one address, each only once."""
        text: str = address.host  # type: ignore[attr-defined]
        if text not in self._found:
            self._found.append(text)

    def resolutionComplete(self) -> None:
        """Hand over what was found."""
        self.done.callback(self._found)
