"""Modica's Mobile Gateway, REST version 1: one POST out, receipts and replies back in.

Where the provider's documents are silent, the cautious reading is taken: what may have been sent
is unknown, what no repetition can mend is rejected, and the rest is tried again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

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
    masked,
)
from hotpotato.senders.http import Answer, basic, exchange
from hotpotato.senders.plugins import ModicaSettings
from hotpotato.vocabulary import Progress

PROGRESS: Mapping[str, Progress] = {
    "submitted": Progress.UNDERWAY,
    "sent": Progress.UNDERWAY,
    "frozen": Progress.UNDERWAY,
    "received": Progress.DELIVERED,
    "rejected": Progress.FAILED,
    "failed": Progress.FAILED,
    "dead": Progress.FAILED,
    "expired": Progress.FAILED,
}
"""What Modica's words for a receipt mean."""

OLD_PLACES = ("/api/v1/modica", "/api/servers/v1/modica")
"""Where the original Hot Potato took Modica's callbacks: kept for the instance named "modica"."""

_AN_ID = {"type": ["integer", "string"]}
RECEIPT = {
    "type": "object",
    "required": ["message_id", "status"],
    "properties": {"message_id": _AN_ID, "status": {"enum": list(PROGRESS)}},
}
REPLY = {
    "type": "object",
    "required": ["id", "source", "content"],
    "properties": {
        "id": _AN_ID,
        "source": {"type": "string", "minLength": 1},
        "operator": {"type": ["string", "null"]},
        "reply-to": {"type": ["integer", "string", "null"]},
        "content": {"type": "string"},
        "encoding": {"type": ["string", "null"]},
    },
}
"""The JSON schemas of what Modica posts."""

UNSENDABLE = str.maketrans({"|": "/", "¡": "!", "§": "S", "¤": "*"})
"""Modica says that these four "cannot be included". A look-alike is better than no page, and
needs no more room in GSM-7 than the character that it stands for."""

CHECK_SECONDS = 10.0
"""How long `check` waits for the gateway."""

_ID_LENGTH = 255

_Fact = TypeVar("_Fact", ReceiptFact, ReplyFact)


class _MalformedError(Exception):
    """A callback that says nothing usable; the text tells Modica why."""


