"""`hotpotato why …`."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from hotpotato.commands.finding import tenant_option, the_person, when
from hotpotato.commands.output import Answer, clock, examples, moment
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import MOMENT, NAME
from hotpotato.store import schedules
from hotpotato.store.database import Transaction
from hotpotato.store.schedules import Given, Held, Schedule


@click.command(
    epilog=examples(
        'hotpotato why Anna --at "2026-12-24 03:00"',
        "hotpotato why Anna",
    )
)
@click.argument("name", metavar="USER", type=NAME)
@click.option("--at", type=MOMENT, help="When; by default now.")
@tenant_option
@in_transaction
async def why(
    transaction: Transaction, name: str, at: datetime | None, tenant: str | None
) -> Answer:
    """Say why a person was, is or will be on call at a time, or why not.

    For each schedule of the person's tenant: the layer or the override that decides, who said so,
    and when. Of the past it tells what was true then, whatever the rota is now.
    """
    person = await the_person(transaction, name, tenant)
    documents = []
    lines = []
    for known in await schedules.find(transaction, tenant=person.tenant):
        asked = await when(transaction, at, known.timezone)
        found = await schedules.held(
            transaction, asked, asked + timedelta(microseconds=1), schedule_id=known.id
        )
        shift = found[0] if found else None
        given = None if shift is None else await _given(transaction, known, shift, asked)
        documents.append(
            {
                "tenant": known.tenant,
                "schedule": known.name,
                "at": asked,
                "on_call": shift is not None and shift.person == name,
                "user": shift and shift.person,
                "since": shift and shift.since,
                "until": shift and shift.until,
                "source": shift and shift.source,
                "override": given,
            }
        )
        lines.append(_line(known, name, asked, shift, given))
    return Answer(documents, lines)


async def _given(
    transaction: Transaction, known: Schedule, shift: Held, at: datetime
) -> Given | None:
    """The override that made this shift; None if a layer did."""
    found = await schedules.overrides(transaction, at, at, schedule_id=known.id)
    return next(
        (
            each
            for each in reversed(found)
            if (each.person, each.source) == (shift.person, shift.source)
        ),
        None,
    )


def _line(
    known: Schedule, name: str, asked: datetime, shift: Held | None, given: Given | None
) -> str:
    where = f"{known.tenant}/{known.name}"
    at = moment(asked, known.timezone)
    if shift is None:
        return f"{where}: at {at} nobody is on call, so everybody is paged."
    span = f"from {clock(shift.since, known.timezone)}, {_until(shift, known.timezone)}"
    because = f"by {shift.source}"
    if given is not None:
        because += f", said by {given.author} at {moment(given.created_at, known.timezone)}"
    instead = "" if shift.person == name else f"not {name} but "
    return f"{where}: at {at} {instead}{shift.person} is on call, {span}, {because}."


def _until(shift: Held, timezone: str) -> str:
    return f"until {clock(shift.until, timezone)}" if shift.until else "until changed"
