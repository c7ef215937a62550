"""`hotpotato roster …`."""

from __future__ import annotations

from pathlib import Path

import click

from hotpotato import rota
from hotpotato.commands import roster_file, roster_store
from hotpotato.commands.finding import tenant_option, the_tenant
from hotpotato.commands.output import Answer, Refused, Shown, examples, listed
from hotpotato.commands.session import in_transaction
from hotpotato.rules.cover import spoken
from hotpotato.rules.roster import Difference, difference, strangers
from hotpotato.store import schedules
from hotpotato.store.database import Transaction


@click.group(
    epilog=examples(
        "hotpotato roster export >roster.toml",
        "hotpotato roster apply roster.toml --dry-run",
        "hotpotato roster apply roster.toml",
    )
)
def roster() -> None:
    """Tenants, people, contacts, rotas, policies and servers as one file."""


@roster.command(
    "apply",
    epilog="\b\n"
    + """A roster:
  [tenants.acme]
  timezone = "Pacific/Auckland"
  \b
  [tenants.acme.people.Anna]
  contacts = [{ sms = "+64211234567" }]
  [tenants.acme.people.Bob]
  contacts = [{ sms = "+64217654321" }]
  \b
  [[tenants.acme.schedules.primary.layers]]
  name = "weekly"
  people = ["Anna", "Bob"]
  every = 1
  unit = "weeks"          # or "hours", "days"
  first = 2026-11-30      # Anna's first turn begins on that day,
  at = "09:00"            # at this time, and so does every later turn
  \b
  [tenants.acme.servers.icinga-akl]
  \b
  [[tenants.acme.policy.steps]]   # none: the shipped ones
  after = 0
  schedule = "primary"
  again = "5m"
  [[tenants.acme.policy.steps]]
  after = "15m"
  everyone = true""".replace("\n  \\b", "\n  "),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option(
    "--prune",
    is_flag=True,
    help="Of the tenants in the file, disable people and servers that are not in it, and remove"
    " schedules; a policy is as shipped again.",
)
@in_transaction
async def apply(transaction: Transaction, file: Path, dry_run: bool, prune: bool) -> Answer:
    """Make everything as the file says, all of it or nothing.

    Applied twice it changes nothing. What the file doesn't name is left as it is, and said. A new
    server's key is shown this once. All that a file can hold is in docs/rosters.md.
    """
    wanted = roster_file.read(file)
    now = await roster_store.current(transaction)
    for each in strangers(now, wanted):
        raise Refused(
            f"{file}: tenants.{each.tenant}.{each.key}: there is no {each.kind} {each.name} in"
            f" tenant {each.tenant}: expected some of {listed(each.known) or 'nobody'}"
        )
    found = difference(now, wanted, prune=prune)
    given = [] if dry_run else await roster_store.apply(transaction, found.changes)
    gaps = [] if dry_run else await _gaps(transaction, found)
    changes = [sentence for change in found.changes for sentence in change.sentences()]
    return Answer(
        {
            "dry_run": dry_run,
            "changes": changes,
            "left": found.left,
            "api_keys": given,
            "gaps": gaps,
        },
        _shown(dry_run, changes, found, given, gaps),
    )


@roster.command("export")
@tenant_option
@in_transaction
async def export(transaction: Transaction, tenant: str | None) -> Answer:
    """Write what is so now as a roster file, of all tenants or of one."""
    if tenant is not None:
        await the_tenant(transaction, tenant)
    now = await roster_store.current(transaction, tenant)
    return Answer(now, [roster_file.write(now).rstrip("\n")])


async def _gaps(transaction: Transaction, found: Difference) -> list[str]:
    sentences = []
    for tenant in dict.fromkeys(change.tenant for change in found.changes):
        for known in await schedules.find(transaction, tenant=tenant):
            if not await schedules.layers(transaction, known.id):
                continue
            sentences += [
                f"{known.tenant}/{known.name}: nobody is on call {spoken(gap, known.timezone)}"
                for gap in await rota.gaps_ahead(transaction, known)
            ]
    return sentences


def _shown(
    dry_run: bool,
    changes: list[str],
    found: Difference,
    given: list[roster_store.NewKey],
    gaps: list[str],
) -> list[Shown]:
    shown: list[Shown] = [*changes]
    if not changes:
        shown.append("Nothing changes: everything is as the file says.")
    elif dry_run:
        shown.append("Nothing was changed: this was only a look.")
    if found.left:
        shown.append(f"Not in the file, and left as they are: {listed(found.left, most=50)}.")
    for key in given:
        shown += [
            f"The API key of server {key.server} of tenant {key.tenant}, shown this once:",
            "",
            f"    {key.api_key}",
            "",
        ]
    return [*shown, *gaps]
