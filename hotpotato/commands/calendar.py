"""`hotpotato calendar …`."""

from __future__ import annotations

import click

from hotpotato.commands.finding import (
    tenant_option,
    the_person,
    the_schedule,
    timezones,
)
from hotpotato.commands.output import Answer, Refused, examples, moment, styled, table
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import NAME, NUMBER
from hotpotato.rules import keys
from hotpotato.store import calendars
from hotpotato.store.calendars import Calendar
from hotpotato.store.database import Transaction


@click.group(
    epilog=examples(
        "hotpotato calendar add --user Anna",
        "hotpotato calendar add --schedule primary --tenant acme",
        "hotpotato calendar list",
        "hotpotato calendar revoke 3",
    )
)
def calendar() -> None:
    """Addresses where a calendar program finds shifts.

    Whoever knows an address sees the shifts, without a password: treat it as one. The daemon serves
    it beside its API.
    """


@calendar.command("add")
@click.option("--user", type=NAME, help="The shifts of this person, on all schedules.")
@click.option("--schedule", type=NAME, help="Everybody's shifts on this schedule.")
@tenant_option
@in_transaction
async def add(
    transaction: Transaction, user: str | None, schedule: str | None, tenant: str | None
) -> Answer:
    """Make a new secret address for a person's shifts or a schedule's, and show it, this once."""
    if (user is None) == (schedule is None):
        raise click.UsageError("Say whose: --user or --schedule.")
    token = keys.new_key()
    digest = keys.key_digest(token)
    if user is not None:
        person = await the_person(transaction, user, tenant)
        number = await calendars.add(transaction, person.tenant_id, digest, person_id=person.id)
    else:
        assert schedule is not None
        known = await the_schedule(transaction, schedule, tenant)
        number = await calendars.add(transaction, known.tenant_id, digest, schedule_id=known.id)
    path = f"/calendars/{token}.ics"
    return Answer(
        {"id": number, "path": path},
        [
            "The calendar's address, shown this once, below the address of the daemon's API:",
            "",
            f"    {path}",
            "",
            f"Whoever knows it sees the shifts. To end it: hotpotato calendar revoke {number}",
        ],
    )


@calendar.command("list")
@tenant_option
@in_transaction
async def list_(transaction: Transaction, tenant: str | None) -> Answer:
    """List the calendars, without their secrets."""
    zones = await timezones(transaction, tenant)
    found = await calendars.find(transaction, tenant)
    rows = [
        (
            str(each.id),
            each.tenant,
            _whose(each),
            moment(each.created_at, zones[each.tenant]),
            styled("disabled", "revoked") if each.revoked_at else "",
        )
        for each in found
    ]
    return Answer(
        [_document(each) for each in found],
        [table(["ID", "TENANT", "OF", "MADE", ""], rows) if rows else "There is no calendar yet."],
    )


@calendar.command("revoke")
@click.argument("number", metavar="ID", type=NUMBER)
@in_transaction
async def revoke(transaction: Transaction, number: int) -> Answer:
    """Let a calendar's address lead nowhere, from now on."""
    if not await calendars.find(transaction, number=number):
        raise Refused(f"there is no calendar {number}: hotpotato calendar list")
    await calendars.revoke(transaction, number)
    (revoked,) = await calendars.find(transaction, number=number)
    return Answer(_document(revoked), [f"Calendar {number}, of {_whose(revoked)}, is revoked."])


def _whose(known: Calendar) -> str:
    return f"user {known.person}" if known.person else f"schedule {known.schedule}"


def _document(known: Calendar) -> dict[str, object]:
    return {
        "id": known.id,
        "tenant": known.tenant,
        "user": known.person,
        "schedule": known.schedule,
        "created_at": known.created_at,
        "revoked_at": known.revoked_at,
    }
