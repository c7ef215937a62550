"""`hotpotato policy …`."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from hotpotato.commands import roster_store
from hotpotato.commands.finding import tenant_option, the_tenant
from hotpotato.commands.output import Answer, Shown, examples, facts, plain, table
from hotpotato.commands.roster_store import policy_of
from hotpotato.commands.session import in_transaction
from hotpotato.duties.policies import policies_of
from hotpotato.rules import policy as rules
from hotpotato.rules.policy import Policy, length
from hotpotato.rules.roster import Change
from hotpotato.rules.roster import Policy as Said
from hotpotato.store import people
from hotpotato.store.database import Transaction


@click.group(
    epilog=examples(
        "hotpotato policy show",
        "hotpotato policy reset --tenant acme",
        "",
        "hotpotato roster export >roster.toml      # to change it: its table is",
        "hotpotato roster apply roster.toml        # [tenants.acme.policy]",
    )
)
def policy() -> None:
    """Whom an alert is taken to and when, and what can wait.

    A policy is changed in a roster file: see `hotpotato roster apply --help` and docs/rosters.md.
    """


@policy.command("show")
@tenant_option
@in_transaction
async def show(transaction: Transaction, tenant: str | None) -> Answer:
    """Show a tenant's policy, and what of it is as shipped.

    To change it: export a roster, change its table [tenants.NAME.policy], and apply it.
    """
    home = await the_tenant(transaction, tenant)
    known = (await policies_of(transaction, [home.id]))[home.id]
    said = await policy_of(transaction, home) or Said()
    names = {each.id: each.name for each in await people.people(transaction, tenant=home.name)}
    shipped = _shipped(said)
    return Answer(
        _document(home.name, known, shipped, names), _shown(home.name, known, shipped, names)
    )


@policy.command("reset")
@tenant_option
@in_transaction
async def reset(transaction: Transaction, tenant: str | None) -> Answer:
    """Give a tenant the shipped policy again.

    Alerts that are open go by it from now on. To change single things: hotpotato roster apply.
    """
    home = await the_tenant(transaction, tenant)
    said = await policy_of(transaction, home)
    if said is None:
        return Answer({"changes": []}, [f"The policy of {home.name} is as shipped already."])
    change = Change(kind="policy", tenant=home.name, name="policy", before=said, after=Said())
    await roster_store.apply(transaction, [change])
    return Answer({"changes": change.sentences()}, change.sentences())


def _document(
    tenant: str, known: Policy, shipped: set[str], names: dict[int, str]
) -> dict[str, object]:
    """For programs, with the keys of a roster file; times in seconds."""
    document: dict[str, Any] = msgspec.to_builtins(known)
    document["flapping"] = {
        "changes": document.pop("flapping_changes"),
        "within": document.pop("flapping_within"),
    }
    for step in document["steps"]:
        step["person"] = names.get(step["person"])
    return {"tenant": tenant, **document, "as_shipped": sorted(shipped)}


def _shown(tenant: str, known: Policy, shipped: set[str], names: dict[int, str]) -> list[Shown]:
    def fact(key: str, name: str, text: str) -> tuple[str, str]:
        return name, f"{text}{_mark(key in shipped)}"

    last = known.steps[-1]
    rows = [
        (
            length(step.after) if step.after else "at once",
            plain(rules.whom(step, names)),
            _again(rules.again_of(known, step), step == last),
        )
        for step in known.steps
    ]
    flaps = f"{known.flapping_changes} changes within {length(known.flapping_within)}"
    pace = known.pace
    slow = f"{pace.burst} at once, then 1 each {length(pace.every)}, {pace.hourly} an hour"
    calm = "; ".join(map(rules.waiting, known.calm)) or "nothing"
    return [
        f"An alert of {plain(tenant)} that nobody has taken is told{_mark('steps' in shipped)}:",
        table(["AFTER", "WHOM", "AGAIN"], rows),
        "",
        facts(
            [
                fact(
                    "acknowledged_for",
                    "an acknowledgement lasts",
                    length(known.acknowledged_for) if known.acknowledged_for else "for ever",
                ),
                fact(
                    "undelivered_after",
                    "the next contact is tried",
                    f"after {length(known.undelivered_after)} without a receipt",
                ),
                fact("pace", "SMS segments to a contact", slow),
                fact("flapping", "a problem flaps", f"after {flaps}"),
                fact("calm", "what can wait", calm),
                fact("digest_at", "and is told", f"at {known.digest_at:%H:%M}"),
            ]
        ),
    ]


def _again(seconds: float | None, for_ever: bool) -> str:
    if seconds is None:
        return ""
    return f"every {length(seconds)}" + (" until somebody takes it" if for_ever else "")


def _mark(shipped: bool) -> str:
    return " (as shipped)" if shipped else ""


def _shipped(said: Said) -> set[str]:
    """The keys of a policy of which nothing was said."""
    return {name for name in Said.__struct_fields__ if getattr(said, name) == getattr(Said(), name)}
