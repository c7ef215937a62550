"""`hotpotato user …`. Inside Hot Potato a user is a person."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hotpotato import rota
from hotpotato.commands.finding import tenant_option, the_person, the_tenant, timezones
from hotpotato.commands.output import (
    Answer,
    Shown,
    examples,
    listed,
    on_schedule,
    styled,
    table,
)
from hotpotato.commands.session import in_transaction, unless_taken
from hotpotato.commands.values import NAME, PHONE_NUMBER, TIME_ZONE
from hotpotato.store import contacts, people
from hotpotato.store.database import Transaction

_NUMBERS = "A number with + and its country's code; give several in the order they are to be tried."


@click.group(
    epilog=examples(
        "hotpotato user add Anna --tenant acme --sms +64211234567",
        'hotpotato user edit Anna --sms +64211234567 --sms "+64 21 765 4321"',
        "hotpotato user disable Anna",
    )
)
def user() -> None:
    """People who can be on call, and their phones."""


@user.command("add")
@click.argument("name", type=NAME)
@tenant_option
@click.option("--sms", type=PHONE_NUMBER, multiple=True, required=True, help=_NUMBERS)
@click.option("--timezone", type=TIME_ZONE, help="Where they are; by default, the tenant's.")
@in_transaction
async def add(
    transaction: Transaction,
    name: str,
    tenant: str | None,
    sms: Sequence[str],
    timezone: str | None,
) -> Answer:
    """Add a person to a tenant."""
    home = await the_tenant(transaction, tenant)
    with unless_taken(f"there is already a user {name} in tenant {home.name}"):
        person_id = await people.add_person(transaction, home.id, name, _contacts(sms))
    await people.set_person_timezone(transaction, person_id, timezone)
    added = await the_person(transaction, name, home.name)
    numbers = [address for _, address in added.contacts]
    return Answer(
        (await _one(transaction, name, home.name)).document,
        [
            f"User {name} of tenant {home.name} is there, with {', '.join(numbers)}."
            f" To give them the pager: hotpotato oncall set '{name}'"
        ],
    )


@user.command("list")
@tenant_option
@in_transaction
async def list_(transaction: Transaction, tenant: str | None) -> Answer:
    """List the people, of all tenants or of one."""
    await timezones(transaction, tenant)
    found = await people.people(transaction, tenant=tenant)
    documents, shown = await _described(transaction, found)
    return Answer(documents, [shown if found else "There is no user yet."])


@user.command("edit")
@click.argument("name", type=NAME)
@tenant_option
@click.option("--name", "new_name", type=NAME, help="Another name.")
@click.option("--sms", type=PHONE_NUMBER, multiple=True, help=f"Instead of all before. {_NUMBERS}")
@click.option("--timezone", type=TIME_ZONE, help="Where they are.")
@in_transaction
async def edit(
    transaction: Transaction,
    name: str,
    tenant: str | None,
    new_name: str | None,
    sms: Sequence[str],
    timezone: str | None,
) -> Answer:
    """Change a person's name, their phones, or where they are."""
    if new_name is None and not sms and timezone is None:
        raise click.UsageError("Nothing to change: give --name, --sms or --timezone.")
    person = await the_person(transaction, name, tenant)
    if new_name is not None:
        with unless_taken(f"there is already a user {new_name} in tenant {person.tenant}"):
            await people.rename_person(transaction, person.id, new_name)
    if sms:
        await people.set_contacts(transaction, person.tenant_id, person.id, _contacts(sms))
    if timezone is not None:
        await people.set_person_timezone(transaction, person.id, timezone)
    return await _one(transaction, new_name or name, person.tenant)


@user.command("disable")
@click.argument("name", type=NAME)
@tenant_option
@in_transaction
async def disable(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Page a person no more. What was sent to them stays on record."""
    person = await the_person(transaction, name, tenant)
    held = {each.schedule for each in await people.on_call(transaction, person.tenant, name)}
    written = await rota.disable(transaction, person.id)
    answer = await _one(transaction, name, person.tenant)
    told = [f"{name} is paged no more."]
    now_held = {
        each.schedule: each.person for each in await people.on_call(transaction, person.tenant)
    }
    for schedule in sorted(held):
        told.append(
            f"{name} had the pager of {on_schedule(person.tenant, schedule)}, which"
            + (
                f" {now_held[schedule]} has now."
                if now_held[schedule]
                else " nobody has now: everybody is paged until somebody gets it with"
                " `hotpotato oncall set`."
            )
        )
    left = [each.schedule.name for each in written if each.planned and each.gaps]
    if left:
        told.append(f"Hours with nobody on call are ahead in {listed(left)}: hotpotato check")
    return Answer(answer.document, [" ".join(told)])


@user.command("enable")
@click.argument("name", type=NAME)
@tenant_option
@in_transaction
async def enable(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Let a disabled person be paged again."""
    person = await the_person(transaction, name, tenant)
    await rota.enable(transaction, person.id)
    answer = await _one(transaction, name, person.tenant)
    return Answer(answer.document, [f"{name} can be paged again."])


async def _one(transaction: Transaction, name: str, tenant: str) -> Answer:
    person = await the_person(transaction, name, tenant)
    documents, shown = await _described(transaction, [person])
    return Answer(documents[0], [shown])


async def _described(
    transaction: Transaction, found: Sequence[people.Person]
) -> tuple[list[dict[str, object]], Shown]:
    """People as documents, and as a table."""
    holders = {(each.tenant, each.person) for each in await people.on_call(transaction)}
    reached = await _contacts_of(transaction, found)
    documents: list[dict[str, object]] = [
        {
            "id": person.id,
            "name": person.name,
            "tenant": person.tenant,
            "timezone": person.timezone,
            "contacts": [
                {
                    "method": each.method,
                    "address": each.address,
                    "verified_at": each.verified_at,
                    "stopped_at": each.stopped_at,
                }
                for each in reached[person.id]
            ],
            "on_call": (person.tenant, person.name) in holders,
            "disabled_at": person.disabled_at,
        }
        for person in found
    ]
    rows = [
        (
            person.name,
            person.tenant,
            "\n".join(map(_number, reached[person.id])),
            styled("disabled")
            if person.disabled_at
            else "on call"
            if (person.tenant, person.name) in holders
            else "",
        )
        for person in found
    ]
    return documents, table(["USER", "TENANT", "SMS", ""], rows)


async def _contacts_of(
    transaction: Transaction, found: Sequence[people.Person]
) -> dict[int, list[contacts.Contact]]:
    reached: dict[int, list[contacts.Contact]] = {person.id: [] for person in found}
    tenants = {person.tenant for person in found}
    only = tenants.pop() if len(tenants) == 1 else None
    for each in await contacts.find(transaction, tenant=only):
        if each.person_id in reached:
            reached[each.person_id].append(each)
    return reached


def _number(each: contacts.Contact) -> str:
    """«+64211234567 (verified)», «+64211234567 (off)»."""
    how = "off" if each.stopped_at else "verified" if each.verified_at else None
    return f"{each.address} ({how})" if how else each.address


def _contacts(numbers: Sequence[str]) -> list[tuple[str, str]]:
    return [("sms", number) for number in dict.fromkeys(numbers)]
