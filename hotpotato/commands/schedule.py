"""`hotpotato schedule …`."""

from __future__ import annotations

from datetime import datetime

import click
import msgspec

from hotpotato import rota
from hotpotato.commands.finding import tenant_option, the_schedule, the_tenant, timezones
from hotpotato.commands.output import Answer, Refused, Shown, clock, examples, facts, listed, table
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import NAME, TIME_ZONE
from hotpotato.rules.cover import spoken
from hotpotato.store import people, schedules
from hotpotato.store.database import Transaction
from hotpotato.store.schedules import Given, Layer, Schedule


@click.group(
    epilog=examples(
        "hotpotato schedule add secondary --tenant acme",
        "hotpotato schedule show primary",
        "hotpotato roster export >roster.toml     # its layers are changed in a file",
        "hotpotato roster apply roster.toml --dry-run",
    )
)
def schedule() -> None:
    """Schedules: who is on call first, who second.

    Every tenant has the schedule "primary", whose person is paged. A schedule is made of layers of
    rotations, which are written in a roster file, with what `hotpotato oncall` says on top.
    """


@schedule.command("add")
@click.argument("name", type=NAME)
@tenant_option
@click.option(
    "--timezone", type=TIME_ZONE, help="The zone of its hand-overs; by default the tenant's."
)
@in_transaction
async def add(
    transaction: Transaction, name: str, tenant: str | None, timezone: str | None
) -> Answer:
    """Add a schedule to a tenant. Nobody is on it yet."""
    home = await the_tenant(transaction, tenant)
    schedule_id = await schedules.add(transaction, home.id, name, timezone)
    if schedule_id is None:
        raise Refused(f"there is already a schedule {name} in tenant {home.name}")
    await rota.write(transaction, schedule_id)
    return Answer(
        {"id": schedule_id, "name": name, "tenant": home.name},
        [
            f"Schedule {name} of tenant {home.name} is there. Give it layers with `hotpotato roster"
            f" apply`, or a person with `hotpotato oncall set USER --schedule '{name}'`."
        ],
    )


@schedule.command("list")
@tenant_option
@in_transaction
async def list_(transaction: Transaction, tenant: str | None) -> Answer:
    """List the schedules, of all tenants or of one, and who is on call now."""
    await timezones(transaction, tenant)
    holders = {
        (each.tenant, each.schedule): each.person
        for each in await people.on_call(transaction, tenant)
    }
    found = await schedules.find(transaction, tenant=tenant)
    rows = [
        (each.name, each.tenant, each.timezone, holders[each.tenant, each.name] or "nobody")
        for each in found
    ]
    return Answer(
        [{**_document(each), "user": holders[each.tenant, each.name]} for each in found],
        [
            table(["SCHEDULE", "TENANT", "TIME ZONE", "ON CALL"], rows)
            if rows
            else "There is no tenant yet."
        ],
    )


@schedule.command("show")
@click.argument("name", type=NAME, default="primary")
@tenant_option
@in_transaction
async def show(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Show a schedule's layers, what was said on top, and when nobody will be on call."""
    known = await the_schedule(transaction, name, tenant)
    now = await schedules.now(transaction)
    names = {each.id: each.name for each in await people.people(transaction, tenant=known.tenant)}
    layers = await schedules.layers(transaction, known.id)
    overrides = await schedules.overrides(transaction, now, None, schedule_id=known.id)
    shown: list[Shown] = [f"{known.tenant}/{known.name}, {known.timezone}"]
    for layer in layers:
        shown += ["", f"Layer {layer.name}", facts(_layer_facts(layer, names))]
    if overrides:
        shown += ["", "On top of the layers, the last on top of all", _overrides(known, overrides)]
    gaps = await rota.gaps_ahead(transaction, known)
    document = {
        **_document(known),
        "layers": [_layer_document(layer, names) for layer in layers],
        "overrides": overrides,
        "gaps": gaps,
    }
    shown += ["", *(f"Nobody is on call {spoken(gap, known.timezone)}" for gap in gaps)]
    return Answer(document, shown)


@schedule.command("remove")
@click.argument("name", type=NAME)
@tenant_option
@in_transaction
async def remove(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Take a schedule out of use, with its layers, overrides and calendars.

    Who had it stays on record. The schedule "primary" can't be removed.
    """
    known = await the_schedule(transaction, name, tenant)
    if name == "primary":
        raise Refused("every tenant has the schedule primary: empty it with an empty layers list")
    await rota.remove(transaction, known.id)
    return Answer(_document(known), [f"Schedule {name} of tenant {known.tenant} is removed."])


def _layer_facts(layer: Layer, names: dict[int, str]) -> list[tuple[str, str]]:
    every = layer.unit.removesuffix("s") if layer.every == 1 else f"{layer.every} {layer.unit}"
    rows = [
        ("people", listed([names[person] for person in layer.participants], most=50)),
        ("hands over", f"every {every} at {layer.hand_over:%H:%M}, first on {layer.first_on}"),
    ]
    if layer.begins_on:
        rows.append(("from", str(layer.begins_on)))
    if layer.ends_on:
        rows.append(("until", str(layer.ends_on)))
    rows += [
        ("only", f"{' '.join(each['days'])} {each['from'][:5]}–{each['until'][:5]}")
        for each in layer.windows
    ]
    return rows


def _overrides(known: Schedule, found: list[Given]) -> Shown:
    rows = [
        (
            str(each.id),
            clock(each.since, known.timezone),
            clock(each.until, known.timezone),
            each.person,
            f"{each.source}, {each.author}",
        )
        for each in found
    ]
    columns = ["ID", "FROM", "UNTIL", "ON CALL", "BY"]
    return table(columns, rows, whole=("ID", "FROM", "UNTIL"))


def _document(known: Schedule) -> dict[str, object]:
    return {
        "id": known.id,
        "name": known.name,
        "tenant": known.tenant,
        "timezone": known.timezone,
    }


def _layer_document(layer: Layer, names: dict[int, str]) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(layer, builtin_types=(datetime,))
    del document["participants"]
    return {**document, "people": [names[person] for person in layer.participants]}
