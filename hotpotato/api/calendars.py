"""Shifts for calendar programs: iCalendar (RFC 5545) at secret addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import icalendar

from hotpotato.api.answers import Answer, NotLetIn
from hotpotato.api.site import About, Endpoint, Request
from hotpotato.rules.keys import key_digest
from hotpotato.store import calendars, schedules
from hotpotato.store.calendars import Calendar
from hotpotato.store.database import Database, Transaction
from hotpotato.store.schedules import Held

PAST = timedelta(days=30)
AHEAD = timedelta(days=90)

LOOK_AGAIN = 900
"""Seconds that a calendar program may go on with what it has."""

_UNTIL_CHANGED = "until changed"


class Calendars:
    """The endpoint for calendar programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def endpoints(self) -> Sequence[Endpoint]:
        """What to mount."""
        kinds = About({200: ("text/calendar", {"type": "string"}), 304: (None, None)})
        return (Endpoint("GET", "/calendars/<token>.ics", self.calendar, kinds),)

    async def calendar(self, request: Request) -> Answer:
        """The shifts of the past 30 days and the next 90."""
        digest = key_digest(request.parameters["token"])

        async def work(transaction: Transaction) -> tuple[Calendar, datetime, list[Held]] | None:
            known = await calendars.by_digest(transaction, digest)
            if known is None:
                return None
            now = await schedules.now(transaction)
            found = await schedules.held(
                transaction,
                now - PAST,
                now + AHEAD,
                schedule_id=known.schedule_id,
                person_id=known.person_id,
            )
            return known, now, found

        answer = await self._database.transaction(work)
        if answer is None:
            # The same for what never was and what was revoked: it says nothing to who guesses.
            raise NotLetIn(404, "there is no calendar at this address")
        body = written(*answer)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": f"private, max-age={LOOK_AGAIN}"}
        if tag in (request.header("if-none-match") or ""):
            return Answer(304, b"", "text/calendar; charset=utf-8", headers)
        return Answer(200, body, "text/calendar; charset=utf-8", headers)


def written(known: Calendar, now: datetime, found: Sequence[Held]) -> bytes:
    """The calendar's text. It is the same for as long as the shifts are.

    A shift that lasts until changed ends with what is written ahead.
    """
    made = icalendar.Calendar()
    made.add("prodid", "-//Hot Potato//on call//EN")
    made.add("version", "2.0")
    made.add("x-wr-calname", _title(known))
    made.add("x-wr-timezone", known.timezone)
    # A day's precision, or every look would find another text.
    end = (now + AHEAD).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for shift in found:
        since, until = _whole_second(shift.since), _whole_second(shift.until or end)
        # An event can't be empty. So short a shift is one that was changed at once.
        if since < until:
            made.add_component(_event(known, shift, since, until))
    text: bytes = made.to_ical()
    return text


def _title(known: Calendar) -> str:
    if known.person is not None:
        return f"{known.person} on call ({known.tenant})"
    return f"On call: {known.tenant} {known.schedule}"


def _whole_second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _event(known: Calendar, shift: Held, since: datetime, until: datetime) -> icalendar.Event:
    event = icalendar.Event()
    identity = f"{shift.tenant}/{shift.schedule}/{shift.since.astimezone(UTC).isoformat()}"
    event.add("uid", f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}@hotpotato")
    event.add("dtstamp", _whole_second(shift.written_at))
    event.add("dtstart", since)
    event.add("dtend", until)
    if known.person is None:
        event.add("summary", shift.person)
    else:
        event.add("summary", f"On call: {shift.tenant} {shift.schedule}")
    last = f", {_UNTIL_CHANGED}" if shift.until is None else ""
    event.add(
        "description", f"{shift.person}, {shift.tenant}/{shift.schedule}: {shift.source}{last}"
    )
    event.add("transp", "TRANSPARENT")
    return event
