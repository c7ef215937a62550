"""`hotpotato oncall …`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from hotpotato import rota
from hotpotato.commands.finding import (
    schedule_option,
    tenant_option,
    the_person,
    the_schedule,
    timezones,
    when,
)
from hotpotato.commands.output import (
    Answer,
    Refused,
    Shown,
    clock,
    examples,
    moment,
    on_schedule,
    table,
)
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import MOMENT, NAME, NUMBER, author, in_zone
from hotpotato.rules import schedule as rules
from hotpotato.store import people, schedules
from hotpotato.store.database import Transaction
from hotpotato.store.schedules import Schedule

NOBODY = "nobody: everybody is paged"


@click.group(
    epilog=examples(
        "hotpotato oncall show --days 14",
        'hotpotato oncall override Bob --from "2026-12-24 18:00" --until "2026-12-27 09:00"',
        "hotpotato oncall swap Anna Bob       # their next shifts",
        "hotpotato oncall take Cleo           # what is left of this shift",
        "hotpotato oncall set Anna            # whatever the rota says, until changed",
        "hotpotato oncall clear",
    )
)
def oncall() -> None:
    """Who has the pager.

    A rota's layers say so (hotpotato roster), and what is said here lies on top of them, the
    last on top of all.
    """


@oncall.command("set")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@schedule_option
@in_transaction
async def set_(transaction: Transaction, name: str, tenant: str | None, schedule: str) -> Answer:
    """Give a person their tenant's pager, from now until changed."""
    person, known = await _whom(transaction, name, tenant, schedule)
    await rota.set_on_call(
        transaction, person.tenant_id, person.id, schedule=known.name, author=author()
    )
    return Answer(
        await _one(transaction, known),
        [
            f"{name} has the pager of {on_schedule(known.tenant, known.name)},"
            " from now until changed."
        ],
    )


@oncall.command("clear")
@tenant_option
@schedule_option
@in_transaction
async def clear(transaction: Transaction, tenant: str | None, schedule: str) -> Answer:
    """End what was set by hand. Without a rota then nobody has the pager, and all are paged."""
    known = await the_schedule(transaction, schedule, tenant)
    await rota.clear_on_call(transaction, known.tenant_id, schedule=known.name)
    held = await _one(transaction, known)
    where = on_schedule(known.tenant, known.name)
    return Answer(
        held,
        [
            f"{held['user']} has the pager of {where}, as the rota says."
            if held["user"]
            else f"Nobody has the pager of {where}: everybody of the tenant is paged."
        ],
    )


@oncall.command("override")
@click.argument("name", metavar="USER", type=NAME)
@click.option("--from", "since", type=MOMENT, help="When it begins; by default now.")
@click.option("--until", type=MOMENT, required=True, help="When it ends.")
@tenant_option
@schedule_option
@in_transaction
async def override(
    transaction: Transaction,
    name: str,
    since: datetime | None,
    until: datetime,
    tenant: str | None,
    schedule: str,
) -> Answer:
    """Give a person the pager for a time, instead of whoever the rota says.

    Times are like "2026-12-24 18:00", by the clocks of the schedule's time zone.
    """
    person, known = await _whom(transaction, name, tenant, schedule)
    now = await schedules.now(transaction)
    begin = max(now, in_zone(since, known.timezone)) if since else now
    end = in_zone(until, known.timezone)
    if end <= begin:
        raise Refused(f"it must end after it begins, {clock(begin, known.timezone)}, and after now")
    await rota.override(transaction, known.id, person.id, begin, end, author())
    return await _told(transaction, known, begin, end)


@oncall.command("take")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@schedule_option
@in_transaction
async def take(transaction: Transaction, name: str, tenant: str | None, schedule: str) -> Answer:
    """Give a person the pager now, for what is left of the shift that runs.

    Where nobody is on call, until somebody is.
    """
    person, known = await _whom(transaction, name, tenant, schedule)
    await rota.take(transaction, known.id, person.id, author())
    held = await _one(transaction, known)
    until = await _until(transaction, known)
    return Answer(
        held,
        [
            f"{name} has the pager of {on_schedule(known.tenant, known.name)},"
            f" {'until ' + clock(until, known.timezone) if until else 'until changed'}."
        ],
    )


