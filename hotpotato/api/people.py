"""For people's own programs, under /api/people/v1: what is open, take it, and who is on call.

A request shows the token of one person, sees what is their tenant's, and acts in their name.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from hotpotato import rota
from hotpotato.api.answers import Answer, NotLetIn, Refused, envelope
from hotpotato.api.site import ENVELOPE, About, Endpoint, Request
from hotpotato.rules import intake
from hotpotato.rules.keys import key_digest
from hotpotato.store import acknowledging, people, schedules, stories, tokens
from hotpotato.store.acknowledging import Shown
from hotpotato.store.database import Database, Transaction
from hotpotato.store.tokens import Bearer
from hotpotato.vocabulary import AlertStatus

PREFIX = "/api/people/v1"

MOST_ALERTS = 1000
"""Alerts in one answer, at most; 100 unless asked for more."""

MOST_LINES = 1000
"""Lines of an alert's history in one answer, the newest."""

LONGEST_NOTE = 4000
"""Characters of a note."""

LONGEST_MINUTES = 366 * 24 * 60
"""An acknowledgement that is to last longer had better not run out."""

_MOST_ID = 2**63 - 1
_CREDENTIALS = re.compile(r"^\s*bearer\s+(\S+)\s*$", re.IGNORECASE)
_OPEN = (AlertStatus.TRIGGERED, AlertStatus.ACKNOWLEDGED)
_STATUSES = {
    "open": _OPEN,
    "all": tuple(AlertStatus),
    **{str(status): (status,) for status in AlertStatus},
}


class People:
    """The endpoints for people's programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def endpoints(self) -> Sequence[Endpoint]:
        """What to mount."""
        alert = f"{PREFIX}/alerts/<int:id>"
        minutes = {"type": ["integer", "null"], "minimum": 0, "maximum": LONGEST_MINUTES}
        text = {"type": "string", "minLength": 1, "maxLength": LONGEST_NOTE}
        schedule = {"type": ["string", "null"], "maxLength": LONGEST_NOTE}
        listed = {
            "status": {"enum": list(_STATUSES)},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_ALERTS},
        }
        return (
            Endpoint("GET", f"{PREFIX}/alerts", self.list_alerts, _about(query=listed)),
            Endpoint("GET", alert, self.get_alert, _about()),
            Endpoint("POST", f"{alert}/ack", self.acknowledge, _about(body={"minutes": minutes})),
            Endpoint("POST", f"{alert}/resolve", self.resolve, _about(body={})),
            Endpoint("POST", f"{alert}/note", self.note, _about(201, body={"text": text})),
            Endpoint("GET", f"{PREFIX}/oncall", self.on_call, _about()),
            Endpoint("POST", f"{PREFIX}/take", self.take, _about(body={"schedule": schedule})),
        )

    # --- alerts

    async def list_alerts(self, request: Request) -> Answer:
        """The newest alerts of the tenant, the open ones unless `status` says otherwise."""
        bearer = await self._bearer(request)
        statuses, most = _asked(request)

        async def work(transaction: Transaction) -> list[Shown]:
            return await acknowledging.search(
                transaction, statuses=statuses, most=most, tenant=bearer.tenant
            )

        found = await self._database.transaction(work)
        return envelope(200, [_document(alert) for alert in found])

    async def get_alert(self, request: Request) -> Answer:
        """One alert, with its history."""
        bearer = await self._bearer(request)

        async def work(transaction: Transaction) -> dict[str, object]:
            alert = await _the_alert(transaction, bearer, request)
            lines = await stories.newest_of_alert(transaction, alert.id, MOST_LINES)
            history = [
                {"at": _utc(line.at), "kind": line.kind, "sentence": line.sentence}
                for line in lines
            ]
            return {**_document(alert), "history": history}

        return envelope(200, await self._database.transaction(work))

    async def acknowledge(self, request: Request) -> Answer:
        """Acknowledge it for some minutes, for as long as the policy says, or (0) for ever."""

        async def work(transaction: Transaction, bearer: Bearer, body: _Body) -> Answer:
            minutes = body.number("minutes", LONGEST_MINUTES)
            alert = await _the_alert(transaction, bearer, request)
            taken = await acknowledging.acknowledge(
                transaction,
                [alert.id],
                bearer.person,
                bearer.person_id,
                None if minutes is None else minutes * 60.0,
            )
            now = await _the_alert(transaction, bearer, request)
            if taken:
                return envelope(200, _document(now))
            if now.status == AlertStatus.RESOLVED:
                raise Refused(409, "it is over already, there is nothing to acknowledge")
            by = now.acknowledged_by or "somebody else"
            raise Refused(409, f"it was acknowledged already, by {by}")

        return await self._acting(request, work)

    async def resolve(self, request: Request) -> Answer:
        """Call it over. What is over already stays as it is, and that is said."""

        async def work(transaction: Transaction, bearer: Bearer, body: _Body) -> Answer:
            alert = await _the_alert(transaction, bearer, request)
            done = await acknowledging.resolve(transaction, [alert.id], bearer.person)
            now = await _the_alert(transaction, bearer, request)
            return envelope(200, _document(now), message=None if done else "it was over already")

        return await self._acting(request, work)

    async def note(self, request: Request) -> Answer:
        """Keep what somebody has to say about it."""

        async def work(transaction: Transaction, bearer: Bearer, body: _Body) -> Answer:
            text = body.text("text", LONGEST_NOTE)
            if text is None:
                raise Refused(400, "text: expected what there is to note")
            alert = await _the_alert(transaction, bearer, request)
            await acknowledging.note(transaction, bearer.tenant_id, alert.id, bearer.person, text)
            return envelope(201, {"id": alert.id, "user": bearer.person, "text": text})

        return await self._acting(request, work)

    # --- the pager

    async def on_call(self, request: Request) -> Answer:
        """Who has the pager of each schedule."""
        bearer = await self._bearer(request)

        async def work(transaction: Transaction) -> list[people.OnCall]:
            return await people.on_call(transaction, bearer.tenant)

        found = await self._database.transaction(work)
        return envelope(200, [_held(each) for each in found])

    async def take(self, request: Request) -> Answer:
        """Take the pager of a schedule, for what is left of the shift that runs."""

        async def work(transaction: Transaction, bearer: Bearer, body: _Body) -> Answer:
            name = body.text("schedule", LONGEST_NOTE) or "primary"
            known = await schedules.find(transaction, name=name, tenant_id=bearer.tenant_id)
            if not known:
                raise Refused(404, "there is no such schedule")
            await rota.take(transaction, known[0].id, bearer.person_id, bearer.person)
            found = await people.on_call(transaction, bearer.tenant)
            return envelope(200, next(_held(each) for each in found if each.schedule == name))

        return await self._acting(request, work)

    # --- the parts

    async def _bearer(self, request: Request) -> Bearer:
        """In whose name the request is made; Refused with 401 if in nobody's."""
        headers = {"WWW-Authenticate": "Bearer"}
        match = _CREDENTIALS.match(request.header("authorization") or "")
        if match is None:
            raise Refused(401, "a token is missing or malformed", headers)
        bearer = await tokens.bearer(self._database, key_digest(match[1]))
        if bearer is None:
            raise NotLetIn(401, "a token is not known, or over", headers)
        return bearer

    async def _acting(
        self,
        request: Request,
        work: Callable[[Transaction, Bearer, _Body], Awaitable[Answer]],
    ) -> Answer:
        """What `work` answers, in one transaction; Refused with 403 if this token may only read."""
        bearer = await self._bearer(request)
        if not bearer.may_act:
            raise Refused(403, "this token may only read: make one with --scope act")
        body = _Body.of(request)

        async def whole(transaction: Transaction) -> Answer:
            return await work(transaction, bearer, body)

        return await self._database.transaction(whole)


