"""The gateway and the phones behind it: what is taken, reported, shown and replied."""

from __future__ import annotations

import base64
import hmac
import json
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from hotpotato.sandbox.listener import Listener
from hotpotato.sandbox.message import Message, RefusedError, read, segments
from hotpotato.sandbox.misbehaviour import FINAL, Misbehaviour, Misbehaviours
from hotpotato.sandbox.waiters import Waiters

if TYPE_CHECKING:
    from treq.client import HTTPClient
    from twisted.internet.interfaces import IReactorTime

log = Logger()

FIRST_ID = 2**53 + 1
"""Ids start where a reader that takes them for floating point numbers begins to confuse them."""

CALLBACK_SECONDS = 10.0
"""How long a callback may take."""


class Delays(msgspec.Struct, frozen=True):
    """The seconds after taking a message at which each receipt is sent."""

    submitted: float = 0.1
    sent: float = 0.5
    final: float = 1.0


class Answer(msgspec.Struct, frozen=True):
    """What the gateway answers a POST, and how: whole, cut in the middle, a reset, or never."""

    status: int = 201
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    manner: Literal["whole", "half", "reset", "hang"] = "whole"


class Gateway:
    """Modica's gateway for one application, and every phone that it can reach.

    `clock` is what receipts and slowness wait by, `http` what callbacks are sent with. They go to
    `callback_url` + `/dlr-status` and `/mo-messages`, with Basic credentials if there are any;
    without a `callback_url` none are sent. `references` says whether receipts carry the message's
    reference. Ids count from `first_id`: give one that was never used where a database remembers
    earlier ones. At most `keep` messages are remembered. `on_event(kind, facts)` is told of each
    "message" taken, each POST "refused", and each "receipt" and "reply" sent with the HTTP status
    that it was `answered` (0: no answer).
    """

    def __init__(
        self,
        clock: IReactorTime,
        http: HTTPClient,
        *,
        application: str = "sandbox",
        password: str = "sandbox",  # noqa: S107
        callback_url: str | None = None,
        callback_username: str | None = None,
        callback_password: str | None = None,
        delays: Delays | None = None,
        references: bool = True,
        seed: int = 0,
        first_id: int = FIRST_ID,
        keep: int = 1000,
        on_event: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.callback_url = callback_url
        self.misbehaviours = Misbehaviours(seed)
        self._clock = clock
        self._http = http
        self._application = application
        self._authorization = _basic(application, password)
        self._callback_authorization = (
            None if callback_username is None else _basic(callback_username, callback_password)
        )
        self._delays = delays or Delays()
        self._references = references
        self._on_event = on_event or (lambda kind, facts: None)
        self._messages: deque[Message] = deque(maxlen=keep)
        self._ids = first_id
        self._tasks: set[Deferred[Any]] = set()
        self._busy = 0
        self._held: set[Deferred[Answer]] = set()
        self._listener: Listener | None = None
        self._stopped = False
        self._arrivals = 0
        self._waiters: Waiters | None = None

    async def start(self, reactor: Any, port: int = 0, interface: str = "127.0.0.1") -> int:
        """Listen, and return the port: a free one for 0. Raises CannotListenError.

        `reactor` provides IReactorTCP and IReactorTime.
        """
        from hotpotato.sandbox.site import resource

        self._stopped = False
        self._waiters = Waiters(reactor)
        self._listener = Listener(reactor, resource(self), port, interface)
        return self._listener.port

    async def stop(self) -> None:
        """Close every connection and forget what was still to be sent."""
        self._stopped = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await DeferredList(tasks)
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    @property
    def url(self) -> str:
        """What the sender's `url` must say."""
        return f"{self.control_url}/rest/gateway"

    @property
    def control_url(self) -> str:
        """Where it can be asked to reply and to misbehave."""
        if self._listener is None:
            raise RuntimeError("the gateway has not been started")
        return self._listener.url

    @property
    def messages(self) -> Sequence[Message]:
        """Every message taken, oldest first, as far as they are remembered."""
        return tuple(self._messages)

    def texts(self, number: str | None = None) -> list[str]:
        """What the phone of that number shows, oldest first; or all phones."""
        return [
            message.text for message in self._messages if number is None or message.number == number
        ]

    def forget(self) -> None:
        """Clear the phones."""
        self._messages.clear()

    def misbehave(
        self,
        do: str,
        *,
        number: str | None = None,
        text: str | None = None,
        times: int | None = None,
        chance: float = 1.0,
        seconds: float = 5.0,
        retry_after: str | None = None,
        shape: str = "error",
    ) -> None:
        """See `Misbehaviour`. Raises ValueError for one that makes no sense."""
        self.misbehaviours.add(
            Misbehaviour(
                do=do,
                number=number,
                text=text,
                times=times,
                chance=chance,
                seconds=seconds,
                retry_after=retry_after,
                shape=shape,
            )
        )

    def behave(self) -> None:
        """Take back every misbehaviour asked for."""
        self.misbehaviours.clear()

    async def reply(
        self,
        number: str | None,
        text: str,
        *,
        reply_to: int | str | None = None,
        provider_id: int | str | None = None,
        operator: str = "Sandbox Mobile",
        encoding: str | None = None,
    ) -> int:
        """Answer from a phone, and return the HTTP status of the callback (0: no answer).

        `number` None is the phone that got the last message. `reply_to` is missing unless given, as
        with most accounts. Give a `provider_id` to repeat a reply. Raises ValueError if there is no
        phone or no `callback_url`.
        """
        if number is None:
            if not self._messages:
                raise ValueError("expected a number: no phone has got anything yet")
            number = self._messages[-1].number
        body = {
            "id": self._next_id() if provider_id is None else provider_id,
            "source": number,
            "operator": operator,
            "content": text,
        }
        if reply_to is not None:
            body["reply-to"] = reply_to
        if encoding is not None:
            body["encoding"] = encoding
        answered = await self._call_back("/mo-messages", body, self._callback_authorization)
        self._on_event("reply", {"number": number, "text": text, "answered": answered})
        return answered

    async def receipt(
        self,
        message_id: int | str,
        status: str,
        *,
        reference: str | None = None,
        detail: str | None = None,
    ) -> int:
        """Send one receipt, whatever its message, and return the HTTP status (0: no answer)."""
        body = {"message_id": message_id, "status": status}
        body |= {} if reference is None else {"reference": reference}
        body |= {} if detail is None else {"detail": detail}
        answered = await self._call_back("/dlr-status", body, self._callback_authorization)
        self._on_event("receipt", {"id": message_id, "status": status, "answered": answered})
        return answered

    def idle(self) -> Deferred[None]:
        """Fires when no callback is under way; those that wait for the clock don't count."""
        return self._started_waiters.until(lambda: self._busy == 0)

    @property
    def holding(self) -> int:
        """How many clients are kept waiting on purpose, by "slow" or by a hanging one."""
        return len(self._held)

    def arrived(self, count: int) -> Deferred[None]:
        """Fires when that many POSTs have come since the start, whatever became of them."""
        return self._started_waiters.until(lambda: self._arrivals >= count)

    def knows(self, authorization: str) -> bool:
        """Whether an `Authorization` header holds the application's credentials."""
        return hmac.compare_digest(authorization.encode(), self._authorization.encode())

    def take(self, authorization: str, body: bytes) -> Deferred[Answer]:
        """Answer the POST of a message.

        It goes on if the returned Deferred is cancelled: a client that left takes nothing back.
        """
        answer: Deferred[Answer] = Deferred(self._held.discard)

        async def work() -> None:
            result = await self._take(authorization, body, answer)
            if answer.called:
                return
            if result.manner == "hang":
                self._held.add(answer)
            else:
                answer.callback(result)

        self._begin(work())
        self._arrivals += 1
        self._look()
        return answer

    async def _take(self, authorization: str, body: bytes, waiting: Deferred[Answer]) -> Answer:
        if not self.knows(authorization):
            self._on_event("refused", {"status": 401, "why": "wrong credentials"})
            return Answer(401)
        try:
            wanted = read(body)
        except RefusedError as refusal:
            self._on_event("refused", {"status": 400, "why": str(refusal)})
            return _refusal(400, "error", refusal.code, refusal.description)
        asked = self.misbehaviours.applying_to(wanted["destination"], wanted["content"])
        for misbehaviour in asked:
            if misbehaviour.do == "slow":
                self._held.add(waiting)
                await deferLater(self._clock, misbehaviour.seconds)
                self._held.discard(waiting)
        for misbehaviour in asked:
            instead = _instead(misbehaviour)
            if instead is not None:
                why = f"asked to: {misbehaviour.do}"
                self._on_event("refused", {"status": instead.status, "why": why})
                return instead
        message = self._remember(wanted)
        words = {misbehaviour.do for misbehaviour in asked}
        late = sum(misbehaviour.seconds for misbehaviour in asked if misbehaviour.do == "late")
        if "early" in words:
            await self._report(message, words, late)
        elif "never" not in words:
            self._begin(self._report(message, words, late))
        return _acceptance(message, words)

    def _remember(self, wanted: Mapping[str, Any]) -> Message:
        message = Message(
            id=self._next_id(),
            number=wanted["destination"],
            text=wanted["content"],
            source=wanted.get("source"),
            reference=wanted.get("reference"),
            at=self._clock.seconds(),
            segments=segments(wanted["content"]),
        )
        self._messages.append(message)
        facts = ("id", "number", "text", "reference", "segments")
        self._on_event("message", {name: getattr(message, name) for name in facts})
        return message

    async def _report(self, message: Message, words: set[str], late: float) -> None:
        """Send the receipts of one message, each after the one before was answered."""
        final = next((word for word in FINAL if word in words), "received")
        statuses = ["submitted", "sent", final]
        if "reversed" in words:
            statuses.reverse()
        delays = (self._delays.submitted, self._delays.sent, self._delays.final)
        self._busy += 1
        try:
            if "forged" in words:
                await self._forge(message)
            for status, delay in zip(statuses, delays, strict=True):
                if "early" not in words:
                    await self._wait_until(message.at + delay + late)
                for _ in range(2 if "twice" in words else 1):
                    await self._send_receipt(message, status)
        finally:
            self._busy -= 1
            self._look()

    async def _forge(self, message: Message) -> None:
        if self.callback_url is not None:
            forged = {"message_id": message.id, "status": "dead", "reference": message.reference}
            await self._call_back("/dlr-status", forged, authorization=None)

    async def _send_receipt(self, message: Message, status: str) -> None:
        if self.callback_url is not None:
            message.receipts.append(status)
            reference = message.reference if self._references else None
            await self.receipt(message.id, status, reference=reference)

    async def _wait_until(self, due: float) -> None:
        seconds = due - self._clock.seconds()
        if seconds > 0:
            waiting: Deferred[None] = deferLater(self._clock, seconds)
            self._busy -= 1
            self._look()
            try:
                await waiting
            finally:
                self._busy += 1

    async def _call_back(
        self, path: str, body: Mapping[str, Any], authorization: str | None
    ) -> int:
        if self.callback_url is None:
            raise ValueError("expected a callback_url: there is nobody to tell")
        headers = {"Content-Type": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        self._busy += 1
        try:
            posted = Deferred.fromCoroutine(
                self._post(self.callback_url.rstrip("/") + path, headers, json.dumps(body).encode())
            )
            return await posted.addTimeout(CALLBACK_SECONDS, self._clock)
        except Exception as error:
            if self._stopped:
                raise CancelledError from error
            log.debug("callback to {path}: {error!r}", path=path, error=error)
            return 0
        finally:
            self._busy -= 1
            self._look()

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        response = await self._http.post(
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body,
            allow_redirects=False,
        )
        await response.content()
        return int(response.code)

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids - 1

    def _begin(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        task = Deferred.fromCoroutine(work)
        self._tasks.add(task)

        def done(result: Any) -> None:
            self._tasks.discard(task)

        task.addErrback(lambda failure: failure.trap(CancelledError))
        task.addErrback(lambda failure: log.failure("in the gateway", failure))
        task.addBoth(done)

    @property
    def _started_waiters(self) -> Waiters:
        if self._waiters is None:
            raise RuntimeError("the gateway has not been started")
        return self._waiters

    def _look(self) -> None:
        if self._waiters is not None:
            self._waiters.look()


def _instead(misbehaviour: Misbehaviour) -> Answer | None:
    """What is answered in place of taking the message."""
    if misbehaviour.do == "hang-before":
        return Answer(manner="hang")
    if misbehaviour.do == "reset-before":
        return Answer(manner="reset")
    if misbehaviour.do == "revoked":
        return Answer(401)
    status = misbehaviour.status
    if status is None:
        return None
    headers = {}
    if misbehaviour.retry_after is not None:
        headers["Retry-After"] = misbehaviour.retry_after
    if 300 <= status < 400:
        headers["Location"] = "/rest/gateway/messages"
    answer = _refusal(status, misbehaviour.shape, str(status), "asked to")
    return msgspec.structs.replace(answer, headers=headers)


def _acceptance(message: Message, words: set[str]) -> Answer:
    body = json.dumps([message.id]).encode()
    if "hang-after" in words:
        return Answer(manner="hang")
    if "reset-after" in words:
        return Answer(manner="reset")
    if "half" in words:
        return Answer(body=body, manner="half")
    return Answer(body=b"Message accepted." if "garbage" in words else body)


def _refusal(status: int, shape: str, code: str, description: str) -> Answer:
    if shape == "empty":
        return Answer(status)
    if shape == "html":
        return Answer(status, b"<html><h1>Sorry</h1></html>", "text/html")
    if shape == "code":
        body: dict[str, Any] = {"code": status, "message": description}
    else:
        body = {"error": code, "error-desc": description}
    return Answer(status, json.dumps(body).encode())


def _basic(user: str, password: str | None) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password or ''}".encode()).decode()