@oncall.command("swap")
@click.argument("one", metavar="USER", type=NAME)
@click.argument("other", metavar="OTHER", type=NAME)
@click.option("--at", type=MOMENT, help="A time in USER's shift; by default it is the next.")
@click.option("--with", "with_", type=MOMENT, help="A time in OTHER's; by default it is the next.")
@tenant_option
@schedule_option
@in_transaction
async def swap(
    transaction: Transaction,
    one: str,
    other: str,
    at: datetime | None,
    with_: datetime | None,
    tenant: str | None,
    schedule: str,
) -> Answer:
    """Let two people do each other's shift: the next that each has, or those at given times."""
    first, known = await _whom(transaction, one, tenant, schedule)
    second, _ = await _whom(transaction, other, first.tenant, schedule)
    hers = await _shift_of(transaction, known, first, at)
    his = await _shift_of(transaction, known, second, with_)
    try:
        await rota.swap(transaction, known.id, hers, his, author())
    except ValueError as error:
        raise Refused(str(error)) from error
    begin = min(hers.since, his.since)
    end = max(hers.until or hers.since, his.until or his.since)
    return await _told(transaction, known, begin, end)


@oncall.command("cancel")
@click.argument("number", metavar="ID", type=NUMBER)
@in_transaction
async def cancel(transaction: Transaction, number: int) -> Answer:
    """Call an override, a swap or a take off; `hotpotato schedule show` lists them."""
    now = await schedules.now(transaction)
    found = await schedules.overrides(transaction, now, None, override_id=number)
    if not found:
        raise Refused(f"no override {number} is in force or to come: hotpotato schedule show")
    (given,) = found
    known = await the_schedule(transaction, given.schedule, given.tenant)
    await rota.cancel(transaction, known.id, number)
    return await _told(transaction, known, max(now, given.since), given.until)


@oncall.command("show")
@tenant_option
@click.option("--at", type=MOMENT, help="Then, and not now.")
@click.option("--days", type=click.IntRange(1, 90), help="Every shift for so many days.")
@in_transaction
async def show(
    transaction: Transaction, tenant: str | None, at: datetime | None, days: int | None
) -> Answer:
    """Show who has the pager now, for each tenant or for one; or then, or for days to come."""
    zones = await timezones(transaction, tenant)
    if days is not None:
        return await _calendar(transaction, tenant, at, timedelta(days=days))
    if at is None:
        found = await people.on_call(transaction, tenant)
    else:
        found = [
            held
            for name, zone in zones.items()
            for held in await people.on_call(
                transaction, name, at=await when(transaction, at, zone)
            )
        ]
    several = any(each.schedule != "primary" for each in found)
    rows = [
        [
            each.tenant,
            *([each.schedule] if several else []),
            each.person or NOBODY,
            moment(each.since, zones[each.tenant]),
            moment(each.until, zones[each.tenant]) or ("until changed" if each.person else ""),
        ]
        for each in found
    ]
    columns = ["TENANT", *(["SCHEDULE"] if several else []), "ON CALL", "SINCE", "UNTIL"]
    return Answer(
        [_document(each) for each in found],
        [table(columns, rows) if rows else "There is no tenant yet."],
    )


# --- the parts


async def _whom(
    transaction: Transaction, name: str, tenant: str | None, schedule: str
) -> tuple[people.Person, Schedule]:
    """A person who can be given the pager, and the schedule. Raises Refused."""
    person = await the_person(transaction, name, tenant)
    if person.disabled_at is not None:
        raise Refused(f"{name} is disabled and can't be paged: hotpotato user enable '{name}'")
    return person, await the_schedule(transaction, schedule, person.tenant)


