"""Calendars of shifts, read back as a calendar program does."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import icalendar
import pytest_twisted

from hotpotato import rota
from hotpotato.rules.keys import key_digest
from hotpotato.rules.schedule import Layer, Rotation
from hotpotato.store import calendars, schedules
from tests.world import START, Response, World

TOKEN = "c" * 64


async def prepare(world: World) -> None:
    """Anna and Bob take turns, daily at nine, and TOKEN is the address of the schedule."""
    known = dict(world.sql("SELECT name, id FROM person"))
    layer = Layer(
        name="daily",
        rotation=Rotation(
            participants=(known["Anna"], known["Bob"]),
            unit="days",
            first=date(2026, 11, 23),
            at=time(9),
        ),
    )

    async def work(transaction: Any) -> None:
        (schedule,) = await schedules.find(transaction)
        layers = [rota.stored_layer(layer)]
        await schedules.set_layers(transaction, schedule.tenant_id, schedule.id, layers)
        await rota.clear_on_call(transaction, schedule.tenant_id)
        await calendars.add(
            transaction, schedule.tenant_id, key_digest(TOKEN), schedule_id=schedule.id
        )

    await world.store(work)


async def get(world: World, token: str = TOKEN, **headers: str) -> Response:
    return await world.request("GET", f"/calendars/{token}.ics", headers=headers)


def events(answer: Response) -> list[Any]:
    assert answer.status == 200, answer.body
    found = icalendar.Calendar.from_ical(answer.body).walk("VEVENT")
    return sorted(found, key=lambda event: event.decoded("dtstart"))


@pytest_twisted.ensureDeferred
async def test_a_calendar_has_the_shifts_of_the_next_ninety_days(world: World) -> None:
    await prepare(world)
    answer = await get(world)
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    found = events(answer)
    assert [str(event["summary"]) for event in found[:3]] == ["Anna", "Bob", "Anna"]
    handover = datetime(2026, 11, 23, 20, tzinfo=UTC)
    assert found[0].decoded("dtend") == found[1].decoded("dtstart") == handover
    assert found[-1].decoded("dtend") >= START + timedelta(days=90)
    assert len({str(event["uid"]) for event in found}) == len(found)
    whole = icalendar.Calendar.from_ical(answer.body)
    assert str(whole["x-wr-calname"]) == "On call: acme primary"
    assert str(whole["x-wr-timezone"]) == "Pacific/Auckland"


@pytest_twisted.ensureDeferred
async def test_a_calendar_keeps_the_past_thirty_days(world: World) -> None:
    await prepare(world)
    await world.advance(33 * 86_400, step=14_400)
    now = START + timedelta(days=33)
    found = events(await get(world))
    assert found[0].decoded("dtend") > now - timedelta(days=30)
    assert found[0].decoded("dtstart") <= now - timedelta(days=30)


@pytest_twisted.ensureDeferred
async def test_a_persons_calendar_has_their_shifts_only(world: World) -> None:
    await prepare(world)

    async def work(transaction: Any) -> None:
        ((person_id, tenant_id),) = await transaction.rows(
            "SELECT id, tenant_id FROM person WHERE name = 'Bob'"
        )
        await calendars.add(transaction, tenant_id, key_digest("bob"), person_id=person_id)

    await world.store(work)
    found = events(await get(world, "bob"))
    assert {str(event["summary"]) for event in found} == {"On call: acme primary"}
    assert len(found) == len(events(await get(world))) // 2


@pytest_twisted.ensureDeferred
async def test_who_has_it_until_changed_is_in_the_calendar_too(world: World) -> None:
    async def work(transaction: Any) -> None:
        await calendars.add(
            transaction,
            world.tenant_id,
            key_digest(TOKEN),
            schedule_id=(await schedules.find(transaction))[0].id,
        )

    await world.store(work)
    (event,) = events(await get(world))
    assert str(event["summary"]) == "Anna"
    assert str(event["description"]) == "Anna, acme/primary: set by hand, until changed"


@pytest_twisted.ensureDeferred
async def test_what_has_not_changed_is_not_sent_again(world: World) -> None:
    await prepare(world)
    first = await get(world)
    assert first.headers["cache-control"] == "private, max-age=900"
    again = await get(world, **{"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    world.sql(
        "UPDATE shift SET person_id = (SELECT id FROM person WHERE name = 'Cleo')"
        " WHERE upper(during) = '2026-11-24 20:00+00'"
    )
    changed = await get(world, **{"If-None-Match": first.headers["etag"]})
    assert str(events(changed)[1]["summary"]) == "Cleo"


@pytest_twisted.ensureDeferred
async def test_an_address_that_is_unknown_or_revoked_leads_nowhere(world: World) -> None:
    await prepare(world)
    unknown = await get(world, "d" * 64)
    assert (unknown.status, unknown.json["success"]) == (404, False)
    ((number,),) = world.sql("SELECT id FROM calendar")
    await world.store(lambda transaction: calendars.revoke(transaction, number))
    revoked = await get(world)
    assert (revoked.status, revoked.body) == (404, unknown.body)


@pytest_twisted.ensureDeferred
async def test_an_address_that_is_nearly_right_is_answered_like_any_other(world: World) -> None:
    """Longer, shorter, in capitals, with another ending: nothing tells how close it was."""
    await prepare(world)
    unknown = await get(world, "d" * 64)
    near = [TOKEN[:-1], TOKEN[:-1] + "d", TOKEN + "c", TOKEN.upper(), "d" + TOKEN[1:], TOKEN + " "]
    for token in near:
        answer = await get(world, token)
        assert (answer.status, answer.body) == (404, unknown.body)
        assert {**answer.headers, "date": ""} == {**unknown.headers, "date": ""}


@pytest_twisted.ensureDeferred
async def test_a_calendar_is_as_rfc_5545_wants_it(world: World) -> None:
    """Also with a name that needs escapes and folds, and a shift of no time at all."""
    await prepare(world)
    world.sql("UPDATE person SET name = %s WHERE name = 'Bob'", "Zoë, of; the \\ night " * 8)
    world.sql(
        "UPDATE shift SET during = tstzrange(%s, %s) WHERE upper(during) = %s",
        START,
        START + timedelta(microseconds=5),
        START + timedelta(hours=6),
    )
    answer = await get(world)
    *lines, last = answer.body.split(b"\r\n")
    assert last == b""
    assert all(len(line) <= 75 and b"\n" not in line for line in lines)
    whole = icalendar.Calendar.from_ical(answer.body)
    assert (str(whole["version"]), "method" in whole) == ("2.0", False)
    assert whole["prodid"]
    for event in events(answer):
        assert event["uid"]
        assert event.decoded("dtstart") < event.decoded("dtend")
        assert event.decoded("dtstamp") <= START
    assert str(events(answer)[0]["summary"]) == "Zoë, of; the \\ night " * 8


@pytest_twisted.ensureDeferred
async def test_only_a_digest_of_the_secret_is_kept(world: World) -> None:
    await prepare(world)
    assert world.sql("SELECT token_digest FROM calendar")[0][0].tobytes() == key_digest(TOKEN)
