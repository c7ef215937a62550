"""What can be wrong with the configuration and its senders, as sentences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from hotpotato.interfaces import IInbox, ReceiptFact, ReplyFact, SenderContext
from hotpotato.patience import within
from hotpotato.senders.registry import ConfiguredSender, Registry
from hotpotato.settings import Settings, anybody_reads

CHECK_WITHIN = 15.0
"""Seconds that a sender's check may take; they are made at the same time."""

_SECRET = re.compile("password|secret|token|key", re.IGNORECASE)


class CheckedSender(msgspec.Struct, frozen=True):
    """A configured sender, and what it says is wrong with it.

    `before`: by contact method that it serves, the senders that are tried before it.
    """

    configured: ConfiguredSender
    before: Mapping[str, Sequence[str]]
    problems: Sequence[str]


async def checked_senders(
    settings: Settings, registry: Registry, reactor: Any
) -> list[CheckedSender]:
    """Build every configured sender, start none, and ask each what is wrong.

    Raises SettingsError.
    """
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    from hotpotato.daemon import routes

    connections = HTTPConnectionPool(reactor, persistent=False)

    def context(name: str) -> SenderContext:
        return SenderContext(
            name=name,
            http=HTTPClient(Agent(reactor, pool=connections, connectTimeout=5.0)),
            clock=reactor,
            log=Logger(namespace=f"hotpotato.senders.{name}"),
            inbox=_NoInbox(),
        )

    built = registry.build(settings, context)
    problems = await gatherResults(
        [Deferred.fromCoroutine(_problems(sender, reactor)) for sender in built]
    )
    served = routes(built)
    return [
        CheckedSender(
            sender,
            {
                method: served[method][: served[method].index(sender.name)]
                for method in sender.methods
            },
            said,
        )
        for sender, said in zip(built, problems, strict=True)
    ]


def readable_secrets(settings: Settings) -> Iterator[str]:
    """Whether the file has secrets in it and everybody on this host can read it.

    Secrets in files of their own are not read at all if everybody can.
    """
    raw = tomllib.loads(settings.path.read_text(encoding="utf-8"))
    if _holds_secrets(raw) and anybody_reads(settings.path):
        yield f"{settings.path} has secrets in it and everybody here can read it: chmod o-r"


@implementer(IInbox)
class _NoInbox:
    """A sender that is only checked has no callbacks, so nothing can come in."""

    async def receipt(self, fact: ReceiptFact) -> None:
        """Refuse it."""
        _not_here()

    async def reply(self, fact: ReplyFact) -> None:
        """Refuse it."""
        _not_here()


def _not_here() -> NoReturn:
    raise RuntimeError("this sender is only checked, and takes nothing in")


async def _problems(configured: ConfiguredSender, reactor: Any) -> list[str]:
    check = getattr(configured.sender, "check", None)
    if check is None:
        return []

    async def asked() -> list[str]:
        return list(await check())

    try:
        return await within(reactor, CHECK_WITHIN, asked())
    except TimeoutError:
        return [f"its check was not done within {CHECK_WITHIN:g} s"]
    except Exception as error:
        return [f"its check failed: {type(error).__name__}: {error}"]


def _holds_secrets(raw: Mapping[str, Any]) -> bool:
    url = raw.get("database", {}).get("url", "")
    return urlsplit(url).password is not None or any(
        _SECRET.search(key) and not key.endswith("_file") for key, _ in _texts(raw)
    )


def _texts(raw: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    for key, value in raw.items():
        if isinstance(value, Mapping):
            yield from _texts(value, f"{place}{key}.")
        elif isinstance(value, str):
            yield f"{place}{key}", value
