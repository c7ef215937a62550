"""`hotpotato token …`."""

from __future__ import annotations

import click
import msgspec

from hotpotato.commands.finding import tenant_option, the_person, timezones
from hotpotato.commands.output import Answer, Refused, examples, moment, styled, table
from hotpotato.commands.session import in_transaction
from hotpotato.commands.values import NAME, NUMBER
from hotpotato.rules import keys
from hotpotato.store import tokens
from hotpotato.store.database import Transaction
from hotpotato.store.tokens import Token


@click.group(
    epilog=examples(
        "hotpotato token add Anna --name laptop",
        "hotpotato token add Anna --name wallboard --scope read --days 365",
        "hotpotato token list",
        "hotpotato token revoke 3",
    )
)
def token() -> None:
    """Tokens, with which people's own programs use the API in their name."""


@token.command("add")
@click.argument("user", type=NAME)
@click.option("--name", type=NAME, required=True, help="What it is for, like laptop.")
@click.option(
    "--scope",
    type=click.Choice(["read", "act"]),
    default="act",
    show_default=True,
    help="read: only look; act: acknowledge, resolve, note, take the pager too.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3660),
    default=90,
    show_default=True,
    help="How long it lives.",
)
@tenant_option
@in_transaction
async def add(
    transaction: Transaction, user: str, name: str, scope: str, days: int, tenant: str | None
) -> Answer:
    """Make a token for a person, and show it, this once."""
    person = await the_person(transaction, user, tenant)
    if person.disabled_at is not None:
        raise Refused(f"{user} is disabled: hotpotato user enable '{user}'")
    secret = keys.new_key()
    number = await tokens.add(
        transaction,
        tenant_id=person.tenant_id,
        person_id=person.id,
        name=name,
        digest=keys.key_digest(secret),
        scope=scope,
        days=days,
    )
    (made,) = await tokens.find(transaction, number=number)
    zone = (await timezones(transaction, person.tenant))[person.tenant]
    return Answer(
        {"id": number, "token": secret, "scope": scope, "expires_at": made.expires_at},
        [
            f"The token, shown this once; it lives until {moment(made.expires_at, zone)}:",
            "",
            f"    {secret}",
            "",
            f"Whoever has it {_may(scope)} in {user}'s name."
            f" To end it: hotpotato token revoke {number}",
        ],
    )


@token.command("list")
@tenant_option
@in_transaction
async def list_(transaction: Transaction, tenant: str | None) -> Answer:
    """List the tokens, without their secrets."""
    zones = await timezones(transaction, tenant)
    found = await tokens.find(transaction, tenant)
    several = len({each.tenant for each in found}) > 1
    rows = [
        [
            str(each.id),
            *([each.tenant] if several else []),
            each.person,
            each.name,
            each.scope,
            moment(each.expires_at, zones[each.tenant]),
            moment(each.last_used_at, zones[each.tenant]) or "never",
            "" if each.usable else styled("disabled", _why_not(each)),
        ]
        for each in found
    ]
    columns = ["ID", *(["TENANT"] if several else []), "OF", "NAME", "MAY", "UNTIL", "USED", ""]
    return Answer(
        [_document(each) for each in found],
        [table(columns, rows, whole=("ID",)) if rows else "There is no token yet."],
    )


@token.command("revoke")
@click.argument("number", metavar="ID", type=NUMBER)
@in_transaction
async def revoke(transaction: Transaction, number: int) -> Answer:
    """Let nobody in with a token, from now on."""
    if not await tokens.find(transaction, number=number):
        raise Refused(f"there is no token {number}: hotpotato token list")
    await tokens.revoke(transaction, number)
    (revoked,) = await tokens.find(transaction, number=number)
    return Answer(
        _document(revoked), [f"Token {number}, {revoked.name} of {revoked.person}, is revoked."]
    )


def _may(scope: str) -> str:
    return "acts" if scope == "act" else "reads"


def _why_not(known: Token) -> str:
    return "revoked" if known.revoked_at is not None else "of no use"


def _document(known: Token) -> dict[str, object]:
    fields: dict[str, object] = msgspec.structs.asdict(known)
    fields["user"] = fields.pop("person")
    return fields
