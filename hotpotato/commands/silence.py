"""`hotpotato silence …`."""

from __future__ import annotations

from datetime import datetime, timedelta

import click
import msgspec
from rich.text import Text

from hotpotato.commands.finding import tenant_option, the_server, the_tenant, timezones
from hotpotato.commands.output import Answer, Refused, clock, examples, plain, styled, table
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import LENGTH, MOMENT, NAME, NUMBER, author, in_zone
from hotpotato.store import schedules, silences
from hotpotato.store.database import Transaction
from hotpotato.store.silences import Given


@click.group(
    epilog=examples(
        "hotpotato silence add --host 'db*' --for 2h --reason 'new disks'",
        "hotpotato silence add --host web1 --service 'HTTP*' --for 30m --reason deployment",
        'hotpotato silence add --server icinga-akl --from "2026-12-24 22:00"'
        ' --until "2026-12-25 02:00" --reason "power work"',
        "hotpotato silence list",
        "hotpotato silence end 3",
    )
)
def silence() -> None:
    """Silences: nobody is paged for what matches, for a time, and that is recorded.

    What is still there when a silence ends is told then.
    """


@silence.command("add")
@click.option("--host", type=NAME, help="Which hosts: a pattern like 'db*'.")
@click.option("--service", type=NAME, help="Only these services; by default hosts and services.")
@click.option("--server", type=NAME, help="Only what this monitoring server sends.")
@click.option("--from", "since", type=MOMENT, help="When it begins; by default now.")
@click.option("--until", type=MOMENT, help="When it ends.")
@click.option("--for", "length", type=LENGTH, metavar="TIME", help="How long it lasts, like 2h.")
@click.option("--reason", type=NAME, required=True, help="Why.")
@tenant_option
@in_transaction
async def add(
    transaction: Transaction,
    host: str | None,
    service: str | None,
    server: str | None,
    since: datetime | None,
    until: datetime | None,
    length: float | None,
    reason: str,
    tenant: str | None,
) -> Answer:
    """Silence what matches, until a time or for some time.

    In patterns * stands for anything, ? for one character, [a-z] for one of these; big and small
    letters are the same. Times are like "2026-12-24 18:00", by the clocks of the tenant.
    """
    if (until is None) == (length is None):
        raise click.UsageError("Say how long: --until or --for.")
    if host is None and service is None and server is None:
        raise click.UsageError("Say what: --host, --service or --server.")
    known = None if server is None else await the_server(transaction, server, tenant)
    home = await the_tenant(transaction, tenant if known is None else known.tenant)
    now = await schedules.now(transaction)
    begin = max(now, in_zone(since, home.timezone)) if since else now
    end = in_zone(until, home.timezone) if until else begin + timedelta(seconds=length or 0)
    if end <= begin:
        raise Refused(f"it must end after it begins, {clock(begin, home.timezone)}, and after now")
    number = await silences.add(
        transaction,
        tenant_id=home.id,
        server_id=None if known is None else known.id,
        host=host or "*",
        service=service,
        since=begin,
        until=end,
        author=author(),
        reason=reason,
    )
    (made,) = await silences.find(transaction, number=number)
    return Answer(
        _document(made),
        [
            f"Silence {number}: nobody is paged for {_what(made)} from"
            f" {clock(made.since, home.timezone)} until {clock(made.until, home.timezone)}.",
            f"To end it: hotpotato silence end {number}",
        ],
    )


@silence.command("list")
@click.option("--all", "all_", is_flag=True, help="Those that are over too.")
@tenant_option
@in_transaction
async def list_(transaction: Transaction, all_: bool, tenant: str | None) -> Answer:
    """List the silences that last or are to come."""
    zones = await timezones(transaction, tenant)
    found = await silences.find(transaction, tenant=tenant, over=all_)
    several = len({each.tenant for each in found}) > 1
    rows: list[list[str | Text]] = [
        [
            str(each.id),
            *([each.tenant] if several else []),
            _what(each),
            clock(each.since, zones[each.tenant]),
            clock(each.until, zones[each.tenant]),
            f"{plain(each.reason)} ({plain(each.author)})",
            styled("disabled", each.status) if each.status == "over" else each.status,
        ]
        for each in found
    ]
    columns = ["ID", *(["TENANT"] if several else []), "WHAT", "FROM", "UNTIL", "WHY", ""]
    return Answer(
        [_document(each) for each in found],
        [table(columns, rows, whole=("ID",)) if rows else "There is no silence."],
    )


@silence.command("end")
@click.argument("number", metavar="ID", type=NUMBER)
@in_transaction
async def end(transaction: Transaction, number: int) -> Answer:
    """End a silence now; one that has not begun is deleted."""
    found = await silences.find(transaction, number=number)
    if not found:
        raise Refused(f"there is no silence {number}: hotpotato silence list")
    if not await silences.end(transaction, number, author()):
        raise Refused(f"silence {number} is over already")
    left = await silences.find(transaction, number=number)
    what = _what(found[0])
    return Answer(
        _document(left[0]) if left else {**_document(found[0]), "status": "deleted"},
        [
            f"Silence {number}, of {what}, is over."
            if left
            else f"Silence {number}, of {what}, is deleted: it had not begun."
        ],
    )


def _what(known: Given) -> str:
    service = f"service {known.service} on " if known.service else ""
    server = f" of {known.server}" if known.server else ""
    return plain(f"{service}host {known.host}{server}")


def _document(known: Given) -> dict[str, object]:
    return msgspec.structs.asdict(known)