@implementer(ISender)
class Modica:
    """One application of Modica's gateway."""

    def __init__(self, settings: ModicaSettings, context: SenderContext) -> None:
        """Raise ValueError for settings that can't work together."""
        _check_settings(settings)
        self._settings = settings
        self._context = context
        self._url = settings.url.rstrip("/")
        self._headers = {
            "Authorization": basic(settings.application, settings.password),
            "Accept": "application/vnd.modica.gateway.v1+json",
        }

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """See `ISender`, and `outcome` for what an answer means."""
        body = {
            "destination": message.address,
            "content": message.text.translate(UNSENDABLE),
            "reference": message.reference,
        }
        if self._settings.source is not None:
            body["source"] = self._settings.source
        answer = await exchange(
            self._context,
            "POST",
            f"{self._url}/messages",
            deadline=message.deadline,
            headers=self._headers | {"Content-Type": "application/json"},
            body=json.dumps(body).encode(),
        )
        return outcome(answer, message.address) if isinstance(answer, Answer) else answer

    def routes(self) -> Sequence[Route]:
        """Receipts and replies."""
        return (
            self._route("/mo-messages", _reply, self._context.inbox.reply, REPLY),
            self._route("/dlr-status", _receipt, self._context.inbox.receipt, RECEIPT),
        )

    async def check(self) -> Sequence[str]:
        """Ask the gateway for a message that isn't there: 404 shows that it knows us."""
        wrong = []
        settings = self._settings
        if urlsplit(settings.url).scheme == "http":
            wrong.append(f"{settings.url} is not https: the password and every text can be read")
        if settings.callback_auth == "none":
            wrong.append('callback_auth = "none": anybody can send receipts and replies')
        elif settings.callback_username is None:
            wrong.append(
                "callback_username and callback_password are missing: receipts and replies are "
                "refused"
            )
        answer = await exchange(
            self._context,
            "GET",
            f"{self._url}/messages/0",
            deadline=CHECK_SECONDS,
            headers=self._headers,
        )
        if not isinstance(answer, Answer):
            wrong.append(f"the gateway does not answer: {answer.why}")
        elif answer.status in _CONFIGURATION and answer.status != 404:
            wrong.append(f"the gateway {_CONFIGURATION[answer.status]}")
        elif not (answer.status < 300 or 400 <= answer.status < 500):
            wrong.append(f"the gateway answers {answer.status}{_redirect(answer)}")
        return wrong

    def _route(
        self,
        path: str,
        read: Callable[[Mapping[str, Any]], _Fact],
        hand_in: Callable[[_Fact], Any],
        body: object,
    ) -> Route:
        async def handle(callback: Callback) -> CallbackAnswer:
            if not self._authentic(callback):
                self._context.log.warn(
                    "{sender}: a callback to {path} was refused, its credentials are not the "
                    "configured ones",
                    sender=self._context.name,
                    path=path,
                )
                return CallbackAnswer(
                    401, "wrong credentials", {"WWW-Authenticate": 'Basic realm="Hot Potato"'}
                )
            try:
                fact = read(_json_object(callback.body))
            except _MalformedError as error:
                return CallbackAnswer(400, str(error))
            await hand_in(fact)
            return CallbackAnswer(200)

        aliases = OLD_PLACES if self._context.name == "modica" else ()
        return Route(path, handle, tuple(place + path for place in aliases), body)

    def _authentic(self, callback: Callback) -> bool:
        settings = self._settings
        if settings.callback_auth == "none":
            return True
        if settings.callback_username is None or settings.callback_password is None:
            return False
        scheme, _, given = callback.headers.get("authorization", "").strip().partition(" ")
        try:
            pair = base64.b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        expected = f"{settings.callback_username}:{settings.callback_password}".encode()
        return hmac.compare_digest(pair, expected) and scheme.lower() == "basic"


_CONFIGURATION = {
    401: (
        "refuses us (401): wrong application or password, or this host's address is not on "
        "Modica's list"
    ),
    403: (
        "forbids it (403): the application may not send, or this host's address is not on "
        "Modica's list"
    ),
    404: "knows no such path (404): is url right?",
    405: "does not take that there (405): is url right?",
}


def outcome(answer: Answer, address: str) -> SendOutcome:
    """What an answer to the POST of a message to `address` means.

    - 201 with one id: accepted. Any other 2xx: unknown, the SMS may be on its way.
    - `send_failed`, whatever the status: Modica itself says that nothing was sent; tried again.
    - 400 and 422: rejected. It would be refused again the same way, and rejected messages have
      other people paged at once. So also without a readable reason.
    - Other 4xx, redirects, 503: surely not taken, and not the message's fault but that of our
      settings, an allow-list, a limit or an overload; tried again, since somebody will mend it and
      the page is still due then.
    - 500, 502, 504 and other 5xx: unknown. They tell of a failure behind the door, perhaps after
      the message went through it, and an SMS is not deduplicated. A receipt with our reference
      settles it; without one it is tried again a few seconds later than a failure would be.
    """
    code, why = _error(answer, address)
    status = answer.status
    if status == 201:
        provider_id = _new_id(answer.body)
        if provider_id is None:
            return Unknown("answered 201 without an id of the message")
        return Accepted(provider_id)
    if 200 <= status < 300:
        return Unknown(f"answered {status}, expected 201")
    if code == "send_failed":
        return FailedForNow(why, answer.retry_after)
    if status in (400, 422):
        return Rejected(why)
    if status < 500:
        known = _CONFIGURATION.get(status)
        return FailedForNow(
            f"the gateway {known}" if known else why + _redirect(answer), answer.retry_after
        )
    return FailedForNow(why, answer.retry_after) if status == 503 else Unknown(why)


