"""Connections to whichever of the URL's servers will have us."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from hotpotato.store.database.addresses import Parameters, resolved
from hotpotato.store.database.errors import Unavailable
from hotpotato.store.database.limits import Limits
from hotpotato.store.database.link import Link


class Connector:
    """Tries the servers in turn, beginning with the last that had us."""

    def __init__(self, servers: Sequence[Parameters], reactor: Any, limits: Limits) -> None:
        self._servers = servers
        self._reactor = reactor
        self._limits = limits
        self._preferred = 0

    async def connect(
        self, notified: Callable[[frozenset[str]], None] = lambda payloads: None
    ) -> Link:
        """Connect, or raise Unavailable with what each server said.

        `notified`: see Link.
        """
        trouble: list[str] = []
        count = len(self._servers)
        for index in (*range(self._preferred, count), *range(self._preferred)):
            try:
                link = await self._connect(self._servers[index], notified)
            except Unavailable as error:
                trouble.append(f"{_name(self._servers[index])}: {error}")
            else:
                self._preferred = index
                return link
        raise Unavailable("; ".join(trouble))

    async def _connect(
        self, server: Parameters, notified: Callable[[frozenset[str]], None]
    ) -> Link:
        """Connect to one server, at the first of its addresses that answers."""
        trouble = []
        for address in await self._addresses(server):
            link = Link(self._reactor, notified)
            try:
                await link.connect(address, self._options(), self._limits.connect)
            except Unavailable as error:
                trouble.append(str(error))
            else:
                return link
        raise Unavailable(", ".join(trouble))

    async def _addresses(self, server: Parameters) -> Sequence[Parameters]:
        # The resolver has no time limit of its own that it keeps to.
        looking = Deferred.fromCoroutine(resolved(server, self._reactor.nameResolver))
        looking.addTimeout(self._limits.connect, self._reactor)
        try:
            found = await looking
        except TimeoutError:
            within = f"within {self._limits.connect:g} s"
            raise Unavailable(f"the name was not resolved {within}") from None
        if not found:
            raise Unavailable("no such name")
        return found

    def _options(self) -> str:
        milliseconds = int(self._limits.statement * 900)
        return (
            f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
            f" -c idle_in_transaction_session_timeout={milliseconds * 2}"
            " -c client_min_messages=warning -c timezone=UTC"
        )


def _name(server: Parameters) -> str:
    """What people call it."""
    host = server.get("host") or server.get("hostaddr") or "the local PostgreSQL"
    return f"{host}:{server['port']}" if "port" in server else host
