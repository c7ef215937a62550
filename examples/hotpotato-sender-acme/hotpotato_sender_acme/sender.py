"""ACME's API: a form out, JSON with a token back in."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from zope.interface import implementer

from hotpotato.interfaces import (
    Accepted,
    Callback,
    CallbackAnswer,
    FailedForNow,
    ISender,
    OutgoingMessage,
    ReceiptFact,
    Rejected,
    ReplyFact,
    Route,
    SenderContext,
    SendOutcome,
    Unknown,
)
from hotpotato.senders.http import Answer, exchange
from hotpotato.vocabulary import Progress
from hotpotato_sender_acme.plugin import AcmeSettings

STATES = {"delivered": Progress.DELIVERED, "bounced": Progress.FAILED}
"""ACME's final states; all others are on the way."""


class Queued(msgspec.Struct):
    """What ACME answers when it has taken a message."""

    queued: str


class Receipt(msgspec.Struct):
    """What ACME posts to `/receipts`."""

    token: str
    message: str
    state: str
    ref: str | None = None


class Inbound(msgspec.Struct, rename={"sender": "from"}):
    """What ACME posts to `/inbound`."""

    token: str
    id: str
    sender: str
    text: str
    in_reply_to: str | None = None


_Posted = TypeVar("_Posted", Receipt, Inbound)


@implementer(ISender)
class Acme:
    """One account at ACME."""

    def __init__(self, settings: AcmeSettings, context: SenderContext) -> None:
        self._settings = settings
        self._context = context

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """See `ISender`."""
        form = {
            "token": self._settings.token,
            "to": message.address.lstrip("+"),
            "text": message.text,
            "ref": message.reference,
        }
        answer = await exchange(
            self._context,
            "POST",
            f"{self._settings.url}/send",
            deadline=message.deadline,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )
        return _outcome(answer) if isinstance(answer, Answer) else answer

    def routes(self) -> Sequence[Route]:
        """See `ISender`."""
        return (
            self._route("/receipts", Receipt, self._take_receipt),
            self._route("/inbound", Inbound, self._take_inbound),
        )

    def _route(self, path: str, kind: type[_Posted], take: Callable[[_Posted], Any]) -> Route:
        async def handle(callback: Callback) -> CallbackAnswer:
            try:
                posted = msgspec.json.decode(callback.body, type=kind)
            except (msgspec.DecodeError, RecursionError) as error:
                return CallbackAnswer(400, str(error))
            expected = self._settings.callback_token.encode()
            if not hmac.compare_digest(posted.token.encode(), expected):
                return CallbackAnswer(403, "wrong token")
            await take(posted)
            return CallbackAnswer(200)

        return Route(path, handle)

    async def _take_receipt(self, receipt: Receipt) -> None:
        await self._context.inbox.receipt(
            ReceiptFact(
                status=receipt.state,
                progress=STATES.get(receipt.state, Progress.UNDERWAY),
                provider_id=receipt.message,
                reference=receipt.ref,
            )
        )

    async def _take_inbound(self, inbound: Inbound) -> None:
        await self._context.inbox.reply(
            ReplyFact(
                provider_id=inbound.id,
                source=inbound.sender,
                content=inbound.text,
                reply_to=inbound.in_reply_to,
            )
        )


def _outcome(answer: Answer) -> SendOutcome:
    """ACME documents 202, 422 for what it will never send, and 503 when it is full."""
    if answer.status == 202:
        try:
            return Accepted(msgspec.json.decode(answer.body, type=Queued).queued)
        except (msgspec.DecodeError, RecursionError):
            return Unknown("answered 202 without saying what it queued")
    if answer.status == 422:
        return Rejected("answered 422")
    if answer.status < 300 or (answer.status >= 500 and answer.status != 503):
        return Unknown(f"answered {answer.status}")
    return FailedForNow(f"answered {answer.status}", answer.retry_after)
