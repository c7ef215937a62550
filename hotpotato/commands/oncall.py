"""`hotpotato oncall …`."""

from __future__ import annotations

import click

from hotpotato.commands.finding import tenant_option, the_person, the_tenant, timezones
from hotpotato.commands.output import Answer, Refused, examples, moment, table
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import NAME
from hotpotato.store import people
from hotpotato.store.database import Transaction

NOBODY = "nobody: everybody is paged"


@click.group(
    epilog=examples(
        "hotpotato oncall set Anna",
        "hotpotato oncall show",
        "hotpotato oncall clear --tenant acme",
    )
)
def oncall() -> None:
    """Who has the pager."""


@oncall.command("set")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@in_transaction
async def set_(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Give a person their tenant's pager, from now until changed."""
    person = await the_person(transaction, name, tenant)
    if person.disabled_at is not None:
        raise Refused(f"{name} is disabled and can't be paged: hotpotato user enable '{name}'")
    await people.set_on_call(transaction, person.tenant_id, person.id)
    return Answer(
        await _one(transaction, person.tenant),
        [f"{name} has the pager of {person.tenant}, from now until changed."],
    )


@oncall.command("show")
@tenant_option
@in_transaction
async def show(transaction: Transaction, tenant: str | None) -> Answer:
    """Show who has the pager now, for each tenant or for one."""
    zones = await timezones(transaction, tenant)
    found = await people.on_call(transaction, tenant)
    rows = [
        (
            each.tenant,
            each.person or NOBODY,
            moment(each.since, zones[each.tenant]),
            moment(each.until, zones[each.tenant]) or ("until changed" if each.person else ""),
        )
        for each in found
    ]
    return Answer(
        [_document(each) for each in found],
        [
            table(["TENANT", "ON CALL", "SINCE", "UNTIL"], rows)
            if rows
            else "There is no tenant yet."
        ],
    )


@oncall.command("clear")
@tenant_option
@in_transaction
async def clear(transaction: Transaction, tenant: str | None) -> Answer:
    """Let nobody have a tenant's pager: then everybody is paged."""
    home = await the_tenant(transaction, tenant)
    await people.clear_on_call(transaction, home.id)
    return Answer(
        await _one(transaction, home.name),
        [f"Nobody has the pager of {home.name}: everybody of the tenant is paged."],
    )


async def _one(transaction: Transaction, tenant: str) -> dict[str, object]:
    found = await people.on_call(transaction, tenant)
    return _document(next(each for each in found if each.schedule == "primary"))


def _document(held: people.OnCall) -> dict[str, object]:
    return {
        "tenant": held.tenant,
        "schedule": held.schedule,
        "user": held.person,
        "since": held.since,
        "until": held.until,
    }