def _redirect(answer: Answer) -> str:
    place = answer.headers.get("location")
    return f", a redirect, which is not followed: {place[:200]}" if place else ""


def _new_id(body: bytes) -> str | None:
    """The one id in `[1102293018]`, whole: it may have 64 bits."""
    try:
        ids = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(ids, list) or len(ids) != 1:
        return None
    try:
        return _id(ids[0], "id")
    except _MalformedError:
        return None


def _error(answer: Answer, address: str) -> tuple[str | None, str]:
    """Modica's error code, if the body has one, and a sentence for people.

    Both published shapes are understood. The sentence never holds the whole address, which
    Modica's own may repeat.
    """
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        body = {}
    code = body.get("error", body.get("code"))
    said = body.get("error-desc", body.get("message"))
    words = [f"answered {answer.status}"]
    words += [str(part) for part in (code, said) if isinstance(part, str | int)]
    sentence = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]+", " ", ": ".join(words))
    sentence = sentence.replace(address.lstrip("+"), masked(address).lstrip("+"))
    return code if isinstance(code, str) else None, sentence[:300]


def _receipt(body: Mapping[str, Any]) -> ReceiptFact:
    status = body.get("status")
    if not isinstance(status, str) or not status.strip():
        raise _MalformedError("status: expected one of Modica's words")
    status = _clean(status.strip())[:_ID_LENGTH]
    reference = _optional(body.get("reference"))
    message_id = body.get("message_id")
    if message_id is None and reference is None:
        raise _MalformedError("message_id: expected the id of a message")
    return ReceiptFact(
        status=status,
        progress=PROGRESS.get(status.lower(), Progress.UNDERWAY),
        provider_id=None if message_id is None else _id(message_id, "message_id"),
        reference=reference,
        detail=_optional(body.get("detail")),
    )


def _reply(body: Mapping[str, Any]) -> ReplyFact:
    source = _optional(body.get("source"))
    if source is None:
        raise _MalformedError("source: expected a phone number")
    content = body.get("content")
    if not isinstance(content, str):
        raise _MalformedError("content: expected text")
    answered = body.get("reply-to")
    if answered is None:
        answered = body.get("reply_to")
    return ReplyFact(
        provider_id=_id(body.get("id"), "id"),
        source=source,
        content=_clean(content),
        encoding=_optional(body.get("encoding")),
        reply_to=None if answered in (None, "") else _id(answered, "reply-to"),
        operator=_optional(body.get("operator")),
    )


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _MalformedError("expected a JSON object in UTF-8") from error
    if not isinstance(value, dict):
        raise _MalformedError("expected a JSON object")
    return value


def _id(value: object, key: str) -> str:
    """An id as text. Only whole numbers and text: a float has lost digits of 64 bits already."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > _ID_LENGTH:
        raise _MalformedError(f"{key}: expected an id, a whole number or text")
    return _clean(value.strip())


def _optional(value: object) -> str | None:
    """Text where it is some, and a number as text; whatever else came is as good as absent."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _clean(value.strip()) or None if isinstance(value, str) else None


def _clean(text: str) -> str:
    """Without what PostgreSQL and UTF-8 can't hold: NUL and lone surrogates."""
    return re.sub(r"[\x00\ud800-\udfff]", "\ufffd", text)


def _check_settings(settings: ModicaSettings) -> None:
    parts = urlsplit(settings.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url: expected https://…, not {settings.url}")
    if ":" in settings.application:
        raise ValueError("application: expected a name without a colon, as HTTP Basic needs it")
    if (settings.callback_username is None) != (settings.callback_password is None):
        raise ValueError("expected callback_username and callback_password together, or neither")
