"""What every answer looks like, errors too: one envelope, and one table from errors to answers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from hotpotato.store.database import DatabaseError, Unavailable

RETRY_AFTER = "2"
"""Seconds that a client is asked to wait when the database is away."""

_V1_PREFIXES = (b"/api/v1/", b"/api/servers/v1/")
_log = Logger()


class Answer(msgspec.Struct, frozen=True):
    """A whole answer: status, body, content type, further headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


class Refused(Exception):
    """A request that is answered with an error: its status and a sentence for the client."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


class NotLetIn(Refused):
    """Credentials that are nobody's: a guess, perhaps. None at all is only Refused."""


def json_answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Any JSON document as an answer."""
    return Answer(status, msgspec.json.encode(content), headers=headers or {})


def envelope(
    status: int, data: object, *, code: int | None = None, message: str | None = None
) -> Answer:
    """A success in V2's envelope; `code` where the published body differs from the status."""
    return json_answer(
        status, {"success": True, "code": code or status, "message": message, "data": data}
    )


def error(path: bytes, refused: Refused) -> Answer:
    """An error in the envelope of the version that `path` belongs to."""
    content: dict[str, Any] = {"success": False, "code": refused.status, "message": refused.message}
    if path.startswith(_V1_PREFIXES):
        content["output"] = refused.message
    content["data"] = None
    return json_answer(refused.status, content, refused.headers)


def refusal(failure: Failure) -> Refused:
    """The refusal that a handler's failure amounts to.

    What nobody foresaw is a 500 with an incident id, and the traceback is in the log under that id.
    """
    reason = failure.value
    if isinstance(reason, Refused):
        return reason
    if isinstance(reason, Unavailable | TimeoutError):
        return Refused(
            503,
            "the database can't confirm it now; repeat it with the same Idempotency-Key",
            {"Retry-After": RETRY_AFTER},
        )
    if isinstance(reason, HTTPException):
        return _of_routing(reason)
    if isinstance(reason, CancelledError):
        return Refused(499, "the client went away")
    incident = secrets.token_hex(6)
    kind = "a statement was refused" if isinstance(reason, DatabaseError) else "a handler failed"
    _log.failure("incident {incident}: {kind}", failure=failure, incident=incident, kind=kind)
    return Refused(500, f"something is wrong here; the log has it as incident {incident}")


def write(request: IRequest, answer: Answer) -> bytes:
    """Set an answer's status and headers on a request, and return its body."""
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type.encode())
    if answer.status != 304:  # its length would be the other answer's
        request.setHeader(b"content-length", b"%d" % len(answer.body))
    request.setHeader(b"cache-control", b"no-store")
    for name, value in answer.headers.items():
        request.setHeader(name, value)
    return answer.body


def _of_routing(reason: HTTPException) -> Refused:
    status = reason.code or 500
    if status == 405:
        allowed = sorted(set(getattr(reason, "valid_methods", None) or ()) - {"HEAD"})
        methods = ", ".join(allowed)
        return Refused(405, f"expected {methods or 'another method'}", {"Allow": methods})
    if status == 404:
        return Refused(404, "there is nothing at this address")
    return Refused(status, reason.name)
