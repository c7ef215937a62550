"""Senders that each break one clause of the contract, for `test_contract.py` to run it on.

pytest doesn't collect this file by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from hotpotato.interfaces import (
    API_VERSION,
    Accepted,
    Callback,
    CallbackAnswer,
    FailedForNow,
    ISender,
    ISenderPlugin,
    OutgoingMessage,
    ReceiptFact,
    Rejected,
    Route,
    SenderContext,
    SendOutcome,
    Unknown,
)
from hotpotato.senders.http import Answer as HTTPAnswer
from hotpotato.senders.http import exchange
from hotpotato.testing import (
    Answer,
    CallbackExample,
    Received,
    Refusal,
    Request,
    SenderCase,
    make_sender_tests,
    senders,
)
from hotpotato.vocabulary import Progress

# What hangs here hangs for a reason.
senders.PATIENCE = 2.0


class Settings(msgspec.Struct, frozen=True):
    """Where, and a password."""

    url: str
    password: str


@implementer(ISender)
class Good:
    """Nothing wrong with it."""

    def __init__(self, settings: Settings, context: SenderContext) -> None:
        self.settings = settings
        self.context = context

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        answer: HTTPAnswer | FailedForNow | Unknown = await self.post(message)
        if not isinstance(answer, HTTPAnswer):
            return answer
        if answer.status == 422:
            return Rejected("422")
        if answer.status != 201:
            return FailedForNow(str(answer.status))
        return Accepted(answer.body.decode()) if answer.body else Unknown("no id")

    async def post(self, message: OutgoingMessage) -> Any:
        form = {
            "password": self.settings.password,
            "to": message.address,
            "text": message.text,
            "reference": message.reference,
        }
        return await exchange(
            self.context,
            "POST",
            self.settings.url,
            deadline=message.deadline,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )

    def routes(self) -> Sequence[Route]:
        return [Route("/receipts", self.receipts)]

    async def receipts(self, callback: Callback) -> CallbackAnswer:
        try:
            fact = self.read(callback)
        except (ValueError, RecursionError, TypeError, KeyError):
            return CallbackAnswer(400)
        await self.context.inbox.receipt(fact)
        return CallbackAnswer(200)

    def read(self, callback: Callback) -> ReceiptFact:
        return ReceiptFact(
            status="arrived",
            progress=Progress.DELIVERED,
            provider_id=json.loads(callback.body)["id"],
        )


class CallsALossAFailure(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        outcome = await super().send(message)
        return FailedForNow(outcome.why) if isinstance(outcome, Unknown) else outcome


class CallsEverythingUnknown(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        outcome = await super().send(message)
        return outcome if isinstance(outcome, Accepted) else Unknown(outcome.why)


class KeepsToNoDeadline(Good):
    async def post(self, message: OutgoingMessage) -> Any:
        return await super().post(msgspec.structs.replace(message, deadline=3600.0))


class RepeatsByItself(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        outcome = await super().send(message)
        return outcome if isinstance(outcome, Accepted) else await super().send(message)


class OneAtATime(Good):
    def __init__(self, settings: Settings, context: SenderContext) -> None:
        super().__init__(settings, context)
        self.lock = DeferredLock()

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        await self.lock.acquire()
        try:
            return await super().send(message)
        finally:
            self.lock.release()


class LogsItsSettings(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        self.context.log.debug("sending with {settings}", settings=self.settings)
        return await super().send(message)


class TellsTheNumber(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        outcome = await super().send(message)
        return Rejected(f"bad: {message.address}") if isinstance(outcome, Rejected) else outcome


class CutsTheText(Good):
    async def post(self, message: OutgoingMessage) -> Any:
        return await super().post(msgspec.structs.replace(message, text=message.text[:160]))


class LosesTheReference(Good):
    async def post(self, message: OutgoingMessage) -> Any:
        return await super().post(msgspec.structs.replace(message, reference="none"))


class HasNoId(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        outcome = await super().send(message)
        return Accepted("") if isinstance(outcome, Accepted) else outcome


class LeavesATimer(Good):
    async def send(self, message: OutgoingMessage) -> SendOutcome:
        self.context.clock.callLater(60, lambda: None)
        return await super().send(message)


class AnswersBeforeTheDisk(Good):
    async def receipts(self, callback: Callback) -> CallbackAnswer:
        ensureDeferred(super().receipts(callback)).addErrback(lambda failure: None)
        return CallbackAnswer(200)


class SwallowsTheInboxsFailure(Good):
    async def receipts(self, callback: Callback) -> CallbackAnswer:
        try:
            return await super().receipts(callback)
        except Exception:
            return CallbackAnswer(200)


class StumblesOverRubbish(Good):
    async def receipts(self, callback: Callback) -> CallbackAnswer:
        await self.context.inbox.receipt(self.read(callback))
        return CallbackAnswer(200)


class BelievesEverybody(Good):
    def read(self, callback: Callback) -> ReceiptFact:
        try:
            return super().read(callback)
        except Exception:
            return ReceiptFact(status="?", progress=Progress.UNDERWAY, provider_id="?")


class HasOneRouteTwice(Good):
    def routes(self) -> Sequence[Route]:
        return [*super().routes(), *super().routes()]


class ClaimsToSend:
    """It says `ISender` to nobody."""

    def __init__(self, settings: Settings, context: SenderContext) -> None:
        self._good = Good(settings, context)
        self.send = self._good.send
        self.routes = self._good.routes


@implementer(IPlugin, ISenderPlugin)
class Plugin:
    """Makes what it was told to."""

    name = "bad"
    api_version = API_VERSION
    methods: Sequence[str] = ("sms",)
    settings: type[msgspec.Struct] = Settings

    def __init__(self, make: Callable[[Any, SenderContext], Any]) -> None:
        self.make = make


class Case(SenderCase):
    """One provider for all of them."""

    dropin = __name__
    secrets = ("pass-word",)
    refusals = {
        "barred": Refusal(Answer(422), Rejected),
        "busy": Refusal(Answer(503), FailedForNow),
    }
    callbacks = {
        "arrived": CallbackExample(
            path="/receipts",
            body=b'{"id": "1"}',
            facts=[ReceiptFact(status="arrived", progress=Progress.DELIVERED, provider_id="1")],
        ),
    }

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin

    def options(self, url: str) -> Mapping[str, object]:
        return {"url": url, "password": "pass-word"}

    async def answer(self, request: Request) -> Answer:
        return Answer(201, str(id(request)).encode())

    def read(self, request: Request) -> Received:
        form = parse_qs(request.body.decode())
        return Received(form["to"][0], form["text"][0], form["reference"][0])


SENDERS: list[Any] = [
    Good,
    CallsALossAFailure,
    CallsEverythingUnknown,
    KeepsToNoDeadline,
    RepeatsByItself,
    OneAtATime,
    LogsItsSettings,
    TellsTheNumber,
    CutsTheText,
    LosesTheReference,
    HasNoId,
    LeavesATimer,
    AnswersBeforeTheDisk,
    SwallowsTheInboxsFailure,
    StumblesOverRubbish,
    BelievesEverybody,
    HasOneRouteTwice,
    ClaimsToSend,
]


class OldPlugin(Plugin):
    """For interfaces of another day, with a key of Hot Potato's own, and in no dropin."""

    api_version = API_VERSION - 1
    settings = msgspec.defstruct("Old", [("url", str), ("password", str), ("deadline", int, 5)])


def contract_of(plugin: Plugin) -> type:
    """The contract for it."""
    return make_sender_tests(lambda: Case(plugin))


for _sender in SENDERS:
    _plugin = Plugin(_sender)
    globals()[f"plugin_{_sender.__name__}"] = _plugin
    globals()[f"Test{_sender.__name__}"] = contract_of(_plugin)

TestOldPlugin = contract_of(OldPlugin(Good))
