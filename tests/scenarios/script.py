"""A sender that does whatever a test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from hotpotato.interfaces import (
    API_VERSION,
    Accepted,
    ISender,
    ISenderPlugin,
    OutgoingMessage,
    SenderContext,
    SendOutcome,
)
from tests.world import World


class NoSettings(msgspec.Struct, frozen=True):
    """It needs none."""


@implementer(IPlugin, ISenderPlugin)
class Script:
    """The plugin "script"; its senders do `then`, which accepts everything until it is replaced."""

    name = "script"
    api_version = API_VERSION
    settings: type[msgspec.Struct] = NoSettings

    def __init__(self, methods: Sequence[str] = ("sms",)) -> None:
        self.methods = methods
        self.sent: list[OutgoingMessage] = []
        self.then: Callable[[OutgoingMessage], Any] = lambda message: self.accept()

    @property
    def texts(self) -> list[str]:
        """What it was given, in order."""
        return [message.text for message in self.sent]

    def accept(self) -> Awaitable[SendOutcome]:
        """Say that a message was taken."""
        answer: Deferred[SendOutcome] = Deferred()
        answer.callback(Accepted(f"id-{len(self.sent)}"))
        return answer

    def make(self, settings: Any, context: SenderContext) -> ISender:
        """See `ISenderPlugin`."""
        return _Sender(self, context)


@implementer(ISender)
class _Sender:
    def __init__(self, script: Script, context: SenderContext) -> None:
        self.context = context
        self._script = script

    def send(self, message: OutgoingMessage) -> Any:
        self._script.sent.append(message)
        return self._script.then(message)


async def hung(world: World, script: Script) -> Deferred[Any]:
    """A problem comes, and the sender has its page and does not answer.

    Fire what is returned to have it answer. Set `world.hanging` to 0 when it needs no patience any
    more.
    """
    answer: Deferred[Any] = Deferred()
    script.then = lambda message: answer
    world.hanging = 1
    await world.notify()
    await world.settle()
    return answer