def _about(
    status: int = 200,
    *,
    body: Mapping[str, object] | None = None,
    query: Mapping[str, object] | None = None,
) -> About:
    """With a token; `body` are the schemas of its object's fields."""
    schema = None if body is None else {"type": "object", "properties": body}
    return About({status: ENVELOPE}, schema, query or {}, ("token",))


class _Body:
    """A request's JSON object; none at all is an empty one."""

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    @classmethod
    def of(cls, request: Request) -> _Body:
        if request.too_large:
            raise Refused(413, "the body is larger than 1 MiB")
        if not request.body.strip():
            return cls({})
        try:
            return cls(intake.decode_object(request.body))
        except intake.Unreadable as unreadable:
            raise Refused(400, str(unreadable)) from None

    def number(self, name: str, most: int) -> int | None:
        """A whole number from 0 to `most`; None if it is absent."""
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise Refused(400, f"{name}: expected a whole number from 0 to {most}")
        return value

    def text(self, name: str, most: int) -> str | None:
        """A text of 1 to `most` characters; None if it is absent or empty."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > most:
            raise Refused(400, f"{name}: expected a text of at most {most} characters")
        return intake.safe(value).strip() or None


async def _the_alert(transaction: Transaction, bearer: Bearer, request: Request) -> Shown:
    number = request.parameters["id"]
    found = None
    if number <= _MOST_ID:
        found = await acknowledging.find(transaction, bearer.tenant_id, number)
    if found is None:
        raise Refused(404, "there is no such alert")
    return found


def _asked(request: Request) -> tuple[Sequence[AlertStatus], int]:
    """What `?status=…&limit=…` asks for."""
    asked = parse_qs(request.query)
    status, limit = asked.get("status", ["open"])[-1], asked.get("limit", ["100"])[-1]
    if status not in _STATUSES:
        raise Refused(400, f"status: expected one of {', '.join(_STATUSES)}")
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= MOST_ALERTS:
        raise Refused(400, f"limit: expected a whole number from 1 to {MOST_ALERTS}")
    return _STATUSES[status], int(limit)


def _document(alert: Shown) -> dict[str, Any]:
    fields = msgspec.structs.asdict(alert)
    return {
        name: _utc(value) if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _held(held: people.OnCall) -> dict[str, object]:
    return {
        "schedule": held.schedule,
        "user": held.person,
        "since": _utc(held.since),
        "until": _utc(held.until),
    }


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
