"""One HTTP request of a sender: bounded in time and size, and honest about what may have been sent.

Any sender may use it, also one in another package. What matters is the line that it draws: a
failure before anything reached the provider is `FailedForNow`, every later one is `Unknown`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from hotpotato.interfaces import FailedForNow, SenderContext, Unknown

BODY_LIMIT = 64 * 1024
"""The most bytes of an answer that are read."""


class Answer(msgspec.Struct, frozen=True):
    """What the provider answered. Header names are lower case.

    `body` is empty where it was cut off, came too late, or was longer than `BODY_LIMIT`: the
    status stands all the same.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """The seconds that `Retry-After` asks for; a date there counts from the answer's `Date`."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            until = parsedate_to_datetime(value)
            return max(0.0, (until - parsedate_to_datetime(self.headers["date"])).total_seconds())
        except (KeyError, ValueError, TypeError):
            return None


def basic(user: str, password: str) -> str:
    """The `Authorization` header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


async def exchange(
    context: SenderContext,
    method: str,
    url: str,
    *,
    deadline: float,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Answer | FailedForNow | Unknown:
    """Send one request, and read the answer and its body, within `deadline` seconds in all.

    Never follows a redirect, and raises nothing for what the network does: where no answer came,
    the outcome of the attempt is returned instead. Cancelling it closes the connection.
    """
    attempt = Deferred.fromCoroutine(_attempt(context, method, url, headers, body, deadline))
    return await attempt.addTimeout(deadline, context.clock)


async def _attempt(
    context: SenderContext,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: float,
) -> Answer | FailedForNow | Unknown:
    try:
        response = await context.http.request(
            method,
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body,
            allow_redirects=False,
            unbuffered=True,
        )
    except Exception as error:
        return _no_answer(error, deadline)
    return Answer(
        status=response.code,
        headers={
            name.decode("ascii", "replace").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        },
        body=await _body(response),
    )


def _no_answer(error: Exception, deadline: float) -> FailedForNow | Unknown:
    """What a failed request means. Nothing was sent only where that is certain.

    A name that isn't found, a refused connection and one that was never made are certain, and a
    failed TLS handshake is: the request waits for its end. A reset isn't, whenever it came: the
    provider may have read the request before.
    """
    reasons = [reason.value for reason in getattr(error, "reasons", [])] or [error]
    for reason in reasons:
        if isinstance(reason, ConnectingCancelledError):
            return FailedForNow(f"no connection within {deadline:g} s")
        if isinstance(reason, ConnectError | DNSLookupError):
            return FailedForNow(f"no connection: {_said(reason)}")
        if isinstance(reason, TLSError | VerificationError):
            return FailedForNow(f"no TLS connection: {_said(reason)}")
        if isinstance(reason, CancelledError):
            return Unknown(f"no answer within {deadline:g} s")
    return Unknown(f"no answer: {_said(reasons[0])}")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


async def _body(response: IResponse) -> bytes:
    reader = _BodyReader()
    response.deliverBody(reader)
    return await reader.whole


class _BodyReader(Protocol):
    """Collects a body into `whole`, which fires with b"" where it can't be had whole."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(self._cancelled)
        self._body = b""
        self._too_long = False

    def dataReceived(self, data: bytes) -> None:
        if not self._too_long:
            self._body += data
            if len(self._body) > BODY_LIMIT:
                self._too_long = True
                self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            whole = reason.check(ResponseDone, PotentialDataLoss) and not self._too_long
            self.whole.callback(self._body if whole else b"")

    def _cancelled(self, whole: Deferred[bytes]) -> None:
        self._abort()
        whole.callback(b"")

    def _abort(self) -> None:
        transport: Any = self.transport
        # Over TLS, loseConnection waits for a goodbye that a hung provider never says. Twisted
        # hides the way to abort behind this proxy.
        hidden = getattr(transport, "_producer", None)
        getattr(hidden, "abortConnection", transport.loseConnection)()
