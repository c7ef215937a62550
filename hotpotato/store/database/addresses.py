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
from twisted.internet.abstract import isIPAddress, isIPv6Address
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

    A standby is of no use to us, so unless the URI says otherwise only a primary will do. Raises
    BadUrl.
    """
    common = {"target_session_attrs": "read-write"} | _parsed(url)
    if password is not None:
        common["password"] = password
    lists = {key: common.pop(key, "").split(",") for key in ("host", "hostaddr", "port")}
    count = max(len(lists["host"]), len(lists["hostaddr"]))
    for key, given in lists.items():
        if len(given) not in (1, count):
            raise BadUrl(f"expected one {key}, or one for each host")
        lists[key] = given if len(given) == count else given * count
    if any("@" in host[1:] for host in lists["host"]):
        raise BadUrl(f"there is an @ in the name of a host{_HINT}")
    if not all(port.isdecimal() and 0 < int(port) < 65536 for port in lists["port"] if port):
        raise BadUrl(f"a port is not a number from 1 to 65535{_HINT}")
    return [
        common | {key: value for key, value in zip(lists, values, strict=True) if value}
        for values in zip(*lists.values(), strict=True)
    ]


_HINT = (
    ", expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE,"
    " with special characters of the password percent-encoded"
)


def _parsed(url: str) -> Parameters:
    try:
        found: Parameters = parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        reason = str(error).strip().removeprefix("invalid dsn: ")
        if "query parameter" not in reason:
            # What it quotes may be the password.
            reason = reason.partition(': "')[0].partition(' after "')[0]
        raise BadUrl(f"not a PostgreSQL URI: {reason}{_HINT}") from None
    if not found:
        raise BadUrl(f"not a PostgreSQL URI: it is empty{_HINT}")
    return found


async def resolved(server: Parameters, resolver: IHostnameResolver) -> list[Parameters]:
    """One server's parameters, once for each of its addresses; none if the name is unknown.

    A unix socket, and a server given by address already, come back as they are.
    """
    host = server.get("host", "")
    if not host or host.startswith(("/", "@")) or "hostaddr" in server:
        return [server]
    if isIPAddress(host) or isIPv6Address(host):
        return [server | {"hostaddr": host}]
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