async def _shift_of(
    transaction: Transaction, known: Schedule, person: people.Person, at: datetime | None
) -> rules.Shift:
    """The person's shift at that time, or the next that begins from now on. Raises Refused."""
    now = await schedules.now(transaction)
    since = in_zone(at, known.timezone) if at else now
    found = await schedules.held(
        transaction, since, since + rota.AHEAD, schedule_id=known.id, person_id=person.id
    )
    fits = [each for each in found if (each.since <= since if at else each.since >= now)]
    if not fits:
        place = f"at {clock(since, known.timezone)}" if at else "ahead"
        raise Refused(f"{person.name} has no shift {place}: hotpotato oncall show --days 90")
    shift = fits[0]
    return rules.Shift(person.id, max(shift.since, now), shift.until, shift.source)


async def _told(
    transaction: Transaction, known: Schedule, begin: datetime, end: datetime | None
) -> Answer:
    """The shifts, from now on and as far as they are written, of a time that was just changed."""
    now = await schedules.now(transaction)
    begin = max(begin, now)
    rows = await _shifts(transaction, known, begin, end or begin + timedelta(days=14))
    shown = [_shown(known, rows)] if rows else []
    if end is not None and end > now + rota.AHEAD:
        shown.append(f"Noted; shifts are written {rota.AHEAD.days} days ahead, so it shows later.")
    return Answer([_shift_document(known, each) for each in rows], shown)


async def _calendar(
    transaction: Transaction, tenant: str | None, at: datetime | None, length: timedelta
) -> Answer:
    documents: list[dict[str, object]] = []
    shown: list[Shown] = []
    for known in await schedules.find(transaction, tenant=tenant):
        begin = await when(transaction, at, known.timezone)
        rows = await _shifts(transaction, known, begin, begin + length)
        documents += [_shift_document(known, each) for each in rows]
        shown += [
            *([""] if shown else []),
            f"{known.tenant}/{known.name}, {known.timezone}",
            _shown(known, rows),
        ]
    return Answer(documents, shown or ["There is no tenant yet."])


Row = tuple[datetime, datetime | None, str | None, str]
"""From, until, who, by what; None: nobody."""


async def _shifts(
    transaction: Transaction, known: Schedule, begin: datetime, end: datetime
) -> list[Row]:
    """The shifts that reach into a time, and the gaps between them, in order.

    What lies further ahead than shifts are written is no gap, and left out.
    """
    end = min(end, await schedules.now(transaction) + rota.AHEAD)
    if begin >= end:
        return []
    found = await schedules.held(transaction, begin, end, schedule_id=known.id)
    spans = [rules.Shift(0, each.since, each.until, "") for each in found]
    rows: list[Row] = [(each.since, each.until, each.person, each.source) for each in found]
    rows += [(gap.since, gap.until, None, "") for gap in rules.gaps(spans, begin, end)]
    return sorted(rows, key=lambda row: row[0])


def _shown(known: Schedule, rows: Sequence[Row]) -> Shown:
    return table(
        ["FROM", "UNTIL", "ON CALL", "BY"],
        [
            (
                clock(since, known.timezone),
                clock(until, known.timezone),
                person or "nobody",
                source,
            )
            for since, until, person, source in rows
        ],
        whole=("FROM", "UNTIL"),
    )


def _shift_document(known: Schedule, row: Row) -> dict[str, object]:
    since, until, person, source = row
    return {
        "tenant": known.tenant,
        "schedule": known.name,
        "user": person,
        "since": since.astimezone(UTC),
        "until": until and until.astimezone(UTC),
        "source": source or None,
    }


async def _one(transaction: Transaction, known: Schedule) -> dict[str, object]:
    found = await people.on_call(transaction, known.tenant)
    return _document(next(each for each in found if each.schedule == known.name))


async def _until(transaction: Transaction, known: Schedule) -> datetime | None:
    found = await people.on_call(transaction, known.tenant)
    return next(each.until for each in found if each.schedule == known.name)


def _document(held: people.OnCall) -> dict[str, object]:
    return {
        "tenant": held.tenant,
        "schedule": held.schedule,
        "user": held.person,
        "since": held.since,
        "until": held.until,
    }
