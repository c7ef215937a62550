"""`hotpotato tenant …`."""

from __future__ import annotations

import click

from hotpotato.commands.output import Answer, examples, table
from hotpotato.commands.session import in_transaction, unless_taken
from hotpotato.commands.values import NAME, TIME_ZONE
from hotpotato.store import people
from hotpotato.store.database import Transaction


@click.group(
    epilog=examples(
        "hotpotato tenant add acme --timezone Pacific/Auckland",
        "hotpotato tenant list",
    )
)
def tenant() -> None:
    """Organisations, each with people and servers of its own."""


@tenant.command("add")
@click.argument("name", type=NAME)
@click.option(
    "--timezone",
    type=TIME_ZONE,
    default="UTC",
    show_default=True,
    help="The zone of times shown, and of servers' times that come without an offset.",
)
@in_transaction
async def add(transaction: Transaction, name: str, timezone: str) -> Answer:
    """Add a tenant, with a schedule on which nobody is on call yet."""
    with unless_taken(f"there is already a tenant {name}"):
        tenant_id = await people.add_tenant(transaction, name, timezone)
    return Answer(
        {"id": tenant_id, "name": name},
        [f"Tenant {name} is there. Next: hotpotato user add NAME --tenant '{name}' --sms +…"],
    )


@tenant.command("list")
@in_transaction
async def list_(transaction: Transaction) -> Answer:
    """List the tenants."""
    found = await people.tenants(transaction)
    rows = [(each.name, each.timezone) for each in found]
    return Answer(
        found, [table(["TENANT", "TIME ZONE"], rows) if rows else "There is no tenant yet."]
    )
